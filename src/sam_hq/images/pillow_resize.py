"""Resizing of 8-bit pixels: by Pillow, and of tensors on any device as its bilinear resize does it, to the last bit.

Pillow makes the width first and then the height, with weights in fixed point of 22 bits, and rounds to 8 bits after
each pass. In integers that is the same everywhere; floats that are rounded once differ by one in every tenth value.
"""

import numpy as np
import torch
from PIL import Image

WEIGHT_BITS = 22


def resize_rgb(image: np.ndarray | torch.Tensor, size: tuple[int, int], resample: int) -> torch.Tensor:
    """Resize 8-bit pixels as Pillow does.

    Args:
        image: uint8, an array (H, W, 3) or a tensor (3, H, W); the bilinear resize of a tensor stays on its device.
        size: (height, width) wanted.
        resample: A `PIL.Image.Resampling`.

    Returns:
        (3, height, width) uint8.
    """
    if isinstance(image, torch.Tensor):
        if resample == Image.Resampling.BILINEAR:
            return resize_like_pillow(image, size)
        image = image.permute(1, 2, 0).cpu().numpy()  # (3, H, W) -> (H, W, 3)
    resized = Image.fromarray(image).resize((size[1], size[0]), resample)
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)


def resize_like_pillow(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize with an antialiasing triangle filter, equal to `PIL.Image.resize(..., BILINEAR)`.

    Differs: by at most 1 of 255 where Pillow 13 makes the height first, which it does when an image loses many more
        rows than columns. Before, Pillow always made the width first.

    Args:
        pixels: (channels, H, W) uint8.
        size: (height, width) wanted.

    Returns:
        (channels, height, width) uint8 on the same device.
    """
    for dim in (2, 1):
        if pixels.shape[dim] != size[dim - 1]:
            pixels = _resize_axis(pixels, dim, size[dim - 1])
    return pixels


def _resize_axis(pixels: torch.Tensor, dim: int, length: int) -> torch.Tensor:
    indices, weights = (
        torch.from_numpy(part).to(pixels.device) for part in _triangle_weights(pixels.shape[dim], length)
    )
    shape = [-1 if axis == dim else 1 for axis in range(pixels.ndim)]
    # 255 * 2**22 plus the rounding half stays below 2**31.
    total = torch.full((), 1 << (WEIGHT_BITS - 1), dtype=torch.int32, device=pixels.device)
    for tap_indices, tap_weights in zip(indices, weights, strict=True):
        total = total + pixels.index_select(dim, tap_indices).to(torch.int32) * tap_weights.reshape(shape)
    return (total >> WEIGHT_BITS).clamp(0, 255).to(torch.uint8)


def _triangle_weights(old: int, new: int) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours (taps, new) of every new pixel and their fixed-point weights, zero where there are fewer."""
    scale = old / new
    support = max(scale, 1.0)  # of the triangle, in old pixels: never less than one
    centres = (np.arange(new) + 0.5) * scale
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + support + 0.5).astype(np.int64), old)
    positions = first + np.arange(int(np.ceil(support)) * 2 + 1)[:, None]
    weights = np.maximum(1.0 - np.abs((positions - centres + 0.5) * (1.0 / support)), 0.0) * (positions < last)
    weights = weights * (1.0 / weights.sum(axis=0))
    return np.minimum(positions, old - 1), (0.5 + weights * (1 << WEIGHT_BITS)).astype(np.int32)
