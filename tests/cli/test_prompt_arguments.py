"""Boxes and points of the command line: words with commas, and which points belong to which box."""

import pytest

from sam_hq_cli.prompt_arguments import expanded, objects_from


@pytest.mark.parametrize(
    "words",
    [
        ["--box", "1", "2", "3", "4", "--point", "-5", "6", "photo.jpg"],
        ["--box", "1,2,3,4", "--point", "-5,6", "photo.jpg"],
        ["--box=1,2,3,4", "--point=-5,6", "photo.jpg"],
    ],
)
def test_numbers_may_be_one_word(words):
    assert expanded(words) == ["--box", "1", "2", "3", "4", "--point", "-5", "6", "photo.jpg"]


def test_other_words_keep_their_commas():
    words = ["a,b.jpg", "--masks", "a,b.png", "--output=a,b.jpg"]
    assert expanded(words) == words


def test_which_points_belong_to_which_box():
    boxes = [[0, 0, 10, 10], [5, 5, 20, 20]]
    prompts = objects_from(boxes, [[1, 1], [15, 15]], [[7, 7]])
    assert prompts.points == [[[1, 1], [7, 7]], [[15, 15], [7, 7]]]
    assert prompts.labels == [[1, 0], [1, 0]]
    with pytest.raises(ValueError, match="the point 30 1 lies in none of the 2 boxes"):
        objects_from(boxes, [[30, 1]], [])
    # With one box, or none, all points belong to the one object, wherever they lie.
    assert objects_from(boxes[:1], [[30, 1]], [[2, 2]]).points == [[[30, 1], [2, 2]]]
    assert objects_from([], [[30, 1]], [[2, 2]]).labels == [[1, 0]]
    assert objects_from([], [], []).processor_arguments == {}
