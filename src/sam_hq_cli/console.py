"""What commands print: that an option was renamed, and what was found."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class FormerOption(argparse.Action):
    """The former name of an option, which still works for one release, with a warning.

    Args:
        new: The option's name now.
    """

    def __init__(self, *args: Any, new: str, **kwargs: Any) -> None:
        dest = new.removeprefix("--").replace("-", "_")
        super().__init__(*args, **{**kwargs, "dest": dest, "default": argparse.SUPPRESS, "help": argparse.SUPPRESS})
        self.new = new

    def __call__(self, _parser: Any, namespace: argparse.Namespace, values: Any, option: Any = None) -> None:
        """Warn, and store the values under the new name."""
        print(f"sam-hq: warning: {option} is now called {self.new}", file=sys.stderr)
        setattr(namespace, self.dest, values)


def report(image: str, model: str, masks: np.ndarray, scores: np.ndarray, laps: dict[str, float]) -> None:
    """Print what was found, a line for each mask, and how long each step took.

    Args:
        image: The photo's path.
        model: What found them, and where it ran.
        masks: (P, M, H, W) boolean.
        scores: (P, M).
        laps: Seconds of the steps by name.
    """
    height, width = masks.shape[-2:]
    print(f"photo    {image}, {width} x {height}")
    print(f"model    {model}")
    for number, (candidates, values) in enumerate(zip(masks, scores, strict=True), start=1):
        for rank, (mask, score) in enumerate(zip(candidates, values, strict=True), start=1):
            which = f"object {number}" + (f", candidate {rank}" if len(candidates) > 1 else "")
            area = int(mask.sum())
            print(
                f"{which}: score {float(score):.3f}, {area} pixels ({100 * area / (width * height):.1f} % of the photo)"
            )
    print("time     " + ", ".join(f"{step} {seconds:.2f} s" for step, seconds in laps.items()))
