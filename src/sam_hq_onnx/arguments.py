"""What callers pass, refused by name where it cannot be meant."""

import math
from typing import Any

import numpy as np

from sam_hq_numpy.mask_generation_options import MaskGenerationOptions


def check_size(name: str, size: Any, at_most: float = math.inf) -> None:
    """Refuse what is not a height and a width.

    Args:
        name: The argument's name.
        size: What came.
        at_most: The longest side there may be.

    Raises:
        ValueError: If it is not two whole numbers from 1.
    """
    sides = list(size) if isinstance(size, list | tuple | np.ndarray) else []
    if len(sides) != 2 or not all(isinstance(side, int | np.integer) and 1 <= side <= at_most for side in sides):
        limit = "" if at_most == math.inf else f" to {at_most}"
        raise ValueError(f"{name} must be a height and a width, whole numbers from 1{limit}, got {size!r}")


def check_supported(options: MaskGenerationOptions) -> None:
    """Refuse options of mask generation that the runner would ignore.

    Args:
        options: All options.

    Raises:
        ValueError: If `tile_size` is given.
    """
    if options.tile_size is not None:
        raise ValueError(
            f"tile_size is not supported without torch, got {options.tile_size}; leave it out, or use "
            "SamHQMaskGenerator"
        )
