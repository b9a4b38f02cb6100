"""Masks described by outlines and run lengths in COCO, LabelMe and YOLO files, checked before they are drawn.

Drawing is pycocotools', so that outlines give the pixels that COCO's own evaluation compares with. Its C code trusts
what it gets: coordinates and sizes are checked here.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from .mask_rle import RunLengthMask
from .stored_masks import UnreadableMaskError

# Outlines may leave their image by its size; further out they are a mistake.
_MARGIN = 1.0
# Pixels that the lines of one object may pass: what draws them takes memory for each.
_LONGEST_OUTLINE = 4_000_000
_CIRCLE_VERTICES = 128


def check_drawing() -> None:
    """Refuse outlines where nothing can draw them.

    Raises:
        ImportError: pycocotools is not installed.
    """
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError as error:
        raise ImportError("masks given as outlines need pycocotools: pip install pycocotools") from error


def drawn_polygons(polygons: Any, size: tuple[int, int]) -> np.ndarray:
    """Draw the pieces of one object.

    Args:
        polygons: [piece][x0, y0, x1, y1, ...] in pixels of the image, at least three points each.
        size: Height and width of the image.

    Returns:
        (H, W) bool.

    Raises:
        UnreadableMaskError: Something else, or coordinates that are not finite or far outside the image.
    """
    from pycocotools import mask as coco_masks

    if not isinstance(polygons, Sequence) or isinstance(polygons, str) or not len(polygons):
        raise UnreadableMaskError("no outline")
    checked = [_checked_polygon(polygon, size) for polygon in polygons]
    corners = [np.array(polygon).reshape(-1, 2) for polygon in checked]
    every = np.concatenate(corners)
    if max(size) > 2 and every.min() >= 0 and every.max() <= 1 and (every % 1).any():
        raise UnreadableMaskError("coordinates from 0 to 1, as if they were shares of the image")
    steps = sum(np.abs(np.roll(piece, -1, axis=0) - piece).max(axis=1).sum() + len(piece) for piece in corners)
    if steps > _LONGEST_OUTLINE:
        raise UnreadableMaskError("an outline that is too long")
    height, width = size
    return coco_masks.decode(coco_masks.merge(coco_masks.frPyObjects(checked, height, width))).astype(bool)


def coco_mask(segmentation: Any, size: tuple[int, int]) -> np.ndarray:
    """Draw COCO's `segmentation`: polygons, or run lengths as a list or compressed.

    Args:
        segmentation: The field.
        size: Height and width of the image.

    Returns:
        (H, W) bool.

    Raises:
        UnreadableMaskError: It is none, or does not fit the image.
    """
    if not isinstance(segmentation, Mapping):
        return drawn_polygons(segmentation, size)
    stated = segmentation.get("size")
    if not isinstance(stated, Sequence) or list(stated) != list(size):
        raise UnreadableMaskError("run lengths of another size than the image")
    counts = segmentation.get("counts")
    if isinstance(counts, Sequence) and not isinstance(counts, str | bytes):
        total = size[0] * size[1]
        if not all(isinstance(count, int) and not isinstance(count, bool) and 0 <= count <= total for count in counts):
            raise UnreadableMaskError("run lengths that are no whole numbers within the image")
    elif not isinstance(counts, str | bytes):
        raise UnreadableMaskError("no run lengths")
    try:
        return RunLengthMask.from_dict({"size": size, "counts": counts}).to_mask()
    except (ValueError, OverflowError, MemoryError) as error:
        raise UnreadableMaskError("run lengths that do not add up to the image") from error


def labelme_masks(document: Mapping, size: tuple[int, int]) -> list[tuple[str, np.ndarray | Exception]]:
    """Draw the shapes of a LabelMe file; those of one label and group are one object.

    Args:
        document: Its content.
        size: Height and width of the image.

    Returns:
        A name and a mask (H, W) bool for every object, or what is wrong with it.
    """
    objects: dict[tuple, list[Any]] = {}
    shapes = document.get("shapes")
    for number, shape in enumerate(shapes if isinstance(shapes, list) else []):
        if not isinstance(shape, Mapping):
            objects[("shape", number)] = [None]
            continue
        group = shape.get("group_id")
        key = ("shape", number) if group is None else (str(shape.get("label")), str(group))
        objects.setdefault(key, []).append(shape)
    found: list[tuple[str, np.ndarray | Exception]] = []
    for (label, number), parts in objects.items():
        try:
            found.append((f"{label} {number}", np.logical_or.reduce([_labelme_shape(part, size) for part in parts])))
        except UnreadableMaskError as error:
            found.append((f"{label} {number}", error))
    return found


def yolo_masks(text: str, size: tuple[int, int]) -> list[tuple[str, np.ndarray | Exception]]:
    """Draw the outlines of a YOLO segmentation label file.

    Args:
        text: Its content: a line for each object, a class and x y pairs as shares of the image's sides.
        size: Height and width of the image.

    Returns:
        A name and a mask (H, W) bool for every line, or what is wrong with it.
    """
    found: list[tuple[str, np.ndarray | Exception]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.split():
            continue
        try:
            found.append((f"line {number}", _yolo_line(line.split(), size)))
        except UnreadableMaskError as error:
            found.append((f"line {number}", error))
    return found


def _yolo_line(fields: list[str], size: tuple[int, int]) -> np.ndarray:
    try:
        values = [float(field) for field in fields]
    except ValueError as error:
        raise UnreadableMaskError("a line that is not of numbers") from error
    if len(values) == 5:
        raise UnreadableMaskError("a box, which is no outline")
    shares = values[1:]
    scaled = [share * size[1 - place % 2] for place, share in enumerate(shares)]
    return drawn_polygons([scaled], size)


def _labelme_shape(shape: Any, size: tuple[int, int]) -> np.ndarray:
    kind = shape.get("shape_type") or "polygon" if shape is not None else "nothing"
    points = shape.get("points") if shape is not None else None
    flat: list[Any] = []
    for point in points if isinstance(points, list) else []:
        flat += point if isinstance(point, list) and len(point) == 2 else [math.nan]
    if kind == "polygon":
        return drawn_polygons([flat], size)
    if kind not in ("rectangle", "circle", "mask"):
        raise UnreadableMaskError(f"a {str(kind)[:20]}, which has no area")
    if len(flat) == 8 and kind == "rectangle":
        return drawn_polygons([flat], size)
    if len(flat) != 4:
        raise UnreadableMaskError(f"a {kind} of {len(flat) / 2:g} points")
    x0, y0, x1, y1 = _checked_coordinates(flat, size)
    if kind == "rectangle":
        return drawn_polygons([[x0, y0, x1, y0, x1, y1, x0, y1]], size)
    if kind == "mask":
        return _labelme_picture(shape.get("mask"), (min(x0, x1), min(y0, y1)), size)
    angles = np.linspace(0, 2 * np.pi, _CIRCLE_VERTICES, endpoint=False)
    radius = math.hypot(x1 - x0, y1 - y0)
    around = np.stack([x0 + radius * np.cos(angles), y0 + radius * np.sin(angles)], axis=1)
    return drawn_polygons([around.ravel().tolist()], size)


def _labelme_picture(encoded: Any, corner: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    from .photo_files import decoded_photo
    from .stored_masks import as_mask, read_pixels

    try:
        part = read_pixels(decoded_photo(base64.b64decode(encoded), max_pixels=size[0] * size[1]))
    except (TypeError, ValueError) as error:
        raise UnreadableMaskError("a mask that is no picture") from error
    x, y = round(corner[0]), round(corner[1])
    if part.ndim != 2 or x < 0 or y < 0 or y + part.shape[0] > size[0] or x + part.shape[1] > size[1]:
        raise UnreadableMaskError("a mask that leaves the image")
    mask = np.zeros(size, dtype=bool)
    mask[y : y + part.shape[0], x : x + part.shape[1]] = as_mask(part)
    return mask


def _checked_polygon(polygon: Any, size: tuple[int, int]) -> list[float]:
    if not isinstance(polygon, Sequence) or isinstance(polygon, str):
        raise UnreadableMaskError("an outline that is no list of numbers")
    if len(polygon) < 6 or len(polygon) % 2:
        raise UnreadableMaskError(f"an outline of {len(polygon) / 2:g} points")
    return _checked_coordinates(polygon, size)


def _checked_coordinates(values: Sequence[Any], size: tuple[int, int]) -> list[float]:
    if not all(isinstance(value, Real) and not isinstance(value, bool) for value in values):
        raise UnreadableMaskError("an outline that is no list of numbers")
    try:
        numbers = np.array([float(value) for value in values])
    except OverflowError:
        numbers = np.array([math.inf])
    if not np.isfinite(numbers).all():
        raise UnreadableMaskError("coordinates that are not finite")
    sides = np.resize(np.array([size[1], size[0]], dtype=np.float64), len(numbers))
    if ((numbers < -_MARGIN * sides) | (numbers > (1 + _MARGIN) * sides)).any():
        raise UnreadableMaskError("coordinates far outside the image")
    return numbers.tolist()
