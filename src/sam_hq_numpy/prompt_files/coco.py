"""Boxes of COCO files: ground truth with images and categories, and the bare list of a detector's results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from .prompts import ImageNames, ObjectPrompt, PromptSet, corners, number, whole_number


def from_dataset(content: Mapping[str, Any], images: Sequence[Path]) -> PromptSet:
    """The boxes of a COCO dataset; crowds, whose box shows no single object, are left out.

    Args:
        content: The file's content, with `images` and `annotations`.
        images: The images of the job.

    Raises:
        ValueError: If it is no COCO dataset.
    """
    found = PromptSet()
    by_id = _listed_images(content, ImageNames(images), found)
    for place, annotation in enumerate(_records(content, "annotations")):
        _add(found, by_id, annotation, f"annotation {annotation.get('id', place)}")
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
        ValueError: If an image's name is ambiguous.
    """
    found, names = PromptSet(), ImageNames(images)
    by_id = {} if described_by is None else _listed_images(described_by, names, found)
    numbered = {int(image.stem): image for image in images if image.stem.isdecimal()}
    for place, result in enumerate(results):
        name = f"result {place}"
        if not isinstance(result, dict):
            found.bad.append((name, "no record of a detection"))
            continue
        key = str(result.get("image_id"))
        if key not in by_id:
            file_name = result.get("file_name")
            image = names.find(file_name) if isinstance(file_name, str) else None
            if image is None and described_by is None:
                image = numbered.get(int(key)) if key.isdecimal() else names.find(key)
            by_id[key] = image
            if image is not None and key.isdecimal():
                found.image_ids[image] = int(key)
        _add(found, by_id, result, name)
    for category in sorted({each.category_id for listed in found.objects.values() for each in listed}):
        found.categories.setdefault(category, str(category))
    return found


def _listed_images(content: Mapping[str, Any], names: ImageNames, found: PromptSet) -> dict[str, Path | None]:
    for category in _records(content, "categories", needed=False):
        number_ = whole_number(category.get("id"))
        found.categories[number_] = str(category.get("name", number_))
    by_id: dict[str, Path | None] = {}
    for record in _records(content, "images"):
        if not isinstance(record.get("file_name"), str):
            raise ValueError(f"image {record.get('id')!r} of the COCO file has no file_name")
        if not isinstance(record.get("id"), int | str) or isinstance(record["id"], bool):
            raise ValueError(f"image {record['file_name']!r} of the COCO file has no id, got {record.get('id')!r}")
        image = names.find(record["file_name"])
        key = str(record["id"])
        if key in by_id:
            raise ValueError(f"the COCO file has two images with the id {key}")
        by_id[key] = image
        if image is not None:
            found.objects.setdefault(image, [])
            if isinstance(record["id"], int):
                found.image_ids[image] = record["id"]
    return by_id


def _add(found: PromptSet, by_id: Mapping[str, Path | None], record: Mapping[str, Any], name: str) -> None:
    if record.get("iscrowd"):
        return
    key = str(record.get("image_id"))
    image = by_id.get(key)
    if image is None:
        found.miss(f"image {key}")
        return
    name = f"{PurePosixPath(image).name}, {name}"
    try:
        facts = {"source_id": record["id"]} if isinstance(record.get("id"), int | str) else {}
        if record.get("score") is not None:
            facts["score"] = number(record["score"])
        category = whole_number(record.get("category_id", 1))
        box = corners(record.get("bbox"), as_size=True)
    except ValueError as error:
        found.bad.append((name, str(error)))
        return
    if found.categories and category not in found.categories:
        found.categories[category] = str(category)
    found.add(image, ObjectPrompt(name, category, box, facts=facts))


def _records(content: Mapping[str, Any], part: str, needed: bool = True) -> list[dict[str, Any]]:
    records = content.get(part, None if needed else [])
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"the COCO file's {part!r} must be a list of records")
    return records
