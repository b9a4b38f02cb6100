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
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
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
def test_a_local_cluster_segments_the_boxes_of_a_file(folder):
    boxes = [["0.png", 5, 5, 60, 50, "cat"], ["0.png", 30, 20, 80, 65, "dog"], ["3.png", 10, 10, 70, 60, "cat"]]
    rows = [*boxes, ["1.png", 50, 50, 20, 60, "cat"]]  # swapped corners
    text = "\n".join(
        ",".join(map(str, row)) for row in [["file_name", "x_min", "y_min", "x_max", "y_max", "label"], *rows]
    )
    (folder / "boxes.csv").write_text(text)
    lines = {Path(line["path"]).name: line for line in run_example(folder, "--boxes", str(folder / "boxes.csv"))}
    predictor = sam_hq.SamHQPredictor.from_pretrained(folder / "model")
    for name, line in lines.items():
        of_photo = [row for row in boxes if row[0] == name]
        records = json.loads(line["masks"])
        assert [record["category"] for record in records] == [row[5] for row in of_photo]
        assert ("swapped" in line["error"]) == (name == "1.png")
        if of_photo:
            embeddings = predictor.embed(folder / "photos" / name)
            wanted = predictor.predict(embeddings, boxes=[row[1:5] for row in of_photo])
            for record, mask in zip(records, wanted.masks[:, 0].numpy(), strict=True):
                assert (RunLengthMask.from_dict(record["segmentation"]).to_mask() != mask).mean() < 1e-3
