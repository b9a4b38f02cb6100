"""Files that a command writes: whether they can be meant, and overlays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from sam_hq_cli.prompt_arguments import Prompts


def check_picture_suffix(option: str, path: str) -> None:
    """Refuse a file whose suffix names no format of Pillow's, before the picture is made.

    Args:
        option: Such as `--output`.
        path: Its value.

    Raises:
        ValueError: If the suffix is not that of a picture.
    """
    from PIL import Image

    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.SAVE}
    if Path(path).suffix.lower() not in known:
        raise ValueError(f"{option} {path!r} must end in a picture's suffix, such as .png or .jpg")


def check_apart(read: Iterable[tuple[str, str]], written: Iterable[tuple[str, str | Path | None]]) -> None:
    """Refuse a file that would overwrite what the command reads, or another that it writes.

    Args:
        read: Option and path of what is there.
        written: The same of what will be; None where nothing is.

    Raises:
        ValueError: If two are one file.
    """
    places = {Path(path).resolve(): option for option, path in read if not path.startswith("data:")}
    for option, path in written:
        if path is not None and (place := Path(path).resolve()) in places:
            raise ValueError(f"{places[place]} and {option} are both {str(path)!r}, and one would overwrite the other")
        if path is not None:
            places[place] = option


def write_overlay(path: Path, pixels: np.ndarray, masks: np.ndarray, prompts: Prompts) -> None:
    """Write the photo with masks and prompts; one panel beside the other for each candidate.

    Args:
        path: The file.
        pixels: (H, W, 3) of the photo.
        masks: (P, M, H, W) boolean.
        prompts: What showed the objects.
    """
    from PIL import Image

    from sam_hq_numpy.overlays import draw_masks, draw_prompts

    photo = Image.fromarray(pixels)
    points = [point for of_object in prompts.points for point in of_object]
    labels = [label for of_object in prompts.labels for label in of_object]
    panels = [
        draw_prompts(draw_masks(photo, masks[:, rank]), prompts.boxes, points, labels) for rank in range(masks.shape[1])
    ]
    joined = Image.new("RGB", (photo.width * len(panels), photo.height))
    for rank, panel in enumerate(panels):
        joined.paste(panel, (rank * photo.width, 0))
    joined.save(path)
