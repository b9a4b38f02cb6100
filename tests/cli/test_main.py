import subprocess
import sys

import pytest

from sam_hq_cli import main as cli


def run_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["segment", "--help"], ["convert", "--help"]])
def test_help_imports_no_deep_learning_library(arguments):
    code = f"""
import sys
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
