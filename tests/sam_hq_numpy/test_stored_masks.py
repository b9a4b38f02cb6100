"""Mask files of more than 16 bits: one object is read, the numbers of several are not taken for one."""

import numpy as np
import pytest
from PIL import Image

from sam_hq_numpy.stored_masks import as_mask, mask_fault, read_mask

OBJECT = np.zeros((40, 40), dtype=int)
OBJECT[10:30, 10:30] = 1
TWO = OBJECT.copy()
TWO[15:20, 15:20] = 2
SOFT = OBJECT.astype(float)
SOFT[10, 10:30] = 0.5


def stored(pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "mask.tif")
    return read_mask(tmp_path / "mask.tif")


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
@pytest.mark.parametrize("number", [300, 20_000, 65_535, 65_700, 2**23])
def test_numbers_of_several_objects_are_no_mask(dtype, number, tmp_path):
    assert mask_fault(stored((TWO * number).astype(dtype), tmp_path), TWO.shape) == "mask is not binary"
    alone = stored((OBJECT * number).astype(dtype), tmp_path)
    assert mask_fault(alone, OBJECT.shape) is None
    np.testing.assert_array_equal(as_mask(alone), OBJECT == 1)


@pytest.mark.parametrize(
    ("dtype", "white"), [(np.uint16, 65_535), (np.int32, 65_535), (np.float32, 255), (np.float32, 1)]
)
def test_soft_edges_are_cut_at_half(dtype, white, tmp_path):
    raw = stored((SOFT * white).astype(dtype), tmp_path)
    assert mask_fault(raw, SOFT.shape) is None
    np.testing.assert_array_equal(as_mask(raw)[11:30], OBJECT[11:30] == 1)
