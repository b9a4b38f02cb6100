"""LabelMe's JSON file of one image: polygons, those of one object in one group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .objects import ImageObject
from .polygons import DEFAULT_TOLERANCE, one_ring, outline

# The oldest release whose files have all the fields below.
_VERSION = "5.3.0"


def document(
    image_path: str, size: Sequence[int], objects: Sequence[ImageObject], tolerance: float = DEFAULT_TOLERANCE
) -> dict[str, Any]:
    """The file's content.

    Args:
        image_path: Path of the image, from the folder of the file.
        size: Height and width of the image.
        objects: The objects; an empty mask has no shape.
        tolerance: Of the polygons, in pixels.
    """
    shapes = []
    for number, found in enumerate(objects, start=1):
        traced = outline(found.mask, tolerance)
        facts = [f"{name} {value}" for name, value in found.facts.items() if isinstance(value, int | float | str)]
        facts.append(f"tolerance {traced.tolerance:g} px, IoU with the mask {traced.iou:.4f}")
        shapes += [
            {
                "label": found.category,
                "points": one_ring(polygon.rings).astype(float).tolist(),
                "group_id": number,
                "description": ", ".join(facts),
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
            }
            for polygon in traced.polygons
        ]
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }
