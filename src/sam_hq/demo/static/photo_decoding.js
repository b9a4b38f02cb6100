// A file to upright pixels.

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
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    context.drawImage(bitmap, 0, 0);
    return { pixels: context.getImageData(0, 0, width, height).data, width, height };
  } finally {
    bitmap.close();
  }
}
