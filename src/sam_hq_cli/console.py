"""What commands share: options that were renamed, and what is printed and drawn of masks."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from sam_hq_cli.prompt_arguments import Prompts


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


def report(
    image: str, photo: Image.Image, model: str, masks: np.ndarray, scores: np.ndarray, laps: dict[str, float]
) -> None:
    """Print what was found and how long each step took.

    Args:
        image: The photo's path.
        photo: The photo.
        model: What found them, and where it ran.
        masks: (P, M, H, W) boolean.
        scores: (P, M).
        laps: Seconds of the steps by name.
    """
    print(f"photo    {image}, {photo.width} x {photo.height}")
    print(f"model    {model}")
    print_scores(masks, scores)
    print("time     " + ", ".join(f"{step} {seconds:.2f} s" for step, seconds in laps.items()))


def print_scores(masks: np.ndarray, scores: np.ndarray) -> None:
    """Print a line for each mask.

    Args:
        masks: (P, M, H, W) boolean.
        scores: (P, M).
    """
    pixels = masks.shape[-2] * masks.shape[-1]
    for number, (candidates, values) in enumerate(zip(masks, scores, strict=True), start=1):
        for rank, (mask, score) in enumerate(zip(candidates, values, strict=True), start=1):
            which = f"object {number}" + (f", candidate {rank}" if len(candidates) > 1 else "")
            area = int(mask.sum())
            print(f"{which}: score {float(score):.3f}, {area} pixels ({100 * area / pixels:.1f} % of the photo)")


def overlay(photo: Image.Image, masks: np.ndarray, prompts: Prompts) -> Image.Image:
    """Return the photo with masks and prompts; one panel beside the other for each candidate.

    Args:
        photo: The photo, (H, W).
        masks: (P, M, H, W) boolean.
        prompts: What showed the objects.
    """
    from PIL import Image

    from sam_hq_numpy.overlays import draw_masks, draw_prompts

    points = [point for of_object in prompts.points for point in of_object]
    labels = [label for of_object in prompts.labels for label in of_object]
    panels = [
        draw_prompts(draw_masks(photo, masks[:, rank]), prompts.boxes, points, labels) for rank in range(masks.shape[1])
    ]
    sheet = Image.new("RGB", (photo.width * len(panels), photo.height))
    for rank, panel in enumerate(panels):
        sheet.paste(panel, (rank * photo.width, 0))
    return sheet
