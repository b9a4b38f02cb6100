"""Photos to the encoder's input, as `SamHQImageProcessor` prepares them, with numpy and Pillow."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from sam_hq_numpy.frame_sizes import resized_size
from sam_hq_numpy.image_arrays import array_rgb
from sam_hq_numpy.number_limits import check_whole
from sam_hq_numpy.photo_files import decoded_rgb
from sam_hq_numpy.value_ranges import InputRange

from .metadata import GraphMetadata


def image_rgb(
    image: object,
    max_pixels: int | None = None,
    input_range: InputRange = None,
    timeout: float | None = None,
) -> np.ndarray:
    """Bring one image of any kind to 8-bit RGB, as `SamHQProcessor` does.

    Args:
        image: A path, URL, PIL image, bytes, binary file or array: (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4
            channels, channels first where both fit.
        max_pixels: Larger photos are refused before they are decoded; None: Pillow's own limit.
        input_range: For images of more than 8 bits, see `value_ranges.to_uint8`.
        timeout: Seconds to wait for a URL; None waits as long as it takes.

    Returns:
        (H, W, 3) uint8, upright.

    Raises:
        TypeError: If it is none of these, or `max_pixels` is no whole number.
        ValueError: If it cannot be read, is empty or too large, or holds values out of range.
    """
    check_whole("max_pixels", max_pixels, at_least=1, optional=True)
    if isinstance(image, np.ndarray):
        return array_rgb(image, max_pixels=max_pixels, input_range=input_range)[0]
    return decoded_rgb(image, max_pixels=max_pixels, input_range=input_range, timeout=timeout)


def encoder_input(
    photos: Sequence[np.ndarray], metadata: GraphMetadata
) -> tuple[np.ndarray, list[tuple[int, int]], list[tuple[int, int]]]:
    """Resize, normalise and pad photos.

    Args:
        photos: B arrays (H, W, 3) uint8.
        metadata: Of the encoder.

    Returns:
        `pixel_values` (B, 3, S, S) float32, and the heights and widths of the photos and of what they were resized
        to.
    """
    original = [(photo.shape[0], photo.shape[1]) for photo in photos]
    reshaped = [_reshaped_size(size, metadata) for size in original]
    side = metadata.image_size
    mean, std = (
        np.array(values, dtype=np.float32).reshape(-1, 1, 1) for values in (metadata.image_mean, metadata.image_std)
    )
    pixel_values = np.zeros((len(photos), 3, side, side), dtype=np.float32)
    for frame, photo, (height, width) in zip(pixel_values, photos, reshaped, strict=True):
        resized = Image.fromarray(photo).resize((width, height), Image.Resampling[metadata.resample.upper()])
        pixels = np.asarray(resized).transpose(2, 0, 1).astype(np.float32)  # (H, W, 3) -> (3, H, W)
        frame[:, :height, :width] = (pixels - mean) / std
    return pixel_values, original, reshaped


def _reshaped_size(size: tuple[int, int], metadata: GraphMetadata) -> tuple[int, int]:
    if "longest_edge" in metadata.size:
        return resized_size(size, metadata.size["longest_edge"])
    return metadata.size["height"], metadata.size["width"]
