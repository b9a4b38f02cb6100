import io
import struct
import zlib
from pathlib import PurePosixPath

import numpy as np
import pytest
from PIL import Image

from demo_fixtures import photo_file
from sam_hq.demo.opened_photo import SHOWN_SIDE, PhotoLimits, open_photo, plain_name


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_images_are_read_and_shown(kind):
    data = photo_file(kind)
    photo, pixels = open_photo(data, f"a.{kind}", PhotoLimits())
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
    np.testing.assert_array_equal(photo.pixels(), pixels)
    shown = Image.open(io.BytesIO(photo.shown))
    assert (shown.format, shown.size) == ("JPEG", (200, 120))
    assert (photo.size, photo.shown_size) == ((120, 200), (120, 200))


def test_a_large_image_is_shown_smaller():
    photo, _ = open_photo(photo_file(size=(2 * SHOWN_SIDE, SHOWN_SIDE)), "a.png", PhotoLimits())
    assert photo.size == (SHOWN_SIDE, 2 * SHOWN_SIDE)
    assert photo.shown_size == (SHOWN_SIDE // 2, SHOWN_SIDE)
    assert Image.open(io.BytesIO(photo.shown)).size == (SHOWN_SIDE, SHOWN_SIDE // 2)


def test_images_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    photo, pixels = open_photo(photo_file("JPEG", exif=exif), "a.jpg", PhotoLimits())
    assert photo.size == pixels.shape[:2] == (200, 120)
    assert photo.shown_size == (200, 120)


def claimed_size(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no photo that can be read"),
        (b"not a photo", "no photo that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no photo that can be read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no photo that can be read"),
        (photo_file("JPEG")[:-300], "damaged"),
        (claimed_size(30, 20), "damaged"),
        (photo_file(size=(300, 201)), "300 x 201 = 0.1 million pixels, but at most 0.1 million"),
        (claimed_size(60_000, 60_000), "at most 0.1 million"),
        (b"x" * 200_001, "the file has 0.2 MB, but at most 0.2 MB are accepted"),
    ],
)
def test_what_is_refused(data, message):
    with pytest.raises(ValueError, match=message) as refused:
        open_photo(data, "a.png", PhotoLimits(upload_bytes=200_000, pixels=60_000))
    assert "/" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("koala.jpg", "koala.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\photos\\a b.png", "a b.png"),
        ("<script>.png", "_script_.png"),
        ('a"\r\nX-Header: b.png', "a___X-Header_ b.png"),
        ("", "photo"),
        ("...", "photo"),
        ("Müller 寺.jpg", "Müller 寺.jpg"),
        ("a" * 300 + ".png", "a" * 96 + ".png"),
        ("a." + "b" * 95 + ".jpg", "b" * 95 + ".jpg"),
        ("a . " + "b" * 94 + ".jpg", "b" * 94 + ".jpg"),
        ("寺" * 120 + ".jpg", "寺" * 32 + ".jpg"),
        ("\U0001f600\ud800é" + "ж" * 120 + ".png", "ж" * 48 + ".png"),
    ],
)
def test_names_are_plain(name, plain):
    assert plain_name(name) == plain


@pytest.mark.parametrize("limits", [{"upload_bytes": 0}, {"pixels": -1}])
def test_impossible_limits_are_refused(limits):
    with pytest.raises(ValueError, match="must be at least 1"):
        PhotoLimits(**limits)


@pytest.mark.parametrize(("name", "named"), [("image", "image.jpeg"), ("image.png", "image.png"), ("v1.5", "v1.5")])
def test_a_photo_without_a_suffix_gets_that_of_its_format(name, named):
    photo, _ = open_photo(photo_file("JPEG"), name, PhotoLimits())
    assert photo.name == named
    assert f"{photo.stem}{PurePosixPath(named).suffix}" == named
