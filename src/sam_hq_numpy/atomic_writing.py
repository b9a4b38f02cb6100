"""Files and directories that appear whole or not at all: written aside, then renamed."""

import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

if sys.platform != "win32":
    import fcntl

# A directory this young may be one that its process has made and not locked yet, if it is empty.
_SECONDS_TO_LOCK = 60


@contextmanager
def new_file(path: str | Path, keep_leftovers: bool = False) -> Iterator[Path]:
    """Give a path to write to, which takes the name `path` when the block ends without an error.

    An existing file is replaced. Missing parent directories are made. After an error nothing is left behind. What
    killed processes left of the same file is removed, as `new_directory` does it.

    Args:
        path: Where the finished file will be.
        keep_leftovers: Keep what killed processes left; where it is removed, the whole folder is listed.

    Yields:
        A path with the same name, in a directory beside it.

    Raises:
        OSError: If `path` is a directory or cannot be written; before the block runs.
    """
    path = Path(path)
    _check_no_directory(path)
    with _directory_aside(path, keep_leftovers) as aside:
        written = aside / path.name
        written.touch()
        yield written
        path.parent.mkdir(parents=True, exist_ok=True)
        written.replace(path)


def write_text(path: str | Path, text: str, keep_leftovers: bool = False) -> None:
    """Write a text file in UTF-8 as `new_file` does.

    Args:
        path: Where to.
        text: Its content.
        keep_leftovers: As in `new_file`.

    Raises:
        OSError: As `new_file`.
    """
    with new_file(path, keep_leftovers) as aside:
        aside.write_text(text, encoding="utf-8")


def check_writable(path: str | Path) -> None:
    """Refuse a file that could not be written, before the work that makes its content.

    Args:
        path: Where a file will go.

    Raises:
        OSError: If `path` is a directory or cannot be written.
    """
    _check_no_directory(Path(path))
    with _directory_aside(Path(path)):
        pass


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

    Missing parent directories are made. After an error nothing is left behind. What killed processes left of the same
    directory is removed, except on Windows; what a process that lives is writing is locked, and stays.

    Args:
        path: Where the finished directory will be; nothing, or an empty directory, may be there.

    Yields:
        A directory on the same file system.

    Raises:
        OSError: If `path` is a file or a directory with contents, or cannot be written; before the block runs.
    """
    path = Path(path)
    check_free_directory(path)
    with _directory_aside(path) as aside:
        yield aside
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            path.rmdir()
        aside.rename(path)


@contextmanager
def _directory_aside(path: Path, keep_leftovers: bool = False) -> Iterator[Path]:
    """A locked directory of ours in the nearest one above `path` that exists, so that failing leaves no parents."""
    above = path.absolute().parent
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise NotADirectoryError(f"cannot write {str(path)!r}: {str(above)!r} is not a directory")
    if not keep_leftovers:
        _remove_leftovers(above, path.name)
    aside = above / f".{path.name}.{uuid.uuid4().hex[:12]}.partial"
    aside.mkdir()
    lock = _locked(aside, wait=True)  # another process may be looking whether it is a leftover
    try:
        yield aside
    finally:
        if aside.exists():
            shutil.rmtree(aside)
        if lock is not None:
            os.close(lock)


def _remove_leftovers(above: Path, name: str) -> None:
    """Remove the directories of ours in which no process writes any more."""
    ours = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{12}}\.partial")
    names = []
    with suppress(OSError):  # it may be written to and not listed
        names = [name for name in os.listdir(above) if ours.fullmatch(name)]
    for leftover in (above / name for name in names):
        lock = None if leftover.is_symlink() else _locked(leftover)
        if lock is None:
            continue
        with suppress(OSError):  # another process removes it at the same time
            if any(leftover.iterdir()) or time.time() - leftover.stat().st_mtime > _SECONDS_TO_LOCK:
                shutil.rmtree(leftover, ignore_errors=True)
        os.close(lock)


def _locked(directory: Path, wait: bool = False) -> int | None:
    """Lock a directory until what is returned is closed or the process ends; None where that cannot be."""
    if sys.platform == "win32":
        return None
    lock = None
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, it is gone, or the file system has no locks
        if lock is not None:
            os.close(lock)
        return None
    return lock


def _check_no_directory(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"cannot write the file {str(path)!r}: it is a directory")
