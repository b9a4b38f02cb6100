"""A photo as it was uploaded: checked against limits, kept as the bytes that came, shown in a smaller copy."""

import io
import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from PIL import Image, UnidentifiedImageError

from sam_hq_numpy.number_limits import check_whole

from ..images.image_loading import load_rgb

# Formats that Pillow decodes itself; others start external programs or refer to other files.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
SHOWN_SIDE = 1600  # longest side of the copy on the page, in pixels
_THUMBNAIL_SIDE = 320
_LONGEST_NAME = 100  # bytes: file systems take 255, and downloads add to it
_NOT_IN_NAMES = re.compile(r'[^\w .()\[\]+,-]|[\\/:*?"<>|]')


@dataclass(frozen=True)
class PhotoLimits:
    """What is accepted.

    Args:
        upload_bytes: Largest file.
        pixels: Largest photo, width times height.
    """

    upload_bytes: int = 20 * 1024 * 1024
    pixels: int = 25_000_000

    def __post_init__(self) -> None:
        """Refuse limits that nothing could meet."""
        for name in ("upload_bytes", "pixels"):
            check_whole(name, getattr(self, name), at_least=1)


@dataclass(frozen=True, eq=False)
class OpenedPhoto:
    """A photo that can be decoded.

    Args:
        name: File name for people and downloads, without any folder, with a suffix.
        data: The file.
        size: Height and width, upright.
        shown: A JPEG with a longest side of at most `SHOWN_SIDE`.
        shown_size: Height and width of the JPEG.
        max_pixels: The limit it was opened under.
    """

    name: str
    data: bytes
    size: tuple[int, int]
    shown: bytes
    shown_size: tuple[int, int]
    max_pixels: int

    def pixels(self) -> np.ndarray:
        """Decode it, upright: `(H, W, 3)` uint8."""
        return _decode(self.data, self.max_pixels)

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def nbytes(self) -> int:
        """Memory it holds."""
        return len(self.data) + len(self.shown)


def open_photo(data: bytes, name: str, limits: PhotoLimits) -> tuple[OpenedPhoto, np.ndarray]:
    """Check and decode an upload.

    Args:
        data: The file.
        name: What they call it; only letters, digits and a few signs are kept.
        limits: What is accepted.

    Returns:
        The photo, and its pixels `(H, W, 3)` uint8 for the model, which are not kept.

    Raises:
        ValueError: If it is too large, no photo, or damaged.
    """
    if len(data) > limits.upload_bytes:
        raise ValueError(
            f"the file has {len(data) / 1e6:.1f} MB, but at most {limits.upload_bytes / 1e6:.1f} MB are accepted"
        )
    pixels = _decode(data, limits.pixels)
    shown = Image.fromarray(pixels)
    shown.thumbnail((SHOWN_SIDE, SHOWN_SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    jpeg = io.BytesIO()
    shown.save(jpeg, "JPEG", quality=90)
    height, width = pixels.shape[:2]
    photo = OpenedPhoto(
        _with_suffix(plain_name(name), data),
        data,
        (height, width),
        jpeg.getvalue(),
        (shown.height, shown.width),
        limits.pixels,
    )
    return photo, pixels


def plain_name(name: str) -> str:
    """A name that is safe in a header, in a file name and on a page.

    Args:
        name: The name of a file as the user gave it, perhaps with folders.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    plain = _NOT_IN_NAMES.sub("_", last).strip(" .").encode()[-_LONGEST_NAME:].decode(errors="ignore")
    return plain.lstrip(" .") or "photo"


def thumbnail_jpeg(picture: Image.Image) -> bytes:
    """A small JPEG of a picture, as the page shows its examples.

    Args:
        picture: The picture, RGB; made smaller in place.
    """
    picture.thumbnail((_THUMBNAIL_SIDE, _THUMBNAIL_SIDE))
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=85)
    return jpeg.getvalue()


def resized_nearest(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An array (H, W) at another size, each pixel by the one that lies at its centre.

    Args:
        pixels: The array.
        size: Height and width wanted.
    """
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(pixels.shape, size, strict=True)
    )
    return pixels[rows][:, columns]


def _with_suffix(name: str, data: bytes) -> str:
    """A pasted photo may come without a suffix, by which readers of data sets know images."""
    if PurePosixPath(name).suffix:
        return name
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        return f"{name}.{(image.format or 'png').lower()}"


def _decode(data: bytes, max_pixels: int) -> np.ndarray:
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"the photo has too many pixels, at most {max_pixels / 1e6:.1f} million are accepted"
        ) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"the file is no photo that can be read: send {', '.join(FORMATS)}") from error
    width, height = image.size
    if width * height > max_pixels:
        raise ValueError(
            f"the photo has {width} x {height} = {width * height / 1e6:.1f} million pixels, but at most "
            f"{max_pixels / 1e6:.1f} million are accepted"
        )
    try:
        return np.asarray(load_rgb(image, max_pixels=max_pixels)[0])
    except ValueError as error:
        raise ValueError("the file is damaged: its pixels cannot be decoded") from error
