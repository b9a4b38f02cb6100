"""Masks as polygons with holes: exact outlines, simplified to a tolerance, measured against the mask they came from.

Coordinates are pixels of the image, x to the right and y down; pixel (0, 0) covers [0, 1] x [0, 1], so the exact
outline of a mask runs along the edges of its pixels. Pixels that touch only at a corner belong to different pieces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sam_hq_numpy.number_limits import check_number

if TYPE_CHECKING:
    from sam_hq_numpy.mask_rle import RunLengthMask

DEFAULT_TOLERANCE = 1.0
# A simplified outline that keeps less of the mask than this gets a finer tolerance: small objects need it.
MIN_IOU = 0.95
_FINEST_TOLERANCE = 0.25
# Pairs of vertices compared at once where two rings are joined.
_MAX_PAIRS = 4_000_000


@dataclass(frozen=True, eq=False)
class Polygon:
    """One piece of a mask.

    Args:
        shell: `(N, 2)` x y, the outer ring, clockwise on the screen; the last vertex is not the first again.
        holes: Rings `(M, 2)` within it, counter-clockwise.
    """

    shell: np.ndarray
    holes: tuple[np.ndarray, ...] = ()

    @property
    def rings(self) -> tuple[np.ndarray, ...]:
        """The shell and the holes."""
        return self.shell, *self.holes


@dataclass(frozen=True, eq=False)
class Outline:
    """A mask as polygons.

    Args:
        polygons: One per piece; none for an empty mask.
        tolerance: How far, in pixels, the outline may be from the exact one.
        iou: Of the polygons' pixels with the mask.
    """

    polygons: list[Polygon]
    tolerance: float
    iou: float


def outline(mask: RunLengthMask, tolerance: float = DEFAULT_TOLERANCE) -> Outline:
    """The outline of a mask, with the tolerance made finer until the polygons' IoU with the mask is at least 0.95.

    Args:
        mask: The mask.
        tolerance: How far the outline may be from the exact one, in pixels; 0: exact.

    Raises:
        ValueError: If the tolerance is negative or not finite.
    """
    pixels, exact, corner = _traced(mask, tolerance)
    while tolerance >= _FINEST_TOLERANCE:
        polygons = [_simplified(polygon, tolerance) for polygon in exact]
        filled = fill([ring for polygon in polygons for ring in polygon.rings], pixels.shape)
        union = int(np.count_nonzero(filled | pixels))
        iou = int(np.count_nonzero(filled & pixels)) / union if union else 1.0
        if iou >= MIN_IOU:
            return Outline([_moved(polygon, corner) for polygon in polygons], tolerance, iou)
        tolerance /= 2
    return Outline([_moved(polygon, corner) for polygon in exact], 0.0, 1.0)


def centre_outline(mask: RunLengthMask, tolerance: float = DEFAULT_TOLERANCE) -> list[Polygon]:
    """The outline through the centres of the border pixels, in numbers of columns and rows, as OpenCV traces it.

    A reader that draws the polygons with their borders gets the mask back.

    Args:
        mask: The mask.
        tolerance: As in `outline`, and made finer for the same masks.
    """
    tolerance = outline(mask, tolerance).tolerance
    _, exact, corner = _traced(mask, tolerance)
    inner = [Polygon(_inset(polygon.shell), tuple(map(_inset, polygon.holes))) for polygon in exact]
    return [_moved(_simplified(polygon, tolerance), corner) for polygon in inner]


def one_ring(rings: Sequence[np.ndarray]) -> np.ndarray:
    """Join rings to one by bridges of no width, for formats that know neither holes nor pieces.

    Args:
        rings: At least one `(N, 2)`.

    Returns:
        `(N, 2)`; filled by the even-odd rule it covers what the rings cover.
    """
    joined = rings[0]
    for ring in rings[1:]:
        first, second = _nearest(joined, ring)
        turned = np.roll(ring, -second, axis=0)
        joined = np.concatenate([joined[: first + 1], turned, turned[:1], joined[first:]])
    return joined


def fill(rings: Sequence[np.ndarray], size: Sequence[int]) -> np.ndarray:
    """The pixels whose centres lie in an odd number of rings.

    Args:
        rings: `(N, 2)` x y each.
        size: Height and width.

    Returns:
        `(H, W)` boolean.
    """
    height, width = size
    starts = np.concatenate([*rings, np.zeros((0, 2))]).astype(np.float64)
    ends = np.concatenate([*(np.roll(ring, -1, axis=0) for ring in rings), np.zeros((0, 2))]).astype(np.float64)
    (x0, y0), (x1, y1) = starts.T, ends.T
    # An edge crosses the rows whose centre y + 0.5 lies in [its upper end, its lower end).
    first = np.clip(np.ceil(np.minimum(y0, y1) - 0.5), 0, height).astype(np.int64)
    counts = np.clip(np.ceil(np.maximum(y0, y1) - 0.5), 0, height).astype(np.int64) - first
    edge = np.repeat(np.arange(len(first)), counts)
    rows = first[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    x = x0[edge] + (rows + 0.5 - y0[edge]) * (x1 - x0)[edge] / (y1 - y0)[edge]
    columns = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    changes = np.bincount(rows * (width + 1) + columns, minlength=height * (width + 1)) & 1
    return np.logical_xor.accumulate(changes.reshape(height, width + 1).astype(bool), axis=1)[:, :width]


def trace(mask: np.ndarray) -> list[Polygon]:
    """The exact outlines of a mask, along the edges of its pixels.

    Args:
        mask: `(H, W)` boolean.

    Returns:
        One polygon per piece, from top to bottom.
    """
    framed = np.pad(mask.astype(bool), 1)
    above_left, above_right, below_left, below_right = (
        framed[:-1, :-1],
        framed[:-1, 1:],
        framed[1:, :-1],
        framed[1:, 1:],
    )
    # Outlines turn where one or three of the four pixels around a corner are inside. Where two diagonal ones are, two
    # turns meet.
    saddles = (above_left == below_right) & (above_right == below_left) & (above_left != above_right)
    ys, xs = np.nonzero((above_left ^ above_right ^ below_left ^ below_right) | saddles)
    copies = 1 + saddles[ys, xs]
    second = np.arange(copies.sum()) - np.repeat(np.cumsum(copies) - copies, copies)
    ys, xs = np.repeat(ys, copies), np.repeat(xs, copies)
    # In a row the turns are joined in pairs by horizontal edges, in a column by vertical ones. Of two turns that meet,
    # the left one goes up if the pixel above it on the left is inside, and down otherwise.
    goes_down = saddles[ys, xs] & ~above_left[ys, xs]
    order = np.lexsort((np.where(goes_down, 1 - second, second), ys, xs))
    vertical = np.empty_like(order)
    vertical[order[::2]], vertical[order[1::2]] = order[1::2], order[::2]

    rings = _followed(vertical.tolist())
    ring_of = np.empty(len(ys), dtype=np.int64)
    for number, ring in enumerate(rings):
        ring_of[ring] = number
    upper, lower = order[::2], order[1::2]
    shells: dict[int, int] = {}  # ring -> the ring of the shell it belongs to
    holes: dict[int, list[np.ndarray]] = {}
    vertices = np.stack([xs, ys], axis=1)
    for number, ring in enumerate(rings):
        x, y = vertices[ring[0]]
        if below_right[y, x]:
            shells[number], holes[number] = number, []
            continue
        # A hole: the nearest edge to the left in the row above it is of its shell, or of another hole of that.
        beside = np.flatnonzero((ys[upper] < y) & (ys[lower] >= y) & (xs[upper] <= x))
        neighbour = ring_of[upper[beside[np.argmax(xs[upper[beside]])]]]
        shells[number] = shells[int(neighbour)]
        holes[shells[number]].append(vertices[ring[::-1]])
    return [Polygon(vertices[rings[number]], tuple(of_shell)) for number, of_shell in holes.items()]


def _followed(vertical: list[int]) -> list[list[int]]:
    """Rings of turns: horizontal edges join turn 2k to turn 2k + 1, vertical ones as given."""
    rings, visited = [], bytearray(len(vertical))
    for start in range(len(vertical)):
        if visited[start]:
            continue
        turn = start
        ring: list[int] = []
        while not visited[turn]:
            beside = turn ^ 1
            visited[turn] = visited[beside] = 1
            ring += (turn, beside)
            turn = vertical[beside]
        rings.append(ring)
    return rings


def _traced(mask: RunLengthMask, tolerance: float) -> tuple[np.ndarray, list[Polygon], np.ndarray]:
    """The pixels of a mask's box, their exact outlines, and the corner of the box."""
    check_number("tolerance", tolerance, at_least=0)
    x0, y0, x1, y1 = mask.box()
    pixels = mask.window((x0, y0, x1 + 1, y1 + 1)) if mask.area else np.zeros((1, 1), dtype=bool)
    return pixels, trace(pixels), np.array([x0, y0])


def _moved(polygon: Polygon, corner: np.ndarray) -> Polygon:
    return Polygon(polygon.shell + corner, tuple(hole + corner for hole in polygon.holes))


def _inset(ring: np.ndarray) -> np.ndarray:
    """A ring along pixel edges moved half a pixel inwards, in numbers of columns and rows of the border pixels."""
    ahead = np.sign(np.roll(ring, -1, axis=0) - ring)
    inwards = np.stack([-ahead[:, 1], ahead[:, 0]], axis=1)  # the inside lies on the right
    return ring + (inwards + np.roll(inwards, 1, axis=0) - 1) // 2


def _simplified(polygon: Polygon, tolerance: float) -> Polygon:
    return Polygon(
        _simplified_ring(polygon.shell, tolerance), tuple(_simplified_ring(hole, tolerance) for hole in polygon.holes)
    )


def _simplified_ring(ring: np.ndarray, tolerance: float) -> np.ndarray:
    """Douglas and Peucker: as few of the vertices as leave none of the others further away than the tolerance."""
    if tolerance == 0:
        return ring
    closed = np.concatenate([ring, ring[:1]]).astype(np.float64)
    kept = np.zeros(len(closed), dtype=bool)
    far = int(np.argmax(((closed - closed[0]) ** 2).sum(1)))
    kept[[0, far, -1]] = True
    pending = [(0, far), (far, len(ring))]
    while pending:
        start, end = pending.pop()
        if end - start < 2:
            continue
        distances = _distances(closed[start + 1 : end], closed[start], closed[end])
        worst = int(np.argmax(distances))
        if distances[worst] > tolerance:
            middle = start + 1 + worst
            kept[middle] = True
            pending += [(start, middle), (middle, end)]
    simplified = ring[kept[:-1]]
    return simplified if len(simplified) >= 3 else ring


def _distances(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """From points to the line from `start` to `end`."""
    along = end - start
    length = float(along @ along)
    if length == 0:
        return np.hypot(*(points - start).T)
    share = np.clip((points - start) @ along / length, 0, 1)
    return np.hypot(*(points - start - share[:, None] * along).T)


def _nearest(ring: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """The vertices of two rings that are nearest to each other; of very long rings, of some of them."""
    step = max(1, round(np.sqrt(len(ring) * len(other) / _MAX_PAIRS)))
    apart = ((ring[::step, None].astype(np.float64) - other[None, ::step]) ** 2).sum(-1)
    first, second = np.unravel_index(np.argmin(apart), apart.shape)
    return int(first) * step, int(second) * step
