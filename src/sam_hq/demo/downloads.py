"""What can be taken away from a session, as the bytes of a file."""

import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from sam_hq_numpy.formats.label_maps import label_map
from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.overlays import draw_masks, object_color

from .photo_session import PhotoSession

_Rows = Sequence[tuple[RunLengthMask, dict[str, Any]]]


def object_rows(session: PhotoSession) -> _Rows:
    """The objects as masks at photo size, each with what is known of it.

    Args:
        session: The session.

    Raises:
        ValueError: If there is none.
    """
    objects = session.objects()
    if not objects:
        raise ValueError("there is no mask yet: click on an object first")
    facts = [{"object": each.number, "score": each.score} for each in objects]
    return list(zip(session.masks_at(session.photo.size), facts, strict=True))


def generated_rows(session: PhotoSession) -> _Rows:
    """The same for everything that was found.

    Args:
        session: The session.

    Raises:
        ValueError: If nothing was looked for, or nothing found.
    """
    found = None if session.generation is None else session.generation.found
    if not found:
        raise ValueError("nothing has been found yet: press Find everything first")
    return [
        (
            mask,
            {
                "object": number,
                "score": float(score),
                # Of an empty mask it is 0 / 0, which JSON cannot hold.
                "stability_score": float(stability) if math.isfinite(stability) else None,
                "point_coords": points,
            },
        )
        for number, (mask, score, stability, points) in enumerate(
            zip(found.masks, found.scores, found.stability, found.points, strict=True), start=1
        )
    ]


def overlay_png(session: PhotoSession, rows: _Rows) -> bytes:
    """The image with the masks drawn over it.

    Args:
        session: The session.
        rows: Masks.
    """
    photo = Image.fromarray(session.photo.pixels())
    ordered = sorted(rows, key=lambda row: -row[0].area)  # small ones on top
    colors = [object_color(facts["object"] - 1) for _, facts in ordered]
    return _png(draw_masks(photo, (mask.to_mask() for mask, _ in ordered), colors=colors))


def masks_png(session: PhotoSession, rows: _Rows) -> bytes:
    """A picture whose pixels are the objects' numbers, 0 outside: 8 bits in the objects' colours, or 16 bits.

    Args:
        session: The session.
        rows: Masks.
    """
    labels = label_map([mask for mask, _ in rows], session.photo.size)
    numbers = np.array([0, *(facts["object"] for _, facts in rows)], dtype=np.uint16)
    labels = numbers[labels]
    if numbers.max() > 255:
        return _png(Image.fromarray(labels))
    picture = Image.fromarray(labels.astype(np.uint8), mode="P")
    palette = [channel for index in range(int(numbers.max())) for channel in object_color(index)]
    picture.putpalette([0, 0, 0, *palette])
    return _png(picture)


def cutout_png(session: PhotoSession, rows: _Rows) -> bytes:
    """The image, transparent outside the masks.

    Args:
        session: The session.
        rows: Masks.
    """
    inside = rows[0][0].joined([mask for mask, _ in rows[1:]]).to_mask()
    picture = Image.fromarray(session.photo.pixels()).convert("RGBA")
    picture.putalpha(Image.fromarray(inside.astype(np.uint8) * 255))
    return _png(picture)


def coco_json(session: PhotoSession, rows: _Rows) -> bytes:
    """A COCO data set of the image, masks as compressed run lengths, scores beside COCO's own fields.

    Args:
        session: The session.
        rows: Masks.
    """
    height, width = session.photo.size
    annotations = []
    for number, (mask, facts) in enumerate(rows, start=1):
        left, top, right, bottom = mask.box()
        size = [right - left + 1, bottom - top + 1] if mask.area else [0, 0]
        annotations.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": 1,
                "iscrowd": 0,
                "segmentation": mask.to_coco(),
                "area": mask.area,
                "bbox": [left, top, *size],
                **facts,
            }
        )
    return json.dumps(
        {
            "info": {"description": "masks found by SAM-HQ"},
            "images": [{"id": 1, "file_name": session.photo.name, "width": width, "height": height}],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "object"}],
        }
    ).encode()


ROWS: dict[str, Callable[[PhotoSession], _Rows]] = {"objects": object_rows, "everything": generated_rows}
FILES: dict[str, tuple[Callable[[PhotoSession, _Rows], bytes], str]] = {
    "overlay.png": (overlay_png, "image/png"),
    "masks.png": (masks_png, "image/png"),
    "cutout.png": (cutout_png, "image/png"),
    "annotations.json": (coco_json, "application/json"),
}


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=4)
    return file.getvalue()
