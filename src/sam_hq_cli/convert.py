"""`sam-hq convert`: the authors' checkpoint file to a directory for `from_pretrained`, and directories with code."""

from __future__ import annotations

import argparse
from pathlib import Path

from sam_hq_cli.model_loading import load_model, load_whole, quiet_transformers


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the sub-command `convert`."""
    parser = subparsers.add_parser(
        "convert",
        help="convert a checkpoint of the authors, of SAM or of MobileSAM",
        description="Convert one of the authors' .pth files, or a plain SAM or MobileSAM one (whose HQ parts are then "
        "untrained), to a directory with safetensors, processor and model card. Strict: every weight must fit. With "
        "--with-code a directory, such as one of `sam-hq train`, is taken as well.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="the .pth file; read as weights alone, nothing is run")
    parser.add_argument(
        "output_dir",
        metavar="OUTPUT",
        help="a new or empty directory; from a directory, a .pth file in the authors' format",
    )
    parser.add_argument(
        "--base", metavar="PTH", help="the SAM file that a mask decoder alone (the authors' epoch_N.pth) was trained on"
    )
    parser.add_argument(
        "--variant",
        choices=("vit_b", "vit_l", "vit_h", "vit_tiny"),
        help="insist on this backbone (default: found from the weights)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        help="of the saved weights (default: float32; of a directory, its own)",
    )
    parser.add_argument(
        "--with-code",
        action="store_true",
        help="add the model's code, so that transformers loads it with trust_remote_code=True where sam-hq is not "
        "installed",
    )
    parser.add_argument("--push-to-hub", metavar="REPO", help="also upload the directory to this Hub repository")


def run(args: argparse.Namespace) -> None:
    """Convert, and upload where asked."""
    if args.push_to_hub:
        from huggingface_hub.utils import validate_repo_id

        validate_repo_id(args.push_to_hub)  # before the work
    quiet_transformers()
    output_dir = Path(args.output_dir)
    if Path(args.checkpoint).is_dir() and output_dir.suffix == ".pth":
        _save_for_authors(args, output_dir)
    elif args.with_code and Path(args.checkpoint).is_dir():
        _save_directory_with_code(args, output_dir)
    else:
        from sam_hq.hub.conversion import convert_checkpoint

        conversion = convert_checkpoint(
            args.checkpoint,
            output_dir,
            args.variant,
            args.dtype or "float32",
            args.push_to_hub,
            args.with_code,
            args.base,
        )
        print(f"variant  {conversion.variant}")
    print(f"wrote    {output_dir}")
    if args.push_to_hub:
        from huggingface_hub import HfApi

        api = HfApi()
        try:
            api.create_repo(args.push_to_hub, exist_ok=True)
            api.upload_folder(repo_id=args.push_to_hub, folder_path=output_dir)
        except Exception as error:  # the Hub's errors, and those of its HTTP library, have no common base
            raise OSError(f"{str(output_dir)!r} is whole, but cannot be pushed: {error}") from error
        print(f"pushed   {args.push_to_hub}")


def _save_for_authors(args: argparse.Namespace, output_file: Path) -> None:
    import torch

    from sam_hq.hub.checkpoint_files import write_authors_weights

    for option in ("variant", "push_to_hub", "with_code", "base"):
        if getattr(args, option):
            raise ValueError(f"--{option.replace('_', '-')} does not belong to a conversion back to a .pth file")
    dtype = None if args.dtype is None else getattr(torch, args.dtype)
    write_authors_weights(load_model(args.checkpoint, torch.device("cpu"), dtype).state_dict(), output_file)


def _save_directory_with_code(args: argparse.Namespace, output_dir: Path) -> None:
    import torch

    from sam_hq.hub.code_export import save_with_code

    for option in ("variant", "base"):
        if getattr(args, option):
            raise ValueError(f"--{option} is for .pth files; {args.checkpoint!r} is a directory of a whole model")
    dtype = None if args.dtype is None else getattr(torch, args.dtype)
    model, processor = load_whole(args.checkpoint, torch.device("cpu"), dtype)
    save_with_code(model, processor, output_dir, Path(args.checkpoint).resolve().name, args.push_to_hub)
