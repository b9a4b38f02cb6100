"""The weights that a graph stores: none may be NaN or infinite, and those beside it must be its own."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .onnx_file import files_beside, stored_weights

CHECKSUM_KEY = "weights_crc32"
_NUMBERS_AT_ONCE = 2**20
_BYTES_AT_ONCE = 2**22


def check_finite_weights(path: Path) -> None:
    """Refuse a graph whose stored weights hold NaN or infinity.

    Args:
        path: A file that onnxruntime has loaded, so that it is well-formed.

    Raises:
        ValueError: If a tensor of weights holds such a number. A single number may be infinite, as limits are.
    """
    for name, values in stored_weights(path):
        damaged = np.isnan if values.size == 1 else _is_not_finite
        for start in range(0, values.size, _NUMBERS_AT_ONCE):
            if damaged(values[start : start + _NUMBERS_AT_ONCE]).any():
                raise ValueError(f"{str(path)!r} is damaged: its weights {name!r} hold NaN or infinity")


def _is_not_finite(values: np.ndarray) -> np.ndarray:
    return ~np.isfinite(values)


def weights_checksum(files: Sequence[Path]) -> str:
    """The CRC-32 of files, one after the other, read in parts: 0.3 s per GB where SHA-256 takes 0.7 or more.

    Args:
        files: The files.
    """
    checksum = 0
    for file in files:
        with file.open("rb") as opened:
            while part := opened.read(_BYTES_AT_ONCE):
                checksum = zlib.crc32(part, checksum)
    return f"{checksum:08x}"


def check_weights_beside(path: Path, strings: Mapping[str, str]) -> None:
    """Refuse weights beside a graph that are not those that were written with it.

    Args:
        path: The graph's file.
        strings: Its metadata. Those of earlier versions hold no checksum, and nothing is checked.

    Raises:
        ValueError: If the files have another checksum than the metadata say.
    """
    if CHECKSUM_KEY not in strings or not (files := files_beside(path)):
        return
    found = weights_checksum(files)
    if found != strings[CHECKSUM_KEY]:
        names = ", ".join(repr(file.name) for file in files)
        raise ValueError(
            f"the weights beside {str(path)!r} are not those that were written with it: {CHECKSUM_KEY} of {names} is "
            f"{found!r}, its metadata say {strings[CHECKSUM_KEY]!r}; were files of two exports mixed?"
        )
