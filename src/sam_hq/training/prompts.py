"""Prompts of training that need a batch of tensors: noised masks, and clicks on a prediction's errors."""

from __future__ import annotations

import torch
import torch.nn.functional as F

PROMPT_SHARES = {"box": 0.55, "points": 0.22, "box_points": 0.05, "mask": 0.06, "clicks": 0.12}
MAX_POINTS = 8


def error_points(mask_logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One click per object in a prediction's larger kind of error, at a random place among the deepest.

    Args:
        mask_logits: (N, h, w) over the padded square.
        labels: (N, H, W), 1 on the object, 0 off it, other values unknown.

    Returns:
        Points (N, 2) as (x, y) in pixels of the labels' frame and labels (N,), 1 where the object was missed.
    """
    height, width = labels.shape[-2:]
    logits = F.interpolate(mask_logits[:, None].float(), (height, width), mode="bilinear", align_corners=False)[:, 0]
    missed = ((logits <= 0) & (labels == 1)).float()
    false = ((logits > 0) & (labels == 0)).float()
    is_missed = missed.flatten(1).sum(1) >= false.flatten(1).sum(1)
    errors = torch.where(is_missed[:, None, None], missed, false)
    empty = errors.flatten(1).sum(1) == 0  # a perfect mask: click on the object once more
    errors = torch.where(empty[:, None, None], (labels == 1).float(), errors)
    is_missed = is_missed | empty
    depth = F.avg_pool2d(errors[:, None], 9, 1, 4)[:, 0] * errors
    place = (depth + 0.05 * torch.rand_like(depth) * (errors > 0)).flatten(1).argmax(1)
    points = torch.stack([place % width, torch.div(place, width, rounding_mode="floor")], 1).float()
    return points, is_missed.long()


def noised_mask_logits(labels: torch.Tensor, side: int) -> torch.Tensor:
    """Coarse, wrong-edged mask prompts made from ground truth.

    Args:
        labels: (N, H, W), 1 on the object.
        side: Side of the mask prompt, `4 * image_embedding_size`.

    Returns:
        Logits (N, side, side), as a prediction of an earlier round would be.

    Source: "Segment Anything in High Quality" (arXiv 2306.01567), §3.3 (coarse masks made by noise on the boundary).
    """
    masks = (labels == 1).float()[:, None]
    coarse = F.interpolate(masks, (side, side), mode="area")
    noise = torch.randn(len(masks), 1, side // 8, side // 8, dtype=torch.float32)
    noise = F.interpolate(noise, (side, side), mode="bilinear", align_corners=False)
    soft = F.avg_pool2d(coarse, 5, 1, 2)
    return ((soft - 0.5 + 0.25 * noise.to(soft)) * 12).clamp(-12, 12)[:, 0]
