"""Photos with ground-truth masks on disk, in any known layout, with the bad ones named."""

from pathlib import Path

from sam_hq_numpy.json_files import read_json

from .label_map_folder import NAMES_FILE, LabelMapFolder
from .mask_folders import ImageMaskFolder
from .masked_images import BadDataReport, MaskedImages, NothingFoundError, pictures_below
from .outline_files import YAML_SUFFIXES, CocoInstances, LabelMeFolder, YoloSegments

LAYOUTS = """understood are
  X.jpg and X.png (or X_0.png, X_1.png ..., X_mask.png) in one folder, or in two: im and gt, images and masks
  manifest.csv with the columns image and mask, of files in images and masks
  label maps: images and labels with one PNG for each image, beside label_names.txt
  a COCO file with its images beside it, in the folder of --images, or named in a folder that holds it
  LabelMe files, X.json beside X.jpg
  YOLO segmentation: data.yaml, or the folders images and labels with X.txt for X.jpg"""


def open_dataset(
    path: str | Path, images: str | Path | None = None, on_bad: str = "skip", split: str = "train"
) -> MaskedImages:
    """Open a dataset of any layout.

    Args:
        path: A folder, a COCO file, or the `data.yaml` of YOLO labels.
        images: Folder of a COCO file's photos; None for its own, and for other layouts.
        on_bad: See `MaskedImages`.
        split: Which part of a `data.yaml` is wanted.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: It holds no layout that is understood, which the message shows, or nothing usable; or `images` is
            given, and it is no COCO file.
    """
    dataset = _opened(Path(path), images, on_bad, split)
    if images is not None and not isinstance(dataset, CocoInstances):
        raise ValueError(f"the folder of photos {str(images)!r} is for a COCO file, got {str(path)!r}")
    return dataset


def _opened(path: Path, images: str | Path | None, on_bad: str, split: str) -> MaskedImages:
    if not path.exists():
        raise FileNotFoundError(f"there is no data at {str(path)!r}")
    if path.suffix.lower() == ".json":
        return CocoInstances(path, images if images is not None else path.parent, on_bad)
    if path.suffix.lower() in YAML_SUFFIXES:
        return YoloSegments(path, on_bad, split)
    if not path.is_dir():
        raise ValueError(f"{str(path)!r} is a file of another kind; {LAYOUTS}")
    if (path / NAMES_FILE).is_file():
        return LabelMapFolder(path, on_bad)
    try:
        return ImageMaskFolder(path, on_bad)
    except NothingFoundError as error:
        nothing = str(error)
    documents = pictures_below(path, (".json",))
    coco = [document for document in documents if _is_coco(document)]
    if len(coco) > 1:
        names = ", ".join(document.relative_to(path).as_posix() for document in coco[:5])
        raise ValueError(f"{str(path)!r} holds {len(coco)} COCO files ({names}): name the one that is meant")
    if coco:
        return CocoInstances(coco[0], images if images is not None else _photos_of_coco(path, coco[0]), on_bad)
    data_files = [path / f"data{suffix}" for suffix in YAML_SUFFIXES if (path / f"data{suffix}").is_file()]
    try:
        if data_files:
            return YoloSegments(data_files[0], on_bad, split)
        return LabelMeFolder(path, on_bad) if documents else YoloSegments(path, on_bad, split)
    except NothingFoundError as error:
        raise ValueError(f"{nothing}; {LAYOUTS}") from error


def _is_coco(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(1 << 16)
        if b'"shapes"' in start:
            return False
        content = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and isinstance(content.get("images"), list) and "annotations" in content


def _photos_of_coco(folder: Path, document: Path) -> Path:
    """Where the photos of a COCO file lie: beside it, in the folder, or in its `images`."""
    records = read_json(document)["images"]
    name = records[0].get("file_name") if records and isinstance(records[0], dict) else None
    places = (document.parent, folder, folder / "images")
    return next((place for place in places if isinstance(name, str) and (place / name).is_file()), document.parent)


__all__ = [
    "BadDataReport",
    "CocoInstances",
    "ImageMaskFolder",
    "LabelMeFolder",
    "MaskedImages",
    "YoloSegments",
    "open_dataset",
]
