"""Images of more than 8 bits: narrow ones warn, and `input_range` stretches them as its definition says."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import PHOTOS, small_config, small_model
from sam_hq.generation.generator import SamHQMaskGenerator
from sam_hq.generation.regions_of_interest import segment_regions
from sam_hq.hub.conversion import processor_for
from sam_hq.image_processing_sam_hq import SamHQImageProcessor
from sam_hq.images.image_loading import load_rgb
from sam_hq.images.large_photos import PhotoRegions
from sam_hq_numpy.image_arrays import array_rgb
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions
from sam_hq_numpy.value_ranges import to_uint8
from sam_hq_onnx.encoder_inputs import image_rgb

PHOTO = np.asarray(Image.open(PHOTOS / "kitten.jpg").convert("L").resize((160, 120)))
LOW, HIGH = int(PHOTO.min()), int(PHOTO.max())


def tiff(image):
    file = io.BytesIO()
    image.save(file, "TIFF")
    return file.getvalue()


def stretched(pixels, low, high):
    """The definition: low becomes 0, high 255, what lies outside is clipped."""
    return np.array([round(255 * min(max((float(v) - low) / (high - low), 0), 1)) for v in pixels.ravel()]).reshape(
        pixels.shape
    )


NARROW = {
    "12 bits": PHOTO.astype(np.uint16) * 16,
    "10 bits": PHOTO.astype(np.uint16) * 4,
    "14 bits": PHOTO.astype(np.uint16) * 64,
    "12 bits high up": PHOTO.astype(np.uint16) * 16 + 40_000,
    "colours": np.dstack([PHOTO.astype(np.uint16) * 16] * 3),
    "colours with alpha": np.dstack([PHOTO.astype(np.uint16) * 16] * 3 + [np.full(PHOTO.shape, 65535, np.uint16)]),
    "big endian": (PHOTO.astype(np.uint16) * 16).astype(">u2"),
    "tensor": torch.from_numpy(PHOTO.astype(np.uint16) * 16),
    "I;16": Image.fromarray(PHOTO.astype(np.uint16) * 16),
    "I": Image.fromarray(PHOTO.astype(np.int32) * 16),
    "TIFF": tiff(Image.fromarray(PHOTO.astype(np.uint16) * 16)),
    "floats": PHOTO.astype(np.float32) / 255 / 16,
    "float TIFF": tiff(Image.fromarray(PHOTO.astype(np.float32) / 255 / 16)),
    "floats to 40": PHOTO.astype(np.float64) / 255 * 40,
}


def read_by_runner(image, **options):
    """As the runner reads it, which takes no tensors."""
    return image_rgb(image.numpy() if isinstance(image, torch.Tensor) else image, **options)


READERS = pytest.mark.parametrize("read", [lambda image, **options: load_rgb(image, **options)[0], read_by_runner])


@pytest.mark.parametrize("name", NARROW)
@READERS
def test_narrow_images_warn_of_the_range_and_the_option_that_helps(name, read):
    image = NARROW[name]
    with pytest.warns(UserWarning, match=r"hold values in \[.*\], a small part of .*input_range='auto'"):
        read(image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = read(image, input_range="auto")
    assert np.abs(pixels[..., 1] - stretched(PHOTO, LOW, HIGH)).max() <= 1
    assert (pixels[..., 0] == pixels[..., 2]).all()


@pytest.mark.parametrize(
    "image",
    [
        PHOTO.astype(np.uint16) * 257,
        PHOTO.astype(np.uint16) * 100,
        PHOTO.astype(np.float32) / 255,
        PHOTO.astype(np.float32),
        PHOTO // 16,  # 8 bits are 8 bits, however dark
        np.zeros((5, 5), np.uint16),
        np.full((5, 5), 0.1),
    ],
)
def test_images_that_fill_their_range_do_not_warn(image):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_rgb(image)


@pytest.mark.parametrize("input_range", [(0, 4080), (-1024, 3071), (100.5, 2000.25)])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.uint16, np.float32, np.float64])
def test_a_given_range_is_mapped_to_black_and_white(input_range, dtype):
    values = (PHOTO[:40, :40].astype(dtype) * 16) - (0 if dtype == np.uint16 else 500)
    expected = stretched(values, *input_range)
    pixels = load_rgb(values, input_range=input_range)[0]
    assert np.abs(pixels[..., 0].astype(int) - expected).max() <= (1 if dtype == np.float32 else 0)
    if dtype in (np.int32, np.float32):
        np.testing.assert_array_equal(load_rgb(Image.fromarray(values), input_range=input_range)[0], pixels)


def test_what_does_not_fit_names_the_option():
    for image in (
        PHOTO.astype(np.int16) * 16,
        PHOTO.astype(np.int16) - 100,
        PHOTO.astype(np.float32) / 255 * 1.5,
        tiff(Image.fromarray(PHOTO.astype(np.float32) / 255 * 1.5)),
        tiff(Image.fromarray(PHOTO.astype(np.float32) * 40 - 9)),
        Image.fromarray(PHOTO.astype(np.int32) - 100),
    ):
        for read in (load_rgb, image_rgb):
            with pytest.raises(ValueError, match="input_range='auto' or input_range="):
                read(image)
            assert read(image, input_range="auto") is not None


def test_a_few_dead_and_saturated_pixels_hide_nothing():
    image = PHOTO.astype(np.uint16) * 16
    image[3, 4], image[50, 60] = 65535, 0
    with pytest.warns(UserWarning, match="small part"):
        load_rgb(image)
    pixels = load_rgb(image, input_range="auto")[0][..., 0].astype(int)
    assert np.abs(pixels - stretched(PHOTO, LOW, HIGH)).mean() < 8
    assert pixels[3, 4] == 255


def test_eight_bits_stay_as_they_are_whatever_the_range():
    for image in (PHOTO, Image.fromarray(PHOTO), torch.from_numpy(PHOTO), PHOTO > 99):
        np.testing.assert_array_equal(load_rgb(image, input_range=(0, 4095))[0], load_rgb(image)[0])
        np.testing.assert_array_equal(load_rgb(image, input_range="auto")[0], load_rgb(image)[0])


def test_a_constant_image_has_no_range():
    assert (to_uint8(np.full((4, 4), 7, np.uint16), "auto")[0] == 0).all()


@pytest.mark.parametrize("bad", ["full", (5, 5), (9, 2), (0, float("nan")), (1, 2, 3), 4095, [True], ("a", "b"), b"ab"])
def test_impossible_ranges_are_refused_before_anything_is_read(bad):
    for use in (
        lambda: load_rgb(PHOTO.astype(np.uint16), input_range=bad),
        lambda: SamHQImageProcessor(input_range=bad),
        lambda: SamHQImageProcessor()("nowhere.png", input_range=bad),
        lambda: MaskGenerationOptions(input_range=bad),
    ):
        with pytest.raises(ValueError, match="input_range must be 'auto' or"):
            use()


def test_the_image_processor_keeps_the_range(tmp_path):
    processor = SamHQImageProcessor(input_range=[0, 4080])
    processor.save_pretrained(tmp_path)
    again = SamHQImageProcessor.from_pretrained(tmp_path)
    values = PHOTO.astype(np.uint16) * 16
    expected = SamHQImageProcessor()(stretched(values, 0, 4080).astype(np.uint8))["pixel_values"]
    assert torch.equal(again(values)["pixel_values"], expected)
    assert torch.equal(SamHQImageProcessor()(values, input_range=(0, 4080))["pixel_values"], expected)


def png_of_16_bits(values):
    """A PNG of (H, W, 3 or 4) uint16, row by row without filters."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff_of_16_bits(values):
    """A little-endian TIFF of (H, W, 3) uint16 in one strip."""
    height, width, channels = values.shape
    pixels = values.astype("<u2").tobytes()
    entries = [
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 14),
        (277, 3, 1, channels), (278, 3, 1, height), (279, 4, 1, len(pixels)), (284, 3, 1, 1),
    ]  # fmt: skip
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return (
        b"II*\0" + struct.pack("<I", 14 + len(pixels)) + struct.pack("<3H", 16, 16, 16) + pixels + directory + bytes(4)
    )


@pytest.mark.parametrize("make", [png_of_16_bits, tiff_of_16_bits])
def test_sixteen_bit_colours_of_files_keep_all_their_bits(make, tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(0, 65536, (40, 30, 3)).astype(np.uint16)
    (tmp_path / "full").write_bytes(make(values))
    for read in (lambda source: load_rgb(source)[0], image_rgb, lambda source: PhotoRegions(source).pixels()):
        np.testing.assert_array_equal(read(tmp_path / "full"), load_rgb(values)[0])
    narrow = np.dstack([PHOTO.astype(np.uint16) * 16] * 3)
    with pytest.warns(UserWarning, match="small part of"):
        load_rgb(make(narrow))
    found = load_rgb(make(narrow), input_range=(0, 4080))[0]
    np.testing.assert_array_equal(found[..., 1], PHOTO)
    np.testing.assert_array_equal(PhotoRegions(make(narrow), input_range=(0, 4080)).pixels(), found)


def test_sixteen_bit_colours_of_which_pillow_keeps_eight_warn():
    with pytest.warns(UserWarning, match="of which only the upper 8 bits are read"):
        load_rgb(Image.open(io.BytesIO(png_of_16_bits(np.dstack([PHOTO.astype(np.uint16) * 16] * 3)))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        full = np.dstack([PHOTO.astype(np.uint16) * 257] * 3)
        np.testing.assert_array_equal(load_rgb(Image.open(io.BytesIO(png_of_16_bits(full))))[0][..., 0], PHOTO)


ZERO_ONE = (PHOTO > 100).astype(np.uint8)
CAST = {
    "gray": ZERO_ONE,
    "colours": np.dstack([ZERO_ONE, 1 - ZERO_ONE, ZERO_ONE]),
    "colours with alpha": np.dstack([ZERO_ONE] * 3 + [np.full(PHOTO.shape, 255, np.uint8)]),
    "channels first": np.stack([ZERO_ONE] * 3),
    "64 bits": ZERO_ONE.astype(np.int64),
    "signed": ZERO_ONE.astype(np.int8),
    "tensor": torch.from_numpy(np.stack([ZERO_ONE] * 3)),
    "tensor of 64 bits": torch.from_numpy(ZERO_ONE.astype(np.int64)),
    "Pillow": Image.fromarray(ZERO_ONE),
    "Pillow, colours": Image.fromarray(np.dstack([ZERO_ONE] * 3)),
    "file": tiff(Image.fromarray(ZERO_ONE)),
    "one white point": np.pad(np.ones((1, 1), np.uint8), ((700, 0), (0, 999))),
}


@pytest.mark.parametrize("name", CAST)
@READERS
def test_whole_numbers_of_zero_and_one_alone_warn(name, read):
    image = CAST[name]
    with pytest.warns(UserWarning, match=r"hold only 0 and 1, .*were floats in \[0, 1\] cast .*input_range=\(0, 255\)"):
        pixels = read(image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read(image, input_range=(0, 255)), pixels)


@READERS
def test_signed_bytes_warn(read):
    halves = (np.dstack([PHOTO] * 3) // 2).astype(np.int8)
    with pytest.warns(UserWarning, match=r"of int8 hold at most 127, .* input_range=\(0, 127\) or \(0, 255\)"):
        pixels = read(halves)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read(halves, input_range=(0, 255)), pixels)
        assert np.abs(read(halves, input_range=(0, 127)).astype(int)[..., 0] - PHOTO).max() <= 2


@pytest.mark.parametrize(
    "image",
    [
        ZERO_ONE.astype(bool),
        Image.fromarray(ZERO_ONE.astype(bool)),
        ZERO_ONE.astype(np.float32),
        ZERO_ONE * 255,
        ZERO_ONE * 2,
        np.zeros((9, 9, 3), np.uint8),
        np.ones((9, 9, 3), np.uint8),
        np.pad(np.full((1, 1), 2, np.uint8), ((700, 0), (0, 999))) | np.eye(701, 1000, dtype=np.uint8),
    ],
)
def test_black_and_white_and_black_images_do_not_warn(image):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_rgb(image)


def test_masks_and_parts_of_a_photo_may_be_zeros_and_ones():
    photo = np.asarray(Image.open(PHOTOS / "kitten.jpg").resize((160, 120))).copy()
    photo[:, :80] = ZERO_ONE[:, :80, None]
    model = small_model()
    processor = processor_for(small_config())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        processor(photo, segmentation_maps=[ZERO_ONE], input_masks=ZERO_ONE[None, None], return_tensors="pt")
        generator = SamHQMaskGenerator(model, processor, tile_size=64, points_per_crop=1)
        generator.generate(photo)
        segment_regions(model, processor, photo, input_boxes=[[10, 10, 30, 30]], tile_size=48, max_growths=0)


@pytest.mark.parametrize("input_range", [None, "auto", (0, 1e40)])
@pytest.mark.parametrize("large", [1e39, -1e300])
def test_numbers_beyond_32_bits_are_refused_without_a_warning(input_range, large, recwarn):
    with pytest.raises(ValueError, match="images must be finite in 32 bits"):
        to_uint8(np.array([[0.0, 1.0], [large, 0.5]]), input_range)
    assert list(recwarn) == []


def test_an_image_of_three_dimensions_has_channels():
    with pytest.raises(ValueError, match="input_data_format must be one of channels_first, channels_last, got 'none'"):
        array_rgb(np.full((5, 6, 3), 9, np.uint8), input_data_format="none")
    assert array_rgb(np.full((5, 6), 9, np.uint8), input_data_format="none")[0].shape == (5, 6, 3)
