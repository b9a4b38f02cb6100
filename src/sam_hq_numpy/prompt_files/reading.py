"""From a file or a folder of prompts to the objects of each image, whatever format it is in."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..json_files import read_json
from .coco import from_dataset, from_detections
from .labelme import from_documents
from .prompts import PromptSet
from .rows import COLUMNS, check_columns, from_rows
from .yolo import from_labels

_NAMES_FILES = ("data.yaml", "data.yml", "dataset.yaml")
UNDERSTOOD = (
    "a COCO file (ground truth, or a list of detections), a folder of YOLO labels or its data.yaml, LabelMe files, or "
    f"CSV, supervision's or Ultralytics' results with {COLUMNS}"
)


def read_prompts(source: str | Path, images: Sequence[Path], described_by: str | Path | None = None) -> PromptSet:
    """Read the boxes and points of many images.

    Args:
        source: A file, or a folder of files.
        images: The images of the job.
        described_by: For a bare list of detections, the COCO file that names its images and categories.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If the format is not understood, an image's name is ambiguous, or `described_by` does not apply.
    """
    source = Path(source)
    for path in (source, described_by):
        if path is not None and not Path(path).exists():
            raise FileNotFoundError(f"there is no file or folder {str(path)!r}")
    suffix = source.suffix.lower()
    try:
        if suffix in (".json", ".jsonl") and not source.is_dir():
            return _from_json(source, images, described_by)
        _check_unneeded(described_by, source)
        if source.is_dir():
            return _from_folder(source, images)
        if suffix in (".yaml", ".yml"):
            labels = source.parent / "labels"
            return from_labels(_label_files(labels if labels.is_dir() else source.parent), source, images)
        if suffix == ".txt":
            return from_labels([source], _names_file(source.parent), images)
        if suffix in (".csv", ".tsv"):
            return from_rows(_csv_rows(source), images)
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(source)!r} is not UTF-8: {error}") from error
    raise ValueError(f"{str(source)!r} is none of what is understood: {UNDERSTOOD}")


def _from_folder(folder: Path, images: Sequence[Path]) -> PromptSet:
    names_file = _names_file(folder)
    labels = folder / "labels" if (folder / "labels").is_dir() else folder
    if (files := _label_files(labels)) or names_file is not None:
        return from_labels(files, names_file or _names_file(folder.parent), images)
    documents = [(path, _content(path)) for path in sorted(folder.rglob("*.json"))]
    if documents and all(isinstance(content, dict) and "shapes" in content for _, content in documents):
        return from_documents(documents, images)
    tables = sorted(folder.rglob("*.csv"))
    if documents and all(isinstance(content, list) for _, content in documents):
        return from_rows((row for path, content in documents for row in _record_rows(path, content)), images)
    if tables and not documents:
        return from_rows((row for path in tables for row in _csv_rows(path)), images)
    raise ValueError(f"the folder {str(folder)!r} holds none of what is understood: {UNDERSTOOD}")


def _label_files(folder: Path) -> list[Path]:
    """YOLO's in a folder; lists of names, LabelMe's too, are none."""
    ignored = ("classes.txt", "labels.txt", "requirements.txt", "readme.txt")
    return sorted(path for path in folder.rglob("*.txt") if path.name.lower() not in ignored)


def _names_file(folder: Path) -> Path | None:
    return next((folder / name for name in _NAMES_FILES if (folder / name).is_file()), None)


def _from_json(path: Path, images: Sequence[Path], described_by: str | Path | None) -> PromptSet:
    content = _content(path)
    is_list = isinstance(content, list)
    if is_list and all(isinstance(each, dict) and "image_id" in each and "bbox" in each for each in content[:1]):
        described = None if described_by is None else _content(Path(described_by))
        if described is not None and not isinstance(described, dict):
            raise ValueError(f"{str(described_by)!r} is no COCO dataset: it is a list")
        return from_detections(content, images, described)
    _check_unneeded(described_by, path)
    if isinstance(content, dict):
        if "shapes" in content:
            return from_documents([(path, content)], images)
        if "annotations" in content and "images" in content:
            return from_dataset(content, images)
    else:
        return from_rows(_record_rows(path, content), images)
    raise ValueError(f"{str(path)!r} is none of what is understood: {UNDERSTOOD}")


def _check_unneeded(described_by: str | Path | None, source: Path) -> None:
    if described_by is not None:
        raise ValueError(
            f"described_by {str(described_by)!r} is for a list of COCO detections, which {str(source)!r} is not"
        )


def _content(path: Path) -> Any:
    content = read_json(path)
    if not isinstance(content, dict | list):
        raise ValueError(f"{str(path)!r} is none of what is understood: {UNDERSTOOD}")
    return content


def _record_rows(path: Path, content: Sequence[Any]) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    for place, record in enumerate(content):
        if not isinstance(record, dict):
            raise ValueError(f"{str(path)!r}, record {place} is none of what is understood: {UNDERSTOOD}")
        yield f"{path.name}, record {place}", record, path.stem


def _csv_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = file.readline()
        file.seek(0)
        delimiter = max(",;\t", key=header.count)
        rows = csv.DictReader(file, delimiter=delimiter)
        try:
            check_columns(rows.fieldnames or ())
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{str(path)!r}: {error}") from error
        try:
            for row in rows:
                yield f"{path.name}, line {rows.line_num}", row, path.stem
        except csv.Error as error:
            raise ValueError(f"{str(path)!r}, line {rows.line_num}: {error}") from error
