"""Colours change as a whole: what was alike stays alike, and nothing moves."""

import numpy as np

from sam_hq.training.colour_changes import recoloured


def test_half_of_the_images_stay_and_the_others_change_by_a_rising_curve_for_each_channel():
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, -1)
    image = np.concatenate([ramp, ramp[:, ::-1]])
    image[..., 1] //= 2
    same, grey = 0, 0
    for seed in range(200):
        changed = recoloured(image, np.random.default_rng(seed))
        assert (changed.shape, changed.dtype) == (image.shape, image.dtype)
        assert (np.diff(changed[0].astype(int), axis=0) >= 0).all()
        assert (changed[1] == changed[0, ::-1]).all()
        same += np.array_equal(changed, image)
        grey += (changed == changed[..., :1]).all()
    assert 70 < same < 130
    assert 2 < grey < 30
