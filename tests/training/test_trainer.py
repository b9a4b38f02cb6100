"""The training loop: it learns, resumes exactly, trains what it is told, and saves what can be loaded."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sam_hq
from conftest import small_config
from sam_hq.evaluation import PromptedModel, evaluate
from sam_hq.evaluation.segmentation_data import ImageMaskFolder
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


def trainer(folder, model=None, validation=None, images=None, report=None, progress=None, **changes) -> Trainer:
    settings = dataclasses.replace(SETTINGS, **changes)
    images = images or shapes(6)
    return Trainer(model or fresh_model(), processor(), images, folder, settings, validation, report, progress)


def state_of(run: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.unwrapped_step().model.state_dict().items()}


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


def test_the_encoders_stages_train_at_a_rate_of_their_own(tmp_path):
    moved = {}
    for rate in (1e-3, 1e-5):
        model = fresh_model("efficientnet")
        before = {name: value.clone() for name, value in model.named_parameters()}
        changes = {"steps": 1, "warmup": 0, "weight_decay": 0.0, "encoder_learning_rate": rate}
        trainer(tmp_path / str(rate), model, **changes).train()
        after = dict(model.named_parameters())
        moved[rate] = {name: (after[name] - value).abs().max().item() for name, value in before.items()}
    # Adam's first step is about as long as the rate, wherever there is a gradient.
    for name in ("vision_encoder.patch_embed.conv1.conv.weight", "vision_encoder.stages.3.0.project.conv.weight"):
        assert moved[1e-3][name] == pytest.approx(100 * moved[1e-5][name], rel=0.05)
    for name in ("vision_encoder.neck.conv1.weight", "vision_encoder.fusion.lateral16.weight"):
        assert moved[1e-3][name] == pytest.approx(moved[1e-5][name], rel=0.05)


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
    assert not list((tmp_path / "run").glob("*.partial"))


@pytest.mark.parametrize(("trainable", "also_sam"), [("hq", True), ("sam", False)])
def test_with_hq_parts_the_validation_tells_sams_mask_from_the_sum(tmp_path, trainable, also_sam):
    write_pairs(tmp_path / "data", shapes(3, seed=1))
    seen = []
    validation = ImageMaskFolder(tmp_path / "data")
    run = trainer(
        tmp_path / "run", validation=validation, progress=lambda *step: seen.append(step), trainable=trainable, steps=1
    )
    quality = run.train()
    assert set(quality) == {"miou", "mbiou"} | ({"sam_miou", "sam_mbiou"} if also_sam else set())
    model = sam_hq.SamHQModel.from_pretrained(tmp_path / "run" / "last")
    report = evaluate(PromptedModel(model, processor()), ImageMaskFolder(tmp_path / "data"))
    means = report.means()
    assert quality["miou"] == pytest.approx(means["box", "sum" if also_sam else "sam"][0])
    if also_sam:
        assert quality["sam_mbiou"] == pytest.approx(means["box", "sam"][1])
        assert quality["sam_miou"] != quality["miou"]
    assert seen == [("training", 1, 1), *[("validation", done, 3) for done in (1, 2, 3)]]


def test_four_images_are_learnt_by_heart(tmp_path):
    torch.manual_seed(0)
    images = large_shapes(4)
    model = fresh_model("vit")
    settings = TrainingSettings(
        trainable="all",
        steps=100,
        batch_size=4,
        objects=1,
        learning_rate=4e-3,
        warmup=20,
        num_points=512,
        prompt_shares={"box": 1.0},
        smallest_crop=1.0,
        decay_share=0.5,
        validate_every=100,
        weight_decay=0.0,
    )
    Trainer(model, processor(), images, tmp_path, settings).train()
    write_pairs(tmp_path / "data", images)
    means = evaluate(PromptedModel(model.eval(), processor()), ImageMaskFolder(tmp_path / "data")).means()
    assert means["box", "sum"][0] > 0.98
    assert means["box", "sam"][0] > 0.95
    assert means["box", "hq"][0] > 0.95  # trained on its own, so that it is usable without SAM's mask


@pytest.mark.parametrize(("trainable", "alone"), [("hq", True), ("lora", True), ("sam", False)])
def test_hq_parts_that_were_a_correction_only_are_usable_alone_after_training(tmp_path, trainable, alone):
    model = fresh_model()
    model.config.hq_token_trained_alone = False
    trainer(tmp_path, model, trainable=trainable, steps=1).train()
    assert sam_hq.SamHQConfig.from_pretrained(tmp_path / "last").hq_token_trained_alone is alone


@pytest.mark.parametrize("trainable", ["hq", "all"])
def test_bf16_trains_without_nan_and_saves_float32(tmp_path, any_precision, trainable):
    run = trainer(tmp_path, trainable=trainable, precision="bf16", steps=4, ema_decay=0.9)
    before = state_of(run)
    dtypes = []
    run.unwrapped_step().plain_model.mask_decoder.encoder_conv1.register_forward_hook(
        lambda *call: dtypes.append(call[2].dtype)
    )
    run.train()
    assert set(dtypes) == {torch.bfloat16}
    after = state_of(run)
    assert all(value.isfinite().all() for value in after.values())
    assert not torch.equal(before["mask_decoder.mask_conv1.weight"], after["mask_decoder.mask_conv1.weight"])
    saved = sam_hq.SamHQModel.from_pretrained(tmp_path / "last")
    assert {value.dtype for value in saved.state_dict().values() if value.is_floating_point()} == {torch.float32}
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(math.isfinite(line["loss"]) for line in lines)


def test_a_gradient_that_is_not_finite_stops_the_run_before_the_weights_take_it(tmp_path):
    run = trainer(tmp_path, trainable="hq")
    before = state_of(run)
    run.unwrapped_step().model.mask_decoder.hq_token.weight.register_hook(lambda gradient: gradient * torch.inf)
    with pytest.raises(FloatingPointError, match="gradient of step 0"):
        run.train()
    assert all(torch.equal(value, before[name]) for name, value in state_of(run).items())


@pytest.mark.parametrize("workers", [0, 2])
def test_bad_training_data_is_named_and_counted_once_whoever_reads_it(tmp_path, workers):
    write_pairs(tmp_path / "data", shapes(4))
    masks = sorted((tmp_path / "data").glob("photo[01]_*.png"))
    for path in masks:
        Image.fromarray(np.zeros((128, 128), np.uint8)).save(path)
    lines = []
    settings = dataclasses.replace(SETTINGS, trainable="hq", workers=workers)
    images = ImageMaskFolder(tmp_path / "data")
    run = Trainer(fresh_model(), processor(), images, tmp_path / "run", settings, report=lines.append)
    run.train()
    with pytest.warns(FutureWarning, match="left_out is now called skipped"):
        assert run.left_out is run.skipped
    assert run.skipped.counts == {"empty mask": len(masks)}
    assert sorted(run.skipped.cases["empty mask"]) == [path.name for path in masks]
    assert sum("skipped photo" in line for line in lines) == 1


def test_a_run_says_what_changed_and_refuses_what_cannot_go_on(tmp_path):
    trainer(tmp_path, trainable="hq").train(stop_after=3)
    lines = []
    changes = {"trainable": "hq", "learning_rate": 1e-4, "accumulation": 2}
    again = trainer(tmp_path, report=lines.append, **changes)
    assert again.resume() == 3
    assert len(lines) == 1
    assert "accumulation 1 -> 2" in lines[0]
    assert "learning_rate 0.001 -> 0.0001" in lines[0]
    again.train()
    trainer(tmp_path, report=lines.append, images=shapes(5), **changes).resume()
    assert "training_images 6 (" in lines[-1]
    assert "-> 5 (" in lines[-1]
    for changes, name in (({"trainable": "all"}, "trainable"), ({"ema_decay": 0.5}, "ema_decay")):
        with pytest.raises(ValueError, match=f"its {name} is .* name a new output folder"):
            trainer(tmp_path, **{"trainable": "hq", **changes}).resume()
    other = trainer(tmp_path, fresh_model("vit"), trainable="hq")
    with pytest.raises(ValueError, match="is it of another model"):
        other.resume()


def test_what_a_killed_run_left_behind_is_cleared_away(tmp_path):
    whole = trainer(tmp_path / "whole", trainable="hq")
    whole.train()
    trainer(tmp_path / "run", trainable="hq").train(stop_after=3)
    with (tmp_path / "run" / "log.jsonl").open("a") as log:
        log.write('{"step": 4, "loss": 1.0}\n{"step": 5, "lo')  # beyond the state, and cut off
    for name in ("state_0000006.partial", "last.partial"):
        (tmp_path / "run" / name).mkdir()
        (tmp_path / "run" / name / "junk").write_text("half")
    again = trainer(tmp_path / "run", trainable="hq")
    assert again.resume() == 3
    again.train()
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "run")
    ]
    assert logs[0] == logs[1]
    assert not list((tmp_path / "run").glob("*.partial"))


def test_a_run_killed_before_its_first_state_is_logged_once(tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    run = trainer(tmp_path, trainable="hq")
    assert run.resume() == 0
    run.train()
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4, 5, 6]


def test_best_is_chosen_anew_on_other_validation_images(tmp_path):
    sets = []
    for count in (2, 3):
        write_pairs(tmp_path / f"validation{count}", shapes(count))
        sets.append(ImageMaskFolder(tmp_path / f"validation{count}"))
    trainer(tmp_path / "run", validation=sets[0], trainable="hq").train(stop_after=3)
    same = trainer(tmp_path / "run", validation=sets[0], trainable="hq")
    same.resume()
    assert math.isfinite(same.progress.best)
    lines = []
    other = trainer(tmp_path / "run", validation=sets[1], report=lines.append, trainable="hq")
    other.resume()
    assert "validation_images 2 (" in lines[0]
    assert other.progress.best == -math.inf
    other.train()
    assert json.loads((tmp_path / "run" / "best" / "training.json").read_text())["step"] == 6


def test_trackers_get_numbers_and_texts_alone(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr("accelerate.Accelerator.init_trackers", lambda self, name, config: given.update(config))
    run = trainer(tmp_path, trainable="hq", steps=1, prompt_shares={"box": 1.0}, scale_jitter=(0.5, 1.0))
    run.settings.trackers = ("tensorboard",)
    run.train()
    assert given["learning_rate"] == 1e-3
    assert given["prompt_shares"] == "{'box': 1.0}"
    assert all(isinstance(value, int | float | str) for value in given.values())


def test_a_tracker_that_is_not_installed_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sam_hq.training.run_report.get_available_trackers", lambda: ["tensorboard"])
    with pytest.raises(ValueError, match=r"trackers \['wandb'\] are .* not installed; installed are \['tensorboard'\]"):
        trainer(tmp_path, trackers=("tensorboard", "wandb"))


def test_validation_data_without_a_usable_mask_are_refused_before_training(tmp_path):
    write_pairs(tmp_path / "data", shapes(1))
    for path in (tmp_path / "data").glob("*.png"):
        Image.new("L", (128, 128)).save(path)
    with pytest.raises(ValueError, match=r"validation data have no usable mask; skipped .* empty mask"):
        trainer(tmp_path / "run", validation=ImageMaskFolder(tmp_path / "data"))
    assert not (tmp_path / "run").exists()


def test_a_processor_for_another_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="pads to 1024 x 1024 pixels, but the model takes 128 x 128"):
        Trainer(fresh_model(), sam_hq.SamHQProcessor(sam_hq.SamHQImageProcessor()), shapes(1), tmp_path, SETTINGS)


def test_images_are_normalised_as_the_processor_does(tmp_path):
    other = processor()
    other.image_processor.image_mean, other.image_processor.image_std = [0.5] * 3, [0.25] * 3
    images = large_shapes(1)
    settings = dataclasses.replace(SETTINGS, whole_images=True, batch_size=1)
    batch = Trainer(fresh_model(), other, images, tmp_path, settings).batches[0]
    torch.testing.assert_close(batch["pixel_values"], other(images[0][0], return_tensors="pt")["pixel_values"])


def test_a_loss_that_is_not_finite_stops_the_run_by_name(tmp_path):
    run = trainer(tmp_path)
    with torch.no_grad():
        run.unwrapped_step().model.mask_decoder.hq_token.weight.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="loss of step 0"):
        run.train()


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding_cache": Path("cache"), "trainable": "hq"},
        {"steps": np.int64(5)},
        {"learning_rate": np.float32(1e-3)},
        {"whole_images": np.bool_(True)},
        {"prompt_shares": {"box": np.float32(1)}},
        {"scale_jitter": (np.float16(0.5), np.float64(2.0))},
    ],
)
def test_settings_of_any_type_that_is_taken_are_saved(changes):
    settings = dataclasses.replace(SETTINGS, **changes)
    plain = json.loads(json.dumps(settings.plain()))
    assert dataclasses.replace(settings, **{name: plain[name] for name in changes}).plain() == plain


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trainable": "everything"}, "trainable"),
        ({"steps": 0}, "steps"),
        ({"prompt_shares": {"box": 0.5}}, "add up to 1"),
        ({"prompt_shares": {"box": 0.5, "scribbles": 0.5}}, "scribbles"),
        ({"prompt_shares": {"box": 1.5, "points": -0.5}}, "negative"),
        ({"prompt_shares": {"box": float("nan")}}, "prompt_shares"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"clip_norm": float("nan")}, "clip_norm"),
        ({"smallest_crop": 0.0}, "smallest_crop"),
        ({"encoder_learning_rate": 0.0}, "encoder_learning_rate"),
        ({"damage_share": 1.5}, "damage_share"),
        ({"damage_share": 0.5, "whole_images": True}, "whole_images takes images as they are, so damage_share"),
        ({"scale_jitter": (2.0, 0.1)}, "scale_jitter"),
        ({"scale_jitter": (0.1, 2.0), "whole_images": True}, "whole_images"),
        ({"keep_checkpoints": 0}, "keep_checkpoints"),
        ({"workers": -1}, "workers"),
        ({"steps": 2.5}, "steps must be a whole number, got 2.5"),
        ({"steps": "1000"}, "steps must be a whole number, got '1000'"),
        ({"batch_size": None}, "batch_size must be a whole number, got None"),
        ({"seed": True}, "seed must be a whole number, got True"),
        ({"learning_rate": "1e-3"}, "learning_rate must be a number, got '1e-3'"),
        ({"weight_decay": float("nan")}, "weight_decay must be finite, got nan"),
        ({"ema_decay": [0.9]}, r"ema_decay must be a number, got \[0.9\]"),
        ({"smallest_crop": "all"}, "smallest_crop must be a number, got 'all'"),
        ({"prompt_shares": {"box": "1"}}, r"prompt_shares\['box'\] must be a number, got '1'"),
        ({"scale_jitter": 2.0}, "scale_jitter must be two shares, got 2.0"),
        ({"scale_jitter": (0.1, "2")}, "scale_jitter must be a number, got '2'"),
        ({"whole_images": "no"}, "whole_images must be True or False, got 'no'"),
        ({"gradient_checkpointing": 1}, "gradient_checkpointing must be True or False, got 1"),
        ({"prompt_shares": ["box"]}, r"prompt_shares must be a dictionary of kinds and shares, got \['box'\]"),
        ({"prompt_shares": "box"}, "prompt_shares must be a dictionary of kinds and shares, got 'box'"),
        ({"trackers": "tensorboard"}, "trackers must be a list of names, got 'tensorboard'"),
        ({"trackers": 5}, "trackers must be a list of names, got 5"),
        ({"embedding_cache": 5, "trainable": "hq"}, "embedding_cache must be the path of a folder, got 5"),
        ({"embedding_cache": "", "trainable": "hq"}, "embedding_cache must be the path of a folder, got ''"),
    ],
)
def test_senseless_settings_are_refused(changes, message):
    with pytest.raises((ValueError, TypeError), match=message):
        dataclasses.replace(SETTINGS, **changes)
