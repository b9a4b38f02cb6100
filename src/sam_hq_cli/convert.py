"""`sam-hq convert`: the authors' checkpoint file to a directory for `from_pretrained`."""

from __future__ import annotations

import argparse


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add the sub-command `convert`."""
    parser = subparsers.add_parser(
        "convert",
        help="convert a checkpoint of the authors, of SAM or of MobileSAM",
        description="Convert one of the authors' .pth files, or a plain SAM or MobileSAM one (whose HQ parts are then "
        "untrained), to a directory with safetensors, processor and model card. Strict: every weight must fit.",
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="the .pth file; read as weights alone, nothing is run")
    parser.add_argument("output_dir", metavar="OUTPUT_DIR", help="a new or empty directory")
    parser.add_argument(
        "--variant",
        choices=("vit_b", "vit_l", "vit_h", "vit_tiny"),
        help="insist on this backbone (default: found from the weights)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        default="float32",
        help="of the saved weights (default: %(default)s)",
    )
    parser.add_argument("--push-to-hub", metavar="REPO", help="also upload the directory to this Hub repository")


def run(args: argparse.Namespace) -> None:
    """Convert, and upload where asked."""
    if args.push_to_hub:
        from huggingface_hub.utils import validate_repo_id

        validate_repo_id(args.push_to_hub)  # before the work
    from transformers.utils.logging import disable_progress_bar, set_verbosity_error

    from sam_hq.checkpoint_conversion import convert_checkpoint

    disable_progress_bar()
    set_verbosity_error()
    conversion = convert_checkpoint(args.checkpoint, args.output_dir, args.variant, args.dtype, args.push_to_hub)
    print(f"variant  {conversion.variant}")
    print(f"wrote    {conversion.output_dir}")
    if args.push_to_hub:
        from huggingface_hub import HfApi

        api = HfApi()
        try:
            api.create_repo(args.push_to_hub, exist_ok=True)
            api.upload_folder(repo_id=args.push_to_hub, folder_path=conversion.output_dir)
        except Exception as error:  # the Hub's errors, and those of its HTTP library, have no common base
            raise OSError(f"{str(conversion.output_dir)!r} is whole, but cannot be pushed: {error}") from error
        print(f"pushed   {args.push_to_hub}")
