"""Deterministic weights in the authors' checkpoint format, made with numpy alone.

No pretrained checkpoint can be committed, and one drawn by `torch.manual_seed` depends on the torch release. Here every
array follows from its key, its shape and a seed, by integer arithmetic on a PCG64 bit stream: the same bits everywhere.

Nothing sits at its neutral value (norm scales, biases, relative positions, batch-norm statistics, attention biases), so
that a forgotten or misplaced parameter changes the numbers. The scales keep activations healthy down to the last
layer, and a few structural choices (named where they are made) give masks that follow the photo and the prompt
instead of white noise: they are what makes mask overlap, stability and non-maximum suppression worth comparing.
"""

import json
import math
import re
import zlib
from pathlib import Path

import numpy as np

VARIANTS = ("vit_tiny", "vit_b", "vit_l", "vit_h")


def load_shapes(variant: str) -> dict[str, tuple[int, ...]]:
    """Returns `{key: shape}` of the authors' checkpoint of one variant, in its order.

    Args:
        variant: One of `VARIANTS`.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {VARIANTS}, got {variant!r}")
    table = json.loads((Path(__file__).parent / f"shapes_{variant}.json").read_text())
    return {key: tuple(shape) for key, shape in table.items()}


def seeded_state_dict(variant: str, seed: int = 0, local_masks: bool = False) -> dict[str, np.ndarray]:
    """Returns a full state dict of one variant: float32 arrays, int64 for the batch-norm counters.

    Args:
        variant: One of `VARIANTS`.
        seed: Another seed gives other weights. The golden numbers belong to seed 0.
        local_masks: Adds `keep_masks_local`, for mask generation: masks then lie around their points instead of all
            over the photo, where every box would be the same. The encoder is not touched.
    """
    state_dict = {key: seeded_array(key, shape, seed) for key, shape in load_shapes(variant).items()}
    if local_masks:
        keep_masks_local(state_dict)
    for key, offset in load_offsets(f"{variant} local" if local_masks else variant).items():
        state_dict[key] = state_dict[key] + np.asarray(offset, dtype=np.float32)
    return state_dict


def keep_masks_local(state_dict: dict[str, np.ndarray]) -> None:
    """Gives one channel of the decoder a meaning: it marks the prompt, and the pixels that attend to it.

    A point token carries the mark, the two-way transformer hands it on to the pixels near the point (whose positions
    match the token's), the upscaling turns it into a common part of all features, and the hypernetworks add that part
    up. Everything else stays as drawn. Changes the arrays in place.
    """
    decoder, prompts = "mask_decoder.", "prompt_encoder."
    mark = 0
    # Channel 0 of the positions would wave over the picture: make it nearly flat.
    state_dict[prompts + "pe_layer.positional_encoding_gaussian_matrix"][:, mark] = (0.02, -0.02)
    for token in ("iou_token", "mask_tokens", "hf_token"):
        state_dict[f"{decoder}{token}.weight"][:, mark] *= 0.1
    state_dict[prompts + "not_a_point_embed.weight"][:, mark] *= 0.1
    state_dict[prompts + "point_embeddings.1.weight"][:, mark] = 2.0
    faint = np.float32(0.02)
    for layer in ("transformer.layers.0.", "transformer.layers.1."):
        for norm in ("norm1", "norm2", "norm3"):
            state_dict[f"{decoder}{layer}{norm}.weight"][mark] = 1.0
            state_dict[f"{decoder}{layer}{norm}.bias"][mark] *= faint
        for attention in ("self_attn", "cross_attn_token_to_image", "cross_attn_image_to_token"):
            # The mark is carried by attention but does not attract it: positions do.
            state_dict[f"{decoder}{layer}{attention}.q_proj.weight"][:, mark] *= faint
            state_dict[f"{decoder}{layer}{attention}.k_proj.weight"][:, mark] *= faint
            state_dict[f"{decoder}{layer}{attention}.out_proj.weight"][mark] *= faint
            state_dict[f"{decoder}{layer}{attention}.out_proj.bias"][mark] *= faint
        state_dict[f"{decoder}{layer}mlp.lin2.weight"][mark] *= faint
        state_dict[f"{decoder}{layer}mlp.lin2.bias"][mark] *= faint
    hand_on(state_dict, f"{decoder}transformer.layers.0.self_attn.", mark, heads=8)
    hand_on(state_dict, f"{decoder}transformer.layers.1.cross_attn_image_to_token.", mark, heads=8)
    state_dict[decoder + "output_upscaling.0.weight"][mark, :32] += 3.0
    state_dict[decoder + "output_upscaling.0.weight"][mark, 32:] -= 3.0
    # Far from the prompt the mark is about 0.4 all over: below the threshold set here.
    state_dict[decoder + "output_upscaling.0.bias"][:32] -= 1.3
    state_dict[decoder + "output_upscaling.0.bias"][32:] += 1.3
    state_dict[decoder + "output_upscaling.3.weight"][:32] += 0.03
    state_dict[decoder + "output_upscaling.3.weight"][32:] -= 0.03
    state_dict[decoder + "hf_mlp.layers.2.weight"] *= np.float32(0.3)
    for index in range(4):
        state_dict[f"{decoder}output_hypernetworks_mlps.{index}.layers.2.weight"] *= np.float32(0.25)
        state_dict[f"{decoder}output_hypernetworks_mlps.{index}.layers.2.bias"] += 1.0


def hand_on(state_dict: dict[str, np.ndarray], attention: str, mark: int, heads: int) -> None:
    """Makes the first channel of every head of an attention carry the mark from its values to its output."""
    values, output = state_dict[attention + "v_proj.weight"], state_dict[attention + "out_proj.weight"]
    first = np.arange(heads) * (len(values) // heads)
    values[first] = 0.0
    values[first, mark] = 1.0
    output[mark] = 0.0
    output[mark, first] = 1 / heads


def load_offsets(variant: str) -> dict[str, list[float]]:
    """Returns what is added to a few biases of the decoder, `{key: values}`, empty if none is known.

    `variant` is one of `VARIANTS`, with " local" behind it for the weights with `local_masks`.

    Random features have a common part far larger than what changes from pixel to pixel and from prompt to prompt. These
    numbers, measured once per variant by `calibrate.py`, take it out of the mask logits and the scores, so that masks
    have both signs and every one of the three candidates is the best one for some prompts.
    """
    return json.loads((Path(__file__).parent / "bias_offsets.json").read_text()).get(variant, {})


def seeded_array(key: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Returns the array of one checkpoint key.

    Args:
        key: Name in the authors' checkpoint.
        shape: Its shape.
        seed: See `seeded_state_dict`.
    """
    if key.endswith("num_batches_tracked"):
        return np.full(shape, 1000, dtype=np.int64)
    for pattern, rule in RULES:
        if re.search(pattern, key):
            array = rule(key, shape, seed)
            break
    else:
        array = matrix(key, shape, seed) if len(shape) > 1 else vector(key, shape, seed)
    return np.ascontiguousarray(array, dtype=np.float32).reshape(shape)


def noise(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Uniform values of mean 0 and variance 1, from 24 random bits each: exact in float32."""
    count = math.prod(shape)
    bits = np.random.PCG64(np.random.SeedSequence([seed, zlib.crc32(key.encode())]))
    words = np.asarray(bits.random_raw((count + 1) // 2), dtype="<u8").view("<u4")[:count]
    values = (words >> np.uint32(8)).astype(np.float32) * np.float32(2**-24)
    return ((values - np.float32(0.5)) * np.float32(math.sqrt(12))).reshape(shape)


def vector(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """One-dimensional parameters: norm scales around 1, everything else around 0."""
    if key.endswith(".weight"):
        return 1 + 0.2 * noise(key, shape, seed)
    return 0.1 * noise(key, shape, seed)


def matrix(key: str, shape: tuple[int, ...], seed: int, gain: float = 1.0) -> np.ndarray:
    """Linear layers and convolutions: variance `gain`² / fan-in."""
    return noise(key, shape, seed) * np.float32(gain / math.sqrt(math.prod(shape[1:])))


def scaled(gain: float):
    """A rule: `matrix` with another gain."""
    return lambda key, shape, seed: matrix(key, shape, seed, gain)


def plain(scale: float, offset: float = 0.0):
    """A rule: noise of one scale around an offset, whatever the shape."""
    return lambda key, shape, seed: offset + scale * noise(key, shape, seed)


def smooth_grid(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Absolute positions (1, h, w, c) that vary slowly over the grid, with a little of their own at every cell."""
    _, height, width, channels = shape
    coarse = noise(key + "/coarse", (9, 9, channels), seed)
    rows, columns = interpolation(height, 9), interpolation(width, 9)
    smooth = np.einsum("yi,ijc->yjc", rows, coarse)
    smooth = np.einsum("xj,yjc->yxc", columns, smooth)
    return (0.5 * smooth + 0.05 * noise(key, shape[1:], seed))[None]


def interpolation(length: int, knots: int) -> np.ndarray:
    """Linear interpolation weights (length, knots) from evenly spaced knots to `length` cells."""
    position = np.linspace(0, knots - 1, length, dtype=np.float32)[:, None]
    return np.maximum(0, 1 - np.abs(position - np.arange(knots, dtype=np.float32)))


def depthwise(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Depthwise 3x3 kernels with a heavy centre, so that a chain of them neither blurs everything nor scrambles it."""
    kernel = 0.2 * noise(key, shape, seed)
    kernel[:, :, 1, 1] += 0.9
    return kernel


def upsampling(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Transposed 2x2 convolutions (in, out, 2, 2) whose four taps mostly agree: no chequered masks."""
    common = noise(key + "/common", (*shape[:2], 1, 1), seed)
    taps = common + 0.04 * noise(key, shape, seed)
    return taps * np.float32(math.sqrt(2 / shape[0]))


def key_like_query(gain: float, agreement: float = 0.9):
    """A rule for key projections that partly repeat the query projection, so that like attends to like.

    Points then attend to their own surroundings, and pixels to the point that is near them.
    """
    own = math.sqrt(1 - agreement**2)

    def rule(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
        query = noise(key.replace("k_proj", "q_proj"), shape, seed)
        return (agreement * query + own * noise(key, shape, seed)) * np.float32(gain / math.sqrt(shape[1]))

    return rule


def fused_qkv(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """The encoders' fused projection: rows of unit gain, queries and keys a little larger than the values."""
    return matrix(key, shape, seed, gain=1.3)


def balanced_outputs(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Columns that sum to zero: a mask's logit then compares features instead of adding up their common part."""
    weights = matrix(key, shape, seed, gain=2.8)
    return weights - weights.mean(axis=0, keepdims=True)


def balanced_inputs(gain: float, inputs: int):
    """A rule: what follows a rectifier sums to zero over its inputs (axis `inputs`), against a common offset."""

    def rule(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
        weights = upsampling(key, shape, seed) if inputs == 0 else matrix(key, shape, seed)
        return gain * (weights - weights.mean(axis=inputs, keepdims=True))

    return rule


# First match wins. What matches nothing is a plain vector or matrix.
RULES = (
    (r"running_mean$", plain(0.1)),
    (r"running_var$", plain(0.25, 1.0)),
    (r"positional_encoding_gaussian_matrix$", plain(1.0)),
    (r"pos_embed$", smooth_grid),
    (r"rel_pos_[hw]$", plain(0.1)),
    (r"attention_biases$", plain(0.5)),
    (r"(local_conv|conv2)\.c\.weight$", depthwise),
    (r"qkv\.weight$", fused_qkv),
    (r"image_encoder.*(attn\.proj|lin2|fc2)\.weight$", scaled(0.6)),
    (r"image_encoder.*(lin1|fc1)\.weight$", scaled(1.4)),
    (r"downsample\.conv[13]\.c\.weight$", scaled(0.8)),
    (r"image_encoder\.neck\.3\.weight$|transformer.*norm[1234]\.weight$", plain(0.1, 0.4)),
    (r"(point_embeddings\.\d|not_a_point_embed|no_mask_embed|iou_token|mask_tokens|hf_token)\.weight$", plain(0.4)),
    (r"image_to_token\.q_proj\.weight$", scaled(2.5)),
    (r"image_to_token\.k_proj\.weight$", key_like_query(2.5)),
    (r"image_to_token\.(v|out)_proj\.weight$", scaled(1.5)),
    (r"transformer.*q_proj\.weight$", scaled(2.0)),
    (r"transformer.*k_proj\.weight$", key_like_query(2.0)),
    (r"output_upscaling\.3\.weight$", balanced_inputs(1.2, inputs=0)),
    (r"(compress_vit_feat|embedding_encoder)\.3\.weight$", balanced_inputs(0.6, inputs=0)),
    (r"(output_upscaling|compress_vit_feat|embedding_encoder)\.0\.weight$", upsampling),
    (r"embedding_maskfeature\.3\.weight$", balanced_inputs(1.5, inputs=1)),
    (r"(output_hypernetworks_mlps\.\d|hf_mlp|iou_prediction_head)\.layers\.[01]\.weight$", scaled(1.4)),
    (r"(output_hypernetworks_mlps\.\d|hf_mlp)\.layers\.2\.weight$", balanced_outputs),
    (r"iou_prediction_head\.layers\.2\.weight$", balanced_inputs(1.0, inputs=1)),
    (r"iou_prediction_head\.layers\.2\.bias$", plain(0.03, 0.8)),
)
