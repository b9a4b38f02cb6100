"""Directories whose files are damaged, cut off or missing: refused with the directory's name, never half loaded."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor

from conftest import PHOTOS, small_model
from sam_hq.configuration_sam_hq import SamHQConfig
from sam_hq.image_processing_sam_hq import SamHQImageProcessor
from sam_hq.modeling_sam_hq import SamHQModel
from sam_hq.predictor import SamHQPredictor
from sam_hq.processing_sam_hq import SamHQProcessor
from sam_hq.vision_modeling import SamHQVisionModel
from sam_hq_cli.main import main
from sam_hq_cli.model_loading import load_model

SHARD = "model-00001-of-00001.safetensors"


def change(folder, **values):
    """Overwrite one value of each weight."""
    weights = load_file(folder / "model.safetensors")
    for name, value in values.items():
        weights[name.replace("__", ".")].view(-1)[0] = value
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def cut(folder, share):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def stored_as(folder, dtype, kept=lambda name: True, index=False):
    """As 8-bit weights are stored, whose scales are elsewhere."""
    weights = load_file(folder / "model.safetensors")
    weights = {name: value.mul(30).to(dtype) if kept(name) else value for name, value in weights.items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    if index:
        sharded(folder, json.dumps)


def as_pickle(folder, share=1.0):
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    content = (folder / "pytorch_model.bin").read_bytes()
    (folder / "pytorch_model.bin").write_bytes(content[: int(len(content) * share)])


def sharded(folder, index):
    (folder / "model.safetensors").rename(folder / SHARD)
    names = load_file(folder / SHARD)
    given = {"metadata": {}, "weight_map": dict.fromkeys(names, SHARD)}
    (folder / "model.safetensors.index.json").write_text(index(given) if callable(index) else index)


DAMAGED = {
    "cut in half": lambda folder: cut(folder, 0.5),
    "cut within the header": lambda folder: cut(folder, 0.001),
    "empty": lambda folder: cut(folder, 0),
    "pickle cut in half": lambda folder: as_pickle(folder, 0.5),
    "pickle cut at the end": lambda folder: as_pickle(folder, 0.99),
    "pickle empty": lambda folder: as_pickle(folder, 0),
    "an index that is no JSON": lambda folder: sharded(folder, "{no"),
    "an index without a map": lambda folder: sharded(folder, "{}"),
    "an index of a missing shard": lambda folder: sharded(
        folder, lambda given: json.dumps({**given, "weight_map": {**given["weight_map"], "a.b": "gone.safetensors"}})
    ),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "8 bits": lambda folder: stored_as(folder, torch.int8),
    "8 bits in shards": lambda folder: stored_as(folder, torch.uint8, index=True),
    "8 bits in a pickle": lambda folder: (stored_as(folder, torch.int8), as_pickle(folder)),
    "whole numbers in one": lambda folder: stored_as(folder, torch.int64, lambda name: name.endswith("lin1.weight")),
    "truth values": lambda folder: stored_as(folder, torch.bool, lambda name: "hq_mask_mlp" in name),
    "complex numbers": lambda folder: stored_as(folder, torch.complex64, lambda name: "hq_mask_mlp" in name),
    "NaN": lambda folder: change(folder, mask_decoder__hq_token__weight=torch.nan),
    "infinity in a buffer": lambda folder: change(folder, shared_image_embedding__positional_embedding=torch.inf),
}
NAMED = {
    **dict.fromkeys(("8 bits", "8 bits in shards", "8 bits in a pickle"), "must be floating point numbers"),
    **dict.fromkeys(("whole numbers in one", "truth values", "complex numbers"), "must be floating point numbers"),
    "NaN": "1 not finite: mask_decoder.hq_token",
    "infinity in a buffer": "1 not finite: shared_image_embedding",
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_directory_is_refused_by_its_name(kind, directory, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(directory, folder)
    DAMAGED[kind](folder)
    for load in (SamHQModel.from_pretrained, SamHQPredictor.from_pretrained):
        with pytest.raises((ValueError, OSError), match=f"damaged.*{NAMED.get(kind, '')}"):
            load(folder)


def test_a_checkpoint_in_the_place_of_a_directory_is_told_how_to_become_one(tmp_path, capsys):
    file = tmp_path / "sam_hq_vit_b.pth"
    torch.save({}, file)
    message = f"model is '{file}', which is a file; name its directory, or make one .*: sam-hq convert {file} DIR"
    for load in (SamHQModel.from_pretrained, SamHQPredictor.from_pretrained):
        with pytest.raises(ValueError, match=message):
            load(file)
    for command in ("segment", "generate"):
        new = str(tmp_path / "new.png")
        assert main([command, str(PHOTOS / "kitten.jpg"), "--output", new, "--model", str(file)]) == 2
        assert re.search(message, capsys.readouterr().err)


@pytest.mark.parametrize("fault", ["missing", "unknown", "misshapen"])
def test_weights_that_do_not_fit_are_named_alike_by_predictor_and_commands(fault, directory, tmp_path):
    folder, name = shutil.copytree(directory, tmp_path / "model"), "mask_decoder.hq_token.weight"
    weights = load_file(folder / "model.safetensors")
    value = weights.pop(name) if fault != "unknown" else weights[name].clone()
    if fault == "unknown":
        weights[name := "another.weight"] = value
    elif fault == "misshapen":
        weights[name] = value[:, 1:].contiguous()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    message = f"the weights of '{folder}' do not fit its configuration; 1 {fault}: {name}$"
    for load in (SamHQPredictor.from_pretrained, lambda place: load_model(str(place), torch.device("cpu"))):
        with pytest.raises(ValueError, match=message):
            load(folder)


def test_whole_shards_and_other_precisions_load(directory, tmp_path):
    wanted = SamHQModel.from_pretrained(directory).state_dict()
    shutil.copytree(directory, tmp_path / "sharded")
    sharded(tmp_path / "sharded", json.dumps)
    kinds = [torch.float16, torch.bfloat16, torch.float64, torch.float32]
    shutil.copytree(directory, tmp_path / "mixed")
    mixed = {name: value.to(kinds[place % 4]) for place, (name, value) in enumerate(wanted.items())}
    save_file(mixed, tmp_path / "mixed" / "model.safetensors", {"format": "pt"})
    for name, tolerance in (("sharded", 0), ("mixed", 2e-2)):
        found = SamHQModel.from_pretrained(tmp_path / name, dtype=torch.float32).state_dict()
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            torch.testing.assert_close(found[key], value, rtol=tolerance, atol=tolerance)


def test_eight_bits_are_refused_in_a_state_dict_too(directory):
    weights = {name: value.to(torch.int8) for name, value in load_file(directory / "model.safetensors").items()}
    with pytest.raises(ValueError, match=r"state_dict that was given holds torch\.int8"):
        SamHQModel.from_pretrained(None, config=small_model().config, state_dict=weights, dtype=torch.float32)


def test_negative_variances_are_refused(tmp_path):
    model = small_model("tiny_vit")
    model.vision_encoder.patch_embed.conv1.norm.running_var[0] = -1
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"1 with negative variances: vision_encoder\.patch_embed\.conv1"):
        SamHQModel.from_pretrained(tmp_path)


def test_an_encoder_alone_is_looked_at_too(tmp_path):
    model = small_model()
    encoder = SamHQVisionModel(model.config.vision_config)
    with torch.no_grad():
        encoder.vision_encoder.pos_embed[0, 0, 0, 0] = torch.inf
    encoder.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"1 not finite: vision_encoder\.pos_embed"):
        SamHQVisionModel.from_pretrained(tmp_path)


WITHOUT_FIELDS = ["5", "1.5", "true", "null", '"vit"', "[]", '[{"size": 3}]']


@pytest.mark.parametrize("content", WITHOUT_FIELDS)
@pytest.mark.parametrize(
    "file", ["config.json", "processor_config.json", "preprocessor_config.json", "image_processor"]
)
def test_files_that_hold_no_fields_are_refused_by_name(file, content, directory, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(directory, folder)
    if file == "image_processor":
        (folder / "processor_config.json").write_text(f'{{"image_processor": {content}}}')
    else:
        if file == "preprocessor_config.json":
            (folder / "processor_config.json").unlink()
        (folder / file).write_text(content)
    loaders = [SamHQModel, SamHQConfig] if file == "config.json" else [SamHQProcessor, SamHQImageProcessor]
    for loader in (*loaders, SamHQPredictor):
        with pytest.raises((ValueError, OSError)) as seen:
            loader.from_pretrained(folder)
        if isinstance(seen.value, OSError):  # of transformers, which takes them for files without a processor
            assert content in ("null", *WITHOUT_FIELDS[4:])
            assert str(seen.value).startswith(f"Can't load image processor for '{folder}'")
        else:
            assert re.search(r"must (be|hold) (a )?dictionar.*", str(seen.value))


@pytest.mark.parametrize("content", ["5", "true", "null", "", "{no", "[1"])
def test_a_processor_names_the_models_file_that_transformers_reads_beside_its_own(content, directory, tmp_path):
    folder = shutil.copytree(directory, tmp_path / "damaged")
    (folder / "config.json").write_text(content)
    for loader in (SamHQProcessor, AutoProcessor):
        with pytest.raises(
            ValueError, match=r"damaged/config\.json' (must hold a dictionary of fields, got|is not JSON)"
        ):
            loader.from_pretrained(folder)
