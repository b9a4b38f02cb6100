"""The weights inside an ONNX file, read without the package onnx: none may be NaN or infinite.

Source: onnx.proto of the ONNX format, in the encoding of protocol buffers; the numbers are its fields'.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_MODEL_GRAPH, _GRAPH_INITIALIZER = 7, 5
_DATA_TYPE, _FLOAT_DATA, _NAME, _RAW_DATA, _EXTERNAL_DATA = 2, 4, 8, 9, 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_FLOATING: dict[Any, np.dtype[Any]] = {1: np.dtype("<f4"), 10: np.dtype("<f2"), 11: np.dtype("<f8")}
# Wire types.
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5
_NUMBERS_AT_ONCE = 2**20


def check_finite_weights(path: Path) -> None:
    """Refuse a graph whose stored weights hold NaN or infinity.

    Args:
        path: A file that onnxruntime has loaded, so that it is well-formed.

    Raises:
        ValueError: If a tensor of weights holds such a number. A single number may be infinite, as limits are.
    """
    for name, values in _stored_weights(np.memmap(path, np.uint8, "r").data, path.parent):
        damaged = np.isnan if values.size == 1 else _is_not_finite
        for start in range(0, values.size, _NUMBERS_AT_ONCE):
            if damaged(values[start : start + _NUMBERS_AT_ONCE]).any():
                raise ValueError(f"{str(path)!r} is damaged: its weights {name!r} hold NaN or infinity")


def _is_not_finite(values: np.ndarray) -> np.ndarray:
    return ~np.isfinite(values)


def _stored_weights(content: memoryview, folder: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names and numbers, in one row, of all tensors of floating point numbers."""
    for graph in _parts(content, _MODEL_GRAPH):
        for tensor in _parts(graph, _GRAPH_INITIALIZER):
            fields = dict(_fields(tensor))
            dtype = _FLOATING.get(fields.get(_DATA_TYPE))
            if dtype is None:
                continue
            if _EXTERNAL_DATA in fields:
                values = _external(tensor, folder, dtype)
            else:
                values = np.frombuffer(fields.get(_RAW_DATA, fields.get(_FLOAT_DATA, b"")), dtype)
            yield bytes(fields.get(_NAME, b"")).decode(errors="replace"), values


def _external(tensor: memoryview, folder: Path, dtype: np.dtype) -> np.ndarray:
    """The numbers of a tensor that lie in a file beside the graph."""
    place = {}
    for entry in _parts(tensor, _EXTERNAL_DATA):
        fields = dict(_fields(entry))
        place[bytes(fields[_ENTRY_KEY]).decode()] = bytes(fields[_ENTRY_VALUE]).decode()
    length = int(place["length"]) // dtype.itemsize
    return np.memmap(folder / place["location"], dtype, "r", int(place.get("offset", "0")), (length,))


def _parts(message: memoryview, field: int) -> Iterator[memoryview]:
    return (value for number, value in _fields(message) if number == field)


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Numbers and values of the fields of a message: numbers as they are, everything else as its bytes."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        if kind == _LENGTH:
            length, position = _varint(message, position)
        else:
            length = {_EIGHT_BYTES: 8, _FOUR_BYTES: 4}[kind]
        yield tag >> 3, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[position]
        value |= (byte & 127) << shift
        position, shift = position + 1, shift + 7
        if byte < 128:
            return value, position
