"""Outlined objects of the photographs in the packages: crops to learn from, and cut-outs to paste elsewhere.

The outlines come as COCO instances; `docs/photo_objects.json` has some for the packages that
`docs/default_model.md` lists.
They are matched with photographs by file name and size, so a package of another version loses objects but shifts none.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from sam_hq_numpy.atomic_writing import new_file
from sam_hq_numpy.mask_rle import RunLengthMask

from ..evaluation.ground_truth_prompts import mask_box
from .composites import CompositeSample
from .sources import CUTOUT_SIDE, MIN_CUTOUT_SIDE

OBJECTS_FILE = "objects.json"  # in the folder of sources
ZOOM = 1.08, 2.5  # a crop's side, by the longer side of its object's box
MAX_STRETCH = 1.6  # of a crop that had to be cut to the photograph, on its way to a square
MIN_VISIBLE_SHARE, MIN_AREA = 0.5, 0.0015  # of other objects in the crop: of their own area, and of the crop's


def read_outlines(path: str | Path) -> dict[str, list[RunLengthMask]]:
    """The outlines of a COCO file by the name of their photograph.

    Args:
        path: COCO instances whose masks are run lengths.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is no such file.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
        names = {image["id"]: image["file_name"] for image in content["images"]}
        outlines: dict[str, list[RunLengthMask]] = {}
        for entry in content["annotations"]:
            mask = RunLengthMask.from_dict(entry["segmentation"])
            outlines.setdefault(names[entry["image_id"]], []).append(mask)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ValueError(f"{str(path)!r} does not hold COCO instances with run lengths ({what})") from error
    return outlines


def add_photo_objects(outlines: Mapping[str, Sequence[RunLengthMask]], sources_dir: str | Path) -> Counter:
    """Take outlines into a folder of sources, for `PhotoObjects`, and their objects as cut-outs for composites.

    Args:
        outlines: What `read_outlines` gives.
        sources_dir: Folder that `prepare_sources` filled; the outlines are of its `backgrounds`.

    Returns:
        How many objects were `used`, and how many were skipped for which reason.

    Raises:
        ValueError: None of the photographs is there in its size.
    """
    root, counts = Path(sources_dir), Counter[str]()
    kept: dict[str, list[dict]] = {}
    for name, masks in outlines.items():
        path = root / "backgrounds" / name
        if not path.is_file():
            counts["photograph missing"] += len(masks)
            continue
        with Image.open(path) as photo:
            image = np.asarray(photo.convert("RGB"))
        for number, mask in enumerate(masks):
            if (mask.height, mask.width) != image.shape[:2]:
                counts["photograph of another size"] += 1
                continue
            counts["used"] += 1
            kept.setdefault(name, []).append(mask.to_coco())
            if cutout := _cutout(image, mask.to_mask()):
                target = root / "photo_cutouts" / f"object_{path.stem}_{number}.webp"
                target.parent.mkdir(parents=True, exist_ok=True)
                cutout.save(target, quality=90, method=2)
    if not kept:
        raise ValueError(f"none of the photographs with outlines is in {str(root / 'backgrounds')!r} in its size")
    with new_file(root / OBJECTS_FILE) as aside:
        aside.write_text(json.dumps(kept))
    return counts


class PhotoObjects:
    """Crops of photographs around their outlined objects.

    Args:
        sources_dir: Folder that `add_photo_objects` filled.
        side: Side of the square crops in pixels.

    Raises:
        FileNotFoundError: `add_photo_objects` has not been there.
    """

    def __init__(self, sources_dir: str | Path, side: int = 320) -> None:
        self.side, self._folder = side, Path(sources_dir) / "backgrounds"
        path = Path(sources_dir) / OBJECTS_FILE
        if not path.is_file():
            raise FileNotFoundError(f"{str(path)!r} is missing: outlines are taken in by add_photo_objects")
        self._photos = sorted(json.loads(path.read_text(encoding="utf-8")).items())
        self._objects = [(photo, index) for photo, (_, found) in enumerate(self._photos) for index in range(len(found))]

    def render(self, seed: int | tuple[int, ...]) -> CompositeSample:
        """A crop around one object, and the others in it; the same seed gives the same crop."""
        rng = np.random.default_rng(seed)
        photo, index = self._objects[rng.integers(len(self._objects))]
        name, segmentations = self._photos[photo]
        masks = np.stack([RunLengthMask.from_dict(segmentation).to_mask() for segmentation in segmentations])
        window = _crop_window(mask_box(masks[index]), masks.shape[1:], rng)
        size = (self.side, self.side)
        with Image.open(self._folder / name) as opened:
            image = np.asarray(opened.convert("RGB").resize(size, Image.Resampling.BILINEAR, window, reducing_gap=2.0))
        found = [masks[index], *(mask for other, mask in enumerate(masks) if other != index)]
        cut = [_resized(mask, size, window) for mask in found]
        share = (window[2] - window[0]) * (window[3] - window[1]) / self.side**2  # pixels of the photograph, by ours
        visible = [
            number == 0 or part.sum() > max(MIN_AREA * part.size, MIN_VISIBLE_SHARE * mask.sum() / share)
            for number, (part, mask) in enumerate(zip(cut, found, strict=True))
        ]
        return CompositeSample(image, np.stack(cut)[visible])


def _crop_window(box: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """A window (x0, y0, x1, y1) inside the photograph that holds the box unless its shape forbids it."""
    extents = box[2:] - box[:2]
    side = float(extents.max() * np.exp(rng.uniform(*np.log(ZOOM))))
    longest = min(MAX_STRETCH * min(size), max(size))
    window = []
    for low, extent, limit in zip(box[:2], extents, (size[1], size[0]), strict=True):
        length = min(side, limit, longest)
        # Anywhere that holds the object; one that is too long is cut somewhere.
        first, last = sorted((low + extent - length, low))
        start = float(np.clip(rng.uniform(first, last), 0, limit - length))
        window.append((start, start + length))
    return window[0][0], window[1][0], window[0][1], window[1][1]


def _resized(mask: np.ndarray, size: tuple[int, int], window: tuple[float, float, float, float]) -> np.ndarray:
    grey = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(grey.resize(size, Image.Resampling.BILINEAR, window)) > 127


def _cutout(image: np.ndarray, mask: np.ndarray) -> Image.Image | None:
    x0, y0, x1, y1 = mask_box(mask).astype(int)
    if min(x1 - x0, y1 - y0) < MIN_CUTOUT_SIDE:
        return None
    # Without the outermost pixels, which are mixed with what was behind the object.
    inside = mask & np.roll(mask, 1, 0) & np.roll(mask, -1, 0) & np.roll(mask, 1, 1) & np.roll(mask, -1, 1)
    alpha = (inside * 255).astype(np.uint8)[..., None]
    cutout = Image.fromarray(np.concatenate([image, alpha], axis=-1)[y0:y1, x0:x1])
    cutout.thumbnail((CUTOUT_SIDE, CUTOUT_SIDE), Image.Resampling.LANCZOS)
    return cutout
