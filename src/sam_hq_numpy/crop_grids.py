"""Where automatic mask generation looks: crops of the image, layer by layer, and the grid of points in each.

Source: `utils/amg.py` of the package `segment-anything-hq`.
"""

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

Box = tuple[int, int, int, int]

# A million points take an hour on an accelerator, and tiles as many as these take days.
MOST_POINTS_PER_SIDE = 1024
MOST_TILES = 10_000
# A mask whose box ends this near to an edge of its crop, in pixels, counts as cut by it.
EDGE_TOLERANCE = 20.0


def point_grid(points_per_side: int) -> np.ndarray:
    """Evenly spaced points, each in the middle of its cell.

    Args:
        points_per_side: Cells along each side.

    Returns:
        `(points_per_side², 2)` float64, x y as fractions of width and height, row by row.
    """
    half_cell = 1 / (2 * points_per_side)
    along_side = np.linspace(half_cell, 1 - half_cell, points_per_side)
    rows, columns = np.meshgrid(along_side, along_side, indexing="ij")
    return np.stack([columns.ravel(), rows.ravel()], -1)


def layer_point_grids(points_per_side: int, crops_n_layers: int = 0, downscale_factor: float = 1) -> list[np.ndarray]:
    """One grid per crop layer, thinner by `downscale_factor` with every layer.

    Args:
        points_per_side: Points along each side of the whole image (layer 0).
        crops_n_layers: Number of crop layers below it.
        downscale_factor: Layer n has `int(points_per_side / downscale_factor**n)` points per side.

    Returns:
        `crops_n_layers + 1` arrays of `(P_n, 2)`, as `point_grid` gives them.

    Raises:
        ValueError: A layer would be left without points.
    """
    try:
        sides = [int(points_per_side / downscale_factor**layer) for layer in range(crops_n_layers + 1)]
    except (OverflowError, ZeroDivisionError):  # of a factor to which no layer's number can be raised
        sides = [0 if downscale_factor > 1 else MOST_POINTS_PER_SIDE + 1]
    if min(sides) < 1:
        raise ValueError(
            f"points_per_crop={points_per_side} and crop_n_points_downscale_factor={downscale_factor} leave layer "
            f"{next(layer for layer, side in enumerate(sides) if side < 1)} of crops_n_layers={crops_n_layers} "
            "without points: raise the first or lower one of the others"
        )
    if max(sides) > MOST_POINTS_PER_SIDE:
        raise ValueError(
            f"points_per_crop={points_per_side} and crop_n_points_downscale_factor={downscale_factor} give a layer "
            f"of crops_n_layers={crops_n_layers} more than {MOST_POINTS_PER_SIDE} points along each side"
        )
    return [point_grid(side) for side in sides]


def layer_crop_boxes(
    image_size: tuple[int, int], crops_n_layers: int = 0, overlap_ratio: float = 512 / 1500
) -> tuple[list[Box], list[int]]:
    """The whole image, then `4**n` overlapping crops for every layer n, fewer where the pixels do not suffice.

    Args:
        image_size: Height and width in pixels.
        crops_n_layers: Number of layers below the whole image.
        overlap_ratio: Overlap of neighbouring crops in layer 1, as a fraction of the shorter side; halved with every
            further layer.

    Returns:
        The boxes, x0 y0 x1 y1 in pixels (x1 and y1 outside the crop), column by column within a layer; and the layer
        of each.
    """
    height, width = image_size
    boxes, layers = [(0, 0, width, height)], [0]
    for layer in range(1, crops_n_layers + 1):
        crops_per_side = 2**layer
        overlap = int(overlap_ratio * min(height, width) * (2 / crops_per_side))
        crop_width = math.ceil((overlap * (crops_per_side - 1) + width) / crops_per_side)
        crop_height = math.ceil((overlap * (crops_per_side - 1) + height) / crops_per_side)
        for column, row in product(range(crops_per_side), repeat=2):
            x0, y0 = (crop_width - overlap) * column, (crop_height - overlap) * row
            if x0 >= width or y0 >= height:  # images of a few pixels have no room for so many crops
                continue
            boxes.append((x0, y0, min(x0 + crop_width, width), min(y0 + crop_height, height)))
            layers.append(layer)
    return boxes, layers


def tile_boxes(image_size: tuple[int, int], tile_size: int, overlap: float = 0.25) -> list[Box]:
    """Tiles of one size that cover an image, evenly spread, neighbours overlapping by at least `overlap`.

    Args:
        image_size: Height and width in pixels.
        tile_size: Side of a tile; a shorter side of the photo is taken whole.
        overlap: Least overlap, as a fraction of `tile_size`.

    Returns:
        Boxes x0 y0 x1 y1 in pixels, row by row; x1 and y1 outside the tile.

    Raises:
        ValueError: There would be too many.
    """
    step = max(1, tile_size - int(overlap * tile_size))
    if math.prod(math.ceil(length / step) for length in image_size) > MOST_TILES:
        raise ValueError(
            f"tile_size={tile_size} would cut an image of {image_size[1]} x {image_size[0]} pixels into more than "
            f"{MOST_TILES} tiles: raise it"
        )
    rows, columns = (_spans(length, tile_size, int(overlap * tile_size)) for length in image_size)
    return [(x0, y0, x1, y1) for y0, y1 in rows for x0, x1 in columns]


def touches_crop_edge(
    boxes: np.ndarray, crop_box: Sequence[int], image_size: Sequence[int], tolerance: float = EDGE_TOLERANCE
) -> np.ndarray:
    """Whether boxes end at the edge of their crop where the image continues, so that their masks are probably cut.

    Args:
        boxes: (N, 4) x0 y0 x1 y1, in pixels of the crop.
        crop_box: x0 y0 x1 y1 of the crop, in pixels of the photo.
        image_size: Height and width of the photo.
        tolerance: How near, in pixels, counts as touching.

    Returns:
        (N,) bool.

    Source: `is_box_near_crop_edge` of the authors' `utils/amg.py`: each side is held against the same side.
    """
    crop, image = np.array(crop_box), np.array([0, 0, image_size[1], image_size[0]])
    sides = boxes + crop[[0, 1, 0, 1]]
    near_crop, near_image = (np.abs(sides - edges) <= tolerance for edges in (crop, image))
    return (near_crop & ~near_image).any(axis=1)


def _spans(length: int, tile_size: int, overlap: int) -> list[tuple[int, int]]:
    if length <= tile_size:
        return [(0, length)]
    count = math.ceil((length - overlap) / max(1, tile_size - overlap))
    starts = [round(index * (length - tile_size) / (count - 1)) for index in range(count)]
    return [(start, start + tile_size) for start in starts]
