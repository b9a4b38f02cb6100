"""Records features of EfficientNet-Lite as the package `efficientnet_lite_pytorch` computes them.

Runs in an environment of its own (README.md tells how to make it):

    python tests/parity/make_golden_efficientnet.py
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from parity.efficientnet import FILE, SIDE, VARIANTS, pixel_values, seeded_weights
from parity.golden import sample_indices

SAMPLES = 2000


@torch.no_grad()
def main() -> None:
    recorded = {}
    for variant in VARIANTS:
        model = EfficientNet.from_name(f"efficientnet-{variant}", image_size=SIDE).eval()
        shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
        model.load_state_dict({key: torch.from_numpy(value) for key, value in seeded_weights(shapes).items()})
        recorded[f"{variant}_shapes"] = json.dumps(shapes)
        features = model._swish(model._bn0(model._conv_stem(torch.from_numpy(pixel_values()))))
        by_side = {}
        for block in model._blocks:
            features = block(features)
            by_side[features.shape[-1]] = features  # the last of each resolution stays
        for stride, side in ((16, SIDE // 16 + 1), (32, SIDE // 32 + 1)):
            found = by_side[side].numpy()
            indices = sample_indices(found.size, SAMPLES)
            name = f"{variant}_{stride}"
            recorded[f"{name}_shape"] = np.array(found.shape)
            recorded[f"{name}_indices"] = indices
            recorded[f"{name}_values"] = found.reshape(-1)[indices]
            recorded[f"{name}_mean"], recorded[f"{name}_largest"] = found.mean(), np.abs(found).max()
            print(name, found.shape, found.std(), np.abs(found).max())
    np.savez_compressed(FILE, **recorded)


if __name__ == "__main__":
    main()
