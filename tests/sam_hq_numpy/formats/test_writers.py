"""Every format read back: by pycocotools, supervision, and by what the formats' definitions say."""

import json

import numpy as np
import pytest
import supervision
import yaml
from PIL import Image
from pycocotools.coco import COCO
from scipy.ndimage import gaussian_filter, label

from sam_hq_numpy.formats import coco, geojson, labelme, pictures, yolo
from sam_hq_numpy.formats.objects import ImageObject
from sam_hq_numpy.formats.polygons import MIN_IOU, fill
from sam_hq_numpy.mask_rle import RunLengthMask

SIZE = (90, 120)
CATEGORIES = {3: 'cat: "tom"', 17: "Vögel"}
IMAGE = {"id": 8, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1]}


def masks():
    random = np.random.default_rng(1)
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
    ring = (np.hypot(ys - 40, xs - 50) < 30) & ~(np.hypot(ys - 40, xs - 50) < 12)
    pixel, whole = np.zeros(SIZE, bool), np.ones(SIZE, bool)
    pixel[89, 119] = True
    return [gaussian_filter(random.random(SIZE), 3) > 0.5, ring, pixel, whole, ys == 5, np.zeros(SIZE, bool)]


MASKS = masks()


@pytest.fixture
def objects():
    ids = sorted(CATEGORIES)
    return [
        ImageObject(RunLengthMask.from_mask(mask), ids[i % 2], CATEGORIES[ids[i % 2]], {"predicted_iou": i / 10})
        for i, mask in enumerate(MASKS)
    ]


def iou(first, second):
    return (first & second).sum() / (first | second).sum() if (first | second).any() else 1.0


@pytest.mark.parametrize("tolerance", [None, 0.0, 1.0])
def test_coco_is_read_by_pycocotools(objects, tmp_path, tolerance):
    (tmp_path / "coco.json").write_text(json.dumps(coco.dataset([(IMAGE, objects)], CATEGORIES, tolerance)))
    read = COCO(tmp_path / "coco.json")
    assert {each["id"]: each["name"] for each in read.cats.values()} == CATEGORIES
    assert read.imgs[8]["file_name"] == "a.jpg"
    for annotation, found, mask in zip(read.imgToAnns[8], objects, MASKS, strict=True):
        back = read.annToMask(annotation).astype(bool)
        assert iou(back, mask) >= (1 if not tolerance else 0.93)
        if tolerance is not None and mask.any():
            assert iou(back, mask) == pytest.approx(annotation["polygon_iou"], abs=0.02)
            assert annotation["polygon_tolerance"] <= tolerance
            assert len(annotation["segmentation"]) == label(mask)[1]
        assert (annotation["category_id"], annotation["predicted_iou"], annotation["area"]) == (
            found.category_id,
            found.facts["predicted_iou"],
            mask.sum(),
        )


def test_yolo_is_read_by_supervision(objects, tmp_path):
    classes = yolo.class_numbers(CATEGORIES)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "images" / "a.png")
    (tmp_path / "data.yaml").write_text(yolo.data_yaml(CATEGORIES), encoding="utf-8")
    assert yaml.safe_load((tmp_path / "data.yaml").read_text(encoding="utf-8"))["names"] == {
        classes[number]: name for number, name in CATEGORIES.items()
    }
    for tolerance, least in ((0.0, 0.98), (1.0, 0.9)):  # bridges between pieces are drawn a pixel wide
        (tmp_path / "labels" / "a.txt").write_text(yolo.label_lines(objects, SIZE, classes, tolerance))
        dataset = supervision.DetectionDataset.from_yolo(
            str(tmp_path / "images"), str(tmp_path / "labels"), str(tmp_path / "data.yaml"), force_masks=True
        )
        (detections,) = (detections for _, _, detections in dataset)
        there = [mask.any() for mask in MASKS]
        assert len(detections) == sum(there)
        for back, mask in zip(detections.mask, np.array(MASKS)[there], strict=True):
            assert iou(back, mask) >= least
        assert [dataset.classes[number] for number in detections.class_id] == [
            each.category for each in objects if each.mask.area
        ]


def test_labelme_has_every_field_of_its_schema(objects):
    written = json.loads(json.dumps(labelme.document("../a.jpg", SIZE, objects, 1.0)))
    assert set(written) == {"version", "flags", "shapes", "imagePath", "imageData", "imageHeight", "imageWidth"}
    assert (written["imageHeight"], written["imageWidth"], written["imageData"]) == (*SIZE, None)
    for shape in written["shapes"]:
        assert set(shape) == {"label", "points", "group_id", "description", "shape_type", "flags", "mask"}
        assert shape["shape_type"] == "polygon"
        assert all(isinstance(value, float) for point in shape["points"] for value in point)
        assert len(shape["points"]) >= 3
    for number, (found, mask) in enumerate(zip(objects, MASKS, strict=True), start=1):
        shapes = [shape for shape in written["shapes"] if shape["group_id"] == number]
        assert {shape["label"] for shape in shapes} <= {found.category}
        assert iou(fill([np.array(shape["points"]) for shape in shapes], SIZE), mask) >= MIN_IOU


def test_geojson_keeps_holes_and_pieces(objects):
    written = json.loads(json.dumps(geojson.document("a.jpg", SIZE, objects, 1.0)))
    assert written["type"] == "FeatureCollection"
    for feature, mask in zip(written["features"], MASKS, strict=True):
        if not mask.any():
            assert feature["geometry"] is None
            continue
        pieces = feature["geometry"]["coordinates"]
        assert feature["geometry"]["type"] == "MultiPolygon"
        assert len(pieces) == label(mask)[1]
        assert all(ring[0] == ring[-1] and len(ring) >= 4 for piece in pieces for ring in piece)
        back = fill([np.array(ring[:-1]) for piece in pieces for ring in piece], SIZE)
        assert feature["properties"]["polygon_iou"] == pytest.approx(iou(back, mask), abs=1e-6)
        assert feature["properties"]["category"] in CATEGORIES.values()


def test_pictures():
    encoded = [RunLengthMask.from_mask(mask) for mask in MASKS]
    numbered = pictures.numbered(encoded, SIZE)
    assert numbered.mode == "P"
    order = sorted(range(len(MASKS)), key=lambda index: -MASKS[index].sum())
    wanted = np.zeros(SIZE, int)
    for index in order:
        wanted[MASKS[index]] = index + 1
    np.testing.assert_array_equal(np.asarray(numbered), wanted)
    many = pictures.numbered([encoded[2]] * 256 + encoded[1:2], SIZE)
    assert np.asarray(many).max() == 257
    np.testing.assert_array_equal(np.asarray(pictures.binary(encoded[0])), MASKS[0] * 255)
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    cutout = np.asarray(pictures.cutout(pixels, encoded[1:3]))
    np.testing.assert_array_equal(cutout[..., 3] > 0, MASKS[1] | MASKS[2])
    np.testing.assert_array_equal(cutout[..., :3], pixels)
    assert not np.asarray(pictures.cutout(pixels, []))[..., 3].any()
