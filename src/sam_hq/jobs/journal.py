"""The folder of a job: one record per finished image, from which the COCO file is put together.

A record is written aside and renamed when everything else of its image is on disk, so that a job killed at any moment
has whole records and nothing half-done that counts. The COCO file is written the same way: whatever has its name is
valid. A record says what it was made from; where that has changed it does not count.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sam_hq_numpy.atomic_writing import write_text
from sam_hq_numpy.listing import JOB_NAME, image_key, relative_name

from .claims import Claims
from .record_files import numbered, read_record, write_coco

COCO_NAME = "annotations.json"
_LONGEST_WORDS = 60
# What `new_file` calls the directory that it writes in.
_PARTIAL = re.compile(r"\.(.+?)(\.\w+)?\.[0-9a-f]{12}\.partial")


class JobJournal:
    """What of a job is done, and what failed.

    Args:
        folder: The folder of the job; made where it does not exist.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.claims: Claims
        self.discarded: dict[str, int] = {}
        self._records = self.folder / "records"
        self._failures = self.folder / "failures"
        self._about: dict[str, Any] = {}

    def begin(self, settings: Mapping[str, Any], categories: Mapping[int, str], model: str = "") -> None:
        """Start a job, or resume one with the same settings.

        Args:
            settings: All that changes the results but the images, prompts and weights, as JSON can hold it.
            categories: Names by id; those of earlier runs stay before them, in their order.
            model: Digest of the weights; records of other weights are removed and count in `discarded`.

        Raises:
            ValueError: If the folder holds a job with other settings, or a category has another name there.
        """
        settings = json.loads(json.dumps(settings))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.claims = Claims(self.folder / ".claims")
        with self.claims.of_folder():
            before = self._read_about()
            if before is not None:
                self._check_settings(before, settings, categories)
                if before["model"] != model:
                    self._discard_all("weights")
            for folder in (self._records, self._failures):
                folder.mkdir(exist_ok=True)
            self._clean()
            named = {int(number): name for number, name in (before or {}).get("categories", {}).items()}
            self._about = {
                "settings": settings,
                "model": model,
                "categories": {**named, **dict(sorted(categories.items()))},
            }
            self._write_about()

    def state(self, image: Path, made_from: Mapping[str, str]) -> bool:
        """Whether an image is done. A record made from something else is removed, and counts in `discarded`.

        Args:
            image: Its path.
            made_from: Digests of what its record is made from, by name.
        """
        path = self._record(image)
        try:
            record = read_record(path, "made_from", "image", "annotations")
        except ValueError:
            record = {"made_from": {}}  # of another program, or of an earlier release
        if record is None or record["made_from"] == made_from:
            return record is not None
        before = record["made_from"] if isinstance(record["made_from"], dict) else {}
        changed = next((name for name, value in made_from.items() if before.get(name) != value), "settings")
        self.discarded[changed] = self.discarded.get(changed, 0) + 1
        path.unlink(missing_ok=True)
        return False

    def is_recorded(self, image: Path) -> bool:
        """Whether an image has a record, whatever it was made from."""
        return self._record(image).exists()

    def finish(
        self,
        image: Path,
        facts: Mapping[str, Any],
        annotations: Sequence[Mapping],
        made_from: Mapping[str, str],
        **more: Any,
    ) -> None:
        """Write the record of an image; with this it is done.

        Args:
            image: Its path.
            facts: As COCO's `images` holds it: `height`, `width`, and files that were written.
            annotations: As COCO holds them, without ids.
            made_from: Digests of what they are made from.
            **more: What else the record holds, as JSON can.
        """
        record = {
            "made_from": dict(made_from),
            **more,
            "image": {"file_name": relative_name(image, self.folder), **facts},
            "annotations": annotations,
        }
        write_text(self._record(image), json.dumps(record, allow_nan=False), keep_leftovers=True)
        (self._failures / f"{image_key(image)}.json").unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove what killed processes left half-written."""
        with self.claims.of_folder():
            self._clean()

    def fail(self, image: Path, reason: str) -> None:
        """Note that an image cannot be used; a job that is resumed tries it again.

        Args:
            image: Its path.
            reason: Why.
        """
        record = {"file_name": relative_name(image, self.folder), "reason": reason}
        write_text(self._failures / f"{image_key(image)}.json", json.dumps(record), keep_leftovers=True)

    def failures(self, images: Sequence[Path]) -> dict[Path, str]:
        """The images of a list that could not be used, with the reasons."""
        records = ((image, read_record(self._failures / f"{image_key(image)}.json", "reason")) for image in images)
        return {image: str(record["reason"]) for image, record in records if record is not None}

    def write_coco(self, images: Sequence[Path], ids: Mapping[Path, int]) -> tuple[int, int]:
        """Put the COCO file together from the records there are, one record in memory at a time.

        Args:
            images: All images of the job, done or not.
            ids: Of images that have one; others are numbered from 1 in their order, past ids that are taken.

        Returns:
            How many images of the list are in it, and how many of earlier runs.
        """
        # Others may finish images meanwhile: the list is made once, and only one process writes at a time.
        with self.claims.of_folder():
            if not self._path.exists():
                self._write_about()  # the folder was emptied
            done = [image for image in images if self.is_recorded(image)]
            keys = {image_key(image) for image in images}
            earlier = sorted(path for path in self._records.glob("*.json") if path.stem not in keys)
            numbers = numbered(images, ids)
            places = [(numbers[image], self._record(image)) for image in done]
            places += enumerate(earlier, start=max(numbers.values(), default=0) + 1)
            write_coco(self.folder / COCO_NAME, places, self.categories)
        return len(done), len(earlier)

    def read_record(self, image: Path) -> dict[str, Any] | None:
        """The record of an image; None where it is not done."""
        return read_record(self._record(image))

    @property
    def categories(self) -> dict[int, str]:
        """Names by id, of this run and of earlier ones."""
        return {int(number): name for number, name in self._about["categories"].items()}

    @property
    def _path(self) -> Path:
        return self.folder / JOB_NAME

    def _record(self, image: Path) -> Path:
        return self._records / f"{image_key(image)}.json"

    def _read_about(self) -> dict[str, Any] | None:
        if not self._path.exists():
            return None
        try:
            about = json.loads(self._path.read_text(encoding="utf-8"))
        except ValueError:
            about = None
        if not isinstance(about, dict) or not {"settings", "model", "categories"} <= set(about):
            raise ValueError(f"{str(self._path)!r} is of an earlier release or no job's: name another folder")
        return about

    def _check_settings(
        self, before: Mapping[str, Any], settings: Mapping[str, Any], categories: Mapping[int, str]
    ) -> None:
        was, now = before["settings"], settings
        if (kind := was.get("job")) != now.get("job"):
            raise ValueError(f"{str(self.folder)!r} holds a job of another kind, {kind}: name another folder")
        changed = [
            f"{name} was {_in_words(was.get(name))} and is {_in_words(now.get(name))} now"
            for name in sorted({*was, *now})
            if was.get(name) != now.get(name)
        ]
        named = before["categories"]
        changed += [
            f"category {number} was {named[str(number)]!r} and is {name!r} now"
            for number, name in categories.items()
            if named.get(str(number), name) != name
        ]
        if changed:
            raise ValueError(
                f"{str(self.folder)!r} holds a job with other options: {'; '.join(changed)}; give the same ones, name "
                "another folder, or delete this one"
            )

    def _write_about(self) -> None:
        write_text(self._path, json.dumps(self._about, indent=1))

    def _clean(self) -> None:
        """`clean` for who holds the claim on the folder: what is written aside and not claimed is removed."""
        # Other processes add and remove directories meanwhile, which `os.walk` takes calmly.
        for path in [Path(above, name) for above, names, _ in os.walk(self.folder) for name in names]:
            name = _PARTIAL.fullmatch(path.name)
            if name is None:
                continue
            key = path.parent.name if path.parent.parent.name == "objects" else name[1]
            if path.parent == self.folder:  # of the process that holds the claim on the folder, as this one does
                shutil.rmtree(path, ignore_errors=True)
            elif self.claims.take(key):
                shutil.rmtree(path, ignore_errors=True)
                self.claims.give_back(key)

    def _discard_all(self, reason: str) -> None:
        records = list(self._records.glob("*.json"))
        for path in records:
            path.unlink(missing_ok=True)
        if records:
            self.discarded[reason] = len(records)


def _in_words(value: Any) -> str:
    """A setting as it is typed, cut where it is long."""
    if value is None or value == []:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    words = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return words if len(words) <= _LONGEST_WORDS else f"{words[:_LONGEST_WORDS]} …"
