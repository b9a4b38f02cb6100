"""From the two-way transformer's pixels to mask logits.

`render_masks` is the plain form, written as the paper draws it. `render_masks_fast` gives the same logits from the same
weights:

* A transposed convolution with kernel and stride 2 is a linear layer whose outputs are placed 2x2.
* The last HQ convolution is followed by a dot product with one vector per object; both together are one convolution to
  a single channel, with a kernel per object.
* Only the rows and columns that are asked for are made.
"""

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

if TYPE_CHECKING:
    from .mask_decoder import SamHQMaskDecoder


def render_masks(
    decoder: "SamHQMaskDecoder",
    pixels: torch.Tensor,
    sam_kernels: torch.Tensor | None,
    hq_kernel: torch.Tensor,
    hq_features: torch.Tensor,
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Render the masks of N objects in the plain form.

    Args:
        decoder: The mask decoder whose convolutions are used.
        pixels: The two-way transformer's image output (N, h*w, C).
        sam_kernels: Weights (N, M, C / 8) of each SAM mask's channels, or None for no SAM masks.
        hq_kernel: Weights (N, C / 8) of the HQ mask's channels.
        hq_features: HQ features (M, C / 8, 4h, 4w); each serves N / M consecutive objects.

    Returns:
        SAM's logits (N, M, 4h, 4w) or None, and the HQ token's logits (N, 1, 4h, 4w).
    """
    height, width = hq_features.shape[-2] // 4, hq_features.shape[-1] // 4
    grid = pixels.transpose(1, 2).unflatten(2, (height, width))  # (N, h*w, C) -> (N, C, h, w)
    upscaled = F.gelu(decoder.upscale_layer_norm(decoder.upscale_conv1(grid)))
    upscaled = F.gelu(decoder.upscale_conv2(upscaled))
    local = decoder.mask_conv2(F.gelu(decoder.mask_norm(decoder.mask_conv1(upscaled))))
    fused = local + hq_features.repeat_interleave(pixels.shape[0] // hq_features.shape[0], dim=0)
    hq_masks = torch.einsum("nc,nchw->nhw", hq_kernel, fused).unsqueeze(1)
    if sam_kernels is None:
        return None, hq_masks
    return torch.einsum("nmc,nchw->nmhw", sam_kernels, upscaled), hq_masks


def render_masks_fast(
    decoder: "SamHQMaskDecoder",
    pixels: torch.Tensor,
    sam_kernels: torch.Tensor | None,
    hq_kernel: torch.Tensor,
    hq_features: torch.Tensor,
) -> tuple[torch.Tensor | None, torch.Tensor]:
    """Render the masks of N objects; arguments and results are those of `render_masks`."""
    height, width = hq_features.shape[-2] // 4, hq_features.shape[-1] // 4
    count = pixels.shape[0]
    upscaled = _upscale(decoder, pixels.unflatten(1, (height, width)))  # (N, 4h, 4w, C / 8)
    local = F.gelu(decoder.mask_norm(decoder.mask_conv1(upscaled.permute(0, 3, 1, 2))))
    hq_masks = _last_convolution(decoder.mask_conv2, local, hq_kernel)
    images = hq_features.shape[0]
    shared = hq_kernel.reshape(images, count // images, -1) @ hq_features.flatten(2)
    hq_masks = hq_masks + shared.reshape_as(hq_masks)
    if sam_kernels is None:
        return None, hq_masks
    sam_masks = sam_kernels @ upscaled.flatten(1, 2).transpose(1, 2)
    return sam_masks.unflatten(2, (4 * height, 4 * width)), hq_masks


def _upscale(decoder: "SamHQMaskDecoder", grid: torch.Tensor) -> torch.Tensor:
    """The two transposed convolutions: (N, h, w, C) to (N, 4h, 4w, C / 8)."""
    count, height, width, _ = grid.shape
    conv1, norm, conv2 = decoder.upscale_conv1, decoder.upscale_layer_norm, decoder.upscale_conv2
    # Both convolutions stay in the order (N, h, w, place in the 2x2, C) until the end, where the places are laid out.
    hidden = _doubled(conv1, grid)  # (N, h, w, 4, C / 4)
    hidden = F.gelu(F.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
    hidden = F.gelu(_doubled(conv2, hidden))  # (N, h, w, 4, 4, C / 8)
    hidden = hidden.view(count, height, width, 2, 2, 2, 2, -1).permute(0, 1, 3, 5, 2, 4, 6, 7)
    return hidden.reshape(count, 4 * height, 4 * width, -1)


def _doubled(conv: nn.ConvTranspose2d, features: torch.Tensor) -> torch.Tensor:
    """A 2x2 transposed convolution of stride 2: (..., C) to the four places (..., 4, C')."""
    weight = conv.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (C, C', 2, 2) -> (4 * C', C)
    return F.linear(features, weight, conv.bias.repeat(4)).unflatten(-1, (4, -1))


def _last_convolution(conv: nn.Conv2d, features: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """The 3x3 convolution and the dot product of its output with one vector per object, as one.

    Args:
        conv: The convolution, to K channels.
        features: Features (N, C, H, W) in channels-last memory.
        kernel: Vectors (N, K).

    Returns:
        (N, 1, H, W).
    """
    count, channels, height, width = features.shape
    folded = torch.einsum("nk,kcyx->nyxc", kernel, conv.weight).flatten(1, 2)  # (N, 9, C)
    taps = folded @ features.permute(0, 2, 3, 1).flatten(1, 2).transpose(1, 2)  # (N, 9, H*W)
    # Tap (y, x) of the kernel reads the pixel at (y - 1, x - 1): its products are moved by the opposite and summed.
    summed = F.fold(taps.flip(1), (height, width), kernel_size=3, padding=1)
    return summed + (kernel @ conv.bias)[:, None, None, None]
