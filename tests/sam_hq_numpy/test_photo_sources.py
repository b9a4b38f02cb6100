"""One decoder for every way in: the same photo gives the same pixels, the same refusals and the same warnings."""

import base64
import http.server
import io
import struct
import threading
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from sam_hq.images.image_loading import flat_image_list, load_rgb
from sam_hq.images.large_photos import PhotoRegions
from sam_hq_numpy.photo_files import image_suffixes
from sam_hq_numpy.photo_sources import ImageDownloadError, UnreadableImageError
from sam_hq_onnx.encoder_inputs import image_rgb

RGB = np.random.default_rng(0).integers(0, 256, (24, 37, 3), dtype=np.uint8)


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def oriented_exif(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


# The upright 8-bit pixels beside each file, from their definitions: EXIF 6 is a quarter turn to the right, a 16-bit
# value v is v / 257, transparency is dropped.
FILES = {
    "turned.png": (encoded(Image.fromarray(RGB), "PNG", exif=oriented_exif(6)), np.rot90(RGB, -1)),
    "sixteen.png": (
        encoded(Image.fromarray(RGB[..., 0].astype(np.uint16) * 257), "PNG"),
        np.repeat(RGB[..., :1], 3, axis=2),
    ),
    "clear.png": (encoded(Image.fromarray(np.dstack([RGB, RGB[..., 0]])), "PNG"), RGB),
    "float.tif": (
        encoded(Image.fromarray(RGB[..., 0].astype(np.float32) / 255), "TIFF"),
        np.repeat(RGB[..., :1], 3, axis=2),
    ),
    "bilevel.png": (
        encoded(Image.fromarray(RGB[..., 0] > 99), "PNG"),
        np.repeat(np.where(RGB[..., :1] > 99, np.uint8(255), np.uint8(0)), 3, axis=2),
    ),
}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path[1:]
        if name == "slow":
            time.sleep(3)
        if name == "drip":
            self.send_response(200)
            self.end_headers()
            for _ in range(30):
                self.wfile.write(b"x")
                time.sleep(0.1)
            return
        if name not in FILES:
            self.send_error(404)
            return
        content = FILES[name][0]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    service.handle_error = lambda *_: None  # whoever waits no longer hangs up
    threading.Thread(target=service.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{service.server_port}/"
    service.shutdown()


def ways_in(name, folder, server):
    content = FILES[name][0]
    path = folder / name
    path.write_bytes(content)
    at_end = io.BytesIO(content)
    at_end.seek(0, io.SEEK_END)
    return {
        "path": path,
        "text": str(path),
        "bytes": content,
        "bytearray": bytearray(content),
        "memory": memoryview(content),
        "file": io.BytesIO(content),
        "file at its end": at_end,
        "open file": open(path, "rb"),
        "pillow": Image.open(path),
        "http": server + name,
        "data": f"data:image/png;base64,{base64.b64encode(content).decode()}",
        "data of another type": f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}",
        "DATA": f"DATA:;BASE64,{base64.b64encode(content).decode()}",
        "data with percents": "data:image/png," + "".join(f"%{byte:02x}" for byte in content),
        "datasets": {"bytes": content, "path": None},
        "datasets with a name": {"bytes": content, "path": "gone.png"},
        "datasets with a path": {"bytes": None, "path": str(path)},
    }


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("read", ["torch", "regions", "runner"])
def test_a_photo_is_the_same_whichever_way_it_comes(name, read, tmp_path, server):
    readers = {
        "torch": lambda source: load_rgb(flat_image_list([source])[0])[0],
        "regions": lambda source: PhotoRegions(source).pixels(),
        "runner": image_rgb,
    }
    for way, source in ways_in(name, tmp_path, server).items():
        np.testing.assert_array_equal(readers[read](source), FILES[name][1], err_msg=way)


def test_a_file_of_the_caller_stays_open(tmp_path):
    file = io.BytesIO(FILES["clear.png"][0])
    load_rgb(file)
    assert not file.closed
    load_rgb(file)


def test_a_url_that_gives_nothing_is_an_error_of_its_own(server):
    with pytest.raises(ImageDownloadError, match="/nowhere' answers 404"):
        load_rgb(server + "nowhere")
    with pytest.raises(ImageDownloadError, match=r"cannot load 'http://127\.0\.0\.1:1/a\.png'"):
        load_rgb("http://127.0.0.1:1/a.png")


@pytest.mark.parametrize("name", ["slow", "drip"])  # nothing for long; a byte now and then
def test_a_url_is_waited_for_no_longer_than_asked(server, name):
    for read in (lambda url: load_rgb(url, timeout=0.4), lambda url: PhotoRegions(url, timeout=0.4)):
        start = time.monotonic()
        with pytest.raises(ImageDownloadError, match=r"did not answer within timeout=0\.4"):
            read(server + name)
        assert time.monotonic() - start < 2.5


def zipped_png(width, height):
    """A PNG of black pixels, made row by row."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height)
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_before_any_way_in_decodes_them(tmp_path):
    content = zipped_png(12_000, 12_000)
    (tmp_path / "large.png").write_bytes(content)
    sources = (
        tmp_path / "large.png",
        content,
        io.BytesIO(content),
        {"bytes": content, "path": None},
        "data:image/png;base64," + base64.b64encode(content).decode(),
    )
    for source in sources:
        for read in (load_rgb, PhotoRegions, image_rgb):
            tracemalloc.start()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                with pytest.raises(ValueError, match="144000000 pixels, more than max_pixels=1000"):
                    read(source, max_pixels=1000)
            assert tracemalloc.get_traced_memory()[1] < 5e6
            tracemalloc.stop()


def test_a_download_ends_where_no_photo_of_the_limit_is_as_large(server, monkeypatch):
    monkeypatch.setattr("sam_hq_numpy.photo_sources.METADATA_BYTES", 100)
    with pytest.raises(ImageDownloadError, match="gives more than 180 bytes"):
        load_rgb(server + "clear.png", max_pixels=10)


def damaged():
    rng = np.random.default_rng(1)
    photo = Image.fromarray(np.asarray(Image.fromarray(RGB).resize((200, 160))))
    for kind in (
        "PNG",
        "JPEG",
        "TIFF",
        "WEBP",
        "GIF",
        "BMP",
        "AVIF",
        "DDS",
        "JPEG2000",
        "TGA",
        "ICO",
        "PPM",
        "PCX",
        "SGI",
    ):
        try:
            content = encoded(photo, kind)
        except (KeyError, OSError):  # not in this Pillow
            continue
        for size in (len(content) // 3, len(content) - 40):
            yield kind, content[:size]
        for _ in range(8):
            broken = bytearray(content)
            for place in rng.integers(0, min(len(content), 400), 6):
                broken[place] = rng.integers(256)
            yield kind, bytes(broken)


def refusal(read, source):
    """What kind of error reading ends with; None for a readable photo."""
    try:
        read(source)
    except ValueError as error:
        # Damage can also make up a size that is too large.
        return type(error) if str(error).startswith("images") and "pixels" not in str(error) else str(error)
    return None


def test_whatever_a_decoder_raises_is_one_kind_of_error():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for read in (load_rgb, lambda source: PhotoRegions(source, max_pixels=10**6)):
            found = [refusal(read, content) for _, content in damaged()]
            assert found.count(UnreadableImageError) > 50
            assert not [error for error in found if error not in (None, UnreadableImageError) and "pixels" not in error]


@pytest.mark.parametrize(
    "error", [RuntimeError, SyntaxError, struct.error, OverflowError, IndexError, MemoryError, EOFError]
)
@pytest.mark.parametrize("when", ["open", "load"])
def test_no_error_of_a_decoder_gets_through(monkeypatch, error, when):
    def fail(*_args, **_options):
        raise error("broken")

    if when == "open":
        monkeypatch.setattr(Image, "open", fail)
    else:
        monkeypatch.setattr(Image.Image, "load", fail)
        monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fail)
        monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail, raising=False)
    with pytest.raises(UnreadableImageError, match="broken"):
        load_rgb(FILES["clear.png"][0])


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"bytes": None, "path": None}, "neither bytes nor a path"),
        ("data:image/png;base64", "needs a comma"),
        (b"", "cannot read an image of 0 bytes"),
        (io.StringIO("text"), "cannot read"),
        ("a\0b.png", "cannot read|no such file"),
    ],
)
def test_sources_that_hold_no_photo_are_refused(source, message):
    with pytest.raises(UnreadableImageError, match=message):
        load_rgb(source)


@pytest.mark.parametrize("thing", [{"image": RGB, "label": 3}, {}, {RGB.tobytes()}, 3.5, object()])
def test_things_that_are_no_photo_are_named(thing):
    for read in (load_rgb, PhotoRegions, image_rgb):
        with pytest.raises(TypeError, match="images must hold PIL images, paths, URLs, bytes"):
            read(thing)


class Column:
    """As the columns of `datasets` are: a sequence that is no list."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def test_a_column_of_a_dataset_is_a_list_of_photos():
    from collections.abc import Sequence

    Sequence.register(Column)
    assert len(flat_image_list(Column([RGB, FILES["clear.png"][0]]))) == 2


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_of_several_frames_the_first_is_read_with_a_warning(kind):
    others = [Image.fromarray(255 - RGB), Image.fromarray(RGB[::-1])]
    content = encoded(Image.fromarray(RGB), kind, save_all=True, append_images=others)
    with pytest.warns(UserWarning, match="has 3 frames, of which only the first is read"):
        first, _ = load_rgb(content)
    np.testing.assert_array_equal(first, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    chosen = Image.open(io.BytesIO(content))
    chosen.seek(2)
    expected = np.asarray(chosen.convert("RGB"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(load_rgb(chosen)[0], expected)
        load_rgb(encoded(Image.fromarray(RGB), kind))


def test_every_suffix_that_pillow_decodes_is_an_image():
    wanted = {".jpg", ".jfif", ".jpe", ".tga", ".j2k", ".jp2", ".png", ".tif", ".webp", ".gif", ".bmp", ".ppm", ".ico"}
    assert wanted <= set(image_suffixes())
    assert not {".pdf", ".eps", ".wmf", ".h5", ".mpg"} & set(image_suffixes())


def test_a_part_of_a_photo_above_pillows_own_limit_is_read(monkeypatch, tmp_path):
    Image.fromarray(RGB).save(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    photo = PhotoRegions(tmp_path / "photo.png", max_pixels=10_000)
    np.testing.assert_array_equal(photo.region((3, 2, 36, 20)), RGB[2:20, 3:36])
    np.testing.assert_array_equal(photo.pixels(), RGB)
