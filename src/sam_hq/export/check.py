"""Exported graphs against the torch model, on a drawn photo and prompts of every kind."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from sam_hq_onnx import OnnxSamHQ

from ..image_processing_sam_hq import SamHQImageProcessor
from ..model.model_access import evaluating, execution_device
from ..modeling_sam_hq import SamHQModel
from ..photo_embeddings import embed_images
from ..processing_sam_hq import SamHQProcessor


@dataclass(frozen=True)
class Limit:
    """How far graphs may be from the torch model in fp32.

    Attributes:
        difference: The most of `Agreement.largest_difference`.
        mean_difference: The most of `Agreement.mean_difference`.
        score_difference: The most of `Agreement.largest_score_difference`.
        mask_iou: The least of `Agreement.mask_iou`.
    """

    difference: float
    mean_difference: float
    score_difference: float
    mask_iou: float


# What eight bits cost is measured on photos (docs/benchmarks.md); here only nonsense is refused. Single pixels may
# change sides: of an ambiguous prompt, a part may come out that is not in torch's mask.
LIMITS = {
    "fp32": Limit(1e-4, 0.5, 1e-4, 0.99),
    "fp16": Limit(5e-2, 0.5, 5e-2, 0.9),
    "int8": Limit(2, 0.5, 0.5, 0.5),
}


@dataclass(frozen=True)
class Agreement:
    """How near the graphs' answers are to torch's.

    Attributes:
        largest_difference: Of any mask logit, as a fraction of the largest logit.
        largest_score_difference: Of any predicted IoU.
        mask_iou: Mean IoU of the masks that have any pixel in either.
        mean_difference: Of mask logits, as a fraction of their mean size; the mean of all images.
    """

    largest_difference: float
    largest_score_difference: float
    mask_iou: float
    mean_difference: float


class Comparison:
    """Answers of graphs beside those of torch, one call after the other."""

    def __init__(self) -> None:
        self._largest: list[float] = []
        self._means: list[float] = []
        self._scores: list[float] = []
        self._ious: list[float] = []

    def add_logits(self, found: np.ndarray, wanted: np.ndarray) -> None:
        """Compare mask logits of any shape."""
        difference, size = np.abs(found - wanted), np.abs(wanted)
        self._largest.append(difference.max() / max(1.0, size.max()))
        self._means.append(difference.mean() / max(1e-6, size.mean()))

    def add_masks(self, found: np.ndarray, wanted: np.ndarray) -> None:
        """Compare masks (..., H, W) bool."""
        for one, other in zip(
            found.reshape(-1, *found.shape[-2:]), wanted.reshape(-1, *wanted.shape[-2:]), strict=True
        ):
            if union := np.count_nonzero(one | other):
                self._ious.append(np.count_nonzero(one & other) / union)

    def add_scores(self, found: np.ndarray, wanted: np.ndarray) -> None:
        """Compare predicted IoUs of any shape."""
        self._scores.append(np.abs(found - wanted).max())

    def agreement(self) -> Agreement:
        """The worst of all calls, or the mean where a name says so."""
        # A comparison with NaN is false, so that the largest must be asked for in a way that keeps it.
        return Agreement(
            float(np.nan_to_num(np.max(self._largest), nan=np.inf)),
            float(np.nan_to_num(np.max(self._scores), nan=np.inf)),
            float(np.mean(self._ious)) if self._ious else 1.0,
            float(np.nan_to_num(np.mean(self._means), nan=np.inf)),
        )


def checked_agreement(model: SamHQModel, image_processor: SamHQImageProcessor, runner: OnnxSamHQ) -> Agreement:
    """Compare graphs with the model that they were made from, and refuse them where they differ too much.

    Args:
        model: The model; its mode and its statistics stay as they are.
        image_processor: Its image processor.
        runner: The graphs.

    Raises:
        ValueError: If logits, scores or masks differ by more than `LIMITS` allows, or are not numbers.
    """
    with evaluating(model):
        agreement = agreement_of(model, image_processor, runner)
    within_limits(agreement, runner.metadata.dtype)
    return agreement


def within_limits(agreement: Agreement, dtype: str) -> None:
    """Refuse graphs that differ too much from torch.

    Args:
        agreement: How near they are.
        dtype: Of their weights.

    Raises:
        ValueError: If logits, scores or masks differ by more than `LIMITS` allows, or are not numbers.
    """
    limit = LIMITS[dtype]
    if agreement.largest_difference > limit.difference:
        fault = f"masks differ from torch's by {agreement.largest_difference:.2g} of the largest logit, more than the "
        fault += f"{limit.difference:g}"
    elif agreement.mean_difference > limit.mean_difference:
        fault = f"masks differ from torch's by {agreement.mean_difference:.2g} of the mean logit, more than the "
        fault += f"{limit.mean_difference:g}"
    elif agreement.largest_score_difference > limit.score_difference:
        fault = f"scores differ from torch's by {agreement.largest_score_difference:.2g}, more than the "
        fault += f"{limit.score_difference:g}"
    elif agreement.mask_iou < limit.mask_iou:
        fault = f"masks have a mean IoU of {agreement.mask_iou:.2g} with torch's, less than the {limit.mask_iou:g}"
    else:
        return
    raise ValueError(f"the graphs' {fault} that {dtype} may; nothing was written")


def agreement_of(model: SamHQModel, image_processor: SamHQImageProcessor, runner: OnnxSamHQ) -> Agreement:
    """Compare graphs with the model that they were made from.

    Args:
        model: The model.
        image_processor: Its image processor.
        runner: The graphs.

    Raises:
        ValueError: If the graphs give another number of masks, or masks of another size.
    """
    processor = SamHQProcessor(image_processor)
    photos = [drawn_photo((180, 240)), drawn_photo((240, 150))]
    embeddings, device = runner.embed(photos), execution_device(model)
    encoded = _encoded(model, processor, photos)
    comparison = Comparison()
    for call in _calls(runner.metadata.mask_size):
        prepared = processor(original_sizes=embeddings.original_sizes, return_tensors="pt", **call.prompts)
        valid = prepared.pop("valid_objects", None)
        inputs = {name: tensor.to(device) for name, tensor in prepared.items()}
        with torch.no_grad():
            wanted = model(**encoded, **inputs, **call.options)
        found = runner.segment(embeddings, **call.prompts, **call.options)
        for index, of_image in enumerate(found):
            kept = torch.ones(wanted.pred_masks.shape[1], dtype=torch.bool) if valid is None else valid[index]
            masks = wanted.pred_masks[index].float().cpu()[kept].numpy()
            scores = wanted.iou_scores[index].float().cpu()[kept].numpy()
            if masks.shape != of_image.low_res_masks.shape:
                raise ValueError(f"the graphs gave masks {of_image.low_res_masks.shape}, torch gave {masks.shape}")
            comparison.add_logits(of_image.low_res_masks, masks)
            comparison.add_masks(of_image.low_res_masks > 0, masks > 0)
            comparison.add_scores(of_image.scores, scores)
    return comparison.agreement()


@dataclass(frozen=True)
class _Call:
    prompts: dict[str, Any]
    options: dict[str, Any]


def _calls(mask_size: int) -> Iterator[_Call]:
    """Calls for two photos: points, ragged points with boxes, masks, and nothing at all."""
    points = [[[[60, 60]], [[170, 120], [20, 20]]], [[[75, 120], [75, 20], [10, 200]]]]
    labels = [[[1], [1, 0]], [[1, 0, -1]]]
    boxes = [[[30, 30, 100, 100], [140, 90, 220, 160]], [[20, 60, 130, 190]]]
    blob = drawn_logits(mask_size)
    yield _Call({"input_points": points, "input_labels": labels}, {})
    yield _Call({"input_boxes": boxes}, {"multimask_output": False})
    both = {"input_points": [[[], [[170, 120]]], [[[75, 120]]]], "input_boxes": boxes}
    yield _Call({**both, "input_masks": [[blob, -blob], [blob]]}, {"hq_token_only": True})
    yield _Call({"input_masks": [[blob], [blob]]}, {"hq_token_only": True, "multimask_output": False})
    yield _Call({}, {})


def drawn_photo(size: tuple[int, int]) -> np.ndarray:
    """Shapes before a gradient with some grain: (H, W, 3) uint8, the same each time.

    Args:
        size: Height and width.
    """
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    background = np.stack([rows * 200 / height, columns * 200 / width, 120 + 0 * rows], axis=-1)
    photo = Image.fromarray(background.astype(np.uint8))
    draw = ImageDraw.Draw(photo)
    draw.ellipse((30, 30, 100, 100), fill=(220, 60, 40))
    draw.rectangle((140, 90, 220, 160), fill=(40, 160, 230))
    draw.polygon([(20, 190), (75, 60), (130, 190)], fill=(250, 240, 90))
    grain = np.random.default_rng(0).normal(0, 6, (height, width, 3))
    return np.clip(np.asarray(photo) + grain, 0, 255).astype(np.uint8)


def drawn_logits(side: int) -> np.ndarray:
    """Logits (side, side) float32 of a disc, as a mask prompt."""
    rows, columns = np.mgrid[:side, :side] / side
    return (8 - 40 * np.hypot(rows - 0.3, columns - 0.3)).astype(np.float32)


def _encoded(model: SamHQModel, processor: SamHQProcessor, photos: list[np.ndarray]) -> dict[str, Any]:
    embedded = embed_images(model, processor.image_processor, photos)
    return {name: torch.cat([getattr(each, name) for each in embedded]) for name in ("image_embeddings", "hq_features")}
