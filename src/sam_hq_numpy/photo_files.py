"""Photos of any source to upright 8-bit RGB pixels, through one decoder, with numpy and Pillow alone."""

import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Any

import numpy as np
from PIL import Image, ImageOps

from .image_arrays import check_pixel_count
from .photo_sources import UnreadableImageError, is_encoded, is_url, no_image, opened_source, source_name
from .value_ranges import InputRange, check_range, to_uint8, warn_if_zero_and_one

EXIF_ORIENTATION = 0x0112
# Their further frames are no photos of their own: previews and depth of cameras, the layers of a drawing.
_ONE_PHOTO_FORMATS = ("MPO", "PSD")
# Opened by Pillow, but drawn by other programs, or recognised and never decoded.
_NOT_DECODED = ("EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "PDF")

_bomb_limit_lock = threading.Lock()


def image_suffixes() -> tuple[str, ...]:
    """The suffixes of the files that this Pillow, with the plugins that are registered, decodes; lower case, sorted."""
    known = Image.registered_extensions()
    return tuple(sorted(suffix for suffix, kind in known.items() if kind in Image.OPEN and kind not in _NOT_DECODED))


def decoded_photo(source: Any, *, max_pixels: int | None = None, timeout: float | None = None) -> Image.Image:
    """Decode a photo once and keep it as Pillow holds it, upright, in its own mode: for large photos.

    Args:
        source: A Pillow image, or what `photo_sources.is_encoded` describes.
        max_pixels: Images with more pixels are refused before they are decoded; None: Pillow's own limit.
        timeout: Seconds that a download may take; None waits.

    Returns:
        The image, decoded.

    Raises:
        UnreadableImageError: A photo that cannot be opened or decoded.
        ValueError: One that is too large or empty.

    Warns:
        UserWarning: Of a file with several frames only one is read; or 16-bit colours turn nearly black.
    """
    if isinstance(source, Image.Image):
        return _upright(source, max_pixels, repr(source))
    name = source_name(source)
    with _opened(source, name, max_pixels, timeout) as (image, _):
        return _upright(image, max_pixels, name)


def decoded_whole(
    source: Any, *, max_pixels: int | None = None, timeout: float | None = None
) -> Image.Image | np.ndarray:
    """As `decoded_photo`, without losing the lower bits of 16-bit colours, which Pillow drops.

    Args:
        source: As in `decoded_photo`.
        max_pixels: As in `decoded_photo`.
        timeout: As in `decoded_photo`.

    Returns:
        The image; of a file with 16-bit colours (H, W, 3) uint16.
    """
    if isinstance(source, Image.Image):
        return _upright(source, max_pixels, repr(source))
    name = source_name(source)
    with _opened(source, name, max_pixels, timeout) as (image, file):
        other_bytes = _with_other_bytes(image, file) if _loses_bits(image) else None
        if other_bytes is None:
            return _upright(image, max_pixels, name)
        _warn_of_frames(image, name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of lost bits, which are not, and of frames again
            lower = np.asarray(_upright(other_bytes, max_pixels, name))[..., :3]
            upper = np.asarray(_upright(image, max_pixels, name))[..., :3]
        return upper.astype(np.uint16) << 8 | lower


def decoded_rgb(
    source: Any,
    *,
    max_pixels: int | None = None,
    input_range: InputRange = None,
    timeout: float | None = None,
) -> np.ndarray:
    """Decode a photo to 8-bit RGB; transparency is dropped, not blended.

    Args:
        source: As in `decoded_photo`.
        max_pixels: As in `decoded_photo`.
        input_range: For gray images of more than 8 bits, see `value_ranges.to_uint8`.
        timeout: As in `decoded_photo`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        UnreadableImageError: As `decoded_photo`.
        ValueError: As `decoded_photo`, and for values out of range.

    Warns:
        UserWarning: As `value_ranges.to_uint8`.
    """
    image = decoded_whole(source, max_pixels=max_pixels, timeout=timeout)
    if isinstance(image, np.ndarray):
        return to_uint8(image, input_range, f"images: the values of {source_name(source)}")[0]
    name = repr(image) if isinstance(source, Image.Image) else source_name(source)
    with _reported("decode", name):
        if image.mode != "F" and not image.mode.startswith("I"):
            if image.mode == "P" and "transparency" in image.info:
                image = image.convert("RGBA")  # Pillow warns when such a palette is converted to RGB directly
            rgb, gray = np.asarray(image.convert("RGB")), None
        else:
            gray = np.asarray(image)
    if gray is None:
        warn_if_zero_and_one(rgb, input_range, f"images: the values of {name}")
        return rgb
    # Mode I is what Pillow makes of 16-bit gray files, in 32 bits.
    if gray.dtype.kind in "iu" and input_range is None:
        check_range(gray, 0, 65535, f"images: the values of {name}")
        gray = gray.astype(np.uint16)
    gray, _ = to_uint8(gray, input_range, f"images: the values of {name}")
    return np.repeat(gray[..., None], 3, axis=2)


def upright_size(source: Any, max_pixels: int | None = None) -> tuple[int, int]:
    """Height and width of an upright photo, without decoding it.

    Args:
        source: As in `decoded_photo`, but no Pillow image.
        max_pixels: As in `decoded_photo`.

    Raises:
        UnreadableImageError: A photo that cannot be opened.
        ValueError: One that is too large or empty.
    """
    name = source_name(source)
    with _opened(source, name, max_pixels, None) as (image, _):
        width, height = image.size
        with _reported("read", name):
            turned = image.getexif().get(EXIF_ORIENTATION, 1) in (5, 6, 7, 8)
        return (width, height) if turned else (height, width)


@contextmanager
def _opened(
    source: Any, name: str, max_pixels: int | None, timeout: float | None
) -> Iterator[tuple[Image.Image, IO[bytes]]]:
    if not is_encoded(source):
        raise no_image(source)
    with (
        _reported("load" if is_url(source) else "read", name),
        opened_source(source, max_pixels, timeout) as file,
        _raised_bomb_limit(max_pixels),
    ):
        image = Image.open(file)
        check_pixel_count(*image.size, max_pixels)
        yield image, file


def _upright(image: Image.Image, max_pixels: int | None, name: str) -> Image.Image:
    """The image decoded, and turned as its EXIF orientation says; without one it is not copied."""
    check_pixel_count(*image.size, max_pixels)
    with _reported("decode", name):
        _warn_of_frames(image, name)
        loses_bits = _loses_bits(image)
        image.load()
        if loses_bits:
            _warn_of_lost_bits(image, name)
        return ImageOps.exif_transpose(image) if image.getexif().get(EXIF_ORIENTATION, 1) != 1 else image


def _warn_of_frames(image: Image.Image, name: str) -> None:
    if image.format in _ONE_PHOTO_FORMATS or image.tell() != 0:  # whoever went to another frame knows of them
        return
    if getattr(image, "is_animated", False):
        warnings.warn(
            f"images: {name} has {getattr(image, 'n_frames', 'several')} frames, of which only the first is read; for "
            "another pass a PIL image after its seek(n)",
            stacklevel=2,
        )


def _loses_bits(image: Image.Image) -> bool:
    """Whether Pillow is about to keep the upper byte alone of 16-bit colours."""
    if image.mode.startswith("I") or image.mode == "F":
        return False
    arguments = [tile[3] for tile in getattr(image, "tile", None) or ()]
    raw_modes = [value[0] if isinstance(value, tuple | list) and value else value for value in arguments]
    return any(isinstance(mode, str) and ";16" in mode for mode in raw_modes)


def _with_other_bytes(image: Image.Image, file: IO[bytes]) -> Image.Image | None:
    """The same file, not decoded yet, set to give the lower bytes of its 16-bit colours; None where that cannot be."""
    if image.mode not in ("RGB", "RGBA"):
        return None
    other = {";16L": ";16B", ";16B": ";16L", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}
    place = file.tell()
    file.seek(0)
    again: Any = Image.open(file)
    changed = []
    for tile in again.tile:
        arguments = tile[3]
        mode = arguments[0] if isinstance(arguments, tuple) else arguments
        if mode[-4:] not in other:
            file.seek(place)
            return None
        turned = mode[:-4] + other[mode[-4:]]
        changed.append((*tile[:3], (turned, *arguments[1:]) if isinstance(arguments, tuple) else turned))
    tile_type = type(again.tile[0])  # a plain tuple before Pillow 11
    again.tile = [parts if tile_type is tuple else tile_type(*parts) for parts in changed]
    again.load()
    file.seek(place)
    return again


def _warn_of_lost_bits(image: Image.Image, name: str) -> None:
    bands = image.histogram()
    colours = np.array(bands).reshape(-1, 256)[: 1 if len(bands) <= 512 else 3]
    if colours[:, 64:].sum() <= colours.sum() / 1000:
        warnings.warn(
            f"images: {name} has 16-bit colours of which only the upper 8 bits are read, and these are nearly all "
            "below 64, so the image is nearly black; read it with a library that keeps 16 bits and pass the array, "
            "with input_range='auto' or input_range=(low, high)",
            stacklevel=2,
        )


@contextmanager
def _reported(verb: str, name: str) -> Iterator[None]:
    """Whatever goes wrong in Pillow or below as an error with the image's name."""
    try:
        yield
    except (ValueError, TypeError) as error:
        if isinstance(error, UnreadableImageError) or str(error).startswith("images"):
            raise
        raise UnreadableImageError(f"images: cannot {verb} {name}: {str(error)[:200]}") from error
    except Warning:  # where warnings are errors
        raise
    except Exception as error:  # damaged files raise OSError, SyntaxError, RuntimeError, struct.error and others
        reason = str(error)[:200] or type(error).__name__
        raise UnreadableImageError(f"images: cannot {verb} {name}: {reason}") from error


@contextmanager
def _temporary_bomb_limit(max_pixels: int) -> Iterator[None]:
    with _bomb_limit_lock:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _raised_bomb_limit(max_pixels: int | None) -> AbstractContextManager[None]:
    # Pillow looks at its own limit while it opens a file, and that limit is a global of the process.
    pillow_limit = Image.MAX_IMAGE_PIXELS
    if max_pixels is None or pillow_limit is None or max_pixels <= pillow_limit:
        return nullcontext()
    return _temporary_bomb_limit(max_pixels)
