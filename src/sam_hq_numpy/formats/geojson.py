"""GeoJSON with coordinates in pixels of the image: one feature per object, holes and pieces as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .objects import ImageObject
from .polygons import DEFAULT_TOLERANCE, outline


def document(
    file_name: str, size: Sequence[int], objects: Sequence[ImageObject], tolerance: float = DEFAULT_TOLERANCE
) -> dict[str, Any]:
    """The objects of one image as a feature collection.

    Args:
        file_name: Of the image.
        size: Height and width of the image.
        objects: The objects; that of an empty mask has no geometry.
        tolerance: Of the polygons, in pixels.
    """
    features = []
    for number, found in enumerate(objects, start=1):
        traced = outline(found.mask, tolerance)
        pieces = [[_closed(ring) for ring in polygon.rings] for polygon in traced.polygons]
        features.append(
            {
                "type": "Feature",
                "id": number,
                "geometry": {"type": "MultiPolygon", "coordinates": pieces} if pieces else None,
                "properties": {
                    "category_id": found.category_id,
                    "category": found.category,
                    "area": found.mask.area,
                    "polygon_tolerance": traced.tolerance,
                    "polygon_iou": round(traced.iou, 6),
                    **found.facts,
                },
            }
        )
    image = {"file_name": file_name, "height": size[0], "width": size[1], "coordinates": "pixels, y down"}
    return {"type": "FeatureCollection", "image": image, "features": features}


def _closed(ring: np.ndarray) -> list[list[float]]:
    return np.concatenate([ring, ring[:1]]).tolist()
