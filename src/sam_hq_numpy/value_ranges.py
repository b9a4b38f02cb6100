"""Pixel values of any type to 8 bits, and the warning where an image would turn black on the way; numpy alone."""

import math
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

InputRange = str | Sequence[float] | None

# Filters that made a [0, 1] image overshoot by a rounding error must not turn it into a black [0, 255] one.
UNIT_RANGE_TOLERANCE = 1e-3
# 14 bits in 16 are a quarter of the range.
NARROW_SHARE = 0.25
# Pixels at either end that are ignored, in percent, where they alone make a range wide: dead and saturated ones.
OUTLIERS_PERCENT = 0.1
_SAMPLED_SIDE = 1024
# Enough to see that a photo is no image of zeros and ones, whatever its size.
_GLANCED_SIDE = 64


def checked_input_range(input_range: Any) -> str | tuple[float, float] | None:
    """Check the option `input_range`.

    Args:
        input_range: "auto", two finite numbers (low, high), or None.

    Returns:
        The same, with the numbers as a tuple of floats.

    Raises:
        ValueError: It is none of these.
    """
    if input_range is None or (isinstance(input_range, str) and input_range == "auto"):
        return input_range
    values = [] if isinstance(input_range, str | bytes) or not np.iterable(input_range) else list(input_range)
    if len(values) == 2 and all(isinstance(value, Real) and math.isfinite(value) for value in values):
        low, high = float(values[0]), float(values[1])
        if low < high:
            return low, high
    raise ValueError(f"input_range must be 'auto' or (low, high) with low below high, got {input_range!r}")


def to_uint8(pixels: np.ndarray, input_range: InputRange = None, name: str = "images") -> tuple[np.ndarray, bool]:
    """Bring pixel values to 8 bits.

    bool becomes 0 and 255; uint8 stays as it is. Of all others `input_range` is mapped to 0..255, and values outside
    are clipped. Without it uint16 is scaled by 1/257, other integers must lie in [0, 255], and floats in [0, 1] or in
    [0, 255].

    Args:
        pixels: An array of any shape, without an alpha channel.
        input_range: (low, high); or "auto" for the lowest and the highest value of this image, without the thousandth
            of its pixels at either end where these alone make the range more than four times as wide.
        name: For messages.

    Returns:
        uint8 of the same shape; and whether the values came as floats in [0, 1].

    Raises:
        TypeError: Values that are no real numbers.
        ValueError: Values that are not finite or out of range.

    Warns:
        UserWarning: The values fill less than a quarter of their range, so that the image is nearly of one tone; or
            whole numbers are 0 and 1 alone, or of int8.
    """
    if pixels.dtype == np.uint8:
        warn_if_zero_and_one(pixels, input_range, name)
        return pixels, False
    if pixels.dtype == bool:
        return np.where(pixels, np.uint8(255), np.uint8(0)), False
    if pixels.dtype.kind not in "iuf":
        raise TypeError(f"images must hold numbers, got an array of {pixels.dtype}")
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):
            pixels = pixels.astype(np.float32)
        if not np.isfinite(pixels).all():
            raise ValueError(f"{name} must be finite in 32 bits, got NaN, infinity or numbers too large")
    input_range = checked_input_range(input_range)
    if input_range is not None:
        low, high = _found_range(pixels) if isinstance(input_range, str) else input_range
        if low == high:
            return np.zeros(pixels.shape, np.uint8), False
        return _rounded((np.clip(pixels.astype(np.float64), low, high) - low) * (255 / (high - low))), False
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:
        _warn_if_narrow(pixels, 65535, name)
        return ((pixels.astype(np.int32) + 128) // 257).astype(np.uint8), False
    if pixels.dtype.kind != "f":
        check_range(pixels, 0, 255, name)
        warn_if_zero_and_one(pixels, input_range, name)
        if pixels.dtype == np.int8:
            warnings.warn(
                f"{name} of int8 hold at most 127, of 255, so the image is half as bright for the model; "
                "input_range=(0, 127) or (0, 255) says how they are meant",
                stacklevel=2,
            )
        return pixels.astype(np.uint8), False
    return _floats_to_uint8(pixels, name)


def warn_if_zero_and_one(pixels: Any, input_range: InputRange = None, name: str = "images") -> None:
    """Warn of whole numbers that are 0 and 1 alone: black for the model, and often floats in [0, 1] that were cast.

    Args:
        pixels: An array or a tensor of any shape and of whole numbers in 0 to 255.
        input_range: See `to_uint8`; one that ends above 1 says that they are meant so.
        name: For messages.

    Warns:
        UserWarning: There are zeros and ones, and nothing else.
    """
    input_range = checked_input_range(input_range)
    if isinstance(input_range, tuple) and input_range[1] > 1:
        return
    # A few pixels show that it is a photo; only what could be zeros and ones is read whole.
    if _every(pixels, _GLANCED_SIDE).max() <= 1 and pixels.max() == 1 and pixels.min() == 0:
        warnings.warn(
            f"{name} of {pixels.dtype} hold only 0 and 1, of 255, so the image is black for the model; were floats in "
            "[0, 1] cast to whole numbers? Pass them as floats, or a mask as bool; input_range=(0, 255) says that they "
            "are meant so",
            stacklevel=2,
        )


def _every(pixels: Any, side: int) -> Any:
    """About `side` entries of every dimension, evenly spread."""
    return pixels[tuple(slice(None, None, max(1, length // side)) for length in pixels.shape)]


def _floats_to_uint8(pixels: np.ndarray, name: str) -> tuple[np.ndarray, bool]:
    highest = pixels.max()
    if highest <= 1 + UNIT_RANGE_TOLERANCE:
        check_range(pixels, -UNIT_RANGE_TOLERANCE, 1 + UNIT_RANGE_TOLERANCE, name)
        _warn_if_narrow(pixels, 1, name)
        return _rounded((pixels * np.float32(255)).clip(0, 255)), True
    check_range(pixels, 0, 255, name)
    if highest < 2:
        raise ValueError(
            f"{name} of floats must be in [0, 1] or in [0, 255], got a maximum of {float(highest):g}, which fits "
            "neither: clip them, pass uint8, or give input_range='auto' or input_range=(low, high)"
        )
    _warn_if_narrow(pixels, 255, name)
    return _rounded(pixels), False


def _rounded(pixels: np.ndarray) -> np.ndarray:
    return np.rint(pixels).astype(np.uint8)


def check_range(pixels: np.ndarray, low: float, high: float, name: str) -> None:
    """Refuse values outside [low, high], naming the option that takes them."""
    lowest, highest = float(pixels.min()), float(pixels.max())
    if lowest < low or highest > high:
        raise ValueError(
            f"{name} of {pixels.dtype} must hold values in [{low:g}, {high:g}], got {lowest:g} to {highest:g}; "
            "input_range='auto' or input_range=(low, high) stretches other ranges"
        )


def _found_range(pixels: np.ndarray) -> tuple[float, float]:
    """Lowest and highest value, without outliers where these alone make the range wide."""
    low, high = float(pixels.min()), float(pixels.max())
    sampled = _every(pixels, _SAMPLED_SIDE).astype(np.float64)
    inner_low, inner_high = np.percentile(sampled, [OUTLIERS_PERCENT, 100 - OUTLIERS_PERCENT]).tolist()
    if inner_low < inner_high and (inner_high - inner_low) < NARROW_SHARE * (high - low):
        return inner_low, inner_high
    return low, high


def _warn_if_narrow(pixels: np.ndarray, full: float, name: str) -> None:
    low, high = _found_range(pixels)
    if low < high and high - low < NARROW_SHARE * full:
        warnings.warn(
            f"{name} of {pixels.dtype} hold values in [{low:g}, {high:g}], a small part of [0, {full:g}], so the image "
            "is nearly of one tone for the model; input_range='auto' or input_range=(low, high) stretches it",
            stacklevel=2,
        )
