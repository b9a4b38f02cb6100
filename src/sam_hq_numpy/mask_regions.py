"""Holes and specks of masks: connected regions found and removed on run lengths, so that a 4K mask takes milliseconds.

Source: `remove_small_regions` of the authors' `utils/amg.py` for the definitions. Differs: no OpenCV.
"""

import numpy as np

from .mask_rle import RunLengthMask, cut_at_columns


def fill_small_holes(mask: RunLengthMask, min_area: float) -> RunLengthMask:
    """Fill every region outside the mask that is smaller than `min_area`.

    Args:
        mask: The mask.
        min_area: Pixels; a region outside with fewer is filled, also one at the border of the photo. Pixels that
            touch by a side or a corner are one region.

    Returns:
        The mask without small holes; the same object if it had none.
    """
    starts, ends = _gaps(mask)
    region, areas = _connected_runs(starts, ends, mask.height)
    filled = (areas < min_area)[region]
    if not filled.any():
        return mask
    inside_starts, inside_ends = mask.column_runs()
    all_starts = np.concatenate([inside_starts, starts[filled]])
    order = np.argsort(all_starts)
    all_ends = np.concatenate([inside_ends, ends[filled]])
    return RunLengthMask.from_runs(mask.height, mask.width, all_starts[order], all_ends[order])


def remove_small_specks(mask: RunLengthMask, min_area: float) -> RunLengthMask:
    """Remove every region of the mask that is smaller than `min_area`; if all are, the largest stays.

    Args:
        mask: The mask.
        min_area: Pixels; a smaller region is removed. Pixels that touch by a side or a corner are one region.

    Returns:
        The mask without small regions; the same object if it had none.
    """
    starts, ends = mask.column_runs()
    region, areas = _connected_runs(starts, ends, mask.height)
    kept_regions = areas >= min_area
    if kept_regions.all():
        return mask
    if not kept_regions.any():
        kept_regions[np.argmax(areas)] = True
    kept = kept_regions[region]
    return RunLengthMask.from_runs(mask.height, mask.width, starts[kept], ends[kept])


def connected_parts(mask: RunLengthMask, min_area: float = 1) -> list[RunLengthMask]:
    """Cut a mask into its connected regions.

    Args:
        mask: The mask.
        min_area: Pixels; regions with fewer are removed. Pixels that touch by a side or a corner are one region.

    Returns:
        A mask per region.
    """
    starts, ends = mask.column_runs()
    region, areas = _connected_runs(starts, ends, mask.height)
    wanted = [region == number for number in np.flatnonzero(areas >= min_area)]
    return [RunLengthMask.from_runs(mask.height, mask.width, starts[own], ends[own]) for own in wanted]


def _gaps(mask: RunLengthMask) -> tuple[np.ndarray, np.ndarray]:
    """The runs outside the mask, cut at the feet of the columns."""
    bounds = np.concatenate([[0], np.cumsum(mask.counts)])
    starts, ends = bounds[:-1:2], bounds[1::2]
    kept = starts < ends
    return cut_at_columns(starts[kept], ends[kept], mask.height)


def _connected_runs(starts: np.ndarray, ends: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Group runs of columns into regions whose pixels touch by a side or a corner.

    Args:
        starts: `(R,)` positions counted down the columns, each run within one column.
        ends: `(R,)`, exclusive.
        height: Length of a column.

    Returns:
        The region `(R,)` of every run, and the area of every region.
    """
    # Columns set two apart, so that a run touches nothing beyond the next column.
    gap = 2 * (starts // height)
    upper, lower = starts + gap, ends + gap
    stride = height + 2
    # Runs of the next column from the first that does not end above to the last that does not start below.
    first = np.searchsorted(lower, upper + stride, side="left")
    behind = np.searchsorted(upper, lower + stride, side="right")
    touching = np.maximum(behind - first, 0)
    left = np.repeat(np.arange(len(starts)), touching)
    right = np.arange(len(left)) - np.repeat(np.cumsum(touching) - touching, touching) + first[left]
    parents = _union(len(starts), left, right)
    _, region = np.unique(parents, return_inverse=True)
    return region, np.bincount(region, weights=ends - starts).astype(np.int64)


def _union(n_nodes: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The smallest node each of `n_nodes` is joined to by the edges `left[i]`-`right[i]`."""
    parents = np.arange(n_nodes)
    while left.size:
        # Hook the larger root of every edge to the smaller one (of several, any: all lie lower), then flatten.
        parents[np.maximum(left, right)] = np.minimum(left, right)
        while not np.array_equal(grandparents := parents[parents], parents):
            parents = grandparents
        left, right = parents[left], parents[right]
        apart = left != right
        left, right = left[apart], right[apart]
    return parents
