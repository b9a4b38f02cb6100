r"""Measure what a model's scores are worth on held-out photos, correct its predicted IoU, and write a new directory.

    python conversion_scripts/calibrate_scores.py stage2/best --data held_out --output calibrated \
        --mask-generation pred_iou_thresh=0.7 stability_score_thresh=0.8 stability_score_offset=0.6

The lines are fitted on every second photo and measured on the others; what is written is fitted on all. Without
`--output` nothing is written.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from sam_hq.training.score_calibration import (
    PROMPT_KINDS,
    fitted_lines,
    passing_shares,
    quality,
    recalibrate,
    score_objects,
)
from sam_hq_cli.labelled_data import open_images
from sam_hq_cli.main import exit_status
from sam_hq_cli.model_loading import load_whole, model_name
from sam_hq_numpy.atomic_writing import check_free_directory, new_directory
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions
from sam_hq_numpy.number_limits import counted

THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.88, 0.95)


def calibrate(
    source: str, data: list[str], output: Path | None = None, mask_generation: dict[str, float] | None = None
) -> None:
    """Measure, print, and write.

    Args:
        source: a directory of a SamHQModel with its processor.
        data: held-out photos with masks, as `sam-hq evaluate` takes them.
        output: where the corrected model goes; None writes nothing.
        mask_generation: options of mask generation for the model, by name; None keeps its own.

    Raises:
        ValueError: if the data or the model cannot be used, or an option is unknown.
        OSError: if the output cannot be written.
    """
    if output is not None:
        check_free_directory(output)
    source = model_name(source)
    model, processor = load_whole(source, torch.device("cpu"), torch.float32)
    options = MaskGenerationOptions().updated({**(model.config.mask_generation or {}), **(mask_generation or {})})
    images = open_images(data)
    objects = score_objects(model, processor, images, options.stability_score_offset, progress=_progress)
    first = objects.chosen(objects.photos % 2 == 0)
    others = objects.chosen(objects.photos % 2 == 1) if (objects.photos % 2).any() else first
    lines = fitted_lines(first.scores, first.ious)
    for kind in PROMPT_KINDS:
        ours = others.chosen(others.kinds == kind)
        for name, scored in (("as it is", ours), ("corrected", ours.corrected(lines))):
            values = ", ".join(f"{key} {value:.3f}" for key, value in quality(scored).items())
            print(f"{kind}, {name} ({counted(len(ours.photos), 'object')}): {values}")
    print(f"prompted with points, stability offset {options.stability_score_offset:g}, score and stability at least")
    prompted_with_points = others.chosen(others.kinds != "box").corrected(lines)
    for threshold, good, bad in passing_shares(prompted_with_points, THRESHOLDS):
        print(f"  {threshold:.2f}: {good:.3f} of the good masks pass, {bad:.3f} of the others")
    lines = fitted_lines(objects.scores, objects.ious)
    print(
        "slopes " + np.array2string(lines[:, 0], precision=3) + ", offsets " + np.array2string(lines[:, 1], precision=3)
    )
    if output is None:
        return
    recalibrate(model, lines)
    if mask_generation:
        model.config.mask_generation = {**(model.config.mask_generation or {}), **mask_generation}
    with new_directory(output) as directory:
        model.save_pretrained(directory)
        processor.save_pretrained(directory)
    print(f"wrote {output}")


def _progress(done: int, count: int) -> None:
    print(f"{done}/{count} photos", end="\n" if done == count else "\r", file=sys.stderr, flush=True)


def _option(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    return name, float(number)


def main() -> int:
    """Read the command line, measure and write; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="a directory of a SamHQModel with its processor")
    parser.add_argument("--data", required=True, nargs="+", metavar="DIR_OR_JSON", help="held-out photos with masks")
    parser.add_argument("--output", type=Path, metavar="DIR", help="where the corrected model goes")
    parser.add_argument("--mask-generation", nargs="+", type=_option, default=[], metavar="OPTION=NUMBER")
    arguments = parser.parse_args()
    options = dict(arguments.mask_generation) or None
    return exit_status(lambda: calibrate(arguments.source, arguments.data, arguments.output, options), parser.prog)


if __name__ == "__main__":
    sys.exit(main())
