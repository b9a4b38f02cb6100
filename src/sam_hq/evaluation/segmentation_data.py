"""Photographs with ground-truth masks on disk: folders of pairs and COCO instances, with the bad ones named."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..images.image_loading import load_rgb

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
ON_BAD = ("skip", "raise")
WITHOUT_MASK, WITHOUT_PHOTOGRAPH = "photograph without a mask", "mask without a photograph"
COCO_FIELDS = {"images": ("id", "file_name", "height", "width"), "annotations": ("image_id",)}


@dataclass
class BadDataReport:
    """What was left out of a dataset, and why.

    Attributes:
        cases: For every reason, the names of what it was found in, each once, however often it was met.
    """

    cases: dict[str, list[str]] = field(default_factory=dict)
    _known: set[tuple[str, str]] = field(default_factory=set)
    _new: list[tuple[str, str]] = field(default_factory=list)

    @property
    def counts(self) -> Counter:
        """Number of cases of every reason."""
        return Counter({reason: len(names) for reason, names in self.cases.items()})

    @property
    def examples(self) -> dict[str, list[str]]:
        """For every reason, up to five names."""
        return {reason: names[:5] for reason, names in self.cases.items()}

    def add(self, name: str, reason: str, on_bad: str = "skip") -> None:
        """Count a case, or raise ValueError for it with `on_bad="raise"`."""
        if on_bad == "raise":
            raise ValueError(f"{name}: {reason}")
        if (name, reason) not in self._known:
            self._known.add((name, reason))
            self._new.append((name, reason))
            self.cases.setdefault(reason, []).append(name)

    def take_new(self) -> list[tuple[str, str]]:
        """The (name, reason) of the cases since the last call, for another process that keeps count."""
        new, self._new = self._new, []
        return new

    def __str__(self) -> str:
        """One line per reason."""
        examples = self.examples
        return "\n".join(
            f"left out {count}: {reason} (such as {', '.join(examples[reason])})"
            for reason, count in self.counts.most_common()
        )


class MaskedImages:
    """A sequence of photographs with their masks.

    Args:
        entries: One record per photograph; subclasses say what it is.
        on_bad: `skip` leaves bad masks and photographs out and counts them in `report`; `raise` raises ValueError.
        unpaired: The (name, reason) of what no entry was made of.

    Raises:
        ValueError: There is no entry, `on_bad` is neither, or it is `raise` and something is unpaired.
    """

    def __init__(self, entries: list[Any], on_bad: str = "skip", unpaired: Iterable[tuple[str, str]] = ()) -> None:
        if on_bad not in ON_BAD:
            raise ValueError(f"on_bad must be one of {ON_BAD}, got {on_bad!r}")
        if not entries:
            raise ValueError("the dataset has no photograph")
        self.entries, self.on_bad, self.report = entries, on_bad, BadDataReport()
        for name, reason in unpaired:
            self.report.add(name, reason, on_bad)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The photograph (H, W, 3) uint8, upright, and its usable masks (n, H, W) bool; n is 0 if it is unusable."""
        name = self.name(index)
        try:
            image = np.asarray(load_rgb(self.image_path(index))[0])
        except (OSError, ValueError) as error:
            self.report.add(name, f"unreadable photograph ({type(error).__name__})", self.on_bad)
            return np.zeros((1, 1, 3), np.uint8), np.zeros((0, 1, 1), bool)
        masks = [mask for label, raw in self.raw_masks(index) if (mask := self._usable(label, raw, image)) is not None]
        return image, np.stack(masks) if masks else np.zeros((0, *image.shape[:2]), bool)

    def name(self, index: int) -> str:
        """What a photograph is called in reports."""
        raise NotImplementedError

    def image_path(self, index: int) -> Path:
        """Where a photograph lies."""
        raise NotImplementedError

    def raw_masks(self, index: int) -> Iterator[tuple[str, np.ndarray | Exception]]:
        """The masks of a photograph as they are stored, each with its name; an exception where one is unreadable."""
        raise NotImplementedError

    def _usable(self, name: str, raw: np.ndarray | Exception, image: np.ndarray) -> np.ndarray | None:
        reason = mask_fault(raw, image.shape[:2])
        if reason is not None:
            self.report.add(name, reason, self.on_bad)
            return None
        mask = np.asarray(raw)
        return mask > 127 if mask.max() > 1 else mask.astype(bool)


def mask_fault(raw: np.ndarray | Exception, size: tuple[int, int]) -> str | None:
    """What is wrong with a mask for a photograph of (height, width), or None.

    A mask may be bool, 0/1 or 0/255, with soft edges of up to 5 % of its pixels.
    """
    if isinstance(raw, Exception):
        return f"unreadable mask ({type(raw).__name__})"
    if raw.ndim != 2:
        return "mask with several channels"
    if raw.shape != tuple(size):
        return "mask of another size than the photograph"
    if not raw.any():
        return "empty mask"
    if raw.dtype == bool or raw.max() <= 1:
        return None
    # The numbers of several objects, such as 0, 1, 2, 3, have nothing near 255.
    if raw.max() <= 127 or np.mean((raw > 12) & (raw < 243)) > 0.05:
        return "mask is not binary"
    return None


class ImageMaskFolder(MaskedImages):
    """Photographs and masks as files: HQSeg-44K's layout, or a `manifest.csv` with columns `image` and `mask`.

    In HQSeg-44K's layout `X.jpg` and `X.png` lie side by side, or in two folders (`im` and `gt`, or `images` and
    `masks`); `X_0.png`, `X_1.png` are several objects of `X`.

    Args:
        folder: The dataset's folder.
        on_bad: See `MaskedImages`.

    Raises:
        FileNotFoundError: The folder is missing.
        ValueError: It holds no pair; or, with `on_bad="raise"`, a photograph or a mask that has no partner.
    """

    def __init__(self, folder: str | Path, on_bad: str = "skip") -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise FileNotFoundError(f"the dataset's folder {str(folder)!r} is missing")
        listed = (folder / "manifest.csv").exists()
        self.folders = (folder / "images", folder / "masks") if listed else _folders_of_pairs(folder)
        entries, unpaired = (_manifest_entries(*self.folders), []) if listed else _paired_entries(*self.folders)
        if not entries:
            raise ValueError(f"{str(folder)!r} holds no photograph with a mask of its name")
        super().__init__(entries, on_bad, unpaired)

    def name(self, index: int) -> str:
        """What a photograph is called in reports: its path in the folder of photographs."""
        return _within(self.folders[0], self.image_path(index))

    def image_path(self, index: int) -> Path:
        """Where a photograph lies."""
        return self.entries[index][0]

    def raw_masks(self, index: int) -> Iterator[tuple[str, np.ndarray | Exception]]:
        """The masks of a photograph as they are stored."""
        for path in self.entries[index][1]:
            yield _within(self.folders[1], path), _stored_mask(path)


def _within(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _stored_mask(path: Path) -> np.ndarray | Exception:
    try:
        with Image.open(path) as mask:
            return np.asarray(mask.convert("L") if mask.mode in ("P", "RGB", "RGBA") else mask)
    except Exception as error:  # damaged files raise OSError, SyntaxError, struct.error and others
        return error


def _manifest_entries(image_dir: Path, mask_dir: Path) -> list[tuple[Path, list[Path]]]:
    masks: dict[Path, list[Path]] = {}
    manifest = image_dir.parent / "manifest.csv"
    with manifest.open(newline="") as file:
        rows = csv.DictReader(file)
        if missing := {"image", "mask"} - set(rows.fieldnames or ()):
            raise ValueError(f"{str(manifest)!r} lacks the columns {sorted(missing)}")
        for row in rows:
            if not (row["image"] and row["mask"]):
                raise ValueError(f"{str(manifest)!r}, line {rows.line_num}: an image or a mask is missing")
            masks.setdefault(image_dir / row["image"], []).append(mask_dir / row["mask"])
    return list(masks.items())


def _folders_of_pairs(folder: Path) -> tuple[Path, Path]:
    """Where the photographs and the masks of a dataset lie."""
    for images, masks in (("im", "gt"), ("images", "masks")):
        if (folder / images).is_dir() and (folder / masks).is_dir():
            return folder / images, folder / masks
    return folder, folder


def _paired_entries(image_dir: Path, mask_dir: Path) -> tuple[list[tuple[Path, list[Path]]], list[tuple[str, str]]]:
    """Photographs with their masks, and the (name, reason) of the files that have no partner."""
    pictures = sorted(path for path in image_dir.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if image_dir == mask_dir:
        pictures = [path for path in pictures if path.suffix.lower() != ".png"]
    stems = {path.stem for path in pictures}
    by_stem: dict[str, list[Path]] = {}
    for path in sorted(mask_dir.glob("*.png")):
        head, _, tail = path.stem.rpartition("_")
        # X_1 is the first object of X, unless a photograph is called X_1 itself.
        stem = head if tail.isdigit() and path.stem not in stems else path.stem
        by_stem.setdefault(stem, []).append(path)
    unpaired = [(path.name, WITHOUT_MASK) for path in pictures if path.stem not in by_stem]
    strays = (path for stem, masks in by_stem.items() if stem not in stems for path in masks)
    unpaired += [(path.name, WITHOUT_PHOTOGRAPH) for path in strays]
    return [(path, by_stem[path.stem]) for path in pictures if path.stem in by_stem], unpaired


class CocoInstances(MaskedImages):
    """COCO instance annotations, without crowds.

    Args:
        annotations: The `instances_*.json` file.
        images: Folder of the photographs.
        on_bad: See `MaskedImages`.

    Raises:
        FileNotFoundError: The file or the folder is missing.
        ImportError: pycocotools is not installed.
        ValueError: The file holds something else, or no photograph has an annotation; or, with `on_bad="raise"`, an
            annotation is of a photograph that is not listed.
    """

    def __init__(self, annotations: str | Path, images: str | Path, on_bad: str = "skip") -> None:
        try:
            import pycocotools  # noqa: F401
        except ImportError as error:
            raise ImportError("COCO annotations need pycocotools: pip install pycocotools") from error
        content = _coco_content(annotations)
        self.folder = Path(images)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"the photographs' folder {str(images)!r} is missing")
        by_image: dict[int, list[dict]] = {image["id"]: [] for image in content["images"]}
        strays = []
        for annotation in content["annotations"]:
            if annotation["image_id"] not in by_image:
                strays.append((f"annotation {annotation.get('id')}", WITHOUT_PHOTOGRAPH))
            elif not annotation.get("iscrowd"):
                by_image[annotation["image_id"]].append(annotation)
        entries = [(image, by_image[image["id"]]) for image in content["images"]]
        super().__init__([entry for entry in entries if entry[1]], on_bad, strays)
        for image, annotated in entries:
            if not annotated:
                self.report.add(image["file_name"], WITHOUT_MASK)  # as many of COCO's are, so none is refused

    def name(self, index: int) -> str:
        """What a photograph is called in reports: its file's name in the list, with the folder if it has one."""
        return self.entries[index][0]["file_name"]

    def image_path(self, index: int) -> Path:
        """Where a photograph lies."""
        return self.folder / self.entries[index][0]["file_name"]

    def raw_masks(self, index: int) -> Iterator[tuple[str, np.ndarray | Exception]]:
        """The masks of a photograph as they are stored."""
        from pycocotools import mask as coco_masks

        record, annotations = self.entries[index]
        height, width = record["height"], record["width"]
        for annotation in annotations:
            name = f"{record['file_name']}, annotation {annotation.get('id')}"
            try:
                segmentation = annotation["segmentation"]
                if isinstance(segmentation, list):
                    segmentation = coco_masks.merge(coco_masks.frPyObjects(segmentation, height, width))
                elif isinstance(segmentation["counts"], list):
                    segmentation = coco_masks.frPyObjects(segmentation, height, width)
                yield name, coco_masks.decode(segmentation).astype(bool)
            except Exception as error:  # pycocotools raises whatever its C code meets
                yield name, error


def _coco_content(path: str | Path) -> dict[str, list[dict]]:
    try:
        content = json.loads(Path(path).read_text())
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is not JSON: {error}") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in COCO_FIELDS):
        raise ValueError(f"{str(path)!r} holds no COCO instances: it lacks 'images' or 'annotations'")
    for part, wanted in COCO_FIELDS.items():
        for place, record in enumerate(content[part]):
            if missing := [key for key in wanted if not isinstance(record, dict) or key not in record]:
                raise ValueError(f"{str(path)!r} holds no COCO instances: entry {place} of {part!r} lacks {missing}")
    return content


def open_dataset(path: str | Path, images: str | Path | None = None, on_bad: str = "skip") -> MaskedImages:
    """A folder of pairs, or COCO instances where `path` is a JSON file (photographs in `images`)."""
    path = Path(path)
    if path.suffix == ".json":
        return CocoInstances(path, images if images is not None else path.parent, on_bad)
    return ImageMaskFolder(path, on_bad)
