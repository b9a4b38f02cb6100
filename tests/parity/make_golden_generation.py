"""Records what the authors' `SamAutomaticMaskGenerator` finds: `golden/generation_<variant>.npz`.

Runs in the reference environment only (README.md tells how to make it); small regions need OpenCV there.

    python tests/parity/make_golden_generation.py vit_tiny vit_b
"""

import json
import sys

import numpy as np
import torch
from golden import FOLDER
from reference import embed, load_reference, read_photo
from seeded_weights import seeded_state_dict
from segment_anything_hq import SamAutomaticMaskGenerator

# Thresholds are for seeded weights, whose scores lie around 1 and whose masks are less stable than trained ones.
LENIENT = {"points_per_side": 8, "pred_iou_thresh": 0.9, "stability_score_thresh": 0.4}
RUNS = {
    "vit_tiny": [
        {"name": "grid", "photo": "lemur.png", "options": LENIENT},
        {
            "name": "crops and small regions",
            "photo": "liberty.png",
            "options": {
                **LENIENT,
                "crop_n_layers": 1,
                "crop_n_points_downscale_factor": 2,
                "min_mask_region_area": 150,
            },
        },
        {
            "name": "single mask, small regions, odd batch",
            "photo": "lemur.png",
            "multimask_output": False,
            "options": {
                "points_per_side": 7,
                "points_per_batch": 10,
                "pred_iou_thresh": 0.7,
                "stability_score_thresh": 0.3,
                "stability_score_offset": 1.5,
                "box_nms_thresh": 0.5,
                "min_mask_region_area": 400,
            },
        },
    ],
    "vit_b": [{"name": "grid", "photo": "lemur.png", "options": LENIENT}],
}


def record_variant(variant: str) -> None:
    """Writes `golden/generation_<variant>.npz`."""
    predictor = load_reference(variant, seeded_state_dict(variant, local_masks=True))
    runs = []
    for run in RUNS[variant]:
        image = read_photo(run["photo"])
        multimask_output = run.get("multimask_output", True)
        generator = SamAutomaticMaskGenerator(predictor.model, output_mode="coco_rle", **run["options"])
        if not run["options"].get("crop_n_layers"):  # what `embed` keeps is the whole photo's
            generator.predictor.set_image = lambda image, run=run, own=generator.predictor: embed(
                own, variant, run["photo"], image
            )
        records = generator.generate(image, multimask_output=multimask_output)
        runs.append({**run, "multimask_output": multimask_output, "records": records})
        print(f"{variant} {run['name']}: {len(records)} records")
        for record in records:
            print({key: value for key, value in record.items() if key != "segmentation"})
        write(variant, runs)


def write(variant: str, runs: list[dict]) -> None:
    """Writes what is there."""
    np.savez_compressed(FOLDER / f"generation_{variant}.npz", meta=np.array(json.dumps(runs)))


def main() -> None:
    """Records what the command line names."""
    torch.set_num_threads(2)
    FOLDER.mkdir(exist_ok=True)
    for variant in sys.argv[1:]:
        record_variant(variant)


if __name__ == "__main__":
    main()
