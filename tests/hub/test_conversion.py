import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import sam_hq
from authors_weights import small_authors_weights
from conftest import BACKBONES, PHOTOS, REPOSITORY, small_config, small_model
from parity.seeded_weights import seeded_state_dict
from sam_hq.hub.conversion import convert_checkpoint, convert_weights, read_weights
from sam_hq.hub.key_map import authors_name, is_hq_name, our_name
from sam_hq.hub.variants import infer_config, variants


@pytest.fixture
def small_checkpoint(tmp_path):
    path = tmp_path / "small.pth"
    torch.save(small_authors_weights(), path)
    return path


def authors_shapes(variant: str) -> dict[str, list[int]]:
    return json.loads((REPOSITORY / "tests" / "parity" / f"shapes_{variant}.json").read_text())


@pytest.mark.parametrize("variant", ["vit_b", "vit_l", "vit_h", "vit_tiny"])
def test_the_variant_is_found_from_the_weights(variant):
    weights = {name: torch.empty(shape, device="meta") for name, shape in authors_shapes(variant).items()}
    found, config = infer_config(weights)
    assert found == variant
    renamed, new = convert_weights(weights, config)
    assert new == []
    with torch.device("meta"):
        model = sam_hq.SamHQModel(config)
    assert {name: value.shape for name, value in model.state_dict().items()} == {
        name: value.shape for name, value in renamed.items()
    }


def test_other_sizes_are_read_off_the_shapes():
    found, config = infer_config(small_authors_weights())
    wanted = small_config("vit")
    wanted.mask_decoder_config.num_attention_heads = 8
    assert found == "custom"
    assert config.to_dict() == wanted.to_dict()


def test_values_arrive_where_they_belong(small_checkpoint, tmp_path):
    conversion = convert_checkpoint(small_checkpoint, tmp_path / "out")
    assert conversion.new_weights == []
    model, report = sam_hq.SamHQModel.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(report.values())
    weights = read_weights(small_checkpoint)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[authors_name(name)], rtol=0, atol=0)
    processor = sam_hq.SamHQProcessor.from_pretrained(tmp_path / "out")
    inputs = processor(Image.open(PHOTOS / "scissors.png"), input_boxes=[[[10, 10, 200, 200]]])
    assert inputs["pixel_values"].shape == (1, 3, 128, 128)
    assert model(**inputs).pred_masks.shape == (1, 1, 3, 32, 32)


def test_the_directory_holds_what_a_hub_repository_needs(small_checkpoint, tmp_path):
    convert_checkpoint(small_checkpoint, tmp_path / "out", dtype="float16")
    assert sorted(os.listdir(tmp_path / "out")) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "processor_config.json",
    ]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == "float16"
    assert config.get("tie_word_embeddings", True)  # False makes the built-in class redraw its positional encoding
    assert (tmp_path / "out" / "README.md").read_text().startswith("---\nlibrary_name: transformers\n")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_dtype_asked_for_is_saved(small_checkpoint, tmp_path, dtype):
    from safetensors.torch import load_file

    convert_checkpoint(small_checkpoint, tmp_path / "out", dtype=dtype)
    saved = load_file(tmp_path / "out" / "model.safetensors")
    weights = read_weights(small_checkpoint)
    rounded = [value for name, value in saved.items() if value.dtype == getattr(torch, dtype)]
    assert len(rounded) >= len(saved) - 1  # the positional encoding is kept in float32
    for name, value in saved.items():
        torch.testing.assert_close(value, weights[authors_name(name)].to(value.dtype), rtol=0, atol=0)


def test_plain_sam_gets_fresh_hq_parts_and_a_warning(tmp_path):
    torch.save(small_authors_weights(without_hq=True), tmp_path / "sam.pth")
    with pytest.warns(UserWarning, match="plain SAM checkpoint.* HQ weights are missing.*noise until"):
        conversion = convert_checkpoint(tmp_path / "sam.pth", tmp_path / "out")
    model = sam_hq.SamHQModel.from_pretrained(tmp_path / "out")
    assert {name for name in model.state_dict() if is_hq_name(name)} == set(conversion.new_weights)
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert model.mask_decoder.hq_token.weight.std() > 0
    assert "untrained" in (tmp_path / "out" / "README.md").read_text()


def changed(change) -> dict[str, torch.Tensor]:
    weights = small_authors_weights()
    change(weights)
    return weights


def nan_in_bias(weights):
    weights["mask_decoder.output_upscaling.0.bias"][3] = float("nan")


FAULTS = {
    "missing": (
        lambda w: w.pop("image_encoder.blocks.2.norm1.bias"),
        r"1 missing: image_encoder\.blocks\.2\.norm1\.bias",
    ),
    "unknown": (lambda w: w.update({"module.extra": torch.zeros(2)}), r"1 unknown: module\.extra"),
    "misshapen": (
        lambda w: w.update({"mask_decoder.iou_token.weight": torch.zeros(1, 7)}),
        r"1 misshapen: mask_decoder\.iou_token\.weight \(1, 7\) instead of \(1, 32\)",
    ),
    "some HQ parts": (lambda w: w.pop("mask_decoder.hf_token.weight"), r"1 missing: mask_decoder\.hf_token\.weight"),
    "NaN": (nan_in_bias, r"NaN or infinite values in mask_decoder\.output_upscaling\.0\.bias"),
    "wrapped": (lambda w: w.update({"epoch": 3}), "more than named tensors of real numbers: epoch"),
    "numbered": (lambda w: w.update({7: torch.zeros(1)}), "more than named tensors of real numbers: 7"),
    "sparse": (lambda w: w.update({"a": torch.zeros(2, 2).to_sparse()}), "more than named tensors of real numbers: a"),
    **{
        str(dtype): (
            lambda w, dtype=dtype: w.update({"a": torch.zeros(2, dtype=torch.uint8).view(dtype)}),
            "more than named tensors of real numbers: a",
        )
        for dtype in (
            torch.float8_e4m3fn,
            torch.float8_e5m2,
            torch.float8_e4m3fnuz,
            torch.float8_e8m0fnu,
            torch.float4_e2m1fn_x2,
        )
    },
    "complex": (lambda w: w.update({"a": torch.zeros(2) * 1j}), "more than named tensors of real numbers: a"),
    "without width": (
        lambda w: w.update({"image_encoder.blocks.0.attn.rel_pos_h": torch.zeros(5, 0)}),
        r"1 misshapen: image_encoder\.blocks\.0\.attn\.rel_pos_h \(5, 0\)",
    ),
    "another model": (lambda w: w.pop("image_encoder.patch_embed.proj.weight"), "not a SAM checkpoint"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_and_nothing_is_left(fault, tmp_path):
    change, message = FAULTS[fault]
    torch.save(changed(change), tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(tmp_path / "bad.pth", tmp_path / "out")
    assert os.listdir(tmp_path) == ["bad.pth"]


def test_missing_layers_of_a_published_backbone_are_missing():
    """A checkpoint cut short must not pass for a smaller model."""
    weights = {name: torch.empty(shape, device="meta") for name, shape in authors_shapes("vit_b").items()}
    cut = {name: value for name, value in weights.items() if ".blocks.11." not in name}
    with pytest.raises(ValueError, match=r"14 missing: image_encoder\.blocks\.11\.attn\.proj\.bias"):
        convert_weights(cut, infer_config(cut)[1])


def test_only_the_head_of_tiny_vit_is_dropped():
    weights = {name: torch.empty(shape, device="meta") for name, shape in authors_shapes("vit_tiny").items()}
    _, config = infer_config(weights)
    renamed, _ = convert_weights(weights, config)
    assert {name for name in weights if our_name(name) not in renamed} == {
        "image_encoder.norm_head.weight",
        "image_encoder.norm_head.bias",
        "image_encoder.head.weight",
        "image_encoder.head.bias",
    }
    with pytest.raises(ValueError, match=r"1 unknown: image_encoder\.head2\.weight"):
        convert_weights({**weights, "image_encoder.head2.weight": torch.zeros(1)}, config)
    small = small_authors_weights()
    with pytest.raises(ValueError, match=r"1 unknown: image_encoder\.head\.weight"):
        convert_weights({**small, "image_encoder.head.weight": torch.zeros(1)}, infer_config(small)[1])


class RunsCode:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))


@pytest.mark.parametrize(
    ("form", "reason"), [("torch", r"it names \w+\.mkdir"), ("pickle", "damaged, or no checkpoint")]
)
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(form, reason, tmp_path):
    payload = {"image_encoder.pos_embed": RunsCode(tmp_path / "ran")}
    if form == "torch":
        torch.save(payload, tmp_path / "bad.pth")
    else:
        (tmp_path / "bad.pth").write_bytes(pickle.dumps(payload))
    with pytest.raises(ValueError, match=rf"code included, is refused \({reason}\)$") as refusal:
        convert_checkpoint(tmp_path / "bad.pth", tmp_path / "out")
    assert "weights_only" not in str(refusal.value)
    assert os.listdir(tmp_path) == ["bad.pth"]


def test_a_module_in_place_of_weights_is_refused_by_its_name(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"\(it names torch\.nn\.[\w.]*Linear\)$"):
        convert_checkpoint(tmp_path / "bad.pth", tmp_path / "out")


def write_truncated(path):
    torch.save(small_authors_weights(), path)
    path.write_bytes(path.read_bytes()[:5000])


def write_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("hello.txt", "hello")


BAD_FILES = {
    "truncated": write_truncated,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not weights"),
    "zip": write_zip,
    "image": lambda path: path.write_bytes((PHOTOS / "scissors.png").read_bytes()),
    "list": lambda path: torch.save([torch.zeros(2)], path),
    "array": lambda path: np.save(path.open("wb"), np.zeros(3)),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_what_is_no_checkpoint_is_refused(kind, tmp_path):
    BAD_FILES[kind](tmp_path / "bad.pth")
    with pytest.raises(ValueError, match=r"checkpoint '.*bad\.pth' (is not a readable file of weights|holds a list)"):
        convert_checkpoint(tmp_path / "bad.pth", tmp_path / "out")
    assert os.listdir(tmp_path) == ["bad.pth"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_was_cut_is_said_to_be_damaged(share, zipped, tmp_path):
    path = tmp_path / "bad.pth"
    torch.save({"weights": torch.zeros(1000)}, path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"\(damaged, or no checkpoint\)$"):
        convert_checkpoint(path, tmp_path / "out")


def test_a_missing_file_and_a_directory_are_the_systems_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent\.pth"):
        convert_checkpoint(tmp_path / "absent.pth", tmp_path / "out")
    with pytest.raises(IsADirectoryError):
        convert_checkpoint(tmp_path, tmp_path / "out")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"variant": "vit_x"}, "variant must be one of vit_b, vit_l, vit_h, vit_tiny, got 'vit_x'"),
        ({"variant": "vit_b"}, "variant is 'vit_b', but the weights of .* are those of 'custom'"),
        ({"dtype": "int8"}, "dtype must be one of float32, float16, bfloat16, got 'int8'"),
    ],
)
def test_arguments_that_do_not_fit(small_checkpoint, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(small_checkpoint, tmp_path / "out", **arguments)
    assert os.listdir(tmp_path) == ["small.pth"]


def test_an_output_that_exists_is_kept(small_checkpoint, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(FileExistsError, match="exists already"):
        convert_checkpoint(small_checkpoint, tmp_path / "out")
    assert os.listdir(tmp_path / "out") == ["mine"]


def test_a_vit_goes_to_the_builtin_class_and_back(small_checkpoint, tmp_path):
    convert_checkpoint(small_checkpoint, tmp_path / "ours")
    builtin, report = transformers.SamHQModel.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(report.values())
    ours = sam_hq.SamHQModel.from_pretrained(tmp_path / "ours")
    torch.testing.assert_close(
        builtin.prompt_encoder.shared_embedding.positional_embedding,
        ours.shared_image_embedding.positional_embedding,
        rtol=0,
        atol=0,
    )
    builtin.save_pretrained(tmp_path / "theirs")
    back, report = sam_hq.SamHQModel.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not any(report.values())
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], value, rtol=0, atol=0)


@pytest.fixture(scope="module")
def tiny_vit_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tiny")
    weights = {name: torch.from_numpy(array) for name, array in seeded_state_dict("vit_tiny").items()}
    torch.save(weights, directory / "authors.pth")
    convert_checkpoint(directory / "authors.pth", directory / "out", variant="vit_tiny")
    return directory


def test_tiny_vit_at_full_size(tiny_vit_directory):
    model = sam_hq.SamHQModel.from_pretrained(tiny_vit_directory / "out")
    weights = read_weights(tiny_vit_directory / "authors.pth")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[authors_name(name)], rtol=0, atol=0)
    assert type(model.config.vision_config) is type(variants()["vit_tiny"])


def test_the_builtin_class_refuses_tiny_vit(tiny_vit_directory):
    with pytest.raises(ValueError, match="'sam_hq_tiny_vit', which transformers' built-in SamHQModel lacks"):
        transformers.SamHQModel.from_pretrained(tiny_vit_directory / "out")


def test_the_builtin_class_refuses_an_efficientnet(tmp_path):
    small_model("efficientnet").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'sam_hq_efficientnet', which transformers' built-in SamHQModel lacks"):
        transformers.SamHQModel.from_pretrained(tmp_path)


def test_a_directory_of_another_model_is_refused(tmp_path):
    transformers.ViTConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'vit' model, but a 'sam_hq' is wanted"):
        sam_hq.SamHQModel.from_pretrained(tmp_path)


def test_small_models_of_either_backbone_survive_saving(tmp_path):
    for backbone in BACKBONES:
        model = small_model(backbone)
        model.save_pretrained(tmp_path / backbone)
        loaded, report = sam_hq.SamHQModel.from_pretrained(tmp_path / backbone, output_loading_info=True)
        assert not any(report.values())
        for name, value in model.state_dict().items():
            torch.testing.assert_close(loaded.state_dict()[name], value, rtol=0, atol=0)
