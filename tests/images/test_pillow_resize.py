import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sam_hq.images.pillow_resize import resize_like_pillow
from sam_hq_numpy.frame_sizes import resized_size

SIDES = st.integers(1, 90)


def resized_by_pillow(pixels, size):
    return np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def resized(pixels, size):
    return resize_like_pillow(torch.from_numpy(pixels).permute(2, 0, 1), size).permute(1, 2, 0).numpy()


@settings(max_examples=300)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 99))
def test_every_pixel_equals_pillows(height, width, new_height, new_width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pillow = resized_by_pillow(pixels, (new_height, new_width))
    width_first = resized(pixels, (new_height, new_width))
    height_first = resized(pixels.swapaxes(0, 1), (new_width, new_height)).swapaxes(0, 1)
    loses_rows = height - new_height > width - new_width  # only then does Pillow 13 make the height first
    assert np.array_equal(pillow, width_first) or (loses_rows and np.array_equal(pillow, height_first))
    assert np.abs(pillow.astype(int) - width_first).max() <= 1


@settings(max_examples=60)
@given(st.integers(20, 90), st.integers(0, 60), st.integers(30, 120), st.integers(0, 99))
def test_wide_images_equal_pillows(height, more_width, longest_edge, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, height + more_width, 3), dtype=np.uint8)
    size = resized_size(pixels.shape[:2], longest_edge)
    assert np.array_equal(resized(pixels, size), resized_by_pillow(pixels, size))


def test_equals_pillow_where_the_scale_makes_ties():
    pixels = np.random.default_rng(0).integers(0, 256, (72, 128, 3), dtype=np.uint8)
    assert np.array_equal(resized(pixels, (58, 102)), resized_by_pillow(pixels, (58, 102)))
