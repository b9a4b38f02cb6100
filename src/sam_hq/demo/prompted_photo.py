"""An embedded photo that answers prompts, and its masks as the page reads them."""

from typing import Any
from weakref import WeakKeyDictionary

import torch

from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.prompt_warnings import prompts_already_checked

from ..images.mask_ops import encode_masks
from ..photo_embeddings import PhotoEmbeddings
from ..predictor import SamHQPredictor
from .model_turns import ModelTurns
from .opened_photo import OpenedPhoto, resized_nearest
from .prompting import Answer, Prompts
from .session_steps import SegmentedObject, SessionOptions


class PromptedPhoto:
    """Asks the model about one photo.

    Args:
        photo: The photo.
        embeddings: Its embeddings.
        predictor: The model.
        turns: Who may use the model.
    """

    def __init__(
        self, photo: OpenedPhoto, embeddings: PhotoEmbeddings, predictor: SamHQPredictor, turns: ModelTurns
    ) -> None:
        self.photo = photo
        self.embeddings = embeddings
        self.turns = turns
        self._predictor = predictor
        self._kept: WeakKeyDictionary[SegmentedObject, dict[str, Any]] = WeakKeyDictionary()

    def answer(self, prompts: Prompts, options: SessionOptions) -> Answer | None:
        """Run the decoder once; None where nothing is shown.

        Args:
            prompts: What shows the object.
            options: How the model is asked.
        """
        if prompts.is_empty:
            return None
        with self.turns.short():
            return self._decoded(prompts, options)

    def answer_if_free(self, prompts: Prompts, options: SessionOptions) -> Answer | None:
        """As `answer`, but None where the model is at other work.

        Args:
            prompts: At least a point or a box.
            options: How the model is asked.
        """
        with self.turns.if_free() as free:
            return self._decoded(prompts, options) if free else None

    def summary(self, mask: torch.Tensor | RunLengthMask) -> dict[str, Any]:
        """The share of the photo that a mask covers, and its run lengths down the columns of the shown picture.

        Args:
            mask: `(h, w)` low-res logits, or a mask at photo size.
        """
        size = self.photo.shown_size
        encoded = self.encoded(mask, size)
        return {"share": encoded.area / (size[0] * size[1]), "counts": encoded.counts.tolist()}

    def kept_summary(self, kept: SegmentedObject) -> dict[str, Any]:
        """The summary of an object's mask, made once: every answer tells of all that is kept.

        Args:
            kept: The object.
        """
        if kept not in self._kept:
            self._kept[kept] = self.summary(kept.mask)
        return self._kept[kept]

    def encoded(self, mask: torch.Tensor | RunLengthMask, size: tuple[int, int]) -> RunLengthMask:
        """A mask at a size.

        Args:
            mask: `(h, w)` low-res logits, or a mask at photo size.
            size: Height and width, in the photo's proportions.
        """
        if not isinstance(mask, RunLengthMask):
            return encode_masks(self._predictor.photo_masks(self.embeddings, mask[None], size))[0]
        if size == self.photo.size:
            return mask
        return RunLengthMask.from_mask(resized_nearest(mask.to_mask(), size))

    def _decoded(self, prompts: Prompts, options: SessionOptions) -> Answer:
        previous = prompts.previous_mask
        wanted = options.candidates
        with prompts_already_checked():  # who clicks sees the mask at once, mistakes and all
            outputs = self._predictor.decode(
                self.embeddings,
                points=prompts.points or None,
                labels=prompts.labels or None,
                boxes=prompts.box,
                masks=previous.to_mask() if isinstance(previous, RunLengthMask) else previous,
                multimask_output=prompts.is_ambiguous if wanted == "auto" else wanted == "three",
                hq_token_only=options.hq_token_only,
                output_branches=True,
            )
        masks, sam_masks, scores = (
            tensor[0, 0].float().cpu() for tensor in (outputs.pred_masks, outputs.sam_masks, outputs.iou_scores)
        )
        return Answer(masks, sam_masks, scores)
