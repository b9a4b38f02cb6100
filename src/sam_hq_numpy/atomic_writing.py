"""Files and directories that appear whole or not at all: written aside, then renamed."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Give a path to write to, which takes the name `path` when the block ends without an error.

    An existing file is replaced. Missing parent directories are made. After an error nothing is left behind.

    Args:
        path: Where the finished file will be.

    Yields:
        A path beside it, with the same suffix, on the same file system.

    Raises:
        OSError: If `path` is a directory or cannot be written; before the block runs.
    """
    path = Path(path)
    aside = _touched(path)
    try:
        yield aside
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Refuse a file that could not be written, before the work that makes its content.

    Args:
        path: Where a file will go.

    Raises:
        OSError: If `path` is a directory or cannot be written.
    """
    _touched(Path(path)).unlink()


def check_free_directory(path: str | Path) -> None:
    """Refuse a directory that could not be made, before the work that fills it.

    Args:
        path: Where the directory will be; nothing, or an empty directory, may be there.

    Raises:
        FileExistsError: If `path` is a file or a directory with contents.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"output {str(path)!r} exists already; name a new or an empty directory")


@contextmanager
def new_directory(path: str | Path) -> Iterator[Path]:
    """Give an empty directory to fill, which takes the name `path` when the block ends without an error.

    Missing parent directories are made. After an error nothing is left behind.

    Args:
        path: Where the finished directory will be; nothing, or an empty directory, may be there.

    Yields:
        A directory on the same file system.

    Raises:
        OSError: If `path` is a file or a directory with contents, or cannot be written; before the block runs.
    """
    path = Path(path)
    check_free_directory(path)
    aside = _aside(path, "")
    aside.mkdir()
    try:
        yield aside
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            path.rmdir()
        aside.rename(path)
    finally:
        if aside.exists():
            shutil.rmtree(aside)


def _touched(path: Path) -> Path:
    if path.is_dir():
        raise IsADirectoryError(f"cannot write the file {str(path)!r}: it is a directory")
    aside = _aside(path, path.suffix)
    aside.touch()
    return aside


def _aside(path: Path, suffix: str) -> Path:
    """A free name in the nearest directory above `path` that exists, so that failing leaves no empty parents."""
    above = path.absolute().parent
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise NotADirectoryError(f"cannot write {str(path)!r}: {str(above)!r} is not a directory")
    return above / f".{path.name}.{uuid.uuid4().hex[:12]}.partial{suffix}"
