"""Masks at photo size, strip by strip, against the plain form that upscales them whole."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sam_hq.generation import upscaling as mask_upscaling
from sam_hq.generation.passing_masks import valid_region
from sam_hq.generation.upscaling import StreamingUpscaler, UpscalingWeights
from sam_hq.images.mask_frames import low_res_masks_to_photo
from sam_hq.images.mask_ops import stability_scores
from sam_hq_numpy.frame_sizes import resized_size

MASK, FRAME = 32, 128


def cut(upscaling, logits, threshold, offset, rows_at_once=100):
    """A mask whose rows come some at a time."""
    on_its_way = StreamingUpscaler(upscaling, threshold, offset)
    for rows in logits.split(rows_at_once):
        on_its_way.add(rows)
    return on_its_way.finished()


def blobs(size, count, seed=0):
    """Smooth logits."""
    coarse = torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(coarse, size, mode="bicubic")[:, 0] * 4


@pytest.mark.parametrize("photo_size", [(90, 60), (61, 97), (300, 301), (500, 77), (33, 480), (1, 3), (128, 128)])
@pytest.mark.parametrize(("strip_floats", "rows_at_once"), [(1, 100), (5000, 1), (10**6, 7), (10**6, 100)])
def test_masks_and_stability_are_those_of_the_plain_form(monkeypatch, photo_size, strip_floats, rows_at_once):
    monkeypatch.setattr(mask_upscaling, "STRIP_FLOATS", strip_floats)
    reshaped = resized_size(photo_size, FRAME)
    region = valid_region(reshaped, FRAME, MASK)
    frame = (4 * region[0], 4 * region[1])
    upscaling = UpscalingWeights(region, frame, reshaped, photo_size)
    for threshold, offset in ((0.0, 1.0), (1.5, 0.0), (-0.5, 0.25)):
        low_res = blobs(region, 6)
        low_res[4:] -= 3  # small masks
        logits = low_res_masks_to_photo(low_res, reshaped, photo_size, frame, binarize=False)
        stability = stability_scores(logits, threshold, offset)
        for mask, plain, plain_stability in zip(low_res, logits.numpy(), stability.tolist(), strict=True):
            found = cut(upscaling, mask, threshold, offset, rows_at_once)
            differing = found.encoded().to_mask() != (plain > threshold)
            assert np.abs(plain[differing] - threshold).max(initial=0) < 1e-5  # rounding alone tells them apart
            assert found.stability == pytest.approx(
                plain_stability, abs=2 / max((plain > threshold).sum(), 1), nan_ok=True
            )


def test_only_the_box_around_a_mask_is_made():
    upscaling = UpscalingWeights((32, 32), (128, 128), (128, 128), (512, 512))
    low_res = torch.full((32, 32), -9.0)
    low_res[10:12, 20] = 5.0
    found = cut(upscaling, low_res, 0.0, 1.0)
    assert found.corner[0] > 16 * 18
    assert found.corner[1] > 16 * 8
    assert max(found.window.shape) <= 16 * 5
    assert found.encoded().area > 0


def test_nothing_gives_an_empty_mask_without_stability():
    found = cut(UpscalingWeights((32, 32), (128, 128), (128, 128), (50, 70)), torch.full((32, 32), -9.0), 0.0, 1.0)
    assert np.isnan(found.stability)
    assert not found.encoded().to_mask().any()
    assert found.encoded().to_mask().shape == (50, 70)


def test_logits_at_a_threshold_are_not_above_it():
    upscaling = UpscalingWeights((32, 32), (128, 128), (128, 128), (70, 70))
    found = cut(upscaling, torch.zeros(32, 32), 0.0, 0.0)
    assert not found.encoded().to_mask().any()
    assert np.isnan(found.stability)


def test_what_the_stability_will_not_exceed_falls_to_what_it_is():
    upscaling = UpscalingWeights((32, 32), (128, 128), (128, 128), (90, 70))
    for mask in blobs((32, 32), 8):
        on_its_way = StreamingUpscaler(upscaling, 0.0, 1.0)
        bounds = []
        for row in mask.split(1):
            on_its_way.add(row)
            bounds.append(on_its_way.highest_stability())
        assert bounds[0] > bounds[-1]
        assert bounds == sorted(bounds, reverse=True)
        assert bounds[-1] == pytest.approx(on_its_way.finished().stability, abs=1e-6)
