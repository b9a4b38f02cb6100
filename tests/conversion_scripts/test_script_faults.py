"""Scripts end as commands do where they are given something wrong: one line, status 2, nothing changed."""

import json
import runpy
import shutil
import sys

import pytest

import sam_hq
from conftest import REPOSITORY

SCRIPTS = {"calibrate_scores.py": ("--data", "photos"), "embed_checkpoint.py": ()}


def no_directory(folder):
    return folder / "absent"


def a_file(folder):
    (folder / "model.pth").write_bytes(b"")
    return folder / "model.pth"


def an_empty_directory(folder):
    (folder / "empty").mkdir()
    return folder / "empty"


def without_weights(folder, directory):
    shutil.copytree(directory, folder / "model")
    (folder / "model" / "model.safetensors").unlink()
    return folder / "model"


def without_fields(folder, directory):
    shutil.copytree(directory, folder / "model")
    (folder / "model" / "config.json").write_text("null")
    return folder / "model"


def of_another_kind(folder, directory):
    shutil.copytree(directory, folder / "model")
    (folder / "model" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    return folder / "model"


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    "source", [no_directory, a_file, an_empty_directory, without_weights, without_fields, of_another_kind]
)
def test_a_wrong_model_is_one_line(script, source, directory, tmp_path, monkeypatch, capsys):
    kept = tmp_path / "embedded"
    kept.mkdir()
    monkeypatch.setattr(sam_hq, "EMBEDDED_CHECKPOINT", str(kept))
    path = source(tmp_path, directory) if source.__code__.co_argcount == 2 else source(tmp_path)
    monkeypatch.setattr(sys, "argv", [script, str(path), *SCRIPTS[script]])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPOSITORY / "conversion_scripts" / script), run_name="__main__")
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    assert [line.startswith(f"{script}: error: ") for line in said] == [True]
    assert str(path) in said[0]
    assert list(kept.iterdir()) == []


def test_wrong_data_is_one_line(directory, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["calibrate_scores.py", str(directory), "--data", str(tmp_path / "absent")])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(REPOSITORY / "conversion_scripts" / "calibrate_scores.py"), run_name="__main__")
    assert ended.value.code == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("calibrate_scores.py: error: ")
    assert "absent" in line
