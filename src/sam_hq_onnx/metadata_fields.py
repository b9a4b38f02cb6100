"""The single values of a graph's metadata: strings to what they mean, refused by name where they mean nothing."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from sam_hq_numpy.mask_generation_options import MaskGenerationOptions

_FILTERS = tuple(resampling.name.lower() for resampling in Image.Resampling)
_DTYPES = ("fp32", "fp16", "int8")


def read_field(strings: Mapping[str, str], key: str, source: str) -> Any:
    """Read one value.

    Args:
        strings: Keys and values as they are in the file.
        key: An attribute of `GraphMetadata`.
        source: Where they come from, for messages.

    Raises:
        ValueError: If it is missing or impossible; the message has `source`, the key, what came and what was wanted.
    """
    wanted, read = FIELDS[key]
    if key not in strings:
        if key in _NOT_YET_WRITTEN:
            return _NOT_YET_WRITTEN[key]()
        raise ValueError(f"the metadata of {source} are damaged: {key} is missing, it must be {wanted}")
    try:
        return read(strings[key])
    except (AttributeError, OverflowError, RecursionError, TypeError, ValueError) as error:
        why = f": {error}" if key == "mask_generation" else ""
        raise ValueError(
            f"the metadata of {source} are damaged: {key} must be {wanted}, got {str(strings[key])[:200]!r}{why}"
        ) from error


def _text(value: str) -> str:
    return _if(isinstance(value, str) and value != "", value)


def _one_of(choices: tuple[str, ...]) -> Callable[[str], str]:
    return lambda value: _if(value in choices, value)


def _side(value: str) -> int:
    return _if(int(str(value)) >= 1, int(value))


def _size(value: str) -> dict[str, int]:
    size = json.loads(value)
    sides_are_sides = all(type(side) is int and side >= 1 for side in size.values())
    return _if(set(size) in ({"longest_edge"}, {"height", "width"}) and sides_are_sides, size)


def _threshold(value: str) -> float:
    return _if(math.isfinite(float(value)), float(value))


def _three_numbers(value: str) -> tuple[float, ...]:
    numbers = json.loads(value)
    _if(len(numbers) == 3 and all(type(number) in (int, float) for number in numbers), numbers)
    with np.errstate(over="ignore"):
        return _if(bool(np.isfinite(np.array(numbers, dtype=np.float32)).all()), tuple(map(float, numbers)))


def _three_divisors(value: str) -> tuple[float, ...]:
    numbers = _three_numbers(value)
    return _if(bool((np.array(numbers, dtype=np.float32) > 0).all()), numbers)


def _generation_options(value: str) -> dict[str, Any]:
    options = dict(json.loads(value))
    MaskGenerationOptions().updated(options)
    return options


def _truth(value: str) -> bool:
    return bool(_if(value in ("true", "false"), value == "true"))


def _if(possible: bool, value: Any) -> Any:
    if not possible:
        raise ValueError(value)
    return value


# What each must be, and how it is read; a reader raises whatever comes of a value that is not so.
FIELDS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "version": ("a version", _text),
    "model_type": ("the kind of an encoder", _text),
    "model": ("a digest of weights", _text),
    "dtype": (f"one of {', '.join(_DTYPES)}", _one_of(_DTYPES)),
    "image_size": ("a positive whole number", _side),
    "mask_size": ("a positive whole number", _side),
    "size": ('{"longest_edge": side} or {"height": side, "width": side}, sides positive whole numbers', _size),
    "image_mean": ("three finite numbers", _three_numbers),
    "image_std": ("three finite numbers above 0", _three_divisors),
    "resample": (f"one of {', '.join(_FILTERS)}", _one_of(_FILTERS)),
    "mask_threshold": ("a finite number", _threshold),
    "mask_generation": ("options of mask generation by name", _generation_options),
    "hq_token_trained_alone": ("true or false", _truth),
}
# What earlier versions left out, and what it was then.
_NOT_YET_WRITTEN: dict[str, Callable[[], Any]] = {"mask_generation": dict, "hq_token_trained_alone": lambda: True}
