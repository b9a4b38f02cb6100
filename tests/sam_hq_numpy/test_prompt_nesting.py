import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sam_hq_numpy.prompt_nesting import (
    boxes_per_image,
    labels_per_object,
    masks_per_object,
    object_counts,
    points_per_object,
)
from sam_hq_numpy.prompt_padding import pad_points, pad_stacks

NUMBERS = st.floats(-2000, 2000, width=32)
POINTS = st.lists(st.tuples(NUMBERS, NUMBERS).map(list), max_size=4)
NESTED_POINTS = st.lists(st.lists(POINTS, max_size=3), min_size=1, max_size=4)
FORMS = (
    lambda points: points,
    lambda points: tuple(map(tuple, points)),
    lambda points: np.array(points, np.float32).reshape(-1, 2),
    lambda points: torch.tensor(points).reshape(-1, 2),
)


@given(NESTED_POINTS, st.sampled_from(FORMS))
def test_ragged_points_are_split_and_padded_without_a_change(nested, form):
    points = points_per_object([[form(of_object) for of_object in image] for image in nested], len(nested))
    assert [[of_object.tolist() for of_object in image] for image in points] == nested
    if not any(map(len, nested)):
        return
    padded, labels = pad_points(points, labels_per_object(None, points))
    for i, image in enumerate(nested):
        for j in range(padded.shape[1]):
            of_object = image[j] if j < len(image) else []
            assert padded[i, j, : len(of_object)].tolist() == of_object
            assert labels[i, j].tolist() == [1] * len(of_object) + [-10] * (padded.shape[2] - len(of_object))


@given(NESTED_POINTS, st.randoms())
def test_labels_follow_their_points(nested, random):
    points = points_per_object(nested, len(nested))
    labels = [[[random.choice((1, 0, -1)) for _ in of_object] for of_object in image] for image in nested]
    if not any(of_object for image in nested for of_object in image):
        return
    split = labels_per_object(labels, points)
    assert [[of_object.tolist() for of_object in image] for image in split] == labels


def test_three_levels_are_one_object_per_image():
    assert [[len(p) for p in image] for image in points_per_object([[[1, 2], [3, 4]], [[5, 6]]], 2)] == [[2], [1]]
    assert [len(image) for image in points_per_object([[[1, 2]], [], None], 3)] == [1, 0, 0]
    assert [[len(p) for p in image] for image in points_per_object(np.zeros((2, 5, 2)), 2)] == [[5], [5]]
    points = points_per_object(torch.zeros(1, 3, 5, 2), 1)
    assert [[len(p) for p in image] for image in points] == [[5, 5, 5]]
    assert labels_per_object([[0, 1]], points_per_object([[[1, 2], [3, 4]]], 1))[0][0].tolist() == [0, 1]
    assert labels_per_object([[0, 1], None], points_per_object([[[1, 2], [3, 4]], None], 2))[1] == []


def nested(levels):
    value = [1, 2]
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("points", "error", "message"),
    [
        ([[1, 2]], ValueError, "got 2 levels"),
        ([[[[[1, 2]]]]], ValueError, "got 5 levels"),
        ([[[1, 2]], [[3, 4]]], ValueError, "input_points is for 2 images .* but there are 1"),
        ([[[1, 2, 3]]], ValueError, r"input_points\[0\]\[0\] must have shape \(count, 2\), got \(1, 3\)"),
        ([[[[1, 2], [3]]]], ValueError, r"input_points\[0\]\[0\] is not a regular list"),
        ([[[["1", "2"]]]], TypeError, r"input_points\[0\]\[0\] must hold numbers"),
        (5, TypeError, "input_points must be nested lists"),
        ("points", TypeError, "input_points must be nested lists"),
        ({(1, 2)}, TypeError, "input_points must be nested lists"),
        ({"x": 1, "y": 2}, TypeError, "input_points must be nested lists"),
        ([[[{1, 2}]]], TypeError, r"input_points\[0\]\[0\] must hold numbers"),
        ([[[True, False]]], TypeError, r"input_points\[0\]\[0\] must hold numbers"),
        ([[[True, 5]]], TypeError, r"input_points\[0\]\[0\] must hold numbers"),
        ([[[np.True_, 5]]], TypeError, r"input_points\[0\]\[0\] must hold numbers"),
        (torch.ones(1, 1, 2, dtype=torch.bool), TypeError, r"input_points\[0\]\[0\] must hold numbers"),
        ([[[1 + 2j, 5]]], TypeError, r"input_points\[0\]\[0\] must hold numbers"),
        ([[[10**400, 5]]], TypeError, r"input_points\[0\]\[0\] must hold numbers"),
        (torch.ones(1, 1, 2, dtype=torch.complex64), TypeError, "input_points must hold real numbers"),
        (torch.ones(1, 1, 2, device="meta"), TypeError, "input_points must hold real numbers"),
        (torch.ones(1, 1, 2).to_sparse(), TypeError, "input_points must hold real numbers"),
        ([[torch.ones(2).to_sparse()]], TypeError, r"input_points\[0\]\[0\] must hold real numbers"),
        (torch.quantize_per_tensor(torch.ones(1, 1, 2), 0.1, 0, torch.quint8), TypeError, "got a quantised"),
        (np.ma.masked_equal(np.ones((1, 1, 2)), 1), TypeError, "got a masked array"),
        ([5], ValueError, "got 1 levels"),
        ([[[[[[[[[[[1, 2]]]]]]]]]]], ValueError, "at most 8 levels"),
        ([nested(1000)], ValueError, "at most 8 levels"),
    ],
)
def test_points_of_another_form_are_named(points, error, message):
    with pytest.raises(error, match=message):
        points_per_object(points, 1)


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([[[1, 0]], [[1]]], ValueError, "input_labels is for 2 images"),
        ([[[1]]], ValueError, r"input_labels\[0\] has 1 object, input_points\[0\] has 2"),
        ([[[1], [1]]], ValueError, r"input_labels\[0\]\[0\] must have a label for each of 2 points"),
        ([[1, 0]], ValueError, "input_labels must be nested .* got 2 levels"),
        ([[[1, 0.5], [1]]], ValueError, r"input_labels\[0\]\[0\] must hold whole numbers"),
        (1, TypeError, "input_labels must be nested lists"),
    ],
)
def test_labels_that_do_not_fit_are_named(labels, error, message):
    points = points_per_object([[[[1, 2], [3, 4]], [[5, 6]]]], 1)
    with pytest.raises(error, match=message):
        labels_per_object(labels, points)


@given(st.lists(st.lists(st.lists(NUMBERS, min_size=4, max_size=4), max_size=3), min_size=1, max_size=4))
def test_ragged_boxes_are_split_and_padded_without_a_change(nested):
    boxes = boxes_per_image(nested, len(nested))
    assert [image.tolist() for image in boxes] == nested
    padded = pad_stacks([torch.from_numpy(image) for image in boxes], (4,), 0.0)
    for i, image in enumerate(nested):
        assert padded[i].tolist() == image + [[0.0] * 4] * (padded.shape[1] - len(image))


def test_two_levels_are_one_box_per_image():
    assert [box.shape for box in boxes_per_image([[1, 2, 3, 4], [], [5, 6, 7, 8]], 3)] == [(1, 4), (0, 4), (1, 4)]
    for boxes, message in (
        ([1, 2, 3, 4], "input_boxes is for 4 images|got 1 levels"),
        ([[[[1, 2, 3, 4]]]], "got 4 levels"),
        ([[[1, 2, 3]]], r"input_boxes\[0\] must have shape \(count, 4\)"),
        ([[[1, 2, 3, 4], None]], r"input_boxes\[0\]"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            boxes_per_image(boxes, 1)


MASK = np.zeros((3, 4), bool)


@pytest.mark.parametrize(
    ("masks", "batch_size", "counts"),
    [
        (MASK, 1, [1]),
        (Image.fromarray(MASK), 1, [1]),
        ([MASK], 1, [1]),
        ([MASK, MASK], 1, [2]),
        ([MASK, MASK], 2, [1, 1]),
        (np.stack([MASK] * 3), 1, [3]),
        (np.stack([MASK] * 3), 3, [1, 1, 1]),
        (torch.zeros(2, 3, 4, 5), 2, [3, 3]),
        (torch.zeros(1, 3, 1, 4, 5), 1, [3]),
        ([[MASK, torch.zeros(5, 6)], None, [], np.stack([MASK] * 2)], 4, [2, 0, 0, 2]),
    ],
)
def test_masks_are_split_by_image_and_object(masks, batch_size, counts):
    split = masks_per_object(masks, batch_size, "input_masks")
    assert [len(image) for image in split] == counts
    assert all(mask.ndim == 2 for image in split for mask in image)


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        (5, TypeError, "input_masks must be nested"),
        (np.zeros(3), TypeError, "input_masks must be nested"),
        ([5], TypeError, r"input_masks\[0\] must hold"),
        ([[[1, 0], [0, 1]]], TypeError, r"input_masks\[0\]\[0\] must be an array"),
        (np.full((3, 4), "a"), TypeError, r"input_masks\[0\]\[0\] must hold numbers"),
        (np.zeros((2, 3, 4, 5)), ValueError, "input_masks is for 2 images"),
        (np.zeros((1, 2, 3, 4, 5)), ValueError, r"input_masks\[0\]\[0\] must be one mask"),
        (np.zeros((0, 4)), ValueError, r"input_masks\[0\]\[0\] must be one mask"),
        (Image.new("RGB", (4, 4)), ValueError, r"input_masks\[0\]\[0\] must be one mask"),
    ],
)
def test_masks_of_another_form_are_named(masks, error, message):
    with pytest.raises(error, match=message):
        masks_per_object(masks, 1, "input_masks")


def test_prompts_have_to_agree_in_their_objects():
    assert object_counts(2, input_points=None, input_boxes=[[1, 2], []]) == [2, 0]
    assert object_counts(2, input_points=None) == []
    with pytest.raises(ValueError, match="in image 1 input_points has 0, input_boxes has 1"):
        object_counts(2, input_points=[[1], []], input_boxes=[[1], [1]])
    assert object_counts(2, input_boxes=[[], []]) == [0, 0]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[[[1, 2]]], 5], r"input_points\[1\] must be a list"),
        ([[[[1, 2]]], "ab"], r"input_points\[1\] must be a list"),
        ([[[[1, 2]]], np.float64(5)], r"input_points\[1\] must be a list"),
        ([[[[1, 2]]], torch.tensor(5)], r"input_points\[1\] must be a list"),
        ([[[[1, 2]]], [[3, 4]]], r"input_points\[1\]\[0\] must have shape \(count, 2\)"),
        ([[[1, 2]], 5], r"input_points\[1\]\[0\] must have shape \(count, 2\)"),
    ],
)
def test_images_nested_differently_are_named(points, message):
    with pytest.raises((TypeError, ValueError), match=message):
        points_per_object(points, 2)


def test_tensors_inside_lists_are_read_whatever_they_are():
    corner = torch.tensor(3.0, requires_grad=True)
    half = torch.tensor([1.0, 2.0], dtype=torch.bfloat16)
    points = points_per_object([[[half, [corner, 4]]]], 1)
    np.testing.assert_array_equal(points[0][0], [[1, 2], [3, 4]])
