import itertools

import numpy as np
import pytest
from PIL import Image

from sam_hq_numpy.overlays import NEGATIVE, POSITIVE, draw_masks, draw_prompts, mask_edge, object_color


def brute_force_edge(mask: np.ndarray, width: int) -> np.ndarray:
    outside = np.pad(~mask, width, constant_values=True)
    height, columns = mask.shape
    near = np.zeros_like(mask)
    for dy in range(2 * width + 1):
        for dx in range(2 * width + 1):
            near |= outside[dy : dy + height, dx : dx + columns]
    return mask & near


@pytest.mark.parametrize("width", [0, 1, 2, 4])
def test_edge_is_what_lies_near_the_outside(width):
    rng = np.random.default_rng(width)
    mask = rng.random((23, 17)) < 0.9
    mask[:8] = True
    np.testing.assert_array_equal(mask_edge(mask, width), brute_force_edge(mask, width))


def test_masks_are_filled_and_traced_and_nothing_else_changes():
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
    mask = np.zeros((60, 80), dtype=bool)
    mask[10:40, 20:70] = True
    before, after = np.asarray(photo).astype(int), np.asarray(draw_masks(photo, [mask], opacity=0.5, contour_width=2))
    color = np.array(object_color(0))
    np.testing.assert_array_equal(after[~mask], before[~mask])
    inside = mask & ~mask_edge(mask, 2)
    np.testing.assert_array_equal(after[mask & ~inside], np.broadcast_to(color, (int((mask & ~inside).sum()), 3)))
    assert np.abs(after[inside] - (before[inside] + color) / 2).max() <= 1.5


def test_an_empty_mask_draws_nothing():
    photo = Image.new("RGB", (30, 20), (9, 9, 9))
    assert draw_masks(photo, np.zeros((2, 20, 30), dtype=bool)).tobytes() == photo.tobytes()


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"mask 0 has shape \(20, 31\), but the photo is \(20, 30\)"):
        draw_masks(Image.new("RGB", (30, 20)), np.zeros((1, 20, 31), dtype=bool))


def test_colors_stay_and_neighbours_differ():
    colors = [object_color(index) for index in range(40)]
    photo, mask = Image.new("RGB", (4, 4)), np.ones((1, 4, 4), dtype=bool)
    last = draw_masks(photo, np.repeat(mask, 40, axis=0), opacity=1)
    assert last.getpixel((2, 2)) == colors[39]  # whatever was drawn before it
    assert len(set(colors)) == 40
    for left, right in itertools.pairwise(colors):
        assert np.abs(np.subtract(left, right)).max() > 60


def test_prompts_show_their_kind_and_the_picture_given_is_kept():
    picture = Image.new("RGB", (200, 100))
    drawn = draw_prompts(picture, [[20, 20, 180, 80]], [[50, 50], [150, 50]], [1, 0])
    assert drawn.getpixel((50, 50)) == POSITIVE
    assert drawn.getpixel((150, 50)) == NEGATIVE
    assert drawn.getpixel((100, 20)) == object_color(0)
    assert not np.asarray(picture).any()
