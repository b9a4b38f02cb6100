"""`sam-hq annotate`: boxes and points of many images to masks, as one COCO file and what else is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sam_hq_cli.job_commands import RESUMING, add_arguments, listed_images, load, processes, run_job

if TYPE_CHECKING:
    from sam_hq_numpy.prompt_files.prompts import PromptSet

_NAMED = 5
DESCRIPTION = f"""\
Segment the objects that a detector or a labelling tool has boxed in many images, and write the masks into a folder:
annotations.json (COCO, run lengths), and on request the formats of other tools. Ids and names of categories, scores and
ids of images are kept.

--boxes takes COCO JSON (ground truth, or a list of detections), a folder of YOLO labels or its data.yaml, LabelMe
files, CSV, and what supervision (CSVSink, JSONSink) and Ultralytics (to_json, save_txt) write; points come from LabelMe
and CSV. Images without boxes are fine. Boxes that cannot be meant (not finite, without area, outside the image) are
named, counted, listed in skipped.json, and skipped; with --on-bad raise they are refused before any work.

{RESUMING}annotate ..."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the sub-command `annotate`."""
    parser = subparsers.add_parser(
        "annotate",
        help="turn the boxes of a whole dataset into masks",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    parser.add_argument("--boxes", required=True, metavar="FILE_OR_DIR", help="boxes or points of the images")
    parser.add_argument(
        "--described-by", metavar="JSON", help="the COCO file whose images and categories a list of detections is of"
    )
    parser.add_argument("--on-bad", choices=("skip", "raise"), default="skip", help="what to do with bad boxes (skip)")
    parser.add_argument("--batch-size", type=int, default=1, help="images that pass the encoder together (1)")
    parser.add_argument("--objects-per-batch", type=int, default=64, help="objects decoded together (64)")
    parser.add_argument("--multimask", action="store_true", help="the best of three candidates of each object")
    parser.add_argument("--hq-token-only", action="store_true", help="the HQ mask alone, without adding SAM's")
    parser.add_argument("--max-pixels", type=int, help="accept images up to this size (Pillow's limit)")


def run(args: argparse.Namespace) -> int:
    """Do the job, or this process's share of it, and say what came out."""
    images = listed_images(args)
    prompts = read_boxes(args, images)
    state = processes(args.device)
    model, processor, outputs = load(args, state)
    from sam_hq.jobs.annotation_job import AnnotationJob
    from sam_hq.predictor import SamHQPredictor

    predictor = SamHQPredictor(model, processor)
    return run_job(
        args,
        state,
        lambda: AnnotationJob(
            predictor,
            images,
            prompts,
            args.output,
            outputs,
            args.batch_size,
            args.objects_per_batch,
            multimask_output=args.multimask,
            hq_token_only=args.hq_token_only,
            max_pixels=args.max_pixels,
        ),
    )


def read_boxes(args: argparse.Namespace, images: Sequence[Path]) -> PromptSet:
    """Read --boxes and say what is in it.

    Args:
        args: Of the command.
        images: The images of the job.

    Raises:
        ValueError: If it is not understood, none of it is of these images, or a box is bad and --on-bad is raise.
    """
    from sam_hq_numpy.number_limits import counted
    from sam_hq_numpy.prompt_files.reading import read_prompts

    prompts = read_prompts(args.boxes, images, args.described_by)
    count = sum(map(len, prompts.objects.values()))
    absent = ", ".join(list(prompts.without_image)[:_NAMED])
    if prompts.without_image and not count and not prompts.objects:
        ids_alone = args.described_by is None and all(
            name.removeprefix("image ").isdigit() for name in prompts.without_image
        )
        advice = "; name the COCO file that lists its images with --described-by" if ids_alone else ""
        raise ValueError(
            f"--boxes {args.boxes!r} is of none of {counted(len(images), 'image')}, but of {absent}{advice}"
        )
    if args.on_bad == "raise" and (bad := _bad_boxes(prompts, images, args.max_pixels)):
        raise ValueError(f"--boxes {args.boxes!r} has {counted(len(bad), 'bad object')}: {bad[0][0]}: {bad[0][1]}")
    if not args.quiet:
        where = f"{sum(map(bool, prompts.objects.values()))} of {counted(len(images), 'image')}"
        kinds = counted(len(prompts.categories), "category", "categories")
        print(f"boxes    {counted(count, 'object')} of {kinds} in {where}")
    if prompts.without_image:
        print(
            f"sam-hq: not among them: {counted(len(prompts.without_image), 'image')} with objects: {absent}",
            file=sys.stderr,
        )
    return prompts


def _bad_boxes(prompts: PromptSet, images: Sequence[Path], max_pixels: int | None) -> list[tuple[str, str]]:
    from sam_hq_numpy.photo_files import upright_size

    bad = list(prompts.bad)
    for image in images:
        objects = prompts.objects.get(image, [])
        try:
            size = upright_size(image, max_pixels) if objects else (0, 0)
        except ValueError:
            continue  # a failure of the image, which the job notes
        faults = ((each.name, each.in_pixels(size).fault(size)) for each in objects)
        bad += [(name, fault) for name, fault in faults if fault is not None]
    return bad
