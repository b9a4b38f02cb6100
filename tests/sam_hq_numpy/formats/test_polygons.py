"""Outlines against brute force, scipy's labelling and pycocotools."""

import numpy as np
import pytest
from pycocotools import mask as coco_masks
from scipy.ndimage import gaussian_filter, label

from sam_hq_numpy.formats.polygons import MIN_IOU, centre_outline, fill, one_ring, outline, trace
from sam_hq_numpy.mask_rle import RunLengthMask


def random_masks():
    random = np.random.default_rng(0)
    for index in range(24):
        size = random.integers(1, 30, 2)
        noise = random.random(size)
        yield noise < random.random() if index % 2 else gaussian_filter(noise, 1.5) > 0.5


MASKS = [*random_masks(), np.zeros((3, 4), bool), np.ones((3, 4), bool), np.eye(5, dtype=bool), np.eye(5) == 0]


def rings_of(polygons):
    return [ring for polygon in polygons for ring in polygon.rings]


@pytest.mark.parametrize("mask", MASKS)
def test_exact_outlines_are_the_mask_its_pieces_and_its_holes(mask):
    polygons = trace(mask)
    np.testing.assert_array_equal(fill(rings_of(polygons), mask.shape), mask)
    assert len(polygons) == label(mask)[1]
    background = label(np.pad(~mask, 1, constant_values=True), np.ones((3, 3)))[1]
    assert sum(len(polygon.holes) for polygon in polygons) == background - 1
    for polygon in polygons:
        piece, shell = fill(polygon.rings, mask.shape), fill([polygon.shell], mask.shape)
        assert not (piece & ~mask).any()
        assert label(piece)[1] == 1
        assert not any((fill([hole], mask.shape) & ~shell).any() for hole in polygon.holes)


@pytest.mark.parametrize("mask", [mask for mask in MASKS if mask.any()])
def test_one_ring_is_read_back_by_pycocotools_with_holes_and_pieces(mask):
    height, width = mask.shape
    of_pieces = [one_ring(polygon.rings).ravel().astype(float).tolist() for polygon in trace(mask)]
    read = coco_masks.decode(coco_masks.merge(coco_masks.frPyObjects(of_pieces, height, width)))
    np.testing.assert_array_equal(read.astype(bool), mask)
    np.testing.assert_array_equal(fill([one_ring(rings_of(trace(mask)))], mask.shape), mask)


@pytest.mark.parametrize("tolerance", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("mask", MASKS)
def test_simplified_outlines_stay_within_the_tolerance_and_say_their_iou(mask, tolerance):
    framed = np.pad(mask, ((2, 40), (30, 1)))
    traced = outline(RunLengthMask.from_mask(framed), tolerance)
    filled = fill(rings_of(traced.polygons), framed.shape)
    iou = (filled & framed).sum() / (filled | framed).sum() if mask.any() else 1
    assert traced.iou == pytest.approx(iou)
    assert iou >= MIN_IOU
    assert traced.tolerance <= tolerance
    assert len(traced.polygons) == label(framed)[1]
    exact = np.concatenate([*rings_of(trace(framed)), np.zeros((0, 2))])
    kept = np.concatenate([*rings_of(traced.polygons), np.zeros((0, 2))])
    assert {tuple(vertex) for vertex in kept} <= {tuple(vertex) for vertex in exact}
    assert len(kept) <= len(exact)


def test_no_vertex_is_further_away_than_the_tolerance():
    ys, xs = np.mgrid[:200, :200]
    mask = (np.hypot(ys - 100, xs - 90) < 80) & ~(np.hypot(ys - 100, xs - 90) < 30)
    (exact,), (simplified,) = trace(mask), outline(RunLengthMask.from_mask(mask), 1.0).polygons
    for before, after in zip(exact.rings, simplified.rings, strict=True):
        assert len(after) < len(before) / 4
        ends = np.roll(after, -1, axis=0)
        for vertex in before:
            share = np.einsum("ij,ij->i", vertex - after, ends - after) / ((ends - after) ** 2).sum(1)
            near = after + np.clip(share, 0, 1)[:, None] * (ends - after)
            assert np.hypot(*(near - vertex).T).min() <= 1 + 1e-9


@pytest.mark.parametrize("mask", MASKS)
def test_centre_outlines_run_over_border_pixels(mask):
    for polygon in centre_outline(RunLengthMask.from_mask(mask), 0):
        for ring in polygon.rings:
            assert mask[ring[:, 1], ring[:, 0]].all()
            assert (np.abs(ring - np.roll(ring, -1, axis=0)).min(1) == 0).all()


@pytest.mark.parametrize("tolerance", [-1, float("nan"), float("inf")])
def test_impossible_tolerances_are_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance"):
        outline(RunLengthMask.from_mask(np.ones((2, 2))), tolerance)
