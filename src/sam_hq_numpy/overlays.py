"""Masks, boxes and points drawn over a photo with Pillow alone, for the command line.

Frames: everything is in pixels of the photo, x to the right, y down.
"""

import colorsys
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

POSITIVE = (46, 204, 64)
NEGATIVE = (255, 65, 54)

# The hue moves by the golden ratio: neighbours in the list differ strongly, and colour i never changes.
_HUE_STEP = (5**0.5 - 1) / 2


def object_color(index: int) -> tuple[int, int, int]:
    """Return the RGB colour of the object `index`: the same in every picture.

    Args:
        index: 0 or more.
    """
    hue = (0.58 + index * _HUE_STEP) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_masks(
    photo: Image.Image,
    masks: np.ndarray | Iterable[np.ndarray],
    opacity: float = 0.45,
    contour_width: int | None = None,
    colors: Sequence[tuple[int, int, int]] | None = None,
) -> Image.Image:
    """Fill every mask with its colour and trace its edge.

    Args:
        photo: The photo, (H, W).
        masks: Boolean (P, H, W), one object each; later ones lie on top.
        opacity: Of the filling, 0 to 1.
        contour_width: Of the edge in pixels, inside the mask; follows the photo's size if None.
        colors: RGB of each mask; `object_color` of its position if None.

    Returns:
        A new RGB picture of the photo's size.

    Raises:
        ValueError: If a mask has another size than the photo.
    """
    picture = photo.convert("RGB")
    width = contour_width if contour_width is not None else line_width(photo.size)
    for index, mask in enumerate(masks):
        mask = np.asarray(mask, dtype=bool)
        if mask.shape != (photo.height, photo.width):
            raise ValueError(f"mask {index} has shape {mask.shape}, but the photo is {(photo.height, photo.width)}")
        ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(ys):
            continue
        left, top = int(xs[0]), int(ys[0])
        inside = mask[top : ys[-1] + 1, left : xs[-1] + 1]  # small masks of a large photo stay cheap
        edge = mask_edge(inside, width)
        alpha = np.where(edge, 255, np.where(inside, round(255 * opacity), 0)).astype(np.uint8)
        color = object_color(index) if colors is None else colors[index]
        picture.paste(color, (left, top), mask=Image.fromarray(alpha))
    return picture


def mask_edge(mask: np.ndarray, width: int) -> np.ndarray:
    """Return the pixels of a mask that lie within `width` pixels (chessboard distance) of its outside.

    The photo's border counts as outside, so that a mask reaching it is closed there.

    Args:
        mask: Boolean (H, W).
        width: In pixels; 0 gives no edge.

    Returns:
        boolean (H, W).
    """
    # Pillow's rank filters copy the border outwards, so the border is drawn as outside first.
    eroded = Image.fromarray(np.pad(mask, 1).astype(np.uint8) * 255)
    for _ in range(width):
        eroded = eroded.filter(ImageFilter.MinFilter(3))
    return mask & ~(np.asarray(eroded)[1:-1, 1:-1] > 0)


def draw_prompts(
    picture: Image.Image,
    boxes: Sequence[Sequence[float]] = (),
    points: Sequence[Sequence[float]] = (),
    labels: Sequence[int] = (),
) -> Image.Image:
    """Draw boxes in their objects' colours, and points: green foreground, red background.

    Args:
        picture: The picture to draw over; it is not changed.
        boxes: (P, 4) as x0, y0, x1, y1.
        points: (N, 2) as x, y.
        labels: (N,), 1 foreground or 0 background.

    Returns:
        A new RGB picture.
    """
    picture = picture.convert("RGB")
    canvas = ImageDraw.Draw(picture)
    width = line_width(picture.size)
    for index, box in enumerate(boxes):
        x0, y0, x1, y1 = (float(value) for value in box)
        canvas.rectangle((x0 - width, y0 - width, x1 + width, y1 + width), outline=(255, 255, 255), width=3 * width)
        canvas.rectangle((x0, y0, x1, y1), outline=object_color(index), width=width)
    radius = 3 * width
    for point, label in zip(points, labels, strict=True):
        x, y = (float(value) for value in point)
        color = POSITIVE if label == 1 else NEGATIVE
        canvas.ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=color, outline=(255, 255, 255), width=width
        )
    return picture


def line_width(size: tuple[int, int]) -> int:
    """Return a line width, in pixels, that is visible at a picture's (width, height)."""
    return max(1, round(max(size) / 500))
