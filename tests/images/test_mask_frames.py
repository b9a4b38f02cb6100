import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_hq.images import mask_frames
from sam_hq.images.mask_frames import (
    low_res_masks_to_photo,
    photo_masks_to_labels,
    photo_masks_to_logits,
)
from sam_hq_numpy.frame_sizes import resized_size, size_pairs


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([128, 1024]))
def test_the_longest_side_is_met_and_the_aspect_ratio_kept(height, width, longest_edge):
    new_height, new_width = resized_size((height, width), longest_edge)
    assert max(new_height, new_width) == longest_edge
    scale = longest_edge / max(height, width)
    assert abs(new_height - height * scale) <= 0.5 or new_height == 1
    assert abs(new_width - width * scale) <= 0.5 or new_width == 1


def labels_by_definition(mask, reshaped_size, frame_size, label_size):
    height, width = mask.shape
    labels = np.full(label_size, -100)
    for row in range(label_size[0]):
        for column in range(label_size[1]):
            y = (row + 0.5) * frame_size[0] / label_size[0]
            x = (column + 0.5) * frame_size[1] / label_size[1]
            if y < reshaped_size[0] and x < reshaped_size[1]:
                labels[row, column] = mask[
                    min(height - 1, int(y * height / reshaped_size[0])),
                    min(width - 1, int(x * width / reshaped_size[1])),
                ]
    return labels


@settings(max_examples=40)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([8, 16, 32]), st.integers(0, 9))
def test_labels_are_the_masks_at_the_pixel_centres(height, width, side, seed):
    mask = torch.from_numpy(np.random.default_rng(seed).integers(0, 2, (1, height, width)))
    reshaped = resized_size((height, width), 32)
    labels = photo_masks_to_labels(mask, reshaped, (32, 32), (side, side))
    assert np.array_equal(labels[0].numpy(), labels_by_definition(mask[0].numpy(), reshaped, (32, 32), (side, side)))


def test_labels_at_full_resolution_are_the_mask_itself():
    mask = torch.rand(2, 24, 32) > 0.5
    labels = photo_masks_to_labels(mask, (24, 32), (32, 32), (32, 32))
    assert torch.equal(labels[:, :24].bool(), mask)
    assert (labels[:, 24:] == -100).all()


def test_a_rough_mask_becomes_its_logit():
    mask = torch.zeros(1, 48, 64)
    mask[:, 8:24, 16:40] = 1
    logits = photo_masks_to_logits(mask, (48, 64), (64, 64), (16, 16))[0]
    expected = torch.full((16, 16), -10.0)
    expected[2:6, 4:10] = 10.0
    assert torch.allclose(logits, expected, atol=1e-4)


def test_half_covered_low_res_pixels_are_undecided():
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 2:] = 1  # half of the first low-res column
    assert torch.allclose(
        photo_masks_to_logits(mask, (64, 64), (64, 64), (16, 16))[0, :, 0], torch.zeros(16), atol=1e-5
    )


def test_a_rough_mask_survives_the_way_there_and_back():
    rows, columns = torch.meshgrid(torch.arange(300), torch.arange(400), indexing="ij")
    mask = ((rows - 140) ** 2 + (columns - 210) ** 2 < 90**2)[None]
    reshaped = resized_size((300, 400), 256)
    logits = photo_masks_to_logits(mask.float(), reshaped, (256, 256), (64, 64))
    back = low_res_masks_to_photo(logits, reshaped, (300, 400), (256, 256))
    assert (back & mask).sum() / (back | mask).sum() > 0.98


def photo_by_definition(logits, reshaped_size, original_size, frame_size):
    padded = F.interpolate(logits.float(), frame_size, mode="bilinear", align_corners=False)
    cropped = padded[..., : reshaped_size[0], : reshaped_size[1]]
    return F.interpolate(cropped, original_size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("floats_at_once", [1, 20_000, 64 * 1024 * 1024])
@pytest.mark.parametrize("original_size", [(37, 90), (90, 37), (64, 64), (1, 50)])
def test_masks_at_photo_size_equal_two_bilinear_steps(monkeypatch, floats_at_once, original_size):
    monkeypatch.setattr(mask_frames, "MAX_FLOATS_AT_ONCE", floats_at_once)
    logits = torch.randn(5, 3, 16, 16)
    reshaped = resized_size(original_size, 64)
    expected = photo_by_definition(logits, reshaped, original_size, (64, 64))
    assert torch.equal(low_res_masks_to_photo(logits, reshaped, original_size, (64, 64), binarize=False), expected)
    masks = low_res_masks_to_photo(logits, reshaped, original_size, (64, 64), mask_threshold=0.3)
    assert masks.dtype == torch.bool
    assert torch.equal(masks, expected > 0.3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    logits = torch.randn(1, 2, 16, 16).to(dtype)
    upscaled = low_res_masks_to_photo(logits, (48, 64), (96, 128), (64, 64), binarize=False)
    assert upscaled.dtype == torch.float32
    assert torch.equal(upscaled, photo_by_definition(logits, (48, 64), (96, 128), (64, 64)))


def test_no_mask_gives_no_mask():
    assert low_res_masks_to_photo(torch.zeros(0, 3, 16, 16), (64, 64), (5, 6), (64, 64)).shape == (0, 3, 5, 6)


def test_sizes_are_read_from_any_sequence():
    for sizes in ([(3, 4)], torch.tensor([[3, 4]]), np.array([[3, 4]]), [torch.tensor([3, 4])]):
        assert size_pairs("original_sizes", sizes, 1) == [(3, 4)]


@pytest.mark.parametrize("sizes", [[(3, 4), (5, 6)], [(3, 0)], [(3, 4, 5)], [3, 4], "ab", None])
def test_sizes_that_are_none_are_refused(sizes):
    with pytest.raises((ValueError, TypeError), match="original_sizes"):
        size_pairs("original_sizes", sizes, 1)
