"""Mask generation over many images, as a job."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sam_hq_numpy.formats.objects import ImageObject
from sam_hq_numpy.listing import image_key
from sam_hq_numpy.mask_candidates import MaskCandidates
from sam_hq_numpy.number_limits import check_whole

from ..generation.generator import MOST_CROPS_AT_ONCE, SamHQMaskGenerator
from ..images.large_photos import PhotoRegions
from ..photo_embeddings import PhotoEmbeddings
from .image_job import ImageJob, OpenedImage
from .outputs import JobOutputs

_Found = tuple[MaskCandidates, PhotoEmbeddings | None]
# Options that do not change the masks of an image; `max_pixels` only which are refused, and those are tried again.
_UNRELATED = (
    "points_per_batch",
    "timeout",
    "progress_bar",
    "max_pixels",
    "output_mode",
    "output_rle_mask",
    "output_bboxes_mask",
)


class GenerationJob(ImageJob[_Found]):
    """Finds the masks of many images and writes them into a folder.

    Args:
        generator: Finds the masks.
        images: Paths, in the order of the image ids.
        folder: Where to.
        outputs: What to write beside the records.
        batch_size: How many crops pass the encoder together.

    Raises:
        ValueError: If the folder holds a job with other settings.
    """

    def __init__(
        self,
        generator: SamHQMaskGenerator,
        images: Sequence[Path],
        folder: str | Path,
        outputs: JobOutputs | None = None,
        batch_size: int = 1,
    ) -> None:
        check_whole("batch_size", batch_size, at_least=1, at_most=MOST_CROPS_AT_ONCE)
        outputs = outputs or JobOutputs()
        if outputs.embeddings is not None and generator.options.tile_size is not None:
            raise ValueError("embeddings are those of whole images, which tile_size never makes: leave one out")
        self.generator = generator
        self.batch_size = batch_size
        super().__init__(images, folder, outputs, _settings(generator), {1: "object"}, generator.options.max_pixels)
        self.input_range = generator.options.input_range

    def find(self, images: Iterator[OpenedImage]) -> Iterator[_Found]:
        """Yield the masks of each image, with its embeddings where they are kept."""
        embeddings: deque[PhotoEmbeddings] = deque()

        def photos() -> Iterator[PhotoRegions]:
            for opened in images:
                yield opened.photo

        keep = embeddings.append if self.outputs.embeddings is not None else None
        for candidates in self.generator.candidates_each(photos(), self.batch_size, self.generator.options, keep):
            yield candidates, embeddings.popleft() if keep is not None else None

    def objects(self, opened: OpenedImage, found: _Found) -> list[ImageObject]:  # noqa: ARG002
        """The masks of an image, with what is known of each."""
        kept = ("predicted_iou", "stability_score", "point_coords", "crop_box")
        records = found[0].records("coco_rle")
        return [
            ImageObject(mask, facts={name: _number_or_null(record[name]) for name in kept})
            for mask, record in zip(found[0].masks, records, strict=True)
        ]

    def write_more(self, opened: OpenedImage, found: _Found) -> None:
        """Keep the embeddings."""
        if self.outputs.embeddings is not None and found[1] is not None:
            embeddings = replace(
                found[1],
                source=opened.path.as_posix(),
                model=self.outputs.model_name,
                image=opened.made_from["image"],
            )
            embeddings.save(self.outputs.embeddings / f"{image_key(opened.path)}.safetensors")


def _settings(generator: SamHQMaskGenerator) -> dict[str, Any]:
    options = asdict(generator.options)
    grids = options.pop("point_grids")
    kept = {name: value for name, value in options.items() if name not in _UNRELATED}
    return {**kept, "point_grids": None if grids is None else [grid.tolist() for grid in grids], "job": "generate"}


def _number_or_null(value: Any) -> Any:
    """The value as JSON can hold it: the stability of an empty mask is not a number."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
