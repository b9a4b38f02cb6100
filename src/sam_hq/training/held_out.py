"""Recognise the photos that are kept for evaluation, so that none of them is ever trained on."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from .held_out_photos import HASHES

HASH_SIDE = 8
MAX_HASH_DISTANCE = 8  # of 64 bits: copies that were resized or recompressed differ by a few, other photos by about 32


def perceptual_hash(image: Image.Image) -> int:
    """Difference hash of a picture: 64 bits that survive resizing, recompression and small changes of brightness.

    Args:
        image: Any picture; only its grey values are looked at.

    Returns:
        One bit per cell of an 8x8 grid, set where the cell is darker than its right neighbour.
    """
    grey = image.convert("L").resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX)
    values = np.asarray(grey).astype(np.int16)
    bits = (values[:, :-1] < values[:, 1:]).reshape(-1)
    return int("".join("1" if bit else "0" for bit in bits), 2)


@cache
def held_out_hashes() -> dict[str, int]:
    """Hashes of the evaluation photos by name, and of their mirror images (`<name>~`)."""
    pairs = (line.split() for line in HASHES.splitlines())
    return {name: int(value, 16) for name, value in pairs}


def is_held_out(image: Image.Image) -> bool:
    """Whether the picture is one of the evaluation photos, or a resized, recompressed or mirrored copy."""
    value = perceptual_hash(image)
    return any((value ^ other).bit_count() <= MAX_HASH_DISTANCE for other in held_out_hashes().values())


def hash_table(folder: str | Path) -> str:
    """The text of `held_out_photos.HASHES` for a folder of photos.

    Args:
        folder: Where the photos lie.

    Returns:
        One line `name hash` per photo and per mirror image.
    """
    lines = []
    for path in sorted(Path(folder).iterdir()):
        with Image.open(path) as image:
            picture = image.convert("RGB")
        for mark, variant in (("", picture), ("~", picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))):
            lines.append(f"{path.stem}{mark} {perceptual_hash(variant):016x}")
    return "\n".join(lines) + "\n"
