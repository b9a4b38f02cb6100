import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sam_hq_numpy.formats.label_maps import draw_label_map, label_map
from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.overlays import object_color


@given(hnp.arrays(bool, st.tuples(st.integers(0, 4), st.just(5), st.just(7))))
def test_every_pixel_has_the_number_of_its_smallest_mask(masks):
    labels = label_map([RunLengthMask.from_mask(mask) for mask in masks], (5, 7))
    areas = masks.sum((1, 2))
    for row, column in np.ndindex(5, 7):
        holding = [index for index in range(len(masks)) if masks[index, row, column]]
        if holding:
            assert areas[labels[row, column] - 1] == min(areas[index] for index in holding)
            assert masks[labels[row, column] - 1, row, column]
        else:
            assert labels[row, column] == 0


def test_the_tint_stays_inside_the_masks_and_borders_have_the_full_colour():
    labels = np.zeros((20, 30), dtype=np.uint16)
    labels[5:15, 5:15] = 1
    labels[8:18, 20:28] = 2
    pixels = np.full((20, 30, 3), 100, dtype=np.uint8)
    picture = draw_label_map(pixels, labels, opacity=0.5)
    assert (picture[labels == 0] == 100).all()
    assert (pixels == 100).all()
    for number in (1, 2):
        color = np.array(object_color(number - 1))
        assert (picture[labels == number] != 100).any(-1).all()
        middle = picture[labels == number].astype(int)[len(picture[labels == number]) // 2]
        assert np.abs(middle - (100 + color) / 2).max() <= 1
    assert tuple(picture[14, 10]) == object_color(0)


def test_an_image_without_masks_stays_as_it_is():
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    np.testing.assert_array_equal(draw_label_map(pixels, label_map([], (4, 5))), pixels)


def test_more_masks_than_16_bits_number_are_refused():
    with pytest.raises(ValueError, match="65535"):
        label_map([RunLengthMask.from_mask(np.ones((1, 1), bool))] * 65536, (1, 1))
    with pytest.raises(ValueError, match=r"must have the picture's size \(7, 5\) \(height, width\), got \(5, 7\)"):
        label_map([RunLengthMask.from_mask(np.ones((5, 7), bool))], (7, 5))
