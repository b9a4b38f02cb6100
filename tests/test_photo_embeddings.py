import copy
import os

import peft
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from conftest import small_config, small_model
from sam_hq.hub.conversion import processor_for
from sam_hq.photo_embeddings import PhotoEmbeddings, encoder_digest
from sam_hq.predictor import SamHQPredictor


def test_other_files_are_refused(tmp_path):
    (tmp_path / "text.safetensors").write_text("not this")
    save_file({"weight": torch.zeros(2)}, tmp_path / "weights.safetensors")
    for name in ("text", "weights"):
        with pytest.raises(ValueError, match="cannot read image embeddings"):
            PhotoEmbeddings.load(tmp_path / f"{name}.safetensors")
    with pytest.raises(FileNotFoundError):
        PhotoEmbeddings.load(tmp_path / "missing.safetensors")


def write_data(model):
    """As an average of weights is often brought into a model."""
    for weight in model.parameters():
        weight.data.copy_(1.1 * weight.data)


def write_numpy(model):
    model.vision_encoder.neck.conv1.weight.detach().numpy()[...] *= 1.5


def write_hq_features(model):
    model.mask_decoder.compress_vit_conv1.weight.data.mul_(1.5)


def step_fused(model):
    optimizer = torch.optim.AdamW(model.vision_encoder.parameters(), lr=1e-2, fused=True)
    model.get_image_embeddings(torch.ones(1, 3, 128, 128))[0].square().mean().backward()
    optimizer.step()


def move_statistics(model):
    model.train()
    with torch.no_grad():
        model.get_image_embeddings(torch.ones(1, 3, 128, 128))
    model.eval()


def write_in_inference(model):
    with torch.inference_mode():
        model.vision_encoder.neck.conv1.weight.mul_(1.5)


@pytest.mark.parametrize(
    "write", [write_data, write_numpy, write_hq_features, step_fused, move_statistics, write_in_inference]
)
def test_weights_written_to_in_any_way_make_other_embeddings(write):
    model = small_model("tiny_vit")
    predictor = SamHQPredictor(model, processor_for(small_config("tiny_vit")))
    photo = Image.new("RGB", (120, 90), "red")
    before = predictor.embed(photo)
    write(model)
    with pytest.raises(ValueError, match="other weights"):
        predictor.predict(before, boxes=[10, 10, 80, 80])
    after = predictor.embed(photo)
    assert after.digest == encoder_digest(copy.deepcopy(model)) != before.digest
    predictor.predict(after, boxes=[10, 10, 80, 80])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_embeddings_of_rounded_and_of_exact_weights_go_together(dtype, tmp_path):
    # 300 numbers of a weight and more: some are rounded to another bfloat16 by way of float16.
    exact, rounded, other = small_model("tiny_vit"), small_model("tiny_vit").to(dtype), small_model("tiny_vit", seed=1)
    processor = processor_for(small_config("tiny_vit"))
    photo = Image.effect_noise((120, 90), 80).convert("RGB")
    for maker, reader in ((rounded, exact), (exact, rounded)):
        SamHQPredictor(maker, processor).embed(photo).save(tmp_path / "kept.safetensors")
        kept = PhotoEmbeddings.load(tmp_path / "kept.safetensors")
        assert SamHQPredictor(reader, processor).predict(kept, boxes=[10, 10, 80, 80]).masks.any()
        for stranger in (other, copy.deepcopy(other).to(dtype)):
            with pytest.raises(ValueError, match="made by another model"):
                SamHQPredictor(stranger, processor).predict(kept, boxes=[10, 10, 80, 80])


def test_another_adapter_makes_other_embeddings():
    model = small_model()
    layers = peft.LoraConfig(r=2, target_modules=["qkv"], init_lora_weights=False)
    wrapped = peft.get_peft_model(model, layers)
    wrapped.add_adapter("second", layers)
    digests = {encoder_digest(small_model())}
    for name in ("default", "second"):
        wrapped.set_adapter(name)
        digests.add(encoder_digest(model))
    with wrapped.disable_adapter():
        digests.add(encoder_digest(model))
    assert len(digests) == 4
    wrapped.set_adapter("default")
    assert encoder_digest(model) in digests


def test_an_image_whose_name_is_not_utf_8_has_embeddings_all_the_same(tmp_path):
    features = torch.zeros(1, 8, 2, 2), torch.zeros(1, 1, 8, 8)
    names = {"source": os.fsdecode(b"caf\xe9/\xff.png"), "model": os.fsdecode(b"mod\xe8le")}
    PhotoEmbeddings(*features, (4, 6), (8, 12), **names).save(tmp_path / "a.safetensors")
    loaded = PhotoEmbeddings.load(tmp_path / "a.safetensors")
    assert (loaded.original_size, loaded.source, loaded.model) == ((4, 6), r"caf\udce9/\udcff.png", r"mod\udce8le")
