"""Pictures beside the records: drawn in strips, they are those of the whole image."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from sam_hq.images.large_photos import PhotoRegions
from sam_hq.jobs.outputs import JobOutputs
from sam_hq_numpy.formats.label_maps import draw_label_map, label_map
from sam_hq_numpy.formats.objects import ImageObject
from sam_hq_numpy.mask_rle import RunLengthMask


def discs(height, width):
    rows, columns = np.mgrid[:height, :width]
    centres = [(0.2, 0.5, 0.1), (0.5, 0.4, 0.3), (0.55, 0.5, 0.1), (0.9, 0.9, 0.2)]
    masks = [np.hypot(rows - y * height, columns - x * width) < size * height for y, x, size in centres]
    return [RunLengthMask.from_mask(mask) for mask in masks]


@pytest.mark.parametrize("height", [1, 511, 512, 513, 1025])
def test_an_overlay_in_strips_is_that_of_the_whole_image(tmp_path, height):
    pixels = np.random.default_rng(0).integers(0, 255, (height, 40, 3), dtype=np.uint8)
    masks = discs(height, 40)
    JobOutputs(formats=("overlay",)).write(
        tmp_path,
        "one",
        tmp_path / "one.png",
        PhotoRegions(Image.fromarray(pixels)),
        [ImageObject(mask, 1) for mask in masks],
        {1: "it"},
    )
    whole = Image.fromarray(draw_label_map(pixels, label_map(masks, (height, 40))))
    whole.save(tmp_path / "expected.jpg", quality=92)
    assert (tmp_path / "overlays" / "one.jpg").read_bytes() == (tmp_path / "expected.jpg").read_bytes()


def test_no_array_of_an_overlay_is_as_large_as_its_image(tmp_path):
    photo = Image.new("RGB", (1000, 8000), (90, 120, 60))
    path = tmp_path / "one.png"
    photo.save(path)
    regions, masks = PhotoRegions(path), discs(8000, 1000)
    tracemalloc.start()
    JobOutputs(formats=("overlay",)).write(
        tmp_path, "one", path, regions, [ImageObject(mask, 1) for mask in masks], {1: "it"}
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1000 * 8000 * 3  # the label map is two thirds of it
