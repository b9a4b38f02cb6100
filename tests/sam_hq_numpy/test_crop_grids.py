from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_hq_numpy.crop_grids import layer_crop_boxes, layer_point_grids, point_grid, tile_boxes, touches_crop_edge

sizes = st.tuples(st.integers(16, 4000), st.integers(16, 4000))


@given(st.integers(1, 40))
def test_every_cell_of_the_grid_has_its_middle_row_by_row(side):
    expected = [((column + 0.5) / side, (row + 0.5) / side) for row in range(side) for column in range(side)]
    np.testing.assert_allclose(point_grid(side), expected, rtol=0, atol=1e-15)


def test_deeper_layers_have_thinner_grids():
    assert [len(grid) for grid in layer_point_grids(32, 3, 2)] == [32**2, 16**2, 8**2, 4**2]
    assert [len(grid) for grid in layer_point_grids(10, 1, 3)] == [100, 9]
    assert [len(grid) for grid in layer_point_grids(8, 2)] == [64, 64, 64]


def test_a_layer_without_points_is_refused():
    with pytest.raises(ValueError, match="leave layer 2"):
        layer_point_grids(4, 2, 4)


@given(st.tuples(st.integers(64, 4000), st.integers(64, 4000)), st.integers(0, 3), st.floats(0, 0.9))
def test_crops_of_a_layer_cover_the_image(size, n_layers, overlap_ratio):
    height, width = size
    boxes, layers = layer_crop_boxes(size, n_layers, overlap_ratio)
    assert boxes[0] == (0, 0, width, height)
    assert layers == [layer for layer in range(n_layers + 1) for _ in range(4**layer)]
    for layer in range(n_layers + 1):
        mine = [box for box, of_layer in zip(boxes, layers, strict=True) if of_layer == layer]
        assert all(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height for x0, y0, x1, y1 in mine)
        for length, low, high in ((width, 0, 2), (height, 1, 3)):
            spans = sorted({(box[low], box[high]) for box in mine})
            assert spans[0][0] == 0
            assert spans[-1][1] == length
            assert all(after[0] <= before[1] for before, after in pairwise(spans))


@pytest.mark.parametrize("size", [(1, 1), (5, 5), (2, 9), (1, 40)])
def test_images_of_a_few_pixels_have_no_empty_crops(size):
    height, width = size
    boxes, layers = layer_crop_boxes(size, 3)
    assert len(boxes) == len(layers)
    assert all(0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height for x0, y0, x1, y1 in boxes)


def test_crops_overlap_by_the_ratio_of_the_shorter_side_halved_per_layer():
    boxes, _ = layer_crop_boxes((600, 900), 2, 0.5)
    assert boxes[1][2] - boxes[3][0] == 300
    assert boxes[5][2] - boxes[9][0] == 150
    assert boxes[2][:2] == (0, boxes[2][1])  # column by column: the second crop lies below the first


@given(sizes, st.integers(100, 1500), st.floats(0.05, 0.5))
def test_tiles_cover_the_image_and_overlap(size, tile_size, overlap):
    boxes = tile_boxes(size, tile_size, overlap)
    for length, low, high in ((size[1], 0, 2), (size[0], 1, 3)):
        spans = sorted({(box[low], box[high]) for box in boxes})
        assert (spans[0][0], spans[-1][1]) == (0, length)
        assert {end - start for start, end in spans} == {min(tile_size, length)}
        assert all(before[1] - after[0] >= int(overlap * tile_size) for before, after in pairwise(spans))
    assert len(boxes) == len(set(boxes))


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
    assert touches_crop_edge(np.array([box]), crop_box, size, tolerance).tolist() == [expected]


def test_masks_of_the_whole_image_never_touch_a_crop_edge():
    boxes = np.array([[0, 0, 99, 49], [0, 10, 5, 20]])
    assert not touches_crop_edge(boxes, (0, 0, 100, 50), (50, 100)).any()
