"""From whatever a caller calls a photograph to upright 8-bit RGB pixels.

Everything ends as uint8 because the authors resize 8-bit images with Pillow: a photograph gives the same model input
whether it comes as a file, an array or a tensor.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_utils import load_image

from sam_hq_numpy.photo_files import (
    UNIT_RANGE_TOLERANCE,
    channel_axis,
    check_pixel_count,
    check_range,
    decoded_photo,
    decoded_pixels,
    opened_photo,
)

CHANNELS = (1, 3, 4)


def flat_image_list(images: Any) -> list:
    """List the single images in `images`.

    Args:
        images: one image, a list of them (lists in it are flattened), or a 4-d array or tensor of a batch. An image is
            a PIL image, a path, a URL, or an array or tensor of 2 or 3 dimensions.

    Raises:
        TypeError: something that is no image.
        ValueError: no image at all.
    """
    if isinstance(images, list | tuple):
        flat = [image for entry in images for image in flat_image_list(entry)] if images else []
        if not flat:
            raise ValueError("images is empty, at least one image is needed")
        return flat
    if isinstance(images, np.ndarray | torch.Tensor):
        if images.ndim == 4:
            if len(images) == 0:
                raise ValueError("images is empty, at least one image is needed")
            return list(images)
        if images.ndim not in (2, 3):
            raise ValueError(
                "images as an array must be (H, W), (H, W, channels), (channels, H, W) or a batch of the latter two, "
                f"got shape {tuple(images.shape)}"
            )
        return [images]
    if isinstance(images, str | Path | Image.Image):
        return [images]
    raise TypeError(f"images must hold PIL images, paths, URLs, arrays or tensors, got {type(images).__name__}")


def load_rgb(
    image: Any, *, max_pixels: int | None = None, input_data_format: str | None = None
) -> tuple[np.ndarray | torch.Tensor, bool]:
    """Load one image as 8-bit RGB.

    Transparency is dropped, not blended, as `PIL.Image.convert("RGB")` does. A photograph with an EXIF orientation is
    turned upright. 16-bit values are scaled by 1/257 (Pillow itself would clip them at 255). Floating point values in
    [0, 1] are multiplied by 255, those in [0, 255] are taken as they are; both are rounded.

    Args:
        image: one entry of `flat_image_list`.
        max_pixels: images with more pixels are refused before they are decoded; default: Pillow's limit
            `PIL.Image.MAX_IMAGE_PIXELS`.
        input_data_format: "channels_first" or "channels_last" for arrays and tensors; inferred when left out: the side
            with 1 or 3 entries, then 4; the first dimension when both fit.

    Returns:
        The pixels, uint8: an array (H, W, 3), or a tensor (3, H, W) on its own device if `image` was on an
        accelerator; and whether the values came as floats in [0, 1].

    Raises:
        TypeError: values that are no pixels.
        ValueError: an unreadable, empty or too large image, or values out of range.
    """
    if isinstance(image, str | Path):
        return _open_rgb(image, max_pixels), False
    if isinstance(image, Image.Image):
        return _decoded_rgb(image, max_pixels, name=repr(image)), False
    return _array_rgb(image, max_pixels, input_data_format)


def photo_pixels(image: object, max_pixels: int | None = None) -> np.ndarray:
    """Load one image as `(H, W, 3)` uint8 on the CPU.

    Args:
        image: Whatever `load_rgb` takes.
        max_pixels: As in `load_rgb`.
    """
    pixels, _ = load_rgb(image, max_pixels=max_pixels)
    return pixels if isinstance(pixels, np.ndarray) else pixels.permute(1, 2, 0).cpu().numpy()


def _open_rgb(source: str | Path, max_pixels: int | None) -> np.ndarray:
    if isinstance(source, str) and source.startswith(("http://", "https://", "data:image/")):
        try:
            image = load_image(source)
        except Exception as error:  # network, base64 and decoder errors have no common base
            raise ValueError(f"images: cannot load {source[:80]!r}: {error}") from error
        return _decoded_rgb(image, max_pixels, name=source[:80])
    with opened_photo(source, max_pixels) as image:
        return _decoded_rgb(image, max_pixels, name=str(source))


def _decoded_rgb(image: Image.Image, max_pixels: int | None, name: str) -> np.ndarray:
    pixels = decoded_pixels(image, max_pixels, name)
    # Gray of 16 bits or floating point is scaled as arrays are.
    return pixels if pixels.ndim == 3 else np.asarray(_array_rgb(pixels, None, None)[0])


def _array_rgb(
    image: np.ndarray | torch.Tensor, max_pixels: int | None, input_data_format: str | None
) -> tuple[np.ndarray | torch.Tensor, bool]:
    axis = _channel_axis(tuple(image.shape), input_data_format)
    height, width = (side for index, side in enumerate(image.shape) if index != axis)
    check_pixel_count(width, height, max_pixels)
    if isinstance(image, torch.Tensor) and (image.is_complex() or image.layout != torch.strided or image.is_meta):
        raise TypeError(f"images must hold numbers, got a {image.layout} tensor of {image.dtype} on {image.device}")
    on_accelerator = isinstance(image, torch.Tensor) and image.device.type != "cpu"
    pixels = image.detach() if isinstance(image, torch.Tensor) else _torch_array(image)
    pixels = pixels[None] if axis is None else pixels.movedim(axis, 0)  # (channels, H, W)
    pixels, unit_range = _as_uint8(pixels)
    pixels = pixels.expand(3, -1, -1) if pixels.shape[0] == 1 else pixels[:3]
    return (pixels if on_accelerator else pixels.permute(1, 2, 0).contiguous().numpy()), unit_range


def _torch_array(image: np.ndarray) -> torch.Tensor:
    if image.dtype.kind not in "biuf":
        raise TypeError(f"images must hold numbers, got an array of {image.dtype}")
    if image.dtype == np.longdouble:
        image = image.astype(np.float64)
    # torch knows neither big-endian numbers nor negative strides, and warns about read-only memory
    native = image.dtype.newbyteorder("=")
    return torch.from_numpy(np.array(image, dtype=native, order="C"))


def _channel_axis(shape: tuple[int, ...], input_data_format: str | None) -> int | None:
    if len(shape) == 2 or input_data_format == "none":
        return None
    if input_data_format is not None:
        axes = {"channels_first": 0, "channels_last": 2}
        name = getattr(input_data_format, "value", input_data_format)
        if name not in axes:
            raise ValueError(f"input_data_format must be one of {', '.join(axes)}, got {input_data_format!r}")
        if shape[axes[name]] not in CHANNELS:
            raise ValueError(f"images of shape {shape} have no 1, 3 or 4 channels as {name}")
        return axes[name]
    return channel_axis(shape)


def _as_uint8(pixels: torch.Tensor) -> tuple[torch.Tensor, bool]:
    if pixels.dtype == torch.uint8:
        return pixels, False
    if pixels.dtype == torch.bool:
        return pixels.to(torch.uint8) * 255, False
    if pixels.dtype == torch.uint16:
        return ((pixels.to(torch.int32) + 128) // 257).to(torch.uint8), False
    if not pixels.is_floating_point():
        pixels = pixels.to(torch.int64)  # the other unsigned dtypes have no minimum
        check_range(pixels, 0, 255)
        return pixels.to(torch.uint8), False
    if not torch.isfinite(pixels).all():
        raise ValueError("images must be finite, got NaN or infinity")
    pixels = pixels.to(torch.float32)
    unit_range = bool(pixels.max() <= 1 + UNIT_RANGE_TOLERANCE)
    if unit_range:
        check_range(pixels, -UNIT_RANGE_TOLERANCE, 1 + UNIT_RANGE_TOLERANCE)
        return (pixels * 255).round().clamp(0, 255).to(torch.uint8), True
    check_range(pixels, 0, 255)
    if pixels.max() < 2:
        raise ValueError(
            f"images of floats must be in [0, 1] or in [0, 255], got a maximum of {float(pixels.max()):g}, "
            "which fits neither: clip them, or pass uint8"
        )
    return pixels.round().to(torch.uint8), False


__all__ = ["decoded_photo", "flat_image_list", "load_rgb", "photo_pixels"]
