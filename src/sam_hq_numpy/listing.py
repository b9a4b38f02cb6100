"""From files, folders and patterns to the list of images they name."""

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from .number_limits import counted
from .photo_files import image_suffixes

# The file that makes a folder one of `sam-hq generate` or `sam-hq annotate`, and the folders of pictures it may hold.
JOB_NAME = "job.json"
JOB_FOLDERS = ("records", "failures", "masks", "overlays", "objects", "cutouts", "labelme", "geojson", "yolo")
# Before the suffix of the pictures that `sam-hq segment` writes where no name is given.
SEGMENTED = ".segmented"
_KEY_BYTES = 80


@dataclass
class ImageListing:
    """The images behind inputs.

    Args:
        images: Their paths, each once, in the order of the inputs, those of a folder or pattern sorted.
        skipped: Other files in folders, by suffix.
        own: How many files were skipped because a job of `sam-hq` wrote them.
    """

    images: list[Path] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    own: int = 0

    def warnings(self) -> list[str]:
        """What was skipped, a line for each reason."""
        said = []
        if self.skipped:
            kinds = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in self.skipped.most_common())
            said.append(f"skipped {counted(self.skipped.total(), 'file')} of other kinds: {kinds}")
        if self.own:
            said.append(f"skipped {counted(self.own, 'picture')} that jobs of sam-hq wrote")
        return said


def list_images(inputs: Sequence[str | Path]) -> ImageListing:
    """List the images behind inputs.

    Args:
        inputs: Files, taken whatever their suffix; folders, searched with all below for the suffixes that Pillow
            decodes, hidden files and folders left out; patterns with `*`, `?`, `[…]` and `**`.

    Raises:
        ValueError: If an input matches nothing.
    """
    listing, suffixes = ImageListing(), frozenset(image_suffixes())
    images: dict[Path, Path] = {}
    is_job = lru_cache(maxsize=None)(_is_job)  # of this call alone: folders become jobs meanwhile
    for given in inputs:
        found, before = False, listing.own
        for path in _found(str(given), suffixes):
            if _is_own(path, is_job):
                listing.own += path.suffix.lower() in suffixes
                continue
            if Path(given).is_dir() and path.suffix.lower() not in suffixes:
                listing.skipped[path.suffix.lower()] += 1
                continue
            found = True
            images.setdefault(path.resolve(), path)
        if not found:
            own = " but those that jobs of sam-hq wrote" if listing.own > before else ""
            raise ValueError(f"input {str(given)!r} is no file, and no folder or pattern with images in it{own}")
    listing.images = list(images.values())
    return listing


def image_key(image: Path) -> str:
    """A file name for what belongs to an image: its own, cut to 80 bytes, and a hash of its full path.

    Args:
        image: The path of the image.
    """
    stem = os.fsencode(image.stem)[:_KEY_BYTES].decode("utf-8", "ignore")
    return f"{stem}-{hashlib.sha256(os.fsencode(image.resolve())).hexdigest()[:12]}"


def relative_name(path: Path, folder: Path) -> str:
    """A path as seen from a folder, with forward slashes; links are followed but for the file's own.

    Args:
        path: The path.
        folder: The folder.
    """
    path = path.parent.resolve() / path.name
    try:
        return Path(os.path.relpath(path, folder.resolve())).as_posix()
    except ValueError:  # on another drive
        return path.as_posix()


def content_digest(path: Path) -> str:
    """Name what a file holds, whatever it is called and however old it is.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _found(given: str, suffixes: frozenset[str]) -> Iterator[Path]:
    path = Path(given)
    if path.is_file():
        yield path
    elif path.is_dir():
        yield from _below(path)
    else:
        for match in sorted(glob.glob(given, recursive=True)):
            if not os.path.isdir(match):
                yield Path(match)
            else:
                yield from (found for found in _below(Path(match)) if found.suffix.lower() in suffixes)


def _below(folder: Path) -> Iterator[Path]:
    paths = []
    for above, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths += [Path(above, name) for name in names if not name.startswith(".")]
    yield from (path for path in sorted(paths) if path.is_file())


def _is_own(path: Path, is_job: Callable[[Path], bool]) -> bool:
    """Whether a command of ours wrote a file: its name says so, or it lies in a folder of a job or is its list."""
    if SEGMENTED in path.suffixes:
        return True
    parents = path.absolute().parents
    if any(child.name in JOB_FOLDERS and is_job(child.parent) for child in parents):
        return True
    return path.suffix == ".json" and is_job(parents[0])


def _is_job(folder: Path) -> bool:
    return (folder / JOB_NAME).is_file() and (folder / "records").is_dir()
