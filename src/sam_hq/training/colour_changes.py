"""Random changes of a training image's colours, which leave its masks alone."""

import io

import numpy as np
from PIL import Image, ImageFilter


def recoloured(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast and tint of an image (H, W, 3) uint8, seldom to grey; half of the images stay."""
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


def damaged(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur an image (H, W, 3) uint8, add noise, or compress it as JPEG: one of the three."""
    kind = rng.integers(3)
    if kind == 0:
        blur = ImageFilter.GaussianBlur(rng.uniform(0.4, 1.6))
        return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).filter(blur))
    if kind == 1:
        noise = rng.normal(0, rng.uniform(3, 14), pixels.shape)
        return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)
    with io.BytesIO() as file:
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=int(rng.integers(25, 86)))
        with Image.open(file) as compressed:
            return np.asarray(compressed.convert("RGB"))
