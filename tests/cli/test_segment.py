import io
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO
from safetensors.torch import load_file, save_file

import sam_hq
from conftest import PHOTOS, small_config
from sam_hq.hub.conversion import processor_for
from sam_hq_cli.main import main
from sam_hq_cli.mask_files import write_masks
from sam_hq_numpy.overlays import object_color

PHOTO = PHOTOS / "scissors.png"


def segment(directory, *arguments: object) -> int:
    words = ["segment", str(PHOTO), "--model", str(directory), "--device", "cpu", *map(str, arguments)]
    return main(words)


def expected(directory, multimask=False, hq_token_only=False, **prompts):
    model = sam_hq.SamHQModel.from_pretrained(directory)
    processor = sam_hq.SamHQProcessor.from_pretrained(directory)
    inputs = processor(Image.open(PHOTO), **prompts)
    with torch.no_grad():
        outputs = model(**inputs, multimask_output=multimask, hq_token_only=hq_token_only)
    masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"])[
        0
    ]
    return masks.numpy(), outputs.iou_scores[0].numpy()


@pytest.mark.parametrize("multimask", [False, True])
@pytest.mark.parametrize("hq_token_only", [False, True])
def test_the_masks_are_those_of_the_model(directory, tmp_path, multimask, hq_token_only):
    flags = ["--multimask"] * multimask + ["--hq-token-only"] * hq_token_only
    file = tmp_path / "masks.npz"
    assert segment(directory, "--box", 20, 30, 200, 220, "--point", 90, 90, *flags, "--masks", file) == 0
    masks, scores = expected(
        directory,
        multimask,
        hq_token_only,
        input_boxes=[[[20, 30, 200, 220]]],
        input_points=[[[[90, 90]]]],
    )
    found = np.load(file)
    np.testing.assert_array_equal(found["masks"], masks)
    np.testing.assert_allclose(found["scores"], scores, atol=1e-5)


def test_several_boxes_are_several_objects(directory, tmp_path, capsys):
    file = tmp_path / "masks.npz"
    boxes = [[20, 30, 200, 220], [100, 10, 300, 90]]
    words = [word for box in boxes for word in ("--box", *box)]
    assert segment(directory, *words, "--negative-point", 250, 50, "--masks", file) == 0
    masks, _ = expected(directory, input_boxes=[boxes], input_points=[[[], [[250, 50]]]], input_labels=[[[], [0]]])
    np.testing.assert_array_equal(np.load(file)["masks"], masks)
    out = capsys.readouterr().out
    assert out.count("object 1: score") == out.count("object 2: score") == 1
    assert all(word in out for word in ("load ", "image ", "prompts ", " s\n", f"wrote    {file}"))


def test_without_a_prompt_there_is_one_object_and_an_overlay(directory, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert segment(directory) == 0
    captured = capsys.readouterr()
    printed = captured.out
    assert "the object is of the model's own choice" in captured.err
    assert printed.count("score") == 1
    assert "wrote    scissors.segmented.jpg" in printed
    assert os.listdir(tmp_path) == ["scissors.segmented.jpg"]
    assert segment(directory, "--quiet", "--output", tmp_path / "out.PNG") == 0
    assert capsys.readouterr() == ("", "")


def test_several_images_patterns_standard_input_and_json(directory, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--model", str(directory), "--device", "cpu", "--box", "20,30,100,120", "--box=5,6,50,70"]
    for name in ("kitten.jpg", "koala.jpg"):
        shutil.copy(PHOTOS / name, tmp_path)
    for _ in range(2):
        assert main(["segment", "*.jpg", *words]) == 0
    written = ["kitten.jpg", "kitten.segmented.jpg", "koala.jpg", "koala.segmented.jpg"]
    assert sorted(os.listdir(tmp_path)) == written
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", type("Stdin", (), {"buffer": io.BytesIO((PHOTOS / "panda.jpg").read_bytes())}))
    assert main(["segment", "kitten.jpg", "-", *words, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file_name"] for line in lines] == ["kitten.jpg", "stdin"]
    assert all(len(line["objects"]) == 2 and "predicted_iou" in line["objects"][0] for line in lines)
    (tmp_path / "run.1").mkdir()  # a folder whatever its name ends in
    assert main(["segment", "k*a*.jpg", "kitten.jpg", *words, "--output", "run.1"]) == 0
    assert sorted(os.listdir(tmp_path / "run.1")) == ["kitten.segmented.jpg", "koala.segmented.jpg"]
    kinds = (("coco-polygons", "json"), ("labelme", "json"), ("geojson", "geojson"), ("yolo", "txt"), ("cutout", "png"))
    for kind, suffix in kinds:
        assert main(["segment", "*.jpg", *words, "--masks", kind, "--masks-format", kind]) == 0
        assert sorted(os.listdir(tmp_path / kind)) == [f"kitten.{suffix}", f"koala.{suffix}"]
    assert main(["segment", "*.jpg", *words, "--output", "one.png"]) == 2
    assert "--output 'one.png' must be a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["*.png", "--masks", "."],  # each over its own image
        ["a*.png", "--masks", "./a.png"],
        ["a.png", "b.png", "--masks", "folder/.."],
        ["a*.png", "--output", "b.png", "--masks", "b.png"],
        ["a.png", "folder/a.png", "--masks", "out"],  # both over one
    ],
)
def test_no_image_is_overwritten_whatever_it_is_called(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("a.png", "b.png", "folder/a.png"):
        Image.open(PHOTO).save(tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    monkeypatch.setattr("sam_hq_cli.model_loading.load_model", None)
    assert main(["segment", *words, "--box", "20", "30", "100", "120"]) == 2
    assert "one would overwrite the other" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


@pytest.mark.parametrize("height", [1, 3])
def test_images_of_one_or_three_rows_have_masks_of_their_size(directory, tmp_path, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "strip.png")
    words = [tmp_path / "strip.png", "--model", directory, "--box", 10, 0, 50, height, "--masks", tmp_path / "m.npz"]
    assert main(["segment", *map(str, words), "--device", "cpu"]) == 0
    predictor = sam_hq.SamHQPredictor.from_pretrained(directory, device="cpu")
    wanted = predictor.predict(predictor.embed(tmp_path / "strip.png"), boxes=[10, 0, 50, height]).numpy()
    found = np.load(tmp_path / "m.npz")
    np.testing.assert_array_equal(found["masks"], wanted[0])
    np.testing.assert_allclose(found["scores"], wanted[1], atol=1e-5)


def test_what_cannot_be_is_refused_before_torch_is_loaded(tmp_path):
    code = """
import sys
from sam_hq_cli.main import main
for words in (["absent.jpg"], ["."], [sys.argv[1], "--box", "9", "9", "1", "1"], [sys.argv[1], "--masks", "a.gif"]):
    assert main(["segment", *words]) == 2, words
    assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code, str(PHOTO)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "there is no image 'absent.jpg'" in done.stderr
    assert "'.' is a folder" in done.stderr
    assert "--box 9 9 1 1" in done.stderr


def test_coco_file_is_read_by_pycocotools(directory, tmp_path):
    file = tmp_path / "masks.json"
    words = ["--box", 20, 30, 200, 220, "--box", 0, 0, 319, 239, "--multimask"]
    assert segment(directory, *words, "--masks", file) == 0
    masks, scores = expected(directory, True, input_boxes=[[[20, 30, 200, 220], [0, 0, 319, 239]]])
    data = COCO(file)
    annotations = data.loadAnns(data.getAnnIds())
    assert [(entry["object"], entry["candidate"]) for entry in annotations] == [
        (number, rank) for number in (1, 2) for rank in (1, 2, 3)
    ]
    for entry, mask, score in zip(annotations, masks.reshape(6, 240, 320), scores.reshape(6), strict=True):
        np.testing.assert_array_equal(data.annToMask(entry), mask)
        assert entry["area"] == mask.sum()
        assert entry["bbox"] == coco_masks.toBbox(coco_masks.encode(np.asfortranarray(mask))).tolist()
        assert entry["predicted_iou"] == pytest.approx(score, abs=1e-5)
    assert data.imgs[1]["file_name"] == PHOTO.name


def test_png_numbers_the_objects_and_small_ones_lie_on_top(tmp_path):
    masks = np.zeros((3, 2, 4, 5), dtype=bool)
    masks[0, 0, :, :3] = True
    masks[1, 0, 1:3, 2:] = True
    masks[:, 1] = True  # second candidates are not shown
    pixels = np.zeros((4, 5, 3), dtype=np.uint8)
    write_masks(tmp_path / "masks.png", "label-map", "photo.jpg", pixels, masks, np.zeros((3, 2)))
    picture = Image.open(tmp_path / "masks.png")
    wanted = np.zeros((4, 5), dtype=np.uint8)
    wanted[:, :3] = 1
    wanted[1:3, 2:] = 2
    np.testing.assert_array_equal(np.asarray(picture), wanted)
    assert picture.convert("RGB").getpixel((0, 0)) == object_color(0)
    many = np.repeat(masks[:1], 256, axis=0)
    write_masks(tmp_path / "many.png", "label-map", "photo.jpg", pixels, many, np.zeros((256, 2)))
    assert np.asarray(Image.open(tmp_path / "many.png")).max() == 256


def test_overlay_shows_every_candidate(directory, tmp_path):
    photo = Image.open(PHOTO)
    for flags, panels in ((["--multimask"], 3), ([], 1)):
        file = tmp_path / "overlay.png"
        assert segment(directory, "--box", 20, 30, 200, 220, *flags, "--output", file) == 0
        overlay = Image.open(file)
        assert overlay.size == (panels * photo.width, photo.height)
        assert overlay.getpixel((110, 30)) == object_color(0)  # the box
    masks, _ = expected(directory, input_boxes=[[[20, 30, 200, 220]]])
    outside = ~masks[0, 0]
    outside[20:230, 10:210] = False  # the box and its halo
    np.testing.assert_array_equal(np.asarray(overlay)[outside], np.asarray(photo.convert("RGB"))[outside])


BAD = {
    "no such photo": (["segment", "absent.png"], "absent.png"),
    "not a photo": (["segment", "text.png"], "text.png"),
    "truncated photo": (["segment", "cut.png"], "cut.png"),
    "too many pixels": (["segment", str(PHOTO), "--max-pixels", "1000"], "1000|1,000"),
    "no such model": (["segment", str(PHOTO), "--model", "./absent"], "absent"),
    "box turned round": (["segment", str(PHOTO), "--box", "200", "30", "20", "220"], "--box 200 30 20 220"),
    "box with NaN": (["segment", str(PHOTO), "--box", "nan", "30", "200", "220"], "--box nan 30"),
    "no such device": (["segment", str(PHOTO), "--device", "toaster"], "device is 'toaster'"),
    "absent device": (["segment", str(PHOTO), "--device", "xpu:77"], "device is 'xpu:77', but this machine has"),
    "masks suffix": (["segment", str(PHOTO), "--masks", "masks.gif"], r"--masks 'masks.gif' must end in .png, .npz"),
    "overlay suffix": (["segment", str(PHOTO), "--output", "overlay.xyz"], "--output 'overlay.xyz' must end in"),
    "one file twice": (
        ["segment", "a.jpg", "--output", "b.png", "--masks", "./b.png"],
        "--output and --masks are both",
    ),
    "over the photo": (["segment", "a.png", "--output", "a.png"], "IMAGE and --output are both 'a.png'"),
    "over the photo by another name": (
        ["segment", "a.png", "--masks", "folder.png/../a.png"],
        "IMAGE and --masks are both",
    ),
    "format of no masks": (["segment", str(PHOTO), "--masks-format", "yolo"], "--masks-format yolo is of --masks"),
    "unwritable": (["segment", str(PHOTO), "--output", "text.png/below.png"], "is not a directory"),
    "overlay is a directory": (["segment", str(PHOTO), "--output", "folder.png"], "folder.png.*is a directory"),
    "no such checkpoint": (["convert", "absent.pth", "out"], "absent.pth"),
    "not a checkpoint": (["convert", "text.png", "out"], "not a readable file of weights"),
    "output exists": (["convert", "text.png", "folder.png"], "exists already"),
    "Hub name": (["convert", "text.png", "out", "--push-to-hub", "a/b/c"], "a/b/c"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_input_is_one_line_exit_2_and_leaves_nothing(fault, directory, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(PHOTO.read_bytes()[:4000])
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "folder.png" / "mine").write_text("keep")
    arguments, message = BAD[fault]
    if arguments[0] == "segment" and "--model" not in arguments:
        arguments = [*arguments, "--model", str(directory)]
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("sam-hq: error: ")
    assert captured.err.count("\n") == 1
    assert re.search(message, captured.err), captured.err
    assert sorted(os.listdir(tmp_path)) == ["cut.png", "folder.png", "text.png"]
    assert os.listdir(tmp_path / "folder.png") == ["mine"]


def test_a_directory_of_another_model_is_named(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    processor_for(small_config("vit")).save_pretrained(tmp_path)
    assert segment(tmp_path, "--point", 5, 5) == 2
    assert "'vit' model, but a 'sam_hq' is wanted" in capsys.readouterr().err


def without_hq_token(weights):
    del weights["mask_decoder.hq_token.weight"]


def with_a_stranger(weights):
    weights["stranger"] = torch.zeros(1)


def misshapen(weights):
    weights["mask_decoder.hq_token.weight"] = torch.zeros(1, 5)


def not_finite(weights):
    weights["mask_decoder.hq_token.weight"][0, 3] = torch.nan


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_hq_token, "1 missing: mask_decoder.hq_token.weight"),
        (with_a_stranger, "1 unknown: stranger"),
        (misshapen, "1 misshapen: mask_decoder.hq_token.weight"),
        (not_finite, "1 not finite: mask_decoder.hq_token.weight"),
    ],
)
def test_a_model_that_is_not_whole_is_refused(directory, tmp_path, capsys, spoil, message):
    spoiled = tmp_path / "model"
    shutil.copytree(directory, spoiled)
    weights = load_file(directory / "model.safetensors")
    spoil(weights)
    save_file(weights, spoiled / "model.safetensors", {"format": "pt"})
    assert segment(spoiled, "--point", 5, 5, "--output", tmp_path / "overlay.png") == 2
    assert message in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "processor_config.json"])
def test_a_model_with_a_damaged_file_is_refused(directory, tmp_path, capsys, file):
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    whole = (directory / file).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2])
    assert segment(tmp_path, "--point", 5, 5) == 2
    captured = capsys.readouterr().err
    assert captured.startswith("sam-hq: error: cannot load the ")
    assert captured.count("\n") == 1
