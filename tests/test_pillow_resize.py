import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sam_hq.mask_frames import resized_size
from sam_hq.pillow_resize import resize_like_pillow

SIDES = st.integers(1, 90)


def both(height, width, size, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pillow = np.asarray(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    ours = resize_like_pillow(torch.from_numpy(pixels).permute(2, 0, 1), size).permute(1, 2, 0).numpy()
    return pillow.astype(int), ours.astype(int)


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, st.integers(4, 120), st.integers(0, 99))
def test_equals_pillow_where_the_aspect_ratio_is_kept(height, width, longest_edge, seed):
    pillow, ours = both(height, width, resized_size((height, width), longest_edge), seed)
    # Rounding a side of a few pixels is a squash: see below.
    tolerance = 0 if min(height, width) > 8 and longest_edge > 60 else 1
    assert np.abs(pillow - ours).max() <= tolerance


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 99))
def test_is_off_by_one_at_most_where_the_photograph_is_squashed(height, width, new_height, new_width, seed):
    pillow, ours = both(height, width, (new_height, new_width), seed)
    assert np.abs(pillow - ours).max() <= 1


def test_equals_pillow_where_the_scale_makes_ties():
    pillow, ours = both(72, 128, (58, 102), 0)
    assert np.array_equal(pillow, ours)
