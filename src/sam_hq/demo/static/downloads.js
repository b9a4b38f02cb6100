// What can be taken away from a session, at the size of the photo; the files are those of the server's demo.

import { boundsOf, decodeRuns, paintMask } from "./mask_pixels.js";
import { cssColor, objectColor } from "./object_colors.js";
import { decodePhoto } from "./photo_decoding.js";
import { boxOf, maskFrame, maskRuns } from "./photo_masks.js";
import { indexedPng } from "./png.js";
import { cocoString } from "./coco_runs.js";

const OPACITY = 0.45;

const FILES = { "overlay.png": overlay, "masks.png": masks, "cutout.png": cutout, "annotations.json": annotations };

// Resolves to a Blob.
export function makeFile(name, session, file) {
  const { width, height } = session.photo;
  const frame = maskFrame(width, height, session.resized, session.metadata);
  const rows = session.objects().map(({ number, name: word, logits, score }) =>
    ({ number, category: word || "object", score, ...maskRuns(logits, frame) }));
  if (rows.length === 0) {
    throw new Error("there is no mask yet: click on an object first");
  }
  return FILES[name](rows, session.photo, file);
}

async function overlay(rows, { width, height }, file) {
  const { pixels } = await decodePhoto(file, Infinity);
  const edge = Math.max(1, Math.round(Math.max(width, height) / 500));
  for (const { number, counts } of smallOnTop(rows)) {
    const layer = new Uint8ClampedArray(pixels.length);
    const mask = { mask: decodeRuns(counts, width, height), bounds: boundsOf(counts, height) };
    paintMask(layer, mask, width, height, cssColor(number), edge, { opacity: OPACITY });
    for (let at = 0; at < pixels.length; at += 4) {
      const share = layer[at + 3] / 255;
      if (share) {
        for (let channel = at; channel < at + 3; channel++) {
          pixels[channel] += share * (layer[channel] - pixels[channel]);
        }
      }
    }
  }
  return canvasPng(pixels, width, height);
}

// Pixels are the objects' numbers, 0 outside, in the objects' colours.
function masks(rows, { width, height }) {
  const labels = new Uint8Array(width * height);
  for (const { number, counts } of smallOnTop(rows)) {
    decodeRuns(counts, width, height).forEach((inside, at) => {
      if (inside) {
        labels[at] = number;
      }
    });
  }
  const most = Math.max(...rows.map((row) => row.number));
  const palette = [[0, 0, 0], ...Array.from({ length: most }, (_, i) => objectColor(i + 1))];
  return indexedPng(labels, width, height, palette);
}

// The photo, transparent outside the masks.
async function cutout(rows, { width, height }, file) {
  const { pixels } = await decodePhoto(file, Infinity);
  const inside = rows.map(({ counts }) => decodeRuns(counts, width, height));
  for (let at = 0; at < width * height; at++) {
    pixels[4 * at + 3] = inside.some((mask) => mask[at]) ? 255 : 0;
  }
  return canvasPng(pixels, width, height);
}

function annotations(rows, { name, width, height }) {
  // Numbered from 1 in the order of the first object of each.
  const categories = [...new Set(rows.map((row) => row.category))];
  const coco = {
    info: { description: "masks found by SAM-HQ" },
    images: [{ id: 1, file_name: name, width, height }],
    licenses: [],
    annotations: rows.map(({ number, category, score, counts, area }, i) => ({
      id: i + 1,
      image_id: 1,
      category_id: categories.indexOf(category) + 1,
      iscrowd: 0,
      segmentation: { size: [height, width], counts: cocoString(counts) },
      area,
      bbox: boxOf(counts, height),
      object: number,
      predicted_iou: score,
    })),
    categories: categories.map((name, i) => ({ id: i + 1, name })),
  };
  return new Blob([JSON.stringify(coco)], { type: "application/json" });
}

function smallOnTop(rows) {
  return [...rows].sort((a, b) => b.area - a.area);
}

function canvasPng(pixels, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}
