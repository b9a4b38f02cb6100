"""Masks at the size of their crop whose stability passes: run-length encoded, the rest never kept."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from sam_hq_numpy.mask_generation_options import MaskGenerationOptions
from sam_hq_numpy.mask_rle import RunLengthMask

from ..images.mask_frames import low_res_masks_to_photo
from ..images.mask_ops import encode_masks, passing_stability, stability_scores
from .upscaling import StreamingUpscaler, UpscalingWeights

# Floats at the padded and at the crop's resolution held at once while masks are upscaled to the crop's size: 64 MB.
GROUP_FLOATS = 16 * 1024 * 1024
# A bound this close below the threshold, relatively, may be it: the plain form holds the scores in float32.
_ROUNDING = 1e-6


@dataclass(frozen=True, eq=False)
class StableMasks:
    """K of N masks.

    Attributes:
        indices: Which of the N these are `(K,)` int64, ascending.
        masks: K run-length masks of the crop.
        stability: `(K,)` float32; NaN for masks without a pixel, which pass only where no stability is asked.
    """

    indices: torch.Tensor
    masks: list[RunLengthMask]
    stability: torch.Tensor

    @classmethod
    def joined(cls, groups: Sequence[tuple[int, "StableMasks"]]) -> "StableMasks":
        """Those of several groups, each with the index of its first mask."""
        return cls(
            torch.cat([torch.zeros(0, dtype=torch.int64), *(first + group.indices for first, group in groups)]),
            [mask for _, group in groups for mask in group.masks],
            torch.cat([torch.zeros(0, dtype=torch.float32), *(group.stability for _, group in groups)]),
        )


def stable_from_logits(mask_logits: torch.Tensor, options: MaskGenerationOptions) -> StableMasks:
    """The stable ones of masks that are at hand as a whole.

    Args:
        mask_logits: `(N, H, W)` logits at the size of the crop, on any device.
        options: Thresholds.
    """
    stability = stability_scores(mask_logits, options.mask_threshold, options.stability_score_offset)
    stable = passing_stability(stability, options)
    masks = encode_masks(mask_logits[stable] > options.mask_threshold)
    return StableMasks(stable.cpu(), masks, stability[stable].cpu())


def stable_from_low_res(
    low_res: torch.Tensor,
    reshaped_size: Sequence[int],
    crop_size: Sequence[int],
    frame_size: Sequence[int],
    options: MaskGenerationOptions,
) -> StableMasks:
    """The stable ones of masks, each upscaled whole, a group of bounded memory at a time.

    Args:
        low_res: `(N, h, w)` low-resolution logits, on any device.
        reshaped_size: Height and width of the crop in the resized frame.
        crop_size: Height and width of the crop.
        frame_size: Height and width of the part of the padded frame that the logits cover.
        options: Thresholds.
    """
    group = max(1, GROUP_FLOATS // (math.prod(frame_size) + math.prod(crop_size)))
    found = []
    for start in range(0, len(low_res), group):
        here = low_res[start : start + group]
        logits = low_res_masks_to_photo(here, reshaped_size, crop_size, frame_size, binarize=False)
        found.append((start, stable_from_logits(logits, options)))
    return StableMasks.joined(found)


def stable_from_strips(
    strips: Iterable[torch.Tensor], weights: UpscalingWeights, options: MaskGenerationOptions
) -> StableMasks:
    """The stable ones of masks whose rows come one after the other, and are asked for while any may still pass.

    Args:
        strips: `(N, rows, w)` low-resolution logits on the CPU, upper rows first.
        weights: The way from there to the size of the crop.
        options: Thresholds.
    """
    upscalers: dict[int, StreamingUpscaler] | None = None  # by the index of the mask
    for strip in strips:
        if upscalers is None:
            upscalers = {
                index: StreamingUpscaler(weights, options.mask_threshold, options.stability_score_offset)
                for index in range(len(strip))
            }
        for upscaler, logits in zip(upscalers.values(), strip[list(upscalers)].float(), strict=True):
            upscaler.add(logits)
        upscalers = {
            i: upscaler for i, upscaler in upscalers.items() if _may_pass(upscaler.highest_stability(), options)
        }
        if not upscalers:
            break
    finished = {index: upscaler.finished() for index, upscaler in (upscalers or {}).items()}
    stability = torch.tensor([mask.stability for mask in finished.values()], dtype=torch.float32)
    stable = passing_stability(stability, options)
    indices = torch.tensor(list(finished), dtype=torch.int64)[stable]
    return StableMasks(indices, [finished[index].encoded() for index in indices.tolist()], stability[stable])


def _may_pass(highest_stability: float, options: MaskGenerationOptions) -> bool:
    # Not the other way round: NaN says that nothing is known yet, or that the mask is empty.
    return not highest_stability < options.stability_score_thresh * (1 - _ROUNDING)
