"""Boxes read from COCO files as prompts: ground truth with categories, and bare lists of detections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from ..coco_fields import CocoIds, id_number, id_text, is_crowd
from .prompts import ImageNames, ObjectPrompt, PromptSet, corners, finite_score, whole_number

_Finder = Callable[[Any], Path | None]


def from_dataset(content: Mapping[str, Any], images: Sequence[Path]) -> PromptSet:
    """The boxes of a COCO dataset; crowds, whose box shows no single object, are skipped.

    Args:
        content: The file's content, with `images` and `annotations`.
        images: The images of the job.

    Raises:
        ValueError: If it is no COCO dataset, or ids are ambiguous.
    """
    found = PromptSet()
    find = _listed_images(content, ImageNames(images), found)
    for place, annotation in enumerate(_records(content, "annotations")):
        name = f"annotation {annotation.get('id', place)}"
        if _is_usable(found, annotation, name):
            _add(found, find(annotation["image_id"]), annotation, name)
    found.name_categories()
    return found


def from_detections(
    results: Sequence[Any], images: Sequence[Path], described_by: Mapping[str, Any] | None = None
) -> PromptSet:
    """The boxes of a detector's results in COCO's form, `image_id`, `category_id`, `bbox` and `score`.

    Args:
        results: The list.
        images: The images of the job.
        described_by: The COCO dataset whose images and categories the ids are of; without it an image is found by its
            `file_name`, or by its id where that is the number in the file's name.

    Raises:
        ValueError: If an image's name or ids are ambiguous.
    """
    found, names = PromptSet(), ImageNames(images)
    find = _numbered_images(images, names) if described_by is None else _listed_images(described_by, names, found)
    ids: set[tuple[Path, int]] = set()
    for place, result in enumerate(results):
        name = f"result {place}"
        if not isinstance(result, dict):
            found.bad.append((name, "no record of a detection"))
            continue
        file_name = result.get("file_name")
        if not _is_usable(found, result, name, needs_id=not isinstance(file_name, str)):
            continue
        key = result.get("image_id")
        named = names.find(file_name) if isinstance(file_name, str) else None
        if described_by is None:
            image = named if isinstance(file_name, str) else find(key)
            if image is not None and key is not None and (number_ := id_number(key)) is not None:
                ids.add((image, number_))
        else:
            image = named if key is None else find(key) or named
            if named is not None and image != named:
                reason = f"an image_id of {key!r}, which is that of {str(image)!r}, but a file_name of {file_name!r}"
                found.bad.append((name, reason))
                continue
        _add(found, image, result, name)
    found.image_ids.update(_unambiguous(ids))
    found.name_categories()
    return found


def _listed_images(content: Mapping[str, Any], names: ImageNames, found: PromptSet) -> _Finder:
    """What finds the image of an id, by the dataset's list; its categories and images are noted."""
    for category in _records(content, "categories", needed=False):
        try:
            number_ = whole_number(category.get("id"))
        except ValueError as error:
            raise ValueError(f"the id of the category {category.get('name')!r} of the COCO file: {error}") from error
        name = str(category.get("name", number_))
        if found.categories.setdefault(number_, name) != name:
            raise ValueError(
                f"two categories of the COCO file have the id {number_}: {found.categories[number_]!r} and {name!r}"
            )
    records = _records(content, "images")
    for record in records:
        if not isinstance(record.get("file_name"), str):
            raise ValueError(f"image {record.get('id')!r} of the COCO file has no file_name")
        try:
            id_text(record.get("id"))
        except ValueError as error:
            message = f"image {record['file_name']!r} of the COCO file has no id, got {record.get('id')!r}"
            raise ValueError(message) from error
    try:
        ids = CocoIds(record["id"] for record in records)
    except ValueError as error:
        raise ValueError(f"the COCO file is ambiguous: {error}") from error
    images = [names.find(record["file_name"]) for record in records]
    pairs: set[tuple[Path, int]] = set()
    for image, record in zip(images, records, strict=True):
        if image is not None:
            found.objects.setdefault(image, [])
            found.note_size(image, record.get("height"), record.get("width"))
            if (image_id := id_number(record["id"])) is not None:
                pairs.add((image, image_id))
    found.image_ids.update(_unambiguous(pairs))

    def find(key: Any) -> Path | None:
        place = ids.find(key)
        return None if place is None else images[place]

    return find


def _numbered_images(images: Sequence[Path], names: ImageNames) -> _Finder:
    """What finds the image of an id by the number in its file's name."""
    by_number: dict[int, list[Path]] = {}
    for image in images:
        if image.stem.isdecimal():
            by_number.setdefault(int(image.stem), []).append(image)

    def find(key: Any) -> Path | None:
        if (image := names.find(id_text(key))) is not None:
            return image
        number_ = id_number(key)
        candidates = [] if number_ is None else by_number.get(number_, [])
        if len(candidates) > 1:
            raise ValueError(f"the image_id {key!r} may be {str(candidates[0])!r} or {str(candidates[1])!r}")
        return candidates[0] if candidates else None

    return find


def _unambiguous(ids: set[tuple[Path, int]]) -> dict[Path, int]:
    """The ids of the images that have one, which no other image has."""
    images, numbers = Counter(image for image, _ in ids), Counter(number_ for _, number_ in ids)
    return {image: number_ for image, number_ in ids if images[image] == numbers[number_] == 1}


def _is_usable(found: PromptSet, record: Mapping[str, Any], name: str, needs_id: bool = True) -> bool:
    """Whether a record is of an object; notes it where it says nothing that can be read."""
    try:
        if needs_id or record.get("image_id") is not None:
            id_text(record.get("image_id"))
        return not is_crowd(record.get("iscrowd"))
    except ValueError as error:
        found.bad.append((name, str(error)))
        return False


def _add(found: PromptSet, image: Path | None, record: Mapping[str, Any], name: str) -> None:
    if image is None:
        key = record.get("image_id")
        found.miss(f"image {record.get('file_name') if key is None else key}")
        return
    name = f"{PurePosixPath(image).name}, {name}"
    try:
        facts = {"source_id": record["id"]} if isinstance(record.get("id"), int | str) else {}
        if record.get("score") is not None:
            facts["score"] = finite_score(record["score"])
        if (category := record.get("category_id")) is None and len(found.categories) > 1:
            raise ValueError("no category_id, and there are several categories")
        category = next(iter(found.categories), 1) if category is None else whole_number(category)
        box = corners(record.get("bbox"), as_size=True)
    except ValueError as error:
        found.bad.append((name, str(error)))
        return
    found.add(image, ObjectPrompt(name, category, box, facts=facts))


def _records(content: Mapping[str, Any], part: str, needed: bool = True) -> list[dict[str, Any]]:
    records = content.get(part, None if needed else [])
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"the COCO file's {part!r} must be a list of records")
    return records
