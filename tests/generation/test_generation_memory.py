"""Mask generation's memory grows with the group of masks, not with the points, the photo's masks or its tiles."""

import numpy as np
import pytest
from PIL import Image

from byte_counter import ByteCounter
from conftest import PHOTOS, small_config, small_model
from sam_hq.generation import crop_search, stability
from sam_hq.generation.generator import SamHQMaskGenerator
from sam_hq.hub.conversion import processor_for
from sam_hq.model.worker_threads import in_threads


@pytest.fixture(autouse=True)
def one_thread(torch_threads):
    """The counter sees the work of the calling thread alone, which is all of it where torch has one."""
    torch_threads(1)


@pytest.fixture(scope="module")
def generator():
    everything = {"pred_iou_thresh": 0, "stability_score_thresh": 0, "crops_nms_thresh": 1}
    return SamHQMaskGenerator(small_model(), processor_for(small_config()).image_processor, **everything)


def wide_photo(side):
    return np.asarray(Image.open(PHOTOS / "lemur.png").convert("RGB").resize((side, side)))


def peak(generator, side, **options):
    picture = wide_photo(side)
    with ByteCounter() as counter:
        found = generator.generate(picture, output_mode="coco_rle", **options)
    return counter.peak, len(found)


def test_it_does_not_grow_with_the_points(generator):
    few, few_found = peak(generator, 512, points_per_crop=3, points_per_batch=9)
    many, many_found = peak(generator, 512, points_per_crop=9, points_per_batch=9)
    assert many_found > 4 * few_found  # all are kept, as run lengths
    assert many < 1.1 * few


def test_it_does_not_grow_with_the_points_in_threads_either(generator, monkeypatch, torch_threads):
    monkeypatch.setattr("sam_hq.model.cpu_decoder.PIXEL_FLOATS_AT_ONCE", 1)  # one object in a part, as at full size
    torch_threads(2)
    peaks, counters = [], []

    def counted(function, items):
        def call(item):
            with counters[-1].in_other_thread():
                return function(item)

        return in_threads(call, items)

    monkeypatch.setattr("sam_hq.generation.crop_search.in_threads", counted)
    for side in (6, 6, 6, 6, 18):  # how far two threads overlap is chance: the few points have four tries
        counters.append(ByteCounter())
        with counters[-1]:
            generator.generate(wide_photo(512), output_mode="coco_rle", points_per_crop=side, points_per_batch=36)
        peaks.append(counters[-1].peak)
    assert counters[0].largest > 0
    assert peaks[-1] < 1.2 * max(peaks[:-1])


@pytest.mark.parametrize("side", [512, 1024])
def test_with_tiles_it_grows_by_the_decoded_image_alone(generator, side):
    one_tile, _ = peak(generator, 256, points_per_crop=3)
    tiled, _ = peak(generator, side, points_per_crop=3, tile_size=256)
    assert tiled < 1.1 * one_tile + 4 * side**2  # Pillow keeps 4 bytes a pixel


def test_a_larger_group_is_what_it_grows_with_where_there_are_groups(generator, monkeypatch):
    monkeypatch.setattr(crop_search.CropEmbedding, "on_cpu", False)
    peaks = []
    for floats in (2**18, 2**22):
        monkeypatch.setattr(stability, "GROUP_FLOATS", floats)
        peaks.append(peak(generator, 512, points_per_crop=4)[0])
    assert peaks[1] > 2 * peaks[0]
