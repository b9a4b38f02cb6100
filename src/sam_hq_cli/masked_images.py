"""Opening the data that models are trained and measured on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def open_images(
    paths: Sequence[str], photographs: str | None = None, on_bad: str = "skip", split: str = "train"
) -> Any:
    """Open one dataset of any kind, or several folders of rendered images as one.

    Args:
        paths: the values of --data: a folder of image + mask pairs or of LabelMe files, a COCO instances file, YOLO
            segmentation labels or their data.yaml, or folders that `sam-hq train-data` rendered.
        photographs: the value of --images, for COCO alone.
        on_bad: `skip` or `raise`, what to do with unusable data.
        split: the part of a YOLO `data.yaml` that is wanted.

    Raises:
        ValueError: if several are given and not all of them were rendered, if one holds nothing usable, or if
            photographs are given for what is no COCO file.
    """
    from sam_hq.evaluation.segmentation_data import open_dataset
    from sam_hq.training.shards import ShardedImages

    if photographs is not None and not all(path.endswith(".json") for path in paths):
        raise ValueError(f"the folder of photographs {photographs!r} is for a COCO file, got {' '.join(paths)}")
    if all(any(Path(path).glob("shard_*")) for path in paths):
        return ShardedImages(*paths)
    if len(paths) > 1:
        raise ValueError(f"--data takes several folders only where all hold rendered images, got {' '.join(paths)}")
    return open_dataset(paths[0], photographs, on_bad, split)
