"""The scripts of `docs/examples` that need neither a detector nor a cluster, run as they stand."""

import functools
import http.server
import re
import runpy
import sys
import threading

import matplotlib
import pytest
from PIL import Image

import sam_hq
from builtin_sam_hq import BuiltinConfig, BuiltinModel, mend
from conftest import PHOTOS, REPOSITORY, small_config, small_model
from sam_hq.hub.conversion import processor_for
from sam_hq.hub.key_map import is_hq_name

EXAMPLES = REPOSITORY / "docs" / "examples"


@pytest.fixture
def directory(tmp_path):
    small_model("vit").save_pretrained(tmp_path / "model")
    processor_for(small_config("vit")).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def server():
    """The photos, served on this machine; gives the address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(PHOTOS))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def run(monkeypatch, name, *arguments):
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    return runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_the_walk_through_the_published_card(directory, server, tmp_path, monkeypatch, capsys):
    matplotlib.use("Agg")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    photo = f"{server}/scissors.png"
    names = run(
        monkeypatch, "published_card.py",
        "--model", directory, "--photo", photo, "--box", 20, 30, 280, 200, "--output", tmp_path / "pictures",
    )  # fmt: skip
    card = (REPOSITORY / "tests" / "support" / "published_model_card.md").read_text(encoding="utf-8")
    assert names["MODEL"] in card
    assert names["PHOTO"] in card
    assert str(names["BOX"]) in card
    out = capsys.readouterr().out
    assert [f"candidate {rank}:" in out for rank in (1, 2, 3)] == [True, True, True]
    pictures = {path.name: Image.open(path) for path in (tmp_path / "pictures").iterdir()}
    assert set(pictures) == {"box.png", "mask.png", "candidates.png"}
    for picture in pictures.values():
        assert len(picture.convert("RGB").resize((64, 64)).getcolors(64 * 64)) > 50  # a photo is in it


def test_an_image_that_is_not_there_is_said(directory, server, monkeypatch, tmp_path):
    import requests

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(requests.HTTPError, match="404"):
        run(monkeypatch, "published_card.py", "--model", directory, "--photo", f"{server}/gone.png")


def test_the_fault_of_the_built_in_class_is_seen_as_the_page_prints_it(capsys, recwarn):
    script = runpy.run_path(str(EXAMPLES / "builtin_fault.py"), run_name="example")
    assert script["main"]() is True
    out = capsys.readouterr().out
    printed = re.search(r"```text\n(sam_hq .*?)```", (EXAMPLES.parent / "why.md").read_text(), re.DOTALL)[1]
    number = re.compile(r"\d+(\.\d+)+")
    assert number.sub("N", out) == number.sub("N", printed)
    assert not [warning for warning in recwarn if "built-in" in str(warning.message)]
    changed = float(out.partition("masks change by ")[2].split()[0])
    assert changed > 0.1


def test_a_mended_class_would_be_seen_as_right():
    script = runpy.run_path(str(EXAMPLES / "builtin_fault.py"), run_name="example")
    config = BuiltinConfig(vision_config=dict(script["VISION"]), **script["PARTS"])
    transformer = (model := mend(BuiltinModel(config))).mask_decoder.transformer
    # The mending is a hook too; the noise has to come before it.
    transformer.register_forward_hook = functools.partial(transformer.register_forward_hook, prepend=True)
    assert script["change_of_masks"](model) > 0.1


def test_the_hq_parts_are_tuned(directory, tmp_path, monkeypatch, capsys):
    for place in ("photos", "validation"):
        (tmp_path / place).mkdir()
        for name in ("kitten", "koala"):
            Image.open(PHOTOS / f"{name}.jpg").convert("RGB").resize((96, 80)).save(tmp_path / place / f"{name}.jpg")
            mask = Image.open(PHOTOS / "masks" / f"{name}.png").convert("L").point(lambda value: 255 * (value > 127))
            mask.resize((96, 80), Image.Resampling.NEAREST).save(tmp_path / place / f"{name}.png")
    folders = (tmp_path / "photos", tmp_path / "validation", tmp_path / "tuned")
    run(monkeypatch, "fine_tune.py", *folders, "--model", directory, "--steps", 2, "--batch-size", 1)
    out = capsys.readouterr().out
    assert out.index("before") < out.index("after")
    assert out.count("| prompt | branch | mIoU | mBIoU | objects |") == 2
    before, after = (sam_hq.SamHQModel.from_pretrained(place) for place in (directory, tmp_path / "tuned" / "best"))
    weights = after.state_dict()
    changed = {name for name, value in before.state_dict().items() if not value.equal(weights[name])}
    assert changed
    assert all(is_hq_name(name) for name in changed)


def test_the_picture_of_the_first_page(directory, tmp_path, monkeypatch):
    run(monkeypatch, "readme_picture.py", "--model", directory, "--output", tmp_path / "readme.jpg")
    made = Image.open(tmp_path / "readme.jpg")
    assert made.size == Image.open(REPOSITORY / "docs" / "pictures" / "readme.jpg").size
