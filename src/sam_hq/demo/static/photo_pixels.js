// A photo's pixels as the encoder wants them, equal to what Pillow and the image processor make of them. A canvas
// resizes in other ways in every browser, and none of them is Pillow's.

const WEIGHT_BITS = 22;

// Width and height of an image in the resized frame; `size` is the metadata's.
export function resizedSize(width, height, size) {
  if (size.longest_edge === undefined) {
    return [size.width, size.height];
  }
  const scale = size.longest_edge / Math.max(width, height);
  return [width, height].map((side) => Math.max(1, Math.floor(side * scale + 0.5)));
}

// pixels: RGBA, row by row. Returns Float32Array (3, S, S): resized, normalised, zeros at the right and the bottom.
export function encoderInput(pixels, width, height, metadata) {
  const [newWidth, newHeight] = resizedSize(width, height, metadata.size);
  const side = metadata.imageSize;
  const resized = resize(pixels, width, height, newWidth, newHeight);
  const input = new Float32Array(3 * side * side);
  for (let channel = 0; channel < 3; channel++) {
    const mean = metadata.imageMean[channel];
    const std = metadata.imageStd[channel];
    for (let y = 0; y < newHeight; y++) {
      const row = (channel * side + y) * side;
      for (let x = 0; x < newWidth; x++) {
        input[row + x] = (resized[4 * (y * newWidth + x) + channel] - mean) / std;
      }
    }
  }
  return input;
}

// Pillow's bilinear resize with antialiasing: the width first, then the height, rounded to 8 bits after each.
export function resize(pixels, width, height, newWidth, newHeight) {
  const narrow = newWidth === width ? pixels : resizeAxis(pixels, height, width, newWidth, 4, 4 * width, 4 * newWidth);
  return newHeight === height ? narrow :
    resizeAxis(narrow, newWidth, height, newHeight, 4 * newWidth, 4, 4);
}

// Resizes `lines` lines of `length` pixels. Pixels of a line lie `step` bytes apart, lines `stride` before and
// `newStride` after.
function resizeAxis(pixels, lines, length, newLength, step, stride, newStride) {
  const { first, count, weights, taps } = triangleWeights(length, newLength);
  const resized = new Uint8ClampedArray(4 * lines * newLength);
  for (let i = 0; i < newLength; i++) {
    for (let line = 0; line < lines; line++) {
      let from = line * stride + first[i] * step;
      let red = 1 << (WEIGHT_BITS - 1);
      let green = red;
      let blue = red;
      for (let k = i * taps; k < i * taps + count[i]; k++, from += step) {
        const weight = weights[k];
        red += pixels[from] * weight;
        green += pixels[from + 1] * weight;
        blue += pixels[from + 2] * weight;
      }
      const into = line * newStride + i * step;
      resized[into] = red >> WEIGHT_BITS;
      resized[into + 1] = green >> WEIGHT_BITS;
      resized[into + 2] = blue >> WEIGHT_BITS;
    }
  }
  return resized;
}

// Neighbours of every new pixel and their weights in fixed point.
function triangleWeights(length, newLength) {
  const scale = length / newLength;
  const support = Math.max(scale, 1); // of the triangle, in old pixels
  const taps = 2 * Math.ceil(support) + 1;
  const first = new Int32Array(newLength);
  const count = new Int32Array(newLength);
  const weights = new Int32Array(newLength * taps);
  for (let i = 0; i < newLength; i++) {
    const centre = (i + 0.5) * scale;
    first[i] = Math.max(Math.trunc(centre - support + 0.5), 0);
    count[i] = Math.min(Math.trunc(centre + support + 0.5), length) - first[i];
    const shares = Array.from({ length: count[i] }, (_, k) =>
      Math.max(0, 1 - Math.abs((first[i] + k - centre + 0.5) / support)));
    const total = shares.reduce((sum, share) => sum + share, 0);
    shares.forEach((share, k) => {
      weights[i * taps + k] = Math.trunc(0.5 + (share / total) * (1 << WEIGHT_BITS));
    });
  }
  return { first, count, weights, taps };
}
