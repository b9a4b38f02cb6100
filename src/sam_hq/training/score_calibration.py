"""What a model's predicted IoU and stability are worth on held-out photos, and a linear correction of the IoU.

The correction is written into the last layer of the head that predicts the IoU, so it costs nothing and needs no code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..evaluation.ground_truth_prompts import central_point, mask_box, random_points
from ..evaluation.mask_metrics import mask_iou
from ..images.mask_frames import low_res_masks_to_photo
from ..images.mask_ops import stability_scores
from ..model.model_access import evaluating, execution_device
from ..modeling_sam_hq import SamHQModel
from .objectives import decode_branches

PROMPT_KINDS = ("box", "point", "any-point")
GOOD_IOU = 0.7
REWEIGHTINGS = 30


@dataclass(frozen=True)
class ScoredObjects:
    """What a model predicts of N prompted objects for its T mask tokens, the one for clear prompts first.

    Attributes:
        photos: Number (N,) of the photo of each.
        kinds: Kind (N,) of prompt of each.
        scores: Predicted IoU (N, T).
        ious: True IoU (N, T) at the photo's size of the masks that are returned: SAM's with the HQ mask.
        stabilities: Stability (N, T) of these masks.
    """

    photos: np.ndarray
    kinds: np.ndarray
    scores: np.ndarray
    ious: np.ndarray
    stabilities: np.ndarray

    @property
    def best_scored(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows (N,) and tokens (N,) of the best-scored candidates; the token for clear prompts is none."""
        return np.arange(len(self.scores)), 1 + self.scores[:, 1:].argmax(1)

    def chosen(self, which: np.ndarray) -> ScoredObjects:
        """Those where `which` (N,) is true."""
        return ScoredObjects(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def corrected(self, lines: np.ndarray) -> ScoredObjects:
        """With scores corrected by slopes and offsets (T, 2)."""
        return replace(self, scores=self.scores * lines[:, 0] + lines[:, 1])


@torch.no_grad()
def score_objects(
    model: SamHQModel,
    processor: Any,
    dataset: Any,
    stability_offset: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> ScoredObjects:
    """Prompt every object of a dataset with its box, with its central point and with a point anywhere on it.

    Args:
        model: The model; evaluated, and in the mode that it had afterwards.
        processor: Its processor.
        dataset: A `sam_hq.evaluation.segmentation_data.MaskedImages`.
        stability_offset: How far the threshold is moved up and down to measure the stability, in logits.
        progress: Called with the number of photos done and of all.

    Raises:
        ValueError: The dataset has no usable mask.
    """
    rows: list[tuple[int, str, np.ndarray, np.ndarray, np.ndarray]] = []
    with evaluating(model):
        for number in range(len(dataset)):
            image, truths = dataset[number]
            if len(truths):
                rows += _photo_rows(model, processor, image, truths, number, stability_offset)
            if progress is not None:
                progress(number + 1, len(dataset))
    if not rows:
        raise ValueError(f"the data have no usable mask; {dataset.report}")
    return ScoredObjects(*(np.stack([row[part] for row in rows]) for part in range(5)))


def _photo_rows(
    model: SamHQModel, processor: Any, image: np.ndarray, truths: np.ndarray, number: int, offset: float
) -> list[tuple[int, str, np.ndarray, np.ndarray, np.ndarray]]:
    inputs = processor(image, return_tensors="pt")
    reshaped = [int(side) for side in inputs["reshaped_input_sizes"][0]]
    frame = inputs["pixel_values"].shape[-2:]
    device = execution_device(model)
    embeddings, intermediate = model.get_image_embeddings(inputs["pixel_values"].to(device, model.dtype))
    hq_features = model.get_hq_features(embeddings, intermediate)
    scale = np.array([reshaped[1] / image.shape[1], reshaped[0] / image.shape[0]], np.float32)
    rows = []
    for kind in PROMPT_KINDS:
        rng = np.random.default_rng((0, number))  # the same points for every model
        for truth in truths:  # one by one: every candidate's logits at the photo's size
            prompt = _prompt(kind, truth, scale, rng, device)
            outputs = decode_branches(model, embeddings, hq_features, prompt)
            logits = outputs.sam_masks if outputs.hq_masks is None else outputs.sam_masks + outputs.hq_masks[:, None]
            full = low_res_masks_to_photo(logits, reshaped, image.shape[:2], frame, 0.0, binarize=False)[0]
            ious = np.array([mask_iou(mask, truth) for mask in (full > 0).cpu().numpy()])
            stabilities = stability_scores(full, 0.0, offset).float().cpu().numpy()
            rows.append((number, kind, outputs.iou_scores[0].float().cpu().numpy(), ious, stabilities))
    return rows


def _prompt(
    kind: str, truth: np.ndarray, scale: np.ndarray, rng: np.random.Generator, device: torch.device
) -> dict[str, torch.Tensor]:
    if kind == "box":
        return {"input_boxes": torch.from_numpy(mask_box(truth) * np.tile(scale, 2))[None, None].to(device)}
    point = central_point(truth) if kind == "point" else random_points(truth, 1, rng, centre_share=0.0)[0]
    points = torch.from_numpy((point * scale).astype(np.float32))[None, None, None].to(device)
    return {"input_points": points, "input_labels": torch.ones(1, 1, 1, dtype=torch.long, device=device)}


def fitted_lines(scores: np.ndarray, ious: np.ndarray) -> np.ndarray:
    """For every token the line from its scores to its IoUs with the smallest mean absolute error.

    Args:
        scores: Predicted IoU (N, T).
        ious: True IoU (N, T).

    Returns:
        Slopes and offsets (T, 2). Slopes are positive: a token whose scores say nothing keeps them as they are.
    """
    lines = []
    for given, wanted in zip(scores.T, ious.T, strict=True):
        columns = np.stack([given, np.ones_like(given)], 1).astype(np.float64)
        line, best = np.array([1.0, 0.0]), np.abs(given - wanted).mean()
        trial, weights = line, np.ones(len(given))
        for _ in range(REWEIGHTINGS):  # least squares, each residual weighted by its inverse
            root = np.sqrt(weights)[:, None]
            trial = np.linalg.lstsq(columns * root, wanted * root[:, 0], rcond=None)[0]
            residuals = np.abs(columns @ trial - wanted)
            if trial[0] > 0 and residuals.mean() < best:
                line, best = trial, residuals.mean()
            weights = 1 / np.maximum(residuals, 1e-4)
        lines.append(line)
    return np.stack(lines)


@torch.no_grad()
def recalibrate(model: SamHQModel, lines: np.ndarray) -> None:
    """Put lines into the model's head: its scores become slope x score + offset.

    Args:
        model: The model; changed in place.
        lines: Slopes and offsets (T, 2), one for each mask token.
    """
    last = model.mask_decoder.iou_prediction_head.proj_out
    slopes, offsets = torch.from_numpy(lines).to(last.weight).unbind(1)
    last.weight.mul_(slopes[:, None])
    last.bias.mul_(slopes).add_(offsets)


def quality(objects: ScoredObjects) -> dict[str, float]:
    """Means over objects.

    Args:
        objects: The objects.

    Returns:
        `score_error`, the mean absolute error of the predicted IoU of the first mask and of the best-scored candidate;
        `single`, the IoU of the mask for clear prompts; `best_scored` and `best`, the IoU of the best-scored candidate
        and of the best one; `stability_of_good`, the stability that 90 % of the good candidates reach.
    """
    best_scored = objects.best_scored
    best = best_scored[0], 1 + objects.ious[:, 1:].argmax(1)
    errors = np.abs(objects.scores - objects.ious)
    good = objects.ious[best] >= GOOD_IOU
    return {
        "score_error": float(np.mean([errors[:, 0], errors[best_scored]])),
        "single": float(objects.ious[:, 0].mean()),
        "best_scored": float(objects.ious[best_scored].mean()),
        "best": float(objects.ious[best].mean()),
        "stability_of_good": float(np.quantile(objects.stabilities[best][good], 0.1)) if good.any() else 0.0,
    }


def passing_shares(objects: ScoredObjects, thresholds: Sequence[float]) -> list[tuple[float, float, float]]:
    """How many objects mask generation would find, and how many bad masks it would keep, at thresholds.

    Args:
        objects: The objects; prompted with points, as mask generation does.
        thresholds: Thresholds, each of the predicted IoU and of the stability alike.

    Returns:
        For each threshold it, the share of the good best-scored masks that pass both, and that of the others.
    """
    ious, scores, stabilities = (
        values[objects.best_scored] for values in (objects.ious, objects.scores, objects.stabilities)
    )
    good = ious >= GOOD_IOU
    shares = []
    for threshold in thresholds:
        passes = (scores > threshold) & (stabilities >= threshold)
        found, kept = (float(passes[group].mean()) if group.any() else 0.0 for group in (good, ~good))
        shares.append((threshold, found, kept))
    return shares
