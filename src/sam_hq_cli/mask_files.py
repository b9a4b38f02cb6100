"""Masks of one image as a file: in the format that its suffix names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from sam_hq_numpy.formats.objects import ImageObject

# Format of each suffix, and all that a suffix can hold.
MASK_FORMATS = {
    ".png": ("label-map", "cutout"),
    ".npz": ("arrays",),
    ".json": ("coco", "coco-polygons", "labelme"),
    ".geojson": ("geojson",),
    ".txt": ("yolo",),
}


def mask_format(path: str, asked: str | None) -> str:
    """The format of a file of masks.

    Args:
        path: The value of --masks.
        asked: The value of --masks-format.

    Raises:
        ValueError: If the suffix is unknown or holds another format.
    """
    formats = MASK_FORMATS.get(Path(path).suffix.lower())
    if formats is None:
        raise ValueError(f"--masks {path!r} must end in {', '.join(MASK_FORMATS)}")
    if asked is not None and asked not in formats:
        raise ValueError(f"--masks {path!r} holds {' or '.join(formats)}, not {asked}")
    return asked or formats[0]


def found_objects(masks: np.ndarray, scores: np.ndarray) -> list[ImageObject]:
    """Masks and scores as the writers take them, the candidates of an object one after the other.

    Args:
        masks: (P, M, H, W) boolean.
        scores: (P, M).
    """
    from sam_hq_numpy.formats.objects import ImageObject
    from sam_hq_numpy.mask_rle import RunLengthMask

    return [
        ImageObject(
            RunLengthMask.from_mask(mask), facts={"object": number, "candidate": rank, "predicted_iou": float(score)}
        )
        for number, (candidates, values) in enumerate(zip(masks, scores, strict=True), start=1)
        for rank, (mask, score) in enumerate(zip(candidates, values, strict=True), start=1)
    ]


def write_masks(
    path: Path, kind: str, image_name: str, pixels: np.ndarray, masks: np.ndarray, scores: np.ndarray
) -> None:
    """Write the masks of one image.

    Args:
        path: Where to.
        kind: From `mask_format`. Pictures and YOLO labels hold only the best candidate of each object.
        image_name: Of the image.
        pixels: (H, W, 3) of the image.
        masks: (P, M, H, W) boolean.
        scores: (P, M).
    """
    import numpy as np

    from sam_hq_numpy.formats import geojson, labelme, pictures, yolo

    size = masks.shape[-2:]
    objects = found_objects(masks, scores)
    best = [found for found in objects if found.facts["candidate"] == 1]
    documents: dict[str, Any] = {"labelme": labelme.document, "geojson": geojson.document}
    if kind == "arrays":
        with path.open("wb") as file:
            np.savez_compressed(file, masks=masks, scores=scores)
    elif kind == "label-map":
        pictures.numbered([found.mask for found in best], size).save(path, "PNG")
    elif kind == "cutout":
        pictures.cutout(pixels, [found.mask for found in best]).save(path, "PNG")
    elif kind == "yolo":
        path.write_text(yolo.label_lines(best, size, {1: 0}), encoding="utf-8")
    elif kind in documents:
        path.write_text(json.dumps(documents[kind](image_name, size, objects)), encoding="utf-8")
    else:
        path.write_text(json.dumps(coco_dataset(image_name, size, objects, kind)), encoding="utf-8")


def coco_dataset(image_name: str, size: Any, objects: list[ImageObject], kind: str = "coco") -> dict[str, Any]:
    """Objects as a COCO data set of one image.

    Args:
        image_name: Of the image.
        size: Height and width.
        objects: The objects.
        kind: `coco`, with run lengths, or `coco-polygons`.
    """
    from sam_hq_numpy.formats import coco
    from sam_hq_numpy.formats.polygons import DEFAULT_TOLERANCE

    image = {"file_name": image_name, "height": size[0], "width": size[1]}
    return coco.dataset([(image, objects)], {1: "object"}, DEFAULT_TOLERANCE if kind == "coco-polygons" else None)
