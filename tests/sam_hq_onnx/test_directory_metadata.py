"""The file of metadata beside graphs says what they say, or is refused; the graphs are what counts."""

import json

import pytest

from described_graphs import METADATA
from sam_hq_onnx import OnnxSamHQ
from sam_hq_onnx.directory_metadata import directory_metadata

STRINGS = METADATA.to_strings()


def read(directory, described, encoder=None, decoder=None):
    """What is read where the file and the graphs have these keys besides the usual ones; None leaves one out."""
    changed = [{**STRINGS, **(changes or {})} for changes in (described, encoder, decoder)]
    described, encoder, decoder = ({key: value for key, value in each.items() if value is not None} for each in changed)
    (directory / "sam_hq.json").write_text(json.dumps(described))
    return directory_metadata(directory, {**encoder, "graph": "encoder"}, {**decoder, "graph": "decoder"})


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model", "def", "'def' there, but 'abc' in encoder.onnx and 'abc' in decoder.onnx"),
        ("model_type", "sam_hq_vision_model", "'sam_hq_vision_model' there, but 'sam_hq_tiny_vit' in"),
        ("dtype", "int8", "'int8' there, but 'fp32' in"),
        ("image_size", "256", "256 there, but 128 in"),
        ("mask_size", "64", "64 there, but 32 in"),
        ("size", '{"height": 128, "width": 128}', "{'height': 128, 'width': 128} there, but {'longest_edge': 128} in"),
        ("image_mean", "[103, 116, 123]", r"(103.0, 116.0, 123.0) there, but (0.0, 0.0, 0.0) in"),
        ("image_std", "[57, 57, 58]", r"(57.0, 57.0, 58.0) there, but (1.0, 1.0, 1.0) in"),
        ("resample", "bicubic", "'bicubic' there, but 'bilinear' in"),
        ("mask_threshold", "1.5", "1.5 there, but 0.0 in"),
        ("mask_generation", '{"points_per_crop": 4}', "{'points_per_crop': 4} there, but {} in"),
        ("hq_token_trained_alone", "false", "False there, but True in"),
        ("image_maen", "[1, 2, 3]", "'[1, 2, 3]' there, but None in"),
    ],
)
def test_a_file_that_contradicts_the_graphs_is_refused_by_setting(key, value, said, tmp_path):
    with pytest.raises(ValueError, match=r"sam_hq\.json' contradicts the graphs beside it: ") as refused:
        read(tmp_path, {key: value})
    assert f"{key} is {said}" in str(refused.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("labels", '{"foreground": 0, "background": 1}', 'labels must be {"foreground": 1, .*, got .*"foreground": 0'),
        ("labels", "none", "labels must be .*, got 'none'"),
        ("image_std", "[0, 0, 0]", "image_std must be three finite numbers above 0"),
        ("image_size", None, "image_size is missing"),
        ("format", "sam-hq-onnx/9", "must be a graph of the format 'sam-hq-onnx/1', got 'sam-hq-onnx/9'"),
    ],
)
def test_a_damaged_file_is_refused(key, value, message, tmp_path):
    with pytest.raises(ValueError, match=rf"sam_hq\.json'.*{message}"):
        read(tmp_path, {key: value})


@pytest.mark.parametrize(
    ("described", "encoder", "decoder"),
    [
        ({"mask_threshold": "0", "image_mean": "[0, 0, 0]"}, {}, {}),
        ({"version": "1"}, {"version": "2"}, {}),
        ({"dtype": "fp32"}, {"dtype": "int8"}, {}),
        ({"dtype": "int8"}, {"dtype": "int8"}, {}),
        *(({"mask_generation": None, "hq_token_trained_alone": None},) * 3,),
        ({"later": "1"}, {"later": "1"}, {"later": "1"}),
    ],
    ids=["written otherwise", "of other versions", "of the decoder", "of the encoder", "before a key", "of a new key"],
)
def test_a_file_that_means_the_same_is_taken(described, encoder, decoder, tmp_path):
    assert read(tmp_path, described, encoder, decoder).model == "abc"


def test_the_runner_reads_the_file_beside_its_graphs(exports, tmp_path):
    for path in exports("vit").directory.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    described = tmp_path / "sam_hq.json"
    strings = json.loads(described.read_text())
    described.write_text(json.dumps({**strings, "mask_threshold": "2.5"}))
    with pytest.raises(ValueError, match=r"mask_threshold is 2\.5 there, but 0\.0 in encoder\.onnx"):
        OnnxSamHQ(tmp_path, "cpu")
    described.write_text("{")
    with pytest.raises(ValueError, match=r"sam_hq\.json' is not JSON"):
        OnnxSamHQ(tmp_path, "cpu")
    described.unlink()
    assert OnnxSamHQ(tmp_path, "cpu").metadata == exports("vit").metadata
