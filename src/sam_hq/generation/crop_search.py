"""The masks of one crop: scores first, then what passes is rendered, upscaled to the crop's size and filtered."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from sam_hq_numpy.crop_grids import Box
from sam_hq_numpy.mask_candidates import MaskCandidates, candidates_of_crop
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions

from ..images.mask_ops import passing_scores
from ..images.stock_pipeline import points_in_frame
from ..model.worker_threads import in_threads, worker_count
from ..modeling_sam_hq import SamHQModel
from ..photo_embeddings import PhotoEmbeddings
from .passing_masks import PassingMasks, passing_masks, valid_region
from .stability import StableMasks, stable_from_low_res, stable_from_strips
from .upscaling import UpscalingWeights


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of a photo to be searched.

    Args:
        pixels: `(h, w, 3)` uint8; None where its embeddings are at hand.
        box: x0 y0 x1 y1 in pixels of the photo.
        image_size: Height and width of the photo.
        grid: `(P, 2)` x y in [0, 1].
        is_first: Whether it is the first of its photo: the whole of it, unless that is tiled.
        is_last: Whether it is the last of its photo.
    """

    pixels: np.ndarray | None
    box: Box
    image_size: tuple[int, int]
    grid: np.ndarray
    is_first: bool
    is_last: bool

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.box[3] - self.box[1], self.box[2] - self.box[0]


@dataclass(frozen=True, eq=False)
class CropEmbedding:
    """What the decoder needs of one crop.

    Args:
        kept: Its embeddings, which can be kept where it is a whole photo.
        frame_side: Side of the padded frame.
    """

    kept: PhotoEmbeddings
    frame_side: int

    @property
    def reshaped_size(self) -> tuple[int, int]:
        """Height and width of the crop in the resized frame."""
        return self.kept.reshaped_size

    @property
    def region(self) -> tuple[int, int]:
        """Rows and columns of the low-res masks that the crop is interpolated from."""
        return valid_region(self.reshaped_size, self.frame_side, self.kept.hq_features.shape[-1])

    @property
    def region_in_frame(self) -> tuple[int, int]:
        """The same in pixels of the padded frame: interpolation only sees this part."""
        scale = self.frame_side // self.kept.hq_features.shape[-1]
        return self.region[0] * scale, self.region[1] * scale

    @property
    def on_cpu(self) -> bool:
        """Whether masks come to the crop's size strip by strip in worker threads, or in groups on an accelerator."""
        return self.kept.image_embeddings.device.type == "cpu"


@torch.no_grad()
def search_crop(
    model: SamHQModel,
    crop: Crop,
    embedding: CropEmbedding,
    options: MaskGenerationOptions,
    keep_cut: bool,
    advance: Callable[[int], Any],
) -> MaskCandidates:
    """Find all masks of one crop that pass the filters, without duplicates.

    Args:
        model: The model.
        crop: Where to look.
        embedding: What the model knows of it.
        options: All options.
        keep_cut: Whether masks that end at an edge of the crop are kept, marked as cut, rather than dropped.
        advance: Called after each group of points with their number; what it raises ends the work.

    Returns:
        The masks in the frame of the photo.
    """
    count = len(crop.grid)
    per_batch = options.points_per_batch or count
    if embedding.on_cpu:  # each worker has something to do
        per_batch = min(per_batch, math.ceil(count / worker_count()))
    batches = [crop.grid[start : start + per_batch] for start in range(0, count, per_batch)]
    weights = _upscaling_weights(crop, embedding) if embedding.on_cpu else None
    search = partial(_masks_of_points, model, crop, embedding, weights, options, keep_cut)
    found = []
    for batch, masks in zip(batches, (in_threads if embedding.on_cpu else map)(search, batches), strict=True):
        found.append(masks)
        advance(len(batch))
    joined = MaskCandidates.joined(found)
    return joined.without_duplicates(options.nms_thresh_within_crop).in_photo(crop.image_size)


def _masks_of_points(
    model: SamHQModel,
    crop: Crop,
    embedding: CropEmbedding,
    weights: UpscalingWeights | None,
    options: MaskGenerationOptions,
    keep_cut: bool,
    grid: np.ndarray,
) -> MaskCandidates:
    """The masks of some points x y (P, 2) in [0, 1] that pass the filters, in the frame of the crop."""
    height, width = crop.size
    in_crop = (grid * [width, height]).tolist()
    found = []
    for of_prompt, masks in _decoded(model, crop, embedding, options, grid):
        scores = masks.iou_scores.float()  # (K, M)
        passing = passing_scores(scores.flatten(), options)
        stable = _stable(masks, passing, crop, embedding, weights, options)
        chosen = passing.cpu()[stable.indices]
        points = [in_crop[index] for index in of_prompt.cpu()[chosen // scores.shape[1]].tolist()]
        of_chosen, stability = scores.flatten().cpu()[chosen].numpy(), stable.stability.numpy()
        found.append(
            candidates_of_crop(stable.masks, of_chosen, stability, points, crop.box, crop.image_size, options, keep_cut)
        )
    return MaskCandidates.joined(found)


def _decoded(
    model: SamHQModel, crop: Crop, embedding: CropEmbedding, options: MaskGenerationOptions, grid: np.ndarray
) -> Iterator[tuple[torch.Tensor, PassingMasks]]:
    """Which of the points pass the predicted IoU, and their masks, which are not made yet; group by group."""
    device = embedding.kept.image_embeddings.device
    points = points_in_frame(grid, crop.size, embedding.reshaped_size)
    return passing_masks(
        model,
        embedding.kept.image_embeddings,
        embedding.kept.hq_features,
        input_points=points[None, :, None].to(device),  # (P, 2) -> (1, P, 1, 2)
        input_labels=torch.ones(1, len(points), 1, dtype=torch.int64, device=device),
        min_score=options.pred_iou_thresh if options.pred_iou_thresh > 0 else None,
        multimask_output=options.multimask_output,
        hq_token_only=options.hq_token_only,
        candidates=options.candidates_per_point,
        region=embedding.region,
    )


def _stable(
    masks: PassingMasks,
    passing: torch.Tensor,
    crop: Crop,
    embedding: CropEmbedding,
    weights: UpscalingWeights | None,
    options: MaskGenerationOptions,
) -> StableMasks:
    """Those of a group's K * M masks that pass, rendered, upscaled to the crop's size, and stable there."""
    if weights is not None:
        return stable_from_strips((strip.flatten(0, 1)[passing] for strip in masks.strips()), weights, options)
    low_res = masks.logits().flatten(0, 1)[passing]
    return stable_from_low_res(low_res, embedding.reshaped_size, crop.size, embedding.region_in_frame, options)


def _upscaling_weights(crop: Crop, embedding: CropEmbedding) -> UpscalingWeights:
    return UpscalingWeights(embedding.region, embedding.region_in_frame, embedding.reshaped_size, crop.size)
