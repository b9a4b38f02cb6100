"""From files, folders and patterns to the list of photographs they stand for."""

import glob
from collections.abc import Sequence
from pathlib import Path

PHOTO_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".jp2", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def list_photos(inputs: Sequence[str | Path]) -> list[Path]:
    """List the photographs behind inputs, each once.

    Args:
        inputs: Files, taken whatever their suffix; folders, searched with all below for files with the suffix of a
            picture, hidden ones left out; patterns with `*`, `?`, `[…]` and `**`.

    Returns:
        The paths in the order of the inputs, those of a folder or pattern sorted.

    Raises:
        ValueError: If an input stands for nothing.
    """
    photos: dict[Path, Path] = {}
    for given in inputs:
        found = _found(str(given))
        if not found:
            raise ValueError(f"input {str(given)!r} is no file, and no folder or pattern with photographs in it")
        for path in found:
            photos.setdefault(path.resolve(), path)
    return list(photos.values())


def _found(given: str) -> list[Path]:
    path = Path(given)
    if path.is_file():
        return [path]
    if path.is_dir():
        return _below(path)
    matches = [Path(match) for match in sorted(glob.glob(given, recursive=True))]
    return [photo for match in matches for photo in (_below(match) if match.is_dir() else [match])]


def _below(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PHOTO_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
