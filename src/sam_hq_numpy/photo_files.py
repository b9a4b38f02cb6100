"""Photographs in files and of Pillow to upright pixels, with numpy and Pillow alone."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

EXIF_ORIENTATION = 0x0112
# Filters that made a [0, 1] image overshoot by a rounding error must not turn it into a black [0, 255] one.
UNIT_RANGE_TOLERANCE = 1e-3

_bomb_limit_lock = threading.Lock()


@contextmanager
def opened_photo(source: str | Path, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """Open a file, not decoded yet.

    Args:
        source: a path.
        max_pixels: images with more pixels are refused before they are decoded; None: Pillow's own limit.

    Raises:
        ValueError: no such file, or one that cannot be read; also for what the block raises while decoding.
    """
    try:
        if not Path(source).is_file():
            raise ValueError(f"images: no such file: {str(source)[:200]!r}")
        with _raised_bomb_limit(max_pixels), open(source, "rb") as file:
            yield Image.open(file)
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
    with opened_photo(source, max_pixels) as image:
        return _upright(image, max_pixels, repr(str(source)))


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


def channel_axis(shape: Sequence[int]) -> int | None:
    """Which dimension of an array holds the channels: the one with 1 or 3 entries, then 4; the first if both fit.

    Args:
        shape: of an array of 2 or 3 dimensions.

    Returns:
        0, 2, or None for a gray array of 2 dimensions.

    Raises:
        ValueError: neither the first nor the last dimension can be the channels.
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


def decoded_pixels(image: Image.Image, max_pixels: int | None, name: str) -> np.ndarray:
    """The pixels of a Pillow image, upright, transparency dropped.

    Args:
        image: the image; decoded here if it is not yet.
        max_pixels: images with more pixels are refused; None: Pillow's own limit.
        name: for messages.

    Returns:
        (H, W, 3) uint8; for gray images of more than 8 bits (H, W) uint16 or floating point as they are.

    Raises:
        ValueError: an image that cannot be decoded, is too large or empty, or holds values beyond 16 bits.
    """
    image = _upright(image, max_pixels, name)
    with _naming(name):
        if image.mode == "F" or image.mode.startswith("I"):
            gray = np.asarray(image)
        else:
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")  # Pillow warns when such a palette goes to RGB directly
            return np.asarray(image.convert("RGB"))
    # Mode I is what Pillow makes of 16-bit gray files, in 32 bits.
    if gray.dtype.kind in "iu":
        check_range(gray, 0, 65535)
        gray = gray.astype(np.uint16)
    return gray


def _upright(image: Image.Image, max_pixels: int | None, name: str) -> Image.Image:
    """The image decoded, and turned as its EXIF orientation says; without one it is not copied."""
    check_pixel_count(*image.size, max_pixels)
    with _naming(name):
        image.load()
        return ImageOps.exif_transpose(image) if image.getexif().get(EXIF_ORIENTATION, 1) != 1 else image


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Whatever goes wrong in Pillow as a ValueError with the image's name."""
    try:
        yield
    except Exception as error:  # damaged files raise OSError, SyntaxError, ValueError, struct.error and others
        raise ValueError(f"images: cannot decode {name}: {error}") from error


def check_range(pixels: Any, low: float, high: float) -> None:
    """Refuse pixels outside a range; an array or a tensor."""
    if pixels.min() < low or pixels.max() > high:
        raise ValueError(
            f"images of {pixels.dtype} must hold values in [{low}, {high}], "
            f"got {float(pixels.min()):g} to {float(pixels.max()):g}"
        )
