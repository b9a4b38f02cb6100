"""A run's folder recovers from a kill at any moment, always has a best checkpoint, and runs no code on resuming."""

import contextlib
import json
import os
import shutil
import warnings

import numpy as np
import pytest
import torch

import sam_hq
from conftest import small_config
from sam_hq.training.run_folder import RunFolder
from sam_hq.training.settings import TrainingSettings
from sam_hq.training.trainer import Trainer

SETTINGS = TrainingSettings(steps=2, batch_size=1, objects=1, num_points=16, validate_every=1, warmup=1)


def trained(folder):
    options = {"size": {"longest_edge": 128}, "pad_size": {"height": 128, "width": 128}}
    processor = sam_hq.SamHQProcessor(sam_hq.SamHQImageProcessor(**options, mask_size={"longest_edge": 32}))
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((1, 64, 64), bool)
    mask[:, 10:50, 10:50] = True
    return Trainer(sam_hq.SamHQModel(small_config("tiny_vit")), processor, [(image, mask)] * 2, folder, SETTINGS)


class Stand:
    """What `save_checkpoint` saves; killed where asked."""

    def __init__(self, mark):
        self.mark = mark

    def save_pretrained(self, folder):
        folder.mkdir(exist_ok=True)
        (folder / "mark").write_text(self.mark)


@pytest.mark.parametrize("killed_at", range(6))
def test_a_kill_between_any_two_steps_leaves_a_whole_checkpoint(killed_at, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.save_checkpoint("best", Stand("old"), Stand("old"), {})

    class Killed(BaseException):
        pass

    steps = iter(range(100))

    def counted(function):
        def step(*args, **options):
            if next(steps) >= killed_at:
                raise Killed
            return function(*args, **options)

        return step

    with monkeypatch.context() as patched:
        for name in ("rename", "mkdir", "replace"):
            patched.setattr(os, name, counted(getattr(os, name)))
        patched.setattr(shutil, "rmtree", counted(shutil.rmtree))
        with contextlib.suppress(Killed):
            folder.save_checkpoint("best", Stand("new"), Stand("new"), {})
    RunFolder(tmp_path)
    assert (tmp_path / "best" / "mark").read_text() in ("old", "new")
    assert not list(tmp_path.glob("*.old.partial"))


def test_there_is_a_best_without_validation_and_states_run_no_code(tmp_path):
    run = trained(tmp_path)
    run.train(stop_after=1)
    first = sam_hq.SamHQModel.from_pretrained(tmp_path / "best").state_dict()
    again = trained(tmp_path)
    assert again.resume() == 1
    again.train()
    last, best = (sam_hq.SamHQModel.from_pretrained(tmp_path / name).state_dict() for name in ("last", "best"))
    assert all(torch.equal(last[name], best[name]) for name in last)
    assert any(not torch.equal(first[name], best[name]) for name in first)
    assert json.loads((tmp_path / "best" / "training.json").read_text())["step"] == 2

    (state,) = [path for path in RunFolder(tmp_path).states() if path.name.endswith("2")]
    for victim in (*state.glob("custom_checkpoint_*.pkl"), state / "optimizer.bin"):
        kept = victim.read_bytes()
        torch.save({"state": RunsCode(tmp_path / "ran")}, victim)
        with pytest.raises(ValueError, match="cannot resume from"):
            trained(tmp_path).resume()
        assert not (tmp_path / "ran").exists(), victim.name
        victim.write_bytes(kept)


def test_a_damaged_state_or_another_model_is_said(tmp_path):
    torch.manual_seed(0)
    trained(tmp_path).train(stop_after=1)
    (state,) = RunFolder(tmp_path).states()
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="the run in")
        assert trained(tmp_path).resume() == 1
    torch.manual_seed(1)
    with pytest.warns(UserWarning, match=r"state_0000001' began with other weights than those given now"):
        assert trained(tmp_path).resume() == 1
    damaged = [path for path in state.iterdir() if path.suffix in (".safetensors", ".bin", ".json")]
    damaged += list(state.glob("custom_checkpoint_*.pkl"))
    assert len(damaged) >= 4
    for path in damaged:
        kept = path.read_bytes()
        for share in (0, 0.5):
            path.write_bytes(kept[: int(len(kept) * share)])
            with pytest.raises(ValueError, match=str(state)):
                trained(tmp_path).resume()
        path.write_bytes(kept)
    assert trained(tmp_path).resume() == 1


def test_what_a_killed_run_left_half_written_is_no_part_of_the_next_state(tmp_path):
    for name in ("state_0000001.partial", "state_0000009.partial", "best.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "custom_checkpoint_7.pkl").write_bytes(b"of a run with a running mean")
    trained(tmp_path).train(stop_after=1)
    assert not list(tmp_path.glob("*.partial"))
    assert trained(tmp_path).resume() == 1


def test_states_are_in_the_order_of_their_steps(tmp_path):
    for name in ("state_9999999", "state_10000000", "state_0000002.partial", "state_notes", "state_0000003.old"):
        (tmp_path / name).mkdir()
    assert [path.name for path in RunFolder(tmp_path).states()] == ["state_9999999", "state_10000000"]


class RunsCode:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (os.mkdir, (str(self.marker),))
