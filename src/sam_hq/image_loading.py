"""From whatever a caller calls a photograph to upright 8-bit RGB pixels.

Everything ends as uint8 because the authors resize 8-bit images with Pillow: a photograph gives the same model input
whether it comes as a file, an array or a tensor.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers.image_utils import load_image

EXIF_ORIENTATION = 0x0112
CHANNELS = (1, 3, 4)
# Filters that made a [0, 1] photograph overshoot by a rounding error must not turn it into a black [0, 255] one.
UNIT_RANGE_TOLERANCE = 1e-3

_bomb_limit_lock = threading.Lock()


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


def _open_rgb(source: str | Path, max_pixels: int | None) -> np.ndarray:
    if isinstance(source, str) and source.startswith(("http://", "https://", "data:image/")):
        try:
            image = load_image(source)
        except Exception as error:  # network, base64 and decoder errors have no common base
            raise ValueError(f"images: cannot load {source[:80]!r}: {error}") from error
        return _decoded_rgb(image, max_pixels, name=source[:80])
    try:
        if not Path(source).is_file():
            raise ValueError(f"images: no such file: {str(source)[:200]!r}")
        with _raised_bomb_limit(max_pixels), open(source, "rb") as file:
            image = Image.open(file)
            return _decoded_rgb(image, max_pixels, name=str(source))
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"images: cannot read {str(source)[:200]!r} as an image: {str(error)[:200]}") from error


def decoded_photo(source: str | Path, *, max_pixels: int | None = None) -> Image.Image:
    """Decode a file once and keep it as Pillow holds it, upright, in its own mode: for large photographs.

    Args:
        source: a path.
        max_pixels: see `load_rgb`.

    Raises:
        ValueError: a file that cannot be read, or a too large image.
    """
    try:
        with _raised_bomb_limit(max_pixels), open(source, "rb") as file:
            image = Image.open(file)
            _check_pixel_count(*image.size, max_pixels)
            image.load()
        oriented = image.getexif().get(EXIF_ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(image) if oriented else image
    except ValueError:
        raise
    except Exception as error:  # damaged files raise OSError, SyntaxError, struct.error and others
        raise ValueError(f"images: cannot read {str(source)!r} as an image: {error}") from error


@contextmanager
def _temporary_bomb_limit(max_pixels: int) -> Iterator[None]:
    with _bomb_limit_lock:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _raised_bomb_limit(max_pixels: int | None) -> AbstractContextManager[None]:
    # Pillow looks at its own limit while it opens a file, and that limit is a global of the process.
    pillow_limit = Image.MAX_IMAGE_PIXELS
    if max_pixels is None or pillow_limit is None or max_pixels <= pillow_limit:
        return nullcontext()
    return _temporary_bomb_limit(max_pixels)


def _check_pixel_count(width: int, height: int, max_pixels: int | None) -> None:
    if width == 0 or height == 0:
        raise ValueError(f"images: got an empty image of {width} x {height} pixels")
    limit = Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
    if limit is not None and width * height > limit:
        raise ValueError(
            f"images: got {width} x {height} = {width * height} pixels, more than max_pixels={limit}; "
            "raise max_pixels if the image is to be trusted"
        )


def _decoded_rgb(image: Image.Image, max_pixels: int | None, name: str) -> np.ndarray:
    _check_pixel_count(*image.size, max_pixels)
    try:
        image.load()
        if image.getexif().get(EXIF_ORIENTATION, 1) != 1:
            image = ImageOps.exif_transpose(image)
        if image.mode == "F" or image.mode.startswith("I"):
            gray = np.asarray(image)
        else:
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")  # Pillow warns when such a palette goes to RGB directly
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # damaged files raise OSError, SyntaxError, ValueError, struct.error and others
        raise ValueError(f"images: cannot decode {name}: {error}") from error
    # Mode I is what Pillow makes of 16-bit gray files, in 32 bits.
    if gray.dtype.kind in "iu":
        _check_range(gray, 0, 65535)
        gray = gray.astype(np.uint16)
    return np.asarray(_array_rgb(gray, None, None)[0])


def _array_rgb(
    image: np.ndarray | torch.Tensor, max_pixels: int | None, input_data_format: str | None
) -> tuple[np.ndarray | torch.Tensor, bool]:
    axis = _channel_axis(tuple(image.shape), input_data_format)
    height, width = (side for index, side in enumerate(image.shape) if index != axis)
    _check_pixel_count(width, height, max_pixels)
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
    for channels in ((1, 3), (4,)):
        for axis in (0, 2):
            if shape[axis] in channels:
                return axis
    raise ValueError(f"images as arrays need 1, 3 or 4 channels in the first or last dimension, got shape {shape}")


def _as_uint8(pixels: torch.Tensor) -> tuple[torch.Tensor, bool]:
    if pixels.dtype == torch.uint8:
        return pixels, False
    if pixels.dtype == torch.bool:
        return pixels.to(torch.uint8) * 255, False
    if pixels.dtype == torch.uint16:
        return ((pixels.to(torch.int32) + 128) // 257).to(torch.uint8), False
    if not pixels.is_floating_point():
        pixels = pixels.to(torch.int64)  # the other unsigned dtypes have no minimum
        _check_range(pixels, 0, 255)
        return pixels.to(torch.uint8), False
    if not torch.isfinite(pixels).all():
        raise ValueError("images must be finite, got NaN or infinity")
    pixels = pixels.to(torch.float32)
    unit_range = bool(pixels.max() <= 1 + UNIT_RANGE_TOLERANCE)
    if unit_range:
        _check_range(pixels, -UNIT_RANGE_TOLERANCE, 1 + UNIT_RANGE_TOLERANCE)
        return (pixels * 255).round().clamp(0, 255).to(torch.uint8), True
    _check_range(pixels, 0, 255)
    if pixels.max() < 2:
        raise ValueError(
            f"images of floats must be in [0, 1] or in [0, 255], got a maximum of {float(pixels.max()):g}, "
            "which fits neither: clip them, or pass uint8"
        )
    return pixels.round().to(torch.uint8), False


def _check_range(pixels: np.ndarray | torch.Tensor, low: float, high: float) -> None:
    if pixels.min() < low or pixels.max() > high:
        raise ValueError(
            f"images of {pixels.dtype} must hold values in [{low}, {high}], "
            f"got {float(pixels.min()):g} to {float(pixels.max()):g}"
        )
