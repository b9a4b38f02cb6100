"""Masks that automatic generation has found: filtered, freed of duplicates, and written as records.

Source: `automatic_mask_generator.py` of the package `segment-anything-hq` for the order of the filters.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from sam_hq_numpy.mask_generation_options import MaskGenerationOptions
from sam_hq_numpy.mask_regions import fill_small_holes, remove_small_specks
from sam_hq_numpy.mask_rle import RunLengthMask

from ..images.mask_ops import non_maximum_suppression, run_length_boxes, small_crops_first, touches_crop_edge
from .stability import StableMasks


@dataclass(frozen=True, eq=False)
class MaskCandidates:
    """N masks with what is known of each; everything is on the CPU.

    Args:
        masks: N run-length masks, of the crop or of the image.
        boxes: `(N, 4)` int64, x0 y0 x1 y1 in the frame of the masks, corners inside.
        scores: `(N,)` float32, predicted IoU.
        stability: `(N,)` float32.
        points: N lists of the prompts' `[x, y]`, in the frame of the masks.
        crop_boxes: `(N, 4)` int64, x0 y0 x1 y1 in pixels of the photo.
        is_cut: `(N,)` boolean, whether the mask ends at an edge of its crop where the image continues.
    """

    masks: list[RunLengthMask]
    boxes: torch.Tensor
    scores: torch.Tensor
    stability: torch.Tensor
    points: list[list[list[float]]]
    crop_boxes: torch.Tensor
    is_cut: torch.Tensor

    def __len__(self) -> int:
        """Number of masks."""
        return len(self.masks)

    @classmethod
    def joined(cls, groups: Sequence["MaskCandidates"]) -> "MaskCandidates":
        """All masks of several groups, in order."""
        return cls(
            masks=[mask for group in groups for mask in group.masks],
            boxes=torch.cat([torch.zeros(0, 4, dtype=torch.int64), *(group.boxes for group in groups)]),
            scores=torch.cat([torch.zeros(0, dtype=torch.float32), *(group.scores for group in groups)]),
            stability=torch.cat([torch.zeros(0, dtype=torch.float32), *(group.stability for group in groups)]),
            points=[points for group in groups for points in group.points],
            crop_boxes=torch.cat([torch.zeros(0, 4, dtype=torch.int64), *(group.crop_boxes for group in groups)]),
            is_cut=torch.cat([torch.zeros(0, dtype=torch.bool), *(group.is_cut for group in groups)]),
        )

    def selected(self, indices: torch.Tensor) -> "MaskCandidates":
        """The masks at `indices`, in that order."""
        listed = indices.tolist()
        return MaskCandidates(
            masks=[self.masks[index] for index in listed],
            boxes=self.boxes[indices],
            scores=self.scores[indices],
            stability=self.stability[indices],
            points=[self.points[index] for index in listed],
            crop_boxes=self.crop_boxes[indices],
            is_cut=self.is_cut[indices],
        )

    def in_photo(self, image_size: tuple[int, int]) -> "MaskCandidates":
        """Masks, boxes and points moved from the frame of their crops to that of the photo.

        Args:
            image_size: Height and width of the photo.
        """
        corners = self.crop_boxes[:, :2]
        return replace(
            self,
            masks=[
                mask.pasted(x0, y0, image_size) for mask, (x0, y0) in zip(self.masks, corners.tolist(), strict=True)
            ],
            boxes=self.boxes + corners.repeat(1, 2),
            points=[
                [[x + x0, y + y0] for x, y in points]
                for points, (x0, y0) in zip(self.points, corners.tolist(), strict=True)
            ],
        )

    def without_duplicates(self, iou_threshold: float) -> "MaskCandidates":
        """Of masks whose boxes overlap by more than `iou_threshold`, the best-scored; best first."""
        return self.selected(non_maximum_suppression(self.boxes, self.scores, iou_threshold))

    def without_duplicates_across_crops(self, iou_threshold: float) -> "MaskCandidates":
        """Of masks whose boxes overlap by more than `iou_threshold`, that of the smallest crop; small crops first."""
        preferred = small_crops_first(self.crop_boxes)
        return self.selected(non_maximum_suppression(self.boxes, preferred, iou_threshold))

    def without_small_regions(self, min_area: float, iou_threshold: float) -> "MaskCandidates":
        """Fill small holes, remove small specks, and drop what thereby became a duplicate of a mask left unchanged.

        Args:
            min_area: Regions with fewer pixels are removed.
            iou_threshold: Box IoU above which the changed one of two masks is removed.
        """
        cleaned = [remove_small_specks(fill_small_holes(mask, min_area), min_area) for mask in self.masks]
        unchanged = torch.tensor(
            [mask is before for mask, before in zip(cleaned, self.masks, strict=True)], dtype=torch.bool
        )
        boxes = run_length_boxes(cleaned)
        kept = non_maximum_suppression(boxes, unchanged.float(), iou_threshold)
        # An empty mask of a crop has its box at the corner of the crop, and keeps it.
        recorded = torch.where(unchanged[:, None], self.boxes, boxes) if len(boxes) else boxes
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
                "segmentation": segmentation(mask, output_mode),
                "area": mask.area,
                "bbox": _as_xywh(self.boxes[index]),
                "predicted_iou": self.scores[index].item(),
                "point_coords": self.points[index],
                "stability_score": self.stability[index].item(),
                "crop_box": _as_xywh(self.crop_boxes[index]),
            }


def candidates_of_crop(
    stable: StableMasks,
    scores: torch.Tensor,
    points: Sequence[Sequence[float]],
    crop_box: Sequence[int],
    image_size: tuple[int, int],
    options: MaskGenerationOptions,
    keep_cut: bool = False,
) -> MaskCandidates:
    """Clean stable masks of a crop, and drop those that end at its edge.

    Args:
        stable: K masks at the size of the crop.
        scores: `(K,)` their predicted IoU, on any device.
        points: K pairs x, y: their prompts, in pixels of the crop.
        crop_box: x0 y0 x1 y1 of the crop in pixels of the photo.
        image_size: Height and width of the photo.
        options: `max_hole_area` and `max_sprinkle_area` are looked at.
        keep_cut: Whether masks that end at an edge of the crop are kept, marked as cut, rather than dropped.
    """
    masks = [_cleaned(mask, options) for mask in stable.masks]
    boxes = run_length_boxes(masks)
    candidates = MaskCandidates(
        masks,
        boxes,
        scores.cpu().float(),
        stable.stability,
        points=[[list(point)] for point in points],
        crop_boxes=torch.tensor([list(map(int, crop_box))], dtype=torch.int64).repeat(len(masks), 1),
        is_cut=touches_crop_edge(boxes, crop_box, image_size),
    )
    return candidates if keep_cut else candidates.selected((~candidates.is_cut).nonzero()[:, 0])


def segmentation(mask: RunLengthMask, output_mode: str) -> np.ndarray | dict:
    """One mask in the form a caller asked for.

    Args:
        mask: The mask.
        output_mode: "binary_mask" for `(H, W)` boolean, "uncompressed_rle" or "coco_rle" for a dictionary.
    """
    if output_mode == "binary_mask":
        return mask.to_mask()
    return mask.to_coco() if output_mode == "coco_rle" else mask.to_uncompressed()


def _cleaned(mask: RunLengthMask, options: MaskGenerationOptions) -> RunLengthMask:
    # The options are the largest areas that are filled or removed, the functions take the smallest that stay.
    if options.max_hole_area:
        mask = fill_small_holes(mask, np.nextafter(options.max_hole_area, np.inf))
    if options.max_sprinkle_area:
        mask = remove_small_specks(mask, np.nextafter(options.max_sprinkle_area, np.inf))
    return mask


def _as_xywh(box: torch.Tensor) -> list[int]:
    x0, y0, x1, y1 = box.tolist()
    return [x0, y0, x1 - x0, y1 - y0]
