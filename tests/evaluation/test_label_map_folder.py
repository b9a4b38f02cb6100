"""Label maps become objects: connected parts of every kind, and kinds that are one object together."""

import json

import numpy as np
import pytest
from PIL import Image

from sam_hq.evaluation.joined_images import JoinedImages
from sam_hq.evaluation.label_map_folder import LabelMapFolder
from sam_hq.evaluation.segmentation_data import ImageMaskFolder, open_dataset
from sam_hq_cli.labelled_data import open_images
from training_data import shapes, write_pairs

NAMES = "background\nshirt\nskin\nshoes\nunlabelled\n"


@pytest.fixture
def folder(tmp_path):
    """A person: a shirt over skin, two shoes, and a speck of another kind; beside it what has no label."""
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    labels = np.zeros((60, 40), np.uint8)
    labels[5:30, 10:30], labels[30:45, 12:28] = 1, 2
    labels[50:58, 8:16], labels[50:58, 24:32] = 3, 3
    labels[0, 0], labels[58:, 36:] = 3, 4
    Image.fromarray(labels).save(tmp_path / "labels" / "a.png")
    Image.fromarray(np.zeros((60, 40, 3), np.uint8)).save(tmp_path / "images" / "a.jpg")
    (tmp_path / "label_names.txt").write_text(NAMES)
    return tmp_path


def test_objects_are_connected_parts_of_one_kind(folder):
    dataset = LabelMapFolder(folder)
    _, masks = dataset[0]
    assert sorted(mask.sum() for mask in masks) == [64, 64, 240, 500]
    assert not dataset.report.cases
    for share, kind in ((1, ValueError), (-0.1, ValueError), (float("nan"), ValueError), ("0.1", TypeError)):
        with pytest.raises(kind, match="smallest_share must be"):
            LabelMapFolder(folder, smallest_share=share)


def test_kinds_are_one_object_where_the_folder_says_so(folder):
    (folder / "unions.txt").write_text("*\nshirt, skin\n")
    _, masks = LabelMapFolder(folder)[0]
    assert [mask.sum() for mask in masks[:2]] == [500 + 240 + 128 + 1, 740]
    assert len(masks) == 6
    (folder / "label_names.txt").write_text(NAMES.replace("shoes", "skin"))  # two numbers of one name
    assert LabelMapFolder(folder)[0][1][1].sum() == 740 + 128 + 1
    (folder / "label_names.txt").write_text(NAMES)
    (folder / "unions.txt").write_text("shirt, trousers\n")
    with pytest.raises(ValueError, match=r"unions.txt names \['trousers'\]"):
        LabelMapFolder(folder)


def test_photos_of_a_coco_file_are_refused_with_other_data(folder):
    assert isinstance(open_dataset(folder), LabelMapFolder)
    with pytest.raises(ValueError, match="is for a COCO file"):
        open_dataset(folder, folder / "images")


def test_a_folder_that_holds_a_coco_file_takes_its_photos_from_elsewhere(tmp_path):
    annotation = {"id": 1, "image_id": 1, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    image = {"id": 1, "file_name": "a.png", "height": 12, "width": 16}
    for part in ("data", "elsewhere"):
        (tmp_path / part).mkdir()
    (tmp_path / "data" / "coco.JSON").write_text(json.dumps({"images": [image], "annotations": [annotation]}))
    Image.new("RGB", (16, 12)).save(tmp_path / "elsewhere" / "a.png")
    for source in (tmp_path / "data", tmp_path / "data" / "coco.JSON"):
        assert len(open_images([str(source)], str(tmp_path / "elsewhere"), "raise")[0][1]) == 1


def test_without_names_every_label_but_0_and_255_is_a_kind(folder):
    (folder / "label_names.txt").unlink()
    assert len(LabelMapFolder(folder)[0][1]) == 5
    labels = np.full((60, 40), 255, np.uint8)
    labels[:30] = 7
    Image.fromarray(labels).save(folder / "labels" / "a.png")
    assert [mask.sum() for mask in LabelMapFolder(folder)[0][1]] == [1200]


def test_object_255_of_more_is_an_object(folder):
    (folder / "label_names.txt").unlink()
    labels = np.arange(300, dtype=np.uint16).reshape(15, 20).repeat(4, axis=0).repeat(2, axis=1)
    Image.fromarray(labels).save(folder / "labels" / "a.png")
    assert [mask.sum() for mask in LabelMapFolder(folder)[0][1]] == [8] * 299


def test_bad_label_maps_are_named(folder):
    Image.fromarray(np.zeros((60, 40, 3), np.uint8)).save(folder / "images" / "b.jpg")
    dataset = LabelMapFolder(folder)
    assert dataset.report.cases == {"image without a mask": ["b.jpg"]}
    with pytest.raises(ValueError, match=r"b\.jpg"):
        LabelMapFolder(folder, on_bad="raise")
    Image.fromarray(np.ones((30, 40), np.uint8)).save(folder / "labels" / "a.png")
    assert len(dataset[0][1]) == 0
    assert dataset.report.cases["mask of another size than the image"] == ["a.png"]
    (folder / "labels" / "a.png").write_bytes(b"no picture")
    assert len(dataset[0][1]) == 0
    Image.fromarray(np.ones((60, 40, 3), np.uint8)).save(folder / "labels" / "a.png")
    assert len(dataset[0][1]) == 0
    assert dataset.report.cases["mask with several channels"] == ["a.png"]


def test_folders_of_several_kinds_are_one_dataset(folder, tmp_path):
    write_pairs(tmp_path / "pairs", shapes(3))
    joined = open_images([str(tmp_path / "pairs"), str(folder)])
    assert isinstance(joined, JoinedImages)
    assert [joined.name(index) for index in range(len(joined))] == ["photo0.jpg", "photo1.jpg", "photo2.jpg", "a.jpg"]
    alone = ImageMaskFolder(tmp_path / "pairs")
    for index in range(3):
        assert (joined[index][1] == alone[index][1]).all()
    assert joined[3][0].shape == (60, 40, 3)
    (folder / "labels" / "a.png").write_bytes(b"no picture")
    assert len(joined[3][1]) == 0
    ((name, reason),) = joined.report.take_new()
    assert name == "a.png"
    assert reason in joined.report.counts
    with pytest.raises(IndexError):
        joined[4]
