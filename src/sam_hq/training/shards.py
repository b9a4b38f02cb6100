"""Training images on disk: uint8 images and packed masks in memory-mapped arrays, read without decoding."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from ..evaluation.segmentation_data import BadDataReport
from .composites import CompositeRenderer, SimpleRenderer, SparseRenderer, ThinRenderer
from .photo_objects import PhotoObjects
from .photo_regions import PhotoRegions

SHARD_SIZE = 250
Renderer = CompositeRenderer | PhotoRegions | PhotoObjects
RENDERERS: dict[str, type[Renderer]] = {
    "composites": CompositeRenderer,
    "simple": SimpleRenderer,
    "sparse": SparseRenderer,
    "thin": ThinRenderer,
    "regions": PhotoRegions,
    "objects": PhotoObjects,
}


def render_shards(
    sources_dir: str | Path,
    output_dir: str | Path,
    count: int,
    side: int = 320,
    seed: int = 0,
    workers: int = 1,
    kind: str = "composites",
) -> Iterator[Path]:
    """Render images into shards of 250; shards that are there already are kept, so an interrupted run resumes.

    Args:
        sources_dir: Folder that `prepare_sources` filled.
        output_dir: Where the shards go.
        count: Images in all, rounded up to whole shards.
        side: Side of the images in pixels.
        seed: Seed of the set; an image depends on it and on its index alone.
        workers: Processes that render.
        kind: `composites`, `simple` or `sparse` ones, `thin` structures, `regions` of photos, or
            outlined `objects` in them.

    Returns:
        The paths of the shards (folders), each as it is finished: rendering begins when the first is asked for.

    Raises:
        ValueError: Another kind, or a number that makes no sense.
    """
    if kind not in RENDERERS:
        raise ValueError(f"kind must be one of {tuple(RENDERERS)}, got {kind!r}")
    for name, value, least in (("count", count, 1), ("side", side, 32), ("seed", seed, 0), ("workers", workers, 1)):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    root = Path(output_dir)
    todo = [(sources_dir, root / f"shard_{k:04d}", k, side, seed, kind) for k in range(-(-count // SHARD_SIZE))]
    return _rendered(root, todo, workers)


def _rendered(root: Path, todo: list[tuple[str | Path, Path, int, int, int, str]], workers: int) -> Iterator[Path]:
    root.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_render_shard, todo)


_renderers: dict[tuple[str, str, int], Renderer] = {}  # one per process: reading the sources takes seconds


def _render_shard(job: tuple[str | Path, Path, int, int, int, str]) -> Path:
    sources_dir, path, shard, side, seed, kind = job
    if path.exists():
        return path
    key = (kind, str(sources_dir), side)
    if key not in _renderers:
        _renderers[key] = RENDERERS[kind](sources_dir, side)
    samples = [_renderers[key].render((seed, index)) for index in range(shard * SHARD_SIZE, (shard + 1) * SHARD_SIZE)]
    aside = path.with_suffix(".partial")
    aside.mkdir(exist_ok=True)
    np.save(aside / "images.npy", np.stack([sample.image for sample in samples]))
    masks = np.concatenate([sample.masks for sample in samples])
    np.save(aside / "masks.npy", np.packbits(masks.reshape(len(masks), -1), axis=1))
    np.save(aside / "first_mask.npy", np.cumsum([0, *(len(sample.masks) for sample in samples)]))
    return aside.rename(path)


class ShardedImages:
    """The images of all shards of one or more folders, by index.

    Args:
        folders: Where `render_shards` wrote.

    Raises:
        FileNotFoundError: A folder holds no shard.
    """

    def __init__(self, *folders: str | Path) -> None:
        paths: list[Path] = []
        for folder in folders:
            found = sorted(path for path in Path(folder).glob("shard_*") if path.suffix != ".partial")
            if not found:
                raise FileNotFoundError(f"{folder} holds no rendered shard")
            paths += found
        self._shards = [
            tuple(np.load(path / f"{name}.npy", mmap_mode="r") for name in ("images", "masks", "first_mask"))
            for path in paths
        ]
        self._ends = np.cumsum([len(images) for images, _, _ in self._shards])
        self.report = BadDataReport()  # nothing rendered is skipped

    def __len__(self) -> int:
        return int(self._ends[-1])

    def name(self, index: int) -> str:
        """How the image is called in reports."""
        return f"rendered image {index}"

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The image (S, S, 3) uint8 and its masks (n, S, S) bool."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        shard = int(np.searchsorted(self._ends, index, side="right"))
        images, masks, first = self._shards[shard]
        local = index - (int(self._ends[shard - 1]) if shard else 0)
        image = np.asarray(images[local])
        bits = np.asarray(masks[first[local] : first[local + 1]])
        return image, np.unpackbits(bits, axis=1).reshape(-1, *image.shape[:2]).astype(bool)
