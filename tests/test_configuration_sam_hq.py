"""Configurations: contradictions are refused plainly, files of other implementations load, odd sizes run."""

import json

import pytest
import torch

from builtin_sam_hq import BuiltinConfig, builtin_config
from conftest import BACKBONES, DECODER, TINY_VIT, VIT, small_config, small_model, stirred
from sam_hq.configuration_sam_hq import (
    SamHQConfig,
    SamHQEfficientNetConfig,
    SamHQMaskDecoderConfig,
    SamHQPromptEncoderConfig,
    SamHQTinyVitConfig,
    SamHQVisionConfig,
)
from sam_hq.modeling_sam_hq import SamHQModel

# As transformers 4.57 wrote it for the checkpoints on the Hub: every part with the fields of its time.
HUB_CONFIG = {
    "_commit_hash": None,
    "architectures": ["SamHQModel"],
    "initializer_range": 0.02,
    "mask_decoder_config": {
        "attention_downsample_rate": 2,
        "hidden_act": "relu",
        "hidden_size": 256,
        "iou_head_depth": 3,
        "iou_head_hidden_dim": 256,
        "layer_norm_eps": 1e-06,
        "mlp_dim": 2048,
        "model_type": "",
        "num_attention_heads": 8,
        "num_hidden_layers": 2,
        "num_multimask_outputs": 3,
        "vit_dim": 1024,
    },
    "model_type": "sam_hq",
    "prompt_encoder_config": {
        "hidden_act": "gelu",
        "hidden_size": 256,
        "image_embedding_size": 64,
        "image_size": 1024,
        "layer_norm_eps": 1e-06,
        "mask_input_channels": 16,
        "model_type": "",
        "num_point_embeddings": 4,
        "patch_size": 16,
    },
    "torch_dtype": "float32",
    "transformers_version": "4.57.6",
    "vision_config": {
        "attention_dropout": 0.0,
        "dropout": 0.0,
        "global_attn_indexes": [5, 11, 17, 23],
        "hidden_act": "gelu",
        "hidden_size": 1024,
        "image_size": 1024,
        "initializer_factor": 1.0,
        "initializer_range": 1e-10,
        "intermediate_size": 6144,
        "layer_norm_eps": 1e-06,
        "mlp_dim": None,
        "mlp_ratio": 4.0,
        "model_type": "sam_hq_vision_model",
        "num_attention_heads": 16,
        "num_channels": 3,
        "num_hidden_layers": 24,
        "num_pos_feats": 128,
        "output_channels": 256,
        "patch_size": 16,
        "projection_dim": 512,
        "qkv_bias": True,
        "use_abs_pos": True,
        "use_rel_pos": True,
        "window_size": 14,
    },
}


def test_defaults_are_vit_b():
    config = SamHQConfig()
    assert isinstance(config.vision_config, SamHQVisionConfig)
    assert (config.vision_config.hidden_size, config.vision_config.mlp_dim) == (768, 3072)
    assert config.vision_config.image_embedding_size == config.prompt_encoder_config.image_embedding_size == 64
    assert config.prompt_encoder_config.mask_input_size == 256
    assert config.mask_decoder_config.vit_dim == 768


def test_the_light_encoder_is_chosen_by_its_model_type():
    config = SamHQConfig(vision_config={"model_type": "sam_hq_tiny_vit"})
    assert isinstance(config.vision_config, SamHQTinyVitConfig)
    assert config.mask_decoder_config.vit_dim == config.vision_config.intermediate_size == 160
    assert config.vision_config.image_embedding_size == 64


@pytest.mark.parametrize(
    ("vision", "width"),
    [
        (dict(VIT), 32),
        (dict(TINY_VIT), 24),
        (SamHQVisionConfig(**VIT), 32),
        ({"hidden_size": 1280, "num_attention_heads": 16}, 1280),
    ],
)
@pytest.mark.parametrize("decoder", [{}, {"vit_dim": None}, SamHQMaskDecoderConfig])
def test_vit_dim_follows_the_encoder(vision, width, decoder):
    if decoder is SamHQMaskDecoderConfig:
        hidden_size = (
            vision.output_channels if isinstance(vision, SamHQVisionConfig) else vision.get("output_channels", 256)
        )
        decoder = SamHQMaskDecoderConfig(hidden_size=hidden_size, num_attention_heads=4)
    elif width != 1280:
        decoder = {**decoder, "num_attention_heads": 4}
    assert SamHQConfig(vision_config=vision, mask_decoder_config=decoder).mask_decoder_config.vit_dim == width


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: SamHQVisionConfig(hidden_size=100, num_attention_heads=12), ["hidden_size is 100", "12"]),
        (lambda: SamHQVisionConfig(image_size=1000), ["image_size is 1000", "16"]),
        (lambda: SamHQVisionConfig(global_attn_indexes=[2, 12]), ["12", "num_hidden_layers is 12"]),
        (lambda: SamHQVisionConfig(global_attn_indexes=[-1]), ["-1"]),
        (lambda: SamHQVisionConfig(global_attn_indexes=[]), ["global_attn_indexes is empty"]),
        (lambda: SamHQVisionConfig(window_size=0), ["window_size is 0"]),
        (lambda: SamHQVisionConfig(num_attention_heads=[2, 4, 5, 10]), ["[2, 4, 5, 10]"]),
        (lambda: SamHQTinyVitConfig(depths=[2, 2]), ["depths", "[2, 2]"]),
        (lambda: SamHQTinyVitConfig(num_attention_heads=8), ["num_attention_heads", "8"]),
        (lambda: SamHQTinyVitConfig(hidden_sizes=[64, 128, 161, 320]), ["161", "5"]),
        (lambda: SamHQTinyVitConfig(image_size=1000), ["1000", "16"]),
        (lambda: SamHQTinyVitConfig(local_conv_size=4), ["4"]),
        (lambda: SamHQPromptEncoderConfig(image_embedding_size=32), ["32", "64"]),
        (lambda: SamHQPromptEncoderConfig(num_point_embeddings=3), ["3", "4"]),
        (lambda: SamHQMaskDecoderConfig(hidden_size=100), ["100", "8"]),
        (lambda: SamHQMaskDecoderConfig(num_attention_heads=48), ["256", "96"]),
        (lambda: SamHQMaskDecoderConfig(iou_head_depth=1), ["1", "2"]),
        (lambda: SamHQMaskDecoderConfig(num_multimask_outputs=0), ["0", "1"]),
        (lambda: SamHQConfig(mask_decoder_config={"vit_dim": 1024}), ["vit_dim is 1024", "768"]),
        (lambda: SamHQConfig(mask_decoder_config={"hidden_size": 128}), ["hidden_size is 128", "256"]),
        (lambda: SamHQConfig(prompt_encoder_config={"image_size": 512}), ["image_size is 512", "1024"]),
        (lambda: SamHQConfig(prompt_encoder_config={"patch_size": 8}), ["patch_size is 8", "16"]),
        (lambda: SamHQConfig(vision_config={"num_pos_feats": 64}), ["128", "256"]),
        (
            lambda: SamHQConfig(vision_config={"model_type": "sam_vision_model"}),
            ["sam_vision_model", "sam_hq_tiny_vit"],
        ),
        (lambda: SamHQConfig.from_dict({"model_type": "sam"}), ["'sam'", "'sam_hq'"]),
    ],
)
def test_contradictions_name_both_values(make, named):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are checked below
        make()
    assert type(caught.value) is ValueError
    assert [word for word in named if word not in str(caught.value)] == []


def test_a_part_of_another_type_is_refused():
    with pytest.raises(TypeError, match=r"vision_config.*list"):
        SamHQConfig(vision_config=[1])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_saved_and_loaded_it_is_the_same(tmp_path, backbone):
    config = small_config(backbone)
    config.mask_generation = {"pred_iou_thresh": 0.5}
    config.save_pretrained(tmp_path)
    loaded = SamHQConfig.from_pretrained(tmp_path)
    assert type(loaded.vision_config) is type(config.vision_config)
    assert loaded.to_dict() == {**config.to_dict(), **{k: v for k, v in loaded.to_dict().items() if k.startswith("_")}}
    assert loaded.mask_generation == {"pred_iou_thresh": 0.5}
    # The built-in class draws its second positional encoding anew where a file says this.
    assert json.loads((tmp_path / "config.json").read_text()).get("tie_word_embeddings", True)


def test_a_file_of_the_hub_loads(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(HUB_CONFIG))
    config = SamHQConfig.from_pretrained(tmp_path)
    assert (config.vision_config.hidden_size, config.vision_config.mlp_dim) == (1024, 4096)
    assert config.vision_config.intermediate_size == config.mask_decoder_config.vit_dim == 1024
    assert config.vision_config.global_attn_indexes == [5, 11, 17, 23]


def test_a_file_of_the_built_in_class_loads_and_ours_loads_there(tmp_path):
    builtin_config(small_model()).save_pretrained(tmp_path / "builtin")
    ours = SamHQConfig.from_pretrained(tmp_path / "builtin")
    wanted = small_config()
    for part in ("vision_config", "prompt_encoder_config", "mask_decoder_config"):
        for name, value in getattr(wanted, part).to_dict().items():
            if name not in ("initializer_range", "_name_or_path", "transformers_version", "dtype"):
                assert getattr(getattr(ours, part), name, value) == value, (part, name)
    ours.save_pretrained(tmp_path / "ours")
    assert BuiltinConfig.from_pretrained(tmp_path / "ours").vision_config.hidden_size == 32


def test_the_built_in_class_refuses_the_light_encoder(tmp_path):
    small_config("tiny_vit").save_pretrained(tmp_path)
    with pytest.raises(Exception, match=r"sam_hq_tiny_vit.*sam_hq.SamHQModel"):
        BuiltinConfig.from_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"num_attention_heads|window_size"):
        SamHQVisionConfig.from_pretrained(tmp_path)


ODD = {
    "window divides the grid": {"window_size": 4},
    "window larger than the grid": {"window_size": 14},
    "192 pixels": {"image_size": 192, "window_size": 5},
    "512 pixels": {"image_size": 512, "window_size": 7, "num_hidden_layers": 2, "global_attn_indexes": [1]},
    "patches of 8": {"image_size": 64, "patch_size": 8},
    "narrow decoder": {"output_channels": 16, "num_pos_feats": 8},
    "wide encoder": {"hidden_size": 48, "num_attention_heads": 3},
    "no positions": {"use_abs_pos": False, "use_rel_pos": False},
    "no bias, narrow MLP": {"qkv_bias": False, "mlp_ratio": 1.5},
    "one channel": {"num_channels": 1},
    "first block global": {"global_attn_indexes": (0,), "num_hidden_layers": 2},
    "all blocks global": {"global_attn_indexes": [0, 1], "num_hidden_layers": 2},
}
ODD_TINY = {
    "192 pixels": {"image_size": 192},
    "256 pixels": {"image_size": 256, "window_size": [7, 7, 14, 7]},
    "window divides the grid": {"window_size": [4, 4, 4, 4]},
    "wide local convolution": {"local_conv_size": 5, "mbconv_expand_ratio": 2.0},
    "narrow decoder": {"output_channels": 16, "num_pos_feats": 8},
}


@pytest.mark.parametrize(
    ("base", "change"),
    [pytest.param(VIT, change, id=f"vit, {name}") for name, change in ODD.items()]
    + [pytest.param(TINY_VIT, change, id=f"tiny_vit, {name}") for name, change in ODD_TINY.items()],
)
def test_any_consistent_size_runs_on_both_paths(base, change):
    config = SamHQConfig(vision_config={**base, **change}, mask_decoder_config=DECODER)
    model = stirred(SamHQModel(config)).eval()
    size = config.vision_config.image_size
    pixel_values = torch.randn(
        1, config.vision_config.num_channels, size, size, generator=torch.Generator().manual_seed(0)
    )
    boxes = torch.tensor([[[0.1, 0.2, 0.8, 0.7], [0.3, 0.3, 0.9, 0.5]]]) * size
    answers = []
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        with torch.no_grad():
            answers.append(model(pixel_values=pixel_values, input_boxes=boxes).pred_masks)
    side = 4 * size // config.vision_config.patch_size
    assert answers[0].shape == (1, 2, 3, side, side)
    torch.testing.assert_close(answers[0], answers[1], atol=1e-5, rtol=1e-4)


def test_other_numbers_of_candidates_and_layers_run():
    decoder = {
        **DECODER,
        "num_multimask_outputs": 2,
        "num_hidden_layers": 1,
        "iou_head_depth": 2,
        "attention_downsample_rate": 1,
    }
    model = stirred(SamHQModel(SamHQConfig(vision_config=dict(VIT), mask_decoder_config=decoder))).eval()
    pixel_values = torch.randn(1, 3, 128, 128)
    plain = model(pixel_values=pixel_values).pred_masks
    assert plain.shape == (1, 1, 2, 32, 32)
    model.set_attn_implementation("eager")
    torch.testing.assert_close(plain, model(pixel_values=pixel_values).pred_masks, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("config_class", "fields"),
    [
        (SamHQVisionConfig, {"mlp_dim": 0}),
        (SamHQVisionConfig, {"output_channels": -1}),
        (SamHQVisionConfig, {"num_hidden_layers": "12"}),
        (SamHQVisionConfig, {"global_attn_indexes": 3}),
        (SamHQTinyVitConfig, {"window_size": [7, 7, 0, 7]}),
        (SamHQTinyVitConfig, {"depths": [2, 2, "6", 2]}),
        (SamHQTinyVitConfig, {"patch_size": 8}),
        (SamHQPromptEncoderConfig, {"hidden_size": 0}),
        (SamHQMaskDecoderConfig, {"num_attention_heads": 0}),
        (SamHQVisionConfig, {"layer_norm_eps": float("nan")}),
        (SamHQVisionConfig, {"attention_dropout": 2}),
        (SamHQVisionConfig, {"qkv_bias": "no"}),
        (SamHQVisionConfig, {"use_rel_pos": 1}),
        (SamHQVisionConfig, {"hidden_act": 3}),
        (SamHQTinyVitConfig, {"initializer_range": -1}),
        (SamHQTinyVitConfig, {"neck_layer_norm_eps": "1e-6"}),
        (SamHQEfficientNetConfig, {"batch_norm_momentum": 5}),
        (SamHQEfficientNetConfig, {"batch_norm_eps": True}),
        (SamHQEfficientNetConfig, {"stem_width": True}),
        (SamHQEfficientNetConfig, {"num_hidden_layers": [True, 2, 2, 3, 3, 4, 1]}),
        (SamHQTinyVitConfig, {"mlp_ratio": True}),
        (SamHQVisionConfig, {"num_hidden_layers": True}),
        (SamHQPromptEncoderConfig, {"mask_input_channels": True}),
        (SamHQMaskDecoderConfig, {"num_multimask_outputs": True}),
        (SamHQPromptEncoderConfig, {"layer_norm_eps": None}),
        (SamHQMaskDecoderConfig, {"hidden_act": None}),
        (SamHQConfig, {"cpu_fast_path": "no"}),
        (SamHQConfig, {"hq_token_trained_alone": None}),
        (SamHQConfig, {"output_attentions": "no"}),
        (SamHQConfig, {"return_dict": "yes"}),
        (SamHQVisionConfig, {"output_hidden_states": 1}),
        (SamHQConfig, {"mask_generation": 5}),
        (SamHQConfig, {"initializer_range": float("inf")}),
    ],
)
def test_impossible_fields_are_refused_by_name(config_class, fields):
    (name,) = fields
    with pytest.raises(ValueError, match=name) as caught:
        config_class(**fields)
    assert type(caught.value) is ValueError


@pytest.mark.parametrize("part", ["vision_config", "mask_decoder_config", "prompt_encoder_config"])
def test_activations_that_are_not_there_are_refused_by_name(part):
    config = small_config("vit")
    getattr(config, part).hidden_act = "gelo"
    with pytest.raises(ValueError, match=r"hidden_act must be the name of an activation .*, got 'gelo'"):
        SamHQModel(config)


def test_a_tiny_vit_file_may_state_its_patch_size():
    assert SamHQTinyVitConfig(patch_size=16).patch_size == 16


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("mask_decoder_config", name)
        for name in ("iou_head_depth", "iou_head_hidden_dim", "mlp_dim", "num_hidden_layers")
    ]
    + [("mask_decoder_config", "num_multimask_outputs"), ("prompt_encoder_config", "mask_input_channels")]
    + [
        ("vision_config", name)
        for name in ("num_hidden_layers", "hidden_size", "mlp_dim", "num_channels", "window_size")
    ],
)
def test_numbers_that_no_model_has_are_refused_before_anything_is_built(part, name, tmp_path):
    fields = {"vision_config": VIT, "mask_decoder_config": DECODER, "prompt_encoder_config": {}}
    with pytest.raises(ValueError, match=f"{name}.* must be at most"):
        SamHQConfig(**{**fields, part: {**fields[part], name: 8 * 10**8}})
    small_config("vit").save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    content[part][name] = 8 * 10**8
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"{name}.* must be at most"):
        SamHQConfig.from_pretrained(tmp_path)


def test_allowed_numbers_that_make_no_allowed_model_are_refused():
    with pytest.raises(ValueError, match=r"vision_config describes about .* weights, but must be one of at most"):
        SamHQVisionConfig(hidden_size=16384, num_hidden_layers=512, num_attention_heads=16)
    for ratio in (float("inf"), float("nan"), -1.0, 1e9):
        with pytest.raises(ValueError, match=r"mlp_ratio is .* must be a number above 0"):
            SamHQVisionConfig(mlp_ratio=ratio)


@pytest.mark.parametrize("content", ["[]", '"vit"', "5", "null", "true"])
def test_a_file_that_holds_no_fields_is_refused(content, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"the configuration in '.*config\.json' must be a dictionary, got a"):
        SamHQConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize("part", ["", "vision_config", "mask_decoder_config"])
@pytest.mark.parametrize(
    ("dtype", "fault"),
    [("foo", True), ("nn", True), (5, True), ("int8", True), ("float8_e4m3fn", True), ("bfloat16", False)],
)
def test_precisions_that_torch_does_not_have_are_refused(part, dtype, fault, tmp_path):
    small_config("vit").save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    (content[part] if part else content)["dtype"] = dtype
    (tmp_path / "config.json").write_text(json.dumps(content))
    if fault:
        with pytest.raises(ValueError, match=rf"{part}.*dtype is {dtype!r}, but must be the name of a precision"):
            SamHQConfig.from_pretrained(tmp_path)
    else:
        SamHQConfig.from_pretrained(tmp_path)
