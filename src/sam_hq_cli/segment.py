"""`sam-hq segment`: one photograph and its prompts to masks, scores and an overlay."""

from __future__ import annotations

import argparse
import itertools
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from sam_hq_cli.console import Prompts, overlay, report
from sam_hq_cli.input_ranges import add_input_range, input_range
from sam_hq_cli.mask_files import MASK_SUFFIXES, write_masks
from sam_hq_cli.model_loading import chosen_device, is_exported, load_model, load_processor, model_name
from sam_hq_cli.picture_files import check_picture_suffix

if TYPE_CHECKING:
    import torch

    from sam_hq.photo_embeddings import PhotoEmbeddings

DESCRIPTION = """\
Segment the objects that boxes and points show, in pixels of the upright photograph (x to the right, y down).

Every --box is an object of its own. Without a box, all points together show one object. With one box, all points
belong to it. With several boxes, a point belongs to each box it lies in. Without any prompt the model is asked for one
object of its own choice."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the sub-command `segment`."""
    parser = subparsers.add_parser(
        "segment",
        help="segment objects in a photograph by boxes and points",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("image", metavar="IMAGE", help="a photograph")
    parser.add_argument(
        "--model",
        metavar="DIR_OR_ID",
        help="a SAM-HQ directory or Hub id (default: the embedded one), or a directory that `sam-hq export` wrote, "
        "which runs without torch",
    )
    parser.add_argument(
        "--box", nargs=4, type=float, action="append", default=[], metavar=("X0", "Y0", "X1", "Y1"), help="an object"
    )
    parser.add_argument(
        "--point", nargs=2, type=float, action="append", default=[], metavar=("X", "Y"), help="a point on the object"
    )
    parser.add_argument(
        "--negative-point",
        nargs=2,
        type=float,
        action="append",
        default=[],
        metavar=("X", "Y"),
        help="a point that is not on the object",
    )
    parser.add_argument("--multimask", action="store_true", help="three candidates per object, the best first")
    parser.add_argument("--hq-token-only", action="store_true", help="the HQ mask alone, without adding SAM's")
    parser.add_argument(
        "--device",
        help="such as cpu, cuda, cuda:1 or mps (default: the fastest there is); of an exported model cpu or cuda",
    )
    parser.add_argument("--max-pixels", type=int, help="accept photographs up to this size (default: Pillow's limit)")
    add_input_range(parser)
    parser.add_argument(
        "--embeddings",
        metavar="FILE_OR_DIR",
        help="embeddings of the photograph, or the folder of them, that `sam-hq generate --embeddings` kept",
    )
    parser.add_argument("--output", metavar="OVERLAY", help="write the photograph with masks and prompts drawn over it")
    parser.add_argument(
        "--masks",
        metavar="FILE",
        help="write the masks: .png (pixel value = object number), .npz (masks, scores) or .json (COCO, RLE)",
    )


def objects_from(
    boxes: list[list[float]], positive_points: list[list[float]], negative_points: list[list[float]]
) -> Prompts:
    """Return which points belong to which object, as the command's help says.

    Args:
        boxes: x0, y0, x1, y1 each.
        positive_points: x, y each.
        negative_points: x, y each.

    Raises:
        ValueError: if there are several boxes and a point lies in none of them.
    """
    points = positive_points + negative_points
    labels = [1] * len(positive_points) + [0] * len(negative_points)
    if len(boxes) <= 1:
        return Prompts(boxes, [points] if points else [], [labels] if points else [])
    for x, y in points:
        if not any(_lies_in(x, y, box) for box in boxes):
            raise ValueError(f"the point {x:g} {y:g} lies in none of the {len(boxes)} boxes, so its object is unknown")
    chosen = [[index for index, (x, y) in enumerate(points) if _lies_in(x, y, box)] for box in boxes]
    return Prompts(
        boxes,
        [[points[index] for index in indexes] for indexes in chosen],
        [[labels[index] for index in indexes] for indexes in chosen],
    )


def run(args: argparse.Namespace) -> None:
    """Segment one photograph, print scores and times, write what was asked for."""
    prompts = objects_from(args.box, args.point, args.negative_point)
    stretched = input_range(args.input_range)
    _check_outputs(args.image, args.output, args.masks)
    if args.model is not None and is_exported(args.model):
        from sam_hq_cli.onnx_segment import run_exported

        run_exported(args, prompts)
        return

    import numpy as np
    from PIL import Image
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    from sam_hq.images.image_loading import load_rgb
    from sam_hq.predictor import SamHQPredictor
    from sam_hq_numpy.atomic_writing import new_file

    disable_progress_bar()
    set_verbosity_error()
    name = model_name(args.model)
    device = chosen_device(args.device)
    with ExitStack() as outputs:
        # Opened before the work, so that a place where nothing can be written is known at once.
        overlay_file = outputs.enter_context(new_file(args.output)) if args.output else None
        masks_file = outputs.enter_context(new_file(args.masks)) if args.masks else None
        pixels, _ = load_rgb(args.image, max_pixels=args.max_pixels, input_range=stretched)
        photo = Image.fromarray(np.asarray(pixels))
        processor = load_processor(name)
        # Prompts are refused before the model is loaded for them.
        processor(original_sizes=[(photo.height, photo.width)], **prompts.processor_arguments)

        kept = kept_embeddings(args.embeddings, args.image, (photo.height, photo.width))
        clock = Clock(device)
        predictor = SamHQPredictor(load_model(name, device), processor)
        clock.lap("load")
        embeddings = predictor.embed(photo, max_pixels=args.max_pixels) if kept is None else kept
        clock.lap("image")
        answer = predictor.decode(
            embeddings,
            points=prompts.points or None,
            labels=prompts.labels or None,
            boxes=prompts.boxes or None,
            multimask_output=args.multimask,
            hq_token_only=args.hq_token_only,
        )
        clock.lap("prompts")
        masks = predictor.photo_masks(embeddings, answer.pred_masks[0]).cpu()  # (P, M, H, W)
        scores = answer.iou_scores[0].float().cpu()  # (P, M)
        clock.lap("masks")

        report(args.image, photo, f"{name}, {device}", masks.numpy(), scores.numpy(), clock.laps)
        if overlay_file:
            overlay(photo, masks.numpy(), prompts).save(overlay_file)
        if masks_file:
            write_masks(masks_file, Path(args.image).name, masks.numpy(), scores.numpy())
    for written in filter(None, (args.output, args.masks)):
        print(f"wrote    {written}")


def kept_embeddings(place: str | None, photo: str, size: tuple[int, int]) -> PhotoEmbeddings | None:
    """Return embeddings that were kept; None if none are asked for.

    Args:
        place: their file, or the folder they are in.
        photo: the photograph's path.
        size: its height and width.

    Raises:
        ValueError: if there are none, or they are those of another photograph.
    """
    if place is None:
        return None
    from sam_hq.photo_embeddings import PhotoEmbeddings
    from sam_hq_numpy.listing import image_key

    path = Path(place) / f"{image_key(Path(photo))}.safetensors" if Path(place).is_dir() else Path(place)
    if not path.is_file():
        raise ValueError(f"there are no embeddings at {str(path)!r}")
    kept = PhotoEmbeddings.load(path)
    if tuple(kept.original_size) != size:
        raise ValueError(
            f"{str(path)!r} holds the embeddings of {kept.source!r}, a photograph of {kept.original_size[1]} x "
            f"{kept.original_size[0]} pixels, but {photo!r} has {size[1]} x {size[0]}"
        )
    return kept


class Clock:
    """Times of the steps, waiting for the device at the end of each.

    Args:
        device: where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.laps: dict[str, float] = {}
        self._start = time.perf_counter()

    def lap(self, step: str) -> None:
        """End a step.

        Args:
            step: its name.
        """
        import torch

        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        now = time.perf_counter()
        self.laps[step], self._start = now - self._start, now


def _check_outputs(image: str, output: str | None, masks: str | None) -> None:
    if output is not None:
        check_picture_suffix("--output", output)
    if masks is not None and Path(masks).suffix not in MASK_SUFFIXES:
        raise ValueError(f"--masks {masks!r} must end in {', '.join(MASK_SUFFIXES)}")
    names = {"IMAGE": image, "--output": output, "--masks": masks}
    places = {option: Path(name).absolute() for option, name in names.items() if name is not None}
    for first, second in itertools.combinations(places, 2):
        if places[first] == places[second]:
            raise ValueError(f"{first} and {second} are both {names[second]!r}, and one would overwrite the other")


def _lies_in(x: float, y: float, box: list[float]) -> bool:
    return box[0] <= x <= box[2] and box[1] <= y <= box[3]
