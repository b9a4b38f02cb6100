"""What training minimises: every branch's mask loss, and the error of the predicted IoU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F

from ..model.losses import (
    IGNORED_LABEL,
    point_cross_entropy,
    point_dice,
    sample_labels,
    sample_points,
    uncertain_points,
)
from ..modeling_sam_hq import SamHQModel

SUM_WEIGHT = 0.5  # of the sum of both masks, beside the HQ mask alone
OTHER_CANDIDATE_SHARE = 0.1  # of the objects, for which a random candidate is trained, so that no token stays idle
BEST_PARTNER_SHARE = 0.5  # of the objects, whose HQ mask is added to the best candidate, not to the single mask


@dataclass
class BranchOutputs:
    """Everything the decoder predicts for N = B * P objects.

    Attributes:
        iou_scores: Predicted IoU (N, T) of every mask token, the single-mask token first.
        sam_masks: SAM's logits (N, T, 4h, 4w).
        hq_masks: The HQ token's logits (N, 4h, 4w), or None where they were left out.
    """

    iou_scores: torch.Tensor
    sam_masks: torch.Tensor
    hq_masks: torch.Tensor | None


def decode_branches(
    model: SamHQModel,
    image_embeddings: torch.Tensor,
    hq_features: torch.Tensor | None,
    prompts: dict[str, torch.Tensor],
) -> BranchOutputs:
    """Decode all mask tokens, those for clear and those for ambiguous prompts, in one pass.

    Args:
        model: The model.
        image_embeddings: (B, C, h, w).
        hq_features: (B, C / 8, 4h, 4w) from `model.get_hq_features`; None leaves the HQ token's mask out.
        prompts: Any of `input_points`, `input_labels`, `input_boxes`, `input_masks`, as `SamHQModel.forward` takes.

    Returns:
        The predictions of the B * P objects, those of an image one after another.
    """
    decoder = model.mask_decoder
    prompted = model.prompt_encoder(model.shared_image_embedding, image_embeddings.device, **prompts)
    objects = decoder.prompted_objects(image_embeddings, *prompted)
    tokens, pixels, _ = decoder.transformer(
        objects.tokens, objects.pixels, model.pixel_positions(image_embeddings), objects.token_bias
    )
    readings = decoder.read_tokens(tokens)
    sam_masks, hq_masks = decoder.render(pixels, readings.sam_kernels, readings.hq_kernel, hq_features)
    return BranchOutputs(
        readings.iou_scores, cast(torch.Tensor, sam_masks), None if hq_masks is None else hq_masks[:, 0]
    )


def mask_losses(mask_logits: torch.Tensor, labels: torch.Tensor, num_points: int) -> torch.Tensor:
    """BCE plus Dice of several masks per object, on points near the object and where that mask is uncertain.

    Args:
        mask_logits: (N, M, h, w) over the padded square.
        labels: (N, H, W), 1, 0, and -100 where unknown, the same for the M masks.
        num_points: Points per mask.

    Returns:
        Losses (N, M).

    Differs: from `sam_hq.model.losses.mask_loss` in that half of the points are drawn around the object. On small
        objects nearly all points of the whole image are background, and a new network learns to predict nothing at all.
    """
    count, masks = mask_logits.shape[:2]
    logits = mask_logits.flatten(0, 1).float()
    frames = label_frames(labels).repeat_interleave(masks, 0)
    labels = labels.repeat_interleave(masks, 0)
    known = labels != IGNORED_LABEL
    near = num_points // 2
    points = torch.cat(
        [
            uncertain_points(logits.detach(), known, num_points - near, 3.0, 0.75),
            frames[:, :1]
            + torch.rand(count * masks, near, 2, dtype=torch.float32, device=logits.device)
            * (frames[:, 1:] - frames[:, :1]),
        ],
        dim=1,
    )
    targets, weights = sample_labels(labels, points)
    sampled = sample_points(logits, points)
    losses = point_cross_entropy(sampled, targets, weights) + point_dice(sampled, targets, weights)
    return losses.view(count, masks)


def label_frames(labels: torch.Tensor, margin: float = 0.2) -> torch.Tensor:
    """Boxes around objects, a margin wider than they are.

    Args:
        labels: (N, H, W), 1 on the object.
        margin: Share of the width and height that is added on every side.

    Returns:
        (N, 2, 2), the corners (x, y) of each box, in [0, 1].
    """
    objects = labels == 1
    corners = []
    for axis in (1, 2):  # columns, then rows
        extent = objects.any(axis)
        size = extent.shape[1]
        first = extent.float().argmax(1)
        last = size - extent.flip(1).float().argmax(1)
        reach = margin * (last - first)
        corners.append(torch.stack([(first - reach) / size, (last + reach) / size], 1))
    return torch.stack(corners, 2).clamp(0, 1)


def mask_ious(mask_logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """IoU (N, M) of masks (N, M, h, w), thresholded at 0, with labels (N, H, W), compared on the masks' grid."""
    size = mask_logits.shape[-2:]
    known = F.interpolate((labels != IGNORED_LABEL).float()[:, None], size, mode="nearest") > 0
    targets = (F.interpolate((labels == 1).float()[:, None], size, mode="area") >= 0.5) & known
    masks = (mask_logits > 0) & known
    union = (masks | targets).flatten(2).sum(2)
    return (masks & targets).flatten(2).sum(2) / union.clamp(min=1)


def training_loss(
    outputs: BranchOutputs, labels: torch.Tensor, train_sam: bool = True, num_points: int = 1024
) -> tuple[torch.Tensor, dict[str, float]]:
    """The loss of a batch.

    SAM's single mask and the best of its candidates are trained each on its own. The HQ mask is trained on its own too,
    so that it can be used alone, and by half on its sum with SAM's mask, whose gradient is cut. Scores learn the IoU of
    the masks that are returned: of the sum where there are HQ masks, else of SAM's.

    Args:
        outputs: Predictions for N objects.
        labels: (N, H, W), 1, 0, and -100 where unknown.
        train_sam: Whether SAM's parts are trained, and not the HQ parts alone.
        num_points: Points per mask.

    Returns:
        The loss, and the means of its parts for the log.

    Source: "Segment Anything in High Quality" (arXiv 2306.01567), §3.3, for the loss on the HQ mask alone. Differs: the
        sum is trained as well, since it is what is returned by default.
    """
    rows = torch.arange(len(labels), device=labels.device)
    with torch.no_grad():
        ious = mask_ious(outputs.sam_masks, labels)
        best = 1 + ious[:, 1:].argmax(1)
    trained, names, weights = [], [], []
    if train_sam:
        chosen = torch.where(_drawn(best, OTHER_CANDIDATE_SHARE), torch.randint_like(best, 1, ious.shape[1]), best)
        trained += [outputs.sam_masks[:, 0], outputs.sam_masks[rows, chosen]]
        names, weights = ["single", "best"], [1.0, 1.0]
    parts = {"iou_single": ious[:, 0].mean().item(), "iou_best": ious[rows, best].mean().item()}
    if outputs.hq_masks is not None:
        # Users take the single mask or the best candidate: the HQ mask is added to either.
        partner = torch.where(_drawn(best, BEST_PARTNER_SHARE), best, torch.zeros_like(best))
        fused = outputs.sam_masks[rows, partner].detach() + outputs.hq_masks
        trained, names, weights = (
            [*trained, outputs.hq_masks, fused],
            [*names, "hq", "sum"],
            [*weights, 1.0, SUM_WEIGHT],
        )
        with torch.no_grad():
            parts["iou_partner"] = ious[rows, partner].mean().item()
            parts["iou_hq"] = mask_ious(outputs.hq_masks[:, None], labels).mean().item()
            ious = mask_ious(outputs.sam_masks + outputs.hq_masks[:, None], labels)
            parts["iou_sum"] = ious[rows, partner].mean().item()
    losses = mask_losses(torch.stack(trained, 1), labels, num_points).mean(0)
    parts.update(zip(names, losses.tolist(), strict=True))
    loss = (losses * losses.new_tensor(weights)).sum()
    if train_sam:
        score = F.mse_loss(outputs.iou_scores.float(), ious)
        parts["score"] = score.item()
        loss = loss + score
    return loss, parts


def _drawn(like: torch.Tensor, share: float) -> torch.Tensor:
    return torch.rand(like.shape, device=like.device) < share
