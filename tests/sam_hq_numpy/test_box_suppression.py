import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam_hq_numpy.box_suppression import best_boxes

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
    kept = best_boxes(boxes, scores, threshold)
    assert kept.tolist() == greedy_suppression(boxes.tolist(), scores.tolist(), threshold)


@pytest.mark.parametrize("dtype", [np.int64, np.float16, np.float32, np.float64])
def test_suppression_takes_boxes_of_any_dtype(dtype):
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], dtype=dtype)
    assert best_boxes(boxes, np.array([0.5, 0.75, 0.25]), 0.7).tolist() == [1, 2]


def test_suppression_of_nothing_is_nothing():
    assert best_boxes(np.zeros((0, 4)), np.zeros(0), 0.7).tolist() == []


def test_suppression_says_what_shapes_it_wants():
    with pytest.raises(ValueError, match=r"\(N, 4\).*\(3, 4\) and \(2,\)"):
        best_boxes(np.zeros((3, 4)), np.zeros(2), 0.7)
