"""`sam-hq evaluate`: mIoU and boundary mIoU of a model on photos with masks."""

from __future__ import annotations

import argparse
import sys

from sam_hq_cli.console import FormerOption
from sam_hq_cli.model_loading import add_model_options, chosen_device, load_whole, model_name

DESCRIPTION = """\
Measure mask quality, with prompts drawn from the ground truth, for SAM's mask, the HQ token's, and their sum.

DATA is a folder of image + mask pairs (HQSeg-44K's layout or a manifest.csv), of label maps, or a COCO
instances file."""


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the sub-command `evaluate`."""
    parser = subparsers.add_parser(
        "evaluate",
        help="measure mask quality on images with masks",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_model_options(parser)
    parser.add_argument("--data", required=True, nargs="+", metavar="DIR_OR_JSON", help="images with masks")
    parser.add_argument("--images", metavar="DIR", help="images of a COCO file")
    parser.add_argument(
        "--prompts",
        nargs="+",
        default=["box"],
        metavar="KIND",
        help="box, jittered-box, points-1, points-3, points-5, points-10, clicks-3, clicks-5, clicks-10, and "
        "everything: mask generation, by the best of its masks for the largest object (default: box)",
    )
    parser.add_argument(
        "--points-per-crop", type=int, default=16, help="side of the grid of everything (default: %(default)s)"
    )
    parser.add_argument(
        "--protocol",
        choices=("normal", "squashed"),
        default="normal",
        help="squashed: images resized to a square, as in the authors' script (normal)",
    )
    parser.add_argument("--multimask", action="store_true", help="the best of SAM's candidates, by its own score")
    parser.add_argument("--baselines", nargs="+", default=[], metavar="NAME", help="filled-box, grabcut (needs OpenCV)")
    parser.add_argument("--floors", action=FormerOption, new="--baselines", nargs="+")
    parser.add_argument(
        "--on-bad", choices=("skip", "raise"), default="skip", help="what to do with unusable data (skip)"
    )
    parser.add_argument("--output", metavar="JSON", help="write every object's scores")
    parser.add_argument("--contact-sheet", metavar="PNG", help="write pictures of the best and the worst cases")
    parser.add_argument("--sheet", action=FormerOption, new="--contact-sheet")
    parser.add_argument("--seed", type=int, default=0, help="of random box sides and points (0)")


def run(args: argparse.Namespace) -> int:
    """Evaluate and print the table."""
    from sam_hq.evaluation import PromptedModel, check_choices, evaluate
    from sam_hq.evaluation.contact_sheet import write_contact_sheet
    from sam_hq_cli.labelled_data import open_images
    from sam_hq_cli.picture_files import check_apart, check_picture_suffix
    from sam_hq_numpy.atomic_writing import check_writable
    from sam_hq_numpy.mask_generation_options import MaskGenerationOptions

    try:
        check_choices(args.prompts, args.baselines, args.seed)
        MaskGenerationOptions(points_per_crop=args.points_per_crop)
    except ImportError as error:
        raise ValueError(str(error)) from error
    outputs = [("--output", args.output), ("--contact-sheet", args.contact_sheet)]
    check_apart([("--data", path) for path in args.data], outputs)
    for _, path in outputs:
        if path is not None:
            check_writable(path)
    if args.contact_sheet is not None:
        if args.prompts[0] == "everything":
            raise ValueError("--contact-sheet shows the first kind of --prompts, which must not be everything")
        check_picture_suffix("--contact-sheet", args.contact_sheet)
    dataset = open_images(args.data, args.images, args.on_bad, "val")
    source, device = model_name(args.model), chosen_device(args.device)
    predictor = PromptedModel(*load_whole(source, device), args.protocol, args.multimask)
    settings = {
        "model": str(source),
        "data": " ".join(args.data),
        "protocol": args.protocol,
        "multimask": args.multimask,
    }
    report = evaluate(
        predictor, dataset, args.prompts, args.baselines, settings, _progress, args.seed, args.points_per_crop
    )
    if not report.scores:
        raise ValueError(f"the data have no usable mask; {dataset.report}")
    print(report.table())
    if report.skipped:
        print(dataset.report)
    if args.output:
        report.save(args.output)
    if args.contact_sheet:
        write_contact_sheet(args.contact_sheet, predictor, dataset, report, args.prompts[0])
    return 0


def _progress(done: int, count: int) -> None:
    end = "\n" if done == count else "\r"
    print(f"{done}/{count} images", end=end, file=sys.stderr, flush=True)
