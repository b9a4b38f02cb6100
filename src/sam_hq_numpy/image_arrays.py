"""Images as arrays: which dimension holds the channels, and 8-bit RGB pixels from any of them; with numpy alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from .number_limits import check_choice
from .value_ranges import InputRange, to_uint8

CHANNELS = (1, 3, 4)


def array_rgb(
    image: np.ndarray,
    *,
    max_pixels: int | None = None,
    input_data_format: Any = None,
    input_range: InputRange = None,
) -> tuple[np.ndarray, bool]:
    """Bring an array to 8-bit RGB; a fourth channel is dropped.

    Args:
        image: (H, W), (H, W, channels) or (channels, H, W) of any real numbers.
        max_pixels: Larger images are refused.
        input_data_format: "channels_first" or "channels_last"; None: see `channel_axis`.
        input_range: See `value_ranges.to_uint8`.

    Returns:
        (H, W, 3) uint8, a view where that can be; and whether the values came as floats in [0, 1].

    Raises:
        TypeError: Values that are no real numbers.
        ValueError: Another shape, an empty or too large image, or values out of range.
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3):
        raise ValueError(
            f"images as arrays must be (H, W), (H, W, channels) or (channels, H, W), got shape {tuple(image.shape)}"
        )
    axis = image_axis(image.shape, input_data_format)
    pixels = image[..., None] if axis is None else np.moveaxis(image, axis, -1)  # (H, W, channels)
    check_pixel_count(pixels.shape[1], pixels.shape[0], max_pixels)
    pixels, unit_range = to_uint8(pixels[..., :3], input_range)
    return (np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels), unit_range


def channel_axis(shape: Sequence[int]) -> int | None:
    """Which dimension of an array holds the channels: the one with 1 or 3 entries, then 4; the first if both fit.

    Args:
        shape: Of an array of 2 or 3 dimensions.

    Returns:
        0, 2, or None for a gray array of 2 dimensions.

    Raises:
        ValueError: Neither the first nor the last dimension can be the channels.
    """
    if len(shape) == 2:
        return None
    for channels in ((1, 3), (4,)):
        for axis in (0, 2):
            if shape[axis] in channels:
                return axis
    raise ValueError(
        f"images as arrays need 1, 3 or 4 channels in the first or last dimension, got shape {tuple(shape)}"
    )


def image_axis(shape: tuple[int, ...], input_data_format: Any) -> int | None:
    """Which dimension of an array holds the channels, as `input_data_format` says; else see `channel_axis`."""
    if len(shape) == 2:
        return None
    if input_data_format is None:
        return channel_axis(shape)
    axes = {"channels_first": 0, "channels_last": 2}
    name = getattr(input_data_format, "value", input_data_format)
    check_choice("input_data_format", name, axes)
    if shape[axes[name]] not in CHANNELS:
        raise ValueError(f"images of shape {shape} have no 1, 3 or 4 channels as {name}")
    return axes[name]


def check_pixel_count(width: int, height: int, max_pixels: int | None) -> None:
    """Refuse an image without pixels, or with more than `max_pixels`, or than Pillow's limit where that is None."""
    if width == 0 or height == 0:
        raise ValueError(f"images: got an empty image of {width} x {height} pixels")
    limit = Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
    if limit is not None and width * height > limit:
        raise ValueError(
            f"images: got {width} x {height} = {width * height} pixels, more than max_pixels={limit}; "
            "raise max_pixels if the image is to be trusted"
        )
