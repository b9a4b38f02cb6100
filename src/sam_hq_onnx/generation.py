"""Automatic mask generation with the exported graphs: the same search and filters as `SamHQMaskGenerator`.

Source: `sam_hq.generation`, whose torch operations are here in numpy; tests hold the two against each other. Differs:
no tiles.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from PIL import Image

from sam_hq_numpy.box_suppression import unsuppressed
from sam_hq_numpy.crop_grids import EDGE_TOLERANCE, Box, layer_crop_boxes
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions
from sam_hq_numpy.mask_regions import fill_small_holes, remove_small_specks
from sam_hq_numpy.mask_rle import RunLengthMask

from .embeddings import OnnxEmbeddings
from .masks import PhotoFrame
from .metadata import GraphMetadata
from .prompts import decoder_prompts


class Runner(Protocol):
    """What mask generation asks of `OnnxSamHQ`."""

    metadata: GraphMetadata

    def embed(self, images: object, max_pixels: int | None = None) -> OnnxEmbeddings:
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


@dataclass(frozen=True, eq=False)
class GeneratedMasks:
    """N masks with what is known of each.

    Attributes:
        masks: N run-length masks, of the crop or of the photo.
        boxes: (N, 4) int64, x0 y0 x1 y1 in the frame of the masks, corners inside.
        scores: Predicted IoU (N,) float32.
        stability: (N,) float32.
        points: The prompts (N, 2) x y, in the frame of the masks.
        crop_boxes: (N, 4) int64, x0 y0 x1 y1 in pixels of the photo.
    """

    masks: list[RunLengthMask]
    boxes: np.ndarray
    scores: np.ndarray
    stability: np.ndarray
    points: np.ndarray
    crop_boxes: np.ndarray

    def __len__(self) -> int:
        """Number of masks."""
        return len(self.masks)

    @classmethod
    def joined(cls, groups: Sequence["GeneratedMasks"]) -> "GeneratedMasks":
        """All masks of several groups, in order."""
        empty = cls.empty()
        arrays = ("boxes", "scores", "stability", "points", "crop_boxes")
        return cls(
            [mask for group in groups for mask in group.masks],
            *(np.concatenate([getattr(group, name) for group in (empty, *groups)]) for name in arrays),
        )

    @classmethod
    def empty(cls) -> "GeneratedMasks":
        """No masks."""
        boxes, scores = np.zeros((0, 4), dtype=np.int64), np.zeros(0, dtype=np.float32)
        return cls([], boxes, scores, scores, np.zeros((0, 2)), boxes)

    def selected(self, indices: np.ndarray) -> "GeneratedMasks":
        """The masks at `indices`, in that order."""
        return GeneratedMasks(
            [self.masks[index] for index in indices],
            self.boxes[indices],
            self.scores[indices],
            self.stability[indices],
            self.points[indices],
            self.crop_boxes[indices],
        )

    def in_photo(self, image_size: tuple[int, int]) -> "GeneratedMasks":
        """Moved from the frame of their crops to that of a photo of height and width `image_size`."""
        corners = self.crop_boxes[:, :2]
        return replace(
            self,
            masks=[
                mask.pasted(int(x0), int(y0), image_size) for mask, (x0, y0) in zip(self.masks, corners, strict=True)
            ],
            boxes=self.boxes + np.tile(corners, 2),
            points=self.points + corners,
        )

    def without_small_regions(self, min_area: float, iou_threshold: float) -> "GeneratedMasks":
        """Fill small holes, remove small specks, and drop what thereby became a duplicate of a mask left unchanged."""
        cleaned = [remove_small_specks(fill_small_holes(mask, min_area), min_area) for mask in self.masks]
        unchanged = np.array([mask is before for mask, before in zip(cleaned, self.masks, strict=True)], dtype=bool)
        boxes = _boxes(cleaned)
        kept = _best(boxes, unchanged.astype(np.float32), iou_threshold)
        # An empty mask of a crop has its box at the corner of the crop, and keeps it.
        recorded = np.where(unchanged[:, None], self.boxes, boxes)
        return replace(self, masks=cleaned, boxes=recorded).selected(kept)

    def records(self, output_mode: str) -> Iterator[dict]:
        """The authors' records, one at a time.

        Args:
            output_mode: "binary_mask", "uncompressed_rle" or "coco_rle".
        """
        for index, mask in enumerate(self.masks):
            yield {
                "segmentation": _segmentation(mask, output_mode),
                "area": mask.area,
                "bbox": _as_xywh(self.boxes[index]),
                "predicted_iou": float(self.scores[index]),
                "point_coords": [self.points[index].tolist()],
                "stability_score": float(self.stability[index]),
                "crop_box": _as_xywh(self.crop_boxes[index]),
            }

    def result(self, options: MaskGenerationOptions) -> dict | list[dict]:
        """The form that the options ask for."""
        if options.output_mode is not None:
            return list(self.records(options.output_mode))
        result: dict = {"masks": [mask.to_mask() for mask in self.masks], "scores": self.scores}
        if options.output_rle_mask:
            result["rle_mask"] = [mask.to_uncompressed() for mask in self.masks]
        if options.output_bboxes_mask:
            result["bounding_boxes"] = self.boxes
        return result


def generated_masks(runner: Runner, photo: np.ndarray, options: MaskGenerationOptions) -> GeneratedMasks:
    """Find the masks of everything in a photo.

    Args:
        runner: The exported model.
        photo: (H, W, 3) uint8.
        options: All options; those that `arguments.check_supported` refuses are not looked at.
    """
    size = (photo.shape[0], photo.shape[1])
    grids = options.layer_grids()
    boxes, layers = layer_crop_boxes(size, options.crops_n_layers, options.crop_overlap_ratio)
    found = [_search(runner, photo, box, grids[layer], options) for box, layer in zip(boxes, layers, strict=True)]
    masks = GeneratedMasks.joined(found)
    if len(found) > 1:
        sides = masks.crop_boxes[:, 2:] - masks.crop_boxes[:, :2]
        areas = sides.prod(axis=1).astype(np.float32)
        masks = masks.selected(_best(masks.boxes, 1 / areas, options.crops_nms_thresh))
    if options.min_mask_region_area > 0:
        iou_threshold = max(options.nms_thresh_within_crop, options.crops_nms_thresh)
        masks = masks.without_small_regions(options.min_mask_region_area, iou_threshold)
    return masks


def _search(
    runner: Runner, photo: np.ndarray, box: Box, grid: np.ndarray, options: MaskGenerationOptions
) -> GeneratedMasks:
    """All masks of one crop that pass the filters, duplicates within the crop dropped, in the photo frame."""
    x0, y0, x1, y1 = box
    # As an image: the channels of an array of 3 rows would have to be guessed.
    embeddings = runner.embed(Image.fromarray(photo[y0:y1, x0:x1]), max_pixels=options.max_pixels)
    frame = runner.frame(embeddings.original_sizes[0], embeddings.reshaped_sizes[0])
    points = grid * np.array([x1 - x0, y1 - y0])
    per_batch = options.points_per_batch or len(points)
    found = [
        _decoded(runner, embeddings, frame, points[start : start + per_batch], box, photo.shape[:2], options)
        for start in range(0, len(points), per_batch)
    ]
    masks = GeneratedMasks.joined(found)
    masks = masks.selected(_best(masks.boxes, masks.scores, options.nms_thresh_within_crop))
    return masks.in_photo((photo.shape[0], photo.shape[1]))


def _decoded(
    runner: Runner,
    embeddings: OnnxEmbeddings,
    frame: PhotoFrame,
    points: np.ndarray,
    box: Box,
    image_size: Sequence[int],
    options: MaskGenerationOptions,
) -> GeneratedMasks:
    """The masks of a batch of points (P, 2), in pixels of the crop, that pass the filters."""
    prompts, _ = decoder_prompts(
        embeddings.original_sizes, embeddings.reshaped_sizes, runner.metadata.mask_size, points[None, :, None]
    )
    pred_masks, iou_scores = runner.decode(embeddings, prompts, options.multimask_output, options.hq_token_only)
    count = 1 if options.hq_token_only else options.candidates_per_point
    logits, scores = pred_masks[0, :, :count], iou_scores[0, :, :count]
    wanted = scores > options.pred_iou_thresh if options.pred_iou_thresh > 0 else np.ones(scores.shape, dtype=bool)
    masks, chosen, stability = [], [], []
    for index, candidate in np.argwhere(wanted):
        mask, stable = _cut(frame.logits(logits[index, candidate]), options)
        if options.stability_score_thresh > 0 and not stable >= options.stability_score_thresh:
            continue  # 0/0 of an empty mask fails too
        if not _is_cut(mask.box(), box, image_size):
            masks.append(mask)
            chosen.append((index, candidate))
            stability.append(stable)
    places = np.array(chosen, dtype=np.int64).reshape(-1, 2)
    return GeneratedMasks(
        masks,
        _boxes(masks),
        scores[places[:, 0], places[:, 1]],
        np.array(stability, dtype=np.float32),
        points[places[:, 0]],
        np.tile(np.array(box, dtype=np.int64), (len(masks), 1)),
    )


def _cut(logits: np.ndarray, options: MaskGenerationOptions) -> tuple[RunLengthMask, float]:
    """One mask (H, W) cut at the threshold and cleaned, and its stability; NaN if nothing is near the threshold."""
    threshold, offset = options.mask_threshold, options.stability_score_offset
    below = np.count_nonzero(logits > np.float32(threshold - offset))
    above = np.count_nonzero(logits > np.float32(threshold + offset))
    mask = RunLengthMask.from_mask(logits > np.float32(threshold))
    # The options are the largest areas that are filled or removed, the functions take the smallest that stay.
    if options.max_hole_area:
        mask = fill_small_holes(mask, np.nextafter(options.max_hole_area, np.inf))
    if options.max_sprinkle_area:
        mask = remove_small_specks(mask, np.nextafter(options.max_sprinkle_area, np.inf))
    return mask, float(np.float32(above) / np.float32(below)) if below else float("nan")


def _is_cut(mask_box: Sequence[int], crop_box: Box, image_size: Sequence[int]) -> bool:
    """Whether a mask ends at an edge of its crop where the photo continues."""
    height, width = image_size
    crop, image = np.array(crop_box), np.array([0, 0, width, height])
    sides = np.array(mask_box) + crop[[0, 1, 0, 1]]
    near_crop, near_image = (np.abs(sides - edges) <= EDGE_TOLERANCE for edges in (crop, image))
    return bool((near_crop & ~near_image).any())


def _best(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Indices of the boxes that no better-scored one suppresses, best first."""
    order = np.argsort(-scores, kind="stable")
    return order[unsuppressed(boxes[order].astype(np.float32), iou_threshold)]


def _boxes(masks: Sequence[RunLengthMask]) -> np.ndarray:
    return np.array([mask.box() for mask in masks], dtype=np.int64).reshape(-1, 4)


def _segmentation(mask: RunLengthMask, output_mode: str) -> np.ndarray | dict:
    if output_mode == "binary_mask":
        return mask.to_mask()
    return mask.to_coco() if output_mode == "coco_rle" else mask.to_uncompressed()


def _as_xywh(box: np.ndarray) -> list[int]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]
