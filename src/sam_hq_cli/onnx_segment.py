"""`sam-hq segment` with an exported model: the same output, without torch."""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from pathlib import Path

from sam_hq_cli.console import Prompts, overlay, report
from sam_hq_cli.mask_files import write_masks


def run_exported(args: argparse.Namespace, prompts: Prompts) -> None:
    """Segment one photograph, print scores and times, write what was asked for.

    Args:
        args: of `sam-hq segment`.
        prompts: what shows the objects.

    Raises:
        ValueError: if the photograph or the graphs cannot be read, onnxruntime is missing, the device is neither cpu
            nor cuda, or kept embeddings are asked for.
    """
    if args.embeddings is not None:
        raise ValueError("--embeddings are of the torch model; an exported one cannot take them")
    if args.device not in (None, "cpu", "cuda"):
        raise ValueError(f"device of an exported model must be cpu or cuda, got {args.device!r}")
    if any(Path(args.model).glob("*.pt2")):
        raise ValueError(
            f"model is {args.model!r}, which holds programs of torch.export: load them in Python with "
            "sam_hq.export.programs.program_runner, or export with --format onnx"
        )
    from PIL import Image

    from sam_hq_cli.input_ranges import input_range
    from sam_hq_numpy.atomic_writing import new_file
    from sam_hq_onnx import OnnxSamHQ
    from sam_hq_onnx.photographs import load_photo

    laps: dict[str, float] = {}
    with ExitStack() as outputs:
        # Opened before the work, so that a place where nothing can be written is known at once.
        overlay_file = outputs.enter_context(new_file(args.output)) if args.output else None
        masks_file = outputs.enter_context(new_file(args.masks)) if args.masks else None
        photo = Image.fromarray(load_photo(args.image, args.max_pixels, input_range(args.input_range)))
        start = time.perf_counter()
        try:
            runner = OnnxSamHQ(args.model, args.device)
        except ImportError as error:
            raise ValueError(str(error)) from error
        laps["load"] = time.perf_counter() - start
        start = time.perf_counter()
        embeddings = runner.embed(photo, args.max_pixels)
        laps["image"] = time.perf_counter() - start
        start = time.perf_counter()
        (found,) = runner.segment(
            embeddings,
            multimask_output=args.multimask,
            hq_token_only=args.hq_token_only,
            **prompts.processor_arguments,
        )
        laps["prompts and masks"] = time.perf_counter() - start
        report(args.image, photo, f"{args.model}, {runner.providers[0]}", found.masks, found.scores, laps)
        if overlay_file:
            overlay(photo, found.masks, prompts).save(overlay_file)
        if masks_file:
            write_masks(masks_file, Path(args.image).name, found.masks, found.scores)
    for written in filter(None, (args.output, args.masks)):
        print(f"wrote    {written}")
