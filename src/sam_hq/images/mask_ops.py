"""What mask generation asks of masks on their device: which scores and stabilities pass, and run lengths.

Source: `utils/amg.py` of the package `segment-anything-hq` for the definitions.
"""

import numpy as np
import torch

from sam_hq_numpy.mask_generation_options import MaskGenerationOptions
from sam_hq_numpy.mask_rle import RunLengthMask


def stability_scores(mask_logits: torch.Tensor, mask_threshold: float = 0.0, offset: float = 1.0) -> torch.Tensor:
    """How little each mask changes when its threshold moves: the IoU of the masks cut at `threshold ± offset`.

    Args:
        mask_logits: `(..., H, W)` logits.
        mask_threshold: The logit above which a pixel belongs to the mask.
        offset: How far the threshold is moved up and down.

    Returns:
        `(...)` float32 in [0, 1]; NaN where not even the lower threshold leaves a pixel.
    """
    # The mask cut higher lies inside the one cut lower, so the counts are intersection and union.
    return _count(mask_logits > mask_threshold + offset) / _count(mask_logits > mask_threshold - offset)


def passing_scores(scores: torch.Tensor, options: MaskGenerationOptions) -> torch.Tensor:
    """Indices of the masks whose predicted IoU is high enough.

    Args:
        scores: `(N,)` predicted IoU.
        options: `pred_iou_thresh` is looked at; 0 or less lets every mask pass.

    Returns:
        `(K,)` int64.
    """
    if options.pred_iou_thresh > 0:
        return (scores > options.pred_iou_thresh).nonzero()[:, 0]
    return torch.arange(len(scores), device=scores.device)


def passing_stability(stability: torch.Tensor, options: MaskGenerationOptions) -> torch.Tensor:
    """Indices of the masks whose stability is high enough.

    Args:
        stability: `(N,)`; NaN for masks without a pixel.
        options: `stability_score_thresh` is looked at; 0 or less lets every mask pass.

    Returns:
        `(K,)` int64.
    """
    if options.stability_score_thresh > 0:  # NaN fails, but passes where nothing is asked
        return (stability >= options.stability_score_thresh).nonzero()[:, 0]
    return torch.arange(len(stability), device=stability.device)


def encode_masks(masks: torch.Tensor) -> list[RunLengthMask]:
    """Encode a group of masks, on the device they are on.

    Args:
        masks: `(N, H, W)` boolean.
    """
    if masks.device.type == "cpu":
        return [RunLengthMask.from_mask(mask) for mask in masks.numpy()]
    return encode_masks_on_device(masks)


def encode_masks_on_device(masks: torch.Tensor) -> list[RunLengthMask]:
    """As `encode_masks`, with only the places where a run starts or ends leaving the device.

    Args:
        masks: `(N, H, W)` boolean.
    """
    n_masks, height, width = masks.shape
    pixels = masks.transpose(1, 2).flatten(1)  # (N, H, W) -> (N, W*H), down the columns
    framed = torch.nn.functional.pad(pixels, (1, 1))
    changes = (framed[:, 1:] != framed[:, :-1]).nonzero().cpu().numpy()  # (K, 2): mask, position
    per_mask = np.split(changes[:, 1], np.cumsum(np.bincount(changes[:, 0], minlength=n_masks))[:-1])
    return [RunLengthMask.from_runs(height, width, places[::2], places[1::2]) for places in per_mask[:n_masks]]


def _count(masks: torch.Tensor) -> torch.Tensor:
    """Pixels inside: `(..., H, W)` -> `(...)` float32."""
    # Rows in the narrowest type that holds their length: an int64 sum of booleans takes ten times as long.
    row_type = torch.int16 if masks.shape[-1] < 2**15 else torch.int32
    return masks.sum(-1, dtype=row_type).sum(-1, dtype=torch.int64).float()
