// Masks as pixels: from run lengths, and into colours with a contour.

const MOST_DECODED = 24;
const decoded = new Map(); // the masks that were drawn last, by their run lengths

// What is drawn again and again: {mask, bounds} of run lengths, see decodeRuns and boundsOf.
export function decodedMask(counts, width, height) {
  const found = decoded.get(counts) ?? { mask: decodeRuns(counts, width, height), bounds: boundsOf(counts, height) };
  decoded.delete(counts);
  decoded.set(counts, found);
  if (decoded.size > MOST_DECODED) {
    decoded.delete(decoded.keys().next().value);
  }
  return found;
}

// counts: lengths of runs down the columns, outside first. Returns a Uint8Array of width * height, row by row.
export function decodeRuns(counts, width, height) {
  const mask = new Uint8Array(width * height);
  let position = 0;
  for (let i = 0; i < counts.length; i++) {
    const end = position + counts[i];
    if (i % 2) {
      let x = Math.floor(position / height);
      let y = position - x * height;
      for (let p = position; p < end; p++) {
        mask[y * width + x] = 1;
        if (++y === height) {
          y = 0;
          x++;
        }
      }
    }
    position = end;
  }
  return mask;
}

// [left, top, right, bottom] of what is inside, the last two excluded; null where nothing is.
export function boundsOf(counts, height) {
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  let position = 0;
  for (let i = 0; i < counts.length; i++) {
    const end = position + counts[i];
    if (i % 2 && counts[i]) {
      const [first, last] = [Math.floor(position / height), Math.floor((end - 1) / height)];
      left = Math.min(left, first);
      right = Math.max(right, last + 1);
      top = Math.min(top, first === last ? position % height : 0); // a run over two columns reaches both borders
      bottom = Math.max(bottom, first === last ? ((end - 1) % height) + 1 : height);
    }
    position = end;
  }
  return right < 0 ? null : [left, top, right, bottom];
}

export function rgb(color) {
  const value = parseInt(color.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

// Paints a mask with its bounds into RGBA pixels between two columns: filled, with a contour of `edge` pixels
// inside it, of black and white dashes if `dashed`.
export function paintMask(pixels, { mask, bounds }, width, height, color, edge, {
  left = 0, right = width, opacity = 0.42, dashed = false,
} = {}) {
  if (!bounds) {
    return;
  }
  // A pixel at a time, as one number: alpha, blue, green and red, from the highest byte down.
  const words = new Uint32Array(pixels.buffer, pixels.byteOffset, pixels.length / 4);
  const [red, green, blue] = rgb(color);
  const colored = (alpha) => ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  const [line, fill] = [colored(255), colored(Math.round(255 * opacity))];
  const across = edge * width;
  const dash = 4 * edge;
  for (let y = bounds[1]; y < bounds[3]; y++) {
    const atBorder = y < edge || y + edge >= height;
    const end = Math.min(right, bounds[2]);
    for (let x = Math.max(left, bounds[0]); x < end; x++) {
      const here = y * width + x;
      if (mask[here] === 0) {
        continue;
      }
      const onEdge = atBorder || x < edge || x + edge >= width ||
        (mask[here - edge] & mask[here + edge] & mask[here - across] & mask[here + across]) === 0;
      const word = !onEdge ? fill : !dashed ? line : (((x / dash) | 0) + ((y / dash) | 0)) & 1 ? 0xffffffff : 0xff000000;
      if (word >>> 24 >= words[here] >>> 24) {
        words[here] = word;
      }
    }
  }
}

// Paints numbered pixels, each number in its colour; the one pointed at is filled more strongly.
export function paintLabels(pixels, labels, width, colors, highlighted) {
  const channels = colors.map(rgb);
  for (let here = 0; here < labels.length; here++) {
    const label = labels[here];
    if (!label) {
      continue;
    }
    const onBorder = labels[here + 1] !== label || labels[here + width] !== label || labels[here - 1] !== label ||
      labels[here - width] !== label;
    const [red, green, blue] = channels[label - 1];
    pixels[4 * here] = red;
    pixels[4 * here + 1] = green;
    pixels[4 * here + 2] = blue;
    pixels[4 * here + 3] = onBorder ? 255 : label === highlighted ? 185 : 105;
  }
}
