"""Small training images with known masks, for the tests of training and evaluation."""

import numpy as np
from PIL import Image


def shapes(count: int, side: int = 128, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images with a noisy ground and two or three bright, coloured discs and rectangles."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side]
    images = []
    for _ in range(count):
        image = rng.integers(0, 90, (side, side, 3)).astype(np.uint8)
        masks = []
        for slot in range(int(rng.integers(2, 4))):
            y, x = rng.integers(side // 5, side - side // 5, 2)
            radius = int(rng.integers(side // 10, side // 5))
            if slot % 2:
                mask = (abs(rows - y) < radius) & (abs(columns - x) < radius * 0.7)
            else:
                mask = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
            for earlier in masks:
                earlier &= ~mask
            image[mask] = rng.integers(120, 255, 3)
            masks.append(mask)
        images.append((image, np.stack([mask for mask in masks if mask.sum() > 100])))
    return images


def large_shapes(count: int, side: int = 128) -> list[tuple[np.ndarray, np.ndarray]]:
    """Images with one large disc or rectangle each, on noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side]
    images = []
    for number in range(count):
        y, x = rng.integers(side * 0.4, side * 0.6, 2)
        near = (rows - y) ** 2 + (columns - x) ** 2 < (0.3 * side) ** 2
        mask = (abs(rows - y) < 0.25 * side) & (abs(columns - x) < 0.35 * side) if number % 2 else near
        image = rng.integers(0, 90, (side, side, 3)).astype(np.uint8)
        image[mask] = rng.integers(120, 255, 3)
        images.append((image, mask[None]))
    return images


def write_pairs(folder, images) -> None:
    """Write images as HQSeg-44K does: `X.jpg` beside its masks `X_0.png`, `X_1.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (image, masks) in enumerate(images):
        Image.fromarray(image).save(folder / f"photo{number}.jpg", quality=95)
        for index, mask in enumerate(masks):
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"photo{number}_{index}.png")
