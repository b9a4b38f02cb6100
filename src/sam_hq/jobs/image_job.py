"""Work on many images, as a job that can be stopped, resumed and shared between processes."""

import hashlib
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from tqdm.auto import tqdm

from sam_hq_numpy.formats.objects import ImageObject
from sam_hq_numpy.listing import content_digest, image_key
from sam_hq_numpy.number_limits import check_whole
from sam_hq_numpy.value_ranges import InputRange

from ..images.large_photos import PhotoRegions
from .journal import JobJournal
from .outputs import JobOutputs

# The COCO file is rewritten while the job runs, after so many seconds at the earliest, and in at most this share of its
# time.
COCO_SECONDS = 30.0
COCO_TIME_SHARE = 0.02
_WAIT_SECONDS = 0.2
Found = TypeVar("Found")


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """An image whose turn has come.

    Args:
        path: Where it is.
        photo: Its pixels.
        made_from: Digests of what its record is made from.
    """

    path: Path
    photo: PhotoRegions
    made_from: Mapping[str, str]


@dataclass(frozen=True)
class JobSummary:
    """What became of the images of a job.

    Args:
        done: How many are in the COCO file.
        earlier: How many others are in it, of earlier runs in the same folder.
        missing: How many are neither done nor noted as failures: others' shares, or the folder was emptied.
        failures: Those that could not be used, with the reasons.
        again: How many were done again, by what of them had changed.
        bad_prompts: (name, reason) of objects that were skipped.
    """

    done: int
    earlier: int
    missing: int
    failures: Mapping[Path, str]
    again: Mapping[str, int]
    bad_prompts: Sequence[tuple[str, str]] = ()


class ImageJob(ABC, Generic[Found]):
    """Works on many images and writes what it finds into a folder.

    An image's record is written when all else of it is on disk; a job that is resumed skips what is done, unless the
    image, its prompts or the weights have changed. Several processes can work on one folder: each image is claimed by
    one of them. An image that cannot be used is reported, and the job continues.

    Args:
        images: Paths, in the order of the image ids.
        folder: Where to.
        outputs: What to write beside the records.
        settings: All that changes the results but images, prompts and weights.
        categories: Names by id.
        max_pixels: Larger images are refused before they are decoded; None: Pillow's own limit.

    Raises:
        ValueError: If the folder holds a job with other settings.
    """

    def __init__(
        self,
        images: Sequence[Path],
        folder: str | Path,
        outputs: JobOutputs,
        settings: Mapping[str, Any],
        categories: Mapping[int, str],
        max_pixels: int | None = None,
    ) -> None:
        self.images = list({image_key(image): image for image in images}.values())
        self.outputs = outputs
        self.max_pixels = max_pixels
        self.input_range: InputRange = None
        self.image_ids: Mapping[Path, int] = {}
        self.journal = JobJournal(folder)
        self.journal.begin({**settings, **outputs.settings()}, categories, outputs.weights)
        self._opened: deque[OpenedImage] = deque()
        self._last_coco = time.monotonic()
        self._coco_seconds = 0.0

    @abstractmethod
    def find(self, images: Iterator[OpenedImage]) -> Iterator[Found]:
        """Yield what is found in each image, in order; images are to be taken one by one as they are needed."""

    @abstractmethod
    def objects(self, opened: OpenedImage, found: Found) -> list[ImageObject]:
        """The objects of an image."""

    def made_from(self, image: Path) -> dict[str, str]:
        """Digests of all that the record of an image is made from."""
        return {"image": content_digest(image), "weights": self.outputs.weights}

    def write_more(self, opened: OpenedImage, found: Found) -> None:
        """Write what else belongs to an image, before its record."""

    def more(self, opened: OpenedImage, found: Found) -> dict[str, Any]:  # noqa: ARG002
        """What else the record of an image holds."""
        return {}

    def run(self, process_index: int = 0, process_count: int = 1, progress: bool = True) -> None:
        """Do one share of the images: every `process_count`-th that is not done.

        Args:
            process_index: Which share, from 0.
            process_count: How many shares there are.
            progress: Whether to show a progress bar with images per second and the time left.
        """
        share = self._share(process_index, process_count)
        with tqdm(total=len(share), unit="image", disable=not progress, smoothing=0.1) as bar:
            while share:
                share = self._pass(share, bar)
                if share:  # others are at work on these; where one of them is killed, another must do its images
                    time.sleep(_WAIT_SECONDS)

    def finish(self, process_index: int = 0, process_count: int = 1) -> JobSummary:
        """Put the COCO file together from all that is done.

        Args:
            process_index: The share whose failures are wanted.
            process_count: How many shares there are.
        """
        share = self._share(process_index, process_count)
        self.journal.clean()  # of processes that were killed after this one began
        done, earlier = self.journal.write_coco(self.images, self.image_ids)
        failures = self.journal.failures(share)
        missing = sum(not self.journal.is_recorded(image) and image not in failures for image in share)
        return JobSummary(done, earlier, missing, failures, self.journal.discarded)

    def _share(self, process_index: int, process_count: int) -> list[Path]:
        check_whole("process_count", process_count, at_least=1)
        check_whole("process_index", process_index, at_least=0, at_most=process_count - 1)
        return self.images[process_index::process_count]

    def _pass(self, images: Sequence[Path], bar: Any) -> list[Path]:
        """Work on what is not claimed by others; returns the rest."""
        held: list[Path] = []
        opened = self._open_each(iter(images), held, bar)
        try:
            for found in self._guarded(opened, bar):
                self._write(self._opened.popleft(), found)
                bar.update()
                self._refresh_coco()
        finally:
            for left in self._opened:  # after an interruption, or an error that is not an image's
                self.journal.claims.give_back(image_key(left.path))
            self._opened.clear()
        return held

    def _guarded(self, opened: Iterator[OpenedImage], bar: Any) -> Iterator[Found]:
        """What is found; where an image of a batch is at fault, each of the batch is tried alone."""
        while True:
            try:
                yield from self.find(opened)
                return
            except Exception:
                batch = list(self._opened)
                if not batch:
                    raise  # not an image's fault
            self._opened.clear()
            for image in batch:
                self._opened.append(image)
                try:
                    alone = list(self.find(iter([image])))
                except Exception as error:  # one bad image must not stop the others
                    self._fail(self._opened.pop().path, error)
                    bar.update()
                else:
                    yield from alone

    def _open_each(self, images: Iterator[Path], held: list[Path], bar: Any) -> Iterator[OpenedImage]:
        for image in images:
            key = image_key(image)
            if not self.journal.claims.take(key):
                held.append(image)
                continue
            try:
                made_from = self.made_from(image)
                if self.journal.state(image, made_from):
                    self.journal.claims.give_back(key)
                    bar.update()
                    continue
                photo = PhotoRegions(image, self.max_pixels, self.input_range)
                photo.region((0, 0, 1, 1))  # fails for colours that cannot become RGB
            except Exception as error:  # Pillow's decoders raise whatever they meet
                self._fail(image, error)
                bar.update()
                continue
            self._opened.append(OpenedImage(image, photo, made_from))
            yield self._opened[-1]

    def _write(self, opened: OpenedImage, found: Found) -> None:
        """Write all of an image, its record last."""
        key, height_width = image_key(opened.path), opened.photo.size
        objects = self.objects(opened, found)
        self.write_more(opened, found)
        files, annotations = self.outputs.write(
            self.journal.folder, key, opened.path, opened.photo, objects, self.journal.categories
        )
        facts = {"height": height_width[0], "width": height_width[1], **files}
        self.journal.finish(opened.path, facts, annotations, opened.made_from, **self.more(opened, found))
        self.journal.claims.give_back(key)

    def _fail(self, image: Path, error: Exception) -> None:
        self.journal.fail(image, " ".join(str(error).split())[:500] or type(error).__name__)
        self.journal.claims.give_back(image_key(image))

    def _refresh_coco(self) -> None:
        waited = time.monotonic() - self._last_coco
        if waited >= max(COCO_SECONDS, self._coco_seconds / COCO_TIME_SHARE):
            start = time.monotonic()
            self.journal.write_coco(self.images, self.image_ids)
            self._last_coco = time.monotonic()
            self._coco_seconds = self._last_coco - start


def weights_digest(model: torch.nn.Module) -> str:
    """Name a model's weights, whatever the model is called and wherever it is.

    Args:
        model: The model.
    """
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:32]
