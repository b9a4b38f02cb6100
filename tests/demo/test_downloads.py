import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from demo_fixtures import HEIGHT, WIDTH
from sam_hq.demo.downloads import (
    FILES,
    coco_json,
    cutout_png,
    generated_rows,
    labelme_json,
    masks_png,
    object_rows,
    objects_geojson,
    overlay_png,
    yolo_zip,
)
from sam_hq.demo.prompted_photo import PromptedPhoto
from sam_hq.demo.prompting import Answer
from sam_hq_numpy.overlays import mask_edge, object_color


def picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.fixture
def masks(photo_session, monkeypatch):
    """Two objects with the numbers 1 and 3, at photo size: blobs, partly over each other."""
    rows, columns = np.indices((32, 32))
    blobs = iter([(6, 6), (20, 20), (10, 14), (24, 8)])

    def blob(*_):
        x, y = next(blobs)
        logits = 6.0 - np.hypot(columns - x, rows - y)
        return Answer(torch.tensor(logits)[None].float(), torch.zeros(1, 32, 32), torch.tensor([0.75]))

    monkeypatch.setattr(PromptedPhoto, "answer", blob)
    for _ in range(3):
        photo_session.add_point(1, 1)
        photo_session.keep()
    photo_session.remove(2)
    return [photo_session.mask_at(each, (HEIGHT, WIDTH)).to_mask() for each in photo_session.objects()]


def test_a_file_is_of_one_moment(photo_session, masks, monkeypatch):
    """Another request may come between the reading of the objects and that of their masks."""
    objects = photo_session.objects

    def objects_and_then_fewer():
        found = objects()
        photo_session.undo()
        return found

    monkeypatch.setattr(photo_session, "objects", objects_and_then_fewer)
    photo_session.remove(3)
    (row,) = object_rows(photo_session)
    assert row.facts["object"] == 1
    np.testing.assert_array_equal(row.mask.to_mask(), masks[0])


def test_the_overlay_tints_the_image_and_traces_the_masks(photo_session, masks):
    drawn = np.asarray(picture(overlay_png(photo_session, object_rows(photo_session)))).astype(int)
    photo = photo_session.photo.pixels().astype(int)
    outside = ~(masks[0] | masks[1])
    np.testing.assert_array_equal(drawn[outside], photo[outside])
    for mask, other, number in ((masks[0], masks[1], 1), (masks[1], masks[0], 3)):
        alone = mask & ~other
        edge = mask_edge(mask, 1) & ~other
        np.testing.assert_array_equal(drawn[edge], np.broadcast_to(object_color(number - 1), (edge.sum(), 3)))
        inner = alone & ~mask_edge(mask, 1)
        expected = 0.55 * photo[inner] + 0.45 * np.array(object_color(number - 1))
        assert np.abs(drawn[inner] - expected).max() <= 2


def test_the_pixels_of_the_masks_are_the_objects_numbers(photo_session, masks):
    numbered = picture(masks_png(photo_session, object_rows(photo_session)))
    pixels = np.asarray(numbered)
    assert numbered.mode == "P"
    assert set(np.unique(pixels)) <= {0, 1, 3}
    np.testing.assert_array_equal(pixels > 0, masks[0] | masks[1])
    np.testing.assert_array_equal(pixels[masks[0] & ~masks[1]], 1)
    np.testing.assert_array_equal(pixels[masks[1] & ~masks[0]], 3)
    y, x = np.argwhere(pixels == 3)[0]
    assert numbered.convert("RGB").getpixel((int(x), int(y))) == object_color(2)


def test_many_masks_take_16_bits(photo_session, masks):
    row, _ = object_rows(photo_session)
    pixels = np.asarray(picture(masks_png(photo_session, [replace(row, facts={**row.facts, "object": 300})])))
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, np.where(masks[0], 300, 0))


def test_the_cutout_is_transparent_outside(photo_session, masks):
    cutout = picture(cutout_png(photo_session, object_rows(photo_session)))
    assert cutout.mode == "RGBA"
    pixels = np.asarray(cutout)
    np.testing.assert_array_equal(pixels[..., 3], np.where(masks[0] | masks[1], 255, 0))
    np.testing.assert_array_equal(pixels[..., :3], photo_session.photo.pixels())


def test_coco_tools_read_the_annotations(photo_session, masks, tmp_path):
    file = tmp_path / "annotations.json"
    file.write_bytes(coco_json(photo_session, object_rows(photo_session)))
    coco = COCO(str(file))
    assert coco.loadImgs(1)[0] == {"id": 1, "file_name": "photo.png", "width": WIDTH, "height": HEIGHT}
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=1))
    assert [each["object"] for each in annotations] == [1, 3]
    for annotation, mask in zip(annotations, masks, strict=True):
        np.testing.assert_array_equal(coco.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
        assert annotation["bbox"] == coco_masks.toBbox(annotation["segmentation"]).tolist()
        assert 0 <= annotation["predicted_iou"] <= 1


def test_names_are_the_categories(photo_session, masks, tmp_path):
    photo_session.rename(3, "cat")
    photo_session.add_point(1, 1)
    photo_session.keep()
    photo_session.rename(2, "cat")
    rows = object_rows(photo_session)
    for make, _ in (FILES["annotations.json"], FILES["polygons.json"]):
        file = tmp_path / "annotations.json"
        file.write_bytes(make(photo_session, rows))
        coco = COCO(str(file))
        assert coco.cats == {1: {"id": 1, "name": "object"}, 2: {"id": 2, "name": "cat"}}
        assert {each["object"]: each["category_id"] for each in coco.anns.values()} == {1: 1, 2: 2, 3: 2}
    with zipfile.ZipFile(io.BytesIO(yolo_zip(photo_session, rows))) as archive:
        names = yaml.safe_load(archive.read("data.yaml"))["names"]
        classes = [line.split()[0] for line in archive.read("labels/photo.txt").decode().splitlines()]
        assert names == {0: "object", 1: "cat"}
        assert classes == ["0", "1", "1"]
        assert archive.read("images/photo.png") == photo_session.photo.data
    shapes = json.loads(labelme_json(photo_session, rows))["shapes"]
    assert {shape["label"] for shape in shapes} == {"object", "cat"}
    features = json.loads(objects_geojson(photo_session, rows))["features"]
    assert len(features) == len(rows)


def test_polygons_hold_the_masks(photo_session, masks, tmp_path):
    file = tmp_path / "polygons.json"
    file.write_bytes(FILES["polygons.json"][0](photo_session, object_rows(photo_session)))
    coco = COCO(str(file))
    for annotation, mask in zip(coco.loadAnns(coco.getAnnIds()), masks, strict=True):
        read = coco.annToMask(annotation).astype(bool)
        assert (read & mask).sum() / (read | mask).sum() > 0.9


def test_everything_that_was_found_can_be_taken_away_too(photo_session):
    photo_session.start_generation(lambda work: work(), points_per_side=4, least_score=0.0, least_stability=0.0)
    found = photo_session.generation.found
    rows = generated_rows(photo_session)
    annotations = json.loads(coco_json(photo_session, rows))["annotations"]
    assert [each["area"] for each in annotations] == [mask.area for mask in found.masks]
    assert [each["point_coords"] for each in annotations] == found.points
    pixels = np.asarray(picture(masks_png(photo_session, rows)))
    union = np.any([mask.to_mask() for mask in found.masks], axis=0)
    np.testing.assert_array_equal(pixels > 0, union)
    assert picture(overlay_png(photo_session, rows)).size == (WIDTH, HEIGHT)


def test_stability_that_is_no_number_is_null_in_the_annotations(photo_session):
    photo_session.start_generation(lambda work: work(), points_per_side=2, least_score=0.0, least_stability=0.0)
    photo_session.generation.found.stability[:] = float("nan")
    data = coco_json(photo_session, generated_rows(photo_session))
    assert b"NaN" not in data
    assert json.loads(data)["annotations"][0]["stability_score"] is None


def test_there_is_nothing_to_take_before_something_is_there(photo_session):
    with pytest.raises(ValueError, match="click on an object first"):
        object_rows(photo_session)
    with pytest.raises(ValueError, match="Find everything"):
        generated_rows(photo_session)
