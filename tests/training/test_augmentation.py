"""Crops, changes of scale and padding: image and masks move together, and the padding is no background."""

import numpy as np
import pytest
from PIL import Image

from sam_hq.training import augmentation
from sam_hq.training.augmentation import Augmentation, augment
from sam_hq.training.batches import TrainingBatches
from training_data import shapes

JITTER = Augmentation(scale_jitter=(0.1, 2.0))
SIDE = 64


@pytest.fixture
def plain_colours(monkeypatch):
    monkeypatch.setattr(augmentation, "recoloured", lambda pixels, rng: pixels)


def a_mask(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return ((rows - 0.4 * height) / (0.3 * height)) ** 2 + ((columns - 0.6 * width) / (0.25 * width)) ** 2 < 1


def jittered(image: np.ndarray, seed: int) -> tuple[np.ndarray, int, int]:
    """The definition: the whole image at the drawn scale, a window of it at the drawn place, mirrored or not."""
    rng = np.random.default_rng(seed)
    height, width = image.shape[:2]
    scale = rng.uniform(0.1, 2.0) * SIDE / max(height, width)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    whole = np.asarray(Image.fromarray(image).resize((wide, high), Image.Resampling.BILINEAR))
    left, top = int(rng.integers(max(wide - SIDE, 0) + 1)), int(rng.integers(max(high - SIDE, 0) + 1))
    window = whole[top : top + SIDE, left : left + SIDE]
    return (window[:, ::-1] if rng.random() < 0.5 else window), wide, high


@pytest.mark.usefixtures("plain_colours")
@pytest.mark.parametrize(("height", "width"), [(90, 130), (130, 90), (64, 64), (40, 33)])
def test_jitter_is_the_whole_image_scaled_then_cut_and_padded(height, width):
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)
    mask = a_mask(height, width)
    sizes = set()
    for seed in range(40):
        pixels, labels, (high, wide) = augment(image, mask[None], SIDE, np.random.default_rng(seed), JITTER)
        window, full_width, full_height = jittered(image, seed)
        shown = jittered(mask.astype(np.uint8) * 255, seed)[0]
        expected, clear = shown > 127, abs(shown - 127.5) > 2.5
        assert (high, wide) == window.shape[:2] == (min(SIDE, full_height), min(SIDE, full_width))
        assert (
            np.abs(pixels[:high, :wide].astype(int) - window.astype(int)).max() <= 2
        )  # a rounding in either direction
        assert not pixels[high:].any()
        assert not pixels[:, wide:].any()
        sizes.add(max(full_width, full_height) > SIDE)
        if len(labels):
            assert ((labels[0, :high, :wide] == 1) == expected)[clear].all()
            assert (labels[0, high:] == -100).all()
            assert (labels[0, :, wide:] == -100).all()
            assert (labels[0, :high, :wide] >= 0).all()
        else:
            assert (expected & clear).sum() < 40 or (expected | ~clear).mean() >= 0.95
    assert sizes == {True, False}  # both cut and padded ones were there


@pytest.mark.usefixtures("plain_colours")
@pytest.mark.parametrize("how", [JITTER, Augmentation(), Augmentation(whole_images=True)])
def test_image_and_mask_take_the_same_way(how):
    mask = a_mask(100, 150)
    image = np.repeat(mask[..., None], 3, -1).astype(np.uint8) * 255
    seen = 0
    for seed in range(30):
        pixels, labels, (height, width) = augment(image, mask[None], SIDE, np.random.default_rng(seed), how)
        for label in labels:
            assert np.array_equal(label[:height, :width] == 1, pixels[:height, :width, 0] > 127)
            seen += 1
    assert seen > 15


def test_scales_span_the_range():
    image, masks = np.zeros((60, 120, 3), np.uint8), a_mask(60, 120)[None]
    half = Augmentation(scale_jitter=(0.5, 0.5))
    assert augment(image, masks, SIDE, np.random.default_rng(0), half)[2] == (16, 32)
    widths = [augment(image, masks, SIDE, np.random.default_rng(seed), JITTER)[2][1] for seed in range(100)]
    assert min(widths) < 0.2 * SIDE
    assert np.mean(np.array(widths) == SIDE) == pytest.approx(1 / 1.9, abs=0.15)


def test_whole_images_are_always_the_same():
    image, masks = shapes(1)[0]
    how = Augmentation(whole_images=True)
    first, other = (augment(image, masks, SIDE, np.random.default_rng(seed), how) for seed in (0, 1))
    np.testing.assert_array_equal(first[0], other[0])
    np.testing.assert_array_equal(first[1], other[1])


def test_jittered_batches_follow_from_seed_and_step_and_leave_no_object_out():
    first, second = (TrainingBatches(shapes(4), 9, 2, 2, SIDE, seed=3, augmentation=JITTER) for _ in range(2))
    for step in (4, 0, 8):
        one, two = first[step], second[step]
        assert one["pixel_values"].equal(two["pixel_values"])
        assert one["labels"].equal(two["labels"])
        assert ((one["labels"] == 1).sum((2, 3)) >= 40).all()
        padding = (one["labels"] == -100).all(1)
        assert (one["pixel_values"].abs().sum(1)[padding] == 0).all()


def test_damage_changes_pixels_and_neither_masks_nor_padding():
    image, masks = shapes(1)[0]
    changed = 0
    for seed in range(12):
        plain = augment(image, masks, SIDE, np.random.default_rng(seed), Augmentation(smallest_crop=1))
        how = Augmentation(smallest_crop=1, damage_share=1.0)
        pixels, labels, size = augment(image, masks, SIDE, np.random.default_rng(seed), how)
        assert (labels == plain[1]).all()
        assert size == plain[2]
        distance = np.abs(pixels.astype(int) - plain[0].astype(int)).mean()
        assert distance < 25
        changed += distance > 0.5
    assert changed == 12
