"""mask_metrics against definitions written out pixel by pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_hq.evaluation.mask_metrics import boundary_iou, boundary_region, boundary_width, mask_iou


def boundary_by_definition(mask: np.ndarray, width: int) -> np.ndarray:
    """A mask's pixel is of the boundary if a square of `width` around it reaches off the mask or off the frame."""
    height, length = mask.shape
    boundary = np.zeros_like(mask)
    for y in range(height):
        for x in range(length):
            for dy in range(-width, width + 1):
                for dx in range(-width, width + 1):
                    inside_frame = 0 <= y + dy < height and 0 <= x + dx < length
                    if mask[y, x] and not (inside_frame and mask[y + dy, x + dx]):
                        boundary[y, x] = True
    return boundary


def iou_by_definition(mask: np.ndarray, other: np.ndarray) -> float:
    first = {tuple(place) for place in np.argwhere(mask)}
    second = {tuple(place) for place in np.argwhere(other)}
    return len(first & second) / len(first | second) if first | second else 1.0


def random_mask(seed: int, shape: tuple[int, int]) -> np.ndarray:
    """Mostly blobs, so that there are pixels far from any border."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, bool)
    for _ in range(rng.integers(0, 4)):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        mask[y : y + rng.integers(1, 10), x : x + rng.integers(1, 10)] = True
    mask[rng.random(shape) < 0.02] ^= True
    return mask


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), height=st.integers(1, 14), length=st.integers(1, 17), width=st.integers(1, 4))
def test_boundary_region_and_iou_equal_their_definitions(seed, height, length, width):
    mask, other = random_mask(seed, (height, length)), random_mask(seed + 1, (height, length))
    regions = [boundary_by_definition(each, width) for each in (mask, other)]
    np.testing.assert_array_equal(boundary_region(mask, width), regions[0])
    assert boundary_iou(mask, other, width) == pytest.approx(iou_by_definition(*regions))
    assert mask_iou(mask, other) == pytest.approx(iou_by_definition(mask, other))


def test_a_width_beyond_the_frame_makes_boundary_iou_plain_iou():
    mask, other = random_mask(3, (12, 12)), random_mask(4, (12, 12))
    assert boundary_iou(mask, other, 12) == mask_iou(mask, other)


def test_width_is_two_percent_of_the_diagonal():
    assert boundary_width((600, 800)) == 20
    assert boundary_width((4, 5)) == 1


def test_masks_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(4, 3\)"):
        mask_iou(np.ones((3, 4), bool), np.ones((4, 3), bool))


@pytest.mark.parametrize("kind", ["logits", "probabilities", "NaN", "labels", "minus one"])
@pytest.mark.parametrize("measure", [mask_iou, boundary_iou])
def test_what_is_no_mask_has_no_iou(kind, measure):
    mask = np.tri(6, dtype=bool)
    given = {
        "logits": mask * 20.0 - 10,
        "probabilities": 0.2 + 0.6 * mask,
        "NaN": np.where(mask, np.nan, 0),
        "labels": mask + np.eye(6),
        "minus one": -mask.astype(int),
    }[kind]
    for pair in ((given, mask), (mask, given)):
        with pytest.raises(ValueError, match="must be boolean, or hold 0 and one number above it"):
            measure(*pair)
    for same in (mask * 255, mask * 1.0, mask.tolist()):
        assert measure(same, mask) == 1
    assert measure(np.zeros((6, 6), int), np.zeros((6, 6))) == 1
