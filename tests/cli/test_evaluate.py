import json
import sys

import pytest
from PIL import Image

from conftest import small_config, small_model
from sam_hq import SamHQMaskGenerator, SamHQModel
from sam_hq.evaluation.mask_metrics import mask_iou
from sam_hq.evaluation.segmentation_data import ImageMaskFolder
from sam_hq.hub.conversion import processor_for
from sam_hq_cli.main import main
from training_data import shapes, write_pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    write_pairs(folder / "data", shapes(2))
    small_model("tiny_vit").save_pretrained(folder / "model")
    processor_for(small_config("tiny_vit")).save_pretrained(folder / "model")
    return folder


def test_table_json_and_sheet(folder, capsys):
    words = ["evaluate", "--model", folder / "model", "--data", folder / "data", "--device", "cpu"]
    words += ["--prompts", "box", "points-1", "--protocol", "squashed", "--baselines", "filled-box"]
    words += ["--output", folder / "scores.json", "--contact-sheet", folder / "sheet.png"]
    assert main([str(word) for word in words]) == 0
    table = capsys.readouterr().out
    content = json.loads((folder / "scores.json").read_text())
    rows = {(mean["prompt"], mean["branch"]): mean for mean in content["means"]}
    of_model = {(prompt, branch) for prompt in ("box", "points-1") for branch in ("sam", "hq", "sum")}
    assert set(rows) == {*of_model, ("box", "filled-box")}
    assert all(f"| {mean['miou']:.3f} | {mean['mbiou']:.3f} |" in table for mean in content["means"])
    assert content["settings"]["protocol"] == "squashed"
    assert Image.open(folder / "sheet.png").width >= 240


def test_mask_generation_is_scored_by_the_best_mask_of_the_largest_object(folder, capsys):
    words = ["evaluate", "--model", folder / "model", "--data", folder / "data", "--device", "cpu"]
    words += ["--prompts", "box", "everything", "--points-per-crop", 3, "--output", folder / "found.json"]
    assert main([str(word) for word in words]) == 0
    assert "| everything | sum |" in capsys.readouterr().out
    found = [row for row in json.loads((folder / "found.json").read_text())["objects"] if row["prompt"] == "everything"]
    assert len(found) == 2
    model = SamHQModel.from_pretrained(folder / "model")
    generator = SamHQMaskGenerator(model, processor_for(model.config).image_processor, points_per_crop=3)
    for row, (image, truths) in zip(found, ImageMaskFolder(folder / "data"), strict=True):
        assert row["index"] == max(range(len(truths)), key=lambda number: truths[number].sum())
        masks = generator.generate(image)["masks"]
        assert row["iou"] == max([mask_iou(mask, truths[row["index"]]) for mask in masks], default=0.0)


def test_former_names_of_options_work_with_a_warning(folder, capsys):
    words = ["evaluate", "--model", folder / "model", "--data", folder / "data", "--device", "cpu"]
    assert main([str(word) for word in [*words, "--floors", "filled-box", "--sheet", folder / "cases.png"]]) == 0
    shown = capsys.readouterr()
    assert "filled-box" in shown.out
    assert (folder / "cases.png").is_file()
    assert "--floors is now called --baselines" in shown.err
    assert "--sheet is now called --contact-sheet" in shown.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompts", "boxes"], "unknown prompts ['boxes']"),
        (["--baselines", "otsu"], "unknown baselines ['otsu']"),
        (["--baselines", "grabcut"], "pip install opencv-python-headless"),
        (["--points-per-crop", "0"], "points_per_crop"),
        (["--prompts", "everything", "--contact-sheet", "cases.png"], "must not be everything"),
        (["--seed", "-1"], "seed must be at least 0, got -1"),
        (["--contact-sheet", "cases.xyz"], "--contact-sheet 'cases.xyz' must end in a picture's suffix"),
        (["--output", "."], "it is a directory"),
        (["--images", "photos"], "'photos' is for a COCO file"),
        (["--output", "a.png", "--contact-sheet", "./a.png"], "--output and --contact-sheet are both"),
        (["--data", "in.json", "--output", "./in.json"], "--data and --output are both './in.json'"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_model_is_loaded(folder, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr("sam_hq_cli.model_loading.load_model", None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert main(["evaluate", "--data", str(folder / "data"), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("sam-hq: error: ")
    assert message in error


def test_data_without_a_usable_mask_have_no_scores_to_write(folder, tmp_path, capsys):
    write_pairs(tmp_path / "data", shapes(1))
    for path in (tmp_path / "data").glob("*.png"):
        Image.new("L", (128, 128)).save(path)
    words = ["evaluate", "--model", folder / "model", "--data", tmp_path / "data", "--device", "cpu"]
    assert main([str(word) for word in [*words, "--output", tmp_path / "scores.json"]]) == 2
    assert "no usable mask; skipped" in capsys.readouterr().err
    assert not (tmp_path / "scores.json").exists()


def test_bad_data_is_named(folder, tmp_path, capsys):
    write_pairs(tmp_path, shapes(2))
    (tmp_path / "photo0_0.png").write_bytes(b"no picture")
    words = ["evaluate", "--model", str(folder / "model"), "--data", str(tmp_path), "--device", "cpu"]
    assert main(words) == 0
    assert "photo0_0.png" in capsys.readouterr().out
    assert main([*words, "--on-bad", "raise"]) == 2
    assert "photo0_0.png" in capsys.readouterr().err
