"""Pictures of photos, prompts and masks with matplotlib, one function each; needs the extra `plot`.

Frames: prompts and masks are in pixels of the upright photo, x to the right, y down. Every function draws into an
axis that is given, or makes a figure, and returns the figure. Several panels lie within the one axis.
"""

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sam_hq_numpy.number_limits import counted
from sam_hq_numpy.overlays import draw_masks, object_color

from .inputs import candidate_masks, candidate_scores, generated_masks, photo_pixels
from .layers import OPACITY, DrawnPrompts, check_opacity, draw_mask, figure_of, new_axis, panels_in, show_photo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_masks(
    photo: object,
    masks: Any,
    scores: Any = None,
    *,
    boxes: Any = None,
    points: Any = None,
    labels: Any = None,
    opacity: float = OPACITY,
    ax: "Axes | None" = None,
) -> "Figure":
    """Draw masks over the photo, filled and with a contour, each in its own colour; prompts on top.

    Args:
        photo: A path, PIL image, array or tensor.
        masks: (H, W), (P, H, W) or (P, M, H, W), boolean or 0 and 1, of the photo's size; of M candidates the
            first is drawn.
        scores: One per mask, as many dimensions as wanted: (P,), (P, M), (1, P, M); shown in the title.
        boxes: See `plot_prompts`.
        points: See `plot_prompts`.
        labels: See `plot_prompts`.
        opacity: Of the filling, 0 to 1.
        ax: Where to draw; a new figure if None.

    Returns:
        The figure.

    Raises:
        TypeError: Something that is no photo, mask or number.
        ValueError: Masks of another size than the photo, scores of another number, malformed prompts.
        ImportError: matplotlib is not installed.
    """
    pixels = photo_pixels(photo)
    candidates = candidate_masks("masks", masks, pixels)
    values = candidate_scores(scores, candidates)
    prompts = DrawnPrompts(boxes, points, labels)
    check_opacity(opacity)
    ax = new_axis(ax, pixels)
    show_photo(ax, pixels)
    for index, mask in enumerate(candidates[:, 0]):
        draw_mask(ax, mask, object_color(index), opacity)
    prompts.draw(ax)
    if values is not None:
        listed = ", ".join(f"{value:.3f}" for value in values[:8, 0]) + (", …" if len(values) > 8 else "")
        ax.set_title(f"{'Score' if len(values) == 1 else 'Scores'} {listed}")
    return figure_of(ax)


def plot_prompts(
    photo: object, *, boxes: Any = None, points: Any = None, labels: Any = None, ax: "Axes | None" = None
) -> "Figure":
    """Draw boxes and points over the photo: each box in its object's colour, green stars for points on the object
    and red ones for points that are not.

    Args:
        photo: A path, PIL image, array or tensor.
        boxes: x0, y0, x1, y1 each, in any nesting, such as the processor's `[image][object][4]` for one photo.
        points: x, y each, in any nesting, ragged too, such as the processor's `[image][object][point][2]`.
        labels: One per point, in any nesting: 1 on the object, 0 not; -1 and -10 are not drawn. All 1 if None.
        ax: Where to draw; a new figure if None.

    Returns:
        The figure.

    Raises:
        TypeError: Something that is no photo or number.
        ValueError: Malformed prompts, or none at all.
        ImportError: matplotlib is not installed.
    """  # noqa: D205
    pixels = photo_pixels(photo)
    prompts = DrawnPrompts(boxes, points, labels)
    if not len(prompts.boxes) and not len(prompts.points):
        raise ValueError("there is nothing to draw: give boxes or points")
    ax = new_axis(ax, pixels)
    show_photo(ax, pixels)
    prompts.draw(ax)
    return figure_of(ax)


def plot_candidates(
    photo: object,
    masks: Any,
    scores: Any = None,
    *,
    boxes: Any = None,
    points: Any = None,
    labels: Any = None,
    ax: "Axes | None" = None,
) -> "Figure":
    """Draw the candidates side by side, each with its score.

    Args:
        photo: A path, PIL image, array or tensor.
        masks: (M, H, W) of one object, or (P, M, H, W): panel m then holds the m-th candidate of every object.
        scores: (M,), (P, M) or (1, P, M).
        boxes: See `plot_prompts`; drawn in every panel.
        points: See `plot_prompts`; drawn in every panel.
        labels: See `plot_prompts`.
        ax: Where to draw; the panels share its place. A new figure if None.

    Returns:
        The figure; its axes hold one inset axis per candidate.

    Raises:
        TypeError: See `plot_masks`.
        ValueError: See `plot_masks`.
        ImportError: matplotlib is not installed.
    """
    pixels = photo_pixels(photo)
    candidates = candidate_masks("masks", masks, pixels, of_one_object=True)
    values = candidate_scores(scores, candidates)
    prompts = DrawnPrompts(boxes, points, labels)
    count = candidates.shape[1]
    ax = new_axis(ax, pixels, panels=count)
    for rank, panel in enumerate(panels_in(ax, count)):
        show_photo(panel, pixels)
        for index, mask in enumerate(candidates[:, rank]):
            draw_mask(panel, mask, object_color(index), OPACITY)
        prompts.draw(panel)
        title = f"Mask {rank + 1}"
        if values is not None:
            title += f", score {', '.join(f'{value:.3f}' for value in values[:, rank])}"
        panel.set_title(title)
    return figure_of(ax)


def plot_automatic_masks(
    photo: object, generated: Any, *, opacity: float = OPACITY, ax: "Axes | None" = None
) -> "Figure":
    """Draw everything that mask generation found, small masks on top.

    A mask's colour depends on the mask alone: it stays when other masks come or go, as with other thresholds.

    Args:
        photo: A path, PIL image, array or tensor.
        generated: What `pipeline("mask-generation")` returns for one photo, the authors' list of records, or masks
            (N, H, W).
        opacity: Of the filling, 0 to 1.
        ax: Where to draw; a new figure if None.

    Returns:
        The figure.

    Raises:
        TypeError: Something else was given.
        ValueError: Masks of another size than the photo.
        ImportError: matplotlib is not installed.
    """
    pixels = photo_pixels(photo)
    masks = sorted(generated_masks(generated, pixels), key=lambda mask: -mask.sum())
    check_opacity(opacity)
    ax = new_axis(ax, pixels)
    # In one raster: hundreds of contours as lines would take seconds.
    colors = [object_color(zlib.crc32(np.packbits(mask).tobytes()) % 9973) for mask in masks]
    show_photo(ax, np.asarray(draw_masks(Image.fromarray(pixels), masks, opacity, colors=colors)))
    ax.set_title(counted(len(masks), "mask"))
    return figure_of(ax)
