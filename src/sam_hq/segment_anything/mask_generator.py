"""`SamAutomaticMaskGenerator`: the mask generator with the argument names and records of `segment_anything_hq`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..generation.generator import SamHQMaskGenerator
from .sam_predictor import SamPredictor


class SamAutomaticMaskGenerator:
    """Finds the masks of everything in an image.

    Args:
        model: What `sam_model_registry` gives, a `SamHQModel` or a `SamHQPredictor`.
        points_per_side: Points along each side of the grid; None with `point_grids`.
        points_per_batch: Points decoded in one go.
        pred_iou_thresh: Masks whose predicted IoU is not above it are dropped.
        stability_score_thresh: Masks whose stability is below it are dropped.
        stability_score_offset: How far the threshold is moved to measure the stability, in logits.
        box_nms_thresh: Box IoU within a crop above which the worse of two masks is dropped.
        crop_n_layers: Layers of crops searched besides the whole image.
        crop_nms_thresh: Box IoU across crops above which the worse of two masks is dropped.
        crop_overlap_ratio: Overlap of the crops of the first layer, as a fraction of the shorter side.
        crop_n_points_downscale_factor: Layer n has `points_per_side / factor**n` points along each side.
        point_grids: Own points instead: an array (P, 2) of x, y in [0, 1] for every layer.
        min_mask_region_area: Holes and specks with fewer pixels are removed.
        output_mode: "binary_mask", "uncompressed_rle" or "coco_rle".

    Raises:
        ValueError: If an option is impossible, or both or neither of `points_per_side` and `point_grids` are given.

    Source: segment_anything_hq/automatic_mask_generator.py.
    """

    def __init__(
        self,
        model: Any,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.88,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[np.ndarray] | None = None,
        min_mask_region_area: int = 0,
        output_mode: str = "binary_mask",
    ) -> None:
        if (points_per_side is None) == (point_grids is None):
            raise ValueError("give either points_per_side or point_grids")
        if output_mode not in ("binary_mask", "uncompressed_rle", "coco_rle"):
            raise ValueError(f"output_mode must be binary_mask, uncompressed_rle or coco_rle, got {output_mode!r}")
        self.predictor = SamPredictor(model)
        sam = self.predictor.model
        self._generator = SamHQMaskGenerator(
            sam.model,
            sam.processor.image_processor,
            points_per_crop=1 if points_per_side is None else points_per_side,  # ignored with point_grids
            points_per_batch=points_per_batch,
            pred_iou_thresh=pred_iou_thresh,
            stability_score_thresh=stability_score_thresh,
            stability_score_offset=stability_score_offset,
            box_nms_thresh=box_nms_thresh,
            crops_n_layers=crop_n_layers,
            crops_nms_thresh=crop_nms_thresh,
            crop_overlap_ratio=crop_overlap_ratio,
            crop_n_points_downscale_factor=crop_n_points_downscale_factor,
            point_grids=None if point_grids is None else tuple(point_grids),
            min_mask_region_area=min_mask_region_area,
            output_mode=output_mode,
        )

    def generate(self, image: np.ndarray, multimask_output: bool = True) -> list[dict[str, Any]]:
        """Find the masks of an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            multimask_output: Whether a point's mask is the best of three, or the one for clear prompts.

        Returns:
            Records with `segmentation`, `area`, `bbox` (x, y, width, height), `predicted_iou`, `point_coords`,
            `stability_score` and `crop_box`.
        """
        is_rgb = isinstance(image, np.ndarray) and image.shape[2:] == (3,) and image.dtype == np.uint8
        # A picture has no channels that could be taken for one or three rows.
        photo: Any = Image.fromarray(np.ascontiguousarray(image)) if is_rgb else image
        found: Any = self._generator.generate(photo, multimask_output=multimask_output)
        return found
