"""Stable masks from strips of low-resolution logits, against the plain form that upscales every mask whole."""

import pytest
import torch
import torch.nn.functional as F

from sam_hq.generation.stability import StableMasks, stable_from_logits, stable_from_strips
from sam_hq.generation.upscaling import UpscalingWeights
from sam_hq.images.mask_frames import low_res_masks_to_photo
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions

SIDE, PHOTO = 32, (90, 128)
REGION, FRAME, RESHAPED = (23, 32), (92, 128), (90, 128)


def logits(count, seed=0):
    """Smooth logits, some steep and some flat at the outline, most of them above zero in most places."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(count, 1, 4, 4, generator=generator) + 0.5
    steepness = torch.logspace(0.3, 2.5, count)[torch.randperm(count, generator=generator), None, None]
    return F.interpolate(coarse, REGION, mode="bicubic")[:, 0] * steepness


def upscaling():
    return UpscalingWeights(REGION, FRAME, RESHAPED, PHOTO)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("rows_at_once", [1, 6, 23])
def test_strips_give_the_masks_of_the_plain_form(threshold, rows_at_once):
    options = MaskGenerationOptions(stability_score_thresh=threshold)
    low_res = torch.cat([logits(40), torch.full((1, *REGION), -9.0), torch.full((1, *REGION), 9.0)])
    at_photo_size = low_res_masks_to_photo(low_res, RESHAPED, PHOTO, FRAME, binarize=False)
    plain = stable_from_logits(at_photo_size, options)
    found = stable_from_strips(low_res.split(rows_at_once, dim=1), upscaling(), options)
    assert found.indices.tolist() == plain.indices.tolist()
    assert 0 < len(plain.masks) <= 42
    assert (len(plain.masks) == 42) == (threshold == 0)
    torch.testing.assert_close(found.stability, plain.stability, equal_nan=True)
    for mask, expected in zip(found.masks, plain.masks, strict=True):
        assert (mask.to_mask() != expected.to_mask()).sum() <= 1  # a logit at the threshold, rounded


def test_rows_are_asked_for_while_a_mask_may_still_pass():
    options = MaskGenerationOptions(stability_score_thresh=0.95)
    flat = torch.full((2, *REGION), 0.5)  # above the lower threshold everywhere, and nowhere above the higher
    asked = []

    def strips(masks):
        for row in range(REGION[0]):
            asked.append(row)
            yield masks[:, row : row + 1]

    assert len(stable_from_strips(strips(flat), upscaling(), options).masks) == 0
    assert len(asked) <= 3
    asked.clear()
    flat[1] = 9.0
    assert stable_from_strips(strips(flat), upscaling(), options).indices.tolist() == [1]
    assert len(asked) == REGION[0]


def test_groups_are_joined_with_the_numbers_of_all():
    options = MaskGenerationOptions(stability_score_thresh=0.9)
    at_photo_size = low_res_masks_to_photo(logits(20), RESHAPED, PHOTO, FRAME, binarize=False)
    whole = stable_from_logits(at_photo_size, options)
    groups = [(start, stable_from_logits(at_photo_size[start : start + 7], options)) for start in range(0, 20, 7)]
    joined = StableMasks.joined(groups)
    assert joined.indices.tolist() == whole.indices.tolist()
    assert torch.equal(joined.stability, whole.stability)
    assert [mask.area for mask in joined.masks] == [mask.area for mask in whole.masks]
