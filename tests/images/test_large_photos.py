import io
import warnings

import numpy as np
import pytest
from PIL import Image

from sam_hq.images.image_loading import load_rgb
from sam_hq.images.large_photos import PhotoRegions

BOX = (7, 11, 40, 31)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "CMYK", "1", "I;16"])
def test_a_region_of_a_file_is_that_part_of_the_loaded_image(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    path = tmp_path / ("photo.tif" if mode == "CMYK" else "photo.png")
    if mode == "I;16":
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(pixels).convert(mode).save(path)
    photo = PhotoRegions(path)
    x0, y0, x1, y1 = BOX
    assert photo.size == (50, 60)
    np.testing.assert_array_equal(photo.region(BOX), np.asarray(load_rgb(path)[0])[y0:y1, x0:x1])


def test_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.arange(50 * 60 * 3, dtype=np.uint8).reshape(50, 60, 3)).save(tmp_path / "turned.png", exif=exif)
    photo = PhotoRegions(tmp_path / "turned.png")
    assert photo.size == (60, 50)
    np.testing.assert_array_equal(photo.region(BOX), load_rgb(tmp_path / "turned.png")[0][11:31, 7:40])


def test_arrays_are_taken():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8)
    np.testing.assert_array_equal(PhotoRegions(pixels).region(BOX), pixels[11:31, 7:40])


def test_size_limits_and_damage_are_reported(tmp_path):
    Image.new("RGB", (60, 50)).save(tmp_path / "photo.png")
    assert PhotoRegions(tmp_path / "photo.png", max_pixels=3000).size == (50, 60)
    with pytest.raises(ValueError, match="max_pixels=2999"):
        PhotoRegions(tmp_path / "photo.png", max_pixels=2999)
    (tmp_path / "cut.png").write_bytes((tmp_path / "photo.png").read_bytes()[:60])
    with pytest.raises(ValueError, match=r"cut\.png"):
        PhotoRegions(tmp_path / "cut.png")


def zeros_and_ones(mode):
    """An image of a mode whose colours are 0 and 1 alone; the one that is 1 lies far down."""
    values = np.pad(np.ones((1, 1), np.uint8), ((700, 0), (0, 999)))
    if mode == "P":
        palette = Image.fromarray(values, "P")
        palette.putpalette([0, 0, 0, 1, 1, 1])
        return palette
    return Image.fromarray(values).convert(mode)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "RGBA"])
@pytest.mark.parametrize("given", [str, lambda path: path.read_bytes(), lambda path: io.BytesIO(path.read_bytes())])
def test_a_file_of_zeros_and_ones_warns_as_an_array_does(tmp_path, mode, given):
    path = tmp_path / "cast.png"
    zeros_and_ones(mode).save(path)
    wanted = "hold only 0 and 1, of 255"
    with pytest.warns(UserWarning, match=wanted) as seen:
        photo = PhotoRegions(given(path))
    with pytest.warns(UserWarning, match=wanted) as by_loading:
        np.testing.assert_array_equal(photo.pixels(), load_rgb(str(path))[0])
    assert len(seen) == len(by_loading) == 1
    if given is str:
        assert str(seen[0].message) == str(by_loading[0].message)


@pytest.mark.parametrize(
    ("image", "options"),
    [
        (zeros_and_ones("L"), {"input_range": (0, 255)}),
        (Image.fromarray(np.zeros((600, 9), np.uint8)), {}),
        (Image.fromarray(np.ones((600, 9, 3), np.uint8)), {}),
        (zeros_and_ones("L").point(lambda value: 2 * value), {}),
        (zeros_and_ones("L").point(lambda value: value == 1, "1"), {}),
    ],
    ids=["meant so", "black", "ones", "a two", "one bit"],
)
def test_files_that_are_dark_and_more_do_not_warn(tmp_path, image, options):
    image.save(tmp_path / "dark.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PhotoRegions(tmp_path / "dark.png", **options)
