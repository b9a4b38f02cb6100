import warnings
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from sam_hq.images.given_masks import binary_stacks, mask_prompt_stacks
from sam_hq_numpy.prompt_warnings import PromptWarning

DISC = torch.from_numpy((np.indices((24, 32)) - 14) ** 2).sum(0) < 80


def prompt(mask, original_size=(24, 32), mask_size=(8, 8)):
    return mask_prompt_stacks([[mask]], [original_size], [(24, 32)], (32, 32), mask_size)[0][0]


def test_rough_masks_of_every_dtype_give_the_same_logits():
    logits = prompt(DISC)
    assert logits.dtype == torch.float32
    assert (logits[6:] == logits.min()).all()  # the padding
    assert logits.max() == pytest.approx(10, abs=1e-4)
    for same in (DISC.to(torch.uint8), DISC.to(torch.uint8) * 255, DISC.float(), DISC.long(), DISC.half()):
        assert torch.equal(prompt(same), logits)


def test_probabilities_become_their_logits():
    assert torch.allclose(prompt(torch.full((24, 32), 0.75))[:6], torch.logit(torch.tensor(0.75)), atol=1e-5)


def test_low_res_floats_are_logits_unless_they_are_a_mask():
    logits = torch.randn(8, 8) * 20
    assert torch.equal(prompt(logits), logits)
    assert torch.equal(prompt(logits.double()), logits)
    nearly = torch.ones(8, 8)
    nearly[0, 0] = -0.5
    assert torch.equal(prompt(nearly), nearly)
    with pytest.warns(
        PromptWarning, match=r"input_masks\[0\]\[0\] holds only numbers from 0 to 1, but is read as logits"
    ):
        assert torch.equal(prompt(nearly.abs()), nearly.abs())


# Of the low-res frame, of its image, and of an image that has the low-res frame's size.
@pytest.mark.parametrize(
    ("mask_size", "original_size"), [((24, 32), (99, 132)), ((8, 8), (24, 32)), ((24, 32), (24, 32))]
)
def test_zeros_and_ones_are_a_mask_whatever_their_dtype(mask_size, original_size):
    expected = prompt(DISC, original_size, mask_size) if DISC.shape in (mask_size, original_size) else None
    for dtype in (torch.uint8, torch.int16, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for foreground in (1, 255) if dtype != torch.bool else (1,):
            if foreground == 255 and dtype == torch.bfloat16:
                continue
            assert torch.equal(prompt(DISC.to(dtype) * foreground, original_size, mask_size), expected), (
                dtype,
                foreground,
            )


def test_a_mask_of_the_low_res_frame_is_as_sure_as_a_rough_one():
    assert torch.equal(prompt(DISC, (99, 132), (24, 32)), torch.where(DISC, 10.0, -10.0))


@pytest.mark.parametrize("mask", [torch.zeros(8, 8), torch.zeros(24, 32, dtype=torch.bool)])
def test_an_empty_mask_is_said(mask):
    with pytest.warns(PromptWarning, match=r"input_masks\[0\]\[0\] is an empty mask"):
        assert torch.allclose(prompt(mask), torch.tensor(-10.0), atol=1e-4)


@pytest.mark.parametrize("label", [2, 7, 128, 200])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_whole_numbers_of_one_label_are_a_mask(label, dtype):
    assert torch.equal(prompt(DISC.to(dtype) * label), prompt(DISC))
    assert torch.equal(prompt(DISC.to(dtype) * label, (99, 132), (24, 32)), torch.where(DISC, 10.0, -10.0))


@pytest.mark.parametrize("mask", [DISC.long() + 1, DISC.to(torch.uint8) * 2 + 1, DISC * 0.4])
def test_a_mask_that_nowhere_shows_an_object_is_said(mask):
    with pytest.warns(PromptWarning, match=r"input_masks\[0\]\[0\] shows no object: none of its values, up to"):
        assert (prompt(mask) < 0).all()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            torch.zeros(9, 8),
            r"input_masks\[0\]\[0\] must be floating point logits or a mask .* \(8, 8\), or .* \(24, 32\)",
        ),
        (torch.full((8, 8), 7, dtype=torch.uint8), "must be floating point logits"),
        (torch.full((24, 32), 5.0), "as a rough mask at photo size"),
        (torch.full((24, 32), -1), "as a rough mask at photo size"),
        (torch.full((24, 32), 256), "as a rough mask at photo size"),
        (torch.full((24, 32), float("nan")), "as a rough mask at photo size"),
        (torch.full((8, 8), float("inf")), "must be finite"),
        (torch.full((8, 8), float("nan")), "must be finite"),
        (torch.full((8, 8), -1e25), r"must be finite logits of at most 10000, got 1e\+25"),
    ],
)
def test_masks_that_are_neither_are_named(mask, message):
    with pytest.raises(ValueError, match=message):
        prompt(mask)


LABELS = torch.zeros(24, 32, dtype=torch.uint8)
LABELS[2:10, 2:12], LABELS[12:22, 4:14], LABELS[4:20, 18:30] = 1, 2, 3
LINES = torch.zeros(24, 32, dtype=torch.uint8)
LINES[3], LINES[9], LINES[15, :5] = 1, 2, 3
MANY = torch.arange(1, 16 * 16).reshape(15, 17).kron(torch.ones(20, 20, dtype=torch.int64))
MAPS = {
    "labels": LABELS,
    "int64": LABELS.long(),
    "without a background": LABELS + 1,
    "classes": torch.tensor([0, 7, 15, 20], dtype=torch.uint8)[LABELS.long()],
    "spread over all shades": LABELS * 85,
    "a class and its border": torch.where(LABELS == 3, 15, 0) + torch.where(LABELS == 1, 255, 0),
    "thin objects": LINES,
    "65 objects": torch.where(MANY <= 65, MANY, 0),
    "200 objects": torch.where(MANY <= 200, MANY, 0).to(torch.uint8),
    "255 objects in any order": torch.randperm(256, generator=torch.Generator().manual_seed(0))[MANY],
    "palette indices": Image.fromarray(LABELS.numpy()).convert("P"),
}


@pytest.mark.parametrize("kind", MAPS)
def test_a_label_map_of_several_objects_is_refused(kind):
    given = MAPS[kind]
    label_map = torch.from_numpy(np.array(given)) if isinstance(given, Image.Image) else given
    with pytest.raises(ValueError, match=r"input_masks\[0\]\[0\] must be one mask, got .*, a label map: give each"):
        prompt(label_map, tuple(label_map.shape))


def test_each_object_of_a_label_map_and_shades_of_one_mask_are_taken():
    large = Image.fromarray(DISC.numpy()).convert("L").resize((320, 240), Image.Resampling.NEAREST)
    disc = torch.from_numpy(np.array(large)) > 0
    edges = [np.array(large.resize((31, 23), filter)) for filter in (Image.Resampling.BOX, Image.Resampling.BICUBIC)]
    edges.append(np.array(large.filter(ImageFilter.GaussianBlur(9)).resize((31, 23))))
    edges.append(np.array(large.filter(ImageFilter.BoxBlur(3))))
    edges.append(np.array(large.filter(ImageFilter.GaussianBlur(70))))  # neighbours are equal here
    lossy = BytesIO()
    large.save(lossy, "jpeg", quality=60)
    edges.append(np.array(Image.open(lossy)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for label in (1, 2, 3):
            assert torch.equal(prompt((label == LABELS).to(torch.uint8)), prompt(label == LABELS))
        for edge in edges:
            shades = torch.from_numpy(edge)
            size = tuple(shades.shape)
            assert len(shades.unique()) > 2
            assert torch.equal(prompt(shades, size), prompt(shades.float() / 255, size))
    assert prompt(disc, (240, 320)).max() > 0


def test_whole_numbers_as_logits_are_said_to_be_labels():
    labels = LABELS[:8, :32:4].float() + torch.arange(8)[:, None]
    for same in (labels, labels.double(), labels * 5):
        with pytest.warns(PromptWarning, match=r"input_masks\[0\]\[0\] is read as logits, but seems to be a label map"):
            assert torch.equal(prompt(same), same.float())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for logits in (labels - 2, labels + 0.25, torch.where(labels > 3, 10.0, 0.0)):
            assert torch.equal(prompt(logits), logits)


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int64, np.float32])
def test_binary_maps_of_every_dtype_are_read(dtype):
    assert torch.equal(binary_stacks(DISC.numpy().astype(dtype), [(24, 32)])[0][0].bool(), DISC)


def test_images_without_objects_are_kept_beside_others():
    stacks = binary_stacks([None, DISC], [(4, 5), (24, 32)])
    assert [tuple(stack.shape) for stack in stacks] == [(0, 4, 5), (1, 24, 32)]


@pytest.mark.parametrize("values", [(0, 2), (1, 255), (0, 128), (0, -1), (0, 1, 255)])
def test_maps_of_other_values_are_named(values):
    ids = torch.tensor(values).repeat(24 * 32)[: 24 * 32].reshape(24, 32)
    with pytest.raises(ValueError, match=r"segmentation_maps\[0\]\[0\] must be binary"):
        binary_stacks(ids, [(24, 32)])


def test_numbers_beyond_64_bits_with_a_sign_are_not_the_ignored_label():
    mask = np.where(DISC.numpy(), np.uint64(2**64 - 100), np.uint64(0))  # as 64 bits with a sign: -100
    with pytest.raises(ValueError, match=r"segmentation_maps\[0\]\[0\] must be binary"):
        binary_stacks(mask, [(24, 32)])
    assert torch.equal(binary_stacks(DISC.numpy().astype(np.uint64), [(24, 32)])[0][0].bool(), DISC)
