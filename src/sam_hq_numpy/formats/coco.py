"""COCO instances, written: masks as run lengths or as polygons.

Polygons of COCO have no holes: a hole is joined to its outline by a bridge of no width, which readers that fill by the
even-odd rule, pycocotools among them, read back as the hole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .objects import ImageObject
from .polygons import one_ring, outline

INFO = {"description": "masks found by SAM-HQ"}


def annotation(found: ImageObject, tolerance: float | None = None) -> dict[str, Any]:
    """One object as COCO writes it, without the ids of the annotation and of the image.

    Args:
        found: The object.
        tolerance: Of polygons, in pixels; None: run lengths.

    Returns:
        `segmentation`, `area`, `bbox` (x, y, width, height), `category_id`, `iscrowd` and the object's facts; with
        polygons also `polygon_tolerance` and `polygon_iou`, the tolerance that was used and the IoU with the mask.
    """
    x0, y0, x1, y1 = found.mask.box()
    written: dict[str, Any] = {
        **found.facts,
        "category_id": found.category_id,
        "iscrowd": 0,
        "area": found.mask.area,
        "bbox": [x0, y0, x1 - x0 + 1, y1 - y0 + 1] if found.mask.area else [0, 0, 0, 0],
    }
    if tolerance is None or not found.mask.area:  # an empty list of polygons is what readers stumble over
        return {**written, "segmentation": found.mask.to_coco()}
    traced = outline(found.mask, tolerance)
    return {
        **written,
        "segmentation": [one_ring(polygon.rings).ravel().tolist() for polygon in traced.polygons],
        "polygon_tolerance": traced.tolerance,
        "polygon_iou": round(traced.iou, 6),
    }


def dataset(
    images: Iterable[tuple[Mapping[str, Any], Iterable[ImageObject]]],
    categories: Mapping[int, str],
    tolerance: float | None = None,
) -> dict[str, Any]:
    """Images and objects as a COCO dataset.

    Args:
        images: Of each image `file_name`, `height`, `width` and what else is known, and its objects. Images without
            an `id` are numbered from 1.
        categories: Names by id.
        tolerance: Of polygons, in pixels; None: run lengths.
    """
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (image, objects) in enumerate(images, start=1):
        listed.append({"id": number, **image})
        for found in objects:
            ids = {"id": len(annotations) + 1, "image_id": listed[-1]["id"]}
            annotations.append({**ids, **annotation(found, tolerance)})
    return {
        "info": INFO,
        "licenses": [],
        "images": listed,
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in sorted(categories.items())],
    }
