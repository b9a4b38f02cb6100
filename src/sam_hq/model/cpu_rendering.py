"""Masks from the two-way transformer's pixels on a CPU, for inference: what `SamHQMaskDecoder.render` gives.

* A transposed convolution with kernel and stride 2 is a linear layer whose outputs are laid out 2x2.
* The last HQ convolution is followed by a dot product with one vector per object; both together are one convolution to
  a single channel, with a kernel per object.
* Masks are made in strips of rows, and of the rows and columns that are asked for alone.
"""

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from .cpu_matmul import product
from .mask_decoder import SamHQMaskDecoder

# Rows of a mask made at once: the features of a row are 64 kB at full size. A multiple of 4, the rows of a grid cell.
ROWS_AT_ONCE = 64


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
    for top in range(0, rows, ROWS_AT_ONCE):
        bottom = min(top + ROWS_AT_ONCE, rows)
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
    hidden = product(grid, *_linear_weights(decoder.upscale_conv1)).unflatten(-1, (4, -1))  # (N, h, w, 4, C / 4)
    hidden = F.gelu(_normalised(decoder.upscale_layer_norm, hidden))
    hidden = F.gelu(product(hidden, *_linear_weights(decoder.upscale_conv2)))
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
