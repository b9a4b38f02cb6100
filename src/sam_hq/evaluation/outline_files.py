"""Photos with their masks read from COCO instances, LabelMe and YOLO segmentation, to train on and to measure."""

from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from sam_hq_numpy.coco_fields import CocoIds, id_text, is_crowd
from sam_hq_numpy.json_files import read_json
from sam_hq_numpy.outlined_masks import check_drawing, coco_mask, labelme_masks, yolo_masks
from sam_hq_numpy.photo_files import image_suffixes
from sam_hq_numpy.stored_masks import UnreadableMaskError

from .masked_images import WITHOUT_IMAGE, WITHOUT_MASK, MaskedImages, NothingFoundError, path_within, pictures_below

COCO_FIELDS = {"images": ("id", "file_name", "height", "width"), "annotations": ("image_id",)}
YAML_SUFFIXES = (".yaml", ".yml")


class CocoInstances(MaskedImages):
    """COCO instance annotations, without crowds.

    Args:
        annotations: The `instances_*.json` file.
        images: Folder of the photos.
        on_bad: See `MaskedImages`.

    Raises:
        FileNotFoundError: The file or the folder is missing.
        ImportError: pycocotools is not installed.
        ValueError: The file holds something else, or no photo has an annotation; or, with `on_bad="raise"`, an
            annotation is of a photo that is not listed.
    """

    def __init__(self, annotations: str | Path, images: str | Path, on_bad: str = "skip") -> None:
        check_drawing()
        content = _coco_content(annotations)
        self.folder = Path(images)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"the images' folder {str(images)!r} is missing")
        entries: list[tuple[dict, list[dict]]] = [(image, []) for image in content["images"]]
        strays = []
        try:
            ids = CocoIds(image["id"] for image in content["images"])
            for annotation in content["annotations"]:
                place = ids.find(annotation["image_id"])
                if place is None:
                    strays.append((f"annotation {annotation.get('id')}", WITHOUT_IMAGE))
                elif not is_crowd(annotation.get("iscrowd")):
                    entries[place][1].append(annotation)
        except ValueError as error:
            raise ValueError(f"{str(annotations)!r} holds no COCO instances: {error}") from error
        super().__init__([entry for entry in entries if entry[1]], on_bad, strays)
        for image, annotated in entries:
            if not annotated:
                self.report.add(image["file_name"], WITHOUT_MASK)  # as many of COCO's are, so none is refused

    def name(self, index: int) -> str:
        """What a photo is called in reports: its file's name in the list, with the folder if it has one."""
        return self.entries[index][0]["file_name"]

    def image_path(self, index: int) -> Path:
        """Where a photo lies."""
        return self.folder / self.entries[index][0]["file_name"]

    def raw_masks(self, index: int, size: tuple[int, int]) -> Iterator[tuple[str, np.ndarray | Exception]]:
        """The masks of a photo, drawn where they are of its size."""
        record, annotations = self.entries[index]
        for annotation in annotations:
            name = f"{record['file_name']}, annotation {annotation.get('id')}"
            try:
                if (record["height"], record["width"]) != size:
                    raise UnreadableMaskError("listed with another size than the image's")
                yield name, coco_mask(annotation.get("segmentation"), size)
            except UnreadableMaskError as error:
                yield name, error


class LabelMeFolder(MaskedImages):
    """LabelMe files beside their photos, or in a folder of their own.

    Args:
        folder: The dataset's folder.
        on_bad: See `MaskedImages`.

    Raises:
        FileNotFoundError: The folder is missing.
        ImportError: pycocotools is not installed.
        ValueError: It holds no LabelMe file of a photo; or, with `on_bad="raise"`, one whose photo is
            missing.
    """

    def __init__(self, folder: str | Path, on_bad: str = "skip") -> None:
        check_drawing()
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"the dataset's folder {str(folder)!r} is missing")
        suffixes = image_suffixes()
        by_stem: dict[str, list[Path]] = {}
        for path in pictures_below(self.folder, suffixes):
            by_stem.setdefault(path.stem, []).append(path)
        entries, strays = [], []
        for path in pictures_below(self.folder, (".json",)):
            try:
                document = read_json(path)
            except ValueError:
                strays.append((path_within(self.folder, path), "no JSON"))
                continue
            if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
                continue
            photo = self._photo_of(path, document, by_stem)
            if photo is None:
                strays.append((path_within(self.folder, path), WITHOUT_IMAGE))
            else:
                entries.append((photo, document))
        if not entries:
            raise NothingFoundError(f"{str(folder)!r} holds no LabelMe file of an image in it")
        super().__init__(entries, on_bad, strays)

    @staticmethod
    def _photo_of(path: Path, document: dict, by_stem: dict[str, list[Path]]) -> Path | None:
        stated = document.get("imagePath")
        parts = PureWindowsPath(stated) if isinstance(stated, str) else PureWindowsPath()  # either slash parts folders
        name = parts.name
        for place in (path.parent / (name if parts.anchor else parts.as_posix()), path.parent / name):
            if name and place.is_file():
                return place
        alike = [photo for stem in {Path(name).stem, path.stem} for photo in by_stem.get(stem, [])]
        named = [photo for photo in alike if photo.name == name] or alike
        return named[0] if len(set(named)) == 1 else None

    def raw_masks(self, index: int, size: tuple[int, int]) -> Iterator[tuple[str, np.ndarray | Exception]]:
        """The objects of a photo, drawn where they are of its size."""
        document = self.entries[index][1]
        stated = (document.get("imageHeight"), document.get("imageWidth"))
        if None not in stated and stated != size:
            yield self.name(index), UnreadableMaskError("listed with another size than the image's")
            return
        for label, raw in labelme_masks(document, size):
            yield f"{self.name(index)}, {label}", raw


class YoloSegments(MaskedImages):
    """YOLO segmentation labels, `labels/X.txt` of `images/X.jpg`.

    Args:
        source: The `data.yaml`, or a folder with `images` and `labels`, or with both side by side.
        on_bad: See `MaskedImages`.
        split: Which part of a `data.yaml` is wanted.

    Raises:
        FileNotFoundError: The file or a folder is missing.
        ImportError: pycocotools is not installed.
        ValueError: There is no such part, or no photo with a label file.
    """

    def __init__(self, source: str | Path, on_bad: str = "skip", split: str = "train") -> None:
        check_drawing()
        source = Path(source)
        self.folder = source if source.is_dir() else source.parent
        photos = _yolo_photos(source, split) if source.is_file() else pictures_below(self.folder, image_suffixes())
        pairs = [(photo, _yolo_label(photo)) for photo in photos]
        entries = [(photo, label) for photo, label in pairs if label.is_file()]
        if not entries:
            raise NothingFoundError(f"{str(source)!r} has no image with a YOLO label file")
        super().__init__(entries, on_bad)
        for photo, label in pairs:
            if not label.is_file():
                self.report.add(path_within(self.folder, photo), WITHOUT_MASK)  # YOLO's way to say: no object

    def raw_masks(self, index: int, size: tuple[int, int]) -> Iterator[tuple[str, np.ndarray | Exception]]:
        """The objects of a photo."""
        label = self.entries[index][1]
        try:
            found = yolo_masks(label.read_text(encoding="utf-8-sig"), size)
        except UnicodeDecodeError as error:
            found = [("", error)]
        for line, raw in found:
            yield f"{path_within(self.folder, label)}, {line}".rstrip(", "), raw


def _yolo_label(photo: Path) -> Path:
    """The label file of a photo: with the last folder `images` of its path called `labels`."""
    parts = list(photo.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place].lower() == "images":
            parts[place] = "labels"
            return Path(*parts).with_suffix(".txt")
    return photo.with_suffix(".txt")


def _yolo_photos(data_file: Path, split: str) -> list[Path]:
    import yaml  # comes with transformers

    try:
        content = yaml.safe_load(data_file.read_text(encoding="utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{str(data_file)!r} is no YAML in UTF-8: {error}") from error
    if not isinstance(content, dict) or not content.get(split):
        known = [name for name in ("train", "val", "test") if isinstance(content, dict) and content.get(name)]
        raise ValueError(f"{str(data_file)!r} names no part {split!r}, only {known}")
    listed = content[split] if isinstance(content[split], list) else [content[split]]
    root = Path(str(content.get("path") or "."))
    photos: list[Path] = []
    for entry in listed:
        place = _existing(data_file.parent, root, str(entry))
        if place.is_dir():
            photos += pictures_below(place, image_suffixes())
        else:
            lines = place.read_text(encoding="utf-8-sig").split("\n")
            photos += [_existing(place.parent, root, line.strip()) for line in lines if line.strip()]
    return photos


def _existing(base: Path, root: Path, entry: str) -> Path:
    """Where an entry of a data file lies: tools write it from the file's folder, its `path`, or a folder below."""
    without_dots = entry.removeprefix("../")
    places = (base / root / entry, base / entry, root / entry, base / without_dots, base / root.name / entry)
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise FileNotFoundError(f"there is no {entry!r}, which a YOLO data file names, in {str(base)!r}")
    return found


def _coco_content(path: str | Path) -> dict[str, list[dict]]:
    content = read_json(path)
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in COCO_FIELDS):
        raise ValueError(f"{str(path)!r} holds no COCO instances: it lacks 'images' or 'annotations'")
    for part, wanted in COCO_FIELDS.items():
        for place, record in enumerate(content[part]):
            if missing := [key for key in wanted if not isinstance(record, dict) or key not in record]:
                raise ValueError(f"{str(path)!r} holds no COCO instances: entry {place} of {part!r} lacks {missing}")
            if not isinstance(record.get("file_name", ""), str) or not _is_id(record[wanted[0]]):
                raise ValueError(f"{str(path)!r} holds no COCO instances: entry {place} of {part!r} has no proper id")
    return content


def _is_id(value: Any) -> bool:
    try:
        id_text(value)
    except ValueError:
        return False
    return True
