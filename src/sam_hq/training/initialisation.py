"""Starting values for training from scratch; the model's own suit loading and fine-tuning."""

from __future__ import annotations

import math

import torch
from torch import nn

from ..model.two_way_transformer import SamHQAttention, SamHQTwoWayTransformer
from ..modeling_sam_hq import SamHQModel

LOCALITY_GAIN = 1.4
FREQUENCY_RANGE = (0.1, 1.5)
SIDE_FREQUENCIES = 8
SIDE_GAIN = 2.9


@torch.no_grad()
def start_from_scratch(model: SamHQModel, seed: int = 0) -> SamHQModel:
    """Draw new weights such that a short training gets going at once.

    With the model's own starting values a small network first learns to predict nothing at all, and stays there for
    hundreds of updates, because the prompts hardly reach the masks. Here

    * layers start at the scale of their fan-in, learned tokens at that of the positional encodings,
    * positions are encoded by frequencies of every scale rather than of one, some of them along x or y alone,
    * attentions start as comparisons of positions (equal projections of queries and keys) that hand on what they attend
      to unchanged (the output projection undoes the values'),
    * the pixels' attention to the tokens starts by asking on which side of a token a pixel lies. Both corners' answers
      together are the inside of a box, which otherwise takes most of a short training to find.

    Args:
        model: A new model; its weights are overwritten.
        seed: Seed of the weights.

    Returns:
        The model.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.Embedding):
                module.reset_parameters()
        _compare_positions(model.mask_decoder.transformer)
        frequencies = model.shared_image_embedding.positional_embedding
        lowest, highest = (math.log(frequency) for frequency in FREQUENCY_RANGE)
        scales = torch.exp(torch.linspace(lowest, highest, frequencies.shape[1]))
        frequencies.copy_(nn.functional.normalize(torch.randn_like(frequencies), dim=0) * scales)
        _tell_sides(model)
    return model


def _tell_sides(model: SamHQModel) -> None:
    """Let pixels tell whether they lie right of, below, left of or above a token, in one head each.

    sin w(x - x0) = sin wx cos wx0 - cos wx sin wx0 is a product of two positional encodings, and over odd multiples of
    a slow frequency the sum of sin(w d) / w is a step at d = 0.
    """
    frequencies = model.shared_image_embedding.positional_embedding
    half, decoder = frequencies.shape[1], model.mask_decoder
    head_dim = decoder.transformer.final_attn_token_to_image.head_dim
    count = min(SIDE_FREQUENCIES, head_dim // 2, half // 2)
    odd = 2 * torch.arange(count) + 1.0
    for axis in range(2):
        columns = slice(axis * count, (axis + 1) * count)
        frequencies[:, columns] = 0
        frequencies[axis, columns] = odd / 4
    reserved = torch.cat([torch.arange(2 * count), half + torch.arange(2 * count)])
    learned = (decoder.iou_token, decoder.mask_tokens, decoder.hq_token)
    encoder = model.prompt_encoder
    for embedding in (*learned, *encoder.point_embed, encoder.not_a_point_embed, encoder.no_mask_embed):
        embedding.weight[:, reserved] = 0  # positions are read undisturbed
    model.vision_encoder.neck.layer_norm2.weight[reserved] = 0
    place = torch.arange(count)
    for attention in _image_to_token(decoder.transformer):
        query, key = attention.q_proj.weight, attention.k_proj.weight
        query.zero_()
        key.zero_()
        attention.out_proj.weight[reserved] = 0
        weight = SIDE_GAIN / odd.sqrt()
        for head in range(attention.num_attention_heads):
            sign, sines = 1.0 if head % 4 < 2 else -1.0, (head % 2) * count + place
            row = head * head_dim + place
            query[row, sines], key[row, half + sines] = sign * weight, weight
            query[row + count, half + sines], key[row + count, sines] = -sign * weight, weight


def _image_to_token(transformer: SamHQTwoWayTransformer) -> list[SamHQAttention]:
    named = transformer.named_modules()
    return [module for name, module in named if name.endswith("image_to_token") and isinstance(module, SamHQAttention)]


def _compare_positions(transformer: SamHQTwoWayTransformer) -> None:
    for attention in transformer.modules():
        if not isinstance(attention, SamHQAttention):
            continue
        across = attention.q_proj.out_features < attention.q_proj.in_features
        nn.init.orthogonal_(attention.q_proj.weight, gain=LOCALITY_GAIN if across else 1.0)
        attention.k_proj.weight.copy_(attention.q_proj.weight)
        nn.init.orthogonal_(attention.v_proj.weight)
        attention.out_proj.weight.copy_(attention.v_proj.weight.t())
        for projection in (attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj):
            nn.init.zeros_(projection.bias)
