"""Random crops, changes of scale, flips and colour changes of a training image together with its masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..model.losses import IGNORED_LABEL
from .colour_changes import damaged, recoloured

MIN_MASK_AREA = 40  # pixels at the size of training
LARGEST_MASK_SHARE = 0.95


@dataclass(frozen=True)
class Augmentation:
    """How training images are changed.

    Args:
        smallest_crop: Shortest side of a crop as a share of the image's; 1 takes no crops.
        scale_jitter: Instead of crops, the smallest and the largest longer side as shares of the square's: what is
            larger than the square is cropped, what is smaller is padded.
        whole_images: Images as they are: neither cropped nor scaled, mirrored or changed in colour.
        damage_share: Share of the images that are blurred, made noisy, or compressed as JPEG.
    """

    smallest_crop: float = 0.55
    scale_jitter: tuple[float, float] | None = None
    whole_images: bool = False
    damage_share: float = 0.0


@dataclass(frozen=True)
class Placement:
    """Which part of an image is taken, and how large it becomes.

    Attributes:
        box: (left, top, right, bottom) in the image's pixels.
        width: Width of the result in pixels.
        height: Its height.
    """

    box: tuple[float, float, float, float]
    width: int
    height: int


def augment(
    image: np.ndarray, masks: np.ndarray, size: int, rng: np.random.Generator, how: Augmentation | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Crop, resize, mirror, change colours, and pad to a square at the right and the bottom.

    Args:
        image: (H, W, 3) uint8.
        masks: (n, H, W) bool.
        size: Side of the square in pixels.
        rng: Source of randomness.
        how: What is done; None for the default.

    Returns:
        Image (size, size, 3) uint8 padded with zeros; masks (m, size, size) int8 with 1, 0, and -100 in the padding,
        those dropped that have fewer than 40 pixels or fill nearly everything, m may be 0; and the unpadded
        (height, width).
    """
    how = how or Augmentation()
    place = _placement(image.shape[1], image.shape[0], size, rng, how)
    shape = (place.width, place.height)
    mirrored = not how.whole_images and rng.random() < 0.5

    pixels = np.zeros((size, size, 3), np.uint8)
    colours = np.asarray(Image.fromarray(image).resize(shape, Image.Resampling.BILINEAR, place.box))
    colours = colours if how.whole_images else recoloured(colours, rng)
    if how.damage_share and rng.random() < how.damage_share:
        colours = damaged(colours, rng)
    pixels[: place.height, : place.width] = colours[:, ::-1] if mirrored else colours

    labels = []
    for mask in masks:
        picture = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))  # a true byte may be 255 already
        resized = picture.resize(shape, Image.Resampling.BILINEAR, place.box)
        inside = np.asarray(resized) > 127
        if inside.sum() >= MIN_MASK_AREA and inside.mean() < LARGEST_MASK_SHARE:
            label = np.full((size, size), IGNORED_LABEL, np.int8)
            label[: place.height, : place.width] = inside[:, ::-1] if mirrored else inside
            labels.append(label)
    kept = np.stack(labels) if labels else np.zeros((0, size, size), np.int8)
    return pixels, kept, (place.height, place.width)


def _placement(width: int, height: int, size: int, rng: np.random.Generator, how: Augmentation) -> Placement:
    if how.whole_images:
        return _fitted((0, 0, width, height), size)
    if how.scale_jitter is not None:
        return _jittered_placement(width, height, size, rng, how.scale_jitter)
    left, top, wide, high = _crop_window(width, height, rng, how.smallest_crop)
    return _fitted((left, top, left + wide, top + high), size)


def _fitted(box: tuple[float, float, float, float], size: int) -> Placement:
    """With the longer side as long as the square's."""
    width, height = box[2] - box[0], box[3] - box[1]
    scale = size / max(width, height)
    return Placement(box, max(1, round(width * scale)), max(1, round(height * scale)))


def _jittered_placement(
    width: int, height: int, size: int, rng: np.random.Generator, jitter: tuple[float, float]
) -> Placement:
    """The whole image at a random scale, and of that a random window no larger than the square.

    Source: `LargeScaleJitter` of the authors' training script. Differs: the padding is no background to learn.
    """
    scale = rng.uniform(*jitter) * size / max(width, height)
    scaled = max(1, round(width * scale)), max(1, round(height * scale))
    shown = min(scaled[0], size), min(scaled[1], size)
    left, top = (int(rng.integers(full - part + 1)) for full, part in zip(scaled, shown, strict=True))
    across, down = width / scaled[0], height / scaled[1]  # pixels of the image per pixel of the scaled one
    box = (left * across, top * down, min(width, (left + shown[0]) * across), min(height, (top + shown[1]) * down))
    return Placement(box, *shown)


def _crop_window(
    image_width: int, image_height: int, rng: np.random.Generator, smallest: float
) -> tuple[float, float, float, float]:
    if smallest >= 1 or rng.random() < 0.2:
        return 0, 0, image_width, image_height
    longer = rng.uniform(smallest, 1.0)
    shorter = max(smallest * 0.75, longer * rng.uniform(0.55, 1.0))
    shares = (longer, shorter) if rng.random() < 0.65 else (shorter, longer)
    width, height = image_width * shares[0], image_height * shares[1]
    return rng.uniform(0, image_width - width), rng.uniform(0, image_height - height), width, height
