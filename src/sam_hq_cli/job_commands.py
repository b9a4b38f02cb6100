"""What `sam-hq generate` and `sam-hq annotate` share: jobs on many images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam_hq_cli.model_loading import add_model_options, chosen_device, load_whole, model_name
from sam_hq_numpy.formats import FORMATS

if TYPE_CHECKING:
    from sam_hq.jobs.image_job import ImageJob, JobSummary
    from sam_hq.jobs.outputs import JobOutputs

_NAMED = 10
_CHANGED = {"image": "whose file changed", "weights": "made by other weights", "prompts": "whose prompts changed"}
RESUMING = """\
A job that was interrupted or killed resumes when the same command is given again; images, prompts or weights that have
changed meanwhile are done again. Images that cannot be used are reported, noted in failures/ and skipped; the exit
status is then 1, and they are tried again next time.

The same command may run several times at once, on machines that share the folder too: each image is claimed by one of
the processes. Array jobs take --shard I/N; one machine with several GPUs:
accelerate launch --num_processes N -m sam_hq_cli.main """


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of every job."""
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="images, folders, or quoted patterns with * ? **")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the job")
    add_model_options(parser)
    parser.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), default="float32", help="of the model")
    parser.add_argument(
        "--shard", type=shard, default=(1, 1), metavar="I/N", help="do the I-th of N equal parts of the images, from 1"
    )
    kinds = "; ".join(f"{name}: {text}" for name, text in FORMATS.items())
    parser.add_argument(
        "--formats",
        nargs="+",
        action="extend",
        default=[],
        choices=FORMATS,
        metavar="NAME",
        help=f"also write, of {kinds}",
    )
    parser.add_argument(
        "--tolerance", type=float, default=1.0, help="how far polygons may be from the mask's outline, in pixels (1)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def shard(text: str) -> tuple[int, int]:
    """Read `I/N`.

    Args:
        text: The value of --shard.

    Raises:
        argparse.ArgumentTypeError: If it is none, or I is not from 1 to N.
    """
    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"must be I/N with I from 1 to N, got {text!r}")
    return int(index), int(count)


def listed_images(args: argparse.Namespace) -> list[Path]:
    """The images behind INPUT; what is skipped is said.

    Args:
        args: Of the command.

    Raises:
        ValueError: If an input matches nothing, or a number of the command is too small.
    """
    from sam_hq_numpy.listing import list_images
    from sam_hq_numpy.number_limits import check_number

    check_number("--tolerance", args.tolerance, at_least=0)
    for name in ("batch_size", "objects_per_batch"):
        check_number(f"--{name.replace('_', '-')}", getattr(args, name, 1), at_least=1)
    listing = list_images(args.inputs)
    for warning in listing.warnings():
        print(f"sam-hq: {warning}", file=sys.stderr)
    return listing.images


def processes(device: str | None) -> Any:
    """Accelerate's state of the processes that share this command.

    Args:
        device: The value of --device.
    """
    from datetime import timedelta

    from accelerate import PartialState

    # Processes wait for the slowest, which may have the larger images.
    return PartialState(cpu=device == "cpu", timeout=timedelta(days=30))


def load(args: argparse.Namespace, state: Any) -> tuple[Any, Any, JobOutputs]:
    """Load the model of a job.

    Args:
        args: Of the command.
        state: From `processes`.

    Returns:
        The model, its processor, and what the job shall write.

    Raises:
        ValueError: If the model cannot be loaded.
    """
    import torch

    from sam_hq.jobs.image_job import weights_digest
    from sam_hq.jobs.outputs import JobOutputs

    name = model_name(args.model)
    device = state.device if state.num_processes > 1 else chosen_device(args.device)
    model, processor = load_whole(name, device, getattr(torch, args.dtype))
    embeddings = getattr(args, "embeddings", None)
    outputs = JobOutputs(
        tuple(args.formats),
        args.tolerance,
        None if embeddings is None else Path(embeddings),
        f"{name} {args.dtype}",
        weights_digest(model),
    )
    return model, processor, outputs


def run_job(args: argparse.Namespace, state: Any, make: Callable[[], ImageJob]) -> int:
    """Do this process's share of a job, and say what came out.

    Args:
        args: Of the command.
        state: From `processes`.
        make: Makes the job.

    Returns:
        The exit status: 1 if an image could not be used, or is missing at the end.
    """
    first, count = args.shard
    # One process writes the settings before the others compare theirs.
    if not state.is_main_process:
        state.wait_for_everyone()
    job = make()
    if state.is_main_process:
        state.wait_for_everyone()
    try:
        index = first - 1 + count * state.process_index  # its shares together are the shard
        bar = not args.quiet and state.is_local_main_process
        job.run(index, count * state.num_processes, progress=bar)
        # The first process may only put everything together when all have written their share,
        state.wait_for_everyone()
    finally:
        if state.is_main_process:
            summary = job.finish(first - 1, count)
    # and none may leave before, or the launcher takes the others down.
    state.wait_for_everyone()
    if not state.is_main_process:
        return 0
    _report(args, summary)
    return 1 if summary.failures or summary.missing else 0


def _report(args: argparse.Namespace, summary: JobSummary) -> None:
    from sam_hq.jobs.journal import COCO_NAME
    from sam_hq_numpy.number_limits import counted

    for image, reason in summary.failures.items():
        print(f"sam-hq: skipped {image}: {reason}", file=sys.stderr)
    for changed, count in summary.again.items():
        print(f"again    {counted(count, 'image')} {_CHANGED.get(changed, f'with other {changed}')}")
    for name, reason in summary.bad_prompts[:_NAMED]:
        print(f"sam-hq: skipped {name}: {reason}", file=sys.stderr)
    earlier = f", {summary.earlier} of earlier runs in this folder" if summary.earlier else ""
    objects = (
        f"; {counted(len(summary.bad_prompts), 'object')} skipped, named in skipped.json" if summary.bad_prompts else ""
    )
    images = f"{counted(summary.done, 'image')}, {len(summary.failures)} skipped{earlier}{objects}"
    print(f"wrote    {Path(args.output) / COCO_NAME}: {images}")
    if summary.missing:
        missing = counted(summary.missing, "image")
        print(f"sam-hq: {missing} missing: files of the job were deleted meanwhile", file=sys.stderr)
