"""Directories whose files are damaged, cut off or missing: refused with the directory's name, never half loaded."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from conftest import small_model
from sam_hq.modeling_sam_hq import SamHQModel
from sam_hq.predictor import SamHQPredictor
from sam_hq.vision_modeling import SamHQVisionModel

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


def as_pickle(folder, share):
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
    "NaN": lambda folder: change(folder, mask_decoder__hq_token__weight=torch.nan),
    "infinity in a buffer": lambda folder: change(folder, shared_image_embedding__positional_embedding=torch.inf),
}
NAMED = {"NaN": "1 not finite: mask_decoder.hq_token", "infinity in a buffer": "1 not finite: shared_image_embedding"}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_directory_is_refused_by_its_name(kind, directory, tmp_path):
    folder = tmp_path / "damaged"
    shutil.copytree(directory, folder)
    DAMAGED[kind](folder)
    for load in (SamHQModel.from_pretrained, SamHQPredictor.from_pretrained):
        with pytest.raises((ValueError, OSError), match=f"damaged.*{NAMED.get(kind, '')}"):
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


def test_an_encoder_alone_is_looked_at_too(tmp_path):
    model = small_model()
    encoder = SamHQVisionModel(model.config.vision_config)
    with torch.no_grad():
        encoder.vision_encoder.pos_embed[0, 0, 0, 0] = torch.inf
    encoder.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"1 not finite: vision_encoder\.pos_embed"):
        SamHQVisionModel.from_pretrained(tmp_path)
