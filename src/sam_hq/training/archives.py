"""Read the files inside Debian packages, npm packages and Qt resource bundles, with the standard library only."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

AR_MAGIC = b"!<arch>\n"
AR_HEADER_SIZE = 60
RCC_MAGIC = b"qres"
RCC_COMPRESSED, RCC_DIRECTORY, RCC_ZSTD = 0x01, 0x02, 0x04


def iterate_archive(path: str | Path) -> Iterator[tuple[str, bytes]]:
    """Yield every regular file of a `.deb` or `.tgz` package, opening Qt resource bundles (`.rcc`) on the way.

    Args:
        path: A Debian package or a gzipped tar archive as npm makes them.

    Yields:
        The name inside the package (for a bundle's file `bundle.rcc:/name`) and the content.

    Raises:
        ValueError: The file is neither kind of package, or is damaged.
    """
    path = Path(path)
    raw = path.read_bytes()
    tar_bytes = _debian_data_member(raw, path) if raw.startswith(AR_MAGIC) else raw
    try:
        with tarfile.open(fileobj=io.BytesIO(tar_bytes)) as tar:
            for member in tar:
                if not member.isfile():
                    continue
                content = tar.extractfile(member).read()
                if content.startswith(RCC_MAGIC):
                    yield from ((f"{member.name}:/{name}", blob) for name, blob in iterate_rcc(content))
                else:
                    yield member.name, content
    except tarfile.TarError as error:
        raise ValueError(f"{path} is neither a Debian package nor a tar archive: {error}") from error


def _debian_data_member(raw: bytes, path: Path) -> bytes:
    position = len(AR_MAGIC)
    while position + AR_HEADER_SIZE <= len(raw):
        header = raw[position : position + AR_HEADER_SIZE]
        name, size = header[:16].decode().strip().rstrip("/"), int(header[48:58])
        position += AR_HEADER_SIZE
        if name.startswith("data.tar"):
            return raw[position : position + size]
        position += size + size % 2  # members are aligned to even offsets
    raise ValueError(f"{path} has no data.tar member: it is not a Debian package")


def iterate_rcc(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a Qt resource bundle; files compressed with zstd are skipped, as are damaged ones.

    Args:
        content: The bytes of the `.rcc` file.

    Yields:
        The path inside the bundle and the content.

    Raises:
        ValueError: The bytes are not a resource bundle.

    Source: the layout that Qt's resource compiler writes (`qtbase/src/tools/rcc`), versions 1 to 3.
    """
    if not content.startswith(RCC_MAGIC):
        raise ValueError(f"a Qt resource bundle begins with {RCC_MAGIC!r}, got {content[:4]!r}")
    version, tree, data, names = (int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(4))
    node_size = 14 if version == 1 else 22  # since version 2 a node also holds the time of modification

    def node_name(node: int) -> str:
        start = names + int.from_bytes(content[node : node + 4], "big")
        length = int.from_bytes(content[start : start + 2], "big")
        return content[start + 6 : start + 6 + 2 * length].decode("utf-16-be")  # 4 bytes of hash in between

    def walk(index: int, prefix: str) -> Iterator[tuple[str, bytes]]:
        node = tree + node_size * index
        flags = int.from_bytes(content[node + 4 : node + 6], "big")
        path = prefix if index == 0 else f"{prefix}/{node_name(node)}".lstrip("/")
        if flags & RCC_DIRECTORY:
            count, first = (int.from_bytes(content[node + 6 + 4 * i : node + 10 + 4 * i], "big") for i in range(2))
            for child in range(first, first + count):
                yield from walk(child, path)
            return
        start = data + int.from_bytes(content[node + 10 : node + 14], "big")
        blob = content[start + 4 : start + 4 + int.from_bytes(content[start : start + 4], "big")]
        if flags & RCC_ZSTD:
            return
        if flags & RCC_COMPRESSED:
            blob = zlib.decompress(blob[4:])  # 4 bytes hold the uncompressed size
        yield path, blob

    yield from walk(0, "")
