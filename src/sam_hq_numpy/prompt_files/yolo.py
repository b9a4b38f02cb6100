"""YOLO's label files: a text file per image, a line per object, coordinates as shares of width and height."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..number_limits import counted
from .prompts import ImageNames, ObjectPrompt, PromptSet, finite_score, number, whole_number

# Of rounding: outlines may reach so far beyond the image, as a share of it.
_OVERHANG = 0.01


def from_labels(files: Sequence[Path], names_file: Path | None, images: Sequence[Path]) -> PromptSet:
    """The boxes of label files; polygons count as their bounding boxes.

    Args:
        files: The label files.
        names_file: The `data.yaml` with the names of the classes, or None.
        images: The images of the job.

    Raises:
        ValueError: If a file cannot be read, or an image's name is ambiguous.
    """
    found, names = PromptSet(), ImageNames(images)
    if names_file is not None:
        found.categories = class_names(names_file)
    for file in files:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
        image = names.find_stem(file)
        if image is None:
            found.miss(file.name)
            continue
        found.objects.setdefault(image, [])
        for place, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            name = f"{file.name}, line {place}"
            try:
                found.add(image, _prompt(line.split(), name))
            except ValueError as error:
                found.bad.append((name, str(error)))
    found.name_categories()
    return found


def class_names(file: Path) -> dict[int, str]:
    """The classes of a `data.yaml`, by number.

    Args:
        file: The file.

    Raises:
        ValueError: If it names no classes.
    """
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, ValueError) as error:  # of a date that there is not, too
        raise ValueError(f"{str(file)!r} is not YAML: {error}") from error
    if isinstance(content, dict) and "kpt_shape" in content:
        raise ValueError(f"{str(file)!r} has a 'kpt_shape': labels with keypoints are not read")
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise ValueError(f"{str(file)!r} has no 'names' of classes")
    try:
        return {whole_number(key): str(name) for key, name in names.items()}
    except ValueError as error:
        raise ValueError(f"the 'names' of {str(file)!r} must have the numbers of classes as keys: {error}") from error


def _prompt(words: Sequence[str], name: str) -> ObjectPrompt:
    """Five numbers are a box, six a box and its score, more a polygon; numbers of tracks and keypoints are refused."""
    if len(words) < 5:
        raise ValueError(f"{counted(len(words), 'number')}, but a box has 5")
    category, values = whole_number(words[0]), [number(word) for word in words[1:]]
    if category < 0:
        raise ValueError(f"a class of {category}")
    facts = {}
    if len(values) <= 5:
        x, y, width, height = values[:4]
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        if len(values) == 5:
            facts["score"] = finite_score(values[4], at_most=1)
    else:
        if len(values) % 2:
            facts["score"] = finite_score(values.pop(), at_most=1)
        if not all(-_OVERHANG <= value <= 1 + _OVERHANG for value in values):
            raise ValueError("an outline that leaves the image; tracks and keypoints behind a box are not read")
        if len(values) == 6 and values[5] in (0, 1):
            raise ValueError("either three points, or a box with its score and the number of a track")
        box = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    return ObjectPrompt(name, category, box, is_relative=True, facts=facts)
