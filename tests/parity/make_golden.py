"""Records what the authors' package answers: `golden/<variant>.npz` and `golden/pixels.npz`.

Runs in the reference environment only (README.md tells how to make it):

    python tests/parity/make_golden.py pixels vit_tiny vit_b vit_l vit_h
"""

import hashlib
import json
import sys

import numpy as np
import torch
from golden import FOLDER, ellipse_mask_prompt, sample_indices
from reference import embed, load_reference, read_photo
from seeded_weights import seeded_state_dict

SAMPLES = 2000
STRIDE = 5  # of the low-res logits that are kept
PIXELS = (("lemur.png", (1, 1)), ("liberty.png", (1, 1)), ("scissors.png", (1, 1)), ("kingfisher.png", (2, 2)))

# Object box and points of each photo, in its own pixels.
PROMPTS = {
    "lemur.png": {
        "box": [150.0, 58.0, 500.0, 408.0],
        "points": [[300.0, 190.0], [222.5, 301.0]],
        "negative": [70.0, 80.0],
    },
    "liberty.png": {
        "box": [238.0, 28.0, 402.0, 430.0],
        "points": [[310.0, 250.0], [325.5, 360.0]],
        "negative": [110.0, 300.0],
    },
    "scissors.png": {
        "box": [18.0, 76.0, 306.0, 226.0],
        "points": [[160.0, 141.0], [66.0, 112.5]],
        "negative": [250.0, 40.0],
    },
}
PHOTOS = {
    "vit_tiny": ("lemur.png", "liberty.png", "scissors.png"),
    "vit_b": ("lemur.png", "liberty.png"),
    "vit_l": ("lemur.png", "liberty.png"),
    "vit_h": ("lemur.png", "liberty.png"),
}


def cases_of(photo: str) -> list[dict]:
    """Returns the prompts asked on one photo."""
    box, points, negative = (PROMPTS[photo][key] for key in ("box", "points", "negative"))
    first, both = {"points": points[:1], "labels": [1]}, {"points": points, "labels": [1, 1]}
    with_negative = {"points": [*points, negative], "labels": [1, 1, 0]}
    cases = [
        {"name": "box", "box": box},
        {"name": "box single", "box": box, "multimask_output": False},
        {"name": "box hq only", "box": box, "multimask_output": False, "hq_token_only": True},
        {"name": "point", **first},
        {"name": "point hq only", **first, "hq_token_only": True},
        {"name": "points with a negative", **with_negative},
        {"name": "box and points", "box": box, **with_negative},
        {"name": "points and mask", **both, "mask_prompt_box": box},
    ]
    default = {"points": None, "labels": None, "box": None, "mask_prompt_box": None, "multimask_output": True}
    return [{**default, "hq_token_only": False, **case, "photo": photo} for case in cases]


@torch.no_grad()
def record_variant(variant: str) -> None:
    """Writes `golden/<variant>.npz`."""
    predictor = load_reference(variant, seeded_state_dict(variant))
    raw = {}
    predict_masks = predictor.model.mask_decoder.predict_masks

    def predict_and_keep(**inputs):
        raw["masks"], raw["scores"] = predict_masks(**inputs)
        return raw["masks"], raw["scores"]

    predictor.model.mask_decoder.predict_masks = predict_and_keep

    arrays, photos, cases = {}, [], []
    for photo in PHOTOS[variant]:
        image = read_photo(photo)
        embed(predictor, variant, photo, image)
        sizes = {"original_size": list(image.shape[:2]), "reshaped_input_size": list(predictor.input_size)}
        photos.append({"photo": photo, **sizes})
        keep_samples(arrays, f"{photo}/image_embeddings", predictor.features)
        keep_samples(arrays, f"{photo}/intermediate_embeddings", predictor.interm_features[0])
        for case in cases_of(photo):
            ellipse = case["mask_prompt_box"]
            masks, scores, low_res = predictor.predict(
                point_coords=None if case["points"] is None else np.array(case["points"]),
                point_labels=None if case["labels"] is None else np.array(case["labels"]),
                box=None if case["box"] is None else np.array(case["box"]),
                mask_input=None if ellipse is None else ellipse_mask_prompt(ellipse, image.shape[:2]),
                multimask_output=case["multimask_output"],
                hq_token_only=case["hq_token_only"],
            )
            all_scores = raw["scores"][0].numpy()
            row, column = len(cases) % STRIDE, (2 * len(cases) + 1) % STRIDE
            cases.append(
                {
                    **case,
                    "original_size": list(image.shape[:2]),
                    "grid": [row, column, STRIDE],
                    "largest_logit": float(np.abs(low_res).max()),
                    "score": float(scores[0]),
                    "best": 1 + int(all_scores[1:].argmax()) if case["multimask_output"] else 0,
                    "all_scores": [float(score) for score in all_scores],
                }
            )
            prefix = f"{photo}/{case['name']}"
            arrays[f"{prefix}/low_res_logits"] = low_res[0, row::STRIDE, column::STRIDE]
            arrays[f"{prefix}/all_logits"] = raw["masks"][0, :, ::16, ::16].numpy()
            arrays[f"{prefix}/packed_mask"] = np.packbits(masks[0])
            print(
                f"{variant} {prefix}: score {scores[0]:.4f} best {cases[-1]['best']} area {masks[0].mean():.3f}"
                f" logits {low_res.min():.2f}..{low_res.max():.2f}"
            )
    meta = json.dumps({"variant": variant, "photos": photos, "cases": cases})
    np.savez_compressed(FOLDER / f"{variant}.npz", meta=np.array(meta), **arrays)


def record_pixels() -> None:
    """Writes `golden/pixels.npz`: the authors' resizing, scaling and padding."""
    predictor = load_reference("vit_tiny", seeded_state_dict("vit_tiny"))
    arrays, meta = {}, []
    for photo, tiles in PIXELS:
        image = np.tile(read_photo(photo), (*tiles, 1))
        resized = predictor.transform.apply_image(image)
        pixel_values = predictor.model.preprocess(torch.from_numpy(resized).permute(2, 0, 1).contiguous())
        key = f"{photo} {tiles[0]}x{tiles[1]}"
        keep_samples(arrays, key, pixel_values)
        meta.append(
            {
                "key": key,
                "photo": photo,
                "tiles": list(tiles),
                "original_size": list(image.shape[:2]),
                "reshaped_input_size": list(resized.shape[:2]),
                "sha256": hashlib.sha256(resized.tobytes()).hexdigest(),
            }
        )
    np.savez_compressed(FOLDER / "pixels.npz", meta=np.array(json.dumps(meta)), **arrays)


def keep_samples(arrays: dict[str, np.ndarray], name: str, tensor: torch.Tensor) -> None:
    """Adds the samples of a tensor, in the form `golden.read_samples` expects."""
    array = tensor.numpy()
    indices = sample_indices(array.shape, SAMPLES)
    assert len(indices) == SAMPLES, "two samples fell on one position: the reader could not tell"
    arrays[f"{name}/shape"] = np.array(array.shape)
    arrays[f"{name}/values"] = array.reshape(-1)[indices]
    arrays[f"{name}/summary"] = np.array([array.mean(dtype=np.float64), np.abs(array).max()])


def main() -> None:
    """Records what the command line names."""
    torch.set_num_threads(2)
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:]:
        if name == "pixels":
            record_pixels()
        else:
            record_variant(name)


if __name__ == "__main__":
    main()
