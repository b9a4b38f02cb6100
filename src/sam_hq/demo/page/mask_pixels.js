// Masks as pixels: from run lengths, and into colours with a contour.

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

export function rgb(color) {
  const value = parseInt(color.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

// Paints a mask into RGBA pixels, between two columns: filled, with a contour of `edge` pixels inside it.
export function paintMask(pixels, mask, width, height, color, edge, left = 0, right = width, opacity = 0.42) {
  const [red, green, blue] = rgb(color);
  const fill = Math.round(255 * opacity);
  for (let y = 0; y < height; y++) {
    const up = y - edge < 0 ? -1 : -edge * width;
    const down = y + edge >= height ? -1 : edge * width;
    for (let x = left; x < right; x++) {
      const here = y * width + x;
      if (!mask[here]) {
        continue;
      }
      const onEdge = x < edge || x >= width - edge || up === -1 || down === -1 ||
        !mask[here - edge] || !mask[here + edge] || !mask[here + up] || !mask[here + down];
      const alpha = onEdge ? 255 : fill;
      if (alpha >= pixels[4 * here + 3]) {
        pixels[4 * here] = red;
        pixels[4 * here + 1] = green;
        pixels[4 * here + 2] = blue;
        pixels[4 * here + 3] = alpha;
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
