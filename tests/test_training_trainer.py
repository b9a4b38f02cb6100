"""The training loop: it learns, resumes exactly, trains what it is told, and saves what can be loaded."""

import dataclasses
import json

import pytest
import torch

import sam_hq
from conftest import small_config
from sam_hq.segmentation_data import ImageMaskFolder
from sam_hq.training.initialisation import start_from_scratch
from sam_hq.training.settings import TrainingSettings
from sam_hq.training.trainer import Trainer
from training_data import large_shapes, shapes, write_pairs

SETTINGS = TrainingSettings(
    trainable="all", steps=6, batch_size=2, objects=2, num_points=64, validate_every=3, log_every=1, warmup=2
)


def processor() -> sam_hq.SamHQProcessor:
    return sam_hq.SamHQProcessor(
        sam_hq.SamHQImageProcessor(
            size={"longest_edge": 128}, pad_size={"height": 128, "width": 128}, mask_size={"longest_edge": 32}
        )
    )


def fresh_model(backbone: str = "tiny_vit") -> sam_hq.SamHQModel:
    return start_from_scratch(sam_hq.SamHQModel(small_config(backbone)))


def trainer(folder, model=None, validation=None, **changes) -> Trainer:
    settings = dataclasses.replace(SETTINGS, **changes)
    return Trainer(model or fresh_model(), processor(), shapes(6), folder, settings, validation)


def state_of(run: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run._own().model.state_dict().items()}


def test_an_interrupted_run_resumes_bit_for_bit(tmp_path):
    changes = {"ema_decay": 0.9, "accumulation": 2, "prompt_shares": {"box": 0.5, "clicks": 0.25, "mask": 0.25}}
    whole = trainer(tmp_path / "whole", **changes)
    whole.train()
    first = trainer(tmp_path / "parts", **changes)
    first.train(stop_after=3)
    second = trainer(tmp_path / "parts", **changes)
    assert second.resume() == 3
    second.train()
    expected, resumed = state_of(whole), state_of(second)
    assert all(torch.equal(expected[name], resumed[name]) for name in expected)
    assert all(torch.equal(value, second.mean.mean[name]) for name, value in whole.mean.mean.items())
    moments = [run.optimizer.state_dict()["state"] for run in (whole, second)]
    assert all(torch.equal(moments[0][k]["exp_avg_sq"], moments[1][k]["exp_avg_sq"]) for k in moments[0])
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / run / "log.jsonl").read_text().splitlines()]
        for run in ("whole", "parts")
    ]
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("trainable", "moved", "still"),
    [
        ("hq", ["mask_decoder.hq_token", "mask_decoder.mask_conv1"], ["vision_encoder", "mask_decoder.transformer"]),
        ("decoder", ["mask_decoder.transformer", "mask_decoder.hq_token"], ["vision_encoder"]),
        ("sam", ["vision_encoder", "mask_decoder.transformer"], ["mask_decoder.mask_conv1", "mask_decoder.hq_mask"]),
        ("all", ["vision_encoder", "prompt_encoder.point_embed", "mask_decoder.compress_vit"], []),
    ],
)
def test_only_what_is_chosen_is_trained(tmp_path, trainable, moved, still):
    run = trainer(tmp_path, trainable=trainable, steps=2, warmup=0)
    before = state_of(run)
    run.train()
    after = state_of(run)

    def changed(prefix):
        return any(not torch.equal(before[k], after[k]) for k in before if k.startswith(prefix))

    assert all(changed(prefix) for prefix in moved)
    assert not any(changed(prefix) for prefix in still)  # batch norm's statistics included


def test_the_best_checkpoint_is_kept_and_loads(tmp_path):
    write_pairs(tmp_path / "data", shapes(3, seed=1))
    run = trainer(tmp_path / "run", validation=ImageMaskFolder(tmp_path / "data"))
    quality = run.train()
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    validations = [line for line in lines if "validation_miou" in line]
    assert [line["step"] for line in validations] == [3, 6]
    best = max(validations, key=lambda line: line["validation_miou"] + line["validation_mbiou"])
    noted = json.loads((tmp_path / "run" / "best" / "training.json").read_text())
    assert (noted["step"], noted["miou"]) == (best["step"], best["validation_miou"])
    assert 0 <= quality["miou"] <= 1
    last = sam_hq.SamHQModel.from_pretrained(tmp_path / "run" / "last")
    assert all(torch.equal(value, last.state_dict()[name]) for name, value in state_of(run).items())
    sam_hq.SamHQProcessor.from_pretrained(tmp_path / "run" / "last")
    assert len(list((tmp_path / "run").glob("state_*"))) == 2


def test_four_images_are_learnt_by_heart(tmp_path):
    torch.manual_seed(0)
    images = large_shapes(4)
    model = fresh_model()
    settings = TrainingSettings(
        trainable="all",
        steps=200,
        batch_size=4,
        objects=1,
        learning_rate=4e-3,
        warmup=20,
        num_points=512,
        prompt_shares={"box": 1.0},
        smallest_crop=1.0,
        decay_share=0.5,
        validate_every=200,
        weight_decay=0.0,
    )
    Trainer(model, processor(), images, tmp_path, settings).train()
    write_pairs(tmp_path / "data", images)
    run = Trainer(model, processor(), images, tmp_path / "again", settings, ImageMaskFolder(tmp_path / "data"))
    assert run.validate()["miou"] > 0.98


def test_a_loss_that_is_not_finite_stops_the_run_by_name(tmp_path):
    run = trainer(tmp_path)
    with torch.no_grad():
        run._own().model.mask_decoder.hq_token.weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="loss of step 0"):
        run.train()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainable": "everything"}, "trainable"),
        ({"steps": 0}, "steps"),
        ({"prompt_shares": {"box": 0.5}}, "add up to 1"),
        ({"learning_rate": -1.0}, "learning_rate"),
    ],
)
def test_senseless_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SETTINGS, **changes)
