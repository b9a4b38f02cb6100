"""One training step's forward pass for every kind of prompt."""

from __future__ import annotations

import torch

from ..modeling_sam_hq import SamHQModel
from .objectives import BranchOutputs, decode_branches
from .prompts import error_points, noised_mask_logits

MAX_CLICKS = 3


def predict_round(
    model: SamHQModel, image_embeddings: torch.Tensor, hq_features: torch.Tensor | None, batch: dict
) -> BranchOutputs:
    """Predict with the batch's kind of prompt; for `clicks`, after one to three rounds of corrections.

    Args:
        model: The model.
        image_embeddings: (B, C, h, w).
        hq_features: (B, C / 8, 4h, 4w), or None to leave the HQ token out.
        batch: As `TrainingBatches` makes them.

    Returns:
        The last round's predictions for B * P objects.
    """
    kind, labels = batch["kind"], batch["labels"]
    side = model.config.prompt_encoder_config.mask_input_size
    boxes = {"input_boxes": batch["input_boxes"]}
    points = {"input_points": batch["input_points"], "input_labels": batch["input_labels"]}
    if kind == "box":
        prompts = boxes
    elif kind == "points":
        prompts = points
    elif kind == "box_points":
        prompts = {**boxes, **points}
    elif kind == "mask":
        noised = noised_mask_logits(labels.flatten(0, 1), side).view(*labels.shape[:2], side, side)
        prompts = {"input_masks": noised, **(boxes if torch.rand(()) < 0.7 else {})}
    elif kind == "clicks":
        prompts = _clicked(model, image_embeddings, hq_features, batch, boxes, points)
    else:
        raise ValueError(f"unknown kind of prompt {kind!r}")
    return decode_branches(model, image_embeddings, hq_features, prompts)


@torch.no_grad()
def _clicked(
    model: SamHQModel,
    image_embeddings: torch.Tensor,
    hq_features: torch.Tensor | None,
    batch: dict,
    boxes: dict,
    points: dict,
) -> dict:
    """Prompts after rounds of predicting and clicking on the largest error; only the last round gets gradients."""
    shape = batch["labels"].shape[:2]
    with_box = bool(torch.rand(()) < 0.4)
    prompts = dict(boxes) if with_box else dict(points)
    for _ in range(int(torch.randint(1, MAX_CLICKS + 1, ()))):
        outputs = decode_branches(model, image_embeddings, hq_features, prompts)
        logits = outputs.sam_masks[:, 0] if outputs.hq_masks is None else outputs.sam_masks[:, 0] + outputs.hq_masks
        clicks, click_labels = error_points(logits, batch["labels"].flatten(0, 1))
        clicks, click_labels = clicks.view(*shape, 1, 2), click_labels.view(*shape, 1)
        if "input_points" in prompts:
            clicks = torch.cat([prompts["input_points"], clicks], 2)
            click_labels = torch.cat([prompts["input_labels"], click_labels], 2)
        prompts.update(input_points=clicks, input_labels=click_labels)
        prompts["input_masks"] = logits.clamp(-12, 12).unflatten(0, shape)
    return prompts
