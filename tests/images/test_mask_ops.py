import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam_hq.images.mask_ops import (
    encode_masks,
    encode_masks_on_device,
    masks_to_boxes,
    non_maximum_suppression,
    stability_scores,
    touches_crop_edge,
)
from sam_hq_numpy.mask_rle import RunLengthMask

small_masks = hnp.arrays(bool, st.tuples(st.integers(0, 3), st.integers(1, 9), st.integers(1, 9)))
whole_boxes = hnp.arrays(np.int64, st.tuples(st.integers(0, 30), st.just(4)), elements=st.integers(0, 8))


def greedy_suppression(boxes, scores, threshold):
    def iou(a, b):
        area = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
        width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
        height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
        union = sum(area) - width * height
        return width * height / union if union else 0.0

    kept = []
    for candidate in sorted(range(len(boxes)), key=lambda index: -scores[index]):
        if all(iou(boxes[candidate], boxes[better]) <= threshold for better in kept):
            kept.append(candidate)
    return kept


@given(whole_boxes, st.data(), st.sampled_from([0.0, 0.25, 0.5, 0.7, 1.0]))
def test_suppression_is_greedy_and_keeps_the_order_of_ties(boxes, data, threshold):
    boxes[:, 2:] += boxes[:, :2]
    scores = data.draw(hnp.arrays(np.float32, len(boxes), elements=st.sampled_from([0.25, 0.5, 0.75])))
    kept = non_maximum_suppression(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    assert kept.tolist() == greedy_suppression(boxes.tolist(), scores.tolist(), threshold)


@pytest.mark.parametrize("box_dtype", [torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("score_dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_suppression_takes_boxes_and_scores_of_any_dtype(box_dtype, score_dtype):
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]).to(box_dtype)
    scores = torch.tensor([0.5, 0.75, 0.25]).to(score_dtype)
    assert non_maximum_suppression(boxes, scores, 0.7).tolist() == [1, 2]


def test_suppression_of_nothing_is_nothing():
    assert non_maximum_suppression(torch.zeros(0, 4), torch.zeros(0), 0.7).tolist() == []


def test_suppression_says_what_shapes_it_wants():
    with pytest.raises(ValueError, match=r"\(N, 4\).*\(3, 4\) and \(2,\)"):
        non_maximum_suppression(torch.zeros(3, 4), torch.zeros(2), 0.7)


@given(small_masks)
def test_box_is_the_extent_of_the_pixels(masks):
    boxes = masks_to_boxes(torch.from_numpy(masks))
    assert boxes.shape == (len(masks), 4)
    for mask, box in zip(masks, boxes.tolist(), strict=True):
        rows, columns = np.nonzero(mask)
        expected = [columns.min(), rows.min(), columns.max(), rows.max()] if len(rows) else [0, 0, 0, 0]
        assert box == expected


def test_boxes_keep_leading_dimensions():
    masks = torch.zeros(2, 3, 5, 7, dtype=torch.bool)
    masks[1, 2, 4, 6] = True
    boxes = masks_to_boxes(masks)
    assert boxes.shape == (2, 3, 4)
    assert boxes[1, 2].tolist() == [6, 4, 6, 4]


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


@given(
    st.tuples(*[st.integers(0, 120)] * 4),
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(40, 120), st.integers(40, 120)),
    st.sampled_from([0.0, 5.0, 20.0]),
)
def test_touching_means_near_the_crops_side_and_far_from_the_images(box, crop, tolerance):
    size = (180, 180)
    crop_box = (crop[0], crop[1], min(crop[0] + crop[2], 180), min(crop[1] + crop[3], 180))
    in_photo = [box[0] + crop[0], box[1] + crop[1], box[2] + crop[0], box[3] + crop[1]]
    expected = any(
        abs(side - crop_side) <= tolerance and abs(side - photo_side) > tolerance
        for side, crop_side, photo_side in zip(in_photo, crop_box, (0, 0, 180, 180), strict=True)
    )
    assert touches_crop_edge(torch.tensor([box]), crop_box, size, tolerance).tolist() == [expected]


def test_masks_of_the_whole_image_never_touch_a_crop_edge():
    boxes = torch.tensor([[0, 0, 99, 49], [0, 10, 5, 20]])
    assert not touches_crop_edge(boxes, (0, 0, 100, 50), (50, 100)).any()


@pytest.mark.parametrize("encode", [encode_masks, encode_masks_on_device])
@given(group=hnp.arrays(bool, st.tuples(st.integers(0, 4), st.integers(1, 8), st.integers(1, 8))))
def test_a_group_is_encoded_mask_by_mask(encode, group):
    assert encode(torch.from_numpy(group)) == [RunLengthMask.from_mask(mask) for mask in group]


@pytest.mark.parametrize(
    "mask", [np.zeros((2, 3), bool), np.ones((2, 3), bool), np.eye(3, dtype=bool), np.eye(1, dtype=bool)]
)
def test_edge_cases_are_encoded_on_a_device_as_in_numpy(mask):
    assert encode_masks_on_device(torch.from_numpy(mask)[None]) == [RunLengthMask.from_mask(mask)]
