"""Masks as pictures: numbered pixels, one black and white picture per object, and the objects cut out of the image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from sam_hq_numpy.overlays import object_color

from .label_maps import label_map

if TYPE_CHECKING:
    from sam_hq_numpy.mask_rle import RunLengthMask

_MOST_IN_A_PALETTE = 255


def numbered(masks: Sequence[RunLengthMask], size: Sequence[int], numbers: Sequence[int] | None = None) -> Image.Image:
    """A picture whose pixel values are the numbers of the masks, small masks on top of large ones.

    Args:
        masks: At most 65535 masks of the picture's size.
        size: Height and width.
        numbers: Of the masks; from 1 in their order if None.

    Returns:
        Up to the number 255: 8 bits, shown in the objects' colours; else 16 bits.
    """
    of_masks = np.array([0, *(range(1, len(masks) + 1) if numbers is None else numbers)], dtype=np.uint16)
    labels, largest = of_masks[label_map(masks, size)], int(of_masks.max())
    if largest > _MOST_IN_A_PALETTE:
        return Image.fromarray(labels)
    picture = Image.fromarray(labels.astype(np.uint8), mode="P")
    picture.putpalette([0, 0, 0, *(value for index in range(largest) for value in object_color(index))])
    return picture


def binary(mask: RunLengthMask) -> Image.Image:
    """A mask as a gray picture, 255 inside and 0 outside.

    Args:
        mask: The mask.
    """
    return Image.fromarray(mask.to_mask().astype(np.uint8) * 255)


def cutout(pixels: np.ndarray, masks: Sequence[RunLengthMask]) -> Image.Image:
    """The image, transparent outside the masks.

    Args:
        pixels: `(H, W, 3)` uint8.
        masks: Masks of its size; none: all is transparent.
    """
    inside = np.zeros(pixels.shape[:2], dtype=bool)
    for mask in masks:
        inside |= mask.to_mask()
    picture = Image.fromarray(pixels).convert("RGBA")
    picture.putalpha(Image.fromarray(inside.astype(np.uint8) * 255))
    return picture
