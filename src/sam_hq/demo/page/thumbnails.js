// Small pictures of candidates, cut so that they can be told apart.

import { paintMask } from "./mask_pixels.js";

const THUMBNAIL_SIDE = 320;

// The part of the photo in which the candidates lie: [x, y, width, height] in the shown picture, with some room about.
export function framedPart(masks, width, height) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (const mask of masks) {
    for (let at = 0; at < mask.length; at++) {
      if (mask[at]) {
        const x = at % width;
        const y = (at - x) / width;
        left = Math.min(left, x);
        right = Math.max(right, x);
        top = Math.min(top, y);
        bottom = Math.max(bottom, y);
      }
    }
  }
  if (right < 0) {
    return [0, 0, width, height];
  }
  const room = Math.round(0.15 * Math.max(right - left, bottom - top) + 4);
  const [x, y] = [Math.max(0, left - room), Math.max(0, top - room)];
  return [x, y, Math.min(width, right + 1 + room) - x, Math.min(height, bottom + 1 + room) - y];
}

// picture: canvas of the shown picture. Returns a canvas of the part, darkened outside the mask.
export function thumbnail(picture, mask, [x, y, across, down], color) {
  const { width, height } = picture;
  const full = document.createElement("canvas");
  full.width = width;
  full.height = height;
  const context = full.getContext("2d");
  const image = context.createImageData(width, height);
  for (let at = 0; at < mask.length; at++) {
    image.data[4 * at + 3] = mask[at] ? 0 : 170; // what is outside is darkened
  }
  paintMask(image.data, mask, width, height, color, Math.max(1, Math.round(across / 80)), 0, width, 0);
  context.putImageData(image, 0, 0);
  const small = document.createElement("canvas");
  const shrink = THUMBNAIL_SIDE / Math.max(across, down);
  small.width = Math.max(1, Math.round(across * shrink));
  small.height = Math.max(1, Math.round(down * shrink));
  const drawn = small.getContext("2d");
  for (const layer of [picture, full]) {
    drawn.drawImage(layer, x, y, across, down, 0, 0, small.width, small.height);
  }
  return small;
}
