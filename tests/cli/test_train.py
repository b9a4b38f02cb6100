import dataclasses
import json

import pytest
import torch

import sam_hq
from authors_weights import plain_sam, small_authors_weights
from conftest import small_config, small_model
from parity.efficientnet import load_shapes, seeded_weights
from sam_hq.hub.conversion import processor_for
from sam_hq.hub.key_map import our_name
from sam_hq.training.settings import TrainingSettings
from sam_hq_cli.main import main
from sam_hq_cli.train import NUMBERS
from training_data import shapes, write_pairs


@pytest.fixture
def data(tmp_path):
    write_pairs(tmp_path / "data", shapes(3))
    small_config("tiny_vit").save_pretrained(tmp_path)
    return tmp_path


def train(data, *arguments: object) -> int:
    words = ["train", "--data", data / "data", "--output", data / "run", "--batch-size", 2, "--objects", 2]
    words += ["--num-points", 32, "--validate-every", 2, "--log-every", 1, *arguments]
    return main([str(word) for word in words])


def test_from_scratch_then_the_hq_parts_alone(data, capsys):
    assert train(data, "--config", data / "config.json", "--trainable", "sam", "--steps", 2) == 0
    first = sam_hq.SamHQModel.from_pretrained(data / "run" / "last").state_dict()
    (data / "run").rename(data / "stage1")
    arguments = ["--model", data / "stage1" / "last", "--steps", 2, "--validation", data / "data"]
    assert train(data, *arguments, "--prompt-shares", "box=0.5", "points=0.5") == 0
    second = sam_hq.SamHQModel.from_pretrained(data / "run" / "best").state_dict()
    moved = {name.split(".")[1] for name in first if not torch.equal(first[name], second[name])}
    assert moved
    assert all(name.startswith(("hq_", "compress_vit", "encoder_", "mask_conv", "mask_norm")) for name in moved)
    settings = json.loads((data / "run" / "best" / "training.json").read_text())["settings"]
    assert settings["trainable"] == "hq"
    assert settings["prompt_shares"] == {"box": 0.5, "points": 0.5}
    assert "miou" in capsys.readouterr().out


def test_the_same_command_goes_on_where_it_was(data, capsys):
    arguments = ["--config", data / "config.json", "--trainable", "all"]
    assert train(data, *arguments, "--steps", 2) == 0
    assert train(data, *arguments, "--steps", 4) == 0
    assert "resumes from step 2" in capsys.readouterr().out
    lines = (data / "run" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_a_run_goes_on_with_larger_images(data):
    assert train(data, "--config", data / "config.json", "--trainable", "sam", "--steps", 1) == 0
    (data / "run").rename(data / "small")
    assert train(data, "--model", data / "small" / "last", "--image-size", 160, "--steps", 1) == 0
    model = sam_hq.SamHQModel.from_pretrained(data / "run" / "last")
    assert model.config.vision_config.image_size == 160
    assert sam_hq.SamHQProcessor.from_pretrained(data / "run" / "last").image_processor.size == {"longest_edge": 160}


def test_another_size_leaves_the_processors_other_options_alone(data):
    processor = processor_for(small_config("tiny_vit"))
    processor.image_processor.image_mean, processor.image_processor.image_std = [0.4, 0.4, 0.4], [0.2, 0.2, 0.2]
    small_model("tiny_vit").save_pretrained(data / "start")
    processor.save_pretrained(data / "start")
    assert train(data, "--model", data / "start", "--image-size", 160, "--steps", 1) == 0
    options = sam_hq.SamHQProcessor.from_pretrained(data / "run" / "last").image_processor
    assert (options.image_mean, options.image_std) == ([0.4, 0.4, 0.4], [0.2, 0.2, 0.2])
    assert options.pad_size == {"height": 160, "width": 160}
    assert options.mask_size == {"longest_edge": 40}


def test_an_encoder_with_imagenet_weights(data, capsys):
    weights = {name: torch.from_numpy(value) for name, value in seeded_weights(load_shapes("lite0")).items()}
    torch.save(weights, data / "lite0.pth")
    small_model("vit").save_pretrained(data / "start")
    processor_for(small_config("vit")).save_pretrained(data / "start")
    words = ["--model", data / "start", "--encoder-weights", data / "lite0.pth", "--image-size", 64, "--steps", 1]
    assert train(data, *words, "--trainable", "sam") == 0
    vision = sam_hq.SamHQModel.from_pretrained(data / "run" / "last").config.vision_config
    assert (vision.model_type, vision.image_size, vision.output_channels) == ("sam_hq_efficientnet", 64, 32)
    assert "leaves the new encoder" not in capsys.readouterr().err
    (data / "run").rename(data / "trained")
    assert train(data, *words) == 0
    assert "--trainable hq leaves the new encoder as it is" in capsys.readouterr().err
    fields = {"vision_config": {**vision.to_dict(), "num_hidden_layers": [1, 3, 3, 4, 4, 5, 1]}}
    (data / "lite1.json").write_text(json.dumps(fields))
    capsys.readouterr()
    assert train(data, "--config", data / "lite1.json", "--encoder-weights", data / "lite0.pth", "--steps", 1) == 2
    assert "holds lite0, which has" in capsys.readouterr().err


def test_an_authors_file_of_plain_sam_is_a_start_point(data, capsys):
    weights = small_authors_weights(without_hq=True)
    torch.save(weights, data / "sam_vit_s.pth")
    arguments = ["--model", data / "sam_vit_s.pth", "--steps", 1, "--embedding-cache", data / "kept"]
    assert train(data, *arguments) == 0
    assert "plain SAM: its 25 HQ weights are randomly initialised" in capsys.readouterr().err
    trained = sam_hq.SamHQModel.from_pretrained(data / "run" / "last").state_dict()
    assert all(torch.equal(trained[our_name(name)], value) for name, value in weights.items())
    assert len(list((data / "kept").rglob("*.safetensors"))) == 2


def test_transformers_sam_is_a_start_point(data, capsys):
    plain_sam().save_pretrained(data / "sam")
    assert train(data, "--model", data / "sam", "--steps", 1, "--scale-jitter", 0.5, 2) == 0
    assert "plain SAM: its 25 HQ weights are randomly initialised" in capsys.readouterr().err
    settings = json.loads((data / "run" / "last" / "training.json").read_text())["settings"]
    assert settings["scale_jitter"] == [0.5, 2.0]


def test_bars_are_drawn_where_a_person_watches(data, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    arguments = ["--config", data / "config.json", "--steps", 2, "--validation", data / "data"]
    assert train(data, *arguments, "--trainable", "sam") == 0
    shown = capsys.readouterr()
    assert "training: 100%" in shown.err
    assert "validation:" in shown.err
    assert "step 2/2: " in shown.out
    (data / "run").rename(data / "before")
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    assert train(data, *arguments, "--trainable", "sam") == 0
    assert "training:" not in capsys.readouterr().err


def test_bad_data_in_another_process_is_one_line_too(data, capsys):
    for path in (data / "data").glob("*.png"):
        path.write_bytes(b"no picture")
    arguments = [
        "--config",
        data / "config.json",
        "--trainable",
        "sam",
        "--steps",
        1,
        "--workers",
        1,
        "--on-bad",
        "raise",
    ]
    assert train(data, *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("sam-hq: error: photo")
    assert error.endswith("unreadable mask (UnidentifiedImageError)\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "a", "--config", "b"], "not both"),
        (["--config", "b", "--steps", "0"], "steps must be at least 1"),
        (["--config", "b", "--prompt-shares", "box=much"], "KIND=SHARE"),
        (["--prompt-shares", "box=0.5", "box=1"], "box more than once"),
        (["--model", "nowhere"], "model is 'nowhere', but there is no such directory"),
        (["--validation-images", "photos"], "'photos' needs --validation"),
        (["--image-size", "-64"], "image_size is -64, which is not a positive multiple of"),
        (["--config", "b", "--data", "nowhere"], "nowhere"),
        (["--config", "b", "--images", "photos"], "'photos' is for a COCO file"),
        (["--model", "nothing.pth"], "nothing.pth"),
        (["--config", "nothing.json"], "nothing.json"),
        (["--prompt-shares", "box=nan"], "prompt_shares['box'] must be finite, got nan"),
        (["--trainable", "all", "--embedding-cache", "kept"], "needs a frozen encoder"),
    ],
)
def test_bad_input_is_one_line(data, capsys, arguments, message):
    assert train(data, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("content", "message"), [("{no", "is not JSON"), ("[]", "must hold an object, got list")])
def test_a_config_that_is_none_is_refused_by_name(data, capsys, content, message):
    (data / "other.json").write_text(content)
    assert train(data, "--config", data / "other.json") == 2
    assert f"other.json' {message}" in capsys.readouterr().err


NUMBER_TYPES = ("int", "float", "float | None")


def test_help_names_the_default_of_every_number():
    fields = {field.name: field.default for field in dataclasses.fields(TrainingSettings)}
    for name, kind, text in NUMBERS:
        if fields[name] is not None:
            assert type(fields[name]) is kind
            assert f"({fields[name]:g})" in text, name
    numbers = {field.name for field in dataclasses.fields(TrainingSettings) if field.type in NUMBER_TYPES}
    assert {name for name, _, _ in NUMBERS} == numbers
