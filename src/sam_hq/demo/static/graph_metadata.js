// What the exported graphs say about themselves, read from their bytes: the runtime does not give it.

const FORMAT = "sam-hq-onnx/1";
// What the page goes by, and what tells models apart.
const SETTINGS = ["model", "image_size", "mask_size", "mask_threshold", "size", "image_mean", "image_std", "resample"];
// Numbers of fields in onnx.proto, and of the encodings of fields.
const [METADATA, KEY, VALUE] = [14, 1, 2];
const [VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES] = [0, 1, 2, 5];

// graphs: {encoder, decoder}, bytes; described: sam_hq.json. Returns the settings that all three agree on.
export function agreedSettings(graphs, described) {
  const { encoder, decoder } = Object.fromEntries(Object.entries(graphs).map(([name, bytes]) => {
    const strings = storedMetadata(bytes);
    if (strings.format !== FORMAT || strings.graph !== name) {
      throw new Error(`The model is damaged: ${name}.onnx is not the ${name} of the format ${FORMAT}.`);
    }
    return [name, strings];
  }));
  for (const key of SETTINGS) {
    for (const [file, found] of [["decoder.onnx", decoder[key]], ["sam_hq.json", described?.[key]]]) {
      if (found !== encoder[key]) {
        throw new Error(`The model's files are of different exports: ${key} is ${encoder[key]} in encoder.onnx, ` +
          `${found} in ${file}.`);
      }
    }
  }
  if (encoder.resample !== "bilinear") {
    throw new Error(`The page resizes images bilinearly, but the model wants ${encoder.resample}.`);
  }
  return encoder;
}

function storedMetadata(bytes) {
  const text = new TextDecoder();
  const entries = [...fieldsOf(bytes)].filter(([number]) => number === METADATA).map(([, entry]) => {
    const parts = Object.fromEntries(fieldsOf(entry));
    return [KEY, VALUE].map((number) => text.decode(parts[number]));
  });
  return Object.fromEntries(entries);
}

// Numbers and bytes of the fields that have a length; the others are passed over.
function* fieldsOf(bytes) {
  let at = 0;
  const varint = () => {
    let value = 0;
    for (let scale = 1, more = true; more; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      more = byte > 127;
    }
    return value;
  };
  while (at < bytes.length) {
    const tag = varint();
    const kind = tag % 8;
    if (kind === LENGTH) {
      const length = varint();
      yield [Math.floor(tag / 8), bytes.subarray(at, at + length)];
      at += length;
    } else if (kind === VARINT) {
      varint();
    } else if (kind === EIGHT_BYTES || kind === FOUR_BYTES) {
      at += kind === EIGHT_BYTES ? 8 : 4;
    } else {
      return; // no protocol buffer
    }
  }
}
