"""Regions of real photos that stand out from what surrounds them, as training targets without annotation.

Composites have pasted objects; these have the light, the blur and the texture of photos. A region is one that a
graph-based segmentation finds and whose colours differ from those just outside it by more than they vary.

Source: P. Felzenszwalb and D. Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004, in scikit-image.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .composites import CompositeSample

SCALES = (150, 400, 900)  # larger scales give larger regions
AREA_SHARES = 0.008, 0.45
MIN_BOX_SHARE = 0.35  # regions fill at least so much of their box
MAX_BORDER = 1.2  # pixels on the photo's border, by the root of the area
MIN_CONTRAST = 0.9
MAX_IOU = 0.8  # of two regions of one photo
RING = 6  # pixels on either side of an outline that are compared
SMALLEST_SEGMENT = 200  # pixels
SMOOTHING = 0.5  # of colours, in pixels; at 1 the blurred outlines become segments of their own


class PhotoRegions:
    """Crops of photos with the regions that stand out.

    Args:
        sources_dir: Folder that `prepare_sources` filled; its `backgrounds` are used.
        side: Side of the square crops in pixels.

    Raises:
        FileNotFoundError: There are no backgrounds.
        ImportError: scikit-image is not installed.
    """

    def __init__(self, sources_dir: str | Path, side: int = 320) -> None:
        self.side = side
        self._tools = _load_tools()
        self._paths = sorted((Path(sources_dir) / "backgrounds").glob("*"))
        if not self._paths:
            raise FileNotFoundError(f"{sources_dir} needs photographs in backgrounds/")

    def render(self, seed: int | tuple[int, ...]) -> CompositeSample:
        """A crop of a photo with at least one region; the same seed gives the same crop."""
        rng = np.random.default_rng(seed)
        while True:
            with Image.open(self._paths[rng.integers(len(self._paths))]) as photo:
                image = np.asarray(_square_crop(photo.convert("RGB"), self.side, rng))
            masks = standing_out(image, self._tools)
            if masks:
                return CompositeSample(image, np.stack(masks))


def standing_out(image: np.ndarray, tools: Any = None) -> list[np.ndarray]:
    """The regions of an image (H, W, 3) uint8 that stand out, as masks (H, W) bool, none nearly the same as another.

    Raises:
        ImportError: scikit-image is not installed.
    """
    segment, to_lab, ndimage = tools or _load_tools()
    lab = to_lab(image)
    kept: list[np.ndarray] = []
    for scale in SCALES:
        segments = segment(image, scale=scale, sigma=SMOOTHING, min_size=SMALLEST_SEGMENT)
        for index, window in enumerate(ndimage.find_objects(segments + 1)):
            window = _grown(window, image.shape)
            part = _cleaned(segments[window] == index, ndimage)
            if not _is_compact(part, window, segments.shape) or _contrast(part, lab[window], ndimage) < MIN_CONTRAST:
                continue
            mask = np.zeros(segments.shape, bool)
            mask[window] = part
            if all((mask & other).sum() <= MAX_IOU * (mask | other).sum() for other in kept):
                kept.append(mask)
    return kept


def _load_tools() -> tuple[Callable, Callable, Any]:
    try:
        from scipy import ndimage
        from skimage.color import rgb2lab
        from skimage.segmentation import felzenszwalb
    except ImportError as error:
        raise ImportError("regions of photographs need scikit-image: pip install 'sam-hq[data]'") from error
    return felzenszwalb, rgb2lab, ndimage


def _square_crop(photo: Image.Image, side: int, rng: np.random.Generator) -> Image.Image:
    extent = min(photo.size) * float(rng.uniform(0.5, 1.0))
    left, top = rng.uniform(0, photo.width - extent), rng.uniform(0, photo.height - extent)
    box = (left, top, left + extent, top + extent)
    return photo.resize((side, side), Image.Resampling.BILINEAR, box, reducing_gap=2.0)


def _grown(window: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The window with room for the ring around the region."""
    margin = RING + 2
    return tuple(
        slice(max(part.start - margin, 0), min(part.stop + margin, extent))
        for part, extent in zip(window, shape[:2], strict=True)
    )


def _cleaned(mask: np.ndarray, ndimage: Any) -> np.ndarray:
    """The largest piece, without holes and hairs."""
    mask = ndimage.binary_opening(ndimage.binary_closing(mask, iterations=2), iterations=2)
    pieces, count = ndimage.label(ndimage.binary_fill_holes(mask))
    return pieces == 1 + np.argmax(np.bincount(pieces.ravel())[1:]) if count else np.zeros_like(mask)


def _is_compact(mask: np.ndarray, window: tuple[slice, ...], shape: tuple[int, ...]) -> bool:
    area = int(mask.sum())
    if not AREA_SHARES[0] < area / (shape[0] * shape[1]) < AREA_SHARES[1]:
        return False
    rows, columns = mask.any(1), mask.any(0)
    on_border = sum(
        int(line.sum())
        for line, touches in (
            (mask[0], window[0].start == 0),
            (mask[-1], window[0].stop == shape[0]),
            (mask[:, 0], window[1].start == 0),
            (mask[:, -1], window[1].stop == shape[1]),
        )
        if touches
    )
    return area > MIN_BOX_SHARE * rows.sum() * columns.sum() and on_border <= MAX_BORDER * area**0.5


def _contrast(mask: np.ndarray, lab: np.ndarray, ndimage: Any) -> float:
    """Distance of the mean colours on both sides of the outline, by how much the colours vary there."""
    outside = ndimage.binary_dilation(mask, iterations=RING) & ~ndimage.binary_dilation(mask)
    inside = mask & ~ndimage.binary_erosion(mask, iterations=RING)
    if min(outside.sum(), inside.sum()) < 20:
        return 0.0
    distance = np.linalg.norm(lab[outside].mean(0) - lab[inside].mean(0))
    return float(distance / (lab[outside].std(0).mean() + lab[inside].std(0).mean() + 4))
