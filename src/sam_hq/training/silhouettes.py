"""Random outlines for synthetic training images: blobs, glyphs and thin structures, as 8-bit coverage maps."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SUPERSAMPLING = 2
GLYPHS = (
    "ABCDEFGHJKMNPQRSTVWXYZabdefghkmnqrstwxyz023456789&?#@%"
    "\u2600\u2601\u2602\u2603\u2605\u260e\u2618\u2620\u2622\u2624\u262e\u262f\u263a\u263c\u2654\u2655\u2656\u2657"
    "\u2658\u2659\u2660\u2663\u2665\u2666\u2668\u266b\u2692\u2693\u2694\u2696\u2698\u2699\u26c4\u26c5\u2702\u2708"
    "\u2709\u270b\u270c\u270e\u2714\u2716\u271d\u2721\u2744\u2756\u2764\u27a4\u03a9\u03a8\u0416\u0429\u05d0\u0634"
)


def random_silhouette(rng: np.random.Generator, side: int, fonts: list[str]) -> Image.Image:
    """A compact shape: a smooth blob, a polygon or a glyph.

    Args:
        rng: Source of randomness.
        side: Length of the longer side in pixels.
        fonts: Paths of TrueType fonts; empty leaves glyphs out.

    Returns:
        Coverage, mode `L`, cropped to the shape.
    """
    if fonts and rng.random() < 0.35:
        return _glyph(rng, side, fonts)
    return _blob(rng, side)


def random_thin_structure(rng: np.random.Generator, side: int) -> Image.Image:
    """A structure of lines 1-6 pixels wide: wires, grids, trees, wheels, rings or branches.

    Args:
        rng: Source of randomness.
        side: Length of the longer side in pixels.

    Returns:
        Coverage, mode `L`, cropped to the shape.
    """
    side_large = max(side, 24) * SUPERSAMPLING
    canvas = Image.new("L", (side_large, side_large))
    width = max(SUPERSAMPLING, round(SUPERSAMPLING * float(rng.uniform(1.0, min(6.0, 1.5 + side / 40)))))
    draw = ImageDraw.Draw(canvas)
    THIN_STRUCTURES[rng.integers(len(THIN_STRUCTURES))](rng, draw, side_large, width)
    return _finish(canvas)


def _finish(canvas: Image.Image) -> Image.Image:
    box = canvas.getbbox() or (0, 0, *canvas.size)
    cropped = canvas.crop(box)
    return cropped.resize([max(1, length // SUPERSAMPLING) for length in cropped.size], Image.Resampling.BOX)


def _blob(rng: np.random.Generator, side: int) -> Image.Image:
    size = side * SUPERSAMPLING
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    if rng.random() < 0.3:  # a polygon with a few corners
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
        radii = rng.uniform(0.4, 1.0, angles.size)
    else:
        radii = np.ones_like(angles)
        roughness = rng.uniform(0.1, 0.7)
        for order in range(1, int(rng.integers(2, 9))):
            radii += roughness / order * rng.uniform(0, 1) * np.cos(order * angles + rng.uniform(0, 2 * np.pi))
        radii = np.clip(radii, 0.12, None)
    aspect, turn = rng.uniform(0.35, 1.0), rng.uniform(0, 2 * np.pi)
    points = np.stack([radii * np.cos(angles), aspect * radii * np.sin(angles)], 1)
    points = points @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points -= points.min(0)
    points *= (size - 2) / points.max()
    canvas = Image.new("L", (size, size))
    ImageDraw.Draw(canvas).polygon([tuple(point) for point in points], fill=255)
    if rng.random() < 0.15:  # a hole
        inner = (points - points.mean(0)) * rng.uniform(0.3, 0.7) + points.mean(0)
        ImageDraw.Draw(canvas).polygon([tuple(point) for point in inner], fill=0)
    return _finish(canvas)


@cache
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def _glyph(rng: np.random.Generator, side: int, fonts: list[str]) -> Image.Image:
    size = max(32, 32 * round(side * SUPERSAMPLING / 32))  # few sizes, so that the fonts stay cached
    canvas = Image.new("L", (2 * size, 2 * size))
    text = GLYPHS[rng.integers(len(GLYPHS))]
    font = _font(fonts[rng.integers(len(fonts))], size)
    ImageDraw.Draw(canvas).text((size // 2, size // 4), text, fill=255, font=font)
    return _finish(canvas) if canvas.getbbox() else _blob(rng, side)


def _wires(rng: np.random.Generator, draw: ImageDraw.ImageDraw, side: int, width: int) -> None:
    for _ in range(int(rng.integers(1, 4))):
        ends = rng.uniform(0.03, 0.97, (4, 2)) * side
        t = np.linspace(0, 1, 24)[:, None]
        curve = (1 - t) ** 3 * ends[0] + 3 * t * (1 - t) ** 2 * ends[1] + 3 * t**2 * (1 - t) * ends[2] + t**3 * ends[3]
        draw.line([tuple(point) for point in curve], fill=255, width=width, joint="curve")


def _grid(rng: np.random.Generator, draw: ImageDraw.ImageDraw, side: int, width: int) -> None:
    right, bottom = side - 1, round((side - 1) * rng.uniform(0.3, 1.0))
    columns, rows = int(rng.integers(2, 8)), int(rng.integers(0, 5))
    slant = rng.uniform(-0.2, 0.2) * side if rng.random() < 0.3 else 0
    for x in np.linspace(width, right - width, columns):
        draw.line([(x, 0), (x + slant, bottom)], fill=255, width=width)
    for y in np.linspace(width, bottom - width, rows) if rows else ():
        draw.line([(0, y), (right, y)], fill=255, width=width)
    if not rows:
        draw.line([(0, bottom // 2), (right, bottom // 2)], fill=255, width=2 * width)


def _tree(rng: np.random.Generator, draw: ImageDraw.ImageDraw, side: int, width: int) -> None:
    spread, shrink = rng.uniform(0.25, 0.7), rng.uniform(0.62, 0.78)

    def branch(x: float, y: float, angle: float, length: float, thickness: float, depth: int) -> None:
        end_x, end_y = x + length * math.cos(angle), y + length * math.sin(angle)
        draw.line([(x, y), (end_x, end_y)], fill=255, width=max(SUPERSAMPLING, round(thickness)))
        if depth:
            for turn in (-spread, spread) if rng.random() < 0.8 else (-spread, 0.0, spread):
                jitter = rng.normal(0, 0.15)
                branch(end_x, end_y, angle + turn + jitter, length * shrink, thickness * 0.72, depth - 1)

    branch(side / 2, side - 1, -math.pi / 2, side * 0.28, width * 1.8, int(rng.integers(2, 5)))


def _wheel(rng: np.random.Generator, draw: ImageDraw.ImageDraw, side: int, width: int) -> None:
    height = side * rng.uniform(0.4, 1.0)
    draw.ellipse([1, 1, side - 2, height - 2], outline=255, width=width)
    centre_x, centre_y = side / 2, height / 2
    phase, spokes = rng.uniform(0, math.pi), int(rng.integers(0, 10))
    for angle in phase + np.arange(spokes) * 2 * math.pi / max(spokes, 1):
        rim = (centre_x + side * 0.49 * math.cos(angle), centre_y + height * 0.49 * math.sin(angle))
        draw.line([(centre_x, centre_y), rim], fill=255, width=max(SUPERSAMPLING, width // 2))
    if rng.random() < 0.5:
        hub = side * rng.uniform(0.05, 0.2)
        draw.ellipse([centre_x - hub, centre_y - hub, centre_x + hub, centre_y + hub], fill=255)


def _antenna(rng: np.random.Generator, draw: ImageDraw.ImageDraw, side: int, width: int) -> None:
    x = side / 2 + rng.uniform(-0.1, 0.1) * side
    draw.line([(side / 2, side - 1), (x, 0)], fill=255, width=width)
    for y in rng.uniform(0.03, 0.7, int(rng.integers(1, 6))) * side:
        half = rng.uniform(0.1, 0.45) * side
        draw.line([(x - half, y), (x + half, y + rng.uniform(-0.1, 0.1) * side)], fill=255, width=width)
    if rng.random() < 0.5:
        draw.polygon([(side * 0.3, side - 1), (side * 0.7, side - 1), (side / 2, side * 0.75)], fill=255)


def _stick_figure(rng: np.random.Generator, draw: ImageDraw.ImageDraw, side: int, width: int) -> None:
    """A thick body with thin limbs, the form of chairs, animals and tools."""
    body = rng.uniform([0.2, 0.2], [0.4, 0.4]), rng.uniform([0.6, 0.5], [0.8, 0.7])
    draw.rounded_rectangle([tuple(body[0] * side), tuple(body[1] * side)], radius=side // 12, fill=255)
    for _ in range(int(rng.integers(2, 6))):
        start = rng.uniform(body[0], body[1]) * side
        knee = start + rng.uniform(-0.25, 0.25, 2) * side
        end = np.clip(knee + rng.uniform(-0.35, 0.35, 2) * side, 0, side - 1)
        draw.line([tuple(start), tuple(knee), tuple(end)], fill=255, width=width, joint="curve")


THIN_STRUCTURES = (_wires, _grid, _tree, _wheel, _antenna, _stick_figure)
