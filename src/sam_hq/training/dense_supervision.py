"""A second loss, on the encoder alone, for training from scratch.

A mask loss teaches an encoder through a decoder that does not know yet what to do with it. Here three things are read
off the embeddings directly: whether a pixel belongs to an object, whether it lies on an outline, and how far the sides
of its object's box are. The layers that read them are thrown away after training.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..model.losses import IGNORED_LABEL

OUTLINE_WEIGHT = 3.0  # outlines are rare
EARLY_WEIGHT, BOX_WEIGHT = 0.5, 1.0


class DenseSupervision(nn.Module):
    """Reads objects, outlines and boxes off the embeddings, and compares them with the truth.

    Args:
        vision_config: The encoder's config.
    """

    def __init__(self, vision_config: Any) -> None:
        super().__init__()
        # 4 x 4 places per token, each with a logit for "object" and one for "outline".
        self.maps = nn.Conv2d(vision_config.output_channels, 2 * 16, 1)
        self.early_maps = nn.Conv2d(vision_config.intermediate_size, 2 * 16, 1)
        self.box_sides = nn.Conv2d(vision_config.output_channels, 4, 1)

    def forward(
        self,
        image_embeddings: torch.Tensor,
        early_embeddings: torch.Tensor,
        labels: torch.Tensor,
        foreground: torch.Tensor,
    ) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of a batch, and its parts for the log.

        Args:
            image_embeddings: (B, C, h, w).
            early_embeddings: (B, h, w, C').
            labels: (B, P, H, W) of the prompted objects, 1, 0, and -100 where unknown.
            foreground: (B, H, W), 1 on any object of the image, 0, and -100 where unknown.
        """
        grid = image_embeddings.shape[-1]
        side = 4 * grid
        known = _at(foreground != IGNORED_LABEL, side)
        objects = _at(foreground == 1, side)
        outlines = _outlines(torch.cat([_at(labels == 1, side), objects[:, None]], 1))
        late = F.pixel_shuffle(self.maps(image_embeddings), 4).float()  # (B, 32, h, w) -> (B, 2, 4h, 4w)
        early = F.pixel_shuffle(self.early_maps(early_embeddings.permute(0, 3, 1, 2)), 4).float()
        loss = _map_loss(late[:, 0], objects, known, 1.0) + _map_loss(late[:, 1], outlines, known, OUTLINE_WEIGHT)
        early_loss = _map_loss(early[:, 0], objects, known, 1.0)
        early_loss = early_loss + _map_loss(early[:, 1], outlines, known, OUTLINE_WEIGHT)
        sides, covered = box_sides(labels, grid)
        box_error = (self.box_sides(image_embeddings).float() - sides).abs().mean(1)
        box_loss = (box_error * covered).sum() / covered.sum().clamp(min=1)
        guessed, truth = (late[:, 0] > 0) & (known > 0), (objects > 0) & (known > 0)
        iou = (guessed & truth).sum() / (guessed | truth).sum().clamp(min=1)
        parts = {"dense": loss.item(), "early": early_loss.item(), "box": box_loss.item(), "iou_dense": iou.item()}
        return loss + EARLY_WEIGHT * early_loss + BOX_WEIGHT * box_loss, parts


def box_sides(labels: torch.Tensor, grid: int) -> tuple[torch.Tensor, torch.Tensor]:
    """For every token, the distances to the sides of the box of the smallest object that covers its centre.

    Args:
        labels: (B, P, H, W), 1 on an object.
        grid: Side h = w of the embedding.

    Returns:
        Distances (B, 4, h, w), left, top, right, bottom, in [0, 1] of the square, 0 off the objects; and where an
        object covers the token, (B, h, w), 1 or 0.
    """
    size = labels.shape[-1]
    objects = labels == 1
    centres = ((torch.arange(grid, dtype=torch.float32, device=labels.device) + 0.5) * size / grid).long()
    covering = objects[:, :, centres][..., centres]  # (B, P, h, w)
    area = objects.flatten(2).sum(2)[..., None, None].float()
    smallest = torch.where(covering, area, torch.inf).argmin(1, keepdim=True)  # (B, 1, h, w)
    place = (centres.float() + 0.5) / size
    sides = []
    for axis, extent in ((place[None, None, None, :], objects.any(2)), (place[None, None, :, None], objects.any(3))):
        first = extent.float().argmax(2) / size  # (B, P)
        last = 1 - extent.flip(2).float().argmax(2) / size
        sides.append((axis - first[..., None, None], last[..., None, None] - axis))
    (left, right), (top, bottom) = sides
    distances = torch.stack([part.expand(covering.shape) for part in (left, top, right, bottom)], 1)  # (B, 4, P, h, w)
    chosen = distances.gather(2, smallest[:, None].expand(-1, 4, -1, -1, -1))[:, :, 0]
    covered = covering.any(1)
    return chosen * covered[:, None], covered.float()


def _at(mask: torch.Tensor, side: int) -> torch.Tensor:
    """The share of each place of a coarser grid that is set, rounded: (..., H, W) bool -> (..., side, side) float."""
    flat = mask.flatten(0, -3).float()[:, None]
    coarse = F.interpolate(flat, (side, side), mode="area")[:, 0]
    return (coarse >= 0.5).float().view(*mask.shape[:-2], side, side)


def _outlines(masks: torch.Tensor) -> torch.Tensor:
    """Where a mask (B, P, h, w) meets what is not in it, for any of the P: (B, h, w)."""
    inner, outer = -F.max_pool2d(-masks, 3, 1, 1), F.max_pool2d(masks, 3, 1, 1)
    return (outer - inner).amax(1)


def _map_loss(logits: torch.Tensor, target: torch.Tensor, known: torch.Tensor, weight: float) -> torch.Tensor:
    """BCE, with positive places weighted, plus half of Dice, over the known places of (B, h, w)."""
    positive = logits.new_tensor(weight)
    summed = F.binary_cross_entropy_with_logits(logits, target, known, reduction="sum", pos_weight=positive)
    chance = logits.sigmoid() * known
    overlap, total = (chance * target).sum((1, 2)), (chance + target * known).sum((1, 2))
    dice = 1 - (2 * overlap + 1) / (total + 1)
    return summed / known.sum().clamp(min=1) + 0.5 * dice.mean()
