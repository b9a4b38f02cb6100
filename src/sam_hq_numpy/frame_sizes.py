"""Sizes of photographs in the frames that `mask_frames` describes; plain numbers."""

from collections.abc import Sequence
from typing import Any


def resized_size(original_size: Sequence[int], longest_edge: int) -> tuple[int, int]:
    """Size of a photograph after its longest side was scaled to `longest_edge`, rounded half up.

    Args:
        original_size: (height, width) in pixels.
        longest_edge: wanted longest side.

    Source: segment_anything_hq/utils/transforms.py, `ResizeLongestSide.get_preprocess_shape`.
    """
    height, width = original_size
    scale = longest_edge * 1.0 / max(height, width)
    # A strip a thousand times longer than wide would round to nothing.
    return max(1, int(height * scale + 0.5)), max(1, int(width * scale + 0.5))


def size_pairs(name: str, sizes: Any, count: int | None = None) -> list[tuple[int, int]]:
    """Read a list of sizes.

    Args:
        name: the argument's name, for messages.
        sizes: (count, 2) height, width, as a tensor, an array or a list.
        count: how many there must be, any number if left out.

    Raises:
        ValueError: not that many pairs of positive numbers, or none at all.
    """
    try:
        pairs = [[int(side) for side in size] for size in sizes]
    except (TypeError, ValueError):
        pairs = None
    wanted = "" if count is None else f"{count} "
    if not pairs or len(pairs) != (count or len(pairs)) or any(len(pair) != 2 or min(pair) < 1 for pair in pairs):
        raise ValueError(f"{name} must be {wanted}pairs of height and width, got {sizes!r}")
    return [(int(height), int(width)) for height, width in pairs]
