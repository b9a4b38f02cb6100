import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam_hq.images.mask_ops import (
    encode_masks,
    encode_masks_on_device,
    stability_scores,
)
from sam_hq_numpy.mask_rle import RunLengthMask


@given(
    hnp.arrays(np.float32, (2, 5, 6), elements=st.floats(-4, 4, width=32)),
    st.sampled_from([-1.0, 0.0, 0.5]),
    st.sampled_from([0.25, 1.0, 2.0]),
)
def test_stability_is_the_iou_of_the_masks_cut_high_and_low(logits, threshold, offset):
    scores = stability_scores(torch.from_numpy(logits), threshold, offset)
    for mask, score in zip(logits, scores.tolist(), strict=True):
        high, low = mask > threshold + offset, mask > threshold - offset
        if low.any():
            assert score == pytest.approx((high & low).sum() / (high | low).sum())
        else:
            assert np.isnan(score)


@pytest.mark.parametrize("encode", [encode_masks, encode_masks_on_device])
@given(group=hnp.arrays(bool, st.tuples(st.integers(0, 4), st.integers(1, 8), st.integers(1, 8))))
def test_a_group_is_encoded_mask_by_mask(encode, group):
    assert encode(torch.from_numpy(group)) == [RunLengthMask.from_mask(mask) for mask in group]


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 3), bool), np.ones((2, 3), bool), np.eye(3, dtype=bool), np.eye(1, dtype=bool)]
)
def test_edge_cases_are_encoded_on_a_device_as_in_numpy(mask):
    assert encode_masks_on_device(torch.from_numpy(mask)[None]) == [RunLengthMask.from_mask(mask)]
