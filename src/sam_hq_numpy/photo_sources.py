"""Where encoded photos come from: files, bytes, URLs, and the dictionaries of `datasets`; with the standard library."""

import base64
import io
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from PIL import Image

_BYTES_OF_A_PIXEL = 8  # 16 bits of four channels: no file worth decoding is larger than its pixels, beside its metadata
METADATA_BYTES = 64 * 1024 * 1024
_READ_AT_ONCE = 1 << 16


class UnreadableImageError(ValueError):
    """A photo that cannot be opened or decoded, whatever the decoder raised."""


class ImageDownloadError(UnreadableImageError):
    """A photo that its URL did not give: the server's answer, no answer in time, or too many bytes."""


def is_encoded(image: Any) -> bool:
    """Whether something is a photo that has to be opened first.

    Args:
        image: A path, an `http:`, `https:` or `data:` URL, bytes, an open binary file, or a dictionary with `bytes`,
            `path` or both, as `datasets` keeps photos that are not decoded.
    """
    if isinstance(image, Mapping):
        return bool(image) and set(image) <= {"bytes", "path"}
    return isinstance(image, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(image, "read")


def no_image(image: Any) -> TypeError:
    """The error for something that is no image.

    Args:
        image: What came.
    """
    keys = f" with the keys {sorted(map(str, image))[:5]}" if isinstance(image, Mapping) else ""
    return TypeError(
        "images must hold PIL images, paths, URLs, bytes, binary files, arrays or tensors, got "
        f"{type(image).__name__}{keys}"
    )


def source_name(source: Any) -> str:
    """What a photo is called in messages.

    Args:
        source: An encoded photo.
    """
    if isinstance(source, Mapping):
        path, content = source.get("path"), source.get("bytes")
        return source_name(path if path is not None else content)
    if isinstance(source, str | os.PathLike):
        return repr(os.fsdecode(source)[: 80 if is_url(source) else 200])
    if isinstance(source, bytes | bytearray | memoryview):
        return f"an image of {len(source)} bytes"
    return repr(getattr(source, "name", source))[:200]


def is_url(source: Any) -> bool:
    """Whether a source is an `http:`, `https:` or `data:` URL.

    Args:
        source: An encoded photo.
    """
    return isinstance(source, str) and source[:8].lower().startswith(("http://", "https://", "data:"))


@contextmanager
def opened_source(source: Any, max_pixels: int | None = None, timeout: float | None = None) -> Iterator[IO[bytes]]:
    """Open an encoded photo as a binary file.

    Args:
        source: See `is_encoded`.
        max_pixels: Downloads end where no photo of so many pixels can be as large; None: Pillow's own limit.
        timeout: Seconds that a download may take in all; None waits.

    Yields:
        The file; one that the caller opened is left open.

    Raises:
        UnreadableImageError: No such file, or a URL that gives nothing.
    """
    if isinstance(source, Mapping):
        source = source.get("path") if source.get("bytes") is None else source["bytes"]
        if source is None:
            raise UnreadableImageError("images: a dictionary with neither bytes nor a path")
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif hasattr(source, "read"):
        yield source
    elif is_url(source):
        is_data = source[:5].lower() == "data:"
        yield io.BytesIO(_inline_bytes(source) if is_data else _downloaded(source, max_pixels, timeout))
    else:
        if not Path(os.fsdecode(source)).is_file():
            raise UnreadableImageError(f"images: no such file: {source_name(source)}")
        with open(source, "rb") as file:
            yield file


def _inline_bytes(url: str) -> bytes:
    header, comma, content = url[5:].partition(",")
    if not comma:
        raise UnreadableImageError(f"images: cannot load {url[:80]!r}: a data: URL needs a comma before its content")
    if header.lower().rstrip().endswith(";base64"):
        return base64.b64decode(urllib.parse.unquote(content))
    return urllib.parse.unquote_to_bytes(content)


def _downloaded(url: str, max_pixels: int | None, timeout: float | None) -> bytes:
    limit = Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
    most = None if limit is None else limit * _BYTES_OF_A_PIXEL + METADATA_BYTES
    start, name, content = time.monotonic(), repr(url[:80]), bytearray()
    request = urllib.request.Request(url, headers={"User-Agent": "sam-hq"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            while part := answer.read1(_READ_AT_ONCE):
                content += part
                if timeout is not None and time.monotonic() - start > timeout:
                    raise TimeoutError
                if most is not None and len(content) > most:
                    raise ImageDownloadError(
                        f"images: {name} gives more than {most} bytes, which no image of max_pixels={limit} needs"
                    )
            if (promised := answer.headers.get("Content-Length", "")).isdecimal() and len(content) < int(promised):
                raise ImageDownloadError(f"images: {name} broke off after {len(content)} of {promised} bytes")
    except urllib.error.HTTPError as error:
        raise ImageDownloadError(f"images: {name} answers {error.code} {error.reason}") from error
    except (TimeoutError, urllib.error.URLError) as error:
        if isinstance(error, TimeoutError) or isinstance(error.reason, TimeoutError):
            raise ImageDownloadError(f"images: {name} did not answer within timeout={timeout} seconds") from error
        raise ImageDownloadError(f"images: cannot load {name}: {error.reason}") from error
    return bytes(content)
