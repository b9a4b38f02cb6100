"""What the plots are put together from: photos, filled and traced masks, prompts, panels, legends.

Colours are RGB from 0 to 255; `pixels` is the photo (H, W, 3) uint8.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from sam_hq_numpy.number_limits import check_number, counted
from sam_hq_numpy.overlays import NEGATIVE, POSITIVE, object_color

from .inputs import flat_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OPACITY = 0.45  # of filled masks
_LONG_SIDE = 8.0  # of a panel, in inches
_SHORTEST_SIDE = 2.0
DPI = 150  # or more, where matplotlib is set to


class DrawnPrompts:
    """Prompts in any nesting, ready to be drawn.

    Args:
        boxes: x0, y0, x1, y1 each, or None.
        points: x, y each, or None.
        labels: One per point: 1 on the object, 0 not, -1 and -10 not drawn; all 1 if None.

    Raises:
        TypeError: If there is anything but numbers.
        ValueError: If they are malformed, or points and labels differ in number.
    """

    def __init__(self, boxes: Any, points: Any, labels: Any) -> None:
        self.boxes = flat_numbers("boxes", boxes, 4)
        self.points = flat_numbers("points", points, 2)
        self.labels = np.ones(len(self.points)) if labels is None else flat_numbers("labels", labels, 1)[:, 0]
        if len(self.labels) != len(self.points):
            raise ValueError(
                f"every point needs a label, got {counted(len(self.points), 'point')} and "
                f"{counted(len(self.labels), 'label')}"
            )
        if not set(self.labels.tolist()) <= {1, 0, -1, -10}:
            raise ValueError(f"labels must be 1, 0, -1 or -10, got {sorted(set(self.labels.tolist()))}")

    def draw(self, ax: "Axes") -> None:
        """Draw boxes in their objects' colours, and a star for each point."""
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


def check_opacity(opacity: float) -> None:
    """Refuse an opacity outside [0, 1]."""
    check_number("opacity", opacity, at_least=0, at_most=1)


def new_axis(ax: "Axes | None", pixels: np.ndarray, panels: int = 1) -> "Axes":
    """Return the axis that was given, or one of a new figure that fits so many panels of the photo.

    Raises:
        ImportError: If matplotlib is not installed.
    """
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
    dpi = max(DPI, plt.rcParams["figure.dpi"])
    _, ax = plt.subplots(figsize=size, dpi=dpi, layout="constrained")
    return ax


def panels_in(ax: "Axes", count: int) -> list["Axes"]:
    """Return inset axes side by side that share the place of an axis."""
    ax.set_axis_off()
    ax.set_title(" ")  # layouts leave room for it, which the panels' own titles take
    gap = 0.015
    width = (1 - gap * (count - 1)) / count
    return [ax.inset_axes((index * (width + gap), 0.0, width, 1.0)) for index in range(count)]


def figure_of(ax: "Axes") -> "Figure":
    """Return the figure that an axis lies in, however deep."""
    return ax.figure.figure  # of a subfigure the figure it is in


def show_photo(ax: "Axes", pixels: np.ndarray) -> None:
    """Draw the photo (H, W, 3); what is drawn later does not move its limits."""
    ax.imshow(pixels)
    ax.set_xlim(-0.5, pixels.shape[1] - 0.5)
    ax.set_ylim(pixels.shape[0] - 0.5, -0.5)
    ax.set_autoscale_on(False)
    ax.set_axis_off()


def draw_mask(ax: "Axes", mask: np.ndarray, color: tuple[int, int, int], opacity: float) -> None:
    """Fill a mask (H, W) and trace it."""
    fill(ax, mask, color, opacity)
    draw_contour(ax, mask, color, 1.8)


def fill(ax: "Axes", mask: np.ndarray, color: tuple[int, int, int], opacity: float) -> None:
    """Fill a mask (H, W) with a colour."""
    if mask.any():
        layer = np.zeros((*mask.shape, 4), dtype=np.uint8)
        layer[mask] = (*color, round(255 * opacity))
        ax.imshow(layer)


def draw_contour(ax: "Axes", mask: np.ndarray, color: tuple[int, int, int], width: float) -> None:
    """Trace a mask (H, W) between the pixels inside and outside, with a line of `width` points."""
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


def paled(pixels: np.ndarray) -> np.ndarray:
    """Return the photo gray and light, so that colours on it are seen."""
    gray = pixels.astype(np.float32).mean(-1, keepdims=True)
    return (150 + 0.4 * gray).clip(0, 255).astype(np.uint8).repeat(3, -1)


def pixel_legend(ax: "Axes", entries: list[tuple[tuple[int, int, int], str, np.ndarray]], columns: int) -> None:
    """Say below the axis what colours mean, and how many pixels (H, W) have each."""
    from matplotlib.patches import Patch

    handles = [
        Patch(color=_unit(color), label=f"{text}: {counted(int(part.sum()), 'pixel')}") for color, text, part in entries
    ]
    ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=columns, frameon=False, fontsize="medium"
    )


def _unit(color: tuple[int, int, int]) -> tuple[float, float, float]:
    return color[0] / 255, color[1] / 255, color[2] / 255
