"""Prompts on an embedded photo, and what the model answers."""

from dataclasses import dataclass, replace

import torch

from sam_hq_numpy.mask_rle import RunLengthMask

from ..photo_embeddings import PhotoEmbeddings
from ..predictor import SamHQPredictor


@dataclass(frozen=True, eq=False)
class Prompts:
    """What shows one object, in pixels of the photo.

    Args:
        points: x, y each.
        labels: 1 on the object, 0 not; one per point.
        box: x0, y0, x1, y1.
        previous_mask: The mask to be refined: `(h, w)` low-res logits of an earlier answer, or a mask at photo size.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    previous_mask: torch.Tensor | RunLengthMask | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is shown."""
        return not self.points and self.box is None

    @property
    def is_ambiguous(self) -> bool:
        """Whether they leave open which of several nested objects is meant, as a single point does."""
        return len(self.points) <= 1 and self.box is None and self.previous_mask is None

    def with_point(
        self, point: tuple[float, float], label: int, previous_mask: torch.Tensor | RunLengthMask | None
    ) -> "Prompts":
        """The same and one point more.

        Args:
            point: x, y.
            label: 1 or 0.
            previous_mask: The mask to refine, if any.
        """
        return replace(self, points=(*self.points, point), labels=(*self.labels, label), previous_mask=previous_mask)


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says to prompts; tensors are on the CPU.

    Args:
        masks: `(M, h, w)` low-res logits, best first.
        sam_masks: `(M', h, w)`: SAM's own part; M' is 1 or M.
        scores: `(M,)` predicted IoU.
    """

    masks: torch.Tensor
    sam_masks: torch.Tensor
    scores: torch.Tensor

    def sam_mask(self, rank: int) -> torch.Tensor:
        """SAM's own logits `(h, w)` beside candidate `rank`."""
        return self.sam_masks[min(rank, len(self.sam_masks) - 1)]


def answered(
    predictor: SamHQPredictor,
    embeddings: PhotoEmbeddings,
    prompts: Prompts,
    multimask_output: bool,
    hq_token_only: bool,
) -> Answer:
    """Run the decoder once.

    Args:
        predictor: The model.
        embeddings: Of the photo.
        prompts: At least a point or a box.
        multimask_output: Whether three candidates are wanted.
        hq_token_only: Whether the mask is the HQ token's alone; there is one candidate then.
    """
    previous = prompts.previous_mask
    outputs = predictor.decode(
        embeddings,
        points=prompts.points or None,
        labels=prompts.labels or None,
        boxes=prompts.box,
        masks=previous.to_mask() if isinstance(previous, RunLengthMask) else previous,
        multimask_output=multimask_output,
        hq_token_only=hq_token_only,
        output_branches=True,
    )
    masks, sam_masks, scores = (
        tensor[0, 0].float().cpu() for tensor in (outputs.pred_masks, outputs.sam_masks, outputs.iou_scores)
    )
    return Answer(masks, sam_masks, scores)
