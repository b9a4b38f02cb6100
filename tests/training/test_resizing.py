"""A model for another input size: the same where it must be, near where it can only be near."""

import pytest
import torch

import sam_hq
from conftest import small_config, small_model
from sam_hq.training.resizing import resized


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = small_config("tiny_vit").to_dict()
    config["vision_config"]["window_size"] = [8, 8, 8, 8]  # the last two span the grid of 8
    model = sam_hq.SamHQModel(sam_hq.SamHQConfig.from_dict(config)).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("attention_biases"):
            torch.nn.init.normal_(parameter)
    return model


def test_windows_that_spanned_the_grid_still_do(model):
    larger = resized(model, 192)
    vision, prompts = larger.config.vision_config, larger.config.prompt_encoder_config
    assert (vision.image_size, vision.window_size) == (192, [8, 8, 12, 12])
    assert (prompts.image_size, prompts.mask_input_size) == (192, 48)
    assert (
        larger(torch.randn(1, 3, 192, 192), input_boxes=torch.tensor([[[20.0, 30, 90, 99]]]))
        .pred_masks.isfinite()
        .all()
    )


def test_biases_keep_their_values_at_the_old_offsets(model):
    larger = resized(model, 240)  # a grid of 15: offsets 0, 2, 4 ... are the old 0, 1, 2 ...
    before, after = model.state_dict(), larger.state_dict()
    changed = [name for name in before if before[name].shape != after[name].shape]
    assert changed
    for name in before:
        if name in changed:
            table = after[name].view(-1, 15, 15)[:, ::2, ::2]
            torch.testing.assert_close(table.flatten(1), before[name])
        else:
            assert torch.equal(before[name], after[name])


@pytest.mark.parametrize("image_size", [96, 224])
def test_an_efficientnet_of_another_size_has_the_same_weights(image_size):
    model = small_model("efficientnet")
    other = resized(model, image_size)
    before, after = model.state_dict(), other.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    answers = []
    for fast in (True, False):
        other.set_fast_path(fast)
        with torch.no_grad():
            pixels = torch.linspace(-2, 2, 3 * image_size**2).view(1, 3, image_size, image_size)
            answers.append(other(pixels, input_boxes=torch.tensor([[[20.0, 30, 90, 80]]])).pred_masks)
    assert answers[0].shape == (1, 1, 3, image_size // 4, image_size // 4)
    torch.testing.assert_close(*answers, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="image_size is 112, which is not a positive multiple of"):
        resized(model, 112)


def test_the_same_size_is_the_same_model_and_a_vit_is_refused(model):
    assert resized(model, model.config.vision_config.image_size) is model
    with pytest.raises(TypeError, match="TinyViT and EfficientNet encoders only, got SamHQVisionConfig"):
        resized(sam_hq.SamHQModel(small_config("vit")), 256)
    for size in (100, 0, -64):
        with pytest.raises(ValueError, match=f"image_size must be a positive multiple of 16 for a TinyViT, got {size}"):
            resized(model, size)
