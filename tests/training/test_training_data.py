"""Batches: reproducible, and correctly labelled."""

import numpy as np
import pytest
import torch

from sam_hq.training.augmentation import Augmentation, augment
from sam_hq.training.batches import TrainingBatches
from sam_hq.training.prompts import error_points, noised_mask_logits
from training_data import shapes


def test_augmented_masks_stay_on_their_objects():
    for seed in range(10):
        image, masks = shapes(1, seed=seed)[0]
        pixels, labels, (height, width) = augment(image, masks, 64, np.random.default_rng(seed))
        assert max(height, width) == 64
        assert (labels[:, height:] == -100).all()
        assert (labels[:, :, width:] == -100).all()
        assert (labels[:, :height, :width] >= 0).all()
        assert (pixels[height:] == 0).all()
        union = (labels == 1).any(0)[:height, :width]
        inside, outside = pixels[:height, :width][union], pixels[:height, :width][~union]
        assert inside.max(-1).mean() > outside.max(-1).mean() + 20  # objects are the bright things


def test_batches_follow_from_seed_and_step_alone():
    images = shapes(5)
    first, second = (TrainingBatches(images, 8, 2, 3, 64, seed=4) for _ in range(2))
    for step in (5, 0, 7):
        one, two = first[step], second[step]
        plain = [key for key in one if not isinstance(one[key], torch.Tensor)]
        assert {key: one[key] for key in plain} == {key: two[key] for key in plain}
        assert all(torch.equal(one[key], two[key]) for key in one if key not in plain)
        assert one["labels"].shape == (2, 3, 64, 64)
        x, y = one["input_points"][0, 0, 0].long()
        assert one["labels"][0, 0, y, x] == 1
    assert not torch.equal(first[0]["pixel_values"], TrainingBatches(images, 8, 2, 3, 64, seed=5)[0]["pixel_values"])


def test_every_image_is_visited_once_an_epoch():
    whole = Augmentation(whole_images=True)
    batches = TrainingBatches(shapes(6), 100, batch_size=2, size=64, augmentation=whole, keyed=True)
    keys = [key for step in range(6) for key in batches[step]["image_keys"]]
    assert len(set(keys)) == 6
    assert sorted(keys[:6]) == sorted(keys[6:])
    assert keys[:6] != keys[6:]


def test_images_without_masks_are_named_as_the_fault():
    empty = [(np.zeros((64, 64, 3), np.uint8), np.zeros((0, 64, 64), bool))]
    with pytest.raises(ValueError, match="held no object"):
        TrainingBatches(empty, 1, 1, 1, 64)[0]
    with pytest.raises(ValueError, match="no training images"):
        TrainingBatches([], 1)


def test_clicks_and_noised_masks_follow_the_truth():
    labels = torch.zeros(2, 32, 32, dtype=torch.long)
    labels[0, 4:20, 4:20] = 1
    labels[1, 10:30, 10:30] = 1
    logits = torch.full((2, 8, 8), -5.0)
    logits[1] = 5.0
    points, kinds = error_points(logits, labels)
    assert kinds.tolist() == [1, 0]
    assert labels[0, int(points[0, 1]), int(points[0, 0])] == 1
    assert labels[1, int(points[1, 1]), int(points[1, 0])] == 0
    torch.manual_seed(0)
    noised = noised_mask_logits(labels, 16)
    assert noised.shape == (2, 16, 16)
    truth = torch.nn.functional.interpolate((labels == 1).float()[:, None], (16, 16))[:, 0] > 0
    assert ((noised > 0) == truth).float().mean() > 0.75
