import json

import pytest

from conftest import PHOTOS
from described_graphs import write_described_export
from sam_hq_cli.main import main

uvicorn = pytest.importorskip("uvicorn", reason="needs the extra `demo`")


@pytest.fixture
def exported(tmp_path):
    """What stands where an exported model could."""
    directory = tmp_path / "small"
    write_described_export(directory)
    return directory


@pytest.fixture
def served(monkeypatch):
    """The applications that were served; each for no time at all."""
    apps = []

    def run(server, sockets):
        assert sockets[0].getsockname()[0] == "127.0.0.1"
        apps.append(server.config.app)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    return apps


def test_a_folder_is_written_and_served_then_served_as_it_is(exported, served, tmp_path, capsys):
    page = tmp_path / "page"
    assert main(["demo", "--static", str(page), "--model", str(exported), "--port", "0"]) == 0
    printed = capsys.readouterr().out
    assert f"folder   {page}" in printed
    assert "page     http://127.0.0.1:" in printed
    assert json.loads((page / "about.json").read_text())["model"] == "small"
    (page / "index.html").write_text("mine")
    assert main(["demo", "--static", str(page), "--port", "0"]) == 0
    assert (page / "index.html").read_text() == "mine"
    assert len(served) == 2


def test_a_torch_model_is_exported_on_the_way(served, tmp_path, monkeypatch, capsys):
    from conftest import small_config, small_model
    from sam_hq.export import onnx as onnx_export
    from sam_hq.hub.conversion import processor_for

    model = tmp_path / "my-model"
    small_model("tiny_vit").save_pretrained(model)
    processor_for(small_config("tiny_vit")).save_pretrained(model)

    written = []

    def export(of, image_processor, directory):
        assert of.config.vision_config.image_size == 128
        write_described_export(directory)
        written.append((directory / "encoder.onnx").read_bytes())

    monkeypatch.setattr(onnx_export, "export_onnx", export)
    page = tmp_path / "page"
    assert main(["demo", "--static", str(page), "--model", str(model), "--port", "0"]) == 0
    assert (page / "model" / "encoder.onnx").read_bytes() == written[0]
    assert json.loads((page / "about.json").read_text())["model"] == "my-model"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--static", "{taken}"], "exists already"),
        (["--static", "{new}", "{text}"], "cannot offer 'text.jpg': cannot identify image file"),
        (["--static", "{new}", "--runtime", "{taken}"], "must hold the dist files"),
    ],
)
def test_what_cannot_be_written_is_known_before_the_export(served, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.setattr("sam_hq.export.onnx.export_onnx", lambda *_: pytest.fail("the export has begun"))
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    (tmp_path / "text.jpg").write_text("no photo")
    places = {"taken": tmp_path / "taken", "new": tmp_path / "new", "text": tmp_path / "text.jpg"}
    assert main(["demo", "--port", "0", *(word.format(**places) for word in words)]) == 2
    assert message in capsys.readouterr().err
    assert not served


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--static", "{page}", "--model", "{exported}"], "is there already and is served as it is"),
        (["--static", "{page}", str(PHOTOS / "crab.jpg")], "is there already"),
        (["--static", "{other}", "--model", "{exported}", "--runtime", "{exported}"], "must hold the dist files"),
        (["--runtime", "{exported}"], "--runtime is for a page with the model inside"),
    ],
)
def test_what_cannot_be_written_is_one_line(exported, served, tmp_path, capsys, words, message):
    page = tmp_path / "page"
    assert main(["demo", "--static", str(page), "--model", str(exported), "--port", "0"]) == 0
    capsys.readouterr()
    places = {"page": page, "exported": exported, "other": tmp_path / "other"}
    assert main(["demo", "--port", "0", *(word.format(**places) for word in words)]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "other").exists()
    assert len(served) == 1
