"""What shows the objects of many images, whatever file it came from."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ..number_limits import shown

# Beyond this, coordinates overflow in the model's arithmetic.
_LARGEST = 1e9


@dataclass(frozen=True)
class ObjectPrompt:
    """What shows one object, in pixels of the upright image.

    Args:
        name: What the object is called in messages.
        category_id: Of the object.
        box: x0 y0 x1 y1, or None.
        points: X y of each point.
        labels: 1 on the object, 0 not; one per point.
        is_relative: Whether coordinates are shares of the image's width and height.
        listed_size: Height and width that the file gives the image, or None.
        facts: What else the file says, as JSON can hold it: `score`, `source_id`.
    """

    name: str
    category_id: int = 1
    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    is_relative: bool = False
    listed_size: tuple[int, int] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def in_pixels(self, size: Sequence[int]) -> ObjectPrompt:
        """The same with coordinates in pixels.

        Args:
            size: Height and width of the image.
        """
        if not self.is_relative:
            return self
        height, width = size
        box = self.box and (self.box[0] * width, self.box[1] * height, self.box[2] * width, self.box[3] * height)
        points = tuple((x * width, y * height) for x, y in self.points)
        return replace(self, box=box, points=points, is_relative=False)

    def fault(self, size: Sequence[int]) -> str | None:
        """What makes the prompt useless for an image, or None.

        Args:
            size: Height and width of the image.
        """
        height, width = size
        if self.listed_size is not None and self.listed_size != (height, width):
            listed = f"{self.listed_size[1]} x {self.listed_size[0]}"
            return f"listed with another size than the image's, {listed} instead of {width} x {height} pixels"
        values = [*(self.box or ()), *(value for point in self.points for value in point)]
        if not values:
            return "neither a box nor a point"
        if not all(abs(value) <= _LARGEST for value in values):  # neither is a NaN
            return "coordinates that are not finite or too large"
        if self.box is not None:
            x0, y0, x1, y1 = self.box
            if x1 <= x0 or y1 <= y0:
                return "a box without area, or with swapped corners"
            if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
                return "a box outside the image"
            if x1 <= 1 and y1 <= 1 and max(size) > 2 and x1 - x0 < 1 and y1 - y0 < 1:
                return "a box of less than a pixel, as if its coordinates were shares of the image"
        if any(x < 0 or y < 0 or x > width or y > height for x, y in self.points):
            return "a point outside the image"
        return None


@dataclass
class PromptSet:
    """The prompts of many images.

    Args:
        objects: For each image that has an entry, its objects; an image may be listed without any.
        categories: Names by id.
        image_ids: Ids of images, where the file gives them.
        bad: (name, reason) of entries that cannot be used.
        without_image: Names of images that entries belong to, but which are not among the images of the job.
        sizes: Height and width of images, where the file gives them.
    """

    objects: dict[Path, list[ObjectPrompt]] = field(default_factory=dict)
    categories: dict[int, str] = field(default_factory=dict)
    image_ids: dict[Path, int] = field(default_factory=dict)
    bad: list[tuple[str, str]] = field(default_factory=list)
    without_image: dict[str, int] = field(default_factory=dict)
    sizes: dict[Path, tuple[int, int]] = field(default_factory=dict)

    def name_categories(self) -> None:
        """Name categories that objects have and the file does not name by their ids."""
        for category in sorted({each.category_id for listed in self.objects.values() for each in listed}):
            self.categories.setdefault(category, str(category))

    def add(self, image: Path, found: ObjectPrompt) -> None:
        """Add an object to an image."""
        self.objects.setdefault(image, []).append(replace(found, listed_size=self.sizes.get(image)))

    def note_size(self, image: Path, height: Any, width: Any) -> None:
        """Note the size that the file gives an image, if it is one."""
        with suppress(ValueError):  # null, a text
            size = whole_number(height), whole_number(width)
            if min(size) > 0:
                self.sizes[image] = size

    def miss(self, name: str) -> None:
        """Count an entry whose image is not there."""
        self.without_image[name] = self.without_image.get(name, 0) + 1


class ImageNames:
    """Finds the image that a file means by a name, among those of the job.

    Args:
        images: The images of the job.
    """

    def __init__(self, images: Sequence[Path]) -> None:
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        self._meant: dict[Path, tuple[str, Sequence[str]]] = {}
        for image in images:
            self._by_name.setdefault(_composed(image.name), []).append(image)
            self._by_stem.setdefault(_composed(image.stem), []).append(image)

    def find(self, name: str, folder: Path = Path()) -> Path | None:
        """The image of a file name with its suffix, with or without folders before it.

        Args:
            name: Such as `a.jpg` or `images/train/a.jpg`; the suffix may be missing.
            folder: Where it starts from, if that is known.

        Raises:
            ValueError: If it may be one of several images, or another name meant the same image.
        """
        parts = (PureWindowsPath(name) if "\\" in name and "/" not in name else PurePosixPath(name)).parts
        if not parts:
            return None
        last = _composed(parts[-1])
        candidates = self._by_name.get(last) or self._by_stem.get(last) or []
        return self._chosen(str(folder / name), (*folder.parts, *parts[:-1]), candidates)

    def find_stem(self, file: Path) -> Path | None:
        """The image of a label file, whose name is the image's up to the suffix.

        Args:
            file: The label file.

        Raises:
            ValueError: If it may be one of several images, or another name meant the same image.
        """
        return self._chosen(str(file), file.parent.parts, self._by_stem.get(_composed(file.stem), []))

    def _chosen(self, name: str, folders: Sequence[str], candidates: list[Path]) -> Path | None:
        """The candidate whose folders agree with those of the name the furthest."""
        if not candidates:
            return None
        image, *others = sorted(candidates, key=lambda image: -_agreement(folders, image.parent.parts))
        if others and _agreement(folders, image.parent.parts) == _agreement(folders, others[0].parent.parts):
            raise ValueError(f"{name!r} may be {str(image)!r} or {str(others[0])!r}: give the images' folders in it")
        before, folders_before = self._meant.setdefault(image, (name, folders))
        if _agreement(folders, folders_before) < min(len(folders), len(folders_before)):
            raise ValueError(
                f"{before!r} and {name!r} would both be {str(image)!r}: leave out what is not of these images"
            )
        return image


def _composed(name: str) -> str:
    """A name with its accents as some systems write them and others do not."""
    return unicodedata.normalize("NFC", name)


def _agreement(folders: Sequence[str], others: Sequence[str]) -> int:
    """How many folders, from the last on, are the same."""
    same = (_composed(one) == _composed(other) for one, other in zip(reversed(folders), reversed(others), strict=False))
    return sum(itertools.takewhile(bool, same))


def number(value: Any) -> float:
    """A coordinate or score as a float.

    Args:
        value: What the file holds.

    Raises:
        ValueError: If it is no number; NaN and infinity are.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{str(value)[:40]!r} is no number")
    try:
        return float(value)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{str(value)[:40]!r} is no number") from error


def finite_score(value: Any, at_most: float = math.inf) -> float:
    """A detector's score as a float.

    Args:
        value: What the file holds.
        at_most: The largest that there is.

    Raises:
        ValueError: If it is no finite number, or a larger one.
    """
    score = number(value)
    if not math.isfinite(score) or score > at_most:
        raise ValueError(f"a score of {score:g}" + (f", above {at_most:g}" if math.isfinite(score) else ""))
    return score


def whole_number(value: Any) -> int:
    """An id as an int.

    Args:
        value: What the file holds; `3.0` is 3.

    Raises:
        ValueError: If it is no whole number.
    """
    as_float = number(value)
    if not math.isfinite(as_float) or as_float != int(as_float):
        raise ValueError(f"{str(value)[:40]!r} is no whole number")
    return int(value) if isinstance(value, int) else int(as_float)


def corners(values: Any, as_size: bool = False) -> tuple[float, float, float, float]:
    """A box from four values.

    Args:
        values: x0 y0 x1 y1, or x y width height.
        as_size: Whether the last two are width and height.

    Raises:
        ValueError: If they are not four numbers.
    """
    if not isinstance(values, list | tuple) or len(values) != 4:
        raise ValueError(f"a box of {shown(values, 60)}, not of four numbers")
    x, y, x1, y1 = map(number, values)
    return (x, y, x + x1, y + y1) if as_size else (x, y, x1, y1)
