"""Sizes of images in the frames that `mask_frames` describes; plain numbers."""

import warnings
from collections.abc import Sequence
from typing import Any

from .number_limits import as_whole, shown

# More than any photo has; a size beyond it is a mistake, and would ask for all memory.
MOST_PIXELS = 2**34


def resized_size(original_size: Sequence[int], longest_edge: int) -> tuple[int, int]:
    """Size of an image after its longest side was scaled to `longest_edge`, rounded half up.

    Args:
        original_size: (height, width) in pixels.
        longest_edge: Wanted longest side.

    Source: segment_anything_hq/utils/transforms.py, `ResizeLongestSide.get_preprocess_shape`.
    """
    height, width = original_size
    scale = longest_edge * 1.0 / max(height, width)
    # A strip a thousand times longer than wide would round to nothing.
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def size_pairs(name: str, sizes: Any, count: int | None = None) -> list[tuple[int, int]]:
    """Read a list of sizes.

    Args:
        name: The argument's name, for messages.
        sizes: (count, 2) height, width, as a tensor, an array or a list.
        count: How many there must be, any number if left out.

    Raises:
        ValueError: Not that many pairs of whole numbers from 1, none at all, or images no memory would hold.
    """
    try:
        pairs = [[as_whole(side) for side in size] for size in sizes]
    except (AttributeError, OverflowError, RuntimeError, TypeError, ValueError):
        pairs = []
    wanted = "" if count is None else f"{count} "
    if not pairs or len(pairs) != (count or len(pairs)) or any(len(pair) != 2 or min(pair) < 1 for pair in pairs):
        raise ValueError(f"{name} must be {wanted}pairs of height and width, whole numbers from 1, got {shown(sizes)}")
    for height, width in pairs:
        if height * width > MOST_PIXELS:
            raise ValueError(f"{name} must be of at most {MOST_PIXELS} pixels each, got {shown((height, width))}")
    return [(height, width) for height, width in pairs]


def check_same_shape(
    original_sizes: Sequence[tuple[int, int]],
    reshaped_sizes: Sequence[tuple[int, int]],
    squashed: Sequence[tuple[int, int]] = (),
) -> None:
    """Refuse sizes of two frames that cannot be of one image, such as those with height and width exchanged.

    Args:
        original_sizes: (height, width) of every image.
        reshaped_sizes: (height, width) of every image in the resized frame.
        squashed: Sizes in the resized frame that do not keep an image's shape.

    Raises:
        ValueError: The two differ in shape by more than rounding.
    """
    for i, (original, reshaped) in enumerate(zip(original_sizes, reshaped_sizes, strict=True)):
        if reshaped in squashed or _is_resized(original, reshaped):
            continue
        hint = "are height and width exchanged?" if _is_resized(original[::-1], reshaped) else "are they of one image?"
        raise ValueError(
            f"original_sizes[{i}] and reshaped_input_sizes[{i}] must have the same shape as (height, width), got "
            f"{original} and {reshaped}; {hint}"
        )


def warn_if_exchanged(
    original_sizes: Sequence[tuple[int, int]],
    reshaped_sizes: Sequence[tuple[int, int]],
    resized_again: Sequence[tuple[int, int]],
) -> None:
    """Warn of original and resized sizes that are right only if one is taken for the other.

    Args:
        original_sizes: (height, width) of every image.
        reshaped_sizes: (height, width) of every image in the resized frame.
        resized_again: What images of `reshaped_sizes` have in the resized frame.

    Warns:
        UserWarning: What are called resized sizes become, resized, what are called original sizes.
    """
    if list(original_sizes) == list(resized_again) != list(reshaped_sizes):
        warnings.warn(
            f"original_sizes {shown(list(original_sizes))} are what images of reshaped_input_sizes "
            f"{shown(list(reshaped_sizes))} are resized to: are the two exchanged? Masks have original_sizes now",
            stacklevel=3,
        )


def _is_resized(original: Sequence[int], reshaped: Sequence[int]) -> bool:
    kept = resized_size(original, max(reshaped))
    # Others round down, which is a pixel less.
    return max(abs(kept[0] - reshaped[0]), abs(kept[1] - reshaped[1])) <= 1
