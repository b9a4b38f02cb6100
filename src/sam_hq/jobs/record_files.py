"""A COCO file put together from the records of a job's images, one record in memory at a time."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from sam_hq_numpy.atomic_writing import new_file
from sam_hq_numpy.formats.coco import INFO
from sam_hq_numpy.json_files import read_json_object


def numbered(images: Sequence[Path], ids: Mapping[Path, int]) -> dict[Path, int]:
    """Ids of images: those that are known, and for the others the next numbers from 1 that are free.

    Args:
        images: In their order.
        ids: Of images that have one.
    """
    taken = set(ids.values())
    numbers, number = {}, 0
    for image in images:
        if image in ids:
            numbers[image] = ids[image]
            continue
        number += 1
        while number in taken:
            number += 1
        numbers[image] = number
    return numbers


def write_coco(path: Path, records: Sequence[tuple[int, Path]], categories: Mapping[int, str]) -> None:
    """Write a COCO file; it appears whole or not at all.

    Args:
        path: Where to.
        records: The id of each image, and the file of its record.
        categories: Names by id.
    """
    with new_file(path) as aside, aside.open("w", encoding="utf-8") as file:
        file.write(f'{{"info": {json.dumps(INFO)},\n"licenses": [],\n"categories": [')
        _write_items(file, ({"id": number, "name": categories[number]} for number in sorted(categories)))
        file.write('],\n"images": [')
        _write_items(file, ({"id": number, **record["image"]} for number, record in _read(records)))
        file.write('],\n"annotations": [')
        found = ((number, annotation) for number, record in _read(records) for annotation in record["annotations"])
        _write_items(
            file, ({"id": place, "image_id": number, **each} for place, (number, each) in enumerate(found, start=1))
        )
        file.write("]}\n")


def read_record(path: Path, *wanted: str) -> dict[str, Any] | None:
    """What a record's file holds; None where there is none, as another process removes it.

    Args:
        path: The file.
        wanted: Fields that it must have.

    Raises:
        ValueError: If it holds no such record.
    """
    try:
        record = read_json_object(path)
    except FileNotFoundError:
        return None
    if not set(wanted) <= set(record):
        raise ValueError(f"{str(path)!r} is no record of this release: delete it, and its image is done again")
    return record


def _read(records: Sequence[tuple[int, Path]]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, path in records:
        if (record := read_record(path, "image", "annotations")) is not None:
            yield number, record


def _write_items(file: TextIO, items: Iterable[Mapping]) -> None:
    for index, item in enumerate(items):
        file.write((",\n" if index else "\n") + json.dumps(item))
