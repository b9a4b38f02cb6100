import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from conftest import REPOSITORY, small_config, small_model
from demo_fixtures import photo_file
from sam_hq.hub.conversion import processor_for
from sam_hq_cli.main import main
from sam_hq_cli.serving import listening_socket, page_address


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("secret") / "small-model"
    small_model("tiny_vit").save_pretrained(directory)
    processor_for(small_config("tiny_vit")).save_pretrained(directory)
    return directory


def test_the_command_serves_the_page_on_this_machine_until_it_is_interrupted(directory, tmp_path):
    photo = tmp_path / "example photo.png"
    photo.write_bytes(photo_file())
    words = [sys.executable, "-m", "sam_hq_cli.main", "demo", photo, "--model", directory, "--device", "cpu"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src")}
    with subprocess.Popen(
        [*map(str, words), "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert str(directory) in process.stdout.readline()
            address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
            about = json.load(urllib.request.urlopen(f"{address}api/about"))
            with urllib.request.urlopen(address) as answer:
                headers, page = answer.headers, answer.read()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert about["model"] == "small-model"  # the name alone, not where it is
    assert about["examples"] == ["example photo.png"]
    assert (about["upload_bytes"], about["pixels"]) == (20_000_000, 25_000_000)
    assert "server" not in headers
    assert b"SAM-HQ" in page
    assert "Traceback" not in errors


def test_it_answers_on_this_machine_only_unless_told():
    with listening_socket("127.0.0.1", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    assert page_address("0.0.0.0", 80) == "http://127.0.0.1:80/"
    assert page_address("::", 80) == "http://[::1]:80/"
    assert page_address("::1", 80) == "http://[::1]:80/"
    assert page_address("fe80::7", 80) == "http://[fe80::7]:80/"
    assert page_address("box.lan", 80) == "http://box.lan:80/"
    with pytest.raises(OSError, match=r"cannot answer on nowhere\.invalid port 80: "):
        listening_socket("nowhere.invalid", 80)


def test_a_port_in_use_is_said_before_the_model_is_loaded(directory, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["demo", "--model", str(directory), "--port", port]) == 2
    assert f"cannot answer on 127.0.0.1 port {port}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "70000"], "--port must be from 0 to 65535"),
        (["--max-pixels", "0"], "pixels must be at least 1"),
        (["--max-upload-mb", "inf"], "--max-upload-mb must be finite, got inf"),
        (["--max-upload-mb", "1e999"], "--max-upload-mb must be finite, got inf"),
        (["--max-upload-mb", "nan"], "--max-upload-mb must be finite, got nan"),
        (["--max-upload-mb", "-1"], "--max-upload-mb must be above 0, got -1.0"),
        (["--max-upload-mb", "0"], "--max-upload-mb must be above 0, got 0.0"),
        (["--sessions", "0"], "most_sessions must be at least 1"),
        (["nowhere.png"], "PHOTO 'nowhere.png' is no image: there is no such file"),
        (["nowhere/*.jpg"], "PHOTO 'nowhere/*.jpg' is no image"),
        (["docs/photos"], "PHOTO 'docs/photos' is a folder; name images in it"),
        (["docs/photos", "--static", "page"], "PHOTO 'docs/photos' is a folder"),
        (["pyproject.toml"], "cannot offer 'pyproject.toml': the file is no photo"),
    ],
)
def test_impossible_options_are_one_line(directory, words, message, capsys, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert main(["demo", "--model", str(directory), "--device", "cpu", "--port", "0", *words]) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1


def test_without_the_extra_the_command_says_how_to_get_it(directory, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["demo", "--model", str(directory)]) == 2
    assert "pip install 'sam-hq[demo]'" in capsys.readouterr().err
