import csv
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import sam_hq
from conftest import PHOTOS, REPOSITORY, small_config, small_model
from sam_hq.hub.conversion import processor_for
from sam_hq_numpy.mask_rle import RunLengthMask

EXAMPLE = REPOSITORY / "docs" / "examples" / "ray_data.py"
OPTIONS = {"points_per_crop": 3, "pred_iou_thresh": 0, "stability_score_thresh": 0, "crops_nms_thresh": 1}


@pytest.fixture
def folder(tmp_path):
    """Five photos and a broken one in `photos`, and a model in `model`."""
    assert importlib.util.find_spec("ray"), "needs the extra `cluster`: `make slow`"
    (tmp_path / "photos").mkdir()
    for index, name in enumerate(("kitten.jpg", "koala.jpg", "panda.jpg", "moose.jpg", "crab.jpg")):
        photo = Image.open(PHOTOS / name).convert("RGB").resize((90 + 10 * index, 70))
        photo.save(tmp_path / "photos" / f"{index}.png")
    (tmp_path / "photos" / "broken.png").write_bytes((tmp_path / "photos" / "0.png").read_bytes()[:100])
    small_model("vit").save_pretrained(tmp_path / "model")
    processor_for(small_config("vit")).save_pretrained(tmp_path / "model")
    return tmp_path


def run_example(folder, *arguments):
    """The lines that the example writes."""
    options = ["--model", str(folder / "model"), "--actors", "2", *arguments]
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(folder / "photos"), str(folder / "masks"), *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    files = (folder / "masks").glob("*.json*")
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len(lines) == 6
    broken = next(line for line in lines if line["path"].endswith("broken.png"))
    assert broken["error"]
    assert json.loads(broken["masks"]) == []
    return [line for line in lines if line is not broken]


@pytest.mark.slow
def test_a_local_cluster_finds_what_one_process_finds(folder):
    generator = sam_hq.SamHQMaskGenerator(
        sam_hq.SamHQModel.from_pretrained(folder / "model"),
        sam_hq.SamHQProcessor.from_pretrained(folder / "model").image_processor,
        output_mode="coco_rle",
        **OPTIONS,
    )
    for line in run_example(folder, "--options", json.dumps(OPTIONS)):
        expected = generator.generate(line["path"])
        records = json.loads(line["masks"])
        assert len(records) == len(expected) == 9
        for record, wanted in zip(records, expected, strict=True):
            mask, other = (RunLengthMask.from_dict(each["segmentation"]).to_mask() for each in (record, wanted))
            assert (mask != other).mean() < 1e-3


@pytest.mark.slow
def test_a_local_cluster_segments_the_boxes_and_points_of_a_file(folder):
    lying = Image.open(folder / "photos" / "2.png").transpose(Image.Transpose.ROTATE_90)
    exif = lying.getexif()
    exif[274] = 6  # to be turned by 270 degrees
    lying.save(folder / "photos" / "2.png", exif=exif)
    objects = {  # box, point
        "0.png": [((5, 5, 60, 50), None), ((30, 20, 80, 65), None), (None, (40, 30))],
        "2.png": [((20, 10, 100, 65), None), (None, (100, 60))],  # upright it is 110 x 70
        "3.png": [(None, (60, 40))],
    }
    rows = [
        {"file_name": name, **dict(zip(("x_min", "y_min", "x_max", "y_max"), box or (), strict=False)),
         **dict(zip(("x", "y"), point or (), strict=False)), "label": f"{name}-{index}"}
        for name, each in objects.items()
        for index, (box, point) in enumerate(each)
    ]  # fmt: skip
    rows.append({"file_name": "1.png", "x_min": 50, "y_min": 50, "x_max": 20, "y_max": 60, "label": "swapped"})
    with (folder / "prompts.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file_name", "x_min", "y_min", "x_max", "y_max", "x", "y", "label"])
        writer.writeheader()
        writer.writerows(rows)
    lines = {Path(line["path"]).name: line for line in run_example(folder, "--boxes", str(folder / "prompts.csv"))}
    predictor = sam_hq.SamHQPredictor.from_pretrained(folder / "model")
    for name, line in lines.items():
        records = json.loads(line["masks"])
        of_photo = objects.get(name, [])
        assert [record["category"] for record in records] == [f"{name}-{index}" for index in range(len(of_photo))]
        assert ("swapped" in line["error"]) == (name == "1.png")
        for record, (box, point) in zip(records, of_photo, strict=True):
            embeddings = predictor.embed(folder / "photos" / name)
            wanted = predictor.predict(
                embeddings, boxes=box and [list(box)], points=point and [[list(point)]], labels=point and [[1]]
            )
            mask = RunLengthMask.from_dict(record["segmentation"]).to_mask()
            assert mask.shape == ((70, 110) if name == "2.png" else mask.shape)
            assert (mask != wanted.masks[0, 0].numpy()).mean() < 1e-3
