"""Low-resolution logits to masks at photo size, with numpy."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class PhotoMasks:
    """The masks of P objects of one image, M candidates each, best first.

    Attributes:
        masks: (P, M, H, W) boolean, at photo size.
        scores: Predicted IoU (P, M) float32.
        low_res_masks: Logits (P, M, s, s) float32; `low_res_masks[:, 0]` can be mask prompts of a next call.
    """

    masks: np.ndarray
    scores: np.ndarray
    low_res_masks: np.ndarray


class PhotoFrame:
    """The way of low-resolution masks to one photo.

    Up to the padded square, padding cut off, on to the photo: both steps are bilinear, so that together they are
    one matrix for the rows and one for the columns.

    Args:
        original_size: Height and width of the photo.
        reshaped_size: Height and width in the resized frame.
        image_size: Side of the padded square.
        mask_size: Side of a low-resolution mask.

    Raises:
        ValueError: If a size is not two whole numbers from 1, or that in the resized frame larger than the frame.

    Source: `sam_hq.images.mask_frames.low_res_masks_to_photo`.
    """

    def __init__(self, original_size: Sequence[int], reshaped_size: Sequence[int], image_size: int, mask_size: int):
        _check_size("original_size", original_size)
        _check_size("reshaped_size", reshaped_size, image_size)
        up = interpolation_weights(mask_size, image_size)
        self.rows, self.columns = (
            (interpolation_weights(reshaped, original) @ up[:reshaped]).astype(np.float32)
            for original, reshaped in zip(original_size, reshaped_size, strict=True)
        )

    def logits(self, mask: np.ndarray) -> np.ndarray:
        """Bring one mask's logits (s, s) to photo size: (H, W) float32."""
        return self.rows @ mask.astype(np.float32) @ self.columns.T

    def masks(self, low_res_masks: np.ndarray, threshold: float) -> np.ndarray:
        """Bring logits (P, M, s, s) to boolean masks (P, M, H, W) of what is above a threshold, one at a time."""
        masks = np.empty((*low_res_masks.shape[:2], len(self.rows), len(self.columns)), dtype=bool)
        for place in np.ndindex(masks.shape[:2]):
            np.greater(self.logits(low_res_masks[place]), threshold, out=masks[place])
        return masks


def interpolation_weights(source: int, target: int) -> np.ndarray:
    """Bilinear interpolation along one axis, half-pixel centres, as a matrix (target, source).

    Args:
        source: Number of values.
        target: Number wanted.
    """
    # In float32, as torch computes the places.
    places = np.float32(source / target) * (np.arange(target, dtype=np.float32) + np.float32(0.5)) - np.float32(0.5)
    places = np.maximum(places, 0)
    first = np.minimum(places.astype(np.int64), source - 1)
    share = (places - first.astype(np.float32)).astype(np.float64)
    weights = np.zeros((target, source))
    rows = np.arange(target)
    np.add.at(weights, (rows, first), 1 - share)
    np.add.at(weights, (rows, np.minimum(first + 1, source - 1)), share)
    return weights


def _check_size(name: str, size: Any, at_most: float = math.inf) -> None:
    """Refuse what is not a height and a width."""
    sides = list(size) if isinstance(size, list | tuple | np.ndarray) else []
    if len(sides) != 2 or not all(isinstance(side, int | np.integer) and 1 <= side <= at_most for side in sides):
        limit = "" if at_most == math.inf else f" to {at_most}"
        raise ValueError(f"{name} must be a height and a width, whole numbers from 1{limit}, got {size!r}")
