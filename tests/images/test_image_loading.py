import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from sam_hq.images.image_loading import flat_image_list, load_rgb

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
GRAY = RGB[:, :, 0]


def loaded(image, **options):
    return load_rgb(image, **options)[0]


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(RGB),
        RGB,
        RGB.transpose(2, 0, 1),
        RGB[::-1][::-1],
        RGB.astype(np.int64),
        RGB.astype(">u2").astype(">i4"),
        RGB.astype(np.uint16) * 257,
        RGB.astype(np.float32) / 255,
        RGB.astype(np.float64),
        torch.from_numpy(RGB),
        torch.from_numpy(RGB).permute(2, 0, 1),
        torch.from_numpy(RGB).permute(2, 0, 1).to(torch.float64) / 255,
        np.dstack([RGB, GRAY]),
    ],
    ids=lambda image: f"{type(image).__name__}-{getattr(image, 'dtype', '')}-{getattr(image, 'shape', '')}",
)
def test_the_same_image_in_any_form_gives_the_same_pixels(image):
    pixels = loaded(image)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, RGB)


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(GRAY),
        Image.fromarray(GRAY).convert("LA"),
        Image.fromarray(GRAY.astype(np.uint16) * 257),
        Image.fromarray(GRAY.astype(np.int32) * 257),
        Image.fromarray(GRAY.astype(np.float32)),
        Image.fromarray(GRAY.astype(np.float32) / 255),
        GRAY,
        GRAY[:, :, None],
        GRAY[None],
        torch.from_numpy(GRAY),
    ],
    ids=lambda image: f"{type(image).__name__}-{image.mode if isinstance(image, Image.Image) else tuple(image.shape)}",
)
def test_gray_becomes_three_equal_channels(image):
    assert np.array_equal(loaded(image), np.dstack([GRAY] * 3))


def test_half_precision_floats_differ_by_rounding_alone():
    pixels = loaded(torch.from_numpy(RGB).permute(2, 0, 1).to(torch.float16) / 255)
    assert np.abs(pixels.astype(int) - RGB).max() <= 1


def test_transparency_is_dropped_not_blended():
    transparent = Image.fromarray(np.dstack([RGB, np.zeros_like(GRAY)]), "RGBA")
    assert np.array_equal(loaded(transparent), RGB)
    palette = Image.fromarray(RGB).quantize(8)
    expected = np.asarray(palette.convert("RGB"))
    palette.info["transparency"] = bytes(range(8))
    assert np.array_equal(loaded(palette), expected)


def test_bilevel_and_cmyk_pictures_load():
    assert set(np.unique(loaded(Image.fromarray(GRAY > 100)))) <= {0, 255}
    assert np.array_equal(loaded(GRAY > 100)[..., 0] == 255, GRAY > 100)
    assert np.abs(loaded(Image.fromarray(RGB).convert("CMYK")).astype(int) - RGB).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
    turns = [RGB, RGB[:, ::-1], RGB[::-1, ::-1], RGB[::-1]]
    turns += [RGB.swapaxes(0, 1), np.rot90(RGB, -1), np.rot90(RGB, 2).swapaxes(0, 1), np.rot90(RGB)]
    assert np.array_equal(loaded(tmp_path / "turned.png"), turns[orientation - 1])
    assert np.array_equal(loaded(Image.open(tmp_path / "turned.png")), turns[orientation - 1])


def test_the_first_dimension_wins_where_channels_could_be_either():
    image = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3)
    assert np.array_equal(loaded(image), image.transpose(1, 2, 0))
    assert np.array_equal(loaded(image, input_data_format="channels_last"), image)
    assert loaded(np.zeros((4, 9, 3), np.uint8)).shape == (4, 9, 3)
    with pytest.raises(ValueError, match="input_data_format must be one of"):
        loaded(image, input_data_format="first")


def test_floats_tell_their_range():
    assert load_rgb(np.full((2, 2), 0.5))[1]
    assert not load_rgb(np.full((2, 2), 200.0))[1]
    assert loaded(np.full((2, 2), 1.0005)).max() == 255
    for bad in (1.5, -0.1, 256.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="images"):
            load_rgb(np.full((2, 2), bad))


def test_lists_and_batches_are_flattened():
    assert len(flat_image_list([[RGB], [RGB, RGB]])) == 3
    assert len(flat_image_list(np.stack([RGB, RGB]))) == 2
    assert len(flat_image_list([torch.zeros(2, 3, 4, 5), RGB])) == 3
    for empty in ([], [[]], (), np.zeros((0, 3, 4, 5))):
        with pytest.raises(ValueError, match="images is empty"):
            flat_image_list(empty)


@pytest.mark.parametrize("thing", [None, 5, {"image": RGB}, [RGB, None], iter([RGB])])
def test_things_that_are_no_images_are_refused(thing):
    with pytest.raises(TypeError, match="images must hold PIL images"):
        flat_image_list(thing)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 0), np.uint8),
        np.zeros((7, 9, 5), np.uint8),
        np.full((4, 4), 300),
        np.full((4, 4), -1),
        Image.new("RGB", (0, 3)),
        Image.fromarray(np.full((4, 4), 70000, np.int32)),
    ],
)
def test_arrays_without_an_image_are_refused(array):
    with pytest.raises(ValueError, match="images"):
        load_rgb(array)


def test_arrays_of_other_things_are_refused():
    for array in (np.full((4, 4), "a"), np.full((4, 4), None), np.zeros((4, 4), complex)):
        with pytest.raises(TypeError, match="images must hold numbers"):
            load_rgb(array)


def test_files_that_are_no_images_are_refused(tmp_path):
    png = io.BytesIO()
    Image.fromarray(RGB).save(png, "PNG")
    corrupt = bytearray(png.getvalue())
    corrupt[60:70] = bytes(10)
    files = {"text.txt": b"not an image", "empty.png": b"", "cut.png": png.getvalue()[:300], "bad.png": bytes(corrupt)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"images: cannot .*{name}"):
            load_rgb(tmp_path / name)
    with pytest.raises(ValueError, match="no such file"):
        load_rgb(str(tmp_path / "missing.png"))
    with pytest.raises(ValueError, match="no such file"):
        load_rgb(tmp_path)


def test_a_truncated_picture_that_was_opened_already_is_refused():
    jpeg = io.BytesIO()
    Image.fromarray(RGB).resize((300, 200)).save(jpeg, "JPEG")
    with pytest.raises(ValueError, match="images: cannot decode"):
        load_rgb(Image.open(io.BytesIO(jpeg.getvalue()[:2000])))
    closed = Image.open(io.BytesIO(jpeg.getvalue()))
    closed.close()
    with pytest.raises(ValueError, match="images: cannot decode"):
        load_rgb(closed)


def test_inline_pictures_are_decoded():
    png = io.BytesIO()
    Image.fromarray(RGB).save(png, "PNG")
    assert np.array_equal(loaded("data:image/png;base64," + base64.b64encode(png.getvalue()).decode()), RGB)
    with pytest.raises(ValueError, match="images: cannot load"):
        load_rgb("data:image/png;base64,nonsense")


def test_too_many_pixels_are_refused_before_decoding(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "small.png")
    for image in (tmp_path / "small.png", Image.open(tmp_path / "small.png"), RGB, torch.from_numpy(RGB)):
        with pytest.raises(ValueError, match="30 x 20 = 600 pixels, more than max_pixels=599"):
            load_rgb(image, max_pixels=599)
        assert loaded(image, max_pixels=600).shape == (20, 30, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"images: cannot read .*small\.png"):  # Pillow itself stops at twice its limit
        load_rgb(tmp_path / "small.png")
    with pytest.raises(ValueError, match="more than max_pixels=100"):
        load_rgb(RGB)
    assert np.array_equal(loaded(tmp_path / "small.png", max_pixels=1000), RGB)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_the_limit_is_pillows_own(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ValueError, match="more than max_pixels=500"):
        load_rgb(Image.fromarray(RGB))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert loaded(Image.fromarray(RGB)).shape == (20, 30, 3)


@pytest.mark.parametrize("mask", [False, True])
def test_masked_arrays_are_refused(mask):
    with pytest.raises(TypeError, match="images must hold numbers, got a masked array"):
        load_rgb(np.ma.masked_array(np.zeros((4, 5, 3), np.uint8), mask=mask))


@pytest.mark.parametrize(
    "tensor", [torch.zeros(3, 4, 5) * 1j, torch.zeros(4, 5).to_sparse(), torch.zeros(4, 5).to(torch.float8_e4m3fn)]
)
def test_tensors_without_real_pixels_are_refused(tensor):
    with pytest.raises(TypeError, match="images must hold numbers, got a torch"):
        load_rgb(tensor)


def test_other_unsigned_numbers_are_pixels_too():
    pixels, _ = load_rgb(np.full((4, 5, 3), 200, np.uint64))
    assert (pixels == 200).all()
    with pytest.raises(ValueError, match="images"):
        load_rgb(torch.full((3, 4, 5), 300).to(torch.uint32))


def test_a_name_that_no_file_can_have_is_refused():
    with pytest.raises(ValueError, match="images: cannot read 'aaa"):
        load_rgb("a" * 5000)
