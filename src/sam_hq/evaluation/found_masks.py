"""What mask generation leaves of the main object: the best of all masks that it finds without a prompt."""

from typing import Any

import numpy as np
from PIL import Image

from ..generation.generator import SamHQMaskGenerator
from .mask_metrics import mask_iou

EVERYTHING = "everything"


def best_found_mask(
    model: Any, image_processor: Any, image: np.ndarray, truth: np.ndarray, points_per_crop: int = 16
) -> tuple[np.ndarray, float]:
    """The mask that fits an object best among those that mask generation finds with the model's own options.

    Args:
        model: A `SamHQModel`.
        image_processor: Its image processor.
        image: (H, W, 3) uint8.
        truth: The object (H, W) bool.
        points_per_crop: Points along one side of the grid.

    Returns:
        The mask (H, W) bool and its predicted IoU; an empty mask and 0 where nothing is found.
    """
    generator = SamHQMaskGenerator(model, image_processor, points_per_crop=points_per_crop)
    found: Any = generator.generate(Image.fromarray(image), output_mode=None)
    if not len(found["masks"]):
        return np.zeros(truth.shape, bool), 0.0
    masks = [np.asarray(mask, bool) for mask in found["masks"]]
    best = int(np.argmax([mask_iou(mask, truth) for mask in masks]))
    return masks[best], float(found["scores"][best])
