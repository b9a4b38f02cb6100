"""The CPU engine's encoders, against the modules."""

import pytest
import torch

from conftest import BACKBONES, small_config, small_model
from sam_hq.configuration_sam_hq import SamHQConfig
from sam_hq.model import cpu_encoder
from sam_hq.modeling_sam_hq import SamHQModel


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_piece_by_piece_it_is_the_modules(monkeypatch, backbone, at_once):
    """Pieces that divide neither rows, tokens nor queries, and pieces larger than all there is."""
    monkeypatch.setattr(cpu_encoder, "SCORES_AT_ONCE", at_once * 64)
    for name in ("TOKENS_AT_ONCE", "TINY_VIT_ROWS_AT_ONCE", "TINY_VIT_TOKENS_AT_ONCE"):
        monkeypatch.setattr(cpu_encoder, name, at_once)
    encoder, pixel_values = small_model(backbone).vision_encoder, torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        wanted = encoder(pixel_values, output_hidden_states=True)
        found = cpu_encoder.encode(encoder, pixel_values, output_hidden_states=True)
    assert wanted.keys() == found.keys()
    torch.testing.assert_close(found.to_tuple(), wanted.to_tuple(), atol=1e-5, rtol=1e-4)


def test_a_depthwise_convolution_of_one_pixel_is_no_linear_layer():
    fields = small_config("tiny_vit").to_dict()
    fields["vision_config"]["local_conv_size"] = 1
    encoder, pixel_values = SamHQModel(SamHQConfig.from_dict(fields)).eval().vision_encoder, torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        wanted, found = encoder(pixel_values), cpu_encoder.encode(encoder, pixel_values)
    torch.testing.assert_close(found.to_tuple(), wanted.to_tuple(), atol=1e-5, rtol=1e-4)


def test_in_double_precision_nothing_is_rounded_to_single():
    model = small_model().double()
    pixels = torch.randn(1, 3, 128, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for fast in (True, False):
        model.set_fast_path(fast)
        with torch.no_grad():
            found.append(model.get_image_embeddings(pixels)[0])
    torch.testing.assert_close(*found, atol=1e-10, rtol=1e-8)
