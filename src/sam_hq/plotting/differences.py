"""Where two masks of one object differ: SAM's and SAM-HQ's, a model's and the ground truth."""

from typing import TYPE_CHECKING, Any

from ..evaluation.mask_metrics import boundary_iou, boundary_region, boundary_width, mask_iou
from .inputs import photo_pixels, single_mask
from .layers import (
    OPACITY,
    DrawnPrompts,
    draw_contour,
    draw_mask,
    figure_of,
    fill,
    new_axis,
    paled,
    panels_in,
    pixel_legend,
    show_photo,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAM_COLOR = (255, 133, 27)
HQ_COLOR = (30, 144, 255)
MISSED_COLOR = (255, 65, 54)
EXTRA_COLOR = (255, 200, 0)
HIT_COLOR = (46, 160, 67)


def plot_comparison(
    photo: object,
    sam_mask: Any,
    hq_mask: Any,
    *,
    boxes: Any = None,
    points: Any = None,
    labels: Any = None,
    ax: "Axes | None" = None,
) -> "Figure":
    """Draw SAM's mask beside SAM-HQ's, and where the two differ.

    Both come from one call of the model with `output_branches=True`: `sam_masks` is SAM's own, `pred_masks` SAM-HQ's.

    Args:
        photo: A path, PIL image, array or tensor.
        sam_mask: (H, W), or with leading dimensions of one; boolean or 0 and 1.
        hq_mask: Likewise.
        boxes: See `plot_prompts`; drawn in the first two panels.
        points: See `plot_prompts`; drawn in the first two panels.
        labels: See `plot_prompts`.
        ax: Where to draw; the three panels share its place. A new figure if None.

    Returns:
        The figure; its axes hold the inset axes SAM, SAM-HQ and difference.

    Raises:
        TypeError: See `plot_masks`.
        ValueError: See `plot_masks`.
        ImportError: matplotlib is not installed.
    """
    pixels = photo_pixels(photo)
    sam, high_quality = single_mask("sam_mask", sam_mask, pixels), single_mask("hq_mask", hq_mask, pixels)
    prompts = DrawnPrompts(boxes, points, labels)
    ax = new_axis(ax, pixels, panels=3)
    left, middle, right = panels_in(ax, 3)
    for panel, mask, color, title in ((left, sam, SAM_COLOR, "SAM"), (middle, high_quality, HQ_COLOR, "SAM-HQ")):
        show_photo(panel, pixels)
        draw_mask(panel, mask, color, OPACITY)
        prompts.draw(panel)
        panel.set_title(title)
    show_photo(right, paled(pixels))
    fill(right, sam & ~high_quality, SAM_COLOR, 1.0)
    fill(right, high_quality & ~sam, HQ_COLOR, 1.0)
    pixel_legend(
        right, [(SAM_COLOR, "SAM only", sam & ~high_quality), (HQ_COLOR, "SAM-HQ only", high_quality & ~sam)], 1
    )
    right.set_title(f"Difference, IoU {mask_iou(sam, high_quality):.3f}")
    return figure_of(ax)


def plot_boundary_error(
    photo: object, mask: Any, truth: Any, *, width: int | None = None, ax: "Axes | None" = None
) -> "Figure":
    """Draw where a mask differs from the ground truth, and how well their boundaries agree.

    Args:
        photo: A path, PIL image, array or tensor.
        mask: (H, W), or with leading dimensions of one; boolean or 0 and 1.
        truth: Likewise.
        width: Of the boundary region that boundary IoU looks at, in pixels; 2 % of the diagonal if None.
        ax: Where to draw; a new figure if None.

    Returns:
        The figure: pixels that were missed, pixels too many, the ground truth's contour, and pale between them the part
        of the two boundary regions that agrees.

    Raises:
        TypeError: See `plot_masks`.
        ValueError: See `plot_masks`; or the width is less than 1.
        ImportError: matplotlib is not installed.
    """
    pixels = photo_pixels(photo)
    found, wanted = single_mask("mask", mask, pixels), single_mask("truth", truth, pixels)
    width = boundary_width(found.shape) if width is None else width
    score = boundary_iou(found, wanted, width)
    ax = new_axis(ax, pixels)
    show_photo(ax, paled(pixels))
    agreed = boundary_region(found, width) & boundary_region(wanted, width)
    missed, extra = wanted & ~found, found & ~wanted
    for part, color, opacity in ((agreed, HIT_COLOR, 0.35), (missed, MISSED_COLOR, 1.0), (extra, EXTRA_COLOR, 1.0)):
        fill(ax, part, color, opacity)
    draw_contour(ax, wanted, (20, 20, 20), 1.2)
    entries = [
        (MISSED_COLOR, "missed", missed),
        (EXTRA_COLOR, "too much", extra),
        (HIT_COLOR, "boundary agrees", agreed),
    ]
    pixel_legend(ax, entries, columns=3)
    ax.set_title(f"IoU {mask_iou(found, wanted):.3f}, boundary IoU {score:.3f} ({width} pixels)")
    return figure_of(ax)
