"""Opening the data that models are trained and measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def open_images(paths: Sequence[str], photos: str | None = None, on_bad: str = "skip", split: str = "train") -> Any:
    """Open datasets of any kind, several as one.

    Args:
        paths: The values of --data: folders of image + mask pairs, of LabelMe files or of label maps, COCO instances
            files, or YOLO segmentation labels or their data.yaml.
        photos: The value of --images, for COCO alone.
        on_bad: `skip` or `raise`, what to do with unusable data.
        split: The part of a YOLO `data.yaml` that is wanted.

    Raises:
        ValueError: If one holds nothing usable, or if photos are given for what is no COCO file.
    """
    from sam_hq.evaluation.joined_images import JoinedImages
    from sam_hq.evaluation.segmentation_data import open_dataset

    datasets = [open_dataset(path, photos, on_bad, split) for path in paths]
    return datasets[0] if len(datasets) == 1 else JoinedImages(datasets)
