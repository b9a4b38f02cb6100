"""Masks that automatic generation has found: filtered, freed of duplicates, and written as records.

Source: `automatic_mask_generator.py` of the package `segment-anything-hq` for the order of the filters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .box_suppression import best_boxes, small_crops_first
from .crop_grids import touches_crop_edge
from .mask_generation_options import MaskGenerationOptions
from .mask_regions import fill_small_holes, remove_small_specks
from .mask_rle import RunLengthMask, mask_boxes


@dataclass(frozen=True, eq=False)
class MaskCandidates:
    """N masks with what is known of each.

    Attributes:
        masks: N run-length masks, of the crop or of the image.
        boxes: (N, 4) int64, x0 y0 x1 y1 in the frame of the masks, corners inside.
        scores: Predicted IoU (N,) float32.
        stability: (N,) float32.
        points: N lists of the prompts' [x, y], in the frame of the masks.
        crop_boxes: (N, 4) int64, x0 y0 x1 y1 in pixels of the photo.
        is_cut: (N,) bool, whether the mask ends at an edge of its crop where the image continues.
    """

    masks: list[RunLengthMask]
    boxes: np.ndarray
    scores: np.ndarray
    stability: np.ndarray
    points: list[list[list[float]]]
    crop_boxes: np.ndarray
    is_cut: np.ndarray

    def __len__(self) -> int:
        """Number of masks."""
        return len(self.masks)

    @classmethod
    def joined(cls, groups: Sequence["MaskCandidates"]) -> "MaskCandidates":
        """All masks of several groups, in order."""

        def gathered(name: str, dtype: type, *shape: int) -> np.ndarray:
            return np.concatenate([np.zeros((0, *shape), dtype), *(getattr(group, name) for group in groups)])

        return cls(
            masks=[mask for group in groups for mask in group.masks],
            boxes=gathered("boxes", np.int64, 4),
            scores=gathered("scores", np.float32),
            stability=gathered("stability", np.float32),
            points=[points for group in groups for points in group.points],
            crop_boxes=gathered("crop_boxes", np.int64, 4),
            is_cut=gathered("is_cut", bool),
        )

    def selected(self, indices: np.ndarray) -> "MaskCandidates":
        """The masks at `indices`, in that order."""
        return MaskCandidates(
            masks=[self.masks[index] for index in indices],
            boxes=self.boxes[indices],
            scores=self.scores[indices],
            stability=self.stability[indices],
            points=[self.points[index] for index in indices],
            crop_boxes=self.crop_boxes[indices],
            is_cut=self.is_cut[indices],
        )

    def in_photo(self, image_size: tuple[int, int]) -> "MaskCandidates":
        """Masks, boxes and points moved from the frame of their crops to that of the photo.

        Args:
            image_size: Height and width of the photo.
        """
        corners = self.crop_boxes[:, :2]
        listed = corners.tolist()
        return replace(
            self,
            masks=[mask.pasted(x0, y0, image_size) for mask, (x0, y0) in zip(self.masks, listed, strict=True)],
            boxes=self.boxes + np.tile(corners, 2),
            points=[
                [[x + x0, y + y0] for x, y in points] for points, (x0, y0) in zip(self.points, listed, strict=True)
            ],
        )

    def without_duplicates(self, iou_threshold: float) -> "MaskCandidates":
        """Of masks whose boxes overlap by more than `iou_threshold`, the best-scored; best first."""
        return self.selected(best_boxes(self.boxes, self.scores, iou_threshold))

    def without_duplicates_across_crops(self, iou_threshold: float) -> "MaskCandidates":
        """Of masks whose boxes overlap by more than `iou_threshold`, that of the smallest crop; small crops first."""
        return self.selected(best_boxes(self.boxes, small_crops_first(self.crop_boxes), iou_threshold))

    def without_small_regions(self, options: MaskGenerationOptions) -> "MaskCandidates":
        """Fill small holes, remove small specks, and drop what thereby became a duplicate of a mask left unchanged.

        Args:
            options: `min_mask_region_area` and the thresholds of suppression are looked at.
        """
        min_area = options.min_mask_region_area
        if not min_area:
            return self
        cleaned = [remove_small_specks(fill_small_holes(mask, min_area), min_area) for mask in self.masks]
        unchanged = np.array([mask is before for mask, before in zip(cleaned, self.masks, strict=True)], dtype=bool)
        boxes = mask_boxes(cleaned)
        iou_threshold = max(options.nms_thresh_within_crop, options.crops_nms_thresh)
        kept = best_boxes(boxes, unchanged.astype(np.float32), iou_threshold)
        # An empty mask of a crop has its box at the corner of the crop, and keeps it.
        recorded = np.where(unchanged[:, None], self.boxes, boxes)
        return replace(self, masks=cleaned, boxes=recorded).selected(kept)

    def records(self, output_mode: str) -> Iterator[dict]:
        """The authors' records, one at a time, each segmentation made when its turn comes.

        Args:
            output_mode: "binary_mask", "uncompressed_rle" or "coco_rle".

        Yields:
            segmentation, area (pixels), bbox (x, y, width, height; from first to last pixel, so one less than the
            number of columns and rows), predicted_iou, point_coords, stability_score, crop_box (x, y, width, height).
        """
        for index, mask in enumerate(self.masks):
            yield {
                "segmentation": _segmentation(mask, output_mode),
                "area": mask.area,
                "bbox": _as_xywh(self.boxes[index]),
                "predicted_iou": self.scores[index].item(),
                "point_coords": self.points[index],
                "stability_score": self.stability[index].item(),
                "crop_box": _as_xywh(self.crop_boxes[index]),
            }

    def result(self, options: MaskGenerationOptions) -> dict[str, Any] | list[dict]:
        """The form that the options ask for: the stock dictionary, or the authors' records.

        Args:
            options: `output_mode`, `output_rle_mask` and `output_bboxes_mask` are looked at.
        """
        if options.output_mode is not None:
            return list(self.records(options.output_mode))
        result: dict[str, Any] = {"masks": [mask.to_mask() for mask in self.masks], "scores": self.scores}
        if options.output_rle_mask:
            result["rle_mask"] = [mask.to_uncompressed() for mask in self.masks]
        if options.output_bboxes_mask:
            result["bounding_boxes"] = self.boxes
        return result


def candidates_of_crop(
    masks: Sequence[RunLengthMask],
    scores: np.ndarray,
    stability: np.ndarray,
    points: Sequence[Sequence[float]],
    crop_box: Sequence[int],
    image_size: Sequence[int],
    options: MaskGenerationOptions,
    keep_cut: bool = False,
) -> MaskCandidates:
    """Clean stable masks of a crop, and drop those that end at its edge.

    Args:
        masks: K masks at the size of the crop.
        scores: Their predicted IoU (K,) float32.
        stability: (K,) float32.
        points: K pairs x, y: their prompts, in pixels of the crop.
        crop_box: x0 y0 x1 y1 of the crop in pixels of the photo.
        image_size: Height and width of the photo.
        options: `max_hole_area` and `max_sprinkle_area` are looked at.
        keep_cut: Whether masks that end at an edge of the crop are kept, marked as cut, rather than dropped.
    """
    cleaned = [_cleaned(mask, options) for mask in masks]
    boxes = mask_boxes(cleaned)
    candidates = MaskCandidates(
        cleaned,
        boxes,
        scores,
        stability,
        points=[[list(point)] for point in points],
        crop_boxes=np.tile(np.array(crop_box, dtype=np.int64), (len(cleaned), 1)),
        is_cut=touches_crop_edge(boxes, crop_box, image_size),
    )
    return candidates if keep_cut else candidates.selected(np.flatnonzero(~candidates.is_cut))


def candidates_of_image(of_crops: Sequence[MaskCandidates], options: MaskGenerationOptions) -> MaskCandidates:
    """Put together the masks of one image's crops.

    Args:
        of_crops: Those of each crop, in the frame of the photo.
        options: `min_mask_region_area` and the thresholds of suppression are looked at.
    """
    candidates = MaskCandidates.joined(of_crops)
    if len(of_crops) > 1:
        candidates = candidates.without_duplicates_across_crops(options.crops_nms_thresh)
    return candidates.without_small_regions(options)


def _cleaned(mask: RunLengthMask, options: MaskGenerationOptions) -> RunLengthMask:
    # The options are the largest areas that are filled or removed, the functions take the smallest that stay.
    if options.max_hole_area:
        mask = fill_small_holes(mask, np.nextafter(options.max_hole_area, np.inf))
    if options.max_sprinkle_area:
        mask = remove_small_specks(mask, np.nextafter(options.max_sprinkle_area, np.inf))
    return mask


def _segmentation(mask: RunLengthMask, output_mode: str) -> np.ndarray | dict:
    if output_mode == "binary_mask":
        return mask.to_mask()
    return mask.to_coco() if output_mode == "coco_rle" else mask.to_uncompressed()


def _as_xywh(box: np.ndarray) -> list[int]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]
