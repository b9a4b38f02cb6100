"""Prompts that can only be mistakes are said, and those that may be meant are not."""

import warnings

import numpy as np
import pytest

from sam_hq_numpy.prompt_warnings import PromptWarning, prompts_already_checked, warn_about_prompts

SIZE = (480, 640)


def warned(points=(), labels=None, boxes=()):
    of_image = None if labels is None else [[np.array(labels)]]
    return warn_about_prompts(
        [SIZE],
        [[np.array(points, dtype=float).reshape(-1, 2)]] if len(points) else None,
        of_image,
        [np.array(boxes, dtype=float).reshape(-1, 4)] if len(boxes) else None,
    )


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"boxes": [[0.1, 0.2, 0.8, 0.9]]}, "boxes must be in pixels .* fractions of its size: object 0 of image 0"),
        ({"boxes": [[0, 0, 1, 1]]}, "look like fractions of its size"),
        ({"boxes": [[5, 5, 50, 50], [0.1, 0.2, 1.01, 0.9]]}, "fractions of its size: object 1 of image 0"),
        ({"boxes": [[700, 10, 800, 90]]}, r"wholly outside .* object 0 of image 0, \[700.0, 10.0, 800.0, 90.0\]"),
        ({"boxes": [[10, 480, 50, 500]]}, "wholly outside"),
        ({"boxes": [[-90, 10, -20, 50]]}, "wholly outside"),
        ({"boxes": [[-90, -10, 20, 0]]}, "wholly outside"),
        ({"boxes": [[300, 200, 2400, 1800]]}, "mostly outside their image"),
        ({"boxes": [[-900, -700, 60, 40]]}, "mostly outside their image"),
        ({"boxes": [[10, 10, 10, 50]]}, "without area"),
        ({"boxes": [[0, 0, 0, 0]]}, "without area"),
        ({"points": [[0.5, 0.5]]}, "input_points must be in pixels .* fractions"),
        ({"points": [[0.5, 0.5], [0.0, 1.0]]}, "input_points must be in pixels .* fractions"),
        ({"points": [[600, 500]]}, "points that lie outside their image: object 0 of image 0"),
        ({"points": [[-1, 5], [6, 7]]}, "points that lie outside"),
        ({"points": [[50, 50], [50, 50]], "labels": [1, 0]}, "both foreground and background"),
        ({"points": [[50, 50], [90, 90]], "labels": [0, 0]}, "background points alone .* object 0 of image 0"),
        ({"points": [[50, 50], [90, 90]], "labels": [0, -10]}, "background points alone"),
    ],
)
def test_mistakes_are_said(prompts, message):
    with pytest.warns(PromptWarning, match=message):
        warned(**prompts)
    with prompts_already_checked(), warnings.catch_warnings():
        warnings.simplefilter("error")
        warned(**prompts)


@pytest.mark.parametrize(
    "prompts",
    [
        {"boxes": [[0, 0, 640, 480]]},
        {"boxes": [[-20, -30, 700, 600]]},  # of a detector
        {"boxes": [[600, 440, 700, 510]]},  # of an object that the edge cuts off
        {"boxes": [[0, 0, 3, 3]]},
        {"points": [[0, 0]]},
        {"points": [[640, 480]]},
        {"points": [[1, 1]]},
        {"points": [[50, 50], [-1, -1], [900, 900]], "labels": [1, -10, -1]},
        {"points": [[50, 50], [50, 51]], "labels": [1, 0]},
        {"points": [[50, 50]], "labels": [0], "boxes": [[0, 0, 99, 99]]},
        {"points": [[50, 50]], "labels": [-1]},
    ],
)
def test_what_may_be_meant_is_not(prompts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warned(**prompts)


def test_a_mask_may_have_background_points_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_about_prompts([SIZE], [[np.full((1, 2), 50.0)]], [[np.zeros(1)]], masks_too=True)


def test_a_mistake_made_often_is_said_once_and_cut_short():
    with pytest.warns(PromptWarning, match="object 4 of image 0, .* and 15 more") as said:
        warned(boxes=[[700, 10, 800, 90]] * 20)
    assert len(said) == 1
