"""Photos with label maps as ground truth."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from sam_hq_numpy.mask_regions import connected_parts
from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.number_limits import check_number
from sam_hq_numpy.photo_files import image_suffixes

from .masked_images import WITHOUT_MASK, MaskedImages

NAMES_FILE, UNIONS_FILE = "label_names.txt", "unions.txt"
# Labels of these names are no objects.
NO_OBJECT = frozenset({"", "null", "none", "background", "unlabelled", "unlabeled", "void", "ignore", "other"})
EVERYTHING = "*"


class LabelMapFolder(MaskedImages):
    """Photos in `images` with label maps of their names in `labels`: PNG, a number at every pixel.

    The objects of a photo are the connected parts of every kind, and what `unions.txt` joins: each of its lines holds
    the names of kinds, separated by commas, that are one object together, as a person is with all garments; `*` stands
    for all kinds. `label_names.txt` names the numbers, line by line from 0; kinds that are called null, background,
    unlabelled or void, and numbers without a name, are no objects. Without that file 0 is none, nor is 255 where it is
    the largest number.

    Args:
        folder: The dataset's folder.
        on_bad: See `MaskedImages`.
        smallest_share: Smallest part that is an object, as a share of the photo.

    Raises:
        FileNotFoundError: A folder is missing.
        ValueError: No photo has a label map, or `unions.txt` names an unknown kind; or, with `on_bad="raise"`, a photo
            has no label map.
    """

    def __init__(self, folder: str | Path, on_bad: str = "skip", smallest_share: float = 0.002) -> None:
        check_number("smallest_share", smallest_share, at_least=0, below=1)
        self.folder, self.smallest_share = Path(folder), smallest_share
        for part in ("images", "labels"):
            if not (self.folder / part).is_dir():
                raise FileNotFoundError(f"the dataset's folder {str(self.folder / part)!r} is missing")
        self.names = _lines(self.folder / NAMES_FILE)
        self.unions = [self._kinds(line) for line in _lines(self.folder / UNIONS_FILE) if line]
        suffixes, images = image_suffixes(), (self.folder / "images").iterdir()
        photos = sorted(path for path in images if path.suffix.lower() in suffixes)
        entries = [path for path in photos if self._map_path(path).exists()]
        if not entries:
            raise ValueError(f"{str(folder)!r} holds no photo with a label map of its name in labels")
        super().__init__(entries, on_bad, [(path.name, WITHOUT_MASK) for path in photos if path not in entries])

    def name(self, index: int) -> str:
        """The file's name of a photo."""
        return self.entries[index].name

    def image_path(self, index: int) -> Path:
        """Where a photo lies."""
        return self.entries[index]

    def raw_masks(self, index: int, size: tuple[int, int]) -> Iterator[tuple[str, np.ndarray | Exception]]:
        """The objects of a photo, each named by its kind."""
        path = self._map_path(self.entries[index])
        try:
            with Image.open(path) as image:
                labels = np.asarray(image)
        except Exception as error:  # damaged files raise OSError, SyntaxError, struct.error and others
            yield path.name, error
            return
        if labels.shape != tuple(size):
            yield path.name, labels  # refused as a mask of that shape is
            return
        found = [int(label) for label in np.unique(labels)]
        present = [label for label in found if self._is_object(label, found[-1])]
        for kinds in self.unions:
            chosen = present if kinds is None else [label for label in present if label in kinds]
            if chosen:
                yield f"{path.name}, {len(chosen)} kinds as one", np.isin(labels, chosen)
        for label in present:
            whole = RunLengthMask.from_mask(labels == label)
            for part in connected_parts(whole, max(1, self.smallest_share * labels.size)):
                yield f"{path.name}, label {label}", part.to_mask()

    def _map_path(self, photo: Path) -> Path:
        return self.folder / "labels" / f"{photo.stem}.png"

    def _is_object(self, label: int, largest: int) -> bool:
        if not self.names:
            return label != 0 and not label == largest == 255
        return label < len(self.names) and self.names[label].lower() not in NO_OBJECT

    def _kinds(self, line: str) -> set[int] | None:
        """The numbers of the kinds that a line names; None for all."""
        if line == EVERYTHING:
            return None
        names = [name.strip() for name in line.split(",")]
        if unknown := [name for name in names if name not in self.names]:
            raise ValueError(f"{UNIONS_FILE} names {unknown}, which {NAMES_FILE} does not; its lines are names or '*'")
        return {number for number, name in enumerate(self.names) if name in names}


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()] if path.exists() else []
