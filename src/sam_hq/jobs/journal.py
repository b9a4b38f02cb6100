"""The folder of a mask-generation job: one record per finished photograph, from which the COCO file is put together.

A record is written aside and renamed when everything else of its photograph is on disk, so that a job killed at any
moment has whole records and nothing half-done that counts. The COCO file is written the same way: whatever stands at
its name is valid.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from sam_hq_numpy.atomic_writing import new_file

COCO_NAME = "annotations.json"
_JOB_NAME = "job.json"


class GenerationJournal:
    """What of a job is done, and what failed.

    Args:
        folder: The folder of the job; made where it does not exist.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._records = self.folder / "records"
        self._failures = self.folder / "failures"

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Start a job, or go on with one that was begun with the same settings.

        Args:
            settings: All that changes the results, as JSON can hold it.

        Raises:
            ValueError: If the folder holds a job with other settings.
        """
        path = self.folder / _JOB_NAME
        settings = json.loads(json.dumps(settings))
        if path.exists():
            before = json.loads(path.read_text(encoding="utf-8"))
            changed = sorted(name for name in {*before, *settings} if before.get(name) != settings.get(name))
            if changed:
                was = ", ".join(f"{name}={before.get(name)!r} instead of {settings.get(name)!r}" for name in changed)
                raise ValueError(
                    f"{str(self.folder)!r} holds a job with {was}: name another folder, or delete this one"
                )
        for folder in (self._records, self._failures):
            folder.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with new_file(path) as aside:
                aside.write_text(json.dumps(settings, indent=1), encoding="utf-8")

    def is_done(self, photo: Path) -> bool:
        """Whether a photograph's record is written."""
        return (self._records / f"{photo_key(photo)}.json").exists()

    def finish(self, photo: Path, size: tuple[int, int], records: Iterable[Mapping[str, Any]]) -> None:
        """Write the record of a photograph; with this it is done.

        Args:
            photo: Its path.
            size: Height and width.
            records: The authors' records, with segmentations as COCO's run lengths.
        """
        record = {
            "image": {"file_name": photo.as_posix(), "height": size[0], "width": size[1]},
            "annotations": [
                {
                    **each,
                    "bbox": _with_last_pixel(each["bbox"], each["area"]),
                    "stability_score": _number_or_null(each["stability_score"]),
                    "category_id": 1,
                    "iscrowd": 0,
                }
                for each in records
            ],
        }
        with new_file(self._records / f"{photo_key(photo)}.json") as aside:
            aside.write_text(json.dumps(record), encoding="utf-8")
        (self._failures / f"{photo_key(photo)}.json").unlink(missing_ok=True)

    def fail(self, photo: Path, reason: str) -> None:
        """Note that a photograph cannot be read; a job that goes on tries it again.

        Args:
            photo: Its path.
            reason: Why.
        """
        with new_file(self._failures / f"{photo_key(photo)}.json") as aside:
            aside.write_text(json.dumps({"file_name": photo.as_posix(), "reason": reason}), encoding="utf-8")

    def failures(self, photos: Sequence[Path]) -> dict[Path, str]:
        """The photographs of a list that could not be read, with the reasons."""
        paths = {photo: self._failures / f"{photo_key(photo)}.json" for photo in photos}
        return {
            photo: json.loads(path.read_text(encoding="utf-8"))["reason"]
            for photo, path in paths.items()
            if path.exists()
        }

    def write_coco(self, photos: Sequence[Path]) -> int:
        """Put the COCO file together from the records there are, one record in memory at a time.

        Args:
            photos: All photographs of the job; image ids count in their order from 1, done or not.

        Returns:
            How many photographs are in it.
        """
        # Other processes may finish photographs meanwhile: images and annotations are to be of the same ones.
        done = [(image_id, photo) for image_id, photo in enumerate(photos, start=1) if self.is_done(photo)]
        with new_file(self.folder / COCO_NAME) as aside, aside.open("w", encoding="utf-8") as file:
            file.write('{"info": {"description": "masks found by SAM-HQ"},\n"licenses": [],\n')
            file.write('"categories": [{"id": 1, "name": "object", "supercategory": "object"}],\n"images": [')
            _write_items(file, ({"id": image_id, **record["image"]} for image_id, record in self._read_records(done)))
            file.write('],\n"annotations": [')
            annotations = (
                (image_id, annotation)
                for image_id, record in self._read_records(done)
                for annotation in record["annotations"]
            )
            _write_items(
                file,
                (
                    {"id": annotation_id, "image_id": image_id, **annotation}
                    for annotation_id, (image_id, annotation) in enumerate(annotations, start=1)
                ),
            )
            file.write("]}\n")
        return len(done)

    def _read_records(self, photos: Sequence[tuple[int, Path]]) -> Iterator[tuple[int, dict]]:
        for image_id, photo in photos:
            yield image_id, json.loads((self._records / f"{photo_key(photo)}.json").read_text(encoding="utf-8"))


def photo_key(photo: Path) -> str:
    """A file name for what belongs to a photograph: its own, and a hash of its full path against mix-ups.

    Args:
        photo: The path of the photograph.
    """
    return f"{photo.stem[:80]}-{hashlib.sha256(str(photo.resolve()).encode()).hexdigest()[:12]}"


def _with_last_pixel(bbox: Sequence[float], area: int) -> list[float]:
    """COCO's box, whose width and height count pixels, from the authors', which end at the last pixel."""
    x, y, width, height = bbox
    return [x, y, width + 1, height + 1] if area else [x, y, 0, 0]


def _number_or_null(value: float) -> float | None:
    """The value as JSON can hold it: the stability of an empty mask is not a number."""
    return value if math.isfinite(value) else None


def _write_items(file: TextIO, items: Iterable[dict]) -> None:
    for index, item in enumerate(items):
        file.write((",\n" if index else "\n") + json.dumps(item))
