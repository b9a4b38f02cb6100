import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from sam_hq_numpy.mask_rle import RunLengthMask

masks = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))
EDGE_CASES = [
    np.zeros((3, 4), bool),
    np.ones((3, 4), bool),
    np.eye(5, dtype=bool),
    np.tri(4, 6, dtype=bool),
    np.ones((1, 1), bool),
]


def counts_by_walking(mask):
    counts, inside = [0], False
    for pixel in mask.T.ravel():
        if pixel != inside:
            counts.append(0)
            inside = not inside
        counts[-1] += 1
    return counts


@given(masks)
def test_counts_are_the_runs_down_the_columns(mask):
    assert RunLengthMask.from_mask(mask).counts.tolist() == counts_by_walking(mask)


@given(masks)
def test_decoding_gives_the_mask_back(mask):
    rle = RunLengthMask.from_mask(mask)
    np.testing.assert_array_equal(rle.to_mask(), mask)
    for written in (rle.to_uncompressed(), rle.to_coco()):
        assert RunLengthMask.from_dict(json.loads(json.dumps(written))) == rle


@given(masks)
def test_compressed_form_is_that_of_pycocotools(mask):
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    mine = RunLengthMask.from_mask(mask).to_coco()
    assert mine["counts"].encode() == theirs["counts"]
    assert mine["size"] == theirs["size"]
    np.testing.assert_array_equal(RunLengthMask.from_dict(theirs).to_mask(), mask)


@given(st.lists(st.integers(1, 40_000), min_size=1, max_size=60))
def test_long_runs_compress_as_pycocotools_does(lengths):
    height, width = 1, sum(lengths)
    rle = RunLengthMask.from_dict({"size": [height, width], "counts": lengths})
    theirs = coco.frPyObjects({"size": [height, width], "counts": lengths}, height, width)
    assert rle.to_coco()["counts"].encode() == theirs["counts"]
    assert RunLengthMask.from_dict(rle.to_coco()) == rle


def test_runs_of_the_largest_images_compress():
    counts = [123_456_789, 20_000 * 20_000 - 123_456_790, 1]
    written = RunLengthMask.from_dict({"size": [20_000, 20_000], "counts": counts}).to_coco()
    assert (
        written["counts"].encode()
        == coco.frPyObjects({"size": [20_000] * 2, "counts": counts}, 20_000, 20_000)["counts"]
    )
    assert RunLengthMask.from_dict(written).counts.tolist() == counts


@given(masks)
def test_area_and_box_are_those_of_the_pixels(mask):
    rle = RunLengthMask.from_mask(mask)
    rows, columns = np.nonzero(mask)
    assert rle.area == mask.sum()
    assert rle.box() == ((columns.min(), rows.min(), columns.max(), rows.max()) if mask.any() else (0, 0, 0, 0))


@given(masks, st.tuples(*[st.integers(0, 4)] * 4))
def test_pasting_places_the_crop_in_its_image(mask, margins):
    above, below, left, right = margins
    pasted = RunLengthMask.from_mask(mask).pasted(
        left, above, (mask.shape[0] + above + below, mask.shape[1] + left + right)
    )
    assert pasted.counts.tolist() == counts_by_walking(np.pad(mask, ((above, below), (left, right))))


@given(masks, st.data())
def test_a_window_is_that_part_of_the_mask(mask, data):
    height, width = mask.shape
    x0, y0 = data.draw(st.integers(0, width)), data.draw(st.integers(0, height))
    x1, y1 = data.draw(st.integers(x0, width)), data.draw(st.integers(y0, height))
    np.testing.assert_array_equal(RunLengthMask.from_mask(mask).window((x0, y0, x1, y1)), mask[y0:y1, x0:x1])


@given(hnp.arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 8), st.integers(1, 8))))
def test_joining_is_the_union(group):
    first, *others = [RunLengthMask.from_mask(mask) for mask in group]
    assert first.joined(others) == RunLengthMask.from_mask(group.any(0))


def test_a_crop_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="does not fit"):
        RunLengthMask.from_mask(np.ones((3, 3), bool)).pasted(2, 0, (3, 4))


@pytest.mark.parametrize("mask", EDGE_CASES)
def test_edge_cases_agree_everywhere(mask):
    rle = RunLengthMask.from_mask(mask)
    assert rle.counts.tolist() == counts_by_walking(mask)
    assert rle.to_coco()["counts"].encode() == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


def test_foreign_counts_with_empty_runs_are_read():
    rle = RunLengthMask.from_dict({"size": [2, 3], "counts": [1, 0, 1, 2, 0, 1, 1]})
    assert rle.to_uncompressed() == {"size": [2, 3], "counts": [2, 3, 1]}


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [
        ([1, 2], "sum of 3"),
        ([7, -1], "smallest of -1"),
        ("\x01", "out of range"),
        ("o", "end is missing"),
        ("oooooooo0", "seven"),
    ],
)
def test_damaged_counts_are_refused(counts, complaint):
    with pytest.raises(ValueError, match=complaint):
        RunLengthMask.from_dict({"size": [2, 3], "counts": counts})


@pytest.mark.parametrize(
    ("rle", "complaint"),
    [
        ({"counts": [6]}, "run lengths must be a dictionary with size and counts"),
        ("62K", "run lengths must be a dictionary"),
        ({"size": [2, 3], "counts": None}, "counts must be a list of whole lengths"),
        ({"size": [2, 3], "counts": [1.5, 2, 2.5]}, "counts must be a list of whole lengths"),
        ({"size": [2, 3], "counts": [2**64, 6]}, "counts must be a list of whole lengths"),
        ({"size": [2, 3], "counts": [[1, 2], [3, 0]]}, "counts must be a list of whole lengths"),
        ({"size": [2, 3], "counts": [[1], [2, 3]]}, "counts must be a list of whole lengths"),
        ({"size": [-2, -3], "counts": [6]}, "the size of run lengths must be pairs"),
        ({"size": [10**9, 10**9], "counts": [10**18]}, "the size of run lengths must be of at most"),
    ],
)
def test_what_is_no_run_lengths_is_said(rle, complaint):
    with pytest.raises((TypeError, ValueError), match=complaint):
        RunLengthMask.from_dict(rle)


MASK = np.eye(4, dtype=bool)


@pytest.mark.parametrize(
    ("mask", "complaint"),
    [
        (MASK * 20.0 - 10, "numbers below 0; of logits, give those above the threshold"),
        (-MASK.astype(int), "numbers below 0"),
        (np.where(MASK, np.nan, 0), "NaN"),
        (MASK.astype(str), "mask must hold truth values or numbers, got <U5"),
        (MASK.astype(object), "mask must hold truth values or numbers, got object"),
        (MASK[None], r"mask must be \(H, W\), got shape \(1, 4, 4\)"),
    ],
)
def test_what_is_no_mask_is_refused(mask, complaint):
    with pytest.raises((TypeError, ValueError), match=complaint):
        RunLengthMask.from_mask(mask)


def test_masks_of_every_kind_of_numbers_are_the_same():
    wanted = RunLengthMask.from_mask(MASK)
    for same in (MASK.tolist(), MASK * 255, MASK.astype(">i2"), MASK * 0.5, np.asfortranarray(MASK)):
        assert RunLengthMask.from_mask(same) == wanted
