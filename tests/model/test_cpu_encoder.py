"""The CPU engine's encoders, against the modules."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from conftest import BACKBONES, small_config, small_model
from sam_hq.configuration_sam_hq import SamHQConfig
from sam_hq.model import cpu_encoder
from sam_hq.model.vision_efficientnet import EfficientNetBlock
from sam_hq.modeling_sam_hq import SamHQModel


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_piece_by_piece_it_is_the_modules(monkeypatch, backbone, at_once):
    """Pieces that divide neither rows, tokens nor queries, and pieces larger than all there is."""
    monkeypatch.setattr(cpu_encoder, "SCORES_AT_ONCE", at_once * 64)
    monkeypatch.setattr(cpu_encoder, "STRIP_ELEMENTS_AT_ONCE", at_once * 2**13)
    for name in ("TOKENS_AT_ONCE", "TINY_VIT_TOKENS_AT_ONCE"):
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


@pytest.mark.parametrize("act", ["relu6", "silu"])
def test_rows_of_a_bottleneck_are_those_of_the_whole_map(monkeypatch, act):
    """Of odd heights too, by kernels of 3 and 5, with strides of 1 and 2, and without writing into the features."""
    fields = small_config("efficientnet").to_dict()
    fields["vision_config"]["hidden_act"] = act
    config = SamHQConfig.from_dict(fields).vision_config
    for kernel_size, stride, height in itertools.product((3, 5), (1, 2), (1, 2, 9, 16)):
        block = EfficientNetBlock(config, 8, 8, 6, kernel_size, stride).eval()
        features = torch.randn(2, 8, height, 11).to(memory_format=torch.channels_last)
        given = features.clone()
        with torch.no_grad():
            wanted = block(features)
            for rows in (1, 2, 3, 100):
                monkeypatch.setattr(cpu_encoder, "STRIP_ELEMENTS_AT_ONCE", rows * 2 * 48 * stride * 11)
                found = cpu_encoder._efficientnet_block(block, features)
                torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
        assert torch.equal(features, given)


@pytest.mark.parametrize("backbone", ["tiny_vit", "efficientnet"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_convolutions_are_in_32_bits_where_the_cpu_lacks_16(monkeypatch, backbone, dtype):
    """They are dozens of times as fast so, and no worse than those of the modules."""
    encoder, pixel_values = small_model(backbone).vision_encoder.to(dtype), torch.randn(1, 3, 128, 128).to(dtype)
    folded, conv2d = [], F.conv2d

    def counted(features, weight, *others, **options):
        folded.append((weight.dtype, weight.shape[1]))
        return conv2d(features, weight, *others, **options)

    with torch.no_grad():
        modules = encoder(pixel_values)
        exact = copy.deepcopy(encoder).float()(pixel_values.float())
        monkeypatch.setattr(torch.cpu, "get_capabilities", dict, raising=False)
        monkeypatch.setattr(F, "conv2d", counted)
        cpu_encoder.warn_of_slow_types.cache_clear()
        with pytest.warns(UserWarning, match="no instructions"):
            found = cpu_encoder.encode(encoder, pixel_values)
    depthwise = [part for part in encoder.stages.modules() if isinstance(part, nn.Conv2d) and part.groups > 1]
    strips = [used for used, inputs in folded if inputs == 1]
    assert strips.count(torch.float32) >= len(depthwise)
    assert strips.count(dtype) <= 1  # that of the fusion is small, and a module's
    for name, wanted in exact.items():
        for in_engine, in_modules, right in zip(*map(_tensors, (found[name], modules[name], wanted)), strict=True):
            assert in_engine.dtype == dtype
            assert (in_engine - right).abs().mean() <= 1.1 * (in_modules - right).abs().mean()


def _tensors(value):
    return [value] if isinstance(value, torch.Tensor) else list(value)


def test_in_double_precision_nothing_is_rounded_to_single():
    model = small_model().double()
    pixels = torch.randn(1, 3, 128, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = []
    for fast in (True, False):
        model.set_fast_path(fast)
        with torch.no_grad():
            found.append(model.get_image_embeddings(pixels)[0])
    torch.testing.assert_close(*found, atol=1e-10, rtol=1e-8)
