"""The files of onnxruntime-web that a browser needs: one pinned version, fetched once with npm, checked each time."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sam_hq_numpy.atomic_writing import new_directory

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
_FETCH_SECONDS = 600


@dataclass(frozen=True)
class RuntimeFile:
    """One file.

    Args:
        name: In the folder `dist` of the package.
        served_as: On the page. Some web servers do not know `.mjs`, and browsers refuse scripts of unknown types.
        sha256: Of its contents.
    """

    name: str
    served_as: str
    sha256: str


FILES = (
    RuntimeFile(
        "ort.wasm.bundle.min.mjs", "ort.js", "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90"
    ),
    RuntimeFile(
        "ort-wasm-simd-threaded.wasm",
        "ort-wasm-simd-threaded.wasm",
        "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    ),
)


def runtime_folder(folder: str | Path | None = None) -> Path:
    """Find the folder with the files; fetch them if they are not on this machine.

    Args:
        folder: Where they are; None for the cache, which is filled by npm when it is empty.

    Raises:
        ValueError: If a file is missing or another one than it should be, or npm is needed and not installed.
        OSError: If the cache cannot be written, or npm cannot fetch the package.
    """
    if folder is not None:
        return _checked(Path(folder))
    cached = cache_folder()
    if not cached.is_dir():
        try:
            _fetch(cached)
        except OSError:
            if not cached.is_dir():  # else another process was quicker
                raise
    return _checked(cached)


def cache_folder() -> Path:
    """Where the files are kept: below `XDG_CACHE_HOME`, or `~/.cache`."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "sam-hq" / f"{PACKAGE}-{VERSION}"


@contextlib.contextmanager
def npm_archive(package: str, version: str) -> Iterator[tarfile.TarFile]:
    """A package as npm packs it, opened; its files lie below `package/`.

    Args:
        package: Its name.
        version: Exactly this one.

    Raises:
        FileNotFoundError: If npm is not installed.
        OSError: If npm cannot fetch the package, or the archive is damaged or lacks a file that is asked for.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(f"{package} {version} is fetched with npm, which is not installed")
    with tempfile.TemporaryDirectory() as work:
        try:
            packed = subprocess.run(
                [npm, "pack", f"{package}@{version}", "--silent", "--pack-destination", work],
                capture_output=True,
                text=True,
                timeout=_FETCH_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise OSError(f"npm could not fetch {package} {version} within {_FETCH_SECONDS} seconds") from error
        archives = list(Path(work).glob("*.tgz"))
        if packed.returncode or len(archives) != 1:
            raise OSError(f"npm could not fetch {package} {version}: {packed.stderr.strip()[-500:]}")
        try:
            with tarfile.open(archives[0]) as archive:
                yield archive
        except (tarfile.TarError, EOFError, zlib.error, KeyError) as error:
            raise OSError(f"npm fetched no whole {package} {version}: {error}") from error


def _fetch(folder: Path) -> None:
    if shutil.which("npm") is None:
        raise ValueError(
            f"the runtime of the page is fetched with npm, which is not installed: install it, or unpack {PACKAGE} "
            f"{VERSION} and name its folder dist with --runtime"
        )
    with npm_archive(PACKAGE, VERSION) as archive, new_directory(folder) as aside:
        for file in FILES:
            member = archive.extractfile(f"package/dist/{file.name}")
            if member is None:
                raise KeyError(f"dist/{file.name} is no file")
            (aside / file.name).write_bytes(member.read())
        _checked(aside)


def _checked(folder: Path) -> Path:
    for file in FILES:
        path = folder / file.name
        if not path.is_file():
            raise ValueError(f"there is no {file.name} in {str(folder)!r}; it must hold the dist files of {PACKAGE}")
        if hashlib.sha256(path.read_bytes()).hexdigest() != file.sha256:
            raise ValueError(f"{str(path)!r} is not the file of {PACKAGE} {VERSION}")
    return folder


if __name__ == "__main__":
    print(runtime_folder())  # noqa: T201
