import json
import os
import subprocess
import sys

import pytest
from PIL import Image

import sam_hq
from conftest import PHOTOS, REPOSITORY, small_config, small_model
from sam_hq.hub.conversion import processor_for
from sam_hq_numpy.mask_rle import RunLengthMask

EXAMPLE = REPOSITORY / "docs" / "examples" / "ray_data.py"
OPTIONS = {"points_per_crop": 3, "pred_iou_thresh": 0, "stability_score_thresh": 0, "crops_nms_thresh": 1}


@pytest.mark.slow
def test_a_local_cluster_finds_what_one_process_finds(tmp_path):
    pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    source, destination, directory = tmp_path / "photos", tmp_path / "masks", tmp_path / "model"
    source.mkdir()
    for index, name in enumerate(("kitten.jpg", "koala.jpg", "panda.jpg", "moose.jpg", "crab.jpg")):
        Image.open(PHOTOS / name).convert("RGB").resize((90 + 10 * index, 70)).save(source / f"{index}.png")
    (source / "broken.png").write_bytes((source / "0.png").read_bytes()[:100])
    small_model("vit").save_pretrained(directory)
    processor_for(small_config("vit")).save_pretrained(directory)
    done = subprocess.run(
        [
            sys.executable,
            str(EXAMPLE),
            str(source),
            str(destination),
            "--model",
            str(directory),
            "--actors",
            "2",
            "--options",
            json.dumps(OPTIONS),
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "src"), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for file in destination.glob("*.json*") for line in file.read_text().splitlines()]
    assert len(lines) == 6
    generator = sam_hq.SamHQMaskGenerator(
        sam_hq.SamHQModel.from_pretrained(directory),
        sam_hq.SamHQProcessor.from_pretrained(directory).image_processor,
        output_mode="coco_rle",
        **OPTIONS,
    )
    for line in lines:
        if line["path"].endswith("broken.png"):
            assert line["error"]
            assert json.loads(line["masks"]) == []
            continue
        expected = generator.generate(line["path"])
        records = json.loads(line["masks"])
        assert len(records) == len(expected) == 9
        for record, wanted in zip(records, expected, strict=True):
            mask, other = (RunLengthMask.from_dict(each["segmentation"]).to_mask() for each in (record, wanted))
            assert (mask != other).mean() < 1e-3
