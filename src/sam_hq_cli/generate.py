"""`sam-hq generate`: the masks of everything in many images, as one COCO file and what else is asked for."""

from __future__ import annotations

import argparse
from typing import Any

from sam_hq_cli.input_ranges import add_input_range, input_range
from sam_hq_cli.job_commands import RESUMING, add_arguments, listed_images, load, processes, run_job

DESCRIPTION = f"""\
Find the masks of everything in images and write them into a folder: annotations.json (COCO, run lengths), and on
request the formats of other tools, pictures and the embeddings of each.

{RESUMING}generate ..."""

# Option, type and help; names and defaults are those of `sam_hq_numpy.mask_generation_options.MaskGenerationOptions`.
NUMBERS: tuple[tuple[str, type, str], ...] = (
    ("points_per_batch", int, "points decoded together (64)"),
    ("points_per_crop", int, "points along each side of the grid (32)"),
    ("crops_n_layers", int, "layers of crops searched besides the whole image (0)"),
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
    ("tile_size", int, "search larger images in tiles of this side, in pixels"),
    ("tile_overlap", float, "overlap of neighbouring tiles, of their side (0.25)"),
    ("max_pixels", int, "accept images up to this size (Pillow's limit)"),
)


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the sub-command `generate`."""
    parser = subparsers.add_parser(
        "generate",
        help="find the masks of everything in images",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument("--batch-size", type=int, default=1, help="crops that pass the encoder together (1)")
    parser.add_argument("--png", dest="formats", action="append_const", const="label-map", help="--formats label-map")
    parser.add_argument("--overlay", dest="formats", action="append_const", const="overlay", help="--formats overlay")
    parser.add_argument("--embeddings", metavar="DIR", help="keep the embeddings as safetensors, to prompt them later")
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
    options = generation_options(args)
    images = listed_images(args)
    state = processes(args.device)
    model, processor, outputs = load(args, state)
    from sam_hq.generation.generator import SamHQMaskGenerator
    from sam_hq.jobs.generation_job import GenerationJob

    generator = SamHQMaskGenerator(model, processor.image_processor, **options)
    return run_job(args, state, lambda: GenerationJob(generator, images, args.output, outputs, args.batch_size))


def generation_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of mask generation that were given.

    Args:
        args: The parsed command line.

    Raises:
        ValueError: If one has an impossible value.
    """
    from sam_hq_numpy.mask_generation_options import MaskGenerationOptions

    options = {name: getattr(args, name) for name, _, _ in NUMBERS if getattr(args, name) is not None}
    options.update(hq_token_only=args.hq_token_only, multimask_output=not args.single_mask)
    if (stretched := input_range(args.input_range)) is not None:
        options["input_range"] = stretched
    MaskGenerationOptions().updated(options)
    return options
