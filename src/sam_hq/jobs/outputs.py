"""What a job writes of an image beside its record: pictures and label files of other tools."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam_hq_numpy.atomic_writing import new_file, write_text
from sam_hq_numpy.formats import FORMATS, POLYGON_FORMATS, coco, geojson, labelme, pictures, yolo
from sam_hq_numpy.formats.label_maps import draw_label_map, label_map
from sam_hq_numpy.formats.objects import ImageObject
from sam_hq_numpy.formats.polygons import DEFAULT_TOLERANCE
from sam_hq_numpy.listing import relative_name
from sam_hq_numpy.number_limits import check_number

from ..images.large_photos import PhotoRegions

_ROWS_AT_ONCE = 512


@dataclass(frozen=True)
class JobOutputs:
    """What a job writes beside the records and the COCO file.

    Args:
        formats: Of `FORMATS`.
        tolerance: Of polygons, in pixels.
        embeddings: Folder for the embeddings of every image, or None.
        model_name: Written into the embeddings, and compared on resuming.
        weights: Digest of the weights; what others made is done again.

    Raises:
        ValueError: If a format is unknown.
    """

    formats: tuple[str, ...] = ()
    tolerance: float = DEFAULT_TOLERANCE
    embeddings: Path | None = None
    model_name: str = ""
    weights: str = ""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.formats) - set(FORMATS)):
            raise ValueError(f"formats must be of {', '.join(FORMATS)}, got {', '.join(unknown)}")
        check_number("tolerance", self.tolerance, at_least=0)

    def settings(self) -> dict[str, Any]:
        """What of it a job that is resumed must have in common with its beginning."""
        return {
            "formats": sorted(set(self.formats)),
            "tolerance": self.tolerance if POLYGON_FORMATS & set(self.formats) else None,
            "embeddings": None if self.embeddings is None else str(self.embeddings.resolve()),
            "model": self.model_name,
        }

    def write(
        self,
        folder: Path,
        key: str,
        image: Path,
        photo: PhotoRegions,
        objects: Sequence[ImageObject],
        categories: Mapping[int, str],
    ) -> tuple[dict[str, str], list[dict[str, Any]]]:
        """Write all that is asked for of one image.

        Args:
            folder: Of the job.
            key: Name of the image's files.
            image: Where the image is.
            photo: Its pixels.
            objects: What was found.
            categories: Names by id.

        Returns:
            The files, by what COCO's `images` calls them, relative to the folder; and the annotations without ids.
        """
        tolerance = self.tolerance if "coco-polygons" in self.formats else None
        annotations = [coco.annotation(found, tolerance) for found in objects]
        files = self._pictures(folder, key, photo, objects)
        if "objects" in self.formats:
            shutil.rmtree(folder / "objects" / key, ignore_errors=True)  # of an earlier run, which may have found more
            for number, found in enumerate(objects, start=1):
                name = f"objects/{key}/{number:04}.png"
                _save(pictures.binary(found.mask), folder / name)
                annotations[number - 1]["mask_file"] = name
        documents = {"labelme": (".json", labelme.document), "geojson": (".geojson", geojson.document)}
        for kind in sorted(set(documents) & set(self.formats)):
            suffix, document = documents[kind]
            files[f"{kind}_file"] = name = f"{kind}/{key}{suffix}"
            image_name = relative_name(image, folder / kind)
            content = document(image_name, photo.size, objects, self.tolerance)
            write_text(folder / name, json.dumps(content), keep_leftovers=True)
        if "yolo" in self.formats:
            files["yolo_file"] = f"yolo/labels/{key}.txt"
            self._write_yolo(folder / "yolo", key, image, photo.size, objects, categories)
        return files, annotations

    def _pictures(self, folder: Path, key: str, photo: PhotoRegions, objects: Sequence[ImageObject]) -> dict[str, str]:
        files, masks = {}, [found.mask for found in objects]
        if {"label-map", "overlay"} & set(self.formats):
            labels = label_map(masks, photo.size)
        if "label-map" in self.formats:
            files["mask_file"] = f"masks/{key}.png"
            _save(Image.fromarray(labels), folder / files["mask_file"])
        if "overlay" in self.formats:
            files["overlay_file"] = f"overlays/{key}.jpg"
            _save(_tinted(photo, labels), folder / files["overlay_file"], quality=92)
        if "cutout" in self.formats:
            files["cutout_file"] = f"cutouts/{key}.png"
            _save(pictures.cutout(photo.pixels(), masks), folder / files["cutout_file"])
        return files

    def _write_yolo(
        self,
        folder: Path,
        key: str,
        image: Path,
        size: tuple[int, int],
        objects: Sequence[ImageObject],
        categories: Mapping[int, str],
    ) -> None:
        about, names = folder / "data.yaml", yolo.data_yaml(categories)
        if not about.exists() or names.partition("names:")[2] not in about.read_text(encoding="utf-8"):
            write_text(about, names, keep_leftovers=True)
        lines = yolo.label_lines(objects, size, yolo.class_numbers(categories), self.tolerance)
        write_text(folder / "labels" / f"{key}.txt", lines, keep_leftovers=True)
        link = folder / "images" / f"{key}{image.suffix}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)
        try:
            link.symlink_to(relative_name(image, link.parent))
        except OSError:  # a file system without links
            with new_file(link, keep_leftovers=True) as aside:
                shutil.copyfile(image, aside)


def _tinted(photo: PhotoRegions, labels: np.ndarray) -> Image.Image:
    """The photo under its label map, a strip of rows at a time, so that no array is as large as the photo."""
    height, width = photo.size
    picture = Image.new("RGB", (width, height))
    for top in range(0, height, _ROWS_AT_ONCE):
        # One row more than is drawn: borders are where the next row has another number.
        end = min(height, top + _ROWS_AT_ONCE + 1)
        strip = draw_label_map(photo.region((0, top, width, end)), labels[top:end])
        picture.paste(Image.fromarray(strip[:_ROWS_AT_ONCE]), (0, top))
    return picture


def _save(picture: Image.Image, path: Path, **options: Any) -> None:
    with new_file(path, keep_leftovers=True) as aside:
        picture.save(aside, **options)
