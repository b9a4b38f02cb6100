import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sam_hq_cli import main as cli


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["segment", "--help"], ["convert", "--help"]])
def test_help_imports_no_deep_learning_library(arguments):
    code = f"""
import sys
from pathlib import Path
from sam_hq_cli.main import main
try:
    main({arguments!r})
except SystemExit as end:
    assert end.code == 0
for name in ("torch", "transformers", "sam_hq", "numpy", "PIL"):
    assert name not in sys.modules, name
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("sam-hq " if arguments == ["--version"] else "usage: sam-hq")


def test_every_command_has_its_two_functions():
    parser = cli.build_parser()
    assert "segment" in parser.format_help()
    assert "convert" in parser.format_help()


@pytest.mark.parametrize("arguments", [[], ["fly"], ["segment"], ["segment", "a.png", "--box", "1", "2"]])
def test_wrong_usage_exits_2(arguments):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["segment", "a.png", "--box", "1", "2", "3", "4", "--model", ""], "model"),
        (["segment", ""], "images?"),
        (["generate", "photos", "--output", ""], "output"),
        (["annotate", "photos", "--boxes", "", "--output", "out"], "boxes"),
        (["evaluate", "--data", "a", "", "--output", "out"], "data"),
    ],
)
def test_an_empty_argument_is_refused_by_name(arguments, name, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    assert end.value.code == 2
    assert re.search(f"argument {name} is empty$", capsys.readouterr().err.strip())


@pytest.mark.parametrize("kind", [ValueError, TypeError, OSError, FileNotFoundError])
def test_bad_input_is_one_line_and_2(kind, monkeypatch, capsys):
    import sam_hq_cli.convert

    def run(args):
        raise kind("the first line\n  and the second")

    monkeypatch.setattr(sam_hq_cli.convert, "run", run)
    assert cli.main(["convert", "in.pth", "out"]) == 2
    assert capsys.readouterr().err == "sam-hq: error: the first line and the second\n"


def test_other_errors_are_not_hidden(monkeypatch):
    import sam_hq_cli.convert

    def run(args):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(sam_hq_cli.convert, "run", run)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        cli.main(["convert", "in.pth", "out"])


def test_warnings_are_one_line(monkeypatch, capsys):
    import warnings

    import sam_hq_cli.convert

    monkeypatch.setattr(sam_hq_cli.convert, "run", lambda args: warnings.warn("mind\nthis", stacklevel=1))
    assert cli.main(["convert", "in.pth", "out"]) == 0
    assert capsys.readouterr().err == "sam-hq: warning: mind this\n"


def test_unknown_arguments_show_the_usage_of_their_command(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["segment", "a.png", "--boxx", "3"])
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith("usage: sam-hq segment")
    assert "unknown arguments: --boxx 3" in printed


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_every_command_and_option(shell, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--print-completion", shell])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in (*cli.COMMANDS, "--masks-format", "--shard"))


def test_the_package_runs_as_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "sam_hq", "segment", "nowhere.jpg"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "sam-hq" in done.stderr
    assert "Traceback" not in done.stderr
    done = subprocess.run([sys.executable, "-m", "sam_hq", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"sam-hq {cli.version()}\n")


@pytest.mark.parametrize(
    "command",
    [
        "convert none.pth out",
        "convert epoch.pth out --base none.pth",
        "convert none.pth out --with-code",
        "segment none.jpg",
        "segment koala.jpg --embeddings none.safetensors",
        "annotate koala.jpg --boxes none.json --output out",
        "annotate koala.jpg --boxes boxes.csv --described-by none.json --output out",
        "generate none --output out",
        "evaluate --data none",
        "evaluate --data none.json",
        "evaluate --data none.yaml",
        "evaluate --data coco.json --images none",
        "train --data none --output out",
        "train --data pairs --output out --validation none.json",
        "train --data pairs --output out --encoder-weights none.pth",
        "train --data pairs --output out --config none.json",
        "train --data pairs --output out --model none.pth",
        "export out --model ./none",
        "demo none.jpg",
    ],
)
def test_a_path_that_is_not_there_is_named_in_words(command, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs").mkdir()
    for name in ("koala.jpg", "pairs/koala.jpg"):
        shutil.copy(photos / "koala.jpg", name)
    shutil.copy(photos / "masks" / "koala.png", "pairs/koala.png")
    torch.save({"transformer.layers.0.norm1.weight": torch.zeros(256)}, "epoch.pth")
    Path("boxes.csv").write_text("file_name,x0,y0,x1,y1\nkoala.jpg,1,2,300,400\n")
    image = {"id": 1, "file_name": "koala.jpg", "height": 480, "width": 640}
    Path("coco.json").write_text(json.dumps({"images": [image], "annotations": [], "categories": []}))
    before = sorted(os.listdir())
    assert cli.main(command.split()) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("sam-hq: error: ")
    assert re.search(r"'(\./)?none", said)
    assert any(words in said for words in ("there is no ", "there are no ", "is no file, and no folder", "is missing"))
    assert "Errno" not in said
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("convert folder out", "error: checkpoint 'folder' is a directory, but a file of weights is wanted"),
        ("segment koala.jpg --output folder.png", r"error: cannot write the file 'folder\.png': it is a directory"),
        ("evaluate --data koala.jpg", "'koala.jpg' is a file of another kind; understood are"),
        (
            "annotate koala.jpg --boxes boxes.csv --described-by coco.json --output out",
            r"described_by 'coco\.json' is for a list of COCO detections, which 'boxes\.csv' is not",
        ),
        ("evaluate --data folder.json", "cannot use 'folder.json': is a directory"),
        ("train --data koala.jpg --output out", "'koala.jpg' is a file of another kind; understood are"),
    ],
)
def test_a_path_of_another_kind_is_named_in_words(command, words, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("folder", "folder.json", "folder.png"):
        Path(name).mkdir()
    shutil.copy(photos / "koala.jpg", "koala.jpg")
    for name in ("boxes.csv", "coco.json"):
        Path(name).write_text("{}")
    assert cli.main(command.split()) == 2
    assert re.search(words, capsys.readouterr().err)
