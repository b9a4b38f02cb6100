import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam_hq_numpy.mask_regions import fill_small_holes, remove_small_specks
from sam_hq_numpy.mask_rle import RunLengthMask

masks = hnp.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14)))


def regions(mask):
    """Regions by flooding, as sets of pixels; corners touch."""
    left, found = {tuple(pixel) for pixel in np.argwhere(mask)}, []
    while left:
        region, front = set(), [left.pop()]
        while front:
            row, column = front.pop()
            region.add((row, column))
            near = {(row + dy, column + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front.extend(near)
        found.append(region)
    return found


def spiral(side):
    mask = np.zeros((side, side), bool)
    row, column, step_row, step_column = 0, -1, 0, 1
    for index in range(2 * side - 1):
        for _ in range(side - (index + 1) // 2):
            row, column = row + step_row, column + step_column
            mask[row, column] = index % 4 != 3
        step_row, step_column = step_column, -step_row
    return mask


@settings(max_examples=200)
@given(masks, st.integers(0, 20))
def test_holes_below_the_area_are_filled_and_nothing_else_changes(mask, area):
    expected = mask.copy()
    for region in regions(~mask):
        if len(region) < area:
            expected[tuple(np.array(list(region)).T)] = True
    filled = fill_small_holes(RunLengthMask.from_mask(mask), area)
    np.testing.assert_array_equal(filled.to_mask(), expected)
    assert filled == RunLengthMask.from_mask(expected)


@settings(max_examples=200)
@given(masks, st.integers(0, 20))
def test_specks_below_the_area_are_removed_but_for_the_largest(mask, area):
    cleaned = remove_small_specks(RunLengthMask.from_mask(mask), area).to_mask()
    found = regions(mask)
    kept = [region for region in found if len(region) >= area]
    if kept or not found:
        expected = np.zeros_like(mask)
        for region in kept:
            expected[tuple(np.array(list(region)).T)] = True
        np.testing.assert_array_equal(cleaned, expected)
    else:
        remaining = {tuple(pixel) for pixel in np.argwhere(cleaned)}
        assert remaining in found
        assert len(remaining) == max(map(len, found))


@pytest.mark.parametrize("function", [fill_small_holes, remove_small_specks])
def test_a_clean_mask_comes_back_as_it_was(function):
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    rle = RunLengthMask.from_mask(mask)
    assert function(rle, 10) is rle


@pytest.mark.parametrize("pattern", ["spiral", "comb", "noise", "checkerboard"])
def test_winding_regions_stay_whole(pattern):
    side = 61
    rows, columns = np.indices((side, side))
    mask = {
        "spiral": spiral(side),
        "comb": (columns % 2 == 0) | (rows == side - 1),
        "noise": np.random.default_rng(0).random((side, side)) < 0.35,
        "checkerboard": (rows + columns) % 2 == 0,
    }[pattern]
    largest = max(map(len, regions(mask)))
    cleaned = remove_small_specks(RunLengthMask.from_mask(mask), largest)
    assert cleaned.area == sum(len(region) for region in regions(mask) if len(region) == largest)
