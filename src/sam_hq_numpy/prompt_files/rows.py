"""Rows with a box, a point or both each: CSV files, and what supervision and Ultralytics save their results as."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..number_limits import counted, shown
from .prompts import ImageNames, ObjectPrompt, PromptSet, corners, finite_score, number, whole_number

_IMAGE = ("file_name", "filename", "image", "image_path", "image_name", "path", "file", "img", "source")
_CORNERS = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("left", "top", "right", "bottom"),
)
_SIZES = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("left", "top", "width", "height"),
    ("bbox_x", "bbox_y", "bbox_width", "bbox_height"),
)
_ID = ("category_id", "class_id", "cls", "label_id")
_NAME = ("category_name", "category", "class_name", "label", "name")
_SCORE = ("score", "confidence", "conf", "probability")
# Prompts by the names that other programs have for them, and which no row is read for.
_UNREAD = (
    "point", "points", "input_point", "input_points", "point_coords", "points_x", "points_y", "point_x", "point_y",
    "input_label", "input_labels", "point_labels", "boxes", "bboxes", "input_box", "input_boxes", "mask_input",
    "mask_prompt", "input_mask", "input_masks",
)  # fmt: skip
# What a point's label may be called by those who do not know our name for it.
_LABELS_OF_POINTS = (
    "labels", "foreground", "is_foreground", "fg", "background", "is_background", "positive", "is_positive", "negative",
    "is_negative", "sign", "polarity",
)  # fmt: skip
_SIZES_OF_IMAGES = (("image_height", "image_width"), ("img_height", "img_width"), ("img_h", "img_w"))
_MASKS = ("mask", "masks", "mask_file", "mask_path")
# Coordinates are rounded when they are written; two columns of one box differ by no more.
_TOLERANCE = 1.0
COLUMNS = (
    "an image (file_name), a box (x0, y0, x1, y1 or x, y, width, height), a point (x, y) or both, and optionally "
    "category, category_id, score, object and point_label"
)


def from_rows(rows: Iterable[tuple[str, Mapping[str, Any], str]], images: Sequence[Path]) -> PromptSet:
    """The prompts of rows.

    Args:
        rows: Of each row what it is called in messages, its values by column, and the image where no column names it.
        images: The images of the job.

    Raises:
        ValueError: If an image's name is ambiguous.
    """
    found, names = PromptSet(), ImageNames(images)
    listed: list[tuple[Path, ObjectPrompt, int | None, str | None, Any]] = []
    masks: set[str] = set()
    for name, raw, default_image in rows:
        row = {_key(key): value for key, value in raw.items() if key is not None and value not in (None, "")}
        image_name = str(_first(row, _IMAGE) or default_image)
        image = names.find(image_name)
        if image is None:
            found.miss(image_name)
            continue
        found.objects.setdefault(image, [])
        if set(row) <= {*_IMAGE}:
            continue  # an image without objects
        masks.update(set(_MASKS) & set(row))
        try:
            beyond: list[str] = next((values for column, values in raw.items() if column is None), [])  # of `csv`
            if any(beyond):
                raise ValueError(f"{counted(len(beyond), 'value')} more than there are columns")
            category, label = _category(row)
            prompt = _prompt(row, name)
            for height, width in _sizes_of_image(row, prompt.box):
                found.note_size(image, height, width)
        except ValueError as error:
            found.bad.append((name, str(error)))
            continue
        listed.append((image, prompt, category, label, row.get("object")))
    if masks:
        unused = ", ".join(sorted(masks))
        warnings.warn(f"columns of masks are not used, boxes and points show the objects: {unused}", stacklevel=2)
    found.categories = _categories([(category, label) for _, _, category, label, _ in listed])
    ids = {label: number_ for number_, label in reversed(found.categories.items())}
    grouped: dict[tuple[Path, str, int], ObjectPrompt] = {}
    for image, prompt, category, label, group in listed:
        number_ = category if category is not None else ids[label or "object"]
        whole = replace(prompt, category_id=number_)
        if group is None:
            found.add(image, whole)
        elif (before := grouped.get(key := (image, str(group), number_))) is None:
            grouped[key] = whole
        elif before.box is not None and whole.box is not None and not _is_same(before.box, whole.box):
            found.bad.append((prompt.name, f"another box for object {str(group)[:40]!r} than that of {before.name}"))
        else:
            grouped[key] = _joined(before, whole)
    for (image, _, _), whole in grouped.items():
        found.add(image, whole)
    return found


def _prompt(row: Mapping[str, Any], name: str) -> ObjectPrompt:
    facts = {}
    if (score := _first(row, _SCORE)) is not None:
        facts["score"] = finite_score(score)
    if unread := [column for column in _UNREAD if column in row]:
        raise ValueError(f"a column {unread[0]!r}, which is not read: a row needs {COLUMNS}")
    box, columns = _box(row)
    point = _point(row, columns)
    if box is None and point is None:
        raise ValueError(f"columns {', '.join(row)}, but a row needs {COLUMNS}")
    if point is None:
        if "point_label" in row:
            raise ValueError("a point_label, but no point")
        return ObjectPrompt(name, box=box, facts=facts)
    if "point_label" not in row:
        _refuse_other_labels(row)
    label = whole_number(row.get("point_label", 1))
    if label not in (0, 1):
        raise ValueError(f"a point_label of {label}, which must be 1 or 0")
    return ObjectPrompt(name, box=box, points=(point,), labels=(label,), facts=facts)


def _box(row: Mapping[str, Any]) -> tuple[tuple[float, float, float, float] | None, set[str]]:
    """The box of a row, and the columns that it is of; boxes that contradict each other are refused."""
    forms = [names for names in (*_CORNERS, *_SIZES) if all(column in row for column in names)]
    if "left" in row and "top" in row:  # width and height are theirs, so that x and y are a point
        forms = [names for names in forms if names != ("x", "y", "width", "height")]
    boxes: dict[tuple[str, ...], tuple[float, float, float, float]] = {
        names: corners([row[column] for column in names], as_size=names in _SIZES) for names in forms
    }
    if "bbox" in row:  # COCO's
        boxes["bbox",] = corners(_parsed(row["bbox"]), as_size=True)
    if "box" in row:  # Ultralytics'
        box = _parsed(row["box"])
        boxes["box",] = corners([box.get(key) for key in ("x1", "y1", "x2", "y2")] if isinstance(box, dict) else box)
    if not boxes:
        return None, set()
    (first, box), *others = boxes.items()
    for names, other in others:
        # Beside corners, width and height may be those of the image (left and top are the corners' own then), and x
        # and y the box's centre.
        if names == ("left", "top", "width", "height") or _is_same(box, other):
            continue
        if names not in _SIZES or not _is_same(box, _about_centre(other)):
            raise ValueError(f"two boxes, {', '.join(first)} and {', '.join(names)}, which differ")
    return box, {column for names in boxes for column in names}


def _point(row: Mapping[str, Any], columns_of_box: Collection[str]) -> tuple[float, float] | None:
    """The point of a row; half a point, and half a box beside one, are refused."""
    sides = {"width", "height", "w", "h", *(column for names in _CORNERS for column in names)}
    if not columns_of_box and (half := [column for column in row if column in sides]):
        raise ValueError(f"{', '.join(half)} of a box, but not all four columns of it")
    given = [column for column in ("x", "y") if column in row and column not in columns_of_box]
    if len(given) == 1:
        raise ValueError(f"{given[0]} of a point, but not both x and y")
    return (number(row["x"]), number(row["y"])) if given else None


def _refuse_other_labels(row: Mapping[str, Any]) -> None:
    """Refuse what may say that a point is not on its object, and is not read for it."""
    for column in _LABELS_OF_POINTS:
        if column in row:
            raise ValueError(f"a column {column!r} beside a point, whose label is read from a column 'point_label'")
    for column in _NAME:
        if str(row.get(column)).strip() in ("0", "1", "0.0", "1.0", "True", "False"):
            raise ValueError(
                f"a {column} of {row[column]!r} beside a point: a label of points is read from a column 'point_label', "
                "the number of a category from 'category_id'"
            )


def _sizes_of_image(row: Mapping[str, Any], box: Sequence[float] | None) -> Iterator[tuple[Any, Any]]:
    """The height and width that a row gives its image; `width` and `height` may also be its box's own."""
    for names in _SIZES_OF_IMAGES:
        if all(name in row for name in names):
            yield row[names[0]], row[names[1]]
    if box is None or not all(name in row for name in ("width", "height")):
        return
    sides = number(row["width"]), number(row["height"])
    if not _is_same(sides, (box[2] - box[0], box[3] - box[1])):
        yield sides[1], sides[0]


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value.replace("'", '"'))
    except (RecursionError, ValueError) as error:
        raise ValueError(f"a box of {value[:60]!r}, not of four numbers") from error


def _category(row: Mapping[str, Any]) -> tuple[int | None, str | None]:
    """The id and the name of a row's category; `class` may be either."""
    number_, label = _first(row, _ID), _first(row, _NAME)
    if (given := row.get("class")) is not None:
        try:
            number_ = whole_number(given) if number_ is None else number_
        except ValueError:
            label = label or str(given)
    return None if number_ is None else whole_number(number_), None if label is None else str(label)


def _categories(pairs: Sequence[tuple[int | None, str | None]]) -> dict[int, str]:
    """Names by id: the ids of the file, and for names without one the next that are free."""
    categories: dict[int, str] = {}
    for number_, label in pairs:
        if number_ is not None and (number_ not in categories or categories[number_] == str(number_)):
            categories[number_] = label or str(number_)
    unnumbered = {label or "object" for number_, label in pairs if number_ is None} - set(categories.values())
    start = max(categories, default=0) + 1
    return {**categories, **{start + place: label for place, label in enumerate(sorted(unnumbered))}}


def _joined(first: ObjectPrompt, second: ObjectPrompt) -> ObjectPrompt:
    """Two rows of one object as one prompt."""
    return replace(
        first,
        box=first.box or second.box,
        points=first.points + second.points,
        labels=first.labels + second.labels,
        facts={**second.facts, **first.facts},
    )


def _about_centre(box: Sequence[float]) -> tuple[float, float, float, float]:
    """The box of which the first corner is the centre."""
    x, y, x1, y1 = box
    return x - (x1 - x) / 2, y - (y1 - y) / 2, (x + x1) / 2, (y + y1) / 2


def _is_same(first: Sequence[float], second: Sequence[float]) -> bool:
    return all(abs(one - other) <= _TOLERANCE for one, other in zip(first, second, strict=True))


def check_columns(columns: Iterable[str]) -> None:
    """Refuse a table of which two columns have one name, and one that has no box or point.

    Args:
        columns: The names.

    Raises:
        ValueError: If there are two of one name, or none that is read.
    """
    names = [_key(column) for column in columns if column.strip()]
    if not {"x", "y", "box", "bbox", *itertools.chain(*_CORNERS, *_SIZES), *_UNREAD} & set(names):
        raise ValueError(f"columns {shown(names, 80)}, but a table needs {COLUMNS}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two columns are called {twice[0]!r}")


def _key(column: str) -> str:
    return column.strip().lower().replace(" ", "_").replace("-", "_")


def _first(row: Mapping[str, Any], columns: Sequence[str]) -> Any:
    return next((row[column] for column in columns if column in row), None)
