"""`sam-hq generate`: the masks of everything in many photographs, as one COCO file and pictures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_hq_cli.input_ranges import add_input_range, input_range

if TYPE_CHECKING:
    from sam_hq.jobs.generation_job import GenerationJob

DESCRIPTION = """\
Find the masks of everything in photographs and write them into a folder: annotations.json (COCO, run lengths), and on
request a picture of numbered pixels, an overlay and the embeddings of each.

A job that was interrupted or killed goes on where it was when the same command is given again. Photographs that cannot
be read are reported, noted in failures/ and left out; the exit status is then 1, and they are tried again next time.

Over several processes or machines that share the folder: accelerate launch --num_processes N -m sam_hq_cli.main
generate ..."""

# Option, type and help; names and defaults are those of `sam_hq_numpy.mask_generation_options.MaskGenerationOptions`.
NUMBERS: tuple[tuple[str, type, str], ...] = (
    ("points_per_batch", int, "points decoded together (64)"),
    ("points_per_crop", int, "points along each side of the grid (32)"),
    ("crops_n_layers", int, "layers of crops searched besides the whole photograph (0)"),
    ("crop_overlap_ratio", float, "overlap of the crops of the first layer, of the shorter side (0.341)"),
    ("crop_n_points_downscale_factor", float, "how much thinner the grid gets with each layer (1)"),
    ("pred_iou_thresh", float, "predicted IoU that masks must be above (0.88)"),
    ("stability_score_thresh", float, "stability that masks must have (0.95)"),
    ("stability_score_offset", float, "how far the threshold is moved to measure the stability, in logits (1)"),
    ("mask_threshold", float, "logit above which a pixel is in a mask (0)"),
    ("max_hole_area", float, "fill holes of at most so many pixels"),
    ("max_sprinkle_area", float, "remove specks of at most so many pixels"),
    ("crops_nms_thresh", float, "box IoU above which the worse of two masks is dropped (0.7)"),
    ("box_nms_thresh", float, "the same within one crop (as --crops-nms-thresh)"),
    ("min_mask_region_area", float, "remove smaller holes and specks at the very end, as the authors do (0)"),
    ("candidates_per_point", int, "masks kept of each point, 1 or 3 (1)"),
    ("tile_size", int, "search larger photographs in tiles of this side, in pixels"),
    ("tile_overlap", float, "overlap of neighbouring tiles, of their side (0.25)"),
    ("max_pixels", int, "accept photographs up to this size (Pillow's limit)"),
)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the sub-command `generate`."""
    parser = subparsers.add_parser(
        "generate",
        help="find the masks of everything in photographs",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "inputs", nargs="+", metavar="INPUT", help="photographs, folders, or quoted patterns with * ? **"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the job")
    parser.add_argument("--model", metavar="DIR_OR_ID", help="a SAM-HQ directory or Hub id (default: the embedded one)")
    parser.add_argument("--device", help="such as cpu, cuda or cuda:1 (default: the fastest there is)")
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of the model")
    parser.add_argument("--batch-size", type=int, default=1, help="crops that pass the encoder together (1)")
    parser.add_argument(
        "--png", action="store_true", help="write masks/*.png, 16 bit: pixel value = number of the mask"
    )
    parser.add_argument("--overlay", action="store_true", help="write overlays/*.jpg")
    parser.add_argument("--embeddings", metavar="DIR", help="keep the embeddings as safetensors, to prompt them later")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    group = parser.add_argument_group(
        "how masks are found (defaults in parentheses; the model's configuration may suggest others)"
    )
    for name, kind, text in NUMBERS:
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, help=text)
    add_input_range(parser)
    group.add_argument("--hq-token-only", action="store_true", help="the HQ mask alone, without adding SAM's")
    group.add_argument("--single-mask", action="store_true", help="the mask for clear prompts, not the best of three")


def run(args: argparse.Namespace) -> int:
    """Do the job, or this process's share of it, and say what came out."""
    from accelerate import PartialState
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    from sam_hq_numpy.listing import list_photos

    options = generation_options(args)
    photos = list_photos(args.inputs)
    disable_progress_bar()
    set_verbosity_error()
    state = PartialState(**_state_arguments(args.device))
    job = _job(args, photos, options, state)
    try:
        job.run(state.process_index, state.num_processes, progress=not args.quiet and state.is_local_main_process)
        # The first process may only put everything together when all have written their share,
        state.wait_for_everyone()
    finally:
        if state.is_main_process:
            done = job.write_coco()
    # and none may leave before, or the launcher takes the others down.
    state.wait_for_everyone()
    failures = job.failures()
    if state.is_main_process:
        _report(args, done, failures)
    return 1 if failures else 0


def generation_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of mask generation that were given.

    Args:
        args: the parsed command line.

    Raises:
        ValueError: if one has an impossible value.
    """
    from sam_hq_numpy.mask_generation_options import MaskGenerationOptions

    options = {name: getattr(args, name) for name, _, _ in NUMBERS if getattr(args, name) is not None}
    options.update(hq_token_only=args.hq_token_only, multimask_output=not args.single_mask)
    options["input_range"] = input_range(args.input_range)
    MaskGenerationOptions().updated(options)
    return options


def _state_arguments(device: str | None) -> dict[str, Any]:
    from datetime import timedelta

    # Processes wait for the slowest, which may have the larger photographs.
    return {"cpu": device == "cpu", "timeout": timedelta(days=30)}


def _job(args: argparse.Namespace, photos: list[Path], options: dict[str, Any], state: Any) -> GenerationJob:
    import torch

    from sam_hq.generation.generator import SamHQMaskGenerator
    from sam_hq.jobs.generation_job import GenerationJob, JobOutputs
    from sam_hq_cli.model_loading import chosen_device, load_model, load_processor, model_name

    name = model_name(args.model)
    device = state.device if state.num_processes > 1 else chosen_device(args.device)
    processor = load_processor(name)
    model = load_model(name, device, getattr(torch, args.dtype))
    outputs = JobOutputs(
        label_maps=args.png,
        overlays=args.overlay,
        embeddings=Path(args.embeddings) if args.embeddings else None,
        model_name=f"{name} {args.dtype}",
    )
    generator = SamHQMaskGenerator(model, processor.image_processor, **options)
    return GenerationJob(generator, photos, args.output, outputs, args.batch_size)


def _report(args: argparse.Namespace, done: int, failures: dict[Path, str]) -> None:
    from sam_hq.jobs.journal import COCO_NAME

    for photo, reason in failures.items():
        print(f"sam-hq: skipped {photo}: {reason}", file=sys.stderr)
    print(f"wrote    {Path(args.output) / COCO_NAME}: {done} photographs, {len(failures)} skipped")
