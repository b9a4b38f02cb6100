"""Masks of one photograph as files: numbered pixels, arrays or COCO annotations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MASK_SUFFIXES = (".png", ".npz", ".json")


def write_masks(path: Path, image_name: str, masks: np.ndarray, scores: np.ndarray) -> None:
    """Write masks in the format that the suffix names.

    Args:
        path: ends in .png, .npz or .json.
        image_name: of the photograph, for COCO.
        masks: (P, M, H, W) boolean. A .png holds only the best candidate of each object, later objects on top.
        scores: (P, M).

    Raises:
        ValueError: if a .png cannot number all the objects.
    """
    import numpy as np

    if path.suffix == ".npz":
        np.savez_compressed(path, masks=masks, scores=scores)
    elif path.suffix == ".json":
        path.write_text(json.dumps(coco(image_name, masks, scores)), encoding="utf-8")
    else:
        _numbered(masks).save(path)


def coco(image_name: str, masks: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Return masks as a COCO data set of one image, with the score and the candidate's rank beside COCO's own fields.

    Args:
        image_name: of the photograph.
        masks: (P, M, H, W) boolean.
        scores: (P, M).
    """
    from sam_hq_numpy.mask_rle import RunLengthMask

    height, width = masks.shape[-2:]
    annotations: list[dict[str, Any]] = []
    for number, (candidates, values) in enumerate(zip(masks, scores, strict=True), start=1):
        for rank, (mask, score) in enumerate(zip(candidates, values, strict=True), start=1):
            runs = RunLengthMask.from_mask(mask)
            left, top, right, bottom = runs.box()
            size = [right - left + 1, bottom - top + 1] if runs.area else [0, 0]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": 1,
                    "category_id": 1,
                    "iscrowd": 0,
                    "segmentation": runs.to_coco(),
                    "area": runs.area,
                    "bbox": [left, top, *size],
                    "object": number,
                    "candidate": rank,
                    "score": float(score),
                }
            )
    return {
        "images": [{"id": 1, "file_name": image_name, "width": width, "height": height}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }


def _numbered(masks: np.ndarray) -> Image.Image:
    """One picture in which a pixel's value is its object's number, shown in the overlay's colours."""
    import numpy as np
    from PIL import Image

    from sam_hq_numpy.overlays import object_color

    if len(masks) > 255:
        raise ValueError(f"a .png numbers up to 255 objects, but there are {len(masks)}; write .npz or .json")
    numbers = np.zeros(tuple(masks.shape[-2:]), dtype=np.uint8)
    for number, candidates in enumerate(masks, start=1):
        numbers[candidates[0]] = number
    picture = Image.fromarray(numbers, mode="P")
    picture.putpalette([0, 0, 0] + [value for index in range(len(masks)) for value in object_color(index)])
    return picture
