"""Put a trained model into the package: weights in half precision, with a configuration that loads them in single.

    python conversion_scripts/embed_checkpoint.py stage2/best --mask-generation pred_iou_thresh=0.4

The package's directory of the embedded checkpoint is replaced as a whole. `make cards` then writes its card.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch

import sam_hq
from sam_hq_cli.main import exit_status
from sam_hq_cli.model_loading import load_whole, model_name
from sam_hq_numpy.atomic_writing import new_directory
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions

LARGEST_BYTES = 14 * 2**20


def embed(source: str, target: Path, mask_generation: dict[str, float] | None = None) -> int:
    """Write the directory, and return the size of its weights in bytes.

    Args:
        source: a directory that `sam-hq train` saved.
        target: where the embedded checkpoint goes; an older one is replaced.
        mask_generation: options of mask generation that suit the model, by name.

    Raises:
        ValueError: if a weight is missing or not finite in half precision, or if the file is too large for the package.
    """
    MaskGenerationOptions().updated(mask_generation or {})  # refuses what is wrong before anything is loaded
    source = model_name(source)
    model, processor = load_whole(source, torch.device("cpu"), torch.float32)
    half = model.half()
    half.config.mask_generation = mask_generation or None
    lost = [name for name, weight in half.state_dict().items() if not weight.isfinite().all()]
    if lost:
        raise ValueError(f"{len(lost)} weights are too large for half precision, such as {lost[0]}")
    fresh = target.with_name(f"{target.name}-new")
    shutil.rmtree(fresh, ignore_errors=True)
    with new_directory(fresh) as directory:
        half.save_pretrained(directory)
        processor.save_pretrained(directory)
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        config["dtype"] = "float32"  # what it computes in; from_pretrained converts on loading
        (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        size = (directory / "model.safetensors").stat().st_size
        if size > LARGEST_BYTES:
            raise ValueError(f"the weights have {size} bytes, more than the {LARGEST_BYTES} that a wheel should carry")
    shutil.rmtree(target, ignore_errors=True)
    fresh.rename(target)
    return size


def _option(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    return name, float(number)


def main() -> int:
    """Read the command line and embed the checkpoint; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="a directory that `sam-hq train` saved")
    parser.add_argument(
        "--mask-generation",
        nargs="+",
        default=[],
        metavar="NAME=NUMBER",
        type=_option,
        help="options of mask generation that suit the model, such as pred_iou_thresh=0.4",
    )
    arguments = parser.parse_args()

    def run() -> None:
        size = embed(arguments.source, Path(sam_hq.EMBEDDED_CHECKPOINT), dict(arguments.mask_generation))
        print(f"{sam_hq.EMBEDDED_CHECKPOINT}: {size / 1e6:.1f} MB")

    return exit_status(run, parser.prog)


if __name__ == "__main__":
    sys.exit(main())
