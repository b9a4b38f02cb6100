// Small pictures of candidates, cut so that they can be told apart.

import { boundsOf, decodedMask, paintMask } from "./mask_pixels.js";

const THUMBNAIL_SIDE = 320;
const DARKENED = 170; // of 255: what is outside

// The part of the photo in which masks lie, given as run lengths: [x, y, width, height], with some room about.
export function framedPart(masks, width, height) {
  const bounds = masks.map((counts) => boundsOf(counts, height)).filter(Boolean);
  if (bounds.length === 0) {
    return [0, 0, width, height];
  }
  const [left, top] = [0, 1].map((side) => Math.min(...bounds.map((each) => each[side])));
  const [right, bottom] = [2, 3].map((side) => Math.max(...bounds.map((each) => each[side])));
  const room = Math.round(0.15 * Math.max(right - left, bottom - top) + 4);
  const [x, y] = [Math.max(0, left - room), Math.max(0, top - room)];
  return [x, y, Math.min(width, right + room) - x, Math.min(height, bottom + room) - y];
}

// picture: canvas of the shown picture. Returns a canvas of the part, darkened outside the mask.
export function thumbnail(picture, counts, [x, y, across, down], color) {
  const { mask } = decodedMask(counts, picture.width, picture.height);
  const shrink = THUMBNAIL_SIDE / Math.max(across, down);
  const small = document.createElement("canvas");
  const width = small.width = Math.max(1, Math.round(across * shrink));
  const height = small.height = Math.max(1, Math.round(down * shrink));
  const context = small.getContext("2d");
  context.drawImage(picture, x, y, across, down, 0, 0, width, height);
  // Small from the start: what is made at the photo's size takes longer than the model's answer.
  const inside = new Uint8Array(width * height);
  const veil = document.createElement("canvas");
  veil.width = width;
  veil.height = height;
  const image = new ImageData(width, height);
  for (let row = 0; row < height; row++) {
    const from = (y + Math.floor(((row + 0.5) * down) / height)) * picture.width + x;
    for (let column = 0; column < width; column++) {
      const at = row * width + column;
      inside[at] = mask[from + Math.floor(((column + 0.5) * across) / width)];
      image.data[4 * at + 3] = inside[at] ? 0 : DARKENED;
    }
  }
  const whole = { mask: inside, bounds: [0, 0, width, height] };
  paintMask(image.data, whole, width, height, color, Math.max(1, Math.round(width / 80)), { opacity: 0 });
  veil.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(veil, 0, 0);
  return small;
}
