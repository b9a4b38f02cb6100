"""Boxes and points of many images to masks, as a job."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sam_hq_numpy.atomic_writing import write_text
from sam_hq_numpy.formats.objects import ImageObject
from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.number_limits import check_whole, counted
from sam_hq_numpy.prompt_files.prompts import ObjectPrompt, PromptSet

from ..images.large_photos import options_of_parts
from ..predictor import SamHQPredictor
from .image_job import ImageJob, JobSummary, OpenedImage
from .outputs import JobOutputs
from .prompted_objects import segment_objects, usable_prompts

SKIPPED_NAME = "skipped.json"


@dataclass(frozen=True, eq=False)
class Annotated:
    """What became of the prompts of one image.

    Args:
        objects: The prompts that could be used, in pixels.
        masks: One per object.
        scores: Predicted IoU of each.
        bad: (name, reason) of the prompts that could not be used.
    """

    objects: list[ObjectPrompt]
    masks: list[RunLengthMask]
    scores: list[float]
    bad: list[tuple[str, str]]


class AnnotationJob(ImageJob[Annotated]):
    """Segments the objects that boxes and points show in many images, and writes the masks into a folder.

    Args:
        predictor: Segments them.
        images: Paths, in the order of the image ids; those without prompts get a record without objects.
        prompts: What shows the objects, from `sam_hq_numpy.prompt_files.reading.read_prompts`.
        folder: Where to.
        outputs: What to write beside the records.
        batch_size: How many images pass the encoder together.
        objects_per_batch: How many objects pass the decoder together.
        multimask_output: Whether the best of three candidates is taken rather than the mask for clear prompts.
        hq_token_only: Whether masks are the HQ token's alone.
        max_pixels: Larger images are refused before they are decoded; None: Pillow's own limit.

    Raises:
        ValueError: If the folder holds a job with other settings, or a batch is smaller than 1.
    """

    def __init__(
        self,
        predictor: SamHQPredictor,
        images: Sequence[Path],
        prompts: PromptSet,
        folder: str | Path,
        outputs: JobOutputs | None = None,
        batch_size: int = 1,
        objects_per_batch: int = 64,
        multimask_output: bool = False,
        hq_token_only: bool = False,
        max_pixels: int | None = None,
    ) -> None:
        check_whole("batch_size", batch_size, at_least=1)
        check_whole("objects_per_batch", objects_per_batch, at_least=1)
        self.predictor = predictor
        self.prompts = prompts
        self.batch_size = batch_size
        self.objects_per_batch = objects_per_batch
        self.chosen = {"multimask_output": multimask_output, "hq_token_only": hq_token_only}
        settings = {"job": "annotate", **self.chosen}
        super().__init__(images, folder, outputs or JobOutputs(), settings, prompts.categories, max_pixels)
        self.image_ids = prompts.image_ids

    def made_from(self, image: Path) -> dict[str, str]:
        """Digests of all that the record of an image is made from."""
        objects = [asdict(each) for each in self.prompts.objects.get(image, [])]
        digest = hashlib.sha256(json.dumps(objects, sort_keys=True, default=str).encode()).hexdigest()[:32]
        return {**super().made_from(image), "prompts": digest}

    def find(self, images: Iterator[OpenedImage]) -> Iterator[Annotated]:
        """Yield the masks of each image; those without a usable prompt are not embedded."""
        while batch := list(islice(images, self.batch_size)):
            sorted_out = [
                usable_prompts(self.prompts.objects.get(opened.path, []), opened.photo.size) for opened in batch
            ]
            pairs = zip(batch, sorted_out, strict=True)
            wanted = [opened.photo.pixels() for opened, (usable, _) in pairs if usable]
            embedded = iter(self.predictor.embed(wanted, self.batch_size, **options_of_parts(wanted)) if wanted else [])
            for usable, bad in sorted_out:
                segmented: tuple[list, list] = [], []
                if usable:
                    segmented = segment_objects(
                        self.predictor, next(embedded), usable, self.objects_per_batch, **self.chosen
                    )
                yield Annotated(usable, *segmented, bad)

    def objects(self, opened: OpenedImage, found: Annotated) -> list[ImageObject]:  # noqa: ARG002
        """The masks of an image, with what its file of prompts said of each."""
        return [
            ImageObject(
                mask,
                prompt.category_id,
                self.journal.categories[prompt.category_id],
                {**prompt.facts, "predicted_iou": round(score, 6)},
            )
            for prompt, mask, score in zip(found.objects, found.masks, found.scores, strict=True)
        ]

    def more(self, opened: OpenedImage, found: Annotated) -> dict[str, Any]:  # noqa: ARG002
        """The prompts that could not be used."""
        return {"skipped": found.bad}

    def finish(self, process_index: int = 0, process_count: int = 1) -> JobSummary:
        """Put the COCO file and the list of skipped objects together from all that is done."""
        summary = super().finish(process_index, process_count)
        records = (self.journal.read_record(image) or {} for image in self.images)
        of_images = (each for record in records for each in record.get("skipped", ()))
        bad = [*self.prompts.bad, *((name, reason) for name, reason in of_images)]
        bad += [
            (name, f"{counted(count, 'object')}, but no such image")
            for name, count in self.prompts.without_image.items()
        ]
        listed = [{"object": name, "reason": reason} for name, reason in bad]
        with self.journal.claims.of_folder():  # or another process takes the file for a leftover while it is written
            write_text(self.journal.folder / SKIPPED_NAME, json.dumps(listed, indent=1))
        return JobSummary(**{**vars(summary), "bad_prompts": bad})
