import json

import pytest
from PIL import Image

from conftest import small_config, small_model
from sam_hq.checkpoint_conversion import processor_for
from sam_hq_cli.main import main
from training_data import shapes, write_pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    write_pairs(folder / "data", shapes(2))
    small_model("tiny_vit").save_pretrained(folder / "model")
    processor_for(small_config("tiny_vit")).save_pretrained(folder / "model")
    return folder


def test_table_json_and_sheet(folder, capsys):
    words = ["evaluate", "--model", folder / "model", "--data", folder / "data", "--device", "cpu"]
    words += ["--prompts", "box", "points-1", "--protocol", "squashed", "--floors", "filled-box"]
    words += ["--output", folder / "scores.json", "--sheet", folder / "sheet.png"]
    assert main([str(word) for word in words]) == 0
    table = capsys.readouterr().out
    content = json.loads((folder / "scores.json").read_text())
    rows = {(mean["prompt"], mean["branch"]): mean for mean in content["means"]}
    of_model = {(prompt, branch) for prompt in ("box", "points-1") for branch in ("sam", "hq", "sum")}
    assert set(rows) == {*of_model, ("box", "filled-box")}
    assert all(f"| {mean['miou']:.3f} | {mean['mbiou']:.3f} |" in table for mean in content["means"])
    assert content["settings"]["protocol"] == "squashed"
    assert Image.open(folder / "sheet.png").width >= 240


def test_bad_data_is_named(folder, tmp_path, capsys):
    write_pairs(tmp_path, shapes(2))
    (tmp_path / "photo0_0.png").write_bytes(b"no picture")
    words = ["evaluate", "--model", str(folder / "model"), "--data", str(tmp_path), "--device", "cpu"]
    assert main(words) == 0
    assert "photo0_0.png" in capsys.readouterr().out
    assert main([*words, "--on-bad", "raise"]) == 2
    assert "photo0_0.png" in capsys.readouterr().err
