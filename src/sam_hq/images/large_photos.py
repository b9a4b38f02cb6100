"""Photographs too large to be handled in one piece: regions read one at a time from one decoded copy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .image_loading import decoded_photo, photo_pixels

_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")


class PhotoRegions:
    """A decoded photograph of which only regions are ever turned into an array.

    Args:
        image: A path, URL, PIL image, array or tensor. 8-bit files stay as Pillow decodes them, others become one
            array.
        max_pixels: Larger photographs are refused before they are decoded; None: Pillow's own limit.
    """

    def __init__(self, image: object, max_pixels: int | None = None) -> None:
        self._photo: np.ndarray | Image.Image
        if isinstance(image, (str, Path)) and Path(image).is_file():
            photo = decoded_photo(image, max_pixels=max_pixels)
            has_transparent_palette = photo.mode == "P" and "transparency" in photo.info
            plain = photo.mode in _EIGHT_BIT_MODES and not has_transparent_palette
            self._photo = photo if plain else photo_pixels(photo, max_pixels)
        else:
            self._photo = photo_pixels(image, max_pixels)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        photo = self._photo
        return (photo.height, photo.width) if isinstance(photo, Image.Image) else (photo.shape[0], photo.shape[1])

    def pixels(self) -> np.ndarray:
        """All pixels, `(H, W, 3)` uint8."""
        height, width = self.size
        return self.region((0, 0, width, height))

    def region(self, box: Sequence[int]) -> np.ndarray:
        """The pixels of a part.

        Args:
            box: x0 y0 x1 y1 within the photograph; x1 and y1 outside the part.

        Returns:
            `(y1 - y0, x1 - x0, 3)` uint8.
        """
        x0, y0, x1, y1 = box
        if isinstance(self._photo, Image.Image):
            return np.asarray(self._photo.crop((x0, y0, x1, y1)).convert("RGB"))
        return self._photo[y0:y1, x0:x1]
