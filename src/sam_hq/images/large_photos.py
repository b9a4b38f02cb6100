"""Photos too large to be handled in one piece: regions read one at a time from one decoded copy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from sam_hq_numpy.image_arrays import array_rgb
from sam_hq_numpy.photo_files import decoded_whole
from sam_hq_numpy.photo_sources import is_encoded, source_name
from sam_hq_numpy.value_ranges import InputRange, warn_if_zero_and_one

from .image_loading import photo_pixels

_EIGHT_BIT_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")
# Enough to see that a photo is none of zeros and ones; one that could be is read whole, some rows at a time.
_GLANCED_SIDE, _STRIP_ROWS = 64, 512


class PhotoRegions:
    """A decoded photo of which only regions are ever turned into an array.

    Args:
        image: Whatever `sam_hq.images.image_loading.load_rgb` takes. 8-bit files stay as Pillow decodes them, others
            become one array.
        max_pixels: Larger photos are refused before they are decoded; None: Pillow's own limit.
        input_range: For images of more than 8 bits, see `load_rgb`.
        timeout: Seconds to wait for a URL; None waits as long as it takes.

    Warns:
        UserWarning: As `load_rgb`.
    """

    def __init__(
        self,
        image: object,
        max_pixels: int | None = None,
        input_range: InputRange = None,
        timeout: float | None = None,
    ) -> None:
        self._photo: np.ndarray | Image.Image
        if is_encoded(image):
            name = f"images: the values of {source_name(image)}"
            image = decoded_whole(image, max_pixels=max_pixels, timeout=timeout)
            if isinstance(image, np.ndarray):
                self._photo, _ = array_rgb(
                    image, max_pixels=max_pixels, input_data_format="channels_last", input_range=input_range
                )
                return
            has_transparent_palette = image.mode == "P" and "transparency" in image.info
            if image.mode in _EIGHT_BIT_MODES and not has_transparent_palette:
                self._photo = image
                warn_if_zero_and_one(_extremes(image), input_range, name)
                return
        self._photo = photo_pixels(image, max_pixels, input_range)

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
            box: x0 y0 x1 y1 within the photo; x1 and y1 outside the part.

        Returns:
            `(y1 - y0, x1 - x0, 3)` uint8.
        """
        x0, y0, x1, y1 = box
        if isinstance(self._photo, Image.Image):
            # Not `crop`, which holds parts of more pixels than Pillow's own limit for an attack.
            part = self._photo.resize((x1 - x0, y1 - y0), Image.Resampling.NEAREST, (x0, y0, x1, y1))
            return np.asarray(part.convert("RGB"))
        return self._photo[y0:y1, x0:x1]


def _extremes(photo: Image.Image) -> np.ndarray:
    """The lowest and the highest value of a photo that could be of zeros and ones, and of any other a few values."""
    sides = min(photo.width, _GLANCED_SIDE), min(photo.height, _GLANCED_SIDE)
    glance = np.asarray(photo.resize(sides, Image.Resampling.NEAREST).convert("RGB"))
    if glance.max() > 1:
        return glance
    strips = (
        photo.resize((photo.width, lower - upper), Image.Resampling.NEAREST, (0, upper, photo.width, lower))
        for upper in range(0, photo.height, _STRIP_ROWS)
        for lower in [min(photo.height, upper + _STRIP_ROWS)]
    )
    extremes = [extreme for strip in strips for band in strip.convert("RGB").getextrema() for extreme in band]
    return np.array([min(extremes), max(extremes)], dtype=np.uint8)


def options_of_parts(parts: Sequence[np.ndarray]) -> dict[str, Any]:
    """How the image processor takes parts of a photo, whose size and values were checked when it was opened.

    Args:
        parts: `(H, W, 3)` uint8 each.
    """
    most = max(part.shape[0] * part.shape[1] for part in parts)
    # A dark part may be of zeros and ones, which the range says are meant so.
    return {"input_data_format": "channels_last", "max_pixels": most, "input_range": (0, 255)}
