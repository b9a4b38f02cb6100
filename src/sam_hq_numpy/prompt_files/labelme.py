"""LabelMe's files: rectangles as boxes, polygons and masks as their bounding boxes, points as points."""

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
    labels = {str(shape.get("label", "object")) for _, content in documents for shape in _shapes(content)}
    ids = {label: number_ for number_, label in enumerate(sorted(labels), start=1)}
    found.categories = {number_: label for label, number_ in ids.items()}
    for file, content in documents:
        image = names.find(str(content.get("imagePath") or "")) or names.find_stem(file.stem)
        if image is None:
            found.miss(str(content.get("imagePath") or file.name))
            continue
        found.objects.setdefault(image, [])
        found.note_size(image, content.get("imageHeight"), content.get("imageWidth"))
        grouped: dict[tuple[Any, int], ObjectPrompt] = {}
        for place, shape in enumerate(_shapes(content), start=1):
            name, category = f"{file.name}, shape {place}", ids[str(shape.get("label", "object"))]
            try:
                points = [_point(point) for point in shape.get("points") or []]
                prompt = _prompt(str(shape.get("shape_type") or "polygon"), points, name, category)
            except ValueError as error:
                found.bad.append((name, str(error)))
                continue
            group = shape.get("group_id")
            if prompt.box is not None or group is None:
                found.add(image, prompt)
                continue
            # Points of one group and label show one object.
            before = grouped.get((group, category))
            earlier = () if before is None else before.points
            grouped[group, category] = replace(
                before or prompt, points=earlier + prompt.points, labels=(1,) * (len(earlier) + 1)
            )
        for prompt in grouped.values():
            found.add(image, prompt)
    return found


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


def _point(point: Any) -> tuple[float, float]:
    if not isinstance(point, list | tuple) or len(point) != 2:
        raise ValueError(f"a point of {shown(point, 60)}, not of two numbers")
    return number(point[0]), number(point[1])


def _shapes(content: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [shape for shape in content.get("shapes") or [] if isinstance(shape, dict)]
