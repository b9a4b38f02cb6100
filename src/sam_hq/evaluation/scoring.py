"""Mask quality of a model on images with ground truth: mIoU and mean boundary IoU, prompted from the truth.

Source: "Segment Anything in High Quality" (arXiv 2306.01567), §4: masks scored at the photo's size, boundaries
2 % of its diagonal wide. The authors squash the image to a square; `protocol="squashed"` does too, `"normal"`
keeps its shape as users do.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam_hq_numpy.atomic_writing import new_file
from sam_hq_numpy.number_limits import check_whole

from ..image_processing_sam_hq import SamHQImageProcessor
from ..predictor import SamHQPredictor
from ..processing_sam_hq import SamHQProcessor
from .baselines import BASELINES, load_opencv
from .found_masks import EVERYTHING, best_found_mask
from .ground_truth_prompts import central_point, error_click, jittered_box, mask_box, random_points
from .mask_metrics import boundary_iou, mask_iou

PROMPTS = ("box", "jittered-box", "points-1", "points-3", "points-5", "points-10", "clicks-3", "clicks-5", "clicks-10")
# Mask generation, scored by the best of its masks for each photo's largest object, comes beside them.
KINDS = (*PROMPTS, EVERYTHING)
PROTOCOLS = ("normal", "squashed")
BRANCHES = ("sam", "hq", "sum")


@dataclass(frozen=True)
class ObjectScore:
    """One mask's agreement with the truth.

    Attributes:
        image: Name of the image.
        index: Number of the object in it.
        prompt: Kind of prompt.
        branch: `sam`, `hq`, `sum`, or the name of a baseline.
        iou: Intersection over union at the photo's size.
        boundary_iou: The same of the boundary regions.
        score: The model's own prediction of the IoU; NaN for baselines.
    """

    image: str
    index: int
    prompt: str
    branch: str
    iou: float
    boundary_iou: float
    score: float = float("nan")


@dataclass
class EvaluationReport:
    """All scores of an evaluation, and how it was made.

    Attributes:
        settings: Model, data, protocol and so on.
        scores: One entry per object, prompt and branch.
        left_out: Reasons and counts of data that could not be used.
    """

    settings: dict[str, Any]
    scores: list[ObjectScore] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)

    def means(self) -> dict[tuple[str, str], tuple[float, float, int]]:
        """For each (prompt, branch): mIoU, mean boundary IoU and the number of objects."""
        groups: dict[tuple[str, str], list[ObjectScore]] = {}
        for score in self.scores:
            groups.setdefault((score.prompt, score.branch), []).append(score)
        return {
            key: (_mean(s.iou for s in group), _mean(s.boundary_iou for s in group), len(group))
            for key, group in groups.items()
        }

    def table(self) -> str:
        """The means as a table in Markdown."""
        lines = ["| prompt | branch | mIoU | mBIoU | objects |", "|---|---|---|---|---|"]
        lines += [
            f"| {prompt} | {branch} | {iou:.3f} | {biou:.3f} | {count} |"
            for (prompt, branch), (iou, biou, count) in self.means().items()
        ]
        return "\n".join(lines)

    def save(self, path: str | Path) -> None:
        """Write settings, means and every object's scores as JSON."""
        means = [
            {"prompt": prompt, "branch": branch, "miou": iou, "mbiou": biou, "objects": count}
            for (prompt, branch), (iou, biou, count) in self.means().items()
        ]
        content = {
            "settings": self.settings,
            "means": means,
            "left_out": self.left_out,
            "objects": [{k: None if v != v else v for k, v in asdict(score).items()} for score in self.scores],
        }
        with new_file(path) as aside:
            aside.write_text(json.dumps(content, indent=2))


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


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
        if protocol not in PROTOCOLS:
            raise ValueError(f"protocol must be one of {PROTOCOLS}, got {protocol!r}")
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
    prompts, baselines = tuple(prompts), tuple(baselines)
    check_choices(prompts, baselines, seed)
    report = EvaluationReport({**(settings or {}), "seed": seed})
    for number in range(len(dataset)):
        image, truths = dataset[number]
        if len(truths):
            predictor.embed(image)
            for kind in prompts:
                if kind == EVERYTHING:
                    _add_found(report, predictor, image, truths, dataset.name(number), points_per_crop)
                    continue
                rng = np.random.default_rng((seed, number))
                masks, scores = answers(predictor, truths, kind, rng)
                for branch in BRANCHES:
                    _add_scores(report, dataset.name(number), kind, branch, masks[branch], truths, scores)
            for baseline in baselines:
                guesses = [BASELINES[baseline](image, mask_box(truth)) for truth in truths]
                _add_scores(
                    report, dataset.name(number), "box", baseline, guesses, truths, [float("nan")] * len(truths)
                )
        if progress is not None:
            progress(number + 1, len(dataset))
    report.left_out = dict(dataset.report.counts)
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
    report: EvaluationReport, predictor: PromptedModel, image: np.ndarray, truths: np.ndarray, name: str, points: int
) -> None:
    """Add the best of all found masks for the largest object."""
    index = int(truths.sum((1, 2)).argmax())
    model, processor = predictor.predictor.model, predictor.predictor.processor
    mask, score = best_found_mask(model, processor.image_processor, image, truths[index], points)
    iou, boundary = mask_iou(mask, truths[index]), boundary_iou(mask, truths[index])
    report.scores.append(ObjectScore(name, index, EVERYTHING, "sum", iou, boundary, score))


def _add_scores(
    report: EvaluationReport, name: str, kind: str, branch: str, masks: Any, truths: np.ndarray, scores: Any
) -> None:
    for index, (mask, truth, score) in enumerate(zip(masks, truths, scores, strict=True)):
        report.scores.append(
            ObjectScore(name, index, kind, branch, mask_iou(mask, truth), boundary_iou(mask, truth), float(score))
        )
