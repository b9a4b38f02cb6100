"""Boxes of a dataset to masks: masks per second of the annotation job, beside loops over the built-in class and the
authors' predictor with the same weights.

    python benchmarks/annotation.py [--variant vit_b] [--photos 4] [--boxes 50] [--batch-size 1]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_masks

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "support"), str(REPOSITORY / "benchmarks")]

from peers import load_peers  # noqa: E402

from sam_hq.jobs.annotation_job import AnnotationJob  # noqa: E402
from sam_hq.predictor import SamHQPredictor  # noqa: E402
from sam_hq_numpy.prompt_files.prompts import ObjectPrompt, PromptSet  # noqa: E402


def random_boxes(photos, count):
    """The same boxes for all: `count` in each photo."""
    random, boxes = np.random.default_rng(0), {}
    for photo in photos:
        with Image.open(photo) as opened:
            size = np.array(opened.size)
        low = random.uniform(0, 0.6, (count, 2)) * size
        boxes[photo] = np.concatenate([low, low + random.uniform(0.05, 0.4, (count, 2)) * size], axis=1)
    return boxes


def job(peers, boxes, batch_size):
    """The job, its files included."""
    objects = {
        photo: [ObjectPrompt(str(index), box=tuple(box)) for index, box in enumerate(of_photo.tolist())]
        for photo, of_photo in boxes.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        prompts = PromptSet(objects, {1: "object"})
        work = AnnotationJob(
            SamHQPredictor(peers.ours, peers.processor), list(boxes), prompts, folder, batch_size=batch_size
        )
        work.run(progress=False)
        work.finish()


@torch.inference_mode()
def builtin(peers, boxes):
    """A loop over the class built into transformers, run lengths by pycocotools."""
    for photo, of_photo in boxes.items():
        image = Image.open(photo).convert("RGB")
        inputs = peers.processor(images=image, input_boxes=[of_photo.tolist()], return_tensors="pt")
        sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
        logits = peers.builtin(**inputs, multimask_output=False).pred_masks
        masks = peers.processor.post_process_masks(logits, *sizes)[0][:, 0]
        encode(masks.numpy())


@torch.inference_mode()
def authors(peers, boxes):
    """A loop over the authors' predictor, as their notebook prompts several boxes."""
    from segment_anything_hq import SamPredictor

    predictor = SamPredictor(peers.authors)
    for photo, of_photo in boxes.items():
        pixels = np.asarray(Image.open(photo).convert("RGB"))
        predictor.set_image(pixels)
        transformed = predictor.transform.apply_boxes_torch(torch.from_numpy(of_photo), pixels.shape[:2])
        masks, _, _ = predictor.predict_torch(None, None, transformed, multimask_output=False)
        encode(masks[:, 0].numpy())


def encode(masks):
    """Run lengths of masks `(N, H, W)`."""
    return coco_masks.encode(np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8)))


def main() -> None:
    """Print masks per second of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", default="vit_b")
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--boxes", type=int, default=50)
    parser.add_argument("--batch-size", type=int, default=1)
    args = parser.parse_args()
    peers = load_peers(args.variant)
    photos = sorted(REPOSITORY.glob("docs/photos/*.jpg"))[: args.photos]
    boxes = random_boxes(photos, args.boxes)
    calls = {"job": lambda chosen: job(peers, chosen, args.batch_size)}
    if peers.builtin is not None:
        calls["built-in class"] = lambda chosen: builtin(peers, chosen)
    if peers.authors is not None:
        calls["authors' predictor"] = lambda chosen: authors(peers, chosen)
    for name, call in calls.items():
        call({photos[0]: boxes[photos[0]][:2]})  # what the first call alone pays for
        start = time.perf_counter()
        call(boxes)
        seconds = time.perf_counter() - start
        print(f"{name}: {sum(map(len, boxes.values())) / seconds:.1f} masks/s ({seconds:.1f} s)", flush=True)


if __name__ == "__main__":
    main()
