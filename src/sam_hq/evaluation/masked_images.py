"""Photos with their masks as a sequence, from any storage, and the report of what is unusable."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sam_hq_numpy.number_limits import check_choice
from sam_hq_numpy.photo_files import decoded_rgb
from sam_hq_numpy.stored_masks import as_mask, mask_fault

ON_BAD = ("skip", "raise")
WITHOUT_MASK, WITHOUT_IMAGE = "image without a mask", "mask without an image"


@dataclass
class BadDataReport:
    """What was skipped of a dataset, and why.

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
            f"skipped {count}: {reason} (such as {', '.join(examples[reason])})"
            for reason, count in self.counts.most_common()
        )


class NothingFoundError(ValueError):
    """A folder that holds nothing of the layout it was opened as."""


class MaskedImages:
    """A sequence of photos with their masks.

    Args:
        entries: One record per photo: its path, and what its masks are read from. Subclasses with other records say
            where a photo lies.
        on_bad: `skip` leaves bad masks and photos out and counts them in `report`; `raise` raises ValueError.
        unpaired: The (name, reason) of what no entry was made of.

    Raises:
        ValueError: There is no entry, `on_bad` is neither, or it is `raise` and something is unpaired.
    """

    folder: Path

    def __init__(self, entries: list[Any], on_bad: str = "skip", unpaired: Iterable[tuple[str, str]] = ()) -> None:
        check_choice("on_bad", on_bad, ON_BAD)
        if not entries:
            raise ValueError("the dataset has no image")
        self.entries, self.on_bad, self.report = entries, on_bad, BadDataReport()
        for name, reason in unpaired:
            self.report.add(name, reason, on_bad)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The photo (H, W, 3) uint8, upright, and its usable masks (n, H, W) bool; n is 0 if it is unusable."""
        name = self.name(index)
        try:
            image = decoded_rgb(self.image_path(index))
        except (OSError, ValueError) as error:
            self.report.add(name, f"unreadable image ({type(error).__name__})", self.on_bad)
            return np.zeros((1, 1, 3), np.uint8), np.zeros((0, 1, 1), bool)
        size = (image.shape[0], image.shape[1])
        found = [self._usable(label, raw, size) for label, raw in self.raw_masks(index, size)]
        masks = [mask for mask in found if mask is not None]
        return image, np.stack(masks) if masks else np.zeros((0, *size), bool)

    def name(self, index: int) -> str:
        """What a photo is called in reports: its path in the dataset's folder."""
        return path_within(self.folder, self.image_path(index))

    def image_path(self, index: int) -> Path:
        """Where a photo lies."""
        return self.entries[index][0]

    def raw_masks(self, index: int, size: tuple[int, int]) -> Iterator[tuple[str, np.ndarray | Exception]]:
        """The masks of a photo of (height, width) as they are stored, each with its name.

        An exception instead of one that is unreadable.
        """
        raise NotImplementedError

    def _usable(self, name: str, raw: np.ndarray | Exception, size: tuple[int, int]) -> np.ndarray | None:
        reason = mask_fault(raw, size)
        if reason is not None:
            self.report.add(name, reason, self.on_bad)
            return None
        return as_mask(np.asarray(raw))


def path_within(folder: Path, path: Path) -> str:
    """A path for people: relative to a folder where it lies in it.

    Args:
        folder: The folder.
        path: The path.
    """
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def pictures_below(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files with one of the suffixes in a folder and all below it, hidden ones skipped.

    Args:
        folder: The folder.
        suffixes: In lower case.
    """
    wanted = set(suffixes)
    found = (path for path in folder.rglob("*") if path.suffix.lower() in wanted and path.is_file())
    return sorted(path for path in found if not any(map(_is_hidden, path.relative_to(folder).parts)))


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"
