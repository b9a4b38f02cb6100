"""Low-rank adaptation: only the updates and the HQ parts are trained, and they merge back to a plain checkpoint."""

import peft
import pytest
import torch
from test_trainer import fresh_model, state_of, trainer

import sam_hq
from sam_hq.training.parts import LORA_TARGETS


@pytest.mark.parametrize(
    ("backbone", "adapted"),
    [("vit", ["qkv", "proj", "lin1", "lin2"]), ("tiny_vit", ["qkv", "lin1"]), ("efficientnet", ["expand", "project"])],
)
def test_lora_merges_back_to_a_plain_checkpoint(tmp_path, backbone, adapted):
    model = fresh_model(backbone)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    run = trainer(tmp_path, model, trainable="lora", steps=3, lora_rank=2, warmup=0)
    run.train()
    trained = {name for name, parameter in run.unwrapped_step().model.named_parameters() if parameter.requires_grad}
    assert any("lora_A" in name for name in trained)
    assert all("lora_" in name or ".mask_decoder." in name for name in trained)
    plain = sam_hq.SamHQModel.from_pretrained(tmp_path / "last")
    moved = {name for name, value in plain.state_dict().items() if not torch.equal(value, before[name])}
    for part in adapted:
        assert any("vision_encoder" in name and f".{part}." in name for name in moved)
    assert not any("norm" in name and "vision_encoder" in name for name in moved)
    pixels = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    box = torch.tensor([[[10.0, 20, 90, 100]]])
    wrapped = run.unwrapped_step().plain_model.eval()
    with torch.no_grad():
        expected = wrapped(pixels, input_boxes=box).pred_masks
        torch.testing.assert_close(plain(pixels, input_boxes=box).pred_masks, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("backbone", "targets"),
    [
        ("vit", r".*mask_decoder\..*\.(q_proj|v_proj)"),
        ("tiny_vit", r".*mask_decoder\.mask_conv1"),
        ("tiny_vit", r".*patch_embed\.conv1\.conv"),
        ("efficientnet", LORA_TARGETS),
    ],
)
def test_the_fast_path_does_not_read_past_updates_that_are_not_merged(backbone, targets):
    adapted = peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
    wrapped = peft.get_peft_model(fresh_model(backbone), adapted).eval()
    prompted = {"pixel_values": torch.randn(1, 3, 128, 128), "input_boxes": torch.tensor([[[10.0, 20, 90, 100]]])}
    answers = []
    for implementation in ("eager", "sdpa"):
        wrapped.get_base_model().set_attn_implementation(implementation)
        with torch.no_grad():
            answers.append(wrapped(**prompted).pred_masks)
    torch.testing.assert_close(*answers, atol=1e-4, rtol=1e-4)


def test_lora_resumes_bit_for_bit(tmp_path):
    whole, first = (trainer(tmp_path / name, trainable="lora", steps=4) for name in ("whole", "parts"))
    whole.train()
    first.train(stop_after=2)
    second = trainer(tmp_path / "parts", trainable="lora", steps=4)
    assert second.resume() == 2
    second.train()
    expected = state_of(whole)
    assert all(torch.equal(value, expected[name]) for name, value in state_of(second).items())
