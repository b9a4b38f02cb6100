"""Boxes and points as words of the command line, and which of them show which object."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_NUMBERS = ("--box", "--point", "--negative-point")


@dataclass(frozen=True)
class Prompts:
    """What shows the objects; frames as on the command line.

    Args:
        boxes: [object][x0, y0, x1, y1], or empty.
        points: [object][point][x, y], or empty.
        labels: [object][point], 1 on the object, 0 not.
    """

    boxes: list[list[float]]
    points: list[list[list[float]]]
    labels: list[list[int]]

    @property
    def processor_arguments(self) -> dict[str, Any]:
        """The prompts as the processor takes them, for one photo."""
        arguments: dict[str, Any] = {}
        if self.boxes:
            arguments["input_boxes"] = [self.boxes]
        if any(self.points):
            arguments["input_points"], arguments["input_labels"] = [self.points], [self.labels]
        return arguments


def expanded(words: Sequence[str]) -> list[str]:
    """Command-line words with `--box 1,2,3,4` as `--box 1 2 3 4`, and points likewise.

    Args:
        words: Those after `sam-hq`.
    """
    found: list[str] = []
    for word in words:
        option, equals, value = word.partition("=")
        if option in _NUMBERS and equals:
            found += [option, *value.split(",")]
        elif found and found[-1] in _NUMBERS and "," in word:
            found += [part for part in word.split(",") if part]
        else:
            found.append(word)
    return found


def objects_from(
    boxes: list[list[float]], positive_points: list[list[float]], negative_points: list[list[float]]
) -> Prompts:
    """Return which points belong to which object, as the command's help says.

    Args:
        boxes: x0, y0, x1, y1 each.
        positive_points: x, y each.
        negative_points: x, y each.

    Raises:
        ValueError: If a box or point cannot be meant, or there are several boxes and a point lies in none of them.
    """
    _check_prompts(boxes, positive_points + negative_points)
    points = positive_points + negative_points
    labels = [1] * len(positive_points) + [0] * len(negative_points)
    if len(boxes) <= 1:
        return Prompts(boxes, [points] if points else [], [labels] if points else [])
    for x, y in points:
        if not any(_lies_in(x, y, box) for box in boxes):
            raise ValueError(f"the point {x:g} {y:g} lies in none of the {len(boxes)} boxes, so its object is unknown")
    chosen = [[index for index, (x, y) in enumerate(points) if _lies_in(x, y, box)] for box in boxes]
    return Prompts(
        boxes,
        [[points[index] for index in indexes] for indexes in chosen],
        [[labels[index] for index in indexes] for indexes in chosen],
    )


def _check_prompts(boxes: list[list[float]], points: list[list[float]]) -> None:
    for box in boxes:
        given = " ".join(f"{value:g}" for value in box)
        if not all(map(math.isfinite, box)):
            raise ValueError(f"--box {given} must be of finite numbers")
        if box[2] < box[0] or box[3] < box[1]:
            raise ValueError(f"--box {given} must have its upper left corner first: X0 <= X1 and Y0 <= Y1")
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            raise ValueError(f"the point {x:g} {y:g} must be of finite numbers")


def _lies_in(x: float, y: float, box: list[float]) -> bool:
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]
