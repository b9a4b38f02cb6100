"""Masks that the border of a tile has cut, put together again."""

from dataclasses import replace

import numpy as np

from sam_hq_numpy.mask_candidates import MaskCandidates
from sam_hq_numpy.mask_rle import mask_boxes

# Two masks are of one object where they cover the same pixels of what their tiles share, up to this IoU.
_SAME_OBJECT_IOU = 0.7


def stitched(candidates: MaskCandidates) -> MaskCandidates:
    """Join masks of neighbouring tiles that show one object, at least one of them cut by the border of its tile.

    Args:
        candidates: Masks in the frame of the photo, with the tile of each as `crop_boxes`.

    Returns:
        The masks that nothing was joined to as they were, and for every object its joined mask: the union, with all
        points, the scores' mean weighted by area, and the smallest box around the tiles as its `crop_boxes`.
    """
    if not len(candidates):
        return candidates
    groups = _groups(len(candidates), _same_objects(candidates))
    areas = np.array([mask.area for mask in candidates.masks], dtype=np.float32)
    masks, points, crop_boxes, scores, stability = [], [], [], [], []
    for members in groups:
        first, *others = (candidates.masks[index] for index in members)
        masks.append(first.joined(others) if others else first)
        points.append([point for index in members for point in candidates.points[index]])
        boxes = candidates.crop_boxes[members]
        crop_boxes.append(np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)]))
        weights = areas[members].clip(min=1)
        scores.append((candidates.scores[members] * weights).sum() / weights.sum())
        stability.append((candidates.stability[members] * weights).sum() / weights.sum())
    return replace(
        candidates,
        masks=masks,
        boxes=mask_boxes(masks),
        scores=np.stack(scores),
        stability=np.stack(stability),
        points=points,
        crop_boxes=np.stack(crop_boxes),
        is_cut=candidates.is_cut[[members[0] for members in groups]],
    )


def _same_objects(candidates: MaskCandidates) -> list[tuple[int, int]]:
    """Pairs of masks that show one object."""
    tiles: dict[tuple[int, ...], list[int]] = {}
    for index, box in enumerate(candidates.crop_boxes.tolist()):
        tiles.setdefault(tuple(box), []).append(index)
    pairs = []
    listed = list(tiles.items())
    for position, (tile, mine) in enumerate(listed):
        for other_tile, theirs in listed[position + 1 :]:
            shared = _intersection(tile, other_tile)
            if shared is not None:
                pairs.extend(_agreeing(candidates, shared, mine, theirs))
    return pairs


def _intersection(tile: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    x0, y0, x1, y1 = max(tile[0], other[0]), max(tile[1], other[1]), min(tile[2], other[2]), min(tile[3], other[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _agreeing(
    candidates: MaskCandidates, shared: tuple[int, int, int, int], mine: list[int], theirs: list[int]
) -> list[tuple[int, int]]:
    """Pairs of a mask of one tile and a mask of the other that agree on what the tiles share."""
    x0, y0, x1, y1 = shared
    boxes = candidates.boxes
    reaching = (boxes[:, 0] < x1) & (boxes[:, 2] >= x0) & (boxes[:, 1] < y1) & (boxes[:, 3] >= y0)
    parts = {index: candidates.masks[index].window(shared) for index in (*mine, *theirs) if reaching[index]}
    areas = {index: np.count_nonzero(part) for index, part in parts.items()}
    mine, theirs = ([index for index in side if areas.get(index)] for side in (mine, theirs))
    first, second = (np.array([areas[index] for index in side], dtype=np.float64) for side in (mine, theirs))
    # The IoU is at most the ratio of the areas, which rules most pairs out without looking at their pixels.
    smaller, larger = np.minimum.outer(first, second), np.maximum.outer(first, second)
    pairs = []
    for row, column in np.argwhere(smaller >= _SAME_OBJECT_IOU * larger):
        one, other = mine[row], theirs[column]
        if candidates.is_cut[one] or candidates.is_cut[other]:
            common = np.count_nonzero(parts[one] & parts[other])
            if common >= _SAME_OBJECT_IOU * (areas[one] + areas[other] - common):
                pairs.append((one, other))
    return pairs


def _groups(count: int, pairs: list[tuple[int, int]]) -> list[list[int]]:
    """The connected groups of `count` things, each in order, the groups in the order of their first members."""
    parent = list(range(count))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for one, other in pairs:
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    groups: dict[int, list[int]] = {}
    for index in range(count):
        groups.setdefault(root(index), []).append(index)
    return list(groups.values())
