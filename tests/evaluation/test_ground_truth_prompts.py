"""Prompts from masks: they lie where they should, for any mask."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_hq.evaluation.ground_truth_prompts import central_point, error_click, jittered_box, mask_box, random_points


def blob(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mask = np.zeros((40, 55), bool)
    for _ in range(int(rng.integers(1, 4))):
        y, x = rng.integers(0, 38), rng.integers(0, 53)
        mask[y : y + rng.integers(1, 20), x : x + rng.integers(1, 20)] = True
    return mask


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_box_and_points_fit_the_mask(seed):
    mask, rng = blob(seed), np.random.default_rng(seed)
    x0, y0, x1, y1 = mask_box(mask).astype(int)
    assert mask[y0:y1, x0:x1].sum() == mask.sum()
    assert mask[y0].any()
    assert mask[y1 - 1].any()
    assert mask[:, x0].any()
    assert mask[:, x1 - 1].any()
    for x, y in [central_point(mask), *random_points(mask, 5, rng)]:
        assert mask[int(y), int(x)]
    moved = jittered_box(mask_box(mask), rng, largest=0.1)
    assert (moved[2:] > moved[:2]).all()
    reach = 0.1 * np.tile([x1 - x0, y1 - y0], 2) + 1
    assert (np.abs(moved - mask_box(mask)) <= reach).all()


def test_the_central_point_of_a_frame_and_a_disc_is_in_the_disc():
    rows, columns = np.mgrid[:60, :60]
    mask = (rows - 40) ** 2 + (columns - 38) ** 2 < 100
    mask[:3] = True
    x, y = central_point(mask)
    assert abs(x - 38) <= 4
    assert abs(y - 40) <= 4


def test_clicks_correct_the_larger_error():
    truth = np.zeros((40, 40), bool)
    truth[5:30, 5:30] = True
    missing = truth & (np.arange(40)[None] < 10)
    (x, y), label = error_click(missing, truth)
    assert (label, bool(truth[int(y), int(x)]), bool(missing[int(y), int(x)])) == (1, True, False)
    (x, y), label = error_click(np.ones_like(truth), truth)
    assert (label, bool(truth[int(y), int(x)])) == (0, False)
    (x, y), label = error_click(truth, truth)
    assert (label, bool(truth[int(y), int(x)])) == (1, True)


@pytest.mark.parametrize("prompt", [mask_box, central_point])
def test_an_empty_mask_is_refused(prompt):
    with pytest.raises(ValueError, match="empty mask"):
        prompt(np.zeros((4, 4), bool))
