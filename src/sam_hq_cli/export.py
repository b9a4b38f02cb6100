"""`sam-hq export`: a model to graphs that run without this package or without torch."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sam_hq_cli.model_loading import add_model_options, chosen_device, load_whole, model_name


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the sub-command `export`."""
    parser = subparsers.add_parser(
        "export",
        help="write the whole model as ONNX, or as programs of torch.export",
        description="Write encoder and decoder as two graphs, for any number of images, objects and points, and "
        "check them against torch on prompts of every kind before they get their name. docs/export.md describes them.",
    )
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="a new or empty directory")
    add_model_options(parser, device=False)
    parser.add_argument(
        "--format",
        choices=("onnx", "torch-export"),
        default="onnx",
        help="onnx needs the extra `onnx` (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        choices=("fp32", "fp16", "int8"),
        default="fp32",
        help="of the weights; int8: of the encoder's, for CPUs (default: %(default)s)",
    )
    parser.add_argument(
        "--calibrate",
        nargs="+",
        action="extend",
        default=[],
        metavar="PHOTO",
        help="with int8: images, folders or quoted patterns like what the model is for, to measure ranges on; "
        "convolutions then have 8 bits too",
    )
    parser.add_argument(
        "--layout",
        choices=("sam-hq", "segment-anything"),
        default="sam-hq",
        help="segment-anything: the inputs and outputs that labelling tools expect, in fp32 (default: %(default)s)",
    )
    parser.add_argument("--multimask", action="store_true", help="with segment-anything: the best of three masks")
    parser.add_argument("--hq-token-only", action="store_true", help="with segment-anything: the HQ mask alone")
    parser.add_argument("--opset", type=int, help="with onnx: version of its operators (default: 18)")


def run(args: argparse.Namespace) -> None:
    """Export, check, and say how near the graphs are."""
    start = time.perf_counter()
    photos = _calibration_photos(args)
    export = _chosen_export(args, photos)
    name = model_name(args.model)
    import torch

    model, processor = load_whole(name, chosen_device("cpu"), torch.float32)
    written = export(model, processor.image_processor)
    directory, agreement = written.directory, written.agreement
    print(f"model    {name}")
    if photos:
        from sam_hq_numpy.number_limits import counted

        print(f"ranges   measured on {counted(len(photos), 'image')}")
    print(
        f"checked  masks within {agreement.largest_difference:.1e} of torch's (of the largest logit), scores within "
        f"{agreement.largest_score_difference:.1e}, mean IoU with torch's masks {agreement.mask_iou:.4f}"
    )
    for path in sorted(directory.iterdir()):
        print(f"wrote    {path}, {path.stat().st_size / 1e6:.1f} MB")
    print(f"time     {time.perf_counter() - start:.1f} s")


def _chosen_export(args: argparse.Namespace, photos: list[Path]) -> Callable[[Any, Any], Any]:
    """What exports a model with its image processor, once all options are known to be possible."""
    if args.layout == "segment-anything":
        return _sam_layout(args)
    if args.multimask or args.hq_token_only:
        raise ValueError(
            "--multimask and --hq-token-only are for --layout segment-anything: other graphs take them as inputs"
        )
    if args.format == "torch-export":
        from sam_hq.export.programs import check_program_options, export_programs

        if args.opset is not None:
            raise ValueError(f"--opset is for --format onnx, got --opset {args.opset} with --format torch-export")
        check_program_options(args.output_dir, args.dtype)
        return lambda model, image_processor: export_programs(model, image_processor, args.output_dir, args.dtype)
    from sam_hq.export.onnx import DEFAULT_OPSET, check_onnx_options, export_onnx

    options = (args.output_dir, args.dtype, DEFAULT_OPSET if args.opset is None else args.opset, photos)
    try:
        check_onnx_options(*options)
    except ImportError as error:
        raise ValueError(str(error)) from error
    return lambda model, image_processor: export_onnx(model, image_processor, *options)


def _sam_layout(args: argparse.Namespace) -> Callable[[Any, Any], Any]:
    from sam_hq.export.onnx import DEFAULT_OPSET, check_onnx_options

    if (args.format, args.dtype) != ("onnx", "fp32"):
        raise ValueError(
            f"--layout segment-anything is for onnx in fp32, got --format {args.format} --dtype {args.dtype}"
        )
    opset = DEFAULT_OPSET if args.opset is None else args.opset
    try:
        check_onnx_options(args.output_dir, args.dtype, opset)
    except ImportError as error:
        raise ValueError(str(error)) from error
    from sam_hq.export.sam_layout import export_sam_layout

    return lambda model, image_processor: export_sam_layout(
        model, image_processor, args.output_dir, opset, args.multimask, args.hq_token_only
    )


def _calibration_photos(args: argparse.Namespace) -> list[Path]:
    if not args.calibrate:
        return []
    if (args.format, args.dtype) != ("onnx", "int8"):
        raise ValueError(
            f"--calibrate is for --format onnx --dtype int8, got --format {args.format} --dtype {args.dtype}"
        )
    from sam_hq_numpy.listing import list_images

    return list_images(args.calibrate).images
