"""Checkpoints as people have them are unwrapped, damaged and oversized ones refused; ours go back to the authors."""

import argparse
import os
import resource
import zipfile

import pytest
import torch

import sam_hq
from authors_weights import small_authors_weights
from conftest import small_model
from sam_hq.hub.checkpoint_files import read_sam_weights, read_weights, write_authors_weights
from sam_hq.hub.conversion import convert_checkpoint, convert_weights
from sam_hq_cli.main import main

WEIGHTS = small_authors_weights()
STATISTICS = {
    "pixel_mean": torch.tensor([123.675, 116.28, 103.53]).view(3, 1, 1),
    "pixel_std": torch.tensor([58.395, 57.12, 57.375]).view(3, 1, 1),
}


def prefixed(prefix, weights=WEIGHTS):
    return {f"{prefix}{name}": value for name, value in weights.items()}


WRAPPED = {
    "model": {"model": WEIGHTS, "epoch": 3, "optimizer": {"state": {}}},
    "state_dict": {"state_dict": WEIGHTS},
    "nested": {"model": {"state_dict": WEIGHTS}, "args": argparse.Namespace(lr=1e-4)},
    "beside a mean": {"model_ema": WEIGHTS, "model": WEIGHTS, "best": 0.5},
    "module.": prefixed("module."),
    "_orig_mod.": prefixed("_orig_mod."),
    "sam.": prefixed("sam."),
    "all": {"state_dict": prefixed("module._orig_mod.sam.")},
    "lightning": {"state_dict": prefixed("model.")},
    "compiled encoder": {name.replace("image_encoder.", "image_encoder._orig_mod."): v for name, v in WEIGHTS.items()},
    "pixel statistics": {**WEIGHTS, **STATISTICS},
    "pixel statistics with a prefix": prefixed("module.sam.", {**WEIGHTS, **STATISTICS}),
}


@pytest.mark.parametrize("kind", WRAPPED)
def test_weights_are_taken_out_of_what_training_put_around_them(kind, tmp_path):
    torch.save(WRAPPED[kind], tmp_path / "a.pth")
    with pytest.warns(UserWarning, match=r"the weights of .* were taken from|dropped from the names in"):
        found = read_sam_weights(tmp_path / "a.pth")
    assert found.keys() == WEIGHTS.keys()
    assert all(torch.equal(found[name], WEIGHTS[name]) for name in WEIGHTS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**WEIGHTS, **prefixed("module.")}, "with several prefixes"),
        ({**WEIGHTS, "pixel_mean": torch.zeros(3)}, "another pixel_mean than SAM's"),
        ({"optimizer": {"lr": 3}}, "holds more than named tensors"),
        ({"model": [1, 2]}, "holds more than named tensors"),
    ],
)
def test_what_may_mean_two_things_is_refused(content, message, tmp_path):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=message):
        read_sam_weights(tmp_path / "a.pth")


def test_a_decoder_alone_joins_its_base(tmp_path):
    part = "mask_decoder."
    decoder = {name.removeprefix(part): value + 1 for name, value in WEIGHTS.items() if name.startswith(part)}
    torch.save(decoder, tmp_path / "epoch_11.pth")
    torch.save(small_authors_weights(without_hq=True), tmp_path / "sam.pth")
    with pytest.raises(ValueError, match="holds a mask decoder alone"):
        convert_checkpoint(tmp_path / "epoch_11.pth", tmp_path / "out")
    with pytest.raises(ValueError, match="base is for a mask decoder alone"):
        convert_checkpoint(tmp_path / "sam.pth", tmp_path / "out", base=tmp_path / "sam.pth")
    arguments = [str(tmp_path / "epoch_11.pth"), str(tmp_path / "out"), "--base", str(tmp_path / "sam.pth")]
    assert main(["convert", *arguments]) == 0
    wanted = {name: value + 1 if name.startswith(part) else value for name, value in WEIGHTS.items()}
    model = sam_hq.SamHQModel.from_pretrained(tmp_path / "out")
    renamed, new = convert_weights(wanted, model.config)
    assert new == []
    assert all(torch.equal(value, renamed[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("backbone", ["vit", "tiny_vit"])
def test_a_directory_goes_back_to_the_authors_format(backbone, tmp_path):
    model = small_model(backbone)
    model.save_pretrained(tmp_path / "ours")
    assert main(["convert", str(tmp_path / "ours"), str(tmp_path / "back.pth")]) == 0
    weights = torch.load(tmp_path / "back.pth", weights_only=True)
    renamed, new = convert_weights(weights, model.config)
    assert new == []
    assert renamed.keys() == model.state_dict().keys()
    assert all(torch.equal(value, renamed[name]) for name, value in model.state_dict().items())
    # What their TinyViT has beside: a classifier's head.
    beside = {name for name in weights if ".head." in name or ".norm_head." in name}
    assert len(beside) == (4 if backbone == "tiny_vit" else 0)


def test_weights_without_a_counterpart_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="no counterpart of something"):
        write_authors_weights({"something": torch.zeros(2)}, tmp_path / "out.pth")
    assert os.listdir(tmp_path) == []


def peak_memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.parametrize("kind", ["repeated", "many views", "compressed", "bytes"])
def test_a_small_file_takes_little_memory(kind, tmp_path):
    path = tmp_path / "bomb.pth"
    data = torch.zeros(1024)
    if kind == "repeated":
        torch.save({"a": data[:1].as_strided((40_000, 40_000), (0, 0))}, path)
    elif kind == "many views":
        data = torch.zeros(1024, 1024)
        torch.save({f"a{n}": data[:] for n in range(2000)}, path)
    elif kind == "compressed":
        torch.save({"a": torch.zeros(64, 1024, 1024)}, tmp_path / "plain.pth")
        with zipfile.ZipFile(tmp_path / "plain.pth") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for entry in plain.infolist():
                file.writestr(entry.filename, plain.read(entry))
        (tmp_path / "plain.pth").unlink()
    else:
        torch.save({"a": bytearray(8)}, path)
    before = peak_memory()
    with pytest.raises(ValueError, match=r"checkpoint '.*bomb\.pth'"):
        read_weights(path)
    assert peak_memory() - before < 100e6


@pytest.mark.parametrize("kind", ["itself", "each other", "with a loss", "with others", "many"])
def test_wrappers_without_end_are_refused(kind, tmp_path):
    content, other = {}, {}
    if kind == "many":
        for _ in range(50):
            content = {"model": content}
    elif kind == "each other":
        content["model"], other["state_dict"] = other, content
    else:
        content["ema"] = content
        content.update({"epoch": 3} if kind == "with others" else {"loss": torch.zeros(())} if kind != "itself" else {})
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="wraps its weights more than 9 times"):
        read_weights(tmp_path / "a.pth")


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    path = tmp_path / "a.pth"
    wanted = {"image_encoder.a": torch.arange(200.0), "image_encoder.b": torch.ones(3, 5)}
    torch.save(wanted, path)
    content = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    refused = 0
    for place in torch.randint(0, len(content), (150,), generator=generator).tolist():
        flipped = bytearray(content)
        flipped[place] ^= 1 << (place % 8)
        path.write_bytes(bytes(flipped))
        try:
            found = read_weights(path)
        except ValueError:
            refused += 1
            continue
        assert found.keys() == wanted.keys()  # in a part of the archive that means nothing
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert refused > 50
