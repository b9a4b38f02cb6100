"""Warnings about prompts that are allowed, but can only be mistakes."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

_AT_MOST_NAMED = 5
# A box of fractions may be rounded a little beyond 0 and 1, and a photo of so few pixels is all fractions.
_FRACTION_TOLERANCE = 0.05
_SMALLEST_PHOTO = 4
# Detectors' boxes leave their image by a part; one that is outside for the most part is of another frame.
_LEAST_INSIDE = 0.1

_already_said: ContextVar[bool] = ContextVar("prompts_already_said", default=False)
_in_callers_words: ContextVar[Callable[[str], str]] = ContextVar("prompts_in_callers_words", default=str)


class PromptWarning(UserWarning):
    """A prompt that the model will answer, but that can only be a mistake."""


@contextmanager
def prompts_already_checked() -> Iterator[None]:
    """No warnings about prompts in this block: its caller gave them, with the numbers that its own caller knows."""
    token = _already_said.set(True)
    try:
        yield
    finally:
        _already_said.reset(token)


@contextmanager
def messages_in_words_of(reword: Callable[[str], str]) -> Iterator[None]:
    """Errors and warnings about prompts name them in this block as its caller's caller does.

    Args:
        reword: Takes and returns a message; unused where `prompts_already_checked` says that the prompts are not the
            caller's caller's.
    """
    if _already_said.get():
        yield
        return
    outer = _in_callers_words.get()
    token = _in_callers_words.set(lambda message: outer(reword(message)))
    try:
        yield
    except (TypeError, ValueError) as error:
        if len(error.args) == 1 and isinstance(error.args[0], str):
            error.args = (reword(error.args[0]),)
        raise
    finally:
        _in_callers_words.reset(token)


def warn_about_prompts(
    original_sizes: Sequence[tuple[int, int]],
    points: Sequence[Sequence[np.ndarray]] | None = None,
    labels: Sequence[Sequence[np.ndarray]] | None = None,
    boxes: Sequence[np.ndarray] | None = None,
    stacklevel: int = 3,
    masks_too: bool = False,
) -> None:
    """Warn about points and boxes that can only be mistakes, one warning for each kind of mistake.

    Args:
        original_sizes: Height and width of each image.
        points: Per image and object (n, 2) x, y in pixels of the image, or None.
        labels: Per image and object (n,), or None.
        boxes: Per image (p, 4) x0, y0, x1, y1 in pixels of the image, or None.
        stacklevel: Of the caller whose line the warning names, as `warnings.warn` counts.
        masks_too: Whether a mask shows each object, besides.
    """
    if _already_said.get():
        return
    found: dict[str, list[str]] = {}
    for i, size in enumerate(original_sizes):
        for j, box in enumerate(boxes[i] if boxes is not None else ()):
            if mistake := _box_mistake(box, size):
                found.setdefault(mistake, []).append(f"object {j} of image {i}, {_listed(box)}{_in_image(size)}")
        for j, of_object in enumerate(points[i] if points is not None else ()):
            given = np.ones(len(of_object), int) if labels is None else labels[i][j]
            counted = np.isin(given, (0, 1))
            mistake = _point_mistake(of_object[counted], given[counted], size)
            if mistake is None and boxes is None and not masks_too and counted.any() and not given[counted].any():
                mistake = "input_points has background points alone for an object that nothing else shows"
            if mistake:
                found.setdefault(mistake, []).append(f"object {j} of image {i}, {_listed(of_object)}{_in_image(size)}")
    for mistake, objects in found.items():
        more = f" and {len(objects) - _AT_MOST_NAMED} more" if len(objects) > _AT_MOST_NAMED else ""
        named = "; ".join(objects[:_AT_MOST_NAMED])
        message = _in_callers_words.get()(f"{mistake}: {named}{more}")
        warnings.warn(message, PromptWarning, stacklevel=stacklevel)


def warn_about_prompt(message: str, stacklevel: int = 3) -> None:
    """Warn about a single prompt.

    Args:
        message: Names the argument, the image and the object.
        stacklevel: As `warn_about_prompts`.
    """
    if not _already_said.get():
        warnings.warn(_in_callers_words.get()(message), PromptWarning, stacklevel=stacklevel)


def holds_labels(logits: Any) -> bool:
    """Whether what should be logits can only be a label map: three or more whole numbers, none of them below 0.

    Args:
        logits: (h, w) floating point, an array or a tensor.
    """
    low, high = logits.min(), logits.max()
    is_whole = low >= 0 and (logits == logits.round()).all()
    return bool(is_whole and ((logits != low) & (logits != high)).any())


def warn_if_no_logits(name: str, mask: Any, stacklevel: int = 3) -> None:
    """Warn about a mask prompt that is taken for logits, but can only be probabilities or a label map.

    Args:
        name: Of the prompt.
        mask: (h, w) floating point, an array or a tensor.
        stacklevel: As `warn_about_prompts`.
    """
    if mask.min() >= 0 and mask.max() <= 1:
        message = f"{name} holds only numbers from 0 to 1, but is read as logits; log(p / (1 - p)) makes them so"
    elif holds_labels(mask):
        message = f"{name} is read as logits, but seems to be a label map; give each object a mask of its own"
    else:
        return
    warn_about_prompt(message, stacklevel + 1)


def _box_mistake(box: np.ndarray, size: tuple[int, int]) -> str | None:
    x0, y0, x1, y1 = box
    if _are_fractions(box, size):
        return "input_boxes must be in pixels of the image, but these look like fractions of its size"
    if x1 <= x0 or y1 <= y0:
        return "input_boxes has boxes without area"
    if x1 <= 0 or y1 <= 0 or x0 >= size[1] or y0 >= size[0]:
        return "input_boxes has boxes that lie wholly outside their image"
    inside = (min(x1, size[1]) - max(x0, 0)) * (min(y1, size[0]) - max(y0, 0))
    if inside < _LEAST_INSIDE * (x1 - x0) * (y1 - y0):
        return "input_boxes has boxes that lie mostly outside their image, as if they were of one of another size"
    return None


def _point_mistake(points: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> str | None:
    if not len(points):
        return None
    if _are_fractions(points, size) and (points != np.round(points)).any():
        return "input_points must be in pixels of the image, but these look like fractions of its size"
    outside = (points < 0).any(axis=1) | (points > [size[1], size[0]]).any(axis=1)
    if outside.any():
        return "input_points has points that lie outside their image"
    # Each point as one number, so that those of the two labels can be held against each other.
    places = points[:, 0] + 1j * points[:, 1]
    if np.isin(places[labels == 1], places[labels == 0]).any():
        return "input_points has a point that is both foreground and background"
    return None


def _are_fractions(coordinates: np.ndarray, size: tuple[int, int]) -> bool:
    within = (coordinates >= -_FRACTION_TOLERANCE) & (coordinates <= 1 + _FRACTION_TOLERANCE)
    return bool(max(size) > _SMALLEST_PHOTO and within.all() and coordinates.any())


def _listed(coordinates: np.ndarray) -> str:
    text = str(np.round(np.asarray(coordinates, dtype=np.float64), 3).tolist())
    return text if len(text) <= 80 else f"{text[:77]}..."


def _in_image(size: tuple[int, int]) -> str:
    return f" in {size[1]} x {size[0]} pixels"
