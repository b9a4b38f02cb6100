"""An ONNX file read without the package onnx: its metadata, its weights, and the files that hold weights beside it.

Source: onnx.proto of the ONNX format, in the encoding of protocol buffers; the numbers are its fields'.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

_MODEL_GRAPH, _MODEL_METADATA, _GRAPH_INITIALIZER = 7, 14, 5
_DATA_TYPE, _FLOAT_DATA, _NAME, _RAW_DATA, _EXTERNAL_DATA = 2, 4, 8, 9, 13
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_FLOATING: dict[Any, np.dtype[Any]] = {1: np.dtype("<f4"), 10: np.dtype("<f2"), 11: np.dtype("<f8")}
# Wire types.
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def stored_metadata(path: Path) -> dict[str, str]:
    """The keys and values that a graph says about itself.

    Args:
        path: The graph's file.

    Raises:
        ValueError: If it is not an ONNX file.
        OSError: If it cannot be read.
    """
    with _damage_named(path):
        return dict(_entry(part) for part in _parts(_content(path), _MODEL_METADATA))


def stored_weights(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names and numbers, in one row, of all tensors of floating point numbers.

    Args:
        path: A file that onnxruntime has loaded, so that it is well-formed.
    """
    for tensor in _tensors(path):
        fields = dict(_fields(tensor))
        dtype = _FLOATING.get(fields.get(_DATA_TYPE))
        if dtype is None:
            continue
        if _EXTERNAL_DATA in fields:
            place = _place(tensor)
            count = int(place["length"]) // dtype.itemsize
            file = path.parent / place["location"]
            values: np.ndarray = np.memmap(file, dtype, "r", int(place.get("offset", "0")), (count,))
        else:
            values = np.frombuffer(fields.get(_RAW_DATA, fields.get(_FLOAT_DATA, b"")), dtype)
        yield bytes(fields.get(_NAME, b"")).decode(errors="replace"), values


def files_beside(path: Path) -> list[Path]:
    """The files in which a graph has weights, besides its own, sorted.

    Args:
        path: The graph's file.

    Raises:
        ValueError: If it is not an ONNX file.
        OSError: If it cannot be read.
    """
    with _damage_named(path):
        places = (_place(tensor) for tensor in _tensors(path))
        return sorted({path.parent / place["location"] for place in places if "location" in place})


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Say of which file it is that cannot be read as the format wants."""
    try:
        yield
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{str(path)!r} is damaged, or no ONNX file") from error


def _content(path: Path) -> memoryview:
    return np.memmap(path, np.uint8, "r").data


def _tensors(path: Path) -> Iterator[memoryview]:
    for graph in _parts(_content(path), _MODEL_GRAPH):
        yield from _parts(graph, _GRAPH_INITIALIZER)


def _place(tensor: memoryview) -> dict[str, str]:
    """Where a tensor's numbers lie, if not in the graph's file."""
    return dict(_entry(part) for part in _parts(tensor, _EXTERNAL_DATA))


def _entry(part: memoryview) -> tuple[str, str]:
    fields = dict(_fields(part))
    return bytes(fields[_ENTRY_KEY]).decode(), bytes(fields.get(_ENTRY_VALUE, b"")).decode()


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
