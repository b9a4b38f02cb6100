import runpy
import sys

import huggingface_hub
import pytest
import torch

import sam_hq
from authors_weights import small_authors_weights
from conftest import REPOSITORY
from sam_hq_cli.main import main


def test_a_checkpoint_becomes_a_directory(tmp_path, capsys):
    torch.save(small_authors_weights(), tmp_path / "small.pth")
    assert main(["convert", str(tmp_path / "small.pth"), str(tmp_path / "out"), "--dtype", "bfloat16"]) == 0
    assert f"wrote    {tmp_path / 'out'}" in capsys.readouterr().out
    model = sam_hq.SamHQModel.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16


def test_plain_sam_is_said_loudly(tmp_path, capsys):
    torch.save(small_authors_weights(without_hq=True), tmp_path / "sam.pth")
    assert main(["convert", str(tmp_path / "sam.pth"), str(tmp_path / "out")]) == 0
    error = capsys.readouterr().err
    assert error.startswith("sam-hq: warning: ")
    assert "plain SAM checkpoint" in error


def test_the_script_is_the_same_command(tmp_path, capsys, monkeypatch):
    torch.save(small_authors_weights(), tmp_path / "small.pth")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["convert_sam_hq.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(REPOSITORY / "conversion_scripts" / "convert_sam_hq.py"), run_name="__main__")
        return end.value.code, *capsys.readouterr()

    status, printed, error = run(tmp_path / "small.pth", tmp_path / "out")
    assert (status, "custom" in printed) == (0, True), error
    assert (tmp_path / "out" / "model.safetensors").is_file()
    status, _, error = run(tmp_path / "small.pth", tmp_path / "out2", "--variant", "vit_h")
    assert status == 2
    assert error.startswith("sam-hq: error: variant is 'vit_h', but the weights of")
    assert not (tmp_path / "out2").exists()


def test_push_to_hub_uploads_the_finished_directory(tmp_path, monkeypatch):
    calls = []

    class Api:
        def create_repo(self, repo_id, exist_ok):
            calls.append(("create", repo_id, exist_ok))

        def upload_folder(self, repo_id, folder_path):
            calls.append(("upload", repo_id, sorted(path.name for path in folder_path.iterdir())))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    torch.save(small_authors_weights(), tmp_path / "small.pth")
    assert main(["convert", str(tmp_path / "small.pth"), str(tmp_path / "out"), "--push-to-hub", "me/mine"]) == 0
    files = ["README.md", "config.json", "model.safetensors", "processor_config.json"]
    assert calls == [("create", "me/mine", True), ("upload", "me/mine", files)]


def test_a_push_that_fails_says_that_the_directory_is_whole(tmp_path, monkeypatch, capsys):
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("connection lost")

    monkeypatch.setattr("huggingface_hub.HfApi.create_repo", refuse)
    torch.save(small_authors_weights(), tmp_path / "small.pth")
    assert main(["convert", str(tmp_path / "small.pth"), str(tmp_path / "out"), "--push-to-hub", "me/mine"]) == 2
    assert "out' is whole, but cannot be pushed: connection lost" in capsys.readouterr().err
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_with_code_the_directory_carries_it(tmp_path, capsys):
    torch.save(small_authors_weights(), tmp_path / "small.pth")
    assert main(["convert", str(tmp_path / "small.pth"), str(tmp_path / "out"), "--with-code"]) == 0
    assert '"sam_hq_exact"' in (tmp_path / "out" / "config.json").read_text()
    assert (tmp_path / "out" / "modeling_sam_hq.py").is_file()
    assert "trust_remote_code=True" in (tmp_path / "out" / "README.md").read_text()


def test_code_is_added_to_a_directory_too(tmp_path, capsys):
    torch.save(small_authors_weights(), tmp_path / "small.pth")
    assert main(["convert", str(tmp_path / "small.pth"), str(tmp_path / "tuned")]) == 0
    arguments = [str(tmp_path / "tuned"), str(tmp_path / "out"), "--with-code", "--dtype", "bfloat16"]
    assert main(["convert", *arguments]) == 0
    model = sam_hq.SamHQModel.from_pretrained(tmp_path / "out")
    assert model.dtype == torch.bfloat16
    wanted = sam_hq.SamHQModel.from_pretrained(tmp_path / "tuned", dtype=torch.bfloat16).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in model.state_dict().items())
    assert "# SAM-HQ, tuned" in (tmp_path / "out" / "README.md").read_text()
    assert main(["convert", *arguments]) == 2
    assert "exists already" in capsys.readouterr().err
    for option, value in (("--variant", "vit_b"), ("--base", "sam.pth")):
        assert main(["convert", str(tmp_path / "tuned"), str(tmp_path / "more"), "--with-code", option, value]) == 2
        assert f"{option} is for .pth files" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "out"), str(tmp_path / "back.pth")]) == 0
    weights = torch.load(tmp_path / "back.pth", weights_only=True)
    assert weights["mask_decoder.hf_token.weight"].dtype == torch.bfloat16  # the directory's own, as the help says


def test_a_directory_without_the_flag_is_no_checkpoint(tmp_path, capsys):
    (tmp_path / "tuned").mkdir()
    assert main(["convert", str(tmp_path / "tuned"), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("sam-hq: error: ")
