"""The mask decoder on a CPU, for inference: the answers of `mask_decoder.py` from the same weights, by less work.

With n tokens, a dozen or so, and thousands of pixels p per object:

* The pixels are not projected. A head's scores `(W_q t) . (W_k p)` are `(W_k^T W_q t) . p`, and its values
  `sum_p a_p W_v p` are `W_v sum_p a_p p`, so that projections act on n rows instead of thousands. A constant added to
  all scores of a softmax drops out, and with it the bias of the keys. Where tokens are so many, or heads so wide, that
  this is more work, pixels are projected after all.
* Until the first block changes the pixels, all objects of an image see the same ones: what its tokens do there is done
  for all objects together, on pixels that are projected once.
* The last attention is for the output tokens alone.
* A transposed convolution with kernel and stride 2 is a linear layer whose outputs are laid out 2x2.
* The last HQ convolution is followed by a dot product with one vector per object; both together are one convolution to
  a single channel, with a kernel per object.
* Masks are made in strips of rows, and of the rows and columns that are asked for alone.
* Objects do not mix: a thread takes one after the other, whose pixels stay in its cache.

`fast_path.py` says when all this may stand in for the modules. tests/model/test_cpu_decoder.py holds it against them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from .mask_decoder import DecodedMasks, PromptedObjects, SamHQMaskDecoder
from .two_way_transformer import SamHQAttention, SamHQTwoWayAttentionBlock, SamHQTwoWayTransformer
from .worker_threads import in_threads

# Objects whose pixels go together are as many as have this many floats, so that they stay in the cache: one at full
# size (4 MB).
_PIXEL_FLOATS_AT_ONCE = 2**20
# Rows of a mask made at once: the features of a row are 64 kB at full size. A multiple of 4, the rows of a grid cell.
_ROWS_AT_ONCE = 64
# From so many objects of an image on, projecting its pixels once is less work than absorbing projections in each.
_SHARED_FROM = 3


@dataclass
class _Group:
    """Some consecutive objects of one image before the transformer.

    Attributes:
        image: Index of the image.
        tokens: (N, n, C).
        token_bias: (N, 1, 1, n), or None.
        pixels: (N, h*w, C), or (1, h*w, C) shared by all.
        first_block: What the first block makes of the tokens (N, n, C), and its queries (1, heads, h*w, d) of the
            pixels, where all objects of the image went through it together.
    """

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
    sam_branch: bool = True,
) -> DecodedMasks:
    """Predict masks, a thread for each group of objects; arguments and results are those of `SamHQMaskDecoder`."""
    objects = decoder.prompted_objects(image_embeddings, sparse_prompt_embeddings, dense_prompt_embeddings, token_mask)

    def decode(group: _Group) -> DecodedMasks:
        tokens, pixels = _transform(decoder, group, pixel_positions)
        readings = decoder.read_tokens(tokens).wanted(multimask_output)
        sam_kernels = readings.sam_kernels if sam_branch else None
        of_image = hq_features[group.image : group.image + 1]
        sam_masks, hq_masks = render_masks(decoder, pixels, sam_kernels, readings.hq_kernel, of_image)
        return DecodedMasks(readings.iou_scores, sam_masks, hq_masks)

    masks = list(in_threads(decode, _groups(decoder.transformer, objects, pixel_positions, len(image_embeddings))))
    if len(masks) == 1:
        return masks[0]
    return DecodedMasks(
        torch.cat([part.iou_scores for part in masks]),
        torch.cat([cast(torch.Tensor, part.sam_masks) for part in masks]) if sam_branch else None,
        torch.cat([part.hq_masks for part in masks]),
    )


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
    size = max(1, _PIXEL_FLOATS_AT_ONCE // objects.pixels[0].numel())
    for image in range(images):
        end, first = (image + 1) * per_image, None
        if not have_own_pixels and per_image >= _SHARED_FROM:
            of_image = slice(image * per_image, end)
            bias = None if objects.token_bias is None else objects.token_bias[of_image]
            first = _first_block(
                transformer, objects.tokens[of_image], bias, objects.pixels[image : image + 1], pixel_positions
            )
        for start in range(image * per_image, end, size):
            chosen = slice(start, min(start + size, end))
            within = slice(start - image * per_image, chosen.stop - image * per_image)
            yield _Group(
                image,
                objects.tokens[chosen],
                None if objects.token_bias is None else objects.token_bias[chosen],
                objects.pixels[chosen if have_own_pixels else slice(image, image + 1)],
                None if first is None else (first[0][within], first[1]),
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
    return _after_attention(layer, tokens, attended), queries.heads(queries.q_proj(pixels_with_positions))


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
    keys = attention.heads(attention.k_proj(pixels_with_positions))
    values = attention.heads(attention.v_proj(pixels))
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
        queries = attention.heads(attention.q_proj(pixels_with_positions))
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


def render_masks(
    decoder: SamHQMaskDecoder,
    pixels: torch.Tensor,
    sam_kernels: torch.Tensor | None,
    hq_kernel: torch.Tensor,
    hq_features: torch.Tensor,
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Make whole masks; arguments and results are those of `SamHQMaskDecoder.render`."""
    strips = list(mask_strips(decoder, pixels, sam_kernels, hq_kernel, hq_features))
    hq_masks = torch.cat([hq for _, hq in strips], dim=2)
    return None if sam_kernels is None else torch.cat([cast(torch.Tensor, sam) for sam, _ in strips], dim=2), hq_masks


def mask_strips(
    decoder: SamHQMaskDecoder,
    pixels: torch.Tensor,
    sam_kernels: torch.Tensor | None,
    hq_kernel: torch.Tensor,
    hq_features: torch.Tensor,
    region: tuple[int, int] | None = None,
) -> Iterator[tuple[torch.Tensor | None, torch.Tensor]]:
    """Make the masks of N objects some rows at a time, each strip when it is asked for.

    Args:
        decoder: The mask decoder.
        pixels: As in `SamHQMaskDecoder.render`, and so are those down to `hq_features`.
        sam_kernels: Likewise.
        hq_kernel: Likewise.
        hq_features: Likewise.
        region: Rows and columns of the upper left part that is wanted; None for all.

    Yields:
        SAM's logits (N, M, rows, columns) or None, and the HQ token's (N, 1, rows, columns), upper rows first.
    """
    rows, columns = region or hq_features.shape[-2:]
    for top in range(0, rows, _ROWS_AT_ONCE):
        bottom = min(top + _ROWS_AT_ONCE, rows)
        yield render_rows(decoder, pixels, sam_kernels, hq_kernel, hq_features, top, bottom, columns)


def render_rows(
    decoder: SamHQMaskDecoder,
    pixels: torch.Tensor,
    sam_kernels: torch.Tensor | None,
    hq_kernel: torch.Tensor,
    hq_features: torch.Tensor,
    top: int,
    bottom: int,
    columns: int,
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """The rows of masks from `top` to `bottom`, and their columns up to `columns`."""
    height, width = hq_features.shape[-2:]
    grid = pixels.unflatten(1, (height // 4, width // 4))
    # The two 3x3 convolutions read two pixels beyond what is wanted, from the grid cells that hold them.
    first, last = max(top - 2, 0) // 4, min((bottom + 5) // 4, height // 4)
    upscaled, sam_masks = _upscaled(decoder, grid[:, first:last, : (columns + 5) // 4], sam_kernels)
    if sam_masks is not None:
        sam_masks = sam_masks[:, :, top - 4 * first : bottom - 4 * first, :columns]
    # Features of the rows and of one more each way, within the mask; beyond its edges, both convolutions see zeros.
    above, below = max(top - 1, 0), min(bottom + 1, height)
    strip = upscaled[:, max(above - 1, 0) - 4 * first : min(below + 1, height) - 4 * first]
    strip = F.pad(strip, (0, 0, 0, 0, int(above == 0), int(below == height)))
    # The last convolution folded with each object's HQ kernel, turned by 180 degrees: (N, 9, C / 4).
    kernels = torch.einsum("nk,kcyx->nyxc", hq_kernel, decoder.mask_conv2.weight.flip(2, 3)).flatten(1, 2)
    local = _local_logits(decoder, strip, kernels)[:, top - above + 1 : bottom - above + 1, :columns]
    shared = hq_kernel.unflatten(0, (hq_features.shape[0], -1)) @ hq_features[:, :, top:bottom].flatten(2)
    shared = shared.view(-1, bottom - top, width)[..., :columns]
    bias = (hq_kernel @ cast(torch.Tensor, decoder.mask_conv2.bias))[:, None, None]
    return sam_masks, (local + shared + bias).unsqueeze(1)


def _upscaled(
    decoder: SamHQMaskDecoder, grid: torch.Tensor, sam_kernels: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Both transposed convolutions, and the SAM masks that are read off their result.

    Args:
        decoder: The mask decoder.
        grid: Pixels (N, h, w, C).
        sam_kernels: Weights (N, M, C / 8) of each SAM mask's channels, or None for no SAM masks.

    Returns:
        Upscaled pixels (N, 4h, 4w, C / 8), and SAM's logits (N, M, 4h, 4w) or None.
    """
    # The order stays (N, h, w, place in the 2x2, C) until the end, where the places are laid out.
    hidden = F.linear(grid, *_linear_weights(decoder.upscale_conv1)).unflatten(-1, (4, -1))  # (N, h, w, 4, C / 4)
    hidden = F.gelu(_normalised(decoder.upscale_layer_norm, hidden))
    hidden = F.gelu(F.linear(hidden, *_linear_weights(decoder.upscale_conv2)))
    hidden = hidden.unflatten(-1, (4, -1))  # (N, h, w, 4, 4, C / 8)
    if sam_kernels is None:
        return _laid_out(hidden), None
    logits = (hidden.flatten(1, 4) @ sam_kernels.transpose(1, 2)).view(*hidden.shape[:-1], -1)
    return _laid_out(hidden), _laid_out(logits).permute(0, 3, 1, 2)


def _linear_weights(conv: nn.ConvTranspose2d) -> tuple[torch.Tensor, torch.Tensor]:
    """A 2x2 transposed convolution of stride 2 as a linear layer to its four places: (4 * C', C) and bias (4 * C')."""
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), cast(torch.Tensor, conv.bias).repeat(4)


def _normalised(norm: nn.LayerNorm, features: torch.Tensor) -> torch.Tensor:
    """Layer norm over the last dimension, by the weights of a norm of feature maps."""
    return F.layer_norm(features, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _laid_out(features: torch.Tensor) -> torch.Tensor:
    """Places laid out: (N, h, w, 2 * 2, 2 * 2, C) to (N, 4h, 4w, C)."""
    count, height, width = features.shape[:3]
    places = features.view(count, height, width, 2, 2, 2, 2, -1).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return places.reshape(count, 4 * height, 4 * width, -1)


def _local_logits(decoder: SamHQMaskDecoder, strip: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """The HQ masks' part that comes from the upscaled pixels, by one convolution and its folded successor.

    Args:
        decoder: The mask decoder.
        strip: Upscaled pixels (N, 1 + rows + 1, W, C / 8), with the row above and the row below.
        kernels: The last convolution folded with each object's HQ kernel (N, 9, C / 4).

    Returns:
        What the features of these rows give to the rows themselves, to the one above and the one below:
        (N, 1 + rows + 1, W).
    """
    conv = decoder.mask_conv1
    features = F.conv2d(strip.permute(0, 3, 1, 2), conv.weight, conv.bias, padding=(0, 1)).permute(0, 2, 3, 1)
    features = F.gelu(_normalised(decoder.mask_norm, features))
    taps = kernels @ features.flatten(1, 2).transpose(1, 2)
    # (N, 3, 3, rows, W): tap (y, x) of a pixel belongs to the pixel at (y - 1, x - 1) from it.
    taps = taps.unflatten(2, features.shape[1:3]).unflatten(1, (3, 3))
    across = F.pad(taps[:, :, 0], (0, 2)) + F.pad(taps[:, :, 1], (1, 1)) + F.pad(taps[:, :, 2], (2, 0))
    down = F.pad(across[:, 0], (0, 0, 0, 2)) + F.pad(across[:, 1], (0, 0, 1, 1)) + F.pad(across[:, 2], (0, 0, 2, 0))
    return down[..., 1:-1]


__all__ = ["decode_masks", "mask_strips", "render_masks", "render_rows", "transformed_objects"]
