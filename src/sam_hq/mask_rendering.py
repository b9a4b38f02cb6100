"""From the two-way transformer's pixels to mask logits.

`render_masks` is the plain form, written as the paper draws it. `render_masks_fast` gives the same logits from the same
weights:

* A transposed convolution with kernel and stride 2 is a linear layer whose outputs are placed 2x2.
* The last HQ convolution is followed by a dot product with one vector per object; both together are one convolution to
  a single channel, with a kernel per object.
* Only the rows and columns that are asked for are made.
"""

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
    height, width = hq_features.shape[-2:]
    rows, columns = region or (height, width)
    grid = pixels.unflatten(1, (height // 4, width // 4))
    # The two 3x3 convolutions read two pixels beyond the region, from the grid cells that hold them.
    grid = grid[:, : (rows + 5) // 4, : (columns + 5) // 4]
    at_once = _ROWS_AT_ONCE if pixels.device.type == "cpu" and not torch.compiler.is_compiling() else height
    first, second = _place_weights(decoder.upscale_conv1), _place_weights(decoder.upscale_conv2)
    parts = grid.split(max(at_once // 4, 1), dim=1)
    upscaled = torch.cat([_upscale(part, first, decoder.upscale_layer_norm, second) for part in parts], dim=1)
    kernels = torch.einsum("nk,kcyx->nyxc", hq_kernel, decoder.mask_conv2.weight.flip(2, 3)).flatten(1, 2)
    local = torch.cat(
        [_local_logits(decoder, upscaled, kernels, top, min(top + at_once, rows)) for top in range(0, rows, at_once)],
        dim=2,
    )[..., :columns]
    images = hq_features.shape[0]
    shared = hq_kernel.unflatten(0, (images, -1)) @ hq_features[:, :, :rows, :columns].flatten(2)  # (M, N/M, rows*cols)
    hq_masks = local + (
        shared.view(-1, 1, rows, columns)
        + (hq_kernel @ cast(torch.Tensor, decoder.mask_conv2.bias))[:, None, None, None]
    )
    if sam_kernels is None:
        return None, hq_masks
    sam_masks = sam_kernels @ upscaled[:, :rows, :columns].flatten(1, 2).transpose(1, 2)
    return sam_masks.unflatten(2, (rows, columns)), hq_masks


def _place_weights(conv: nn.ConvTranspose2d) -> tuple[torch.Tensor, torch.Tensor]:
    """A 2x2 transposed convolution of stride 2 as a linear layer to its four places: (4 * C', C) and bias (4 * C')."""
    return conv.weight.permute(2, 3, 1, 0).flatten(0, 2), conv.bias.repeat(4)  # (C, C', 2, 2) -> (4 * C', C)


def _upscale(
    grid: torch.Tensor,
    first: tuple[torch.Tensor, torch.Tensor],
    norm: nn.LayerNorm,
    second: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """Both transposed convolutions, by their place weights: (N, h, w, C) to (N, 4h, 4w, C / 8)."""
    count, height, width, _ = grid.shape
    # The order stays (N, h, w, place in the 2x2, C) until the end, where the places are laid out.
    hidden = F.linear(grid, *first).unflatten(-1, (4, -1))  # (N, h, w, 4, C / 4)
    hidden = F.gelu(F.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
    hidden = F.gelu(F.linear(hidden, *second))  # (N, h, w, 4, 4 * C / 8)
    hidden = hidden.view(count, height, width, 2, 2, 2, 2, -1).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return hidden.reshape(count, 4 * height, 4 * width, -1)


def _local_logits(
    decoder: "SamHQMaskDecoder", upscaled: torch.Tensor, kernels: torch.Tensor, top: int, bottom: int
) -> torch.Tensor:
    """The HQ masks' part that comes from the upscaled pixels, for the rows from `top` to `bottom`.

    Args:
        decoder: The mask decoder.
        upscaled: Upscaled pixels (N, H, W, C / 8).
        kernels: The last convolution folded with each object's HQ kernel, turned by 180 degrees (N, 9, C / 4).
        top: First row.
        bottom: Row after the last.

    Returns:
        (N, 1, bottom - top, W).
    """
    height, width = upscaled.shape[1:3]
    # Each convolution reads one row further; what it makes of the outermost rows themselves is cut off again.
    inner = slice(max(top - 1, 0), min(bottom + 1, height))
    outer = slice(max(top - 2, 0), min(bottom + 2, height))
    features = decoder.mask_conv1(upscaled[:, outer].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    features = features[:, inner.start - outer.start : inner.stop - outer.start]
    norm = decoder.mask_norm
    features = F.gelu(F.layer_norm(features, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
    taps = kernels @ features.flatten(1, 2).transpose(1, 2)  # (N, 9, rows * W)
    # `fold` adds tap (y, x) of a pixel to the pixel at (y - 1, x - 1) from it, hence the turned kernels.
    summed = F.fold(taps, (inner.stop - inner.start, width), kernel_size=3, padding=1)
    return summed[:, :, top - inner.start : bottom - inner.start]
