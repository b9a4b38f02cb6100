"""The page as a folder for any web server: its own files, an exported model, the runtime, example photos."""

import json
import shutil
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from PIL import Image

from sam_hq_numpy.atomic_writing import check_free_directory, new_directory
from sam_hq_numpy.photo_files import decoded_rgb
from sam_hq_onnx.directory_metadata import directory_metadata
from sam_hq_onnx.metadata import DECODER_FILE, ENCODER_FILE, METADATA_FILE, missing_graph
from sam_hq_onnx.onnx_file import files_beside, stored_metadata

from .browser_runtime import FILES, runtime_folder
from .opened_photo import thumbnail_jpeg

ABOUT_FILE = "about.json"
_SERVER_ONLY = {"server_backend.js"}
_UPLOAD_BYTES = 100_000_000
_PIXELS = 50_000_000
# MPO is what many phones call JPEG.
_SHOWN_BY_BROWSERS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "AVIF")
_MOST_MODEL_BYTES = 1_500_000_000


def write_static_demo(
    directory: str | Path,
    model: str | Path,
    name: str,
    photos: Sequence[str | Path] = (),
    runtime: str | Path | None = None,
) -> Path:
    """Write the folder.

    Args:
        directory: A new or empty directory; it appears whole or not at all.
        model: A directory that `sam-hq export` wrote.
        name: What the page calls the model.
        photos: Photos that the page offers; everyone who can open the page can download them.
        runtime: Folder with onnxruntime-web's files; None for the cache, see `runtime_folder`.

    Returns:
        The directory.

    Raises:
        ValueError: If the model is not one that a browser can run, its files are of different exports, a photo cannot
            be read, or the runtime is another one than it should be.
        OSError: If something cannot be read or written.
    """
    model = Path(model)
    described = _checked_metadata(model)
    found_runtime = runtime_folder(runtime)
    with new_directory(directory) as aside:
        for file in page_files():
            (aside / file.name).write_bytes(file.read_bytes())
        (aside / "model").mkdir()
        for graph in (ENCODER_FILE, DECODER_FILE):
            shutil.copyfile(model / graph, aside / "model" / graph)
        (aside / "model" / METADATA_FILE).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
        (aside / "runtime").mkdir()
        for file in FILES:
            shutil.copyfile(found_runtime / file.name, aside / "runtime" / file.served_as)
        about = {
            "model": name,
            "upload_bytes": _UPLOAD_BYTES,
            "pixels": _PIXELS,
            "examples": [_write_example(aside, i, Path(photo)) for i, photo in enumerate(photos)],
        }
        (aside / ABOUT_FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return Path(directory)


def check_static_demo(
    directory: str | Path, photos: Sequence[str | Path] = (), runtime: str | Path | None = None
) -> None:
    """Refuse what `write_static_demo` would refuse, before a model is exported for it.

    Args:
        directory: As in `write_static_demo`, like the others.
        photos: Photos that the page offers.
        runtime: Folder with onnxruntime-web's files.

    Raises:
        ValueError: If a photo cannot be read, or the runtime is another one than it should be.
        OSError: If the directory has contents, or the runtime cannot be fetched.
    """
    check_free_directory(directory)
    for photo in photos:
        _opened_example(Path(photo))
    runtime_folder(runtime)


def is_static_demo(directory: str | Path) -> bool:
    """Whether a directory was written by `write_static_demo`.

    Args:
        directory: The directory.
    """
    return (Path(directory) / ABOUT_FILE).is_file() and (Path(directory) / "model" / METADATA_FILE).is_file()


def page_files() -> list[Any]:
    """The files of the page: those of the server's demo, and those that replace its server."""
    own, shared = (_files(folder) for folder in ("static", "page"))
    return list({file.name: file for file in (*shared, *own) if file.name not in _SERVER_ONLY}.values())


def _files(folder: str) -> Iterable[Any]:
    return [file for file in resources.files(__package__).joinpath(folder).iterdir() if file.is_file()]


def _checked_metadata(model: Path) -> dict[str, str]:
    """What the graphs say about themselves, once a browser can run them and they are of one export."""
    graphs = [model / name for name in (ENCODER_FILE, DECODER_FILE)]
    for graph in graphs:
        if not graph.is_file():
            raise ValueError(missing_graph(graph))
    if beside := [path for graph in graphs for path in files_beside(graph)]:
        raise ValueError(
            f"the model in {str(model)!r} is too large for a browser, as it has weights in {beside[0].name!r}; take a "
            "smaller backbone or int8"
        )
    of_encoder, of_decoder = (stored_metadata(graph) for graph in graphs)
    metadata = directory_metadata(model, of_encoder, of_decoder)
    if metadata.resample != "bilinear":
        raise ValueError(f"the page resizes images bilinearly, but the model wants {metadata.resample}")
    if sum(graph.stat().st_size for graph in graphs) > _MOST_MODEL_BYTES:
        raise ValueError(f"the model in {str(model)!r} is too large for a browser; take a smaller backbone or int8")
    return {key: value for key, value in of_encoder.items() if key != "graph"}


def _write_example(directory: Path, number: int, photo: Path) -> dict[str, str]:
    """Copy a photo under a plain name, with a thumbnail."""
    folder = directory / "photos"
    folder.mkdir(exist_ok=True)
    picture, suffix = _opened_example(photo)
    copied, thumbnail = f"photos/{number}.{suffix}", f"photos/{number}_small.jpeg"
    shutil.copyfile(photo, directory / copied)
    (directory / thumbnail).write_bytes(thumbnail_jpeg(picture))
    return {"name": photo.name, "photo": copied, "thumbnail": thumbnail}


def _opened_example(photo: Path) -> tuple[Image.Image, str]:
    """A photo as it is seen, and the suffix of its kind."""
    try:
        with Image.open(photo) as image:
            if image.format not in _SHOWN_BY_BROWSERS:
                raise ValueError(f"browsers show {', '.join(_SHOWN_BY_BROWSERS)}, but it is {image.format}")
            return Image.fromarray(decoded_rgb(image, max_pixels=_PIXELS)), image.format.lower()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot offer {photo.name!r}: {error}") from error
