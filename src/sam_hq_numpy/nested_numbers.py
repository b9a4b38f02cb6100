"""Nested lists, arrays and tensors: how deep they are, and their numbers; torch is not needed to tell its tensors."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from .number_limits import shown

if TYPE_CHECKING:
    import torch

# More than any prompt has, and few enough to be walked through.
MAX_LEVELS = 8


def check_readable(name: str, value: Any) -> None:
    """Refuse arrays and tensors whose numbers cannot be read one by one, by the argument's name.

    Args:
        name: The argument's name.
        value: What came; anything that is neither an array nor a tensor passes.

    Raises:
        TypeError: A masked array, or a tensor that is complex, sparse, quantised or without data.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must hold plain numbers, got a masked array; fill it, or leave out what is masked")
    if not is_tensor(value):
        return
    if value.is_complex() or value.is_quantized or value.is_meta or value.layout != sys.modules["torch"].strided:
        kind = "quantised " if value.is_quantized else ""
        raise TypeError(
            f"{name} must hold real numbers, got a {kind}{value.layout} tensor of {value.dtype} on {value.device}"
        )


def nesting_depth(value: Any, at_most: int = MAX_LEVELS) -> int:
    """Count the levels of nested lists, arrays and tensors, lists no further than `at_most`; 0 for a number."""
    if is_array(value):
        return value.ndim
    if not isinstance(value, list | tuple):
        return 0
    if not at_most:
        return 1
    return 1 + max((nesting_depth(entry, at_most - 1) for entry in value if entry is not None), default=0)


def holds_a_number(value: Any, at_most: int = MAX_LEVELS) -> bool:
    """Whether there is anything but empty lists, arrays and None."""
    if is_array(value):
        return 0 not in value.shape
    if isinstance(value, list | tuple):
        return at_most > 0 and any(holds_a_number(entry, at_most - 1) for entry in value)
    return value is not None


def plain_numbers(value: Any, name: str, allow_bool: bool = False) -> np.ndarray:
    """Make one array of float64 of a regular nesting.

    Args:
        value: Nested lists, arrays and tensors of any dtype, on any device.
        name: The argument's name, for messages.
        allow_bool: Whether True and False count as 1 and 0.

    Raises:
        TypeError: Something that is no number.
        ValueError: Lists of different lengths, or numbers beyond float64.
    """
    try:
        numbers = np.asarray(_without_tensors(value, name, allow_bool))
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{name} is not a regular list of numbers: {error}") from error
    if numbers.dtype.kind not in ("biuf" if allow_bool else "iuf"):
        raise TypeError(f"{name} must hold numbers, got {shown(value, 80)}")
    return numbers.astype(np.float64)


def _without_tensors(value: Any, name: str, allow_bool: bool, at_most: int = MAX_LEVELS) -> Any:
    """The same nesting, its tensors of any dtype, on any device, with or without a gradient, as arrays."""
    if isinstance(value, list | tuple):
        if not at_most:
            raise ValueError(f"more than {MAX_LEVELS} levels")
        return [_without_tensors(entry, name, allow_bool, at_most - 1) for entry in value]
    check_readable(name, value)
    if is_tensor(value):
        is_bool = value.dtype == sys.modules["torch"].bool
        value = value.detach().cpu() if is_bool else value.detach().cpu().double()
        value = value.numpy()
    # In a list beside numbers, True would become 1.
    if not allow_bool and (isinstance(value, bool | np.bool_) or (is_array(value) and value.dtype == np.bool_)):
        raise TypeError(f"{name} must hold numbers, got truth values")
    return value


def is_empty(value: Any) -> bool:
    """Whether it is None, an empty list, or an array of no rows."""
    if is_array(value):
        return value.ndim > 0 and len(value) == 0
    return value is None or (isinstance(value, list | tuple) and not value)


def is_array(value: Any) -> bool:
    """Whether it is an array or a tensor."""
    return isinstance(value, np.ndarray) or is_tensor(value)


def is_tensor(value: Any) -> TypeGuard[torch.Tensor]:
    """Whether it is a tensor; where torch is not imported, nothing can be one."""
    return "torch" in sys.modules and isinstance(value, sys.modules["torch"].Tensor)
