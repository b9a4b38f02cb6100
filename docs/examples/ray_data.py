"""Masks of many photos over a cluster with Ray Data: photos in, one JSON line per photo out.

    pip install "sam-hq[cluster]"
    python docs/examples/ray_data.py s3://bucket/photos s3://bucket/masks --gpus 8
    python docs/examples/ray_data.py s3://bucket/photos s3://bucket/masks --gpus 8 --boxes detections.json

Without `--boxes` everything in a photo is found; with it, what the boxes and points of any file show that
`sam-hq annotate` reads. Ray places the actors, hands them photos and starts lost ones again; each holds one model.
Without `--gpus` it runs on the cores of this machine. A photo that cannot be read becomes a line with its `error`.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.fs
import ray
import torch

import sam_hq
from sam_hq.images.image_loading import photo_pixels
from sam_hq.jobs.prompted_objects import segment_objects, usable_prompts
from sam_hq_numpy.prompt_files.prompts import ObjectPrompt
from sam_hq_numpy.prompt_files.reading import read_prompts


class FindMasks:
    """One actor: a model, and all it does to a batch of files."""

    def __init__(self, model: str, options: dict[str, Any]):
        device, dtype = device_and_dtype()
        self.generator = sam_hq.SamHQMaskGenerator(
            sam_hq.SamHQModel.from_pretrained(model, dtype=dtype).eval().to(device),
            sam_hq.SamHQProcessor.from_pretrained(model).image_processor,
            output_mode="coco_rle",
            **options,
        )

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        """`path` and `bytes` of files to `path`, `masks` (the authors' records as JSON) and `error` (empty if none)."""
        decoded = [decoded_or_error(data) for data in batch["bytes"]]
        photos = [photo for photo in decoded if not isinstance(photo, str)]
        records = self.generator.generate_each(photos, batch_size=max(1, len(photos)))
        masks = [json.dumps([] if isinstance(photo, str) else next(records)) for photo in decoded]
        errors = [photo if isinstance(photo, str) else "" for photo in decoded]
        return {"path": list(batch["path"]), "masks": masks, "error": errors}


def decoded_or_error(data: bytes) -> np.ndarray | str:
    """Return the pixels of the photo in a file, upright, or what is wrong with it."""
    try:
        return photo_pixels(data)
    except ValueError as error:
        return str(error)


def device_and_dtype() -> tuple[str, torch.dtype]:
    """Return where an actor's model goes."""
    return ("cuda", torch.bfloat16) if torch.cuda.is_available() else ("cpu", torch.float32)


class SegmentPrompted:
    """One actor: a predictor, and the boxes and points of every photo."""

    def __init__(self, model: str, prompts: dict[str, list[ObjectPrompt]], categories: dict[int, str]):
        device, dtype = device_and_dtype()
        self.predictor = sam_hq.SamHQPredictor.from_pretrained(model, device=device, dtype=dtype)
        self.prompts, self.categories = prompts, categories

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        """`path` and `bytes` of files to `path`, `masks` (COCO annotations as JSON) and `error` (empty if none)."""
        masks, errors = [], []
        for path, data in zip(batch["path"], batch["bytes"], strict=True):
            photo = decoded_or_error(data)
            records, error = ([], photo) if isinstance(photo, str) else self.segment(photo, self.prompts.get(path, []))
            masks.append(json.dumps(records))
            errors.append(error)
        return {"path": list(batch["path"]), "masks": masks, "error": errors}

    def segment(self, photo: np.ndarray, prompts: list[ObjectPrompt]) -> tuple[list[dict[str, Any]], str]:
        """Return the annotations of a photo, and what is wrong with the prompts that are skipped."""
        usable, bad = usable_prompts(prompts, photo.shape[:2])
        masks, scores = segment_objects(self.predictor, self.predictor.embed(photo), usable) if usable else ([], [])
        records = [
            {
                "segmentation": mask.to_coco(),
                "category_id": prompt.category_id,
                "category": self.categories.get(prompt.category_id),
                "predicted_iou": score,
                **prompt.facts,
            }
            for prompt, mask, score in zip(usable, masks, scores, strict=True)
        ]
        return records, "; ".join(f"{name}: {reason}" for name, reason in bad)


def prompts_below(source: str, file: str) -> dict[str, Any]:
    """Read the boxes and points of the photos below `source`: what `SegmentPrompted` is made of."""
    address = source if "://" in source else os.path.abspath(source)
    filesystem, folder = pyarrow.fs.FileSystem.from_uri(address)
    found = filesystem.get_file_info(pyarrow.fs.FileSelector(folder, recursive=True))
    images = [Path(each.path) for each in found if each.type == pyarrow.fs.FileType.File]
    prompts = read_prompts(file, images)
    for name, reason in prompts.bad:
        print(f"skipped {name}: {reason}")
    for name, count in prompts.without_image.items():
        print(f"skipped {count} objects of {name}: no such photo")
    of_paths = {str(image): objects for image, objects in prompts.objects.items()}
    return {"prompts": of_paths, "categories": prompts.categories}


def write_masks(
    source: str, destination: str, actor: type, settings: dict[str, Any], actors: int, gpus: int, batch_size: int = 4
) -> None:
    """Read all files below `source` and write JSON lines below `destination`; both are any path Ray can open."""
    photos = ray.data.read_binary_files(source, include_paths=True)
    masks = photos.map_batches(
        actor,
        fn_constructor_kwargs=settings,
        batch_size=batch_size,
        concurrency=gpus or actors,
        num_gpus=1 if gpus else 0,
    )
    masks.write_json(destination)


def main() -> None:
    """Segment the photos that the command line names."""
    parser = argparse.ArgumentParser(description="Find the masks of many photos with Ray Data.")
    parser.add_argument("source")
    parser.add_argument("destination")
    parser.add_argument("--model", default=sam_hq.EMBEDDED_CHECKPOINT)
    parser.add_argument(
        "--boxes", metavar="FILE_OR_DIR", help="boxes or points of the photos; without, everything is found"
    )
    parser.add_argument("--actors", type=int, default=1, help="models on the cores of this machine")
    parser.add_argument("--gpus", type=int, default=0, help="models, one per GPU of the cluster")
    parser.add_argument("--options", type=json.loads, default={}, help='as JSON, such as {"points_per_crop": 16}')
    args = parser.parse_args()
    prompts = prompts_below(args.source, args.boxes) if args.boxes else None
    if args.gpus:
        ray.init(address="auto")
    else:  # every actor takes a core for good: without one more the files would never be read
        ray.init(address="local", num_cpus=args.actors + 1, include_dashboard=False)
    if prompts is None:
        actor, settings = FindMasks, {"model": args.model, "options": args.options}
    else:
        actor, settings = SegmentPrompted, {"model": args.model, **prompts}
    write_masks(args.source, args.destination, actor, settings, args.actors, args.gpus)


if __name__ == "__main__":
    main()
