"""Many masks in one picture: numbered pixels, and a photo tinted by them."""

from collections.abc import Sequence

import numpy as np

from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.overlays import object_color


def label_map(masks: Sequence[RunLengthMask], size: Sequence[int]) -> np.ndarray:
    """Number masks in one picture, small ones on top of large ones.

    Args:
        masks: At most 65535 masks of the picture's size.
        size: Height and width.

    Returns:
        `(H, W)` uint16: 0 where there is no mask, else the position of the mask in `masks`, from 1.

    Raises:
        ValueError: If there are more masks than 16 bits can number, or one has another size.
    """
    if other := [(mask.height, mask.width) for mask in masks if (mask.height, mask.width) != tuple(size)]:
        raise ValueError(f"masks must have the picture's size {tuple(size)} (height, width), got {other[0]}")
    if len(masks) > np.iinfo(np.uint16).max:
        raise ValueError(f"a 16-bit picture numbers at most 65535 masks, got {len(masks)}")
    columns = np.zeros((size[1], size[0]), dtype=np.uint16)  # transposed, because runs go down the columns
    positions = columns.reshape(-1)
    for index in sorted(range(len(masks)), key=lambda index: -masks[index].area):
        for start, end in zip(*masks[index].runs(), strict=True):
            positions[start:end] = index + 1
    return columns.T


def draw_label_map(pixels: np.ndarray, labels: np.ndarray, opacity: float = 0.45) -> np.ndarray:
    """Tint a photo by the masks of a label map and trace their borders.

    Args:
        pixels: `(H, W, 3)` uint8.
        labels: `(H, W)`, as `label_map` makes it.
        opacity: Of the tint, 0 to 1.

    Returns:
        `(H, W, 3)` uint8.
    """
    colors = np.array(
        [(0, 0, 0), *(object_color(index) for index in range(int(labels.max(initial=0))))], dtype=np.uint8
    )
    picture = pixels.copy()
    is_border = np.zeros(labels.shape, dtype=bool)
    is_border[:-1] |= labels[1:] != labels[:-1]
    is_border[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    is_border &= labels > 0
    weight = np.uint16(round(256 * opacity))
    for row in range(len(labels)):  # row by row: the 16-bit products of a large photo need not fit into memory
        inside = labels[row] > 0
        tint = colors[labels[row][inside]].astype(np.uint16) * weight
        picture[row][inside] = (picture[row][inside] * (256 - weight) + tint) >> 8
    picture[is_border] = colors[labels[is_border]]
    return picture
