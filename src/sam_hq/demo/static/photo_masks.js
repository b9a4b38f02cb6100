// Low-resolution logits as masks of the image: up to the padded square, padding cut off, on to the wanted size.
// Both steps are bilinear, so that along each axis they are one list of three neighbours and their weights.

const TAPS = 3;

// The way to masks of `width` by `height`; `resized` is [width, height] in the resized frame.
export function maskFrame(width, height, resized, metadata) {
  return {
    width,
    height,
    columns: neighbours(width, resized[0], metadata),
    rows: neighbours(height, resized[1], metadata),
    maskSize: metadata.maskSize,
    threshold: metadata.maskThreshold,
  };
}

// logits: (s, s). Returns the mask as lengths of runs down the columns, outside first, and its area.
export function maskRuns(logits, frame) {
  const { width, height, columns, rows, maskSize, threshold } = frame;
  // (s, height): the low-resolution columns at full height.
  const tall = new Float32Array(maskSize * height);
  for (let y = 0; y < height; y++) {
    const from = rows.first[y] * maskSize;
    const [a, b, c] = rows.weights.subarray(TAPS * y, TAPS * y + TAPS);
    for (let column = 0; column < maskSize; column++) {
      const at = from + column;
      tall[column * height + y] = a * logits[at] + b * logits[at + maskSize] + c * logits[at + 2 * maskSize];
    }
  }
  const counts = [];
  let area = 0;
  let inside = false;
  let run = 0;
  for (let x = 0; x < width; x++) {
    const from = columns.first[x] * height;
    const [a, b, c] = columns.weights.subarray(TAPS * x, TAPS * x + TAPS);
    for (let y = 0; y < height; y++) {
      const at = from + y;
      const above = a * tall[at] + b * tall[at + height] + c * tall[at + 2 * height] > threshold;
      if (above !== inside) {
        counts.push(run);
        area += inside ? run : 0;
        inside = above;
        run = 0;
      }
      run++;
    }
  }
  counts.push(run);
  area += inside ? run : 0;
  return { counts: Uint32Array.from(counts), area };
}

// Left, top, width and height of a mask, as COCO has them.
export function boxOf(counts, height) {
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  let position = 0;
  counts.forEach((count, i) => {
    if (i % 2 && count) {
      const last = position + count - 1;
      const [x0, x1] = [Math.floor(position / height), Math.floor(last / height)];
      left = Math.min(left, x0);
      right = Math.max(right, x1);
      top = Math.min(top, x0 === x1 ? position % height : 0);
      bottom = Math.max(bottom, x0 === x1 ? last % height : height - 1);
    }
    position += count;
  });
  return right < 0 ? [0, 0, 0, 0] : [left, top, right - left + 1, bottom - top + 1];
}

function neighbours(length, resizedLength, { imageSize, maskSize }) {
  const first = new Int32Array(length);
  const weights = new Float32Array(TAPS * length);
  for (let i = 0; i < length; i++) {
    const down = between(i, length, resizedLength);
    const ups = down.map(([place, weight]) => [between(place, imageSize, maskSize), weight]);
    first[i] = Math.min(ups[0][0][0][0], maskSize - TAPS);
    for (const [pair, weight] of ups) {
      for (const [place, share] of pair) {
        weights[TAPS * i + place - first[i]] += weight * share;
      }
    }
  }
  return { first, weights };
}

// The two old places that new place `i` lies between, with their weights; half-pixel centres.
function between(i, length, oldLength) {
  const at = Math.max(0, ((i + 0.5) * oldLength) / length - 0.5);
  const low = Math.min(Math.floor(at), oldLength - 1);
  const high = Math.min(low + 1, oldLength - 1);
  return [[low, 1 - (at - low)], [high, at - low]];
}
