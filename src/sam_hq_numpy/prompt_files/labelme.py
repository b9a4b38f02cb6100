"""LabelMe's files: rectangles as boxes, polygons and masks as their bounding boxes, points as points.

Shapes of one label and group are one object, as LabelMe's own conversion to instances takes them: its box is around all
of them that have one, its points are all of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..number_limits import counted, shown
from .prompts import ImageNames, ObjectPrompt, PromptSet, number

_SPANNED = ("rectangle", "polygon", "mask")


def from_documents(documents: Sequence[tuple[Path, Mapping[str, Any]]], images: Sequence[Path]) -> PromptSet:
    """The prompts of label files.

    Args:
        documents: The files and their contents.
        images: The images of the job.

    Raises:
        ValueError: If an image's name is ambiguous.
    """
    found, names = PromptSet(), ImageNames(images)
    shapes: dict[Path, list[Mapping[str, Any]]] = {}
    for file, content in documents:
        try:
            shapes[file] = [shape for shape in _list(content, "shapes") if isinstance(shape, dict)]
        except ValueError as error:
            found.bad.append((file.name, str(error)))
    labels = {_label(shape) for listed in shapes.values() for shape in listed}
    ids = {label: number_ for number_, label in enumerate(sorted(labels), start=1)}
    found.categories = {number_: label for label, number_ in ids.items()}
    for file, content in documents:
        if file not in shapes:
            continue
        image = names.find(str(content.get("imagePath") or ""), file.parent) or names.find_stem(file)
        if image is None:
            found.miss(str(content.get("imagePath") or file.name))
            continue
        found.objects.setdefault(image, [])
        found.note_size(image, content.get("imageHeight"), content.get("imageWidth"))
        objects: dict[tuple[Any, ...], list[ObjectPrompt]] = {}
        for place, shape in enumerate(shapes[file], start=1):
            name, category = f"{file.name}, shape {place}", ids[_label(shape)]
            try:
                points = [_point(point) for point in _list(shape, "points")]
                prompt = _prompt(str(shape.get("shape_type") or "polygon"), points, name, category)
            except ValueError as error:
                found.bad.append((name, str(error)))
                continue
            group = shape.get("group_id")
            key = ("shape", place) if group is None else (category, str(group))
            objects.setdefault(key, []).append(prompt)
        for parts in objects.values():
            found.add(image, _joined(parts))
    return found


def _joined(parts: Sequence[ObjectPrompt]) -> ObjectPrompt:
    """The one object that shapes show together."""
    boxes = [part.box for part in parts if part.box is not None]
    points = [point for part in parts for point in part.points]
    x0, y0, x1, y1 = zip(*boxes, strict=True) if boxes else ((), (), (), ())
    box = (min(x0), min(y0), max(x1), max(y1)) if boxes else None
    return replace(parts[0], box=box, points=tuple(points), labels=(1,) * len(points))


def _prompt(kind: str, points: list[tuple[float, float]], name: str, category: int) -> ObjectPrompt:
    if kind == "point" and len(points) == 1:
        return ObjectPrompt(name, category, points=tuple(points), labels=(1,))
    xs, ys = [x for x, _ in points], [y for _, y in points]
    if kind in _SPANNED and len(points) >= 2:
        return ObjectPrompt(name, category, (min(xs), min(ys), max(xs), max(ys)))
    if kind == "circle" and len(points) == 2:
        (x, y), (edge_x, edge_y) = points
        radius = ((edge_x - x) ** 2 + (edge_y - y) ** 2) ** 0.5
        return ObjectPrompt(name, category, (x - radius, y - radius, x + radius, y + radius))
    raise ValueError(f"a {kind} of {counted(len(points), 'point')} shows no object")


def _label(shape: Mapping[str, Any]) -> str:
    label = shape.get("label")
    return "object" if label is None else str(label)


def _point(point: Any) -> tuple[float, float]:
    if not isinstance(point, list | tuple) or len(point) != 2:
        raise ValueError(f"a point of {shown(point, 60)}, not of two numbers")
    return number(point[0]), number(point[1])


def _list(content: Mapping[str, Any], name: str) -> list[Any]:
    """A list of the file; null and what is left out are none."""
    values = content.get(name)
    if values is not None and not isinstance(values, list):
        raise ValueError(f"{name} must be a list, got {shown(values, 60)}")
    return values or []
