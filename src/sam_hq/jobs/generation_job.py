"""Mask generation over many photographs, as a job that can be stopped, resumed and shared between processes."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm.auto import tqdm

from sam_hq_numpy.atomic_writing import new_file

from ..generation.candidates import MaskCandidates
from ..generation.generator import SamHQMaskGenerator
from ..images.large_photos import PhotoRegions
from ..photo_embeddings import PhotoEmbeddings
from .journal import GenerationJournal, photo_key
from .label_maps import draw_label_map, label_map

# The COCO file is put together anew while the job runs, in at most this share of its time.
_COCO_TIME_SHARE = 0.02


@dataclass(frozen=True)
class JobOutputs:
    """What a job writes beside the records.

    Args:
        label_maps: Whether `masks/` gets a 16-bit PNG per photograph: pixel value = number of the mask in the
            photograph's annotations, counted from 1, small masks on top of large ones.
        overlays: Whether `overlays/` gets the photograph with its masks drawn over it.
        embeddings: Folder for the embeddings of every photograph, or None.
        model_name: Written into the embeddings and compared on resuming.
    """

    label_maps: bool = False
    overlays: bool = False
    embeddings: Path | None = None
    model_name: str = ""


class GenerationJob:
    """Finds the masks of many photographs and writes them into a folder.

    Every photograph's record is written when all else of it is on disk; a job begun again leaves out what is done.
    Several processes can work on one folder, each on its share of the photographs.

    Args:
        generator: Finds the masks.
        photos: Paths, in the order of the image ids.
        folder: Where to.
        outputs: What to write beside the records.
        batch_size: How many crops pass the encoder together.

    Raises:
        ValueError: If the folder holds a job with other settings.
    """

    def __init__(
        self,
        generator: SamHQMaskGenerator,
        photos: Sequence[Path],
        folder: str | Path,
        outputs: JobOutputs | None = None,
        batch_size: int = 1,
    ) -> None:
        self.generator = generator
        self.photos = list(photos)
        self.outputs = outputs or JobOutputs()
        self.batch_size = batch_size
        self.journal = GenerationJournal(folder)
        if self.outputs.embeddings is not None and generator.options.tile_size is not None:
            raise ValueError("embeddings are those of whole photographs, which `tile_size` never makes: leave one out.")
        self.journal.begin({**_settings(self.generator), **_settings_of_outputs(self.outputs)})
        self._last_coco = time.monotonic()
        self._coco_seconds = 0.0

    def run(self, process_index: int = 0, process_count: int = 1, progress: bool = True) -> None:
        """Do one process's share: every `process_count`-th photograph that is not done.

        Args:
            process_index: Which share, from 0; the first also keeps the COCO file up to date.
            process_count: How many shares there are.
            progress: Whether to show a progress bar with photographs per second and the time left.
        """
        share = self.photos[process_index::process_count]
        waiting = [photo for photo in share if not self.journal.is_done(photo)]
        with tqdm(
            total=len(share), initial=len(share) - len(waiting), unit="photo", disable=not progress, smoothing=0.1
        ) as bar:
            for _ in self._work(waiting, bar.update):
                if process_index == 0:
                    self._refresh_coco()

    def write_coco(self) -> int:
        """Put the COCO file together from all that is done; returns how many photographs are in it."""
        return self.journal.write_coco(self.photos)

    def failures(self) -> dict[Path, str]:
        """The photographs that could not be read, with the reasons."""
        return self.journal.failures(self.photos)

    def _work(self, photos: Sequence[Path], advance: Callable[[], Any]) -> Iterator[None]:
        options = self.generator.options
        loaded: deque[tuple[Path, PhotoRegions]] = deque()
        embeddings: deque[PhotoEmbeddings] = deque()

        def readable() -> Iterator[PhotoRegions]:
            for photo in photos:
                try:
                    opened = PhotoRegions(photo, options.max_pixels, options.input_range)
                    opened.region((0, 0, 1, 1))  # fails for colours that cannot become RGB
                except (ValueError, OSError, MemoryError) as error:
                    self.journal.fail(photo, " ".join(str(error).split()) or type(error).__name__)
                    advance()
                    continue
                loaded.append((photo, opened))
                yield opened

        keep = embeddings.append if self.outputs.embeddings is not None else None
        found = self.generator.candidates_each(readable(), self.batch_size, self.generator.options, keep)
        for candidates in found:
            photo, opened = loaded.popleft()
            self._write(photo, opened, candidates, embeddings.popleft() if keep is not None else None)
            advance()
            yield

    def _write(
        self, photo: Path, opened: PhotoRegions, candidates: MaskCandidates, embeddings: PhotoEmbeddings | None
    ) -> None:
        name = photo_key(photo)
        if self.outputs.label_maps or self.outputs.overlays:
            labels = label_map(candidates.masks, opened.size)
        if self.outputs.label_maps:
            with new_file(self.journal.folder / "masks" / f"{name}.png") as aside:
                Image.fromarray(labels).save(aside)
        if self.outputs.overlays:
            with new_file(self.journal.folder / "overlays" / f"{name}.jpg") as aside:
                Image.fromarray(draw_label_map(opened.pixels(), labels)).save(aside, quality=92)
        if embeddings is not None and self.outputs.embeddings is not None:
            embeddings = replace(embeddings, source=photo.as_posix(), model=self.outputs.model_name)
            embeddings.save(self.outputs.embeddings / f"{name}.safetensors")
        self.journal.finish(photo, opened.size, candidates.records("coco_rle"))

    def _refresh_coco(self) -> None:
        waited = time.monotonic() - self._last_coco
        if waited >= max(30.0, self._coco_seconds / _COCO_TIME_SHARE):
            start = time.monotonic()
            self.write_coco()
            self._last_coco = time.monotonic()
            self._coco_seconds = self._last_coco - start


def _settings(generator: SamHQMaskGenerator) -> dict[str, Any]:
    options = asdict(generator.options)
    grids = options.pop("point_grids")
    # What does not change the masks of a photograph; `max_pixels` only which are refused, and those are tried again.
    speed_and_size = ("points_per_batch", "timeout", "progress_bar", "max_pixels")
    unrelated = (*speed_and_size, "output_mode", "output_rle_mask", "output_bboxes_mask")
    kept = {name: value for name, value in options.items() if name not in unrelated}
    return {**kept, "point_grids": None if grids is None else [grid.tolist() for grid in grids]}


def _settings_of_outputs(outputs: JobOutputs) -> dict[str, Any]:
    return {
        "label_maps": outputs.label_maps,
        "overlays": outputs.overlays,
        "embeddings": None if outputs.embeddings is None else str(outputs.embeddings.resolve()),
        "model": outputs.model_name,
    }
