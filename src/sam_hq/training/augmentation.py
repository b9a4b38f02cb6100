"""Random crops, flips and colour changes of a training image together with its masks."""

from __future__ import annotations

import numpy as np
from PIL import Image

MIN_MASK_AREA = 40  # pixels at the size of training
IGNORED_LABEL = -100


def augment(
    image: np.ndarray,
    masks: np.ndarray,
    size: int,
    rng: np.random.Generator,
    smallest_crop: float = 0.55,
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Crop, resize so that the longer side is `size`, mirror, change colours, and pad to a square.

    Args:
        image: (H, W, 3) uint8.
        masks: (n, H, W) bool.
        size: Side of the square in pixels.
        rng: Source of randomness.
        smallest_crop: Shortest side of a crop as a share of the image's; 1 keeps the whole image.

    Returns:
        Image (size, size, 3) uint8 padded with zeros; masks (m, size, size) int8 with 1, 0, and -100 in the padding,
        those that the crop left (almost) nothing of dropped, m may be 0; and the unpadded (height, width).
    """
    left, top, width, height = _crop_window(image.shape[1], image.shape[0], rng, smallest_crop)
    scale = size / max(width, height)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    box = (left, top, left + width, top + height)
    mirrored = rng.random() < 0.5

    picture = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR, box)
    pixels = np.zeros((size, size, 3), np.uint8)
    colours = _recoloured(np.asarray(picture), rng)
    pixels[:new_height, :new_width] = colours[:, ::-1] if mirrored else colours

    labels = []
    for mask in masks:
        resized = Image.fromarray(mask.view(np.uint8) * 255).resize(
            (new_width, new_height), Image.Resampling.BILINEAR, box
        )
        inside = np.asarray(resized) > 127
        if inside.sum() >= MIN_MASK_AREA and inside.mean() < 0.95:
            label = np.full((size, size), IGNORED_LABEL, np.int8)
            label[:new_height, :new_width] = inside[:, ::-1] if mirrored else inside
            labels.append(label)
    kept = np.stack(labels) if labels else np.zeros((0, size, size), np.int8)
    return pixels, kept, (new_height, new_width)


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


def _recoloured(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.06:
        grey = pixels.mean(-1, keepdims=True).astype(np.uint8)
        return np.repeat(grey, 3, axis=-1)
    if rng.random() < 0.5:
        return pixels
    levels = np.arange(256, dtype=np.float32)
    gain, offset = np.exp(rng.normal(0, 0.15)), rng.normal(0, 12)
    tables = [
        np.clip((levels - 128) * gain * t + 128 + offset, 0, 255).astype(np.uint8) for t in rng.normal(1, 0.05, 3)
    ]
    return np.stack([table[pixels[..., channel]] for channel, table in enumerate(tables)], -1)
