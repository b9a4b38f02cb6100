"""ImageNet weights arrive where they belong; other files and other encoders are refused."""

import pytest
import torch

import sam_hq
from conftest import small_config, small_model
from parity.efficientnet import VARIANTS, load_shapes, seeded_weights
from sam_hq.hub.checkpoint_files import read_weights
from sam_hq.training import encoder_weights
from sam_hq.training.encoder_weights import load_encoder_weights, variant_of, with_encoder


def weights(variant: str = "lite0") -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(value) for name, value in seeded_weights(load_shapes(variant)).items()}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "lite0.pth"
    torch.save(weights(), path)
    return path


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_is_known_by_its_weights(variant):
    assert variant_of(weights(variant)) == variant


@pytest.mark.parametrize("backbone", ["vit", "efficientnet"])
def test_the_decoder_stays_under_a_new_encoder(file, backbone):
    start = small_model(backbone)
    model = with_encoder(start, file, image_size=64)
    assert model.config.vision_config.image_size == model.config.prompt_encoder_config.image_size == 64
    assert model.config.mask_decoder_config.vit_dim == model.config.vision_config.intermediate_size
    before, after, given = start.state_dict(), model.state_dict(), weights()
    kept = {name for name, value in after.items() if name in before and torch.equal(value, before[name])}
    rest = {name for name in after if not name.startswith("vision_encoder.")} - kept
    assert rest == {"mask_decoder.compress_vit_conv1.weight"}  # of another width
    assert torch.equal(after["vision_encoder.patch_embed.conv1.conv.weight"], given["_conv_stem.weight"])
    assert torch.equal(after["vision_encoder.stages.6.0.project.norm.bias"], given["_blocks.15._bn2.bias"])
    if backbone == "efficientnet":
        assert "vision_encoder.neck.conv2.weight" in kept
    again = with_encoder(start, file, image_size=64).state_dict()
    assert all(torch.equal(again[name], value) for name, value in after.items())
    with torch.no_grad():
        found = model.eval()(pixel_values=torch.randn(1, 3, 64, 64), input_boxes=torch.tensor([[[8.0, 8, 40, 50]]]))
    assert found.pred_masks.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_wrapped_weights_of_any_precision_are_taken(tmp_path, dtype):
    given = {name: value.to(dtype) if value.is_floating_point() else value for name, value in weights().items()}
    torch.save({"epoch": 3, "state_dict": given}, tmp_path / "wrapped.pth")
    with pytest.warns(UserWarning, match=r"were taken from \['state_dict'\] \(not epoch\)"):
        model = with_encoder(small_model(), tmp_path / "wrapped.pth")
    found = model.state_dict()["vision_encoder.stages.0.0.project.conv.weight"]
    assert torch.equal(found, given["_blocks.0._project_conv.weight"].float())


@pytest.mark.parametrize("image_size", [0, -32, 48])
def test_a_size_that_the_encoder_cannot_take_is_refused(file, image_size):
    with pytest.raises(ValueError, match=f"image_size is {image_size}, which is not a positive multiple of"):
        with_encoder(small_model(), file, image_size)


def test_layers_above_the_stages_keep_their_settings_and_other_colours_are_refused(file):
    fields = small_config("efficientnet").to_dict()
    fields["vision_config"].update(neck_layer_norm_eps=1e-3, fine_channels=5)
    fields["mask_decoder_config"]["vit_dim"] = None
    vision = with_encoder(sam_hq.SamHQModel(sam_hq.SamHQConfig.from_dict(fields)), file).config.vision_config
    assert (vision.neck_layer_norm_eps, vision.fine_channels, vision.batch_norm_eps) == (1e-3, 5, 1e-3)
    fields["vision_config"]["num_channels"] = 4
    with pytest.raises(ValueError, match="1 misshapen: _conv_stem"):
        with_encoder(sam_hq.SamHQModel(sam_hq.SamHQConfig.from_dict(fields)), file)


def test_the_file_is_read_once(file, monkeypatch):
    read = []
    monkeypatch.setattr(encoder_weights, "read_weights", lambda path: read.append(path) or read_weights(path))
    with_encoder(small_model(), file, image_size=64)
    assert read == [file]


def test_other_encoders_and_other_variants_are_refused(file):
    with pytest.raises(ValueError, match="the model's is 'sam_hq_tiny_vit'"):
        load_encoder_weights(small_model("tiny_vit"), file)
    with pytest.raises(
        ValueError, match=r"holds lite0, which has num_hidden_layers \[1, 2, 2.* the model has \[1, 2, 1"
    ):
        load_encoder_weights(small_model("efficientnet"), file)
    vision = {"model_type": "sam_hq_efficientnet", "stem_width": 32, "num_channels": 3, "hidden_act": "relu"}
    load_encoder_weights(sam_hq.SamHQModel(sam_hq.SamHQConfig(vision_config=vision)), file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda given: given.pop("_blocks.3._bn1.bias"), "1 missing: _blocks.3._bn1.bias"),
        (lambda given: given.update({"_blocks.16._bn1.bias": torch.zeros(3)}), "1 unknown: _blocks.16._bn1.bias"),
        (lambda given: given.update({"_bn0.bias": torch.zeros(3)}), "1 misshapen: _bn0.bias"),
        (
            lambda given: given.update({"_bn0.bias": torch.full((32,), torch.nan)}),
            "NaN or infinite values in _bn0.bias",
        ),
        (
            lambda given: given.update({"_bn0.running_var": torch.full((32,), -1e-3)}),
            "negative variances in _bn0.running_var",
        ),
        (lambda given: given.pop("_conv_stem.weight"), "not those of EfficientNet-Lite"),
        (
            lambda given: given.update({"_bn0.bias": torch.zeros(32, dtype=torch.long)}),
            "1 of whole numbers: _bn0.bias",
        ),
    ],
)
def test_files_that_are_not_whole_are_refused(tmp_path, change, message):
    given = weights()
    change(given)
    torch.save(given, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=message):
        with_encoder(small_model(), tmp_path / "weights.pth")
