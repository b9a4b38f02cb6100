"""Masks for many prompts on one image, where most prompts are dropped by their scores.

This is how automatic mask generation decodes: the same answers as `SamHQModel.forward`, without the masks, rows and
candidates that would be thrown away afterwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch

from ..model import cpu_decoder, cpu_rendering
from ..model.mask_decoder import SamHQMaskDecoder, TokenReadings
from ..modeling_sam_hq import SamHQModel


@dataclass(frozen=True, eq=False)
class PassingMasks:
    """Masks of K objects that passed, which are rendered when they are asked for.

    Attributes:
        decoder: What renders them.
        readings: What the tokens say: scores and kernels of the best M masks of each object.
        pixels: The transformer's pixels (K, h*w, C).
        hq_features: (1, C / 8, 4h, 4w).
        sam_branch: Whether SAM's masks are part of them, or the HQ token's are all.
        region: Rows and columns that are wanted, or None for all.
        fast: Whether the CPU engine renders them.
    """

    decoder: SamHQMaskDecoder
    readings: TokenReadings
    pixels: torch.Tensor
    hq_features: torch.Tensor
    sam_branch: bool
    region: tuple[int, int] | None
    fast: bool

    @property
    def iou_scores(self) -> torch.Tensor:
        """Predicted IoU (K, M), best first."""
        return self.readings.iou_scores

    def strips(self) -> Iterator[torch.Tensor]:
        """Logits (K, M, rows, columns) of some rows after the other, upper ones first; all at once but on a CPU."""
        sam_kernels = self.readings.sam_kernels if self.sam_branch else None
        inputs = (self.pixels, sam_kernels, self.readings.hq_kernel, self.hq_features)
        if self.fast:
            for sam_masks, hq_masks in cpu_rendering.mask_strips(self.decoder, *inputs, self.region):
                yield hq_masks if sam_masks is None else sam_masks + hq_masks
            return
        sam_masks, rendered = self.decoder.render(*inputs)
        hq_masks = cast(torch.Tensor, rendered)
        rows, columns = self.region or self.hq_features.shape[-2:]
        yield (hq_masks if sam_masks is None else sam_masks + hq_masks)[..., :rows, :columns]

    def logits(self) -> torch.Tensor:
        """All rows (K, M, rows, columns)."""
        return torch.cat(list(self.strips()), dim=2)


def passing_masks(
    model: SamHQModel,
    image_embeddings: torch.Tensor,
    hq_features: torch.Tensor,
    input_points: torch.Tensor | None = None,
    input_labels: torch.Tensor | None = None,
    input_boxes: torch.Tensor | None = None,
    input_masks: torch.Tensor | None = None,
    min_score: float | None = None,
    multimask_output: bool = True,
    hq_token_only: bool = False,
    candidates: int = 1,
    region: tuple[int, int] | None = None,
) -> Iterator[tuple[torch.Tensor, PassingMasks]]:
    """Decode P prompts on one image, scores first, and give those whose scores pass; their masks are not made yet.

    Everything happens in the caller's thread, when the next group is asked for. On a CPU a group is an object or a few,
    so that a caller who drops each before the next holds little, and `in_threads` over parts of the prompts keeps all
    cores busy. Elsewhere all P prompts are one group.

    Args:
        model: The model.
        image_embeddings: (1, C, h, w) from `SamHQModel.get_image_embeddings`.
        hq_features: (1, C / 8, 4h, 4w) from `SamHQModel.get_hq_features`.
        input_points: As in `SamHQModel.forward`, (1, P, N, 2).
        input_labels: (1, P, N).
        input_boxes: (1, P, 4).
        input_masks: (1, P, 4h, 4w).
        min_score: Prompts whose best predicted IoU is not above it are dropped; None keeps all.
        multimask_output: Whether the masks for ambiguous prompts are meant, or the one for clear prompts.
        hq_token_only: Whether the masks are the HQ token's alone.
        candidates: Masks per prompt, the best ones; one with `hq_token_only`.
        region: Rows and columns of the upper left part of the masks that are wanted, such as the part that is not
            padding (`valid_region`); None for all.

    Yields:
        Indices (K,) of the prompts of a group that passed, ascending, and their masks, to be rendered by `strips` or
        `logits`. Groups without any are skipped.

    Raises:
        ValueError: If there is more than one image, or a prompt is malformed.
    """
    if image_embeddings.shape[0] != 1:
        raise ValueError(f"image_embeddings must be those of one image, but hold {image_embeddings.shape[0]}")
    decoder, positions = model.mask_decoder, model.pixel_positions(image_embeddings)
    prompts = model.encode_prompts(1, image_embeddings.device, input_points, input_labels, input_boxes, input_masks)
    objects = decoder.prompted_objects(image_embeddings, *prompts)
    fast, start = model.takes_fast_path(decoder), 0
    if fast:
        groups = cpu_decoder.transformed_objects(decoder, objects, positions, 1)
    else:
        groups = iter([decoder.transformer(objects.tokens, objects.pixels, positions, objects.token_bias)[:2]])
    for tokens, pixels in groups:
        readings = decoder.read_tokens(tokens).wanted(multimask_output)
        best = readings.iou_scores[:, 0].float()  # or the threshold would be rounded as they are
        kept = torch.arange(len(best), device=best.device)
        if min_score is not None:
            kept = kept[best > min_score]
        if len(kept):
            chosen = readings.of(kept, 1 if hq_token_only else candidates)
            of_chosen = pixels if len(kept) == len(pixels) else pixels[kept]
            yield start + kept, PassingMasks(decoder, chosen, of_chosen, hq_features, not hq_token_only, region, fast)
        start += len(best)


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
