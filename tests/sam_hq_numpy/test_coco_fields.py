"""Ids and flags of COCO files, numbers in one place and texts in another: the same answer from every reader."""

import json

import numpy as np
import pytest
from PIL import Image

from sam_hq.evaluation.segmentation_data import open_dataset
from sam_hq_numpy.coco_fields import id_number, is_crowd
from sam_hq_numpy.prompt_files.reading import read_prompts

OUTLINE = [[10, 10, 30, 10, 30, 40, 10, 40]]
# The ids of two images, and which of them an annotation's image_id means.
MATCHED = [
    (["12", "13"], 13, 1),
    ([12, 13], "13", 1),
    ([12, 13], 13.0, 1),
    ([12.0, 13.0], "13", 1),
    (["000012", "000013"], 13, 1),
    ([12, 13], "000013", 1),
    (["007", "7"], "7", 1),
    (["007", "7"], "007", 0),
    (["a", "12"], 12.0, 1),
    ([-1, 1], "-1", 0),
    ([10**30, 1], str(10**30), 0),
    ([12, 13], "13a", None),
    ([1, 0], "one", None),
]
AMBIGUOUS = [
    ([12, "12"], 12, "two of its images have the ids 12 and '12'"),
    (["12", 12.0], 12, r"two of its images have the ids '12' and 12\.0"),
    (["12", "12"], 12, "two of its images have the id '12'"),
    (["007", "07"], 7, "the image_id 7 may be the image with the id '007' or '07'"),
    ([7, "07"], "007", "the image_id '007' may be the image with the id 7 or '07'"),
]


@pytest.fixture
def images(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        Image.fromarray(np.zeros((50, 60, 3), np.uint8)).save(path)
    return paths


def written(folder, ids, image_id, **more):
    records = [
        {"id": key, "file_name": f"{name}.png", "height": 50, "width": 60} for key, name in zip(ids, "ab", strict=True)
    ]
    annotation = {
        "id": "5",
        "image_id": image_id,
        "category_id": "3",
        "bbox": [10, 10, 20, 30],
        "segmentation": OUTLINE,
    }
    path = folder / "instances.json"
    categories = [{"id": 3, "name": "cat"}]
    path.write_text(json.dumps({"images": records, "annotations": [{**annotation, **more}], "categories": categories}))
    (folder / "results.json").write_text(json.dumps([{**annotation, "score": 0.5}]))
    return path


@pytest.mark.parametrize(("ids", "image_id", "meant"), MATCHED)
def test_an_id_is_found_whatever_it_is_written_as(images, tmp_path, ids, image_id, meant):
    pytest.importorskip("pycocotools")
    path = written(tmp_path, ids, image_id)
    if meant is None:
        with pytest.raises(ValueError, match="has no image"):
            open_dataset(path)
    else:
        dataset = open_dataset(path)
        assert [dataset.name(index) for index in range(len(dataset))] == [images[meant].name]
        assert dataset[0][1].sum() > 500
    for found in (read_prompts(path, images), read_prompts(tmp_path / "results.json", images, path)):
        with_objects = [image for image, objects in found.objects.items() if objects]
        assert with_objects == ([] if meant is None else [images[meant]])
        assert found.categories == {3: "cat"}
        assert sum(found.without_image.values()) == (meant is None)
        numbers = [id_number(key) for key in ids]
        wanted = {image: n for image, n in zip(images, numbers, strict=True) if n is not None and numbers.count(n) == 1}
        assert found.image_ids == wanted  # a number that two have is no id of either


@pytest.mark.parametrize(("ids", "image_id", "message"), AMBIGUOUS)
def test_ids_that_may_mean_two_images_are_named(images, tmp_path, ids, image_id, message):
    pytest.importorskip("pycocotools")
    path = written(tmp_path, ids, image_id)
    for read in (
        lambda: open_dataset(path),
        lambda: read_prompts(path, images),
        lambda: read_prompts(tmp_path / "results.json", images, path),
    ):
        with pytest.raises(ValueError, match=message):
            read()


@pytest.mark.parametrize(("flag", "crowd"), [("0", False), (0.0, False), ("false", False), ("", False), ("1", True)])
def test_crowds_written_as_text(images, tmp_path, flag, crowd):
    pytest.importorskip("pycocotools")
    path = written(tmp_path, [1, 2], 1, iscrowd=flag)
    assert is_crowd(flag) is crowd
    assert bool(read_prompts(path, images).objects[images[0]]) is not crowd
    if crowd:
        with pytest.raises(ValueError, match="has no image"):
            open_dataset(path)
    else:
        assert len(open_dataset(path)[0][1]) == 1
    path = written(tmp_path, [1, 2], 1, iscrowd="maybe")
    assert "iscrowd of 'maybe'" in read_prompts(path, images).bad[0][1]
    with pytest.raises(ValueError, match=r"instances\.json' .*iscrowd of 'maybe'"):
        open_dataset(path)


@pytest.mark.parametrize("bad", [None, True, 1.5, [1], {}, " ", float("nan")])
def test_what_is_no_id_is_refused(images, tmp_path, bad):
    pytest.importorskip("pycocotools")
    with pytest.raises(ValueError, match="has no proper id"):
        open_dataset(written(tmp_path, [1, 2], bad))
    found = read_prompts(tmp_path / "instances.json", images)
    assert [reason.split(" is ")[1] for _, reason in found.bad] == ["no id"]
    with pytest.raises(ValueError, match=r"'a\.png' of the COCO file has no id"):
        read_prompts(written(tmp_path, [bad, 2], 2), images)


def test_detections_without_a_list_are_found_by_their_own_names_first(tmp_path):
    images = [tmp_path / name for name in ("000.png", "001.png", "2.png", "02.png")]
    results = [
        {"image_id": 1, "file_name": "000.png"},  # an image's number in a list is not that in its name
        {"image_id": 2, "file_name": "001.png"},
        {"image_id": 3, "file_name": "gone.png"},
        {"image_id": "1"},
        {"file_name": "2.png"},
        {"image_id": 2},
        {"image_id": "02"},
    ]
    boxes = [{"bbox": [place, 1, 5, 5], "category_id": 1, **result} for place, result in enumerate(results)]
    (tmp_path / "results.json").write_text(json.dumps([boxes[0], *boxes[1:]]))
    found = read_prompts(tmp_path / "results.json", images)
    by_image = {image.name: [int(each.box[0]) for each in objects] for image, objects in found.objects.items()}
    assert by_image == {"000.png": [0], "001.png": [1, 3], "2.png": [4, 5], "02.png": [6]}
    assert found.without_image == {"image 3": 1}
    assert found.image_ids == {}  # 1 and 2 are of two images each
    (tmp_path / "results.json").write_text(json.dumps([{"image_id": "0002", "bbox": [1, 1, 5, 5]}]))
    with pytest.raises(ValueError, match=r"'0002' may be '.*2\.png' or '.*02\.png'"):
        read_prompts(tmp_path / "results.json", images)


def test_an_id_and_a_name_that_contradict_each_other_are_named(images, tmp_path):
    path = written(tmp_path, [1, 2], 1)
    (tmp_path / "results.json").write_text(json.dumps([{"image_id": "1", "file_name": "b.png", "bbox": [1, 1, 5, 5]}]))
    found = read_prompts(tmp_path / "results.json", images, path)
    assert not any(found.objects.values())
    assert "an image_id of '1', which is that of" in found.bad[0][1]
    assert "'b.png'" in found.bad[0][1]


def test_two_categories_of_one_id_are_named(images, tmp_path):
    path = written(tmp_path, [1, 2], 1)
    content = json.loads(path.read_text())
    content["categories"].append({"id": "3", "name": "dog"})
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="two categories of the COCO file have the id 3: 'cat' and 'dog'"):
        read_prompts(path, images)
    content["categories"][1]["id"] = "dog"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="category 'dog' of the COCO file"):
        read_prompts(path, images)
