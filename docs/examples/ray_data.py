"""Mask generation over a cluster with Ray Data: images in, one JSON line per image out.

    pip install "sam-hq[cluster]"
    python docs/examples/ray_data.py s3://bucket/photos s3://bucket/masks --gpus 8

Ray places the actors, hands them images and starts lost ones again; each holds one model. Without `--gpus` it runs
on the cores of this machine. An image that cannot be read becomes a line with its `error`.
"""

import argparse
import io
import json
from typing import Any

import numpy as np
import ray
import torch
from PIL import Image

import sam_hq


class FindMasks:
    """One actor: a model, and all it does to a batch of files."""

    def __init__(self, model: str, options: dict[str, Any]):
        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
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


def decoded_or_error(data: bytes) -> Image.Image | str:
    """Returns the image in a file, or what is wrong with it."""
    try:
        return Image.open(io.BytesIO(data)).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        return str(error) or type(error).__name__


def find_masks(
    source: str, destination: str, model: str, options: dict[str, Any], actors: int, gpus: int, batch_size: int = 4
) -> None:
    """Reads all files below `source` and writes JSON lines below `destination`; both are any path Ray can open."""
    photos = ray.data.read_binary_files(source, include_paths=True)
    masks = photos.map_batches(
        FindMasks,
        fn_constructor_kwargs={"model": model, "options": options},
        batch_size=batch_size,
        concurrency=gpus or actors,
        num_gpus=1 if gpus else 0,
    )
    masks.write_json(destination)


def main() -> None:
    """Finds the masks of the images that the command line names."""
    parser = argparse.ArgumentParser(description="Find the masks of many images with Ray Data.")
    parser.add_argument("source")
    parser.add_argument("destination")
    parser.add_argument("--model", default=sam_hq.EMBEDDED_CHECKPOINT)
    parser.add_argument("--actors", type=int, default=1, help="models on the cores of this machine")
    parser.add_argument("--gpus", type=int, default=0, help="models, one per GPU of the cluster")
    parser.add_argument("--options", type=json.loads, default={}, help='as JSON, such as {"points_per_crop": 16}')
    args = parser.parse_args()
    if args.gpus:
        ray.init(address="auto")
    else:  # every actor takes a core for good: without one more the files would never be read
        ray.init(address="local", num_cpus=args.actors + 1, include_dashboard=False)
    find_masks(args.source, args.destination, args.model, args.options, args.actors, args.gpus)


if __name__ == "__main__":
    main()
