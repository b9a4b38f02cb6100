"""Pictures of photographs, prompts and masks with matplotlib, one function each; needs the extra `plot`.

Frames: prompts and masks are in pixels of the upright photograph, x to the right, y down. Every function draws into an
axis that is given, or makes a figure, and returns the figure. Several panels lie within the one axis.
"""

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .mask_metrics import boundary_iou, boundary_region, boundary_width, mask_iou
from .overlays import NEGATIVE, POSITIVE, draw_masks, object_color
from .plotting_inputs import (
    candidate_masks,
    candidate_scores,
    flat_numbers,
    generated_masks,
    photo_pixels,
    single_mask,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SAM_COLOR = (255, 133, 27)
HQ_COLOR = (30, 144, 255)
MISSED_COLOR = (255, 65, 54)
EXTRA_COLOR = (255, 200, 0)
HIT_COLOR = (46, 160, 67)

_LONG_SIDE = 8.0  # of a panel, in inches
_SHORTEST_SIDE = 2.0
_OPACITY = 0.45


def plot_masks(
    photo: object,
    masks: Any,
    scores: Any = None,
    *,
    boxes: Any = None,
    points: Any = None,
    labels: Any = None,
    opacity: float = _OPACITY,
    ax: "Axes | None" = None,
) -> "Figure":
    """Draw masks over the photograph, filled and with a contour, each in its own colour; prompts on top.

    Args:
        photo: A path, PIL image, array or tensor.
        masks: (H, W), (P, H, W) or (P, M, H, W), boolean or 0 and 1, of the photograph's size; of M candidates the
            first is drawn.
        scores: One per mask, as many dimensions as wanted: (P,), (P, M), (1, P, M); the title tells them.
        boxes: See `plot_prompts`.
        points: See `plot_prompts`.
        labels: See `plot_prompts`.
        opacity: Of the filling, 0 to 1.
        ax: Where to draw; a new figure if None.

    Returns:
        The figure.

    Raises:
        TypeError: Something that is no photograph, mask or number.
        ValueError: Masks of another size than the photograph, scores of another number, malformed prompts.
        ImportError: matplotlib is not installed.
    """
    pixels = photo_pixels(photo)
    candidates = candidate_masks("masks", masks, pixels)
    values = candidate_scores(scores, candidates)
    prompts = _Prompts(boxes, points, labels)
    _check_opacity(opacity)
    ax = _axis(ax, pixels)
    _show_photo(ax, pixels)
    for index, mask in enumerate(candidates[:, 0]):
        _draw_mask(ax, mask, object_color(index), opacity)
    prompts.draw(ax)
    if values is not None:
        listed = ", ".join(f"{value:.3f}" for value in values[:8, 0]) + (", …" if len(values) > 8 else "")
        ax.set_title(f"{'Score' if len(values) == 1 else 'Scores'} {listed}")
    return _figure(ax)


def plot_prompts(
    photo: object, *, boxes: Any = None, points: Any = None, labels: Any = None, ax: "Axes | None" = None
) -> "Figure":
    """Draw boxes and points over the photograph: each box in its object's colour, green stars for points on the object
    and red ones for points that are not.

    Args:
        photo: A path, PIL image, array or tensor.
        boxes: x0, y0, x1, y1 each, in any nesting, such as the processor's `[image][object][4]` for one photograph.
        points: x, y each, in any nesting, ragged too, such as the processor's `[image][object][point][2]`.
        labels: One per point, in any nesting: 1 on the object, 0 not; -1 and -10 are not drawn. All 1 if None.
        ax: Where to draw; a new figure if None.

    Returns:
        The figure.

    Raises:
        TypeError: Something that is no photograph or number.
        ValueError: Malformed prompts, or none at all.
        ImportError: matplotlib is not installed.
    """  # noqa: D205
    pixels = photo_pixels(photo)
    prompts = _Prompts(boxes, points, labels)
    if not len(prompts.boxes) and not len(prompts.points):
        raise ValueError("there is nothing to draw: give boxes or points")
    ax = _axis(ax, pixels)
    _show_photo(ax, pixels)
    prompts.draw(ax)
    return _figure(ax)


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
    prompts = _Prompts(boxes, points, labels)
    count = candidates.shape[1]
    ax = _axis(ax, pixels, panels=count)
    for rank, panel in enumerate(_panels(ax, count)):
        _show_photo(panel, pixels)
        for index, mask in enumerate(candidates[:, rank]):
            _draw_mask(panel, mask, object_color(index), _OPACITY)
        prompts.draw(panel)
        title = f"Mask {rank + 1}"
        if values is not None:
            title += f", score {', '.join(f'{value:.3f}' for value in values[:, rank])}"
        panel.set_title(title)
    return _figure(ax)


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
    prompts = _Prompts(boxes, points, labels)
    ax = _axis(ax, pixels, panels=3)
    left, middle, right = _panels(ax, 3)
    for panel, mask, color, title in ((left, sam, SAM_COLOR, "SAM"), (middle, high_quality, HQ_COLOR, "SAM-HQ")):
        _show_photo(panel, pixels)
        _draw_mask(panel, mask, color, _OPACITY)
        prompts.draw(panel)
        panel.set_title(title)
    _show_photo(right, _paled(pixels))
    _fill(right, sam & ~high_quality, SAM_COLOR, 1.0)
    _fill(right, high_quality & ~sam, HQ_COLOR, 1.0)
    _legend(right, [(SAM_COLOR, "SAM only", sam & ~high_quality), (HQ_COLOR, "SAM-HQ only", high_quality & ~sam)], 1)
    right.set_title(f"Difference, IoU {mask_iou(sam, high_quality):.3f}")
    return _figure(ax)


def plot_automatic_masks(
    photo: object, generated: Any, *, opacity: float = _OPACITY, ax: "Axes | None" = None
) -> "Figure":
    """Draw everything that mask generation found, small masks on top.

    A mask's colour depends on the mask alone: it stays when other masks come or go, as with other thresholds.

    Args:
        photo: A path, PIL image, array or tensor.
        generated: What `pipeline("mask-generation")` returns for one photograph, the authors' list of records, or masks
            (N, H, W).
        opacity: Of the filling, 0 to 1.
        ax: Where to draw; a new figure if None.

    Returns:
        The figure.

    Raises:
        TypeError: Something else was given.
        ValueError: Masks of another size than the photograph.
        ImportError: matplotlib is not installed.
    """
    pixels = photo_pixels(photo)
    masks = sorted(generated_masks(generated, pixels), key=lambda mask: -mask.sum())
    _check_opacity(opacity)
    ax = _axis(ax, pixels)
    # In one raster: hundreds of contours as lines would take seconds.
    colors = [object_color(zlib.crc32(np.packbits(mask).tobytes()) % 9973) for mask in masks]
    _show_photo(ax, np.asarray(draw_masks(Image.fromarray(pixels), masks, opacity, colors=colors)))
    ax.set_title(f"{len(masks)} {'mask' if len(masks) == 1 else 'masks'}")
    return _figure(ax)


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
    ax = _axis(ax, pixels)
    _show_photo(ax, _paled(pixels))
    agreed = boundary_region(found, width) & boundary_region(wanted, width)
    missed, extra = wanted & ~found, found & ~wanted
    for part, color, opacity in ((agreed, HIT_COLOR, 0.35), (missed, MISSED_COLOR, 1.0), (extra, EXTRA_COLOR, 1.0)):
        _fill(ax, part, color, opacity)
    _draw_contour(ax, wanted, (20, 20, 20), 1.2)
    entries = [
        (MISSED_COLOR, "missed", missed),
        (EXTRA_COLOR, "too much", extra),
        (HIT_COLOR, "boundary agrees", agreed),
    ]
    _legend(ax, entries, columns=3)
    ax.set_title(f"IoU {mask_iou(found, wanted):.3f}, boundary IoU {score:.3f} ({width} pixels)")
    return _figure(ax)


class _Prompts:
    """Boxes, points and labels in any nesting, as flat arrays."""

    def __init__(self, boxes: Any, points: Any, labels: Any) -> None:
        self.boxes = flat_numbers("boxes", boxes, 4)
        self.points = flat_numbers("points", points, 2)
        self.labels = np.ones(len(self.points)) if labels is None else flat_numbers("labels", labels, 1)[:, 0]
        if len(self.labels) != len(self.points):
            raise ValueError(f"every point needs a label, got {len(self.points)} points and {len(self.labels)} labels")
        if not set(self.labels.tolist()) <= {1, 0, -1, -10}:
            raise ValueError(f"labels must be 1, 0, -1 or -10, got {sorted(set(self.labels.tolist()))}")

    def draw(self, ax: "Axes") -> None:
        from matplotlib.patches import Rectangle

        for index, (x0, y0, x1, y1) in enumerate(self.boxes):
            for color, width in (("white", 4.0), (_unit(object_color(index)), 2.0)):
                ax.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=width))
        for label, color in ((1, POSITIVE), (0, NEGATIVE)):
            chosen = self.points[self.labels == label]
            if len(chosen):
                ax.scatter(
                    chosen[:, 0],
                    chosen[:, 1],
                    marker="*",
                    s=260,
                    color=[_unit(color)],
                    edgecolor="white",
                    linewidth=1.25,
                    zorder=5,
                )


def _check_opacity(opacity: float) -> None:
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity must be from 0 to 1, got {opacity}")


def _axis(ax: "Axes | None", pixels: np.ndarray, panels: int = 1) -> "Axes":
    if ax is not None:
        return ax
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("plotting needs matplotlib: pip install 'sam-hq[plot]'") from error
    height, width = pixels.shape[:2]
    longest = _LONG_SIDE if panels == 1 else _LONG_SIDE * 0.6
    scale = longest / max(height, width)
    size = (max(_SHORTEST_SIDE, width * scale) * panels, max(_SHORTEST_SIDE, height * scale) + 0.8)
    _, ax = plt.subplots(figsize=size, layout="constrained")
    return ax


def _panels(ax: "Axes", count: int) -> list["Axes"]:
    ax.set_axis_off()
    ax.set_title(" ")  # layouts leave room for it, which the panels' own titles take
    gap = 0.015
    width = (1 - gap * (count - 1)) / count
    return [ax.inset_axes((index * (width + gap), 0.0, width, 1.0)) for index in range(count)]


def _figure(ax: "Axes") -> "Figure":
    return ax.figure.figure  # of a subfigure the figure it is in


def _show_photo(ax: "Axes", pixels: np.ndarray) -> None:
    ax.imshow(pixels)
    ax.set_xlim(-0.5, pixels.shape[1] - 0.5)
    ax.set_ylim(pixels.shape[0] - 0.5, -0.5)
    ax.set_autoscale_on(False)
    ax.set_axis_off()


def _draw_mask(ax: "Axes", mask: np.ndarray, color: tuple[int, int, int], opacity: float) -> None:
    _fill(ax, mask, color, opacity)
    _draw_contour(ax, mask, color, 1.8)


def _fill(ax: "Axes", mask: np.ndarray, color: tuple[int, int, int], opacity: float) -> None:
    if mask.any():
        layer = np.zeros((*mask.shape, 4), dtype=np.uint8)
        layer[mask] = (*color, round(255 * opacity))
        ax.imshow(layer)


def _draw_contour(ax: "Axes", mask: np.ndarray, color: tuple[int, int, int], width: float) -> None:
    if mask.any():
        # Padded, so that a mask that reaches the photo's border is closed there.
        padded = np.pad(mask, 1).astype(np.float32)
        height, columns = mask.shape
        ax.contour(
            np.arange(-1, columns + 1),
            np.arange(-1, height + 1),
            padded,
            [0.5],
            colors=[_unit(color)],
            linewidths=width,
        )


def _paled(pixels: np.ndarray) -> np.ndarray:
    """Gray and light, so that colours on it are seen."""
    gray = pixels.astype(np.float32).mean(-1, keepdims=True)
    return (150 + 0.4 * gray).clip(0, 255).astype(np.uint8).repeat(3, -1)


def _legend(ax: "Axes", entries: list[tuple[tuple[int, int, int], str, np.ndarray]], columns: int) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=_unit(color), label=f"{text}: {int(part.sum())} pixels") for color, text, part in entries]
    ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=columns, frameon=False, fontsize="small"
    )


def _unit(color: tuple[int, int, int]) -> tuple[float, float, float]:
    return color[0] / 255, color[1] / 255, color[2] / 255


__all__ = [
    "plot_automatic_masks",
    "plot_boundary_error",
    "plot_candidates",
    "plot_comparison",
    "plot_masks",
    "plot_prompts",
]
