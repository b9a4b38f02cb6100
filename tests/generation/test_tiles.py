import numpy as np

from sam_hq.generation.tiles import stitched
from sam_hq_numpy.crop_grids import touches_crop_edge
from sam_hq_numpy.mask_candidates import MaskCandidates
from sam_hq_numpy.mask_rle import RunLengthMask, mask_boxes

SIZE = (200, 300)
LEFT, RIGHT = (0, 0, 180, 200), (120, 0, 300, 200)


def disc(x, y, radius):
    rows, columns = np.indices(SIZE)
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def seen(objects):
    """What a perfect model finds: of every object the part in the tile. `objects`: mask, tile, score."""
    masks, crop_boxes, is_cut = [], [], []
    for mask, (x0, y0, x1, y1), _ in objects:
        part = np.zeros(SIZE, bool)
        part[y0:y1, x0:x1] = mask[y0:y1, x0:x1]
        in_tile = mask_boxes([RunLengthMask.from_mask(part[y0:y1, x0:x1])])
        masks.append(RunLengthMask.from_mask(part))
        crop_boxes.append([x0, y0, x1, y1])
        is_cut.append(bool(touches_crop_edge(in_tile, (x0, y0, x1, y1), SIZE)[0]))
    return MaskCandidates(
        masks=masks,
        boxes=mask_boxes(masks),
        scores=np.array([score for *_, score in objects], dtype=np.float32),
        stability=np.ones(len(objects), dtype=np.float32),
        points=[[[float(index), 0.0]] for index in range(len(objects))],
        crop_boxes=np.array(crop_boxes),
        is_cut=np.array(is_cut),
    )


def test_an_object_across_the_border_becomes_whole():
    ball, small = disc(150, 100, 70), disc(60, 150, 10)
    joined = stitched(seen([(ball, LEFT, 0.9), (small, LEFT, 0.7), (ball, RIGHT, 0.5)]))
    assert len(joined) == 2
    np.testing.assert_array_equal(joined.masks[0].to_mask(), ball)
    np.testing.assert_array_equal(joined.masks[1].to_mask(), small)
    assert joined.boxes[0].tolist() == [80, 30, 220, 170]
    assert joined.points[0] == [[0.0, 0.0], [2.0, 0.0]]
    assert joined.crop_boxes.tolist() == [[0, 0, 300, 200], list(LEFT)]
    left, right = ball[:, :180].sum(), ball[:, 120:].sum()
    assert abs(joined.scores[0].item() - (0.9 * left + 0.5 * right) / (left + right)) < 1e-6


def test_objects_that_only_meet_in_the_overlap_stay_apart():
    large, other = disc(60, 100, 90), disc(240, 100, 90)  # both reach into the shared strip, side by side
    joined = stitched(seen([(large & ~other, LEFT, 0.9), (other, RIGHT, 0.9)]))
    assert len(joined) == 2


def test_whole_masks_of_two_tiles_are_left_to_suppression():
    inside = disc(150, 100, 9)
    joined = stitched(seen([(inside, LEFT, 0.9), (inside, RIGHT, 0.8)]))
    assert len(joined) == 2
    assert len(joined.without_duplicates(0.7)) == 1


def test_a_chain_over_many_tiles_is_one_object():
    bar = np.zeros(SIZE, bool)
    bar[90:110] = True
    tiles = [(x, 0, x + 100, 200) for x in (0, 50, 100, 150, 200)]
    joined = stitched(seen([(bar, tile, 0.9) for tile in tiles]))
    assert len(joined) == 1
    np.testing.assert_array_equal(joined.masks[0].to_mask(), bar)


def test_nothing_found_stays_nothing():
    assert len(stitched(MaskCandidates.joined([]))) == 0
