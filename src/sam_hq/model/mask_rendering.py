"""From the two-way transformer's pixels to mask logits.

`render_masks` is the plain form, written as the paper draws it. `render_masks_fast` gives the same logits from the same
weights:

* A transposed convolution with kernel and stride 2 is a linear layer whose outputs are placed 2x2.
* The last HQ convolution is followed by a dot product with one vector per object; both together are one convolution to
  a single channel, with a kernel per object.
* Only the rows and columns that are asked for are made.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from .mask_decoder import SamHQMaskDecoder

# Rows of a mask made at once on a CPU: the features of a row are 64 kB at full size, so that those of a strip stay in
# the cache.
_ROWS_AT_ONCE = 64


def render_masks(
    decoder: "SamHQMaskDecoder",
    pixels: torch.Tensor,
    sam_kernels: torch.Tensor | None,
    hq_kernel: torch.Tensor,
    hq_features: torch.Tensor,
    region: tuple[int, int] | None = None,
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Render the masks of N objects in the plain form.

    Args:
        decoder: The mask decoder whose convolutions are used.
        pixels: The two-way transformer's image output (N, h*w, C).
        sam_kernels: Weights (N, M, C / 8) of each SAM mask's channels, or None for no SAM masks.
        hq_kernel: Weights (N, C / 8) of the HQ mask's channels.
        hq_features: HQ features (M, C / 8, 4h, 4w); each serves N / M consecutive objects.
        region: Height and width of the upper left part that is wanted, in low-resolution pixels; None for all.

    Returns:
        SAM's logits (N, M, 4h, 4w) or None, and the HQ token's logits (N, 1, 4h, 4w), cut to the region.
    """
    height, width = hq_features.shape[-2] // 4, hq_features.shape[-1] // 4
    grid = pixels.transpose(1, 2).unflatten(2, (height, width))  # (N, h*w, C) -> (N, C, h, w)
    upscaled = F.gelu(decoder.upscale_layer_norm(decoder.upscale_conv1(grid)))
    upscaled = F.gelu(decoder.upscale_conv2(upscaled))
    local = decoder.mask_conv2(F.gelu(decoder.mask_norm(decoder.mask_conv1(upscaled))))
    fused = local + hq_features.repeat_interleave(pixels.shape[0] // hq_features.shape[0], dim=0)
    hq_masks = torch.einsum("nc,nchw->nhw", hq_kernel, fused).unsqueeze(1)
    rows, columns = region or hq_features.shape[-2:]
    hq_masks = hq_masks[..., :rows, :columns]
    if sam_kernels is None:
        return None, hq_masks
    return torch.einsum("nmc,nchw->nmhw", sam_kernels, upscaled)[..., :rows, :columns], hq_masks


def render_masks_fast(
    decoder: "SamHQMaskDecoder",
    pixels: torch.Tensor,
    sam_kernels: torch.Tensor | None,
    hq_kernel: torch.Tensor,
    hq_features: torch.Tensor,
    region: tuple[int, int] | None = None,
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Render the masks of N objects by the algebra above; arguments and results are those of `render_masks`."""
    strips = list(mask_strips(decoder, pixels, sam_kernels, hq_kernel, hq_features, region))
    hq_masks = torch.cat([hq for _, hq in strips], dim=2)
    return None if sam_kernels is None else torch.cat([cast(torch.Tensor, sam) for sam, _ in strips], dim=2), hq_masks


def mask_strips(
    decoder: "SamHQMaskDecoder",
    pixels: torch.Tensor,
    sam_kernels: torch.Tensor | None,
    hq_kernel: torch.Tensor,
    hq_features: torch.Tensor,
    region: tuple[int, int] | None = None,
) -> Iterator[tuple[torch.Tensor | None, torch.Tensor]]:
    """Render the masks of N objects some rows at a time, each strip when it is asked for; arguments as above.

    Yields:
        SAM's logits (N, M, rows, columns) or None, and the HQ token's (N, 1, rows, columns), upper rows first.
    """
    height, width = hq_features.shape[-2:]
    rows, columns = region or (height, width)
    grid = pixels.unflatten(1, (height // 4, width // 4))
    # The two 3x3 convolutions read two pixels beyond the region, from the grid cells that hold them.
    grid = grid[:, : (rows + 5) // 4, : (columns + 5) // 4]
    # The last convolution folded with each object's HQ kernel, turned by 180 degrees: (N, 9, C / 4).
    kernels = torch.einsum("nk,kcyx->nyxc", hq_kernel, decoder.mask_conv2.weight.flip(2, 3)).flatten(1, 2)
    bias = (hq_kernel @ cast(torch.Tensor, decoder.mask_conv2.bias))[:, None, None]
    parts = grid.split(max(_rows_at_once(pixels, height) // 4, 1), dim=1)
    top = 0  # the first row not yet given
    above = sam_rest = hq_rest = None
    for index, part in enumerate(parts):
        is_first, is_last = index == 0, index == len(parts) - 1
        upscaled, sam_masks = _upscaled(decoder, part, sam_kernels)
        zeros = torch.zeros_like(upscaled[:, :1])
        # With the rows above, so that no row is padding but at the edges, and none is made twice.
        strip = torch.cat([zeros if above is None else above, upscaled, *([zeros] if is_last else [])], 1)
        above = upscaled[:, -2:]
        # What the strip gives to itself, to the row above it and to the row below it; those two get more from others.
        local = _placed(_local_taps(decoder, strip, kernels))
        if hq_rest is not None:
            local = torch.cat([local[:, :2] + hq_rest, local[:, 2:]], 1)
        hq_rest = local[:, -2:]
        local = local[:, is_first : -1 if is_last else -2][:, : rows - top, :columns]
        bottom = top + local.shape[1]
        shared = hq_kernel.unflatten(0, (hq_features.shape[0], -1)) @ hq_features[:, :, top:bottom].flatten(2)
        hq_masks = local + shared.view(-1, bottom - top, width)[..., :columns] + bias
        if sam_masks is not None:
            sam_masks = sam_masks if sam_rest is None else torch.cat([sam_rest, sam_masks], 2)
            sam_masks, sam_rest = sam_masks[:, :, : bottom - top, :columns], sam_masks[:, :, bottom - top :]
        yield sam_masks, hq_masks.unsqueeze(1)
        top = bottom


def _rows_at_once(pixels: torch.Tensor, height: int) -> int:
    """Rows of a mask that are made at once."""
    return _ROWS_AT_ONCE if pixels.device.type == "cpu" and not torch.compiler.is_compiling() else height


def _place_weights(conv: nn.ConvTranspose2d) -> tuple[torch.Tensor, torch.Tensor]:
    """A 2x2 transposed convolution of stride 2 as a linear layer to its four places: (4 * C', C) and bias (4 * C')."""
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias.repeat(4)  # (C, C', 2, 2) -> (4 * C', C)


def _upscaled(
    decoder: "SamHQMaskDecoder", grid: torch.Tensor, sam_kernels: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Both transposed convolutions, and the SAM masks that are read off their result.

    Args:
        decoder: The mask decoder.
        grid: Pixels (N, h, w, C).
        sam_kernels: Weights (N, M, C / 8) of each SAM mask's channels, or None for no SAM masks.

    Returns:
        Upscaled pixels (N, 4h, 4w, C / 8), and SAM's logits (N, M, 4h, 4w) or None.
    """
    first, second = _place_weights(decoder.upscale_conv1), _place_weights(decoder.upscale_conv2)
    norm = decoder.upscale_layer_norm
    # The order stays (N, h, w, place in the 2x2, C) until the end, where the places are laid out.
    hidden = F.linear(grid, *first).unflatten(-1, (4, -1))  # (N, h, w, 4, C / 4)
    hidden = F.gelu(F.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
    hidden = F.gelu(F.linear(hidden, *second)).unflatten(-1, (4, -1))  # (N, h, w, 4, 4, C / 8)
    if sam_kernels is None:
        return _in_rows(hidden), None
    logits = (hidden.flatten(1, 4) @ sam_kernels.transpose(1, 2)).view(*hidden.shape[:-1], -1)
    return _in_rows(hidden), _in_rows(logits).permute(0, 3, 1, 2)


def _in_rows(features: torch.Tensor) -> torch.Tensor:
    """Places laid out: (N, h, w, 2 * 2, 2 * 2, C) to (N, 4h, 4w, C)."""
    count, height, width = features.shape[:3]
    places = features.view(count, height, width, 2, 2, 2, 2, -1).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return places.reshape(count, 4 * height, 4 * width, -1)


def _local_taps(decoder: "SamHQMaskDecoder", strip: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    """What the rows of a strip contribute to the HQ masks, themselves and their neighbours.

    Args:
        decoder: The mask decoder.
        strip: Upscaled pixels (N, 1 + rows + 1, W, C / 8), with the row above and the row below.
        kernels: The last convolution folded with each object's HQ kernel (N, 9, C / 4).

    Returns:
        (N, 3, 3, rows, W): tap (y, x) of a pixel belongs to the pixel at (y - 1, x - 1) from it.
    """
    norm = decoder.mask_norm
    features = F.conv2d(
        strip.permute(0, 3, 1, 2), decoder.mask_conv1.weight, decoder.mask_conv1.bias, padding=(0, 1)
    ).permute(0, 2, 3, 1)
    features = F.gelu(F.layer_norm(features, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
    taps = kernels @ features.flatten(1, 2).transpose(1, 2)
    return taps.unflatten(2, features.shape[1:3]).unflatten(1, (3, 3))


def _placed(taps: torch.Tensor) -> torch.Tensor:
    """Taps (N, 3, 3, rows, W) added up where they belong: (N, 1 + rows + 1, W)."""
    across = F.pad(taps[:, :, 0], (0, 2)) + F.pad(taps[:, :, 1], (1, 1)) + F.pad(taps[:, :, 2], (2, 0))
    down = F.pad(across[:, 0], (0, 0, 0, 2)) + F.pad(across[:, 1], (0, 0, 1, 1)) + F.pad(across[:, 2], (0, 0, 2, 0))
    return down[..., 1:-1]
