"""Which process works on what: locks that the operating system takes back when a process ends, however it ends."""

import errno
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Offset 0 is the whole folder's; those of keys lie above, and beyond the end of the file, which stays empty.
_LOWEST, _OFFSETS = 1, 2**61
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)


class Claims:
    """Claims on the images of one folder's job, one byte of one file locked for each.

    A killed process leaves none behind. Claims keep processes apart, on machines that share the folder too where its
    file system passes locks on; they do not keep threads of one process apart.

    Args:
        path: The file; made where it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def take(self, key: str) -> bool:
        """Claim a key; False if another process has it.

        Args:
            key: What is claimed.

        Raises:
            OSError: If the file system has no locks.
        """
        try:
            self._lock(_offset(key), wait=False)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            raise OSError(
                f"cannot claim images in {str(self.path.parent)!r}, whose file system has no locks: {error}; work in "
                "another folder"
            ) from error
        return True

    def give_back(self, key: str) -> None:
        """Let others have a key."""
        self._unlock(_offset(key))

    @contextmanager
    def of_folder(self) -> Iterator[None]:
        """Hold the claim on the folder as a whole; waits while another process holds it."""
        self._lock(0, wait=True)
        try:
            yield
        finally:
            self._unlock(0)

    def close(self) -> None:
        """Give everything back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _lock(self, offset: int, wait: bool) -> None:
        if sys.platform == "win32":
            os.lseek(self._file, offset, os.SEEK_SET)
            msvcrt.locking(self._file, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        else:
            fcntl.lockf(self._file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), 1, offset)

    def _unlock(self, offset: int) -> None:
        if sys.platform == "win32":
            os.lseek(self._file, offset, os.SEEK_SET)
            msvcrt.locking(self._file, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, offset)


def _offset(key: str) -> int:
    return _LOWEST + int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % _OFFSETS
