"""Mask quality of a model on images with ground truth: mIoU and mean boundary IoU, prompted from the truth.

Source: "Segment Anything in High Quality" (arXiv 2306.01567), §4: masks scored at the photo's size, boundaries
2 % of its diagonal wide. The authors squash the image to a square; `protocol="squashed"` does too, `"normal"`
keeps its shape as users do.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from sam_hq_numpy.number_limits import check_choice, check_whole

from ..image_processing_sam_hq import SamHQImageProcessor
from ..predictor import SamHQPredictor
from ..processing_sam_hq import SamHQProcessor
from .baselines import BASELINES, load_opencv
from .evaluation_report import EvaluationReport, ObjectScore
from .found_masks import EVERYTHING, best_found_mask
from .ground_truth_prompts import central_point, error_click, jittered_box, mask_box, random_points
from .mask_metrics import boundary_iou, mask_iou

PROMPTS = ("box", "jittered-box", "points-1", "points-3", "points-5", "points-10", "clicks-3", "clicks-5", "clicks-10")
# Mask generation, scored by the best of its masks for each photo's largest object, comes beside them.
KINDS = (*PROMPTS, EVERYTHING)
PROTOCOLS = ("normal", "squashed")
BRANCHES = ("sam", "hq", "sum")


class PromptedModel:
    """A model that embeds an image once and answers prompts in the photo's pixels.

    Args:
        model: A `SamHQModel`, or a wrapper around one.
        processor: Its processor.
        protocol: `normal` or `squashed`.
        multimask: Whether the best of SAM's candidates is taken, or the mask for clear prompts.

    Raises:
        ValueError: An unknown protocol.
    """

    def __init__(self, model: Any, processor: Any, protocol: str = "normal", multimask: bool = False) -> None:
        check_choice("protocol", protocol, PROTOCOLS)
        if protocol == "squashed":
            image_processor = processor.image_processor
            squashed = {**image_processor.to_dict(), "size": image_processor.pad_size}
            processor = SamHQProcessor(SamHQImageProcessor.from_dict(squashed))
        self.predictor, self.multimask = SamHQPredictor(model, processor), multimask

    def embed(self, image: np.ndarray) -> None:
        """Take an image (H, W, 3) uint8."""
        self.embeddings = self.predictor.embed(image, input_data_format="channels_last")

    def predict(
        self, boxes: np.ndarray | None, points: np.ndarray | None, labels: np.ndarray | None, masks: Any = None
    ) -> tuple[dict[str, np.ndarray], np.ndarray, torch.Tensor]:
        """Answer P prompts.

        Args:
            boxes: (P, 4) as (x0, y0, x1, y1) in the photo's pixels, or None.
            points: (P, N, 2) as (x, y), or None.
            labels: (P, N), 1 on the object, 0 off it.
            masks: Logits of an earlier answer (P, h, w), or None.

        Returns:
            For each branch masks (P, H, W) bool; predicted IoU (P,); and the low-resolution logits (P, h, w).
        """
        outputs = self.predictor.decode(
            self.embeddings,
            points=points,
            labels=labels,
            boxes=boxes,
            masks=masks,
            multimask_output=self.multimask,
            output_branches=True,
        )
        low_res = {"sam": outputs.sam_masks, "hq": outputs.hq_masks, "sum": outputs.pred_masks}
        full = {
            branch: self.predictor.photo_masks(self.embeddings, logits[0, :, 0]).cpu().numpy()
            for branch, logits in low_res.items()
        }
        return full, outputs.iou_scores[0, :, 0].float().cpu().numpy(), outputs.pred_masks[0, :, 0]


def evaluate(
    predictor: PromptedModel,
    dataset: Any,
    prompts: Iterable[str] = ("box",),
    baselines: Iterable[str] = (),
    settings: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    seed: int = 0,
    points_per_crop: int = 16,
    floors: Iterable[str] | None = None,
) -> EvaluationReport:
    """Score a model on a dataset.

    Args:
        predictor: The model.
        dataset: A `sam_hq.evaluation.segmentation_data.MaskedImages`.
        prompts: Some of `PROMPTS`, and `everything` for mask generation.
        baselines: Methods without learning to score beside it: `filled-box`, `grabcut`.
        settings: What the report says about how it was made.
        progress: Called with the number of images done and of all.
        seed: Seed of jitter and random points; an image's depend on its number alone.
        points_per_crop: Points along one side of the grid of mask generation.
        floors: The former name of `baselines`, which works until the next release, with a warning.

    Returns:
        The report.

    Raises:
        ValueError: An unknown prompt or baseline, or a negative seed.
        ImportError: `grabcut` without OpenCV.
    """
    if floors is not None:
        warnings.warn("floors is now called baselines; the old name will be removed", FutureWarning, stacklevel=2)
        baselines = floors
    prompts, baselines = tuple(dict.fromkeys(prompts)), tuple(dict.fromkeys(baselines))
    check_choices(prompts, baselines, seed)
    report = EvaluationReport({**(settings or {}), "seed": seed})
    for number in range(len(dataset)):
        image, truths = dataset[number]
        if len(truths):
            place = dataset.name(number), number
            predictor.embed(image)
            for kind in prompts:
                if kind == EVERYTHING:
                    _add_found(report, predictor, image, truths, place, points_per_crop)
                    continue
                rng = np.random.default_rng((seed, number))
                masks, scores = answers(predictor, truths, kind, rng)
                for branch in BRANCHES:
                    _add_scores(report, place, kind, branch, masks[branch], truths, scores)
            for baseline in baselines:
                guesses = [BASELINES[baseline](image, mask_box(truth)) for truth in truths]
                _add_scores(report, place, "box", baseline, guesses, truths, [float("nan")] * len(truths))
        if progress is not None:
            progress(number + 1, len(dataset))
    report.skipped = dict(dataset.report.counts)
    return report


def check_choices(prompts: Sequence[str], baselines: Sequence[str] = (), seed: int = 0) -> None:
    """Refuse what `evaluate` refuses, before a model is loaded for it.

    Args:
        prompts: Some of `PROMPTS`, and `everything` for mask generation.
        baselines: Names of baselines.
        seed: A seed.

    Raises:
        ValueError: An unknown prompt or baseline, or a negative seed.
        ImportError: `grabcut` without OpenCV.
    """
    for name, given, known in (("prompts", prompts, KINDS), ("baselines", baselines, tuple(BASELINES))):
        if unknown := [value for value in given if value not in known]:
            raise ValueError(f"unknown {name} {unknown}; there are {list(known)}")
    check_whole("seed", seed, at_least=0)
    if "grabcut" in baselines:
        load_opencv()


def answers(
    predictor: PromptedModel, truths: np.ndarray, kind: str, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Prompt the embedded image for every object.

    Args:
        predictor: The model, after `embed`.
        truths: (P, H, W) bool.
        kind: One of `PROMPTS`.
        rng: Source of jitter and random points.

    Returns:
        For each branch masks (P, H, W) bool, and the predicted IoU (P,).
    """
    if kind in ("box", "jittered-box"):
        boxes = np.stack([mask_box(truth) for truth in truths])
        if kind == "jittered-box":
            boxes = np.stack([jittered_box(box, rng) for box in boxes])
        return predictor.predict(boxes, None, None)[:2]
    count = int(kind.rpartition("-")[2])
    if kind.startswith("points"):
        # One point is the central one, as users click; of several, the others are anywhere on the object.
        points = np.stack([random_points(truth, count, rng, centre_share=1.0) for truth in truths])
        return predictor.predict(None, points, np.ones(points.shape[:2], np.int64))[:2]
    return _clicked_answers(predictor, truths, count)


def _clicked_answers(
    predictor: PromptedModel, truths: np.ndarray, count: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Click on the object's centre, then on the centre of the largest error, with the last mask as a prompt."""
    points = np.stack([central_point(truth)[None] for truth in truths])
    labels = np.ones((len(truths), 1), np.int64)
    masks, scores, logits = predictor.predict(None, points, labels)
    for _ in range(count - 1):
        clicks = [error_click(mask, truth) for mask, truth in zip(masks["sum"], truths, strict=True)]
        points = np.concatenate([points, np.stack([point for point, _ in clicks])[:, None]], axis=1)
        labels = np.concatenate([labels, np.array([[label] for _, label in clicks])], axis=1)
        masks, scores, logits = predictor.predict(None, points, labels, logits)
    return masks, scores


def _add_found(
    report: EvaluationReport, predictor: PromptedModel, image: Any, truths: Any, place: tuple[str, int], points: int
) -> None:
    """Add the best of all found masks for the largest object."""
    index = int(truths.sum((1, 2)).argmax())
    model, processor = predictor.predictor.model, predictor.predictor.processor
    mask, score = best_found_mask(model, processor.image_processor, image, truths[index], points)
    iou, boundary = mask_iou(mask, truths[index]), boundary_iou(mask, truths[index])
    report.scores.append(ObjectScore(place[0], index, EVERYTHING, "sum", iou, boundary, score, place[1]))


def _add_scores(
    report: EvaluationReport,
    place: tuple[str, int],
    kind: str,
    branch: str,
    masks: Any,
    truths: np.ndarray,
    scores: Any,
) -> None:
    name, number = place
    for index, (mask, truth, score) in enumerate(zip(masks, truths, scores, strict=True)):
        iou, boundary = mask_iou(mask, truth), boundary_iou(mask, truth)
        report.scores.append(ObjectScore(name, index, kind, branch, iou, boundary, float(score), number))
