"""Measures `bias_offsets.json` (see `seeded_weights.load_offsets`). Runs in the reference environment, see README.md.

The common part of features and scores is averaged over a grid of points on two photos. Run it again only together
with `make_golden.py` and `make_golden_generation.py`: other offsets are other weights.

    python tests/parity/calibrate.py vit_tiny "vit_tiny local" [vit_b …]
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from reference import embed, load_reference, read_photo
from seeded_weights import seeded_state_dict

PHOTOS = ("lemur.png", "liberty.png")
LOGIT_MEANS = (-0.5, -1.5, -1.5, -1.5, -2.0)  # masks 0-3, then the HQ mask: the lesser part of the picture
LOCAL_LOGIT_MEANS = (-7.0, -7.0, -7.0, -7.0, -3.0)
SCORE_MEANS = (0.85, 0.8, 0.8, 0.8)
GRID = 4  # points per side


@torch.no_grad()
def measure(variant: str) -> dict[str, list[float]]:
    """Returns `{bias key: offset}` for one variant, or for "<variant> local"."""
    variant, _, local = variant.partition(" ")
    predictor = load_reference(variant, seeded_state_dict(variant, local_masks=bool(local)))
    decoder = predictor.model.mask_decoder
    heads = [*decoder.output_hypernetworks_mlps, decoder.hf_mlp]
    seen = {"features": [[], []], "weights": [[] for _ in heads], "scores": []}
    hooks = [
        decoder.output_upscaling.register_forward_hook(
            lambda _module, _inputs, output: seen["features"][0].append(output.mean((0, 2, 3)))
        ),
        decoder.embedding_maskfeature.register_forward_hook(
            lambda _module, _inputs, output: seen["features"][1].append(output.mean((0, 2, 3)))
        ),
        decoder.iou_prediction_head.register_forward_hook(
            lambda _module, _inputs, output: seen["scores"].append(output.mean(0))
        ),
    ]
    hooks += [
        head.register_forward_hook(
            lambda _module, _inputs, output, index=index: seen["weights"][index].append(output.mean(0))
        )
        for index, head in enumerate(heads)
    ]
    hq_features = []
    for name in PHOTOS:
        image = read_photo(name)
        embed(predictor, variant, name, image)
        early = predictor.interm_features[0].permute(0, 3, 1, 2)
        fused = decoder.embedding_encoder(predictor.features) + decoder.compress_vit_feat(early)
        hq_features.append(fused.mean((0, 2, 3)))
        side = (torch.arange(GRID) + 0.5) / GRID
        points = torch.cartesian_prod(side * predictor.input_size[1], side * predictor.input_size[0])[:, None]
        predictor.predict_torch(points, torch.ones(len(points), 1, dtype=torch.int))
    for hook in hooks:
        hook.remove()

    sam_features = torch.stack(seen["features"][0]).mean(0)
    hq_features = torch.stack(seen["features"][1]).mean(0) + torch.stack(hq_features).mean(0)
    offsets = {}
    for index, wanted in enumerate(LOCAL_LOGIT_MEANS if local else LOGIT_MEANS):
        features = hq_features if index == 4 else sam_features
        weights = torch.stack(seen["weights"][index]).mean(0)
        # With local masks the sum over all features means "near the prompt": leave it alone.
        direction = features - features.mean() if local else features
        offset = direction * (wanted - weights @ features) / (direction @ features)
        key = "hf_mlp" if index == 4 else f"output_hypernetworks_mlps.{index}"
        offsets[f"mask_decoder.{key}.layers.2.bias"] = offset
    offsets["mask_decoder.iou_prediction_head.layers.2.bias"] = torch.tensor(SCORE_MEANS) - torch.stack(
        seen["scores"]
    ).mean(0)
    return {key: np.round(offset.double().numpy(), 4).tolist() for key, offset in offsets.items()}


def main() -> None:
    """Replaces the offsets of the variants named on the command line."""
    path = Path(__file__).parent / "bias_offsets.json"
    for variant in sys.argv[1:]:
        table = json.loads(path.read_text())
        table.pop(variant, None)
        path.write_text(json.dumps(table, indent=1) + "\n")
        offsets = measure(variant)
        table = json.loads(path.read_text())
        path.write_text(json.dumps({**table, variant: offsets}, indent=1) + "\n")


if __name__ == "__main__":
    main()
