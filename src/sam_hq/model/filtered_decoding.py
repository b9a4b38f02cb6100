"""Masks for many prompts on one image, where most prompts are dropped by their scores.

This is how automatic mask generation decodes: the same answers as `SamHQModel.forward`, without the masks, rows and
candidates that would be thrown away afterwards.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from ..modeling_sam_hq import SamHQModel
    from .mask_decoder import DecodedObjects, SamHQMaskDecoder

_Result = TypeVar("_Result")


@dataclass(frozen=True, eq=False)
class PassingMasks:
    """Masks of K objects that passed, which are rendered when they are asked for.

    Attributes:
        decoder: What renders them.
        objects: What they are rendered from.
        sam_branch: Whether SAM's masks are part of them, or the HQ token's are all.
        region: Rows and columns that are wanted, or None for all.
    """

    decoder: "SamHQMaskDecoder"
    objects: "DecodedObjects"
    sam_branch: bool
    region: tuple[int, int] | None

    @property
    def iou_scores(self) -> torch.Tensor:
        """Predicted IoU (K, M), best first."""
        return self.objects.iou_scores

    def strips(self) -> Iterator[torch.Tensor]:
        """Logits (K, M, rows, columns) of some rows after the other, upper ones first."""
        for masks in self.decoder.strips(self.objects, self.sam_branch, self.region):
            yield masks.hq_masks if masks.sam_masks is None else masks.sam_masks + masks.hq_masks

    def logits(self) -> torch.Tensor:
        """All rows (K, M, rows, columns)."""
        return torch.cat(list(self.strips()), dim=2)


def filtered_masks(
    model: "SamHQModel",
    image_embeddings: torch.Tensor,
    hq_features: torch.Tensor,
    use: Callable[[PassingMasks], _Result],
    input_points: torch.Tensor | None = None,
    input_labels: torch.Tensor | None = None,
    input_boxes: torch.Tensor | None = None,
    input_masks: torch.Tensor | None = None,
    min_score: float | None = None,
    multimask_output: bool = True,
    hq_token_only: bool = False,
    candidates: int = 1,
    region: tuple[int, int] | None = None,
) -> Iterator[tuple[torch.Tensor, _Result]]:
    """Predict the masks of P prompts on one image, group by group, leaving out those with low scores.

    Args:
        model: The model.
        image_embeddings: (1, C, h, w) from `SamHQModel.get_image_embeddings`.
        hq_features: (1, C / 8, 4h, 4w) from `SamHQModel.get_hq_features`.
        use: What is made of a group's masks, such as `PassingMasks.logits`; on a CPU called in worker threads.
        input_points: As in `SamHQModel.forward`, (1, P, N, 2).
        input_labels: (1, P, N).
        input_boxes: (1, P, 4).
        input_masks: (1, P, 4h, 4w).
        min_score: Prompts whose best predicted IoU is not above it are left out; None keeps all.
        multimask_output: Whether the masks for ambiguous prompts are meant, or the one for clear prompts.
        hq_token_only: Whether the masks are the HQ token's alone.
        candidates: Masks per prompt, the best ones; one with `hq_token_only`.
        region: Rows and columns of the upper left part of the masks that are wanted, such as the part that is not
            padding (`valid_region`); None for all.

    Yields:
        Which of the prompts (K,) passed, and what `use` made of their masks, for each group with any left, in the order
        of the prompts.

    Raises:
        ValueError: If there is more than one image, or a prompt is malformed.
    """
    if image_embeddings.shape[0] != 1:
        raise ValueError(f"image_embeddings must be those of one image, but hold {image_embeddings.shape[0]}")
    prompts = model.encode_prompts(1, image_embeddings.device, input_points, input_labels, input_boxes, input_masks)
    objects = model.mask_decoder.prompted_objects(image_embeddings, *prompts, hq_features)
    decoder, sam_branch = model.mask_decoder, not hq_token_only
    yield from decoder.filtered(
        objects,
        model.pixel_positions(image_embeddings),
        lambda decoded: use(PassingMasks(decoder, decoded, sam_branch, region)),
        min_score,
        multimask_output,
        candidates if sam_branch else 1,
    )


def valid_region(reshaped_input_size: tuple[int, int], image_size: int, mask_size: int) -> tuple[int, int]:
    """The rows and columns of a low-resolution mask that reach the unpadded part of the image.

    Args:
        reshaped_input_size: Height and width of the resized image, in pixels of the padded square.
        image_size: Side of the padded square.
        mask_size: Side of a low-resolution mask.

    Returns:
        Rows and columns: one more than the last that bilinear upscaling of the unpadded part reads.
    """
    scale = mask_size / image_size
    # The centre of the last pixel lies at (side - 0.5) * scale - 0.5; upscaling reads that cell and the next one.
    rows, columns = (max(0, min(int((side - 0.5) * scale - 0.5 + 1) + 1, mask_size)) for side in reshaped_input_size)
    return rows, columns
