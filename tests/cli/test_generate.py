import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO

import sam_hq
from conftest import PHOTOS, REPOSITORY, small_model
from sam_hq.generation.generator import SamHQMaskGenerator
from sam_hq.photo_embeddings import PhotoEmbeddings
from sam_hq_cli import generate
from sam_hq_cli.main import build_parser, main
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions
from sam_hq_numpy.mask_rle import RunLengthMask

FLAGS = ["--points-per-crop", "3", "--pred-iou-thresh", "0", "--stability-score-thresh", "0", "--crops-nms-thresh", "1"]
OPTIONS = {"points_per_crop": 3, "pred_iou_thresh": 0, "stability_score_thresh": 0, "crops_nms_thresh": 1}


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, name in enumerate(("kitten.jpg", "koala.jpg", "panda.jpg", "moose.jpg")):
        Image.open(PHOTOS / name).convert("RGB").resize((90 + 10 * index, 70)).save(folder / f"{index}.png")
    return folder


def run_generate(directory, photos, output, *more):
    words = ["generate", str(photos), "--output", str(output), "--model", str(directory), "--device", "cpu", "--quiet"]
    return main([*words, *FLAGS, *map(str, more)])


def check_against_the_engine(directory, photos, output):
    generator = SamHQMaskGenerator(
        sam_hq.SamHQModel.from_pretrained(directory),
        sam_hq.SamHQProcessor.from_pretrained(directory).image_processor,
        output_mode="coco_rle",
        **OPTIONS,
    )
    coco = COCO(str(output / "annotations.json"))
    for image in coco.imgs.values():
        records = generator.generate(output / image["file_name"])
        annotations = coco.imgToAnns[image["id"]]
        assert len(records) == len(annotations) == 9
        for record, annotation in zip(records, annotations, strict=True):
            wanted, mask = (RunLengthMask.from_dict(each["segmentation"]) for each in (record, annotation))
            assert (wanted.to_mask() != mask.to_mask()).mean() < 1e-3
            assert annotation["predicted_iou"] == pytest.approx(record["predicted_iou"], abs=1e-4)
            assert annotation["point_coords"] == record["point_coords"]
    return {os.path.basename(image["file_name"]) for image in coco.imgs.values()}


def test_a_folder_with_a_bad_file(directory, photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (photos / "broken.jpg").write_bytes((PHOTOS / "kitten.jpg").read_bytes()[:500])
    output, embeddings = tmp_path / "out", tmp_path / "embeddings"
    more = ["--png", "--overlay", "--embeddings", embeddings, "--batch-size", 3]
    assert run_generate(directory, photos, output, *more) == 1
    printed = capsys.readouterr()
    assert "4 images, 1 skipped" in printed.out
    assert "broken.jpg" in printed.err
    assert check_against_the_engine(directory, photos, output) == {"0.png", "1.png", "2.png", "3.png"}
    assert len(list((output / "masks").glob("*.png"))) == len(list((output / "overlays").glob("*.jpg"))) == 4

    prompt = [
        "segment",
        str(photos / "2.png"),
        "--model",
        str(directory),
        "--device",
        "cpu",
        "--box",
        "10",
        "10",
        "60",
        "50",
    ]
    for more_words in ([], ["--embeddings", str(embeddings)]):
        masks = tmp_path / f"masks{len(more_words)}.npz"
        assert main([*prompt, "--masks", str(masks), *more_words]) == 0
    encoded, from_file = (np.load(tmp_path / name)["masks"] for name in ("masks0.npz", "masks2.npz"))
    assert encoded.any()
    assert (encoded != from_file).mean() < 1e-3
    renamed = shutil.copytree(directory, tmp_path / "renamed")
    assert main([*prompt, "--model", str(renamed), "--embeddings", str(embeddings)]) == 0
    small_model("tiny_vit", seed=1).save_pretrained(renamed)
    assert main([*prompt, "--model", str(renamed), "--embeddings", str(embeddings)]) == 2
    assert "another model" in capsys.readouterr().err
    (other,) = embeddings.glob("0-*.safetensors")
    assert main([*prompt, "--embeddings", str(other)]) == 2
    assert main([*prompt, "--embeddings", str(photos)]) == 2
    printed = capsys.readouterr().err
    assert "no embeddings" in printed
    assert "elsewhere" not in printed
    moved = shutil.copy(photos / "2.png", tmp_path)
    assert main([prompt[0], str(moved), *prompt[2:], "--embeddings", str(embeddings)]) == 2
    assert "is of an image of this name elsewhere: name the file itself" in capsys.readouterr().err

    (kept,) = embeddings.glob("2-*.safetensors")
    kept = PhotoEmbeddings.load(kept)
    model = sam_hq.SamHQModel.from_pretrained(directory)
    inputs = sam_hq.SamHQProcessor.from_pretrained(directory)(
        Image.open(photos / "2.png"), input_points=[[[[30, 30]]]], return_tensors="pt"
    )
    with torch.no_grad():
        prompts = {name: inputs[name] for name in ("input_points", "input_labels")}
        expected = model(pixel_values=inputs["pixel_values"], **prompts).pred_masks
        answer = model(image_embeddings=kept.image_embeddings, hq_features=kept.hq_features, **prompts).pred_masks
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-4)
    assert kept.reshaped_size == tuple(inputs["reshaped_input_sizes"][0].tolist())

    (photos / "broken.jpg").unlink()
    before = {path: path.stat().st_mtime_ns for path in (output / "records").iterdir()}
    assert run_generate(directory, photos, output, *more) == 0
    assert {path: path.stat().st_mtime_ns for path in (output / "records").iterdir()} == before

    Image.open(photos / "2.png").rotate(180).save(photos / "2.png")
    capsys.readouterr()
    assert main([*prompt, "--embeddings", str(embeddings)]) == 2
    assert "another image" in capsys.readouterr().err
    assert run_generate(directory, photos, output, *more) == 0
    assert "1 image whose file changed" in capsys.readouterr().out


def test_bad_options_are_refused_before_anything_is_written(directory, photos, tmp_path, capsys):
    for more, complaint in (
        (["--crop-overlap-ratio", 2], "crop_overlap_ratio"),
        (["--candidates-per-point", 3, "--hq-token-only"], "hq_token_only"),
    ):
        assert run_generate(directory, photos, tmp_path / "out", *more) == 2
        assert complaint in capsys.readouterr().err
    assert run_generate(directory, photos / "none", tmp_path / "out") == 2
    assert "no file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_every_number_of_the_command_is_an_option_with_the_default_it_names():
    fields = {field.name: field.default for field in dataclasses.fields(MaskGenerationOptions)}
    for name, kind, text in generate.NUMBERS:
        default = fields[name]
        assert default is None or f"({kind(default):.3g})" in text, name
    args = build_parser().parse_args(["generate", "x", "--output", "y"])
    assert generate.generation_options(args) == {"hq_token_only": False, "multimask_output": True}


def test_two_processes_share_a_job(directory, photos, tmp_path):
    output = tmp_path / "out"
    launch = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0", "-m", "sam_hq_cli.main",
    ]  # fmt: skip
    words = ["generate", str(photos), "--output", str(output), "--model", str(directory), "--device", "cpu", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launch, *words, *FLAGS], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 images, 0 skipped") == 1
    assert check_against_the_engine(directory, photos, output) == {"0.png", "1.png", "2.png", "3.png"}
    assert len(json.loads((output / "annotations.json").read_text())["annotations"]) == 36
    np.testing.assert_equal(len(list((output / "records").iterdir())), 4)
