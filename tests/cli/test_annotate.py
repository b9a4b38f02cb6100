import json
import subprocess
import sys

import pytest
from PIL import Image
from pycocotools.coco import COCO

from conftest import PHOTOS
from sam_hq_cli.main import main


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("kitten.jpg", "koala.jpg", "panda.jpg"):
        Image.open(PHOTOS / name).resize((90, 70)).save(folder / name)
    return folder


def test_a_csv_to_masks_in_shards_and_again(directory, photos, tmp_path, capsys):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(
        "file_name,x0,y0,x1,y1,label\nkitten.jpg,1,2,60,50,cat\nkoala.jpg,5,5,80,60,bear\nkoala.jpg,9,9,3,3,bear\n"
    )
    words = ["annotate", str(photos), "--boxes", str(boxes), "--output", str(tmp_path / "out"), "--model"]
    words += [str(directory), "--device", "cpu", "--formats", "yolo", "labelme"]
    assert main([*words, "--on-bad", "raise"]) == 2
    assert "boxes.csv, line 4: a box without area" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    for option in ("--batch-size", "--objects-per-batch"):
        assert main([*words, option, "0"]) == 2
        assert f"{option} must be at least 1, got 0" in capsys.readouterr().err
    for shard in ("1/2", "2/2"):
        assert main([*words, "--shard", shard]) == 0
    printed = capsys.readouterr()
    assert "3 objects of 2 categories in 2 of 3 images" in printed.out
    assert "images, 0 skipped; 1 object skipped, named in skipped.json" in printed.out
    assert "boxes.csv, line 4: a box without area" in printed.err
    coco = COCO(str(tmp_path / "out" / "annotations.json"))
    assert (len(coco.imgs), len(coco.anns)) == (3, 2)
    assert sorted(each["name"] for each in coco.cats.values()) == ["bear", "cat"]
    records = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "records").iterdir()}
    assert main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "records").iterdir()} == records
    assert len(json.loads((tmp_path / "out" / "skipped.json").read_text())) == 1


def test_detections_that_know_their_images_by_id_alone_want_a_list_of_images(photos, tmp_path, capsys):
    detections = tmp_path / "detections.json"
    detections.write_text(json.dumps([{"image_id": 1, "category_id": 3, "bbox": [1, 2, 30, 40], "score": 0.9}]))
    assert main(["annotate", str(photos), "--boxes", str(detections), "--output", str(tmp_path / "out")]) == 2
    assert "of none of 3 images, but of image 1; name the COCO file" in capsys.readouterr().err
    detections.write_text(json.dumps([{"file_name": "elsewhere.jpg", "category_id": 3, "bbox": [1, 2, 30, 40]}]))
    assert main(["annotate", str(photos), "--boxes", str(detections), "--output", str(tmp_path / "out")]) == 2
    assert "--described-by" not in capsys.readouterr().err


def test_what_cannot_be_is_refused_before_torch_is_loaded(photos, tmp_path):
    (tmp_path / "other.csv").write_text("file_name,x0,y0,x1,y1\nelsewhere.jpg,1,2,3,4\n")
    (tmp_path / "text.json").write_text("no JSON")
    code = """
import sys
from sam_hq_cli.main import main
for boxes in sys.argv[2:]:
    assert main(["annotate", sys.argv[1], "--boxes", boxes, "--output", "out"]) == 2, boxes
    assert "torch" not in sys.modules
"""
    files = [str(tmp_path / name) for name in ("absent.json", "other.csv", "text.json")]
    done = subprocess.run([sys.executable, "-c", code, photos, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for complaint in ("no file or folder", "is of none of 3 images, but of elsewhere.jpg", "is not JSON"):
        assert complaint in done.stderr
