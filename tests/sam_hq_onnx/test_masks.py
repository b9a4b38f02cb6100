"""The way of masks to photo size in numpy, held against torch's."""

import numpy as np
import pytest

from sam_hq.generation.upscaling import UpscalingWeights
from sam_hq_numpy.frame_sizes import resized_size
from sam_hq_onnx.masks import PhotoFrame


@pytest.mark.parametrize("photo_size", [(90, 60), (61, 97), (300, 301), (500, 77), (1, 3), (128, 128), (2000, 1333)])
@pytest.mark.parametrize(("mask_size", "image_size"), [(32, 128), (256, 1024)])
def test_both_interpolate_alike(photo_size, mask_size, image_size):
    reshaped = resized_size(photo_size, image_size)
    here = PhotoFrame(photo_size, reshaped, image_size, mask_size)
    there = UpscalingWeights((mask_size, mask_size), (image_size, image_size), reshaped, photo_size)
    for ours, torchs in ((here.rows, there.rows), (here.columns, there.columns)):
        np.testing.assert_allclose(ours, torchs.weights.numpy(), atol=1e-4)
        np.testing.assert_allclose(ours.sum(1), 1, atol=1e-6)
