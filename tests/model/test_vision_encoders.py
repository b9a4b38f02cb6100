"""The encoders' contract and the forms of their attention; one test serves both."""

import pytest
import torch

from conftest import BACKBONES, small_config, small_model, stirred
from sam_hq.configuration_sam_hq import SamHQConfig, SamHQVisionConfig
from sam_hq.model import vision_vit
from sam_hq.model.layers import merge_windows, split_windows
from sam_hq.model.vision_vit import SamHQVisionAttention
from sam_hq.modeling_sam_hq import SamHQModel
from sam_hq.vision_modeling import VISION_ENCODERS


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("image_size", [112, 128, 160])
def test_every_encoder_keeps_the_contract(backbone, image_size):
    config = small_config(backbone).vision_config
    if backbone == "efficientnet":
        image_size = image_size // 32 * 32
    config = type(config)(**{**config.to_dict(), "image_size": image_size})
    config._attn_implementation = "sdpa"
    encoder = stirred(VISION_ENCODERS[type(config)](config)).eval()
    pixel_values = torch.randn(2, 3, image_size, image_size)
    with torch.no_grad():
        outputs = encoder(pixel_values, output_hidden_states=True)
        single = encoder(pixel_values[1:])
    grid = image_size // 16
    assert outputs.last_hidden_state.shape == (2, config.output_channels, grid, grid)
    assert outputs.intermediate_embeddings[0].shape == (2, grid, grid, config.intermediate_size)
    if backbone == "efficientnet":
        sides = [image_size // stride for stride in (2, 2, 4, 8, 16, 16, 32, 32)]
        widths = [config.stem_width, *config.hidden_sizes]
        shapes = [(2, side, side, width) for side, width in zip(sides, widths, strict=True)]
        assert [states.shape for states in outputs.hidden_states] == shapes
    torch.testing.assert_close(outputs.last_hidden_state[1:], single.last_hidden_state, atol=1e-5, rtol=0)
    config._attn_implementation = "eager"
    with torch.no_grad():
        plain = encoder(pixel_values, output_attentions=True)
    torch.testing.assert_close(plain.last_hidden_state, outputs.last_hidden_state, atol=1e-5, rtol=0)
    for weights in plain.attentions:
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))


@pytest.mark.parametrize("form", ["extended", "fused"])
@pytest.mark.parametrize("use_rel_pos", [True, False])
def test_each_form_of_attention_is_the_plain_one(monkeypatch, form, use_rel_pos):
    config = SamHQVisionConfig(hidden_size=16, num_attention_heads=2, use_rel_pos=use_rel_pos)
    attention = stirred(SamHQVisionAttention(config, grid_size=6))
    monkeypatch.setattr(vision_vit, "WINDOW_SCORES", 10**9 if form == "fused" else 0)
    hidden_states = torch.randn(2, 6, 6, 16)
    config._attn_implementation = "eager"
    plain, weights = attention(hidden_states, output_attentions=True)
    assert weights.shape == (2, 2, 36, 36)
    config._attn_implementation = "sdpa"
    fast, _ = attention(hidden_states)
    torch.testing.assert_close(fast, plain, atol=1e-6, rtol=0)


def test_position_scores_by_their_definition():
    config = SamHQVisionConfig(hidden_size=8, num_attention_heads=1)
    attention = stirred(SamHQVisionAttention(config, grid_size=3))
    query = torch.randn(1, 1, 9, 8)
    by_row, by_column = attention.position_scores(query)
    for y, x, other in ((0, 0, 2), (2, 1, 0), (1, 2, 1)):
        one = query[0, 0, 3 * y + x]
        torch.testing.assert_close(by_row[0, 0, 3 * y + x, other], one @ attention.rel_pos_h[y - other + 2])
        torch.testing.assert_close(by_column[0, 0, 3 * y + x, other], one @ attention.rel_pos_w[x - other + 2])


@pytest.mark.parametrize(("height", "width", "window"), [(6, 6, 3), (7, 5, 3), (2, 3, 5), (1, 1, 1)])
def test_windows_are_cut_and_merged(height, width, window):
    features = torch.randn(2, height, width, 4)
    windows = split_windows(features, window)
    rows, columns = -(-height // window), -(-width // window)
    assert windows.shape == (2 * rows * columns, window, window, 4)
    for row in range(height):
        for column in range(width):
            index = columns * rows + columns * (row // window) + column // window
            assert torch.equal(windows[index, row % window, column % window], features[1, row, column])
    assert windows.sum() == pytest.approx(features.sum().item(), abs=1e-4)  # the rest is zeros
    assert torch.equal(merge_windows(windows, height, width), features)


def test_folding_batch_norms_leaves_the_saved_weights_alone():
    model = stirred(SamHQModel(small_config("tiny_vit"))).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        model.get_image_embeddings(torch.randn(1, 3, 128, 128))
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_changed_batch_norm_changes_the_next_call():
    """Nothing folded is kept: loading or training in between cannot leave stale weights behind."""
    model = stirred(SamHQModel(small_config("tiny_vit"))).eval()
    pixel_values = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        before, _ = model.get_image_embeddings(pixel_values)
        model.vision_encoder.patch_embed.conv1.norm.running_mean += 1
        after, _ = model.get_image_embeddings(pixel_values)
    assert not torch.allclose(before, after)


def test_grid_smaller_than_a_window_and_one_that_it_does_not_divide():
    for image_size in (64, 176):
        vision_config = {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "global_attn_indexes": [1],
            "image_size": image_size,
            "output_channels": 32,
            "num_pos_feats": 16,
        }
        model = stirred(SamHQModel(SamHQConfig(vision_config=vision_config))).eval()
        pixel_values = torch.randn(1, 3, image_size, image_size)
        answers = []
        for implementation in ("eager", "sdpa"):
            model.set_attn_implementation(implementation)
            with torch.no_grad():
                answers.append(model.get_image_embeddings(pixel_values)[0])
        torch.testing.assert_close(answers[0], answers[1], atol=1e-5, rtol=0)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_hidden_states_are_what_the_outputs_are_made_of(backbone):
    encoder = small_model(backbone).vision_encoder
    pixels = torch.rand(1, 3, encoder.config.image_size, encoder.config.image_size)
    outputs = encoder(pixels, output_hidden_states=True, return_dict=True)
    gradients = torch.autograd.grad(outputs.last_hidden_state.sum(), outputs.hidden_states[:-1], allow_unused=True)
    assert all(gradient is not None for gradient in gradients)
    named = encoder(pixels)
    torch.testing.assert_close(encoder(pixels, return_dict=False)[0], named.last_hidden_state)
