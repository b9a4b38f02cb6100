"""The blocks of the export page that need exported graphs, run as printed."""

import numpy as np
import pytest
from markdown_blocks import blocks, command_lines, run_command

from conftest import REPOSITORY
from sam_hq_onnx import OnnxSamHQ

PHOTO, BOX = "docs/photos/kingfisher.png", [[[288, 57, 640, 510]]]


@pytest.fixture
def clone(exports, tmp_path, monkeypatch):
    """A folder with the photos of a clone, and a small model's graphs where the page has them."""
    (tmp_path / "docs").symlink_to(REPOSITORY / "docs", target_is_directory=True)
    (tmp_path / "exported").symlink_to(exports("tiny_vit").directory, target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def printed(word: str, language: str) -> str:
    """The block of the page that holds a word."""
    (code,) = (
        block.code
        for block in blocks(REPOSITORY / "docs" / "export.md")
        if word in block.code and block.language == language
    )
    return code


def test_the_runner_runs_as_printed(clone):
    names: dict = {}
    exec(printed("OnnxSamHQ", "python").replace("points_per_crop=16", "points_per_crop=2"), names)
    assert names["found"].masks.shape == (1, 3, 576, 1024)


def test_openvino_as_printed_gives_the_mask_of_the_runner(clone):
    names: dict = {}
    exec(printed("openvino", "python"), names)
    (found,) = OnnxSamHQ("exported", providers="cpu").segment(PHOTO, input_boxes=BOX, multimask_output=False)
    wanted = found.masks[0, 0]
    assert names["mask"].shape == wanted.shape
    assert 0 < wanted.sum() < wanted.size
    assert np.count_nonzero(names["mask"] != wanted) < 0.01 * wanted.size


def test_the_command_runs_as_printed(clone):
    line = next(line for line in command_lines(printed("--model exported", "bash")) if "segment" in line)
    run_command(line)
    assert (clone / "overlay.png").exists()
