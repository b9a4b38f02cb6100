"""Training in two processes on a CPU: shared gradients, shared validation, one log, exact resumption."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.run import main as torchrun

from conftest import REPOSITORY, small_config
from sam_hq import SamHQModel, SamHQProcessor
from sam_hq.evaluation import PromptedModel, evaluate
from sam_hq.evaluation.segmentation_data import ImageMaskFolder
from training_data import shapes, write_pairs

pytestmark = pytest.mark.slow


@pytest.fixture
def train(tmp_path, monkeypatch):
    write_pairs(tmp_path / "data", shapes(5))
    write_pairs(tmp_path / "validation", shapes(3, seed=1))
    small_config("tiny_vit").save_pretrained(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(REPOSITORY / "src"), os.environ.get("PYTHONPATH", "")]))

    def run(output: str, steps: int, processes: int = 2) -> None:
        folders = ["--data", tmp_path / "data", "--validation", tmp_path / "validation", "--output", tmp_path / output]
        sizes = ["--batch-size", 4 // processes, "--objects", 2, "--num-points", 32, "--validate-every", 2]
        words = ["train", "--config", tmp_path / "config.json", *folders, *sizes, "--log-every", 1, "--warmup", 1]
        command = ["--standalone", "--nproc-per-node", processes, "-m", "sam_hq_cli.main", *words]
        torchrun([str(word) for word in [*command, "--trainable", "all", "--ema-decay", 0.9, "--steps", steps]])

    return run


def test_two_processes_train_validate_and_resume_as_one_run(tmp_path, train):
    train("whole", 4)
    train("parts", 2)
    train("parts", 4)
    lines = (tmp_path / "whole" / "log.jsonl").read_text()
    assert lines == (tmp_path / "parts" / "log.jsonl").read_text()
    measures = [json.loads(line) for line in lines.splitlines()]
    assert [line["step"] for line in measures if "loss" in line] == [1, 2, 3, 4]
    assert [line["step"] for line in measures if "validation_sam_miou" in line] == [2, 4]
    whole, parts = (load_file(tmp_path / run / "last" / "model.safetensors") for run in ("whole", "parts"))
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())
    # Each process scored a part of the photos with the weights that the first one saved.
    saved = PromptedModel(*(part.from_pretrained(tmp_path / "whole" / "last") for part in (SamHQModel, SamHQProcessor)))
    miou, mbiou, _ = evaluate(saved, ImageMaskFolder(tmp_path / "validation")).means()["box", "sum"]
    assert (miou, mbiou) == pytest.approx((measures[-1]["validation_miou"], measures[-1]["validation_mbiou"]), abs=1e-6)
