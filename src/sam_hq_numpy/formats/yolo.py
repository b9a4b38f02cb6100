"""YOLO's segmentation labels: a text file per image, and the `data.yaml` that names the classes.

A line is a class and one polygon, so pieces and holes are joined by bridges of no width. The polygon goes through the
border pixels, as OpenCV's contours do, because readers draw it with its border.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from .objects import ImageObject
from .polygons import DEFAULT_TOLERANCE, centre_outline, one_ring

# Readers either cut the fraction of a pixel or round it: a quarter lands on the border pixel both ways.
_IN_PIXEL = 0.25


def label_lines(
    objects: Sequence[ImageObject],
    size: Sequence[int],
    classes: Mapping[int, int],
    tolerance: float = DEFAULT_TOLERANCE,
) -> str:
    """The label file of one image; objects with an empty mask have no line.

    Args:
        objects: The objects.
        size: Height and width of the image.
        classes: YOLO's class, from 0, of every category id.
        tolerance: Of the polygons, in pixels.
    """
    lines = []
    for found in objects:
        if not found.mask.area:
            continue
        ring = one_ring([ring for polygon in centre_outline(found.mask, tolerance) for ring in polygon.rings])
        # Three vertices are the fewest that readers take; a mask of one pixel has them in one place.
        corners = ((ring + _IN_PIXEL) / [size[1], size[0]]).tolist()
        lines.append(" ".join([str(classes[found.category_id]), *(f"{x:.6f} {y:.6f}" for x, y in corners)]))
    return "".join(f"{line}\n" for line in lines)


def class_numbers(categories: Mapping[int, str]) -> dict[int, int]:
    """YOLO's class numbers, from 0 without a gap, of categories in their order.

    Args:
        categories: Names by id.
    """
    return {category: number for number, category in enumerate(categories)}


def data_yaml(categories: Mapping[int, str]) -> str:
    """The `data.yaml` of a dataset whose folders `images` and `labels` lie beside it.

    Args:
        categories: Names by id.
    """
    names = "".join(
        f"  {number}: {json.dumps(categories[category])}\n" for category, number in class_numbers(categories).items()
    )
    return f"path: .\ntrain: images\nval: images\nnames:\n{names}"
