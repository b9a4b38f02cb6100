// A file to upright pixels.

const BAND_PIXELS = 1 << 20; // some browsers give nothing back from a canvas as large as a photo

// Resolves to {pixels, width, height}, RGBA. Colours are those of the file, as Pillow reads them, not converted to
// the screen's.
export async function decodePhoto(file, mostPixels) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, {
      imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none",
    });
  } catch {
    throw new Error("The file is no photo that this browser can read.");
  }
  const { width, height } = bitmap;
  try {
    if (width * height > mostPixels) {
      throw new Error(
        `The photo has ${width} × ${height} pixels, but at most ${Math.round(mostPixels / 1e6)} million are accepted.`);
    }
    const band = Math.min(height, Math.max(1, Math.floor(BAND_PIXELS / width)));
    const context = new OffscreenCanvas(width, band).getContext("2d", { willReadFrequently: true });
    const pixels = new Uint8ClampedArray(4 * width * height);
    for (let top = 0; top < height; top += band) {
      const rows = Math.min(band, height - top);
      context.clearRect(0, 0, width, band);
      context.drawImage(bitmap, 0, -top);
      pixels.set(context.getImageData(0, 0, width, rows).data, 4 * width * top);
    }
    return { pixels, width, height };
  } finally {
    bitmap.close();
  }
}
