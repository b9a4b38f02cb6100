// Pictures whose pixels are numbers with a colour each: a canvas cannot write them.

// values: one byte per pixel; palette: [red, green, blue] for 0, 1, …. Resolves to a Blob.
export async function indexedPng(values, width, height, palette) {
  const lines = new Uint8Array(height * (width + 1)); // each line begins with its filter: 0, none
  for (let y = 0; y < height; y++) {
    lines.set(values.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  }
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8); // bits per pixel
  header.setUint8(9, 3); // indexed
  return new Blob([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk("IHDR", new Uint8Array(header.buffer)),
    chunk("PLTE", Uint8Array.from(palette.flat())),
    chunk("IDAT", await compressed(lines)),
    chunk("IEND", new Uint8Array()),
  ], { type: "image/png" });
}

async function compressed(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function chunk(kind, bytes) {
  const whole = new Uint8Array(bytes.length + 12);
  const view = new DataView(whole.buffer);
  view.setUint32(0, bytes.length);
  whole.set(new TextEncoder().encode(kind), 4);
  whole.set(bytes, 8);
  view.setUint32(bytes.length + 8, checksum(whole.subarray(4, bytes.length + 8)));
  return whole;
}

function checksum(bytes) {
  let value = ~0;
  for (const byte of bytes) {
    value ^= byte;
    for (let bit = 0; bit < 8; bit++) {
      value = (value >>> 1) ^ (value & 1 ? 0xedb88320 : 0);
    }
  }
  return ~value >>> 0;
}
