"""The image processor's part of mask generation, as transformers' stock pipeline asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from sam_hq_numpy.box_suppression import best_boxes, small_crops_first
from sam_hq_numpy.crop_grids import layer_crop_boxes, layer_point_grids, touches_crop_edge
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions
from sam_hq_numpy.mask_rle import RunLengthMask, mask_boxes
from sam_hq_numpy.value_ranges import InputRange

from .image_loading import photo_pixels
from .mask_ops import encode_masks, passing_scores, passing_stability, stability_scores

if TYPE_CHECKING:
    from PIL import Image


class MaskGenerationProcessing:
    """Crops and points before the model, filters and suppression after it, for any caller of the stock methods.

    Mixed into `SamHQImageProcessor`, whose `reshaped_sizes` and `options_of_call` it uses.
    """

    max_pixels: int | None
    input_range: InputRange

    def generate_crop_boxes(
        self,
        image: Image.Image | np.ndarray | torch.Tensor,
        target_size: int,
        crop_n_layers: int = 0,
        overlap_ratio: float = 512 / 1500,
        points_per_crop: int = 32,
        crop_n_points_downscale_factor: float = 1,
        device: torch.device | str | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, list[np.ndarray], torch.Tensor]:
        """Cut an image into crops and lay a grid of points over each.

        Args:
            image: One image.
            target_size: Longest side of the resized frame.
            crop_n_layers: Layers of crops besides the whole image.
            overlap_ratio: Overlap of the crops of layer 1, as a fraction of the shorter side.
            points_per_crop: Points along each side of the whole image.
            crop_n_points_downscale_factor: How much thinner each layer's grid is.
            device: Where the tensors are wanted.

        Returns:
            Crop boxes `(C, 4)` float32, x0 y0 x1 y1 in pixels of the photo; points `(1, P, C, 2)` float32, x y in
            the resized frame of their crop; the C crops as `(h, w, 3)` uint8; labels `(1, P, C)` int64, all 1.

        Differs: crops with a thinner grid repeat their points until they have as many as the others. The copies give
        the same masks, which suppression removes. transformers fails here.
        """
        pixels = photo_pixels(image, self.max_pixels, self.input_range)
        size = (pixels.shape[0], pixels.shape[1])
        grids = layer_point_grids(points_per_crop, crop_n_layers, crop_n_points_downscale_factor)
        boxes, layers = layer_crop_boxes(size, crop_n_layers, overlap_ratio)
        crops = [pixels[y0:y1, x0:x1] for x0, y0, x1, y1 in boxes]
        options = self.options_of_call({})  # type: ignore[attr-defined]
        if "longest_edge" in options["size"]:
            options["size"] = {"longest_edge": target_size}
        n_points = max(map(len, grids))
        points = [
            points_in_frame(np.resize(grids[layer], (n_points, 2)), crop.shape[:2], reshaped)
            for layer, crop, reshaped in zip(
                layers,
                crops,
                self.reshaped_sizes([crop.shape[:2] for crop in crops], options),  # type: ignore[attr-defined]
                strict=True,
            )
        ]
        input_points = torch.stack(points, 1)[None].to(device)  # C of (P, 2) -> (1, P, C, 2)
        labels = torch.ones(input_points.shape[:3], dtype=torch.int64, device=device)
        return torch.tensor(boxes, dtype=torch.float32, device=device), input_points, crops, labels

    def filter_masks(
        self,
        masks: torch.Tensor,
        iou_scores: torch.Tensor,
        original_size: Sequence[int],
        cropped_box_image: Sequence[float],
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        mask_threshold: float = 0.0,
        stability_score_offset: float = 1,
    ) -> tuple[list[dict], torch.Tensor, torch.Tensor]:
        """Keep the masks that pass the predicted IoU, the stability and the edge of their crop.

        Args:
            masks: `(P, M, h, w)` logits at the size of the crop.
            iou_scores: `(P, M)` predicted IoU.
            original_size: Height and width of the photo.
            cropped_box_image: x0 y0 x1 y1 of the crop in pixels of the photo.
            pred_iou_thresh: Masks must be above it; 0 or less keeps all.
            stability_score_thresh: Masks must not be below it; 0 or less keeps all.
            mask_threshold: Logit above which a pixel belongs to a mask.
            stability_score_offset: How far the threshold is moved to measure the stability.

        Returns:
            K run-length masks of the image (`size`, `counts`, and `crop_box` for the suppression to come), their
            predicted IoU `(K,)` float32, and their boxes `(K, 4)` int64, x0 y0 x1 y1 in pixels of the photo; on
            the CPU.
        """
        options = MaskGenerationOptions(
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            mask_threshold=mask_threshold,
            stability_score_offset=stability_score_offset,
        )
        crop_box = [int(side) for side in cropped_box_image]
        size = (int(original_size[0]), int(original_size[1]))
        logits, scores = masks.flatten(0, 1), iou_scores.flatten(0, 1).float().cpu()
        passing = passing_scores(scores, options)
        logits, scores = logits[passing.to(logits.device)], scores[passing]
        stable = passing_stability(stability_scores(logits, mask_threshold, stability_score_offset), options)
        found = encode_masks(logits[stable] > mask_threshold)
        boxes = mask_boxes(found)
        whole = np.flatnonzero(~touches_crop_edge(boxes, crop_box, size))
        x0, y0 = crop_box[:2]
        rles = [{**found[i].pasted(x0, y0, size).to_uncompressed(), "crop_box": crop_box} for i in whole.tolist()]
        return rles, scores[stable.cpu()][whole], torch.from_numpy(boxes[whole] + np.array([x0, y0, x0, y0]))

    def post_process_for_mask_generation(
        self,
        all_masks: Sequence[dict],
        all_scores: torch.Tensor,
        all_boxes: torch.Tensor,
        crops_nms_thresh: float,
    ) -> tuple[list[np.ndarray], torch.Tensor, list[dict], torch.Tensor]:
        """Drop duplicates, first within each crop, then across crops, where small crops win.

        Args:
            all_masks: N run-length masks from `filter_masks`; without `crop_box` all count as one crop's.
            all_scores: `(N,)` predicted IoU.
            all_boxes: `(N, 4)` x0 y0 x1 y1.
            crops_nms_thresh: Box IoU above which the worse of two masks is dropped.

        Returns:
            K masks `(H, W)` boolean, scores `(K,)`, run-length masks, boxes `(K, 4)`.
        """
        crop_boxes = [tuple(rle.get("crop_box", (0, 0, rle["size"][1], rle["size"][0]))) for rle in all_masks]
        boxes, scores = all_boxes.cpu().float().numpy(), all_scores.cpu().float().numpy()
        crops = list(dict.fromkeys(crop_boxes))
        kept = np.zeros(0, dtype=np.int64)
        for crop in crops:
            members = np.array([index for index, own in enumerate(crop_boxes) if own == crop], dtype=np.int64)
            kept = np.concatenate([kept, members[best_boxes(boxes[members], scores[members], crops_nms_thresh)]])
        if len(crops) > 1:
            kept = kept[best_boxes(boxes[kept], small_crops_first(np.array(crop_boxes)[kept]), crops_nms_thresh)]
        masks = [RunLengthMask.from_dict(all_masks[index]) for index in kept.tolist()]
        rles = [mask.to_uncompressed() for mask in masks]
        return [mask.to_mask() for mask in masks], all_scores.cpu()[kept], rles, all_boxes.cpu()[kept]


def points_in_frame(grid: np.ndarray, size: Sequence[int], reshaped_size: Sequence[int]) -> torch.Tensor:
    """Points of a grid in pixels of the resized frame.

    Args:
        grid: `(P, 2)` x y in [0, 1].
        size: Height and width of the crop.
        reshaped_size: Height and width of it in the resized frame.

    Returns:
        `(P, 2)` float32.

    Source: scaled in float64 by way of the crop's pixels, as `apply_coords` of the authors' `utils/transforms.py`.
    """
    (height, width), (new_height, new_width) = size, reshaped_size
    pixels = grid * np.array([width, height], dtype=np.float64)
    return torch.from_numpy(pixels * np.array([new_width / width, new_height / height])).float()
