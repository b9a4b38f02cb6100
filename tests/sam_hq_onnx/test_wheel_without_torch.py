"""The wheel without its dependencies, in an environment of its own with numpy, Pillow and onnxruntime alone."""

import json
import os
import subprocess
import sys
import venv

import numpy as np
import pytest

from conftest import PHOTOS, REPOSITORY

pytest.importorskip("onnx", reason="needs the extra `onnx`")
pytestmark = pytest.mark.slow
CODE = """
import importlib.util, json, sys
from sam_hq_onnx import OnnxSamHQ
runner = OnnxSamHQ(sys.argv[1])
(found,) = runner.segment(sys.argv[2], input_boxes=[[[20, 30, 200, 220]]], input_points=[[[[90, 90]]]])
generated = runner.generate(sys.argv[2], points_per_crop=3, pred_iou_thresh=-100, stability_score_thresh=-1)
there = [name for name in ("torch", "transformers", "onnx") if importlib.util.find_spec(name)]
print(json.dumps({"scores": found.scores.tolist(), "masks": len(generated["masks"]), "there": there}))
"""


def test_it_runs(exports, tmp_path):
    # With our sources on the path, pip would take the package for installed already.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words):
        done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = (python, "-m", "pip", "install", "--quiet")
    run(*install, "-c", REPOSITORY / "constraints.txt", "numpy", "pillow", "onnxruntime")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, REPOSITORY)
    (wheel,) = tmp_path.glob("sam_hq-*.whl")
    run(*install, "--no-deps", wheel)

    directory, photo = exports("vit").directory, PHOTOS / "scissors.png"
    said = json.loads(run(python, "-c", CODE, directory, photo))
    assert said["there"] == []
    assert said["masks"] > 0
    assert np.isfinite(said["scores"]).all()
    box = ("--box", "20", "30", "200", "220")
    run(tmp_path / "venv" / "bin" / "sam-hq", "segment", photo, "--model", directory, *box, "--masks", "masks.json")
    assert json.loads((tmp_path / "masks.json").read_text())["annotations"]
