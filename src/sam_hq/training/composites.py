"""Synthetic training images: objects of known outline composited over photos.

The targets are the visible parts of every object, and parts that were laid on an object. Half of the images hide
the cues that betray a paste (colour statistics, sharp edges, missing shadows), so that a network has to look at
form and texture.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image, ImageFilter

from .silhouettes import random_silhouette, random_thin_structure

TO_LINEAR = (np.arange(256, dtype=np.float32) / 255) ** 2.2
FROM_LINEAR = np.round(255 * (np.arange(4096, dtype=np.float32) / 4095) ** (1 / 2.2)).astype(np.uint8)
MIN_VISIBLE_SHARE, MIN_VISIBLE_AREA = 0.35, 0.0015
MAX_DRAWS = 20
SYSTEM_FONTS = "/usr/share/fonts"


@dataclass
class CompositeSample:
    """One synthetic image and its targets.

    Args:
        image: (S, S, 3) uint8, sRGB.
        masks: (n, S, S) bool, one target each; parts overlap their wholes.
    """

    image: np.ndarray
    masks: np.ndarray


class CompositeRenderer:
    """Renders composites from a folder that `sam-hq train-data` prepared.

    Args:
        sources_dir: Folder with `photo_cutouts`, `drawn_cutouts` and `backgrounds`.
        side: Side of the square images in pixels.
        fonts_dir: Where TrueType fonts are looked for.

    Raises:
        FileNotFoundError: There are no backgrounds or no cut-outs in `sources_dir`.
    """

    max_objects = 6  # not counting parts
    foreground_shares: ClassVar = {"photo": 0.40, "textured": 0.27, "thin": 0.15, "drawn": 0.18}
    hidden_share = 0.5  # of images whose objects do not betray themselves by colour
    smallest_length = 0.16  # of an object, as a share of the image's side
    plain_share = 0.05  # of images on a plain ground
    rotated_share = 0.4  # of cut-outs
    fullest = 1.0  # share of its box that an object may fill; a fuller one is drawn again

    def __init__(self, sources_dir: str | Path, side: int = 320, fonts_dir: str | Path = SYSTEM_FONTS) -> None:
        self.side = side
        root = Path(sources_dir)
        self._paths = {kind: sorted((root / kind).glob("*")) for kind in ("photo_cutouts", "drawn_cutouts")}
        self._backgrounds = [_read(path, "RGB") for path in sorted((root / "backgrounds").glob("*"))]
        if not self._backgrounds or not any(self._paths.values()):
            raise FileNotFoundError(f"{root} needs pictures in backgrounds/ and in photo_cutouts/ or drawn_cutouts/")
        self._fonts = sorted(str(path) for path in Path(fonts_dir).rglob("*.ttf"))
        self._cutouts: dict[Path, Image.Image] = {}

    def render(self, seed: int | tuple[int, ...]) -> CompositeSample:
        """Render one image; the same seed gives the same image.

        Args:
            seed: Seed or seeds of the generator.

        Returns:
            The image and its targets, at least one.
        """
        rng = np.random.default_rng(seed)
        while True:
            scene = _Scene(self._background(rng))
            hide_cues = rng.random() < self.hidden_share
            for _ in range(int(rng.integers(1, self.max_objects + 1))):
                self._add_object(scene, rng, hide_cues)
            masks = scene.targets()
            if len(masks):
                return CompositeSample(_degrade(scene.image(), rng), masks)

    def _add_object(self, scene: _Scene, rng: np.random.Generator, hide_cues: bool) -> None:
        length = self.side * float(np.exp(rng.uniform(np.log(self.smallest_length), np.log(0.95))))
        for _ in range(MAX_DRAWS):
            patch = self._foreground(rng, length, scene.background)
            if np.mean(np.asarray(patch.getchannel("A")) > 127) <= self.fullest:
                break
        position = [int(rng.uniform(-0.2 * extent, self.side - 0.8 * extent)) for extent in patch.size]
        if hide_cues:
            patch = _match_colours(patch, scene.crop(position, patch.size), rng)
        softness = float(rng.uniform(0.0, 1.3)) if rng.random() < 0.6 else 0.0
        if rng.random() < 0.25:
            scene.shade(patch, position, rng)
        whole = scene.paste(patch, position, softness)
        if rng.random() < 0.25 and length > 60:
            part = self._foreground(rng, length * rng.uniform(0.25, 0.6), scene.background)
            offset = [
                base + int(rng.uniform(-0.1, 0.75) * extent) for base, extent in zip(position, patch.size, strict=True)
            ]
            scene.paste(part, offset, softness, inside=whole)

    def _foreground(self, rng: np.random.Generator, length: float, background: Image.Image) -> Image.Image:
        kind = rng.choice(list(self.foreground_shares), p=list(self.foreground_shares.values()))
        if kind == "thin":
            coverage = random_thin_structure(rng, round(max(length, 40)))
            return self._fill(coverage, rng, background)
        if kind == "textured":
            if rng.random() < 0.5:
                coverage = random_silhouette(rng, round(length), self._fonts)
            else:
                source = "photo_cutouts" if rng.random() < 0.35 else "drawn_cutouts"
                coverage = self._cutout(source, rng, length).getchannel("A")
            return self._fill(coverage, rng, background)
        return _recolour(self._cutout("photo_cutouts" if kind == "photo" else "drawn_cutouts", rng, length), rng)

    def _cutout(self, kind: str, rng: np.random.Generator, length: float) -> Image.Image:
        paths = self._paths[kind] or next(filter(None, self._paths.values()))
        path = paths[rng.integers(len(paths))]
        if path not in self._cutouts:
            self._cutouts[path] = _read(path, "RGBA")
        cutout = self._cutouts[path]
        scale = length / max(cutout.size)
        stretch = np.exp(rng.uniform(-0.2, 0.2, 2))
        size = [max(4, round(extent * scale * float(s))) for extent, s in zip(cutout.size, stretch, strict=True)]
        cutout = cutout.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        if rng.random() < 0.5:
            cutout = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if rng.random() < self.rotated_share:
            angle = float(rng.normal(0, 25)) if rng.random() < 0.7 else float(rng.uniform(0, 360))
            cutout = cutout.rotate(angle, Image.Resampling.BILINEAR, expand=True)
        return cutout.crop(cutout.getchannel("A").getbbox() or (0, 0, *cutout.size))

    def _fill(self, coverage: Image.Image, rng: np.random.Generator, background: Image.Image) -> Image.Image:
        """Fill an outline with one to four pieces of texture, or a plain colour."""
        texture = self._texture(rng, coverage.size, background)
        if rng.random() < 0.35 and min(coverage.size) > 16:  # as clothes or paint divide a real object
            for _ in range(int(rng.integers(1, 4))):
                region = random_silhouette(rng, round(max(coverage.size) * rng.uniform(0.3, 0.9)), [])
                left, top = (int(rng.uniform(-0.3, 0.8) * extent) for extent in coverage.size)
                texture.paste(self._texture(rng, region.size, background), (left, top), region)
        texture = _recolour(texture, rng)
        texture.putalpha(coverage)
        return texture

    def _texture(self, rng: np.random.Generator, size: tuple[int, int], background: Image.Image) -> Image.Image:
        if rng.random() < 0.15:
            return _plain(rng, size)
        from_ground = rng.random() < 0.25  # figure and ground from the same photo
        photo = background if from_ground else self._backgrounds[rng.integers(len(self._backgrounds))]
        return _random_crop(photo, rng, size, smallest=0.15, largest=0.7)

    def _background(self, rng: np.random.Generator) -> Image.Image:
        size = (self.side, self.side)
        draw = rng.random()
        if draw < self.plain_share:
            return _plain(rng, size)
        photo = self._backgrounds[rng.integers(len(self._backgrounds))]
        crop = _recolour(_random_crop(photo, rng, size, smallest=0.4, largest=1.0), rng)
        blurred = draw < self.plain_share + 0.2
        return crop.filter(ImageFilter.BoxBlur(float(rng.uniform(0.5, 5)))) if blurred else crop


class SimpleRenderer(CompositeRenderer):
    """As `CompositeRenderer`, with one to three larger objects, most of them photographic, as in most photos."""

    max_objects = 3
    foreground_shares: ClassVar = {"photo": 0.65, "textured": 0.12, "thin": 0.08, "drawn": 0.15}
    hidden_share = 0.25
    smallest_length = 0.3
    plain_share = 0.35


class SparseRenderer(SimpleRenderer):
    """As `SimpleRenderer`, with objects that leave more than half of their box empty: tools, branches, rings."""

    foreground_shares: ClassVar = {"photo": 0.5, "textured": 0.25, "thin": 0.05, "drawn": 0.2}
    plain_share = 0.5
    rotated_share = 0.8
    fullest = 0.45


class ThinRenderer(CompositeRenderer):
    """As `CompositeRenderer`, with thin structures alone: wires, fences, spokes, trees."""

    max_objects = 3
    foreground_shares: ClassVar = {"thin": 1.0}
    smallest_length = 0.4


class _Scene:
    """An image under construction, in linear light, with the visible masks of what was pasted."""

    def __init__(self, background: Image.Image) -> None:
        self.background = background
        self._linear = TO_LINEAR[np.asarray(background)]
        self._masks: list[np.ndarray] = []
        self._areas: list[int] = []
        self._is_part: list[bool] = []

    def image(self) -> Image.Image:
        return Image.fromarray(FROM_LINEAR[np.round(self._linear * 4095).astype(np.int16)])

    def crop(self, position: list[int], size: tuple[int, int]) -> np.ndarray:
        rows, columns, _, _ = self._window(position, size)
        return self._linear[rows, columns]

    def _window(self, position: list[int], size: tuple[int, int]) -> tuple[slice, slice, slice, slice]:
        height, width = self._linear.shape[:2]
        left, top = (max(0, value) for value in position)
        right, bottom = max(left, min(width, position[0] + size[0])), max(top, min(height, position[1] + size[1]))
        x, y = position
        return slice(top, bottom), slice(left, right), slice(top - y, bottom - y), slice(left - x, right - x)

    def paste(
        self, patch: Image.Image, position: list[int], softness: float, inside: np.ndarray | None = None
    ) -> np.ndarray:
        """Composite a patch; returns its full coverage on the canvas. `inside` clips it to another object."""
        rows, columns, patch_rows, patch_columns = self._window(position, patch.size)
        coverage = patch.getchannel("A")
        if softness > 0.25:
            coverage = coverage.filter(ImageFilter.GaussianBlur(softness / 2))
        colours = TO_LINEAR[np.asarray(patch.convert("RGB"))[patch_rows, patch_columns]]
        alpha = np.asarray(coverage)[patch_rows, patch_columns].astype(np.float32) / 255
        if inside is not None:
            alpha = alpha * inside[rows, columns]
        region = self._linear[rows, columns]
        region += alpha[..., None] * (colours - region)
        full = np.zeros(self._linear.shape[:2], bool)
        full[rows, columns] = alpha > 0.5
        if inside is None:
            for mask in self._masks:
                mask &= ~full
        self._masks.append(full.copy())
        self._areas.append(int((np.asarray(patch.getchannel("A")) > 127).sum()))
        self._is_part.append(inside is not None)
        return full

    def shade(self, patch: Image.Image, position: list[int], rng: np.random.Generator) -> None:
        """Darken the ground beside an object that will be pasted."""
        radius = float(rng.uniform(1, 8))
        margin = round(2 * radius)
        shadow = Image.new("L", [extent + 2 * margin for extent in patch.size])
        shadow.paste(patch.getchannel("A"), (margin, margin))
        shadow = shadow.filter(ImageFilter.BoxBlur(radius))
        moved = [value - margin + int(rng.normal(0, 5)) for value in position]
        rows, columns, shadow_rows, shadow_columns = self._window(moved, shadow.size)
        strength = rng.uniform(0.2, 0.7) / 255
        self._linear[rows, columns] *= 1 - strength * np.asarray(shadow)[shadow_rows, shadow_columns, None]

    def targets(self) -> np.ndarray:
        smallest = MIN_VISIBLE_AREA * self._linear.shape[0] * self._linear.shape[1]
        kept = []
        for mask, area, is_part in zip(self._masks, self._areas, self._is_part, strict=True):
            visible = int(mask.sum())
            if visible >= max(smallest, (0.15 if is_part else MIN_VISIBLE_SHARE) * area):
                kept.append(mask)
        return np.stack(kept) if kept else np.zeros((0, *self._linear.shape[:2]), bool)


def _read(path: Path, mode: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert(mode)


def _random_crop(
    photo: Image.Image, rng: np.random.Generator, size: tuple[int, int], smallest: float, largest: float
) -> Image.Image:
    """A crop of the aspect of `size` whose extent is a share of the largest that fits, resized to `size`."""
    limit = min(photo.width / size[0], photo.height / size[1])
    extent = limit * float(rng.uniform(smallest, largest))
    width, height = size[0] * extent, size[1] * extent
    left, top = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - height)
    crop = photo.resize(size, Image.Resampling.BILINEAR, (left, top, left + width, top + height), reducing_gap=2.0)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop


def _plain(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A colour gradient with a little grain; half of them white, grey or black as in a studio."""
    base = rng.choice([255.0, 255.0, 240.0, 128.0, 8.0]) if rng.random() < 0.5 else rng.uniform(0, 255, 3)
    spread = float(rng.choice([2.0, 12.0, 30.0]))
    corners = Image.fromarray(np.clip(base + rng.normal(0, spread, (2, 2, 3)), 0, 255).astype(np.uint8))
    gradient = np.asarray(corners.resize(size, Image.Resampling.BILINEAR)).astype(np.float32)
    grain = rng.normal(0, rng.uniform(0, 8), gradient.shape[:2])[..., None]
    return Image.fromarray(np.clip(gradient + grain, 0, 255).astype(np.uint8))


def _recolour(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Random brightness, contrast and tint, as one table per channel."""
    grey = np.arange(256, dtype=np.float32)
    contrast, gain = np.exp(rng.normal(0, 0.1)), np.exp(rng.normal(-0.03, 0.13))
    tables = [
        np.clip((grey - 128) * contrast * gain * tint + 128 * gain * tint, 0, 255).astype(np.uint8)
        for tint in np.exp(rng.normal(0, 0.06, 3))
    ]
    if image.mode == "RGBA":
        tables.append(grey.astype(np.uint8))
    return image.point(np.concatenate(tables).tolist())


def _match_colours(patch: Image.Image, ground: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Move the patch's mean and contrast most of the way to those of the ground that it will cover."""
    if ground.size == 0:
        return patch
    pixels = np.asarray(patch)
    opaque = pixels[..., 3] > 127
    if not opaque.any():
        return patch
    ground = FROM_LINEAR[np.round(ground * 4095).astype(np.int16)].reshape(-1, 3)
    own = pixels[..., :3][opaque]
    own_mean, own_spread = own.mean(0), own.std(0) + 4
    mean, spread = ground.mean(0), ground.std(0) + 4
    share = rng.uniform(0.3, 1.0)
    target_mean = own_mean + share * (mean - own_mean) + rng.normal(0, 14)
    gain = (spread / own_spread) ** (share * 0.7)
    grey = np.arange(256, dtype=np.float32)[:, None]
    tables = np.clip((grey - own_mean) * np.clip(gain, 0.4, 2.2) + target_mean, 0, 255).astype(np.uint8)
    return patch.point(np.concatenate([tables.T.reshape(-1), np.arange(256, dtype=np.uint8)]).tolist())


def _degrade(image: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Blur, grain and JPEG over the whole image, as a camera would leave them."""
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.2))))
    if rng.random() < 0.3:
        pixels = np.asarray(image).astype(np.int16)
        grain = rng.integers(-int(rng.integers(2, 14)), 14, pixels.shape[:2], dtype=np.int16)
        image = Image.fromarray(np.clip(pixels + grain[..., None], 0, 255).astype(np.uint8))
    if rng.random() < 0.3:
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=int(rng.integers(35, 92)))
        image = Image.open(stream).convert("RGB")
    return np.asarray(image)
