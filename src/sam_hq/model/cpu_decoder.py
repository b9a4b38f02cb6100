"""The mask decoder on a CPU, for inference: the answers of `mask_decoder.py` from the same weights, by less work.

With n tokens, a dozen or so, and thousands of pixels p per object:

* The pixels are not projected. A head's scores `(W_q t) . (W_k p)` are `(W_k^T W_q t) . p`, and its values
  `sum_p a_p W_v p` are `W_v sum_p a_p p`, so that projections act on n rows instead of thousands. A constant added to
  all scores of a softmax drops out, and with it the bias of the keys. Where tokens are so many, or heads so wide, that
  this is more work, pixels are projected after all.
* Until the first block changes the pixels, all objects of an image see the same ones: what its tokens do there is done
  for all objects together, on pixels that are projected once.
* The last attention is for the output tokens alone.
* Objects do not mix: a thread takes one after the other, whose pixels stay in its cache.

`cpu_rendering.py` makes the masks; `fast_path.py` says when all this may replace the modules.
tests/model/test_cpu_decoder.py holds it against them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F

from .cpu_matmul import linear
from .cpu_rendering import mask_strips
from .mask_decoder import DecodedMasks, PromptedObjects, SamHQMaskDecoder
from .two_way_transformer import SamHQAttention, SamHQTwoWayAttentionBlock, SamHQTwoWayTransformer
from .worker_threads import in_threads

# Objects whose pixels go together are as many as have this many floats, so that they stay in the cache: one at full
# size (4 MB).
PIXEL_FLOATS_AT_ONCE = 2**20
# From so many objects of an image on, projecting its pixels once is less work than absorbing projections in each; and
# so many times the objects above go through the first block together, which bounds what their tokens need.
_SHARED_FROM = 3
FIRST_BLOCK_AT_ONCE = 32


@dataclass
class _Group:
    """Some consecutive objects of one image before the transformer.

    Attributes:
        objects: Which of all objects these are.
        image: Index of the image.
        tokens: (N, n, C).
        token_bias: (N, 1, 1, n), or None.
        pixels: (N, h*w, C), or (1, h*w, C) shared by all.
        first_block: What the first block makes of the tokens (N, n, C), and its queries (1, heads, h*w, d) of the
            pixels, where all objects of the image went through it together.
    """

    objects: slice
    image: int
    tokens: torch.Tensor
    token_bias: torch.Tensor | None
    pixels: torch.Tensor
    first_block: tuple[torch.Tensor, torch.Tensor] | None


def decode_masks(
    decoder: SamHQMaskDecoder,
    image_embeddings: torch.Tensor,
    pixel_positions: torch.Tensor,
    sparse_prompt_embeddings: torch.Tensor | None,
    dense_prompt_embeddings: torch.Tensor,
    token_mask: torch.Tensor | None,
    hq_features: torch.Tensor,
    multimask_output: bool = True,
    hq_token_only: bool = False,
    output_branches: bool = False,
) -> DecodedMasks:
    """Predict masks, a thread for each group of objects; arguments and results are those of `SamHQMaskDecoder`."""
    objects = decoder.prompted_objects(image_embeddings, sparse_prompt_embeddings, dense_prompt_embeddings, token_mask)
    count, size = objects.tokens.shape[0], hq_features.shape[-2:]
    candidates = decoder.config.num_multimask_outputs if multimask_output else 1
    wants_sam = output_branches or not hq_token_only

    def empty(masks: int) -> torch.Tensor:
        return hq_features.new_empty(count, masks, *size)

    # Each thread writes its strips in place: putting them together afterwards would move hundreds of megabytes.
    masks = empty(1 if hq_token_only else candidates)
    branches = (empty(candidates), empty(1)) if output_branches else None

    def decode(group: _Group) -> torch.Tensor:
        tokens, pixels = _transform(decoder, group, pixel_positions)
        readings = decoder.read_tokens(tokens).wanted(multimask_output)
        sam_kernels = readings.sam_kernels if wants_sam else None
        of_image, top = hq_features[group.image : group.image + 1], 0
        for sam, hq in mask_strips(decoder, pixels, sam_kernels, readings.hq_kernel, of_image):
            here = (group.objects, slice(None), slice(top, top + hq.shape[2]))
            masks[here] = hq if hq_token_only else cast(torch.Tensor, sam) + hq
            if branches is not None:
                branches[0][here], branches[1][here] = cast(torch.Tensor, sam), hq
            top += hq.shape[2]
        return readings.iou_scores

    scores = list(in_threads(decode, _groups(decoder.transformer, objects, pixel_positions, len(image_embeddings))))
    return DecodedMasks(torch.cat(scores), masks, *(branches or ()))


def transformed_objects(
    decoder: SamHQMaskDecoder, objects: PromptedObjects, pixel_positions: torch.Tensor, images: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Bring objects through the two-way transformer, group by group, each when it is asked for.

    Args:
        decoder: The mask decoder.
        objects: N objects.
        pixel_positions: (h*w, C).
        images: Number of images, each with as many objects.

    Yields:
        The output tokens (K, outputs, C) and the pixels (K, h*w, C) of a group, in the order of the objects.
    """
    for group in _groups(decoder.transformer, objects, pixel_positions, images):
        yield _transform(decoder, group, pixel_positions)


def _groups(
    transformer: SamHQTwoWayTransformer, objects: PromptedObjects, pixel_positions: torch.Tensor, images: int
) -> Iterator[_Group]:
    count = objects.tokens.shape[0]
    per_image, have_own_pixels = count // images, objects.pixels.shape[0] == count
    size = max(1, PIXEL_FLOATS_AT_ONCE // objects.pixels[0].numel())

    def biases(chosen: slice) -> torch.Tensor | None:
        return None if objects.token_bias is None else objects.token_bias[chosen]

    for image in range(images):
        of_image, end = slice(image, image + 1), (image + 1) * per_image
        for begin in range(image * per_image, end, FIRST_BLOCK_AT_ONCE * size):
            together, first = slice(begin, min(begin + FIRST_BLOCK_AT_ONCE * size, end)), None
            if not have_own_pixels and together.stop - begin >= _SHARED_FROM:
                first = _first_block(
                    transformer, objects.tokens[together], biases(together), objects.pixels[of_image], pixel_positions
                )
            for start in range(begin, together.stop, size):
                chosen = slice(start, min(start + size, together.stop))
                yield _Group(
                    chosen,
                    image,
                    objects.tokens[chosen],
                    biases(chosen),
                    objects.pixels[chosen if have_own_pixels else of_image],
                    None if first is None else (first[0][start - begin : chosen.stop - begin], first[1]),
                )


def _first_block(
    transformer: SamHQTwoWayTransformer,
    tokens: torch.Tensor,
    token_bias: torch.Tensor | None,
    pixels: torch.Tensor,
    pixel_positions: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the first block makes of the tokens (N, n, C) of one image's objects, and its queries (1, heads, p, d)."""
    layer = cast(SamHQTwoWayAttentionBlock, transformer.layers[0])
    pixels_with_positions, token_positions = pixels + pixel_positions, tokens
    tokens = _self_attention(layer, tokens, token_positions, token_bias)
    attention = layer.cross_attn_token_to_image
    attended = _attend_to_projected(attention, tokens + token_positions, pixels_with_positions, pixels)
    queries = layer.cross_attn_image_to_token
    return _after_attention(layer, tokens, attended), queries.heads(linear(queries.q_proj, pixels_with_positions))


def _transform(
    decoder: SamHQMaskDecoder, group: _Group, pixel_positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The output tokens (N, outputs, C) and the pixels (N, h*w, C) of a group after the two-way transformer."""
    transformer, tokens, pixels, bias = decoder.transformer, group.tokens, group.pixels, group.token_bias
    token_positions, pixels_with_positions = tokens, pixels + pixel_positions
    for index, module in enumerate(transformer.layers):
        layer, queries = cast(SamHQTwoWayAttentionBlock, module), None
        if index == 0 and group.first_block is not None:
            tokens, queries = group.first_block
        else:
            tokens = _self_attention(layer, tokens, token_positions, bias)
            attended = _tokens_to_pixels(
                layer.cross_attn_token_to_image, tokens + token_positions, pixels_with_positions, pixels
            )
            tokens = _after_attention(layer, tokens, attended)
        updated = _add_tokens_to_pixels(
            layer.cross_attn_image_to_token,
            pixels,
            pixels_with_positions,
            tokens + token_positions,
            tokens,
            bias,
            queries,
        )
        pixels = layer.layer_norm4(updated)
        pixels_with_positions = pixels + pixel_positions
    outputs = slice(decoder.num_output_tokens)
    tokens, token_positions = tokens[:, outputs], token_positions[:, outputs]
    attended = _tokens_to_pixels(
        transformer.final_attn_token_to_image, tokens + token_positions, pixels_with_positions, pixels
    )
    return transformer.layer_norm_final_attn(tokens + attended), pixels


def _self_attention(
    layer: SamHQTwoWayAttentionBlock, tokens: torch.Tensor, positions: torch.Tensor, bias: torch.Tensor | None
) -> torch.Tensor:
    if layer.skip_first_layer_pe:
        return layer.layer_norm1(layer.self_attn(tokens, tokens, tokens, bias)[0])
    with_positions = tokens + positions
    return layer.layer_norm1(tokens + layer.self_attn(with_positions, with_positions, tokens, bias)[0])


def _after_attention(layer: SamHQTwoWayAttentionBlock, tokens: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    tokens = layer.layer_norm2(tokens + attended)
    return layer.layer_norm3(tokens + layer.mlp(tokens))


def _absorbs(attention: SamHQAttention, tokens_per_map: int) -> bool:
    """Whether absorbing is less work: heads x C per token and pixel, rather than C x d once per pixel."""
    heads, width = attention.num_attention_heads, attention.q_proj.in_features
    internal_dim = heads * attention.head_dim
    return tokens_per_map * (heads * width - internal_dim) < internal_dim * width


def _tokens_to_pixels(
    attention: SamHQAttention, tokens: torch.Tensor, pixels_with_positions: torch.Tensor, pixels: torch.Tensor
) -> torch.Tensor:
    """Tokens (N, n, C) attend to pixels (M, p, C), each for N / M consecutive objects: (N, n, C)."""
    count, length, width = tokens.shape
    heads, maps = attention.num_attention_heads, pixels.shape[0]
    if not _absorbs(attention, count // maps * length):
        return _attend_to_projected(attention, tokens, pixels_with_positions, pixels)
    query = attention.q_proj(tokens).unflatten(-1, (heads, -1)) * attention.scaling
    absorbed = torch.einsum("nthd,hdc->nhtc", query, attention.k_proj.weight.unflatten(0, (heads, -1)))
    scores = absorbed.reshape(maps, -1, width) @ pixels_with_positions.transpose(1, 2)  # (M, N/M * heads * n, p)
    attended = (scores.softmax(dim=-1) @ pixels).view(count, heads, length, width)
    value = torch.einsum("nhtc,hdc->nthd", attended, attention.v_proj.weight.unflatten(0, (heads, -1)))
    return attention.out_proj(value.flatten(2) + attention.v_proj.bias)


def _attend_to_projected(
    attention: SamHQAttention, tokens: torch.Tensor, pixels_with_positions: torch.Tensor, pixels: torch.Tensor
) -> torch.Tensor:
    """The same with the pixels projected: all tokens of a map are queries of one attention."""
    maps = pixels.shape[0]
    keys = attention.heads(linear(attention.k_proj, pixels_with_positions))
    values = attention.heads(linear(attention.v_proj, pixels))
    queries = attention.heads(attention.q_proj(tokens.reshape(maps, -1, tokens.shape[-1])))
    attended = F.scaled_dot_product_attention(queries, keys, values)
    return attention.out_proj(attended.transpose(1, 2).flatten(2)).view_as(tokens)


def _add_tokens_to_pixels(
    attention: SamHQAttention,
    pixels: torch.Tensor,
    pixels_with_positions: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    bias: torch.Tensor | None,
    queries: torch.Tensor | None = None,
) -> torch.Tensor:
    """Pixels attend to tokens, and what they attend to is added to them.

    Args:
        attention: Whose weights are used.
        pixels: What is added to (M, p, C), each for N / M consecutive objects.
        pixels_with_positions: Queries (M, p, C).
        keys: (N, n, C).
        values: (N, n, C).
        bias: Added to the scores; (N, 1, 1, n).
        queries: The queries projected already (M, heads, p, d).

    Returns:
        Pixels (N, p, C).
    """
    count, length, width = keys.shape
    heads, maps = attention.num_attention_heads, pixels.shape[0]
    key = attention.k_proj(keys).unflatten(-1, (heads, -1)) * attention.scaling  # (N, n, heads, d)
    constant = None if bias is None else bias.transpose(2, 3)  # (N, 1, n, 1)
    if queries is None and not _absorbs(attention, count // maps * length):
        queries = attention.heads(linear(attention.q_proj, pixels_with_positions))
    if queries is not None:
        by_map = key.unflatten(0, (maps, -1)).permute(0, 3, 1, 2, 4).flatten(2, 3)  # (M, heads, N/M * n, d)
        scores = by_map @ queries.transpose(2, 3)
        scores = scores.unflatten(2, (-1, length)).transpose(1, 2).flatten(0, 1)  # (N, heads, n, p)
        if constant is not None:
            scores = scores + constant
    else:
        # The queries' bias meets every key, so unlike the keys' it does not drop out of the softmax.
        met = torch.einsum("nthd,hd->nht", key, attention.q_proj.bias.unflatten(0, (heads, -1))).unsqueeze(-1)
        constant = met if constant is None else met + constant
        absorbed = torch.einsum("nthd,hdc->nhtc", key, attention.q_proj.weight.unflatten(0, (heads, -1)))
        by_map = absorbed.reshape(maps, -1, width)
        scores = torch.baddbmm(constant.reshape(maps, -1, 1), by_map, pixels_with_positions.transpose(1, 2))
        scores = scores.view(count, heads, length, -1)
    value = attention.v_proj(values).unflatten(-1, (heads, -1))
    value = torch.einsum("nthd,chd->nhtc", value, attention.out_proj.weight.unflatten(1, (heads, -1))).flatten(1, 2)
    # Every head's weights sum to one, so that its values can carry its share of the output's bias.
    value = value + attention.out_proj.bias / heads
    weights = scores.softmax(dim=2).flatten(1, 2)  # (N, heads * n, p)
    # (M, p, C) -> (N, p, C), a view where every object has its own map
    repeated = pixels.unsqueeze(1).expand(-1, count // maps, -1, -1).flatten(0, 1)
    return torch.baddbmm(repeated, weights.transpose(1, 2), value)
