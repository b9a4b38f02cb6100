"""Prompts drawn from ground-truth masks: boxes, points, and clicks on a prediction's errors."""

import numpy as np
from PIL import Image, ImageFilter


def mask_box(mask: np.ndarray) -> np.ndarray:
    """The tight box (4,) float32 as (x0, y0, x1, y1) of a mask (H, W), with x1 and y1 just past the last pixel.

    Raises:
        ValueError: The mask is empty.
    """
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not columns.size:
        raise ValueError("an empty mask has no box")
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def jittered_box(box: np.ndarray, rng: np.random.Generator, largest: float = 0.1) -> np.ndarray:
    """The box with each side moved by up to a share of the box's extent; a third of the boxes stay exact.

    Args:
        box: (4,) as (x0, y0, x1, y1) in pixels.
        rng: Source of randomness.
        largest: Largest move, as a share of the width or height.

    Returns:
        The moved box (4,), never turned inside out.
    """
    if rng.random() < 1 / 3:
        return box
    reach = rng.uniform(0, largest) * np.tile(box[2:] - box[:2], 2)
    moved = box + rng.uniform(-1, 1, 4).astype(np.float32) * reach.astype(np.float32)
    return np.concatenate([np.minimum(moved[:2], moved[2:] - 1), moved[2:]]).astype(np.float32)


def central_point(mask: np.ndarray) -> np.ndarray:
    """A point (2,) as (x, y) deep inside a mask (H, W): where a blurred copy of the mask is brightest.

    Raises:
        ValueError: The mask is empty.
    """
    area = int(mask.sum())
    if not area:
        raise ValueError("an empty mask has no central point")
    x0, y0, x1, y1 = mask_box(mask).astype(int)
    inside = mask[y0:y1, x0:x1]
    radius = max(1.0, area**0.5 / 4)
    margin = int(radius) + 1  # so that the outside counts as background, not as more of the border's pixels
    padded = Image.fromarray(np.pad(inside, margin).astype(np.uint8) * 255)
    depth = np.asarray(padded.filter(ImageFilter.BoxBlur(radius)))[margin:-margin, margin:-margin]
    row, column = np.unravel_index(np.argmax(np.where(inside, depth.astype(np.int16), -1)), inside.shape)
    return np.array([column + x0, row + y0], np.float32)


def random_points(mask: np.ndarray, count: int, rng: np.random.Generator, centre_share: float = 0.5) -> np.ndarray:
    """Points (count, 2) as (x, y) inside a mask (H, W); the first is the central one in `centre_share` of the calls.

    Raises:
        ValueError: The mask is empty.
    """
    rows, columns = np.nonzero(mask)
    if not rows.size:
        raise ValueError("an empty mask has no points inside")
    chosen = rng.integers(rows.size, size=count)
    points = np.stack([columns[chosen], rows[chosen]], 1).astype(np.float32)
    if rng.random() < centre_share:
        points[0] = central_point(mask)
    return points


def error_click(mask: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, int]:
    """The next click of a user who corrects a mask: deep inside the larger kind of error.

    Args:
        mask: Predicted mask (H, W).
        truth: The object (H, W), not empty.

    Returns:
        The point (2,) as (x, y), and 1 where the object was missed or 0 where too much was taken. A perfect mask gets
        another click on the object.
    """
    missed, extra = truth & ~mask, mask & ~truth
    if not missed.any() and not extra.any():
        return central_point(truth), 1
    is_missed = np.count_nonzero(missed) >= np.count_nonzero(extra)
    return central_point(missed if is_missed else extra), int(is_missed)
