"""Sizes of two frames are held against each other, and sizes that are none are refused."""

import numpy as np
import pytest
import torch

from fuzzing import nested
from sam_hq_numpy.frame_sizes import check_same_shape, resized_size, size_pairs


def test_an_image_and_its_resized_frame_agree_whatever_its_size():
    rng = np.random.default_rng(0)
    for _ in range(500):
        original = tuple(int(side) for side in rng.integers(1, 5000, 2))
        edge = int(rng.integers(64, 2048))
        reshaped = resized_size(original, edge)
        check_same_shape([original], [reshaped])
        # Exchanged sides agree only where they differ by no more than the rounding of a pixel.
        exchanged = reshaped[::-1]
        if max(abs(exchanged[0] - reshaped[0]), abs(exchanged[1] - reshaped[1])) > 1:
            with pytest.raises(ValueError, match=r"original_sizes\[0\] .* are height and width exchanged\?"):
                check_same_shape([original[::-1]], [reshaped])


def test_another_images_size_is_refused_and_a_squashed_one_is_not():
    with pytest.raises(ValueError, match=r"original_sizes\[1\] .* are they of one image\?"):
        check_same_shape([(480, 640), (480, 640)], [(768, 1024), (1024, 683)])
    check_same_shape([(480, 640)], [(1024, 1024)], squashed=[(1024, 1024)])


@pytest.mark.parametrize(
    "sizes",
    [
        [[np.inf, np.inf]],
        [[np.nan, 5]],
        [[480.5, 640]],
        [["480", "640"]],
        [[True, 640]],
        [[0, 640]],
        [[480]],
        [[480, 640, 3]],
        [[10**6, 10**6]],
        [[10**400, 1]],
        [],
        5,
        None,
        "ab",
        {1: 2},
        torch.ones(1, 2, device="meta"),
        torch.ones(1, 2, dtype=torch.complex64),
        [[[[480, 640]]]],
        nested(1000),
        [[10**5000, 1]],
    ],
)
def test_sizes_that_are_none_are_named(sizes):
    with pytest.raises(ValueError, match="original_sizes must be"):
        size_pairs("original_sizes", sizes)


@pytest.mark.parametrize("form", [list, np.array, torch.tensor, lambda sizes: np.array(sizes, np.float32)])
def test_sizes_of_every_form_are_read(form):
    assert size_pairs("original_sizes", form([[480, 640], [3, 5]]), 2) == [(480, 640), (3, 5)]
