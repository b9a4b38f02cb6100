"""Photographs to the encoder's input, as `SamHQImageProcessor` prepares them, with numpy and Pillow."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sam_hq_numpy.frame_sizes import resized_size
from sam_hq_numpy.photo_files import UNIT_RANGE_TOLERANCE, channel_axis, check_pixel_count, decoded_pixels, opened_photo

from .arguments import check_count
from .metadata import GraphMetadata


def load_photo(image: object, max_pixels: int | None = None) -> np.ndarray:
    """Read one photograph.

    Args:
        image: A path, a PIL image or a uint8 array: (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels, told apart
            as `SamHQProcessor` does, channels first where both fit.
        max_pixels: Larger photographs are refused before they are decoded; None: Pillow's own limit.

    Returns:
        (H, W, 3) uint8, upright.

    Raises:
        TypeError: If it is none of these, or `max_pixels` is no whole number.
        ValueError: If it cannot be read, is empty or too large.
    """
    check_count("max_pixels", max_pixels)
    if isinstance(image, str | Path):
        with opened_photo(image, max_pixels) as opened:
            pixels = decoded_pixels(opened, max_pixels, str(image))
    elif isinstance(image, Image.Image):
        pixels = decoded_pixels(image, max_pixels, repr(image))
    elif isinstance(image, np.ndarray):
        return _array_pixels(image, max_pixels)
    else:
        raise TypeError(f"images must be paths, PIL images or arrays, got {type(image).__name__}")
    return pixels if pixels.ndim == 3 else np.repeat(_gray_to_uint8(pixels)[..., None], 3, axis=2)


def encoder_input(
    photos: Sequence[np.ndarray], metadata: GraphMetadata
) -> tuple[np.ndarray, list[tuple[int, int]], list[tuple[int, int]]]:
    """Resize, normalise and pad photographs.

    Args:
        photos: B arrays (H, W, 3) uint8.
        metadata: Of the encoder.

    Returns:
        `pixel_values` (B, 3, S, S) float32, and the heights and widths of the photographs and of what they were resized
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


def _array_pixels(image: np.ndarray, max_pixels: int | None) -> np.ndarray:
    """(H, W, 3), a view where that can be."""
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ValueError(
            "images as arrays must be uint8 of shape (H, W, 3), or another that a single photograph may have, got "
            f"{image.dtype} {image.shape}"
        )
    axis = channel_axis(image.shape)
    pixels = image[..., None] if axis is None else np.moveaxis(image, axis, -1)  # (H, W, channels)
    check_pixel_count(pixels.shape[1], pixels.shape[0], max_pixels)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]


def _reshaped_size(size: tuple[int, int], metadata: GraphMetadata) -> tuple[int, int]:
    if "longest_edge" in metadata.size:
        return resized_size(size, metadata.size["longest_edge"])
    return metadata.size["height"], metadata.size["width"]


def _gray_to_uint8(gray: np.ndarray) -> np.ndarray:
    if gray.dtype == np.uint16:
        return ((gray.astype(np.int32) + 128) // 257).astype(np.uint8)
    if not np.isfinite(gray).all() or gray.min() < -UNIT_RANGE_TOLERANCE or gray.max() > 255:
        raise ValueError(f"images of {gray.dtype} must hold values in [0, 1] or [0, 255]")
    scale = 255 if gray.max() <= 1 + UNIT_RANGE_TOLERANCE else 1
    return np.clip(np.round(gray * scale), 0, 255).astype(np.uint8)
