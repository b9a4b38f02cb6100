"""Folders of photos and of masks as files, in the layouts that people have."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sam_hq_numpy.photo_files import image_suffixes
from sam_hq_numpy.stored_masks import LOSSY_SUFFIXES, read_mask

from .masked_images import WITHOUT_IMAGE, WITHOUT_MASK, MaskedImages, NothingFoundError, path_within, pictures_below

PHOTO_FOLDERS = ("im", "images", "image", "imgs", "img", "photos")
MASK_FOLDERS = ("gt", "masks", "mask", "ground_truth", "segmentations", "annotations", "labels")
# A mask's name is its photo's, with a word, a number or both.
_MASK_NAME = re.compile(
    r"(?P<of>.*?)(?:(?P<word>[_\-. ](?:masks?|gt|seg|segmentation|matte|label))(?:[_\-]?\d+)?|(?P<number>[_\-]\d+))?",
    re.IGNORECASE,
)

Entry = tuple[Path, list[Path]]
Unpaired = list[tuple[str, str]]


class ImageMaskFolder(MaskedImages):
    """Photos and masks as files: HQSeg-44K's layout, or a `manifest.csv` with columns `image` and `mask`.

    In HQSeg-44K's layout `X.jpg` and `X.png` lie side by side, or in two folders (`im` and `gt`, or `images` and
    `masks`, with the same folders below them); `X_0.png`, `X_1.png` are several objects of `X`. `X_mask.png` is a
    mask of `X` too, and so are all files of a folder `masks/X`. Every format that Pillow decodes is read, masks as
    `sam_hq_numpy.stored_masks.read_mask` says.

    Args:
        folder: The dataset's folder.
        on_bad: See `MaskedImages`.

    Raises:
        FileNotFoundError: The folder is missing.
        ValueError: It holds no pair; or, with `on_bad="raise"`, a photo or a mask that has no partner.
    """

    def __init__(self, folder: str | Path, on_bad: str = "skip") -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"the dataset's folder {str(folder)!r} is missing")
        entries: list[Entry] = []
        unpaired: Unpaired = []
        if (self.folder / "manifest.csv").exists():
            self.folders = (self.folder / "images", self.folder / "masks")
            entries = _manifest_entries(*self.folders)
        else:
            places = _folders_of_pairs(self.folder)
            self.folders = places[0] if len(places) == 1 else (self.folder, self.folder)
            for photo_folder, mask_folder in places:
                pairs, alone = _paired_entries(photo_folder, mask_folder)
                entries += pairs
                unpaired += [(path_within(self.folders[0], path), WITHOUT_MASK) for path in alone[0]]
                unpaired += [(path_within(self.folders[1], path), WITHOUT_IMAGE) for path in alone[1]]
        if not entries:
            raise NothingFoundError(f"{str(folder)!r} holds no image with a mask of its name")
        super().__init__(entries, on_bad, unpaired)

    def name(self, index: int) -> str:
        """What a photo is called in reports: its path in the folder of photos."""
        return path_within(self.folders[0], self.image_path(index))

    def raw_masks(self, index: int, size: tuple[int, int]) -> Iterator[tuple[str, np.ndarray | Exception]]:  # noqa: ARG002
        """The masks of a photo as they are stored."""
        for path in self.entries[index][1]:
            yield path_within(self.folders[1], path), read_mask(path)


def _manifest_entries(image_dir: Path, mask_dir: Path) -> list[Entry]:
    masks: dict[Path, list[Path]] = {}
    manifest = image_dir.parent / "manifest.csv"
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if missing := {"image", "mask"} - set(rows.fieldnames or ()):
                raise ValueError(f"{str(manifest)!r} lacks the columns {sorted(missing)}")
            for row in rows:
                if not (row["image"] and row["mask"]):
                    raise ValueError(f"{str(manifest)!r}, line {rows.line_num}: an image or a mask is missing")
                masks.setdefault(image_dir / row["image"], []).append(mask_dir / row["mask"])
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(manifest)!r} is not UTF-8: {error}") from error
    return list(masks.items())


def _folders_of_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Where the photos and the masks of a dataset lie: in one place, or in one for each part of it."""
    if pair := _pair_in(folder):
        return [pair]
    below = [pair for part in sorted(folder.rglob("*")) if part.is_dir() and (pair := _pair_in(part))]
    return below or [(folder, folder)]


def _pair_in(folder: Path) -> tuple[Path, Path] | None:
    by_name = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    masks = next((by_name[name] for name in MASK_FOLDERS if name in by_name), None)
    photos = next((by_name[name] for name in PHOTO_FOLDERS if name in by_name), None)
    suffixes = set(image_suffixes())
    if masks is None or not pictures_below(masks, suffixes):
        return None
    if photos is None and any(path.suffix.lower() in suffixes for path in folder.iterdir() if path.is_file()):
        photos = folder
    return None if photos is None else (photos, masks)


def _paired_entries(photo_folder: Path, mask_folder: Path) -> tuple[list[Entry], tuple[list[Path], list[Path]]]:
    """Photos with their masks, and the photos and the masks that have no partner."""
    suffixes = image_suffixes()
    photos, masks = pictures_below(photo_folder, suffixes), pictures_below(mask_folder, suffixes)
    if photo_folder == mask_folder:
        photos, masks = _told_apart(photos)
    elif mask_folder.is_relative_to(photo_folder):
        photos = [path for path in photos if path.parent == photo_folder]
    by_name: dict[str, list[Path]] = {}  # by the path in the folder, without the suffix
    by_stem: dict[str, list[Path]] = {}
    for path in photos:
        by_name.setdefault(_name_in(photo_folder, path), []).append(path)
        by_stem.setdefault(path.stem, []).append(path)
    only_photo = photos if len(photos) == 1 and photo_folder != mask_folder else []
    of_photo: dict[Path, list[Path]] = {path: [] for path in photos}
    strays = []
    for mask in masks:
        partners = _partners(mask, mask_folder, by_name, by_stem) or only_photo
        for photo in partners:
            of_photo[photo].append(mask)
        if not partners:
            strays.append(mask)
    pairs = [(photo, found) for photo, found in of_photo.items() if found]
    return pairs, ([photo for photo, found in of_photo.items() if not found], strays)


def _partners(
    mask: Path, mask_folder: Path, by_name: dict[str, list[Path]], by_stem: dict[str, list[Path]]
) -> list[Path]:
    """The photos of a mask: of its path, its folder's, or its name's where that is one photo's alone."""
    folder = mask.parent.relative_to(mask_folder)
    names = _possible_names(mask)
    for name in names:
        if found := by_name.get((folder / name).as_posix()):
            return found
    if found := by_name.get(folder.as_posix()):
        return found
    for name in names:
        if len(found := by_stem.get(name, [])) == 1:
            return found
    return []


def _possible_names(mask: Path) -> list[str]:
    """The names that the photo of a mask may have, the likeliest first: the mask's own, then shorter ones."""
    match = _MASK_NAME.fullmatch(mask.stem)
    names = [mask.stem, Path(mask.stem).stem]  # X.jpg.png is a mask of X.jpg
    if match is not None:
        names += [match["of"], re.sub(r"[_\-]\d+$", "", match["of"]) if match["word"] else ""]
    names.append(re.sub(r"^(?:mask|gt)[_\-]", "", mask.stem, flags=re.IGNORECASE))
    return [name for name in dict.fromkeys(names) if name]


def _told_apart(pictures: list[Path]) -> tuple[list[Path], list[Path]]:
    """Which pictures of one folder are photos, and which are masks of others."""
    named = {(path.parent, path.stem) for path in pictures}
    photos, masks = [], []
    by_place: dict[tuple[Path, str], list[Path]] = {}
    for path in pictures:
        match = _MASK_NAME.fullmatch(path.stem)
        of_another = match is not None and match["word"] and (path.parent, match["of"]) in named
        if of_another:
            masks.append(path)
        else:
            by_place.setdefault((path.parent, path.stem), []).append(path)
    marked = {(path.parent, match["of"]) for path in masks if (match := _MASK_NAME.fullmatch(path.stem))}
    for place, alike in by_place.items():
        # Of files of one name the photo is the lossy one, a mask is a PNG before anything else.
        alike = sorted(alike, key=lambda path: (_is_png(path), path.suffix.lower() not in LOSSY_SUFFIXES))
        if place in marked or not _is_png(alike[0]):
            photos.append(alike[0])
            masks += [path for path in alike[1:] if path.suffix.lower() not in LOSSY_SUFFIXES]
            photos += [path for path in alike[1:] if path.suffix.lower() in LOSSY_SUFFIXES]
        else:
            masks += alike
    return sorted(photos), sorted(masks)


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


def _name_in(folder: Path, path: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()
