"""Numbers and choices that callers pass, refused by the argument's name where they cannot be meant; counts in words."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

_NAMES_SHOWN = 20


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun, such as "1 image" and "2 images".

    Args:
        count: The count.
        noun: The noun, singular.
        plural: Its plural, where that is not the noun and an s.
    """
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def as_whole(value: Any) -> int:
    """A whole number of any type, such as an array's entry or 3.0, as an int.

    Args:
        value: What came.

    Raises:
        ValueError: If it is none; what is no number at all may raise a TypeError or an OverflowError instead.
    """
    number = value.item() if hasattr(value, "item") else value
    if isinstance(number, bool) or not isinstance(number, int | float) or number != int(number):
        raise ValueError(f"{shown(value, 80)} is no whole number")
    return int(number)


def check_whole(name: str, value: object, at_least: int, at_most: float = math.inf, optional: bool = False) -> None:
    """Refuse what is no whole number within limits.

    Args:
        name: The argument's name.
        value: What came.
        at_least: The smallest number allowed.
        at_most: The largest number allowed.
        optional: Whether None is allowed.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is outside the limits.
    """
    if optional and value is None:
        return
    or_none = " or None" if optional else ""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number{or_none}, got {value!r}")
    if int(value) < at_least:
        raise ValueError(f"{name} must be at least {at_least}{or_none}, got {shown(value)}")
    if int(value) > at_most:
        raise ValueError(f"{name} must be at most {at_most}{or_none}, got {shown(value)}")


def check_number(
    name: str,
    value: object,
    *,
    at_least: float = -math.inf,
    above: float = -math.inf,
    at_most: float = math.inf,
    below: float = math.inf,
    optional: bool = False,
) -> None:
    """Refuse what is no finite number within limits.

    Args:
        name: The argument's name.
        value: What came.
        at_least: The smallest number allowed.
        above: A number that all allowed ones are above.
        at_most: The largest number allowed.
        below: A number that all allowed ones are below.
        optional: Whether None is allowed.

    Raises:
        TypeError: If it is no real number.
        ValueError: If it is NaN, infinite or outside the limits.
    """
    if optional and value is None:
        return
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(f"{name} must be a number{' or None' if optional else ''}, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # a whole number of hundreds of digits
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, got {shown(value)}")
    limits = [("at least", at_least), ("above", above), ("at most", at_most), ("below", below)]
    wanted = " and ".join(f"{word} {limit}" for word, limit in limits if math.isfinite(limit))
    if not (at_least <= number <= at_most and above < number < below):
        raise ValueError(f"{name} must be {wanted}, got {value}")


def check_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Refuse what is none of a few values.

    Args:
        name: The argument's name.
        value: What came.
        choices: All that are allowed.

    Raises:
        ValueError: If it is something else.
    """
    known = tuple(choices)
    if isinstance(value, np.ndarray) or value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, got {value!r}")


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither True nor False, such as 0 or "no".

    Args:
        name: The argument's name.
        value: What came.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")


def shown(value: object, limit: int = 200) -> str:
    """A value for an error message, however long it is or deep its lists are.

    Args:
        value: What came.
        limit: Most characters.
    """
    try:
        return str(value)[:limit]
    except (RecursionError, ValueError):  # of many levels, or with a number of thousands of digits
        return f"a {type(value).__name__} that is too long to be shown"


def listed_names(names: Sequence[str], limit: int = _NAMES_SHOWN) -> str:
    """Names for an error message, the first ones if they are many.

    Args:
        names: Such as those of weights.
        limit: How many are named.
    """
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def listed_faults(faults: Mapping[str, Collection[str]], limit: int = _NAMES_SHOWN) -> str:
    """What is wrong with weights, for an error message; empty where nothing is.

    Args:
        faults: Names of weights by their fault, such as "missing".
        limit: How many are named of each.
    """
    return "; ".join(
        f"{len(names)} {fault}: {listed_names(sorted(names), limit)}" for fault, names in faults.items() if names
    )
