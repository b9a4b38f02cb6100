// The exported graphs in onnxruntime-web: images to embeddings, prompts to logits.

import * as ort from "./runtime/ort.js";
import { agreedSettings } from "./graph_metadata.js";
import { encoderInput, resizedSize } from "./photo_pixels.js";

const PADDING_LABEL = -10;

export class Model {
  // address: of the folder with the graphs; onProgress(share) is called while they arrive.
  static async load(address, onProgress = () => {}) {
    const described = await (await fetched(`${address}/sam_hq.json`)).json();
    const graphs = {};
    for (const [i, name] of ["encoder", "decoder"].entries()) {
      graphs[name] =
        await bytesOf(await fetched(`${address}/${name}.onnx`), (share) => onProgress(0.98 * (i + share) / 2));
    }
    const metadata = readMetadata(agreedSettings(graphs, described));
    const sessions = [];
    for (const name of ["encoder", "decoder"]) {
      sessions.push(await ort.InferenceSession.create(graphs[name], { executionProviders: ["wasm"] }));
      delete graphs[name];
    }
    return new Model(metadata, ...sessions);
  }

  constructor(metadata, encoder, decoder) {
    this.metadata = metadata;
    this.encoder = encoder;
    this.decoder = decoder;
  }

  // pixels: RGBA. Returns what prompts need: embeddings and the photo's sizes.
  async embed(pixels, width, height) {
    const { imageSize } = this.metadata;
    const input = encoderInput(pixels, width, height, this.metadata);
    const features = await this.encoder.run({
      pixel_values: new ort.Tensor("float32", input, [1, 3, imageSize, imageSize]),
    });
    return { features, width, height, resized: resizedSize(width, height, this.metadata.size) };
  }

  // prompts: {points: [[x, y, label]], box, previous}, in pixels of the photo. Resolves to {masks, samMasks,
  // scores}: logits (s, s) of each candidate, best first, and those of SAM beside them.
  async answer(embedded, prompts, three, hqOnly) {
    const inputs = this.#inputs(embedded, prompts, three);
    const whole = await this.#decode(inputs, false);
    // The HQ token's mask is the same for all candidates: what is left without it is SAM's.
    const hq = await this.#decode(inputs, true);
    const samMasks = whole.masks.map((mask) => mask.map((logit, i) => logit - hq.masks[0][i]));
    return { ...(hqOnly ? hq : whole), samMasks };
  }

  async #decode(inputs, hqOnly) {
    const { pred_masks: masks, iou_scores: scores } =
      await this.decoder.run({ ...inputs, hq_token_only: new ort.Tensor("bool", [hqOnly], []) });
    const size = this.metadata.maskSize ** 2;
    return {
      scores: [...scores.data],
      masks: Array.from({ length: scores.data.length }, (_, i) => masks.data.slice(i * size, (i + 1) * size)),
    };
  }

  #inputs({ features, width, height, resized }, { points, box, previous }, three) {
    const { maskSize } = this.metadata;
    const [across, down] = [resized[0] / width, resized[1] / height];
    // An object without points has one of padding: no axis of a graph's input may be empty.
    const given = points.length ? points : [[0, 0, PADDING_LABEL]];
    const corners = box ?? [0, 0, 0, 0];
    const float = (values, shape) => new ort.Tensor("float32", Float32Array.from(values), shape);
    const flag = (value, shape) => new ort.Tensor("bool", [value], shape);
    return {
      image_embeddings: features.image_embeddings,
      hq_features: features.hq_features,
      input_points: float(given.flatMap(([x, y]) => [x * across, y * down]), [1, 1, given.length, 2]),
      input_labels: new ort.Tensor("int64", BigInt64Array.from(given.map(([, , label]) => BigInt(label))),
        [1, 1, given.length]),
      input_boxes: float(corners.map((value, i) => value * (i % 2 ? down : across)), [1, 1, 4]),
      has_box: flag(box !== null, [1, 1]),
      input_masks: float(previous ?? new Float32Array(maskSize ** 2), [1, 1, maskSize, maskSize]),
      has_mask: flag(previous !== null, [1, 1]),
      multimask_output: flag(three, []),
    };
  }
}

function readMetadata(strings) {
  return {
    imageSize: Number(strings.image_size),
    maskSize: Number(strings.mask_size),
    maskThreshold: Number(strings.mask_threshold),
    size: JSON.parse(strings.size),
    imageMean: JSON.parse(strings.image_mean),
    imageStd: JSON.parse(strings.image_std),
  };
}

async function fetched(address) {
  const response = await fetch(address).catch(() => null);
  if (!response?.ok) {
    throw new Error(`The model did not arrive (${address.split("/").at(-1)}): reload the page.`);
  }
  return response;
}

async function bytesOf(response, onProgress) {
  const length = Number(response.headers.get("Content-Length"));
  const parts = [];
  let received = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) {
      return new Uint8Array(await new Blob(parts).arrayBuffer());
    }
    parts.push(value);
    received += value.length;
    onProgress(length ? Math.min(1, received / length) : 0);
  }
}
