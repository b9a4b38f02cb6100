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
        polygons = _simplified(exact, tolerance)
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
    return [_moved(polygon, corner) for polygon in _simplified(inner, tolerance)]


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
    vertices = np.concatenate([*rings, np.zeros((0, 2))]).astype(np.float64)
    lengths = np.array([len(ring) for ring in rings if len(ring)], dtype=np.int64)
    following, lasts = np.arange(1, len(vertices) + 1), np.cumsum(lengths) - 1
    following[lasts] -= lengths
    (x0, y0), (x1, y1) = vertices.T, vertices[following].T
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


def _simplified(polygons: Sequence[Polygon], tolerance: float) -> list[Polygon]:
    rings = iter(_simplified_rings([ring for polygon in polygons for ring in polygon.rings], tolerance))
    return [Polygon(next(rings), tuple(next(rings) for _ in polygon.holes)) for polygon in polygons]


def _simplified_rings(rings: Sequence[np.ndarray], tolerance: float) -> Sequence[np.ndarray]:
    """Douglas and Peucker: as few of the vertices as leave none of the others further away than the tolerance.

    All stretches of all rings between two kept vertices are looked at in one go, and split together.
    """
    if tolerance == 0 or not rings:
        return rings
    closed = np.concatenate([part for ring in rings for part in (ring, ring[:1])]).astype(np.float64)
    stops = np.cumsum([len(ring) + 1 for ring in rings])
    firsts = np.r_[0, stops[:-1]]
    kept = np.zeros(len(closed), dtype=bool)
    kept[firsts] = kept[stops - 1] = True
    squared = ((closed - np.repeat(closed[firsts], np.diff(stops, prepend=0), axis=0)) ** 2).sum(1)
    kept[_largest(squared, firsts)[0]] = True
    pending = np.flatnonzero(~kept)
    while len(pending):
        ends, stretch = np.flatnonzero(kept), (np.cumsum(kept) - 1)[pending]
        distances = _distances(closed[pending], closed[ends[stretch]], closed[ends[stretch + 1]])
        starts = np.flatnonzero(np.diff(stretch, prepend=-1))
        worst, sizes = _largest(distances, starts)
        splits = distances[worst] > tolerance
        kept[pending[worst[splits]]] = True
        pending = pending[np.repeat(splits, sizes)]
        pending = pending[~kept[pending]]
    simplified = [ring[kept[first:][: len(ring)]] for ring, first in zip(rings, firsts, strict=True)]
    return [new if len(new) >= 3 else ring for new, ring in zip(simplified, rings, strict=True)]


def _largest(values: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the first of the largest values of each group is, groups beginning at `starts`; and the groups' sizes."""
    sizes = np.diff(starts, append=len(values))
    at = np.flatnonzero(values == np.repeat(np.maximum.reduceat(values, starts), sizes))
    return at[np.searchsorted(at, starts)], sizes


def _distances(points: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """From each point (N, 2) to its line from start to end (N, 2 each)."""
    along, offsets = ends - starts, points - starts
    length = (along**2).sum(1)
    share = np.clip((offsets * along).sum(1) / np.where(length == 0, 1, length), 0, 1)
    return np.hypot(*(offsets - share[:, None] * along).T)


def _nearest(ring: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """The vertices of two rings that are nearest to each other; of very long rings, of some of them."""
    step = max(1, round(np.sqrt(len(ring) * len(other) / _MAX_PAIRS)))
    apart = ((ring[::step, None].astype(np.float64) - other[None, ::step]) ** 2).sum(-1)
    first, second = np.unravel_index(np.argmin(apart), apart.shape)
    return int(first) * step, int(second) * step
