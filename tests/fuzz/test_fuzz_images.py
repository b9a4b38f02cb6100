"""Images of every kind through the image processor: finite pixels of the right shape, or a refusal that says so."""

import io

import numpy as np
import torch
from PIL import Image

from fuzzing import NUMBERS, damaged, outcome, rounds
from sam_hq.image_processing_sam_hq import SamHQImageProcessor

PROCESSOR = SamHQImageProcessor(size={"longest_edge": 32}, pad_size={"height": 32, "width": 32}, max_pixels=10_000)
MODES = [
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "I;16",
    "I;16B",
]
DTYPES = ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8", "?", "c8", "O", "U1", "M8[s]", "V4", ">f4"]
SIDES = [0, 1, 2, 3, 4, 5, 17, 40]
FORMATS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA", "DDS", "SGI", "PCX", "JPEG2000"]
Image.init()
if "QOI" in Image.SAVE:  # Pillow 10 only reads it
    FORMATS.append("QOI")


def check(prepared: dict | None, about: str) -> None:
    if prepared is None:
        return
    pixels = prepared["pixel_values"]
    assert pixels.shape[1:] == (3, 32, 32), about
    assert pixels.isfinite().all(), about
    assert (prepared["original_sizes"] > 0).all(), about


def odd_array(rng) -> object:
    shape = tuple(rng.choice(SIDES) for _ in range(rng.choice([0, 1, 2, 2, 3, 3, 3, 4, 5])))
    if len(shape) == 3 and rng.random() < 0.6:
        shape = (*shape[:2], rng.choice([1, 3, 4]))
    shape = shape if len(shape) != 4 else (rng.choice([0, 1, 2]), *shape[1:])
    random = np.random.default_rng(rng.randrange(2**32))
    values = np.asarray(random.random(shape)) * rng.choice([1, 1, 255, 255, 4095, 65535, 1e9])
    with np.errstate(all="ignore"):
        array = np.asarray(values).astype(rng.choice(["f4", "i8"])).astype(rng.choice(DTYPES)).reshape(shape)
    if array.dtype.kind == "f" and array.size and rng.random() < 0.3:
        array.flat[0] = rng.choice([float("nan"), float("inf"), -1e-3, 1.5])
    if array.dtype.kind in "uifc?" and array.dtype.isnative and rng.random() < 0.3:
        tensor = torch.from_numpy(array)
        kinds = [tensor, tensor, tensor.to("meta"), tensor.float().to_sparse(), tensor.float().requires_grad_()]
        return rng.choice(kinds)
    return array


def test_arrays_and_tensors():
    for rng in rounds(400):
        image = odd_array(rng)
        about = f"{type(image).__name__} {getattr(image, 'shape', None)} {getattr(image, 'dtype', None)}"
        check(outcome(lambda image=image: PROCESSOR(image), ("image",), about), about)


def test_pillow_modes_and_other_objects():
    for rng in rounds(250):
        size = (rng.choice(SIDES[1:]), rng.choice(SIDES[1:]))
        image = rng.choice(
            [Image.new(rng.choice(MODES), size), *NUMBERS, [], [[]], {"path": "x"}, Image, "no such.png"]
        )
        if rng.random() < 0.3:
            image = [Image.new("RGB", size), image]
        check(outcome(lambda image=image: PROCESSOR(image), ("image", "such"), repr(image), files=True), repr(image))


def test_damaged_files(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    written = {}
    for kind in FORMATS:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        written[kind] = buffer.getvalue()
    for rng in rounds(400):
        kind = rng.choice(FORMATS)
        content = damaged(rng, written[kind])
        path = tmp_path / f"photo.{kind.lower()}"
        path.write_bytes(content)
        image = rng.choice([str(path), path])
        check(
            outcome(
                lambda image=image: PROCESSOR(image), ("photo.", "max_pixels"), f"{kind} {content[:40]!r}", files=True
            ),
            kind,
        )
