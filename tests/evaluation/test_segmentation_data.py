"""Datasets on disk: every layout is read, and whatever is bad is named and counted."""

import json
import re
import sys

import numpy as np
import pytest
from PIL import Image

from sam_hq.evaluation.segmentation_data import CocoInstances, ImageMaskFolder, open_dataset
from sam_hq_numpy.outlined_masks import drawn_polygons
from sam_hq_numpy.stored_masks import UnreadableMaskError
from training_data import shapes, write_pairs


def assert_same(dataset, images, tolerance=40):
    assert len(dataset) == len(images)
    for (pixels, masks), (expected_pixels, expected) in zip(dataset, images, strict=True):
        assert np.abs(pixels.astype(int) - expected_pixels).mean() < tolerance
        np.testing.assert_array_equal(masks, expected)


def test_pairs_in_one_folder_and_in_two(tmp_path):
    images = shapes(3)
    write_pairs(tmp_path / "flat", images)
    assert_same(ImageMaskFolder(tmp_path / "flat"), images)
    for pictures, masks in (("im", "gt"), ("images", "masks")):
        root = tmp_path / pictures
        write_pairs(root / pictures, images)
        (root / masks).mkdir()
        for path in (root / pictures).glob("*.png"):
            path.rename(root / masks / path.name)
        assert_same(ImageMaskFolder(root), images)


def test_a_manifest_names_the_pairs(tmp_path):
    images = shapes(2)
    write_pairs(tmp_path / "images", images)
    (tmp_path / "masks").mkdir()
    lines = ["image,mask,licence"]
    for path in sorted((tmp_path / "images").glob("*.png")):
        path.rename(tmp_path / "masks" / path.name)
        lines.append(f"{path.stem.split('_')[0]}.jpg,{path.name},CC0-1.0")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    assert_same(ImageMaskFolder(tmp_path), images)


def test_coco_polygons_and_run_lengths(tmp_path):
    coco_masks = pytest.importorskip("pycocotools.mask")
    (image, masks), *_ = shapes(1)
    Image.fromarray(image).save(tmp_path / "a.jpg", quality=95)
    packed = coco_masks.encode(np.asfortranarray(masks[0].astype(np.uint8)))
    annotations = [
        {"id": 1, "image_id": 7, "segmentation": {**packed, "counts": packed["counts"].decode()}, "iscrowd": 0},
        {"id": 2, "image_id": 7, "segmentation": [[10, 10, 30, 10, 30, 40, 10, 40]], "iscrowd": 0},
        {"id": 3, "image_id": 7, "segmentation": [[0, 0, 9, 0, 9, 9]], "iscrowd": 1},
    ]
    content = {"images": [{"id": 7, "file_name": "a.jpg", "height": 128, "width": 128}], "annotations": annotations}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    dataset = open_dataset(tmp_path / "instances.json")
    assert isinstance(dataset, CocoInstances)
    read = dataset[0][1]
    np.testing.assert_array_equal(read[0], masks[0])
    expected = np.zeros((128, 128), bool)
    expected[10:40, 10:30] = True
    np.testing.assert_array_equal(read[1], expected)
    assert len(read) == 2


def spoil(folder) -> dict[str, str]:
    """Make one photo for each kind of fault; returns the reasons by the mask's or photo's name."""
    write_pairs(folder, shapes(6))
    blank = np.zeros((128, 128), np.uint8)
    grey = np.tile(np.linspace(0, 255, 128).astype(np.uint8), (128, 1))
    for path in folder.glob("photo[0-4]_[0-9].png"):
        path.unlink()
    Image.fromarray(blank).save(folder / "photo0_0.png")
    Image.fromarray(blank[:100] + 255).save(folder / "photo1_0.png")
    Image.fromarray(grey).save(folder / "photo2_0.png")
    (folder / "photo3_0.png").write_bytes(b"no picture")
    Image.fromarray(blank + 255).save(folder / "photo4_0.png")
    (folder / "photo4.jpg").write_bytes(b"no picture")
    return {
        "photo0_0.png": "empty mask",
        "photo1_0.png": "mask of another size than the image",
        "photo2_0.png": "mask is not binary",
        "photo3_0.png": "unreadable mask (UnidentifiedImageError)",
        "photo4.jpg": "unreadable image (UnreadableImageError)",
    }


def test_bad_data_is_named_counted_and_skipped(tmp_path):
    reasons = spoil(tmp_path)
    dataset = ImageMaskFolder(tmp_path)
    counts = [len(masks) for _, masks in dataset]
    assert counts[:5] == [0] * 5
    assert counts[5] >= 1
    assert dataset.report.counts == dict.fromkeys(reasons.values(), 1)
    assert dataset.report.examples == {reason: [name] for name, reason in reasons.items()}
    assert "photo2_0.png" in str(dataset.report)


def test_bad_data_is_counted_once_however_often_it_is_read(tmp_path):
    spoil(tmp_path)
    dataset = ImageMaskFolder(tmp_path)
    for _ in range(3):
        list(dataset)
    assert set(dataset.report.counts.values()) == {1}
    assert len(dataset.report.take_new()) == 5
    assert dataset.report.take_new() == []


def test_numbered_objects_are_no_binary_mask(tmp_path):
    write_pairs(tmp_path, shapes(2))
    for path in tmp_path.glob("*.png"):
        path.unlink()
    numbers = np.zeros((128, 128), np.uint8)
    numbers[10:40, 10:40], numbers[50:90, 50:90] = 1, 2
    Image.fromarray(numbers).save(tmp_path / "photo0.png")
    Image.fromarray((numbers > 1).astype(np.uint8)).save(tmp_path / "photo1.png")  # 0 and 1 is one
    dataset = ImageMaskFolder(tmp_path)
    assert [len(masks) for _, masks in dataset] == [0, 1]
    assert dataset.report.cases == {"mask is not binary": ["photo0.png"]}


def test_a_mask_goes_to_the_image_of_its_full_name(tmp_path):
    images = shapes(3)
    for name, (image, masks) in zip(("photo", "photo_1", "photo_2"), images, strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.jpg")
        Image.fromarray(masks[0].astype(np.uint8) * 255).save(tmp_path / f"{name}.png")
    Image.fromarray(images[0][1][1].astype(np.uint8) * 255).save(tmp_path / "photo_7.png")
    dataset = ImageMaskFolder(tmp_path)
    found = {path.name: [mask.name for mask in masks] for path, masks in dataset.entries}
    assert found == {
        "photo.jpg": ["photo.png", "photo_7.png"],
        "photo_1.jpg": ["photo_1.png"],
        "photo_2.jpg": ["photo_2.png"],
    }


def test_what_has_no_partner_is_named_and_counted(tmp_path):
    write_pairs(tmp_path, shapes(3))
    masks = [sorted(tmp_path.glob(f"photo{number}_*.png")) for number in range(3)]
    (tmp_path / "photo0.jpg").unlink()
    for path in masks[2]:
        path.unlink()
    dataset = ImageMaskFolder(tmp_path)
    assert [dataset.name(index) for index in range(len(dataset))] == ["photo1.jpg"]
    assert dataset.report.cases == {
        "image without a mask": ["photo2.jpg"],
        "mask without an image": [path.name for path in masks[0]],
    }
    with pytest.raises(ValueError, match=r"photo2\.jpg: image without a mask"):
        ImageMaskFolder(tmp_path, on_bad="raise")


def test_coco_images_and_annotations_without_a_partner_are_counted(tmp_path):
    pytest.importorskip("pycocotools")
    for name in ("a/1.jpg", "b/1.jpg", "b/2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(shapes(1)[0][0]).save(tmp_path / name)
    names = ["a/1.jpg", "b/1.jpg", "b/2.jpg"]
    images = [{"id": i, "file_name": name, "height": 128, "width": 128} for i, name in enumerate(names)]
    outline = [[10, 10, 30, 10, 30, 40, 10, 40]]
    annotations = [{"id": 10 + i, "image_id": i, "segmentation": outline, "iscrowd": int(i == 2)} for i in range(3)]
    path = tmp_path / "instances.json"
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    dataset = CocoInstances(path, tmp_path, on_bad="raise")  # crowds alone are nothing bad
    assert [dataset.name(index) for index in range(2)] == names[:2]  # a file's name alone would stand for two
    assert dataset.report.cases == {"image without a mask": ["b/2.jpg"]}
    annotations.append({"id": 20, "image_id": 9, "segmentation": outline})
    path.write_text(json.dumps({"images": images, "annotations": annotations}))
    assert CocoInstances(path, tmp_path).report.cases["mask without an image"] == ["annotation 20"]
    with pytest.raises(ValueError, match="annotation 20: mask without an image"):
        CocoInstances(path, tmp_path, on_bad="raise")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{no", "is not JSON"),
        ('{"images": {}, "annotations": []}', "lacks 'images' or 'annotations'"),
        ('{"images": [{"id": 1, "file_name": "a"}], "annotations": []}', r"entry 0 of 'images' lacks \['height'"),
        ('{"images": [], "annotations": [{}]}', r"entry 0 of 'annotations' lacks \['image_id'\]"),
        ('{"images": [3], "annotations": []}', "entry 0 of 'images' lacks"),
        (
            json.dumps(
                {
                    "images": [{"id": 7, "file_name": name, "height": 9, "width": 9} for name in ("a.png", "b.png")],
                    "annotations": [],
                }
            ),
            "two of its images have the id 7",
        ),
    ],
)
def test_a_malformed_coco_file_is_refused_by_name(tmp_path, content, message):
    pytest.importorskip("pycocotools")
    (tmp_path / "coco.json").write_text(content)
    with pytest.raises(ValueError, match=f"coco.json' .*{message}"):
        CocoInstances(tmp_path / "coco.json", tmp_path)


def test_a_row_of_a_manifest_that_is_cut_off_is_refused_by_its_line(tmp_path):
    (tmp_path / "manifest.csv").write_text("image,mask\na.jpg,a.png\nb.jpg\n")
    with pytest.raises(ValueError, match=r"manifest\.csv', line 3"):
        ImageMaskFolder(tmp_path)


def test_a_missing_folder_of_images_is_named(tmp_path):
    pytest.importorskip("pycocotools")
    (tmp_path / "coco.json").write_text('{"images": [], "annotations": []}')
    with pytest.raises(FileNotFoundError, match="nowhere' is missing"):
        CocoInstances(tmp_path / "coco.json", tmp_path / "nowhere")


def test_lists_of_another_form_are_refused(tmp_path, monkeypatch):
    (tmp_path / "manifest.csv").write_text("photo,mask\na.jpg,a.png\n")
    with pytest.raises(ValueError, match=r"manifest.csv' lacks the columns \['image'\]"):
        ImageMaskFolder(tmp_path)
    (tmp_path / "coco.json").write_text("[]")
    with pytest.raises(ValueError, match="holds no COCO instances"):
        CocoInstances(tmp_path / "coco.json", tmp_path)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ImportError, match="pip install pycocotools"):
        CocoInstances(tmp_path / "coco.json", tmp_path)


def test_bad_data_is_refused_by_name_when_asked(tmp_path):
    reasons = spoil(tmp_path)
    dataset = ImageMaskFolder(tmp_path, on_bad="raise")
    for number, (name, reason) in enumerate(reasons.items()):
        with pytest.raises(ValueError, match=re.escape(f"{name}: {reason}")):
            dataset[number]


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        ImageMaskFolder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="holds no image"):
        ImageMaskFolder(tmp_path)
    with pytest.raises(ValueError, match="on_bad"):
        write_pairs(tmp_path, shapes(1))
        ImageMaskFolder(tmp_path, on_bad="ignore")


@pytest.mark.parametrize(
    ("outline", "fault"),
    [
        ([[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]], True),
        ([[0.1, 0.1, 0.9, 0.1, 0.9, 0.9], [0, 0, 1, 0, 1, 1]], True),
        ([[0, 0, 1, 0, 1, 1, 0, 1]], False),
        ([[0.5, 0.5, 0.5, 7, 9, 7]], False),
    ],
)
def test_outlines_in_shares_of_the_image_are_no_masks_of_a_pixel(outline, fault):
    if fault:
        with pytest.raises(UnreadableMaskError, match="from 0 to 1, as if they were shares of the image"):
            drawn_polygons(outline, (20, 30))
    else:
        assert drawn_polygons(outline, (20, 30)).any()
