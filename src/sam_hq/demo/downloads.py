"""What can be taken away from a session, as the bytes of a file; the formats are those of the command line.

`FILES` names what is made of a session and of the masks that are wanted of it, its rows, which `ROWS` names.
"""

import io
import json
import math
import zipfile
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from PIL import Image

from sam_hq_numpy.formats import coco, geojson, labelme, pictures, yolo
from sam_hq_numpy.formats.objects import ImageObject
from sam_hq_numpy.formats.polygons import DEFAULT_TOLERANCE
from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.overlays import draw_masks, object_color

from .photo_session import PhotoSession

_UNNAMED = "object"

_Rows = Sequence[ImageObject]


def object_rows(session: PhotoSession) -> _Rows:
    """The objects with masks at photo size; their names are their categories.

    Args:
        session: The session.

    Raises:
        ValueError: If there is none.
    """
    objects = session.objects()
    if not objects:
        raise ValueError("there is no mask yet: click on an object first")
    facts = ({"object": each.number, "predicted_iou": each.score} for each in objects)
    masks = (session.mask_at(each, session.photo.size) for each in objects)
    return _named(masks, [each.name for each in objects], facts)


def generated_rows(session: PhotoSession) -> _Rows:
    """The same for everything that was found.

    Args:
        session: The session.

    Raises:
        ValueError: If nothing was looked for, or nothing found.
    """
    found = session.found
    if not found:
        raise ValueError("nothing has been found yet: press Find everything first")
    facts = (
        {
            "object": number,
            "predicted_iou": float(score),
            # Of an empty mask it is 0 / 0, which JSON cannot hold.
            "stability_score": float(stability) if math.isfinite(stability) else None,
            "point_coords": points,
        }
        for number, (score, stability, points) in enumerate(
            zip(found.scores, found.stability, found.points, strict=True), start=1
        )
    )
    return _named(found.masks, [""] * len(found), facts)


def overlay_png(session: PhotoSession, rows: _Rows) -> bytes:
    """The image with the masks drawn over it."""
    photo = Image.fromarray(session.photo.pixels())
    ordered = sorted(rows, key=lambda row: -row.mask.area)  # small ones on top
    colors = [object_color(row.facts["object"] - 1) for row in ordered]
    return _png(draw_masks(photo, (row.mask.to_mask() for row in ordered), colors=colors))


def masks_png(session: PhotoSession, rows: _Rows) -> bytes:
    """A picture whose pixels are the objects' numbers, 0 outside: 8 bits in the objects' colours, or 16 bits."""
    numbers = [row.facts["object"] for row in rows]
    return _png(pictures.numbered([row.mask for row in rows], session.photo.size, numbers))


def cutout_png(session: PhotoSession, rows: _Rows) -> bytes:
    """The image, transparent outside the masks."""
    return _png(pictures.cutout(session.photo.pixels(), [row.mask for row in rows]))


def coco_json(session: PhotoSession, rows: _Rows, tolerance: float | None = None) -> bytes:
    """A COCO dataset of the image: polygons of a tolerance in pixels, or run lengths where it is None."""
    height, width = session.photo.size
    image = {"file_name": session.photo.name, "width": width, "height": height}
    return _json(coco.dataset([(image, rows)], _categories(rows), tolerance))


def yolo_zip(session: PhotoSession, rows: _Rows) -> bytes:
    """A YOLO dataset in a zip: the image as it came, its label file, and `data.yaml`."""
    categories = _categories(rows)
    lines = yolo.label_lines(rows, session.photo.size, yolo.class_numbers(categories))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.yaml", yolo.data_yaml(categories))
        archive.writestr(f"labels/{session.photo.stem}.txt", lines)
        archive.writestr(f"images/{session.photo.name}", session.photo.data, zipfile.ZIP_STORED)
    return file.getvalue()


def labelme_json(session: PhotoSession, rows: _Rows) -> bytes:
    """The polygons as LabelMe has them."""
    return _json(labelme.document(session.photo.name, session.photo.size, rows))


def objects_geojson(session: PhotoSession, rows: _Rows) -> bytes:
    """The polygons as GeoJSON, in pixels."""
    return _json(geojson.document(session.photo.name, session.photo.size, rows))


ROWS: dict[str, Callable[[PhotoSession], _Rows]] = {"objects": object_rows, "everything": generated_rows}
FILES: dict[str, tuple[Callable[[PhotoSession, _Rows], bytes], str]] = {
    "overlay.png": (overlay_png, "image/png"),
    "masks.png": (masks_png, "image/png"),
    "cutout.png": (cutout_png, "image/png"),
    "annotations.json": (coco_json, "application/json"),
    "polygons.json": (partial(coco_json, tolerance=DEFAULT_TOLERANCE), "application/json"),
    "yolo.zip": (yolo_zip, "application/zip"),
    "labelme.json": (labelme_json, "application/json"),
    "objects.geojson": (objects_geojson, "application/geo+json"),
}


def _named(masks: Iterable[RunLengthMask], names: Sequence[str], facts: Iterable[dict[str, Any]]) -> list[ImageObject]:
    """Categories are numbered from 1 in the order of the first object of each."""
    words = [name or _UNNAMED for name in names]
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words), start=1)}
    return [
        ImageObject(mask, numbers[word], word, known) for mask, word, known in zip(masks, words, facts, strict=True)
    ]


def _categories(rows: _Rows) -> dict[int, str]:
    return dict(sorted((row.category_id, row.category) for row in rows))


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value).encode()


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=4)
    return file.getvalue()
