"""Images and coordinates to the frame whose longest side is the model's."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from sam_hq_numpy.frame_sizes import resized_size


class ResizeLongestSide:
    """Scales so that the longest side of an image has a given length.

    Args:
        target_length: The length, in pixels.

    Source: segment_anything_hq/utils/transforms.py.
    """

    def __init__(self, target_length: int) -> None:
        self.target_length = target_length

    @staticmethod
    def get_preprocess_shape(oldh: int, oldw: int, long_side_length: int) -> tuple[int, int]:
        """Height and width of an image after scaling.

        Args:
            oldh: Its height.
            oldw: Its width.
            long_side_length: Of the longest side afterwards.
        """
        return resized_size((oldh, oldw), long_side_length)

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        """Scale an image as Pillow does.

        Args:
            image: (H, W, 3) uint8.
        """
        height, width = resized_size(image.shape[:2], self.target_length)
        picture = Image.fromarray(np.ascontiguousarray(image))
        return np.array(picture.resize((width, height), Image.Resampling.BILINEAR))

    def apply_image_torch(self, image: torch.Tensor) -> torch.Tensor:
        """Scale images on their device; close to `apply_image`, not equal.

        Args:
            image: (B, C, H, W) floats.
        """
        size = resized_size(image.shape[-2:], self.target_length)
        return F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)

    def apply_coords(self, coords: np.ndarray, original_size: tuple[int, ...]) -> np.ndarray:
        """Scale points.

        Args:
            coords: (..., 2) as x, y in pixels of the photo.
            original_size: (H, W) of the photo.
        """
        return np.asarray(coords).astype(np.float64) * self._scale(original_size)

    def apply_boxes(self, boxes: np.ndarray, original_size: tuple[int, ...]) -> np.ndarray:
        """Scale boxes.

        Args:
            boxes: (B, 4) as x0, y0, x1, y1 in pixels of the photo.
            original_size: (H, W) of the photo.
        """
        return self.apply_coords(np.asarray(boxes).reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def apply_coords_torch(self, coords: torch.Tensor, original_size: tuple[int, ...]) -> torch.Tensor:
        """As `apply_coords`, for tensors."""
        scaled: Any = coords.to(torch.float) * coords.new_tensor(self._scale(original_size), dtype=torch.float)
        return scaled

    def apply_boxes_torch(self, boxes: torch.Tensor, original_size: tuple[int, ...]) -> torch.Tensor:
        """As `apply_boxes`, for tensors."""
        return self.apply_coords_torch(boxes.reshape(-1, 2, 2), original_size).reshape(-1, 4)

    def _scale(self, original_size: tuple[int, ...]) -> tuple[float, float]:
        height, width = resized_size(original_size, self.target_length)
        return width / original_size[1], height / original_size[0]
