"""Automatic mask generation with the exported graphs: the same search and filters as `SamHQMaskGenerator`.

Source: `sam_hq.generation`, whose torch operations are here in numpy; tests hold the two against each other. Differs:
no tiles.
"""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from PIL import Image

from sam_hq_numpy.crop_grids import Box, layer_crop_boxes
from sam_hq_numpy.mask_candidates import MaskCandidates, candidates_of_crop, candidates_of_image
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions
from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.value_ranges import InputRange

from .embeddings import OnnxEmbeddings
from .masks import PhotoFrame
from .metadata import GraphMetadata
from .prompts import decoder_prompts


class Runner(Protocol):
    """What mask generation asks of `OnnxSamHQ`."""

    metadata: GraphMetadata

    def embed(self, images: object, max_pixels: int | None, input_range: InputRange) -> OnnxEmbeddings:
        """Embed one photo."""

    def decode(
        self,
        embeddings: OnnxEmbeddings,
        prompts: Mapping[str, np.ndarray],
        multimask_output: bool = True,
        hq_token_only: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Masks and scores of prompts."""

    def frame(self, original_size: tuple[int, int], reshaped_size: tuple[int, int]) -> PhotoFrame:
        """The way of low-resolution masks to a photo of a size."""


def check_supported(options: MaskGenerationOptions) -> None:
    """Refuse options of mask generation that the runner would ignore.

    Args:
        options: All options.

    Raises:
        ValueError: If `tile_size` is given.
    """
    if options.tile_size is not None:
        raise ValueError(
            f"tile_size is not supported without torch, got {options.tile_size}; leave it out, or use "
            "SamHQMaskGenerator"
        )


def generated_masks(runner: Runner, photo: np.ndarray, options: MaskGenerationOptions) -> MaskCandidates:
    """Find the masks of everything in a photo.

    Args:
        runner: The exported model.
        photo: (H, W, 3) uint8.
        options: All options; those that `check_supported` refuses are not looked at.
    """
    size = (photo.shape[0], photo.shape[1])
    grids = options.layer_grids()
    boxes, layers = layer_crop_boxes(size, options.crops_n_layers, options.crop_overlap_ratio)
    found = [_search(runner, photo, box, grids[layer], options) for box, layer in zip(boxes, layers, strict=True)]
    return candidates_of_image(found, options)


def _search(
    runner: Runner, photo: np.ndarray, box: Box, grid: np.ndarray, options: MaskGenerationOptions
) -> MaskCandidates:
    """All masks of one crop that pass the filters, duplicates within the crop dropped, in the photo frame."""
    x0, y0, x1, y1 = box
    size = (photo.shape[0], photo.shape[1])
    # As an image: the channels of an array of 3 rows would have to be guessed. Its values are of 0 to 255 wherever they
    # lie: a dark crop is no mistake.
    embeddings = runner.embed(Image.fromarray(photo[y0:y1, x0:x1]), options.max_pixels, (0, 255))
    frame = runner.frame(embeddings.original_sizes[0], embeddings.reshaped_sizes[0])
    points = grid * np.array([x1 - x0, y1 - y0])
    per_batch = options.points_per_batch or len(points)
    found = []
    for start in range(0, len(points), per_batch):
        batch = points[start : start + per_batch]
        masks, scores, stability, prompts = _stable_masks(runner, embeddings, frame, batch, options)
        found.append(candidates_of_crop(masks, scores, stability, prompts, box, size, options))
    return MaskCandidates.joined(found).without_duplicates(options.nms_thresh_within_crop).in_photo(size)


def _stable_masks(
    runner: Runner,
    embeddings: OnnxEmbeddings,
    frame: PhotoFrame,
    points: np.ndarray,
    options: MaskGenerationOptions,
) -> tuple[list[RunLengthMask], np.ndarray, np.ndarray, list[list[float]]]:
    """Masks, scores, stability and points of what passes both thresholds, of points (P, 2) in pixels of the crop."""
    prompts, _ = decoder_prompts(
        embeddings.original_sizes, embeddings.reshaped_sizes, runner.metadata.mask_size, points[None, :, None]
    )
    pred_masks, iou_scores = runner.decode(embeddings, prompts, options.multimask_output, options.hq_token_only)
    count = 1 if options.hq_token_only else options.candidates_per_point
    logits, scores = pred_masks[0, :, :count], iou_scores[0, :, :count]
    wanted = scores > options.pred_iou_thresh if options.pred_iou_thresh > 0 else np.ones(scores.shape, dtype=bool)
    masks, chosen, stability = [], [], []
    for index, candidate in np.argwhere(wanted):
        at_photo_size = frame.logits(logits[index, candidate])
        stable = _stability(at_photo_size, options)
        if options.stability_score_thresh > 0 and not stable >= options.stability_score_thresh:
            continue  # 0/0 of an empty mask fails too
        masks.append(RunLengthMask.from_mask(at_photo_size > np.float32(options.mask_threshold)))
        chosen.append((index, candidate))
        stability.append(stable)
    places = np.array(chosen, dtype=np.int64).reshape(-1, 2)
    passed = scores[places[:, 0], places[:, 1]]
    return masks, passed, np.array(stability, dtype=np.float32), points[places[:, 0]].tolist()


def _stability(logits: np.ndarray, options: MaskGenerationOptions) -> float:
    """The stability of one mask (H, W); NaN if nothing is near the threshold."""
    threshold, offset = options.mask_threshold, options.stability_score_offset
    below = np.count_nonzero(logits > np.float32(threshold - offset))
    above = np.count_nonzero(logits > np.float32(threshold + offset))
    return float(np.float32(above) / np.float32(below)) if below else float("nan")
