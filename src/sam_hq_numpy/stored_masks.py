"""Mask files as people have them, read as masks where only one reading is possible; numpy and Pillow alone."""

from pathlib import Path

import numpy as np
from PIL import Image

from .photo_files import decoded_photo

LOSSY_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".j2k", ".jp2", ".jpx", ".j2c", ".jpc", ".heic")
SOFT_SHARE = 0.05  # of the pixels, on the edges of a mask whose values are not two alone
# How far colours may be from shades of one colour, on the way of a file that keeps all values and of one that does not.
_SHADE_TOLERANCE, _LOSSY_SHADE_TOLERANCE = 24, 96
_FAINTEST = 64  # peak of a lossy mask


def read_mask(path: str | Path) -> np.ndarray | Exception:
    """Read a mask file.

    Two values, indices or colours of which one is 0 or black are background and object, whatever the other is. Lossy
    files are cut at half of their brightest value. Everything else comes as it is stored, to be judged by `mask_fault`.

    Args:
        path: The file.

    Returns:
        (H, W) bool; or the stored values, (H, W) or with several colours (H, W, 3); or what made it unreadable.
    """
    try:
        return _values(decoded_photo(path), Path(path).suffix.lower() in LOSSY_SUFFIXES)
    except ValueError as error:
        return error.__cause__ if isinstance(error.__cause__, Exception) else error


def read_pixels(image: Image.Image) -> np.ndarray:
    """As `read_mask`, of a decoded image that keeps all values.

    Args:
        image: The image.
    """
    return _values(image, is_lossy=False)


def mask_fault(raw: np.ndarray | Exception, size: tuple[int, int]) -> str | None:
    """What is wrong with a mask for an image of (height, width), or None.

    A mask may be bool, 0/1 or 0/255, with soft edges of up to 5 % of its pixels.

    Args:
        raw: What `read_mask` gave.
        size: Of the image.
    """
    if isinstance(raw, Exception):
        return f"unreadable mask ({raw if isinstance(raw, UnreadableMaskError) else type(raw).__name__})"
    if raw.ndim != 2:
        return "mask with several channels"
    if raw.shape != tuple(size):
        return "mask of another size than the image"
    if not raw.any():
        return "empty mask"
    if raw.dtype != bool and not raw.min() >= 0:  # NaN is not either
        return "mask is not binary"
    if raw.dtype == bool or raw.max() <= 1:
        return None
    # The numbers of several objects, such as 0, 1, 2, 3, have nothing near 255, or something beyond.
    if not 127 < raw.max() <= 255 or np.mean((raw > 12) & (raw < 243)) > SOFT_SHARE:
        return "mask is not binary"
    return None


def as_mask(raw: np.ndarray) -> np.ndarray:
    """The object of a mask without a fault, (H, W) bool."""
    return raw > 127 if raw.dtype != bool and raw.max() > 1 else raw != 0


class UnreadableMaskError(ValueError):
    """A mask whose description cannot be drawn; the message is the reason."""


def _values(image: Image.Image, is_lossy: bool) -> np.ndarray:
    if image.mode == "1":
        image = image.convert("L")  # as an array its true pixels are bytes of 255 called bool
    if image.mode == "P":
        indices = np.asarray(image)
        if indices.any() and len(np.unique(indices)) == 2 and not indices.all() and not _is_black(image, indices.max()):
            return indices != 0
    if image.mode == "L" or image.mode == "F" or image.mode.startswith("I"):
        return _gray_values(np.asarray(image), is_lossy)
    colours = np.asarray(image.convert("RGBA" if image.mode == "P" and "transparency" in image.info else image.mode))
    if colours.ndim == 3 and colours.shape[2] in (2, 4) and image.mode in ("LA", "RGBA", "P"):
        alpha, colours = colours[..., -1], colours[..., :-1]
        if (colours == colours[:1, :1]).all() and alpha.min() != alpha.max():  # an object cut out of one colour
            return _gray_values(alpha, is_lossy)
    if colours.ndim != 3 or colours.shape[2] != 3:
        colours = np.asarray(image.convert("RGB"))
    return _coloured_values(colours, is_lossy)


def _is_black(image: Image.Image, index: int) -> bool:
    """Whether a colour of a palette is black and the first is not, so that indices and colours contradict."""
    colours = np.array(image.getpalette("RGB") or [0], dtype=np.uint8)
    return not colours[3 * index : 3 * index + 3].any() and bool(colours[:3].any())


def _gray_values(gray: np.ndarray, is_lossy: bool) -> np.ndarray:
    lowest, highest = gray.min(), gray.max()
    if highest == 0 != lowest and ((gray == 0) | (gray == lowest)).all():
        return gray == lowest
    if lowest == 0 and highest != 0 and ((gray == 0) | (gray == highest)).all():
        return gray == highest
    if gray.dtype.kind == "f":
        return np.rint(gray * 255).astype(np.int64) if lowest >= 0 and highest <= 1 else gray
    if 255 < highest <= 65535 and lowest >= 0:  # 16 bits with soft edges
        gray = (gray // 257).astype(np.uint8)
    if is_lossy and highest >= _FAINTEST:
        peak = float(gray.max())
        if np.mean((gray > peak / 4) & (gray < peak * 3 / 4)) <= SOFT_SHARE and gray.min() <= peak / 4:
            return gray > peak / 2
    return gray


def _coloured_values(colours: np.ndarray, is_lossy: bool) -> np.ndarray:
    brightness = colours.max(axis=2)
    peak = colours[np.unravel_index(brightness.argmax(), brightness.shape)].astype(np.float32)
    if not peak.any():
        return brightness
    shades = brightness[..., None] * (peak / peak.max())
    # On black there is one object in one colour, or there are several in theirs.
    apart = np.abs(shades - colours).max(axis=2) > (_LOSSY_SHADE_TOLERANCE if is_lossy else _SHADE_TOLERANCE)
    if np.mean(apart) > (SOFT_SHARE / 10 if is_lossy else 0):
        return colours
    return _gray_values(brightness, is_lossy)
