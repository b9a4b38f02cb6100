"""Prompts on an embedded photo as a page sends them, and what the model answers."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from sam_hq_numpy.mask_rle import RunLengthMask


@dataclass(frozen=True, eq=False)
class Prompts:
    """What shows one object, in pixels of the photo.

    Args:
        points: x, y each.
        labels: 1 on the object, 0 not; one per point.
        box: x0, y0, x1, y1.
        previous_mask: The mask to be refined: `(h, w)` low-res logits of an earlier answer, or a mask at photo size.
    """

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    box: tuple[float, float, float, float] | None = None
    previous_mask: torch.Tensor | RunLengthMask | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is shown."""
        return not self.points and self.box is None

    @property
    def is_ambiguous(self) -> bool:
        """Whether they leave open which of several nested objects is meant, as a single point does."""
        return len(self.points) <= 1 and self.box is None and self.previous_mask is None

    def with_point(
        self, point: tuple[float, float], label: int, previous_mask: torch.Tensor | RunLengthMask | None
    ) -> "Prompts":
        """The same and one point more.

        Args:
            point: x, y.
            label: 1 or 0.
            previous_mask: The mask to refine, if any.
        """
        return replace(self, points=(*self.points, point), labels=(*self.labels, label), previous_mask=previous_mask)


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model says to prompts; tensors are on the CPU.

    Args:
        masks: `(M, h, w)` low-res logits, best first.
        sam_masks: `(M', h, w)`: SAM's own part; M' is 1 or M.
        scores: `(M,)` predicted IoU.
    """

    masks: torch.Tensor
    sam_masks: torch.Tensor
    scores: torch.Tensor

    def sam_mask(self, rank: int) -> torch.Tensor:
        """SAM's own logits `(h, w)` beside candidate `rank`."""
        return self.sam_masks[min(rank, len(self.sam_masks) - 1)]


@dataclass(frozen=True, eq=False)
class Preview:
    """What the model would say to one point more.

    Args:
        asked: To what: the step, the options and the point with its label.
        prompts: The prompts with the point.
        answer: The answer.
    """

    asked: tuple[Any, ...]
    prompts: Prompts
    answer: Answer


def checked_point(photo_size: tuple[int, int], x: float, y: float, label: int) -> tuple[float, float, int]:
    """A point as a page sends it.

    Args:
        photo_size: Height and width.
        x: In pixels of the photo.
        y: Likewise.
        label: 1 on the object, 0 not.

    Raises:
        TypeError: If a coordinate is no number.
        ValueError: If it lies outside the photo, or the label is another.
    """
    point = (_coordinate(photo_size, "x", x), _coordinate(photo_size, "y", y))
    if label not in (0, 1) or isinstance(label, bool):
        raise ValueError(f"label must be 1 (on the object) or 0 (not), got {label!r}")
    return *point, label


def checked_box(
    photo_size: tuple[int, int], x0: float, y0: float, x1: float, y1: float
) -> tuple[float, float, float, float]:
    """A box as a page sends it, with its corners in order.

    Args:
        photo_size: Height and width.
        x0: A corner, in pixels of the photo.
        y0: Likewise.
        x1: The corner opposite.
        y1: Likewise.

    Raises:
        TypeError: If a coordinate is no number.
        ValueError: If it lies outside the photo, or the box is empty.
    """
    left, right = sorted((_coordinate(photo_size, "x0", x0), _coordinate(photo_size, "x1", x1)))
    top, bottom = sorted((_coordinate(photo_size, "y0", y0), _coordinate(photo_size, "y1", y1)))
    if right - left < 1 or bottom - top < 1:
        raise ValueError("a box must be at least one pixel wide and high")
    return left, top, right, bottom


def _coordinate(photo_size: tuple[int, int], name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a number, got {value!r}")
    limit = photo_size[1] if name.startswith("x") else photo_size[0]
    if not 0 <= value <= limit:  # compared before it is a float: a page can send numbers that are too large for one
        raise ValueError(f"{name} must be from 0 to {limit}, within the photo, got {str(value)[:20]}")
    return float(value)
