"""Masks as people have them: the pixels that each layout means by its own definition, and what cannot be meant."""

import base64
import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from sam_hq.evaluation.segmentation_data import open_dataset
from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.stored_masks import read_mask

SIZE = (96, 120)
PHOTO = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
MASK = (ys - 50) ** 2 + (xs - 60) ** 2 < 30**2
OTHER = (ys > 10) & (ys < 30) & (xs > 5) & (xs < 25)
GRAY = np.where(MASK, np.uint8(255), np.uint8(0))


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PHOTO).save(path)


def mask(path, pixels=MASK):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.where(pixels, np.uint8(255), np.uint8(0))).save(path)


def palette(colour, first=(0, 0, 0), indices=MASK):
    picture = Image.fromarray(indices.astype(np.uint8), "P")
    picture.putpalette([*first, *colour])
    return picture


def coloured(colour):
    return Image.fromarray(MASK[..., None] * np.array(colour, np.uint8))


def soft(peak):
    large = Image.fromarray(GRAY).resize((480, 384)).resize((120, 96), Image.Resampling.BILINEAR)
    return Image.fromarray((np.asarray(large) * (peak / 255)).astype(np.uint8))


FILES = {
    "one bit.png": Image.fromarray(MASK),
    "0 and 1.png": Image.fromarray(MASK.astype(np.uint8)),
    "0 and 128.png": Image.fromarray(MASK.astype(np.uint8) * 128),
    "0 and 7.png": Image.fromarray(MASK.astype(np.uint8) * 7),
    "16 bits.png": Image.fromarray(MASK.astype(np.uint16) * 65535),
    "16 bits of 1.png": Image.fromarray(MASK.astype(np.uint16)),
    "floats.tif": Image.fromarray(MASK.astype(np.float32)),
    "red.png": coloured((255, 0, 0)),
    "dark blue.bmp": coloured((0, 0, 90)),
    "red palette.png": palette((128, 0, 0)),
    "black palette.gif": palette((1, 1, 1)),
    "white first.png": palette((0, 0, 0), (255, 255, 255), ~MASK),
    "red first.gif": palette((0, 0, 0), (128, 0, 0), ~MASK),
    "minus one.tif": Image.fromarray(-MASK.astype(np.int32)),
    "white.PNG": Image.fromarray(GRAY),
    "clear.png": Image.fromarray(np.dstack([np.full_like(GRAY, 40)] * 3 + [GRAY])),
    "opaque.png": Image.fromarray(np.dstack([GRAY] * 3 + [np.full_like(GRAY, 255)])),
    "lossy.jpg": Image.fromarray(GRAY),
    "lossy red.jpg": coloured((255, 0, 0)),
    "lossy 128.jpg": Image.fromarray(MASK.astype(np.uint8) * 128),
    "bits.tif": Image.fromarray(MASK),
    "bits.pbm": Image.fromarray(MASK),
}


@pytest.mark.parametrize("name", FILES)
def test_two_values_are_background_and_object(name, tmp_path):
    FILES[name].save(tmp_path / name)
    photo(tmp_path / "data" / "images" / "x.png")
    (tmp_path / "data" / "masks").mkdir()
    (tmp_path / name).rename(tmp_path / "data" / "masks" / f"x{(tmp_path / name).suffix}")
    (pixels, masks), *_ = open_dataset(tmp_path / "data", on_bad="raise")
    np.testing.assert_array_equal(pixels, PHOTO)
    assert masks.shape == (1, *SIZE)
    wrong = (masks[0] != MASK).mean()
    assert wrong <= (0.005 if name.startswith("lossy") else 0)
    assert set(np.unique(masks.view(np.uint8))) == {0, 1}  # no bytes of 255 called True


def test_soft_edges_are_cut_at_the_middle(tmp_path):
    soft(255).save(tmp_path / "a.png")
    assert ((np.asarray(read_mask(tmp_path / "a.png")) > 127) == MASK).mean() > 0.99


@pytest.mark.parametrize(
    "picture",
    [
        Image.fromarray(MASK.astype(np.uint8) + OTHER * np.uint8(2)),
        Image.fromarray(
            (MASK[..., None] * np.array((255, 0, 0)) + OTHER[..., None] * np.array((0, 255, 0))).astype("u1")
        ),
        Image.fromarray(np.where(MASK, np.uint8(64), np.uint8(192))),
        Image.fromarray(PHOTO),
        Image.fromarray(np.where(MASK, np.nan, 0).astype(np.float32)),
        Image.fromarray(MASK.astype(np.float32) + np.where(OTHER, np.nan, 0).astype(np.float32)),
        Image.fromarray(MASK.astype(np.int32) - OTHER),
    ],
    ids=["numbers", "two colours", "no black", "a photo", "NaN", "one and NaN", "one and minus one"],
)
def test_what_may_be_read_in_two_ways_is_refused(picture, tmp_path):
    photo(tmp_path / "images" / "x.png")
    (tmp_path / "masks").mkdir()
    suffix = ".tif" if picture.mode in "FI" else ".png"
    picture.save(tmp_path / "masks" / f"x{suffix}")
    with pytest.raises(ValueError, match=r"x\.(png|tif): mask (is not binary|with several)"):
        open_dataset(tmp_path, on_bad="raise")[0]


LAYOUTS = {
    "a word": ["x.jpg", "x_mask.png"],
    "a word on png": ["x.png", "x_mask.png"],
    "a word on jpg": ["x.jpg", "x-mask.jpg"],
    "a word and numbers": ["x.jpg", "x_mask_0.png"],
    "suffix kept": ["images/x.jpg", "masks/x.jpg.png"],
    "capitals": ["Images/x.JPG", "Masks/x.PNG"],
    "tif": ["images/x.webp", "masks/x.tif"],
    "tif beside": ["x.jpg", "x.tif"],
    "sub-folders": ["images/a/b/x.jpg", "masks/a/b/x.png"],
    "one sub-folder": ["images/a/x.jpg", "masks/x.png"],
    "a folder for each": ["images/x.jpg", "masks/x/0.png"],
    "parts": ["train/im/x.jpg", "train/gt/x.png"],
    "samples": ["one/images/x.png", "one/masks/0123abcd.png"],
    "masks below": ["x.jpg", "masks/x.png"],
    "camera's name": ["images/_MG_1.jpg", "masks/_MG_1.png"],
    "a prefix": ["images/x.jpg", "masks/mask_x.png"],
    "jfif": ["images/x.jfif", "masks/x.png"],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_mask_files(layout, tmp_path):
    image, mask_name = LAYOUTS[layout]
    photo(tmp_path / image)
    mask(tmp_path / mask_name)
    (tmp_path / "._x.png").write_bytes(b"resource fork")
    dataset = open_dataset(tmp_path, on_bad="raise")
    assert len(dataset) == 1
    ((_, masks),) = dataset
    assert masks.shape == (1, *SIZE)
    assert (masks[0] != MASK).mean() < 0.005


def test_a_manifest_may_have_a_byte_order_mark_and_any_letters(tmp_path):
    photo(tmp_path / "images" / "größe.png")
    mask(tmp_path / "masks" / "größe.png")
    (tmp_path / "manifest.csv").write_bytes("﻿image,mask\ngröße.png,größe.png\n".encode())
    ((_, masks),) = open_dataset(tmp_path)
    np.testing.assert_array_equal(masks[0], MASK)
    (tmp_path / "manifest.csv").write_bytes("image,mask\ngröße.png,größe.png\n".encode("latin-1"))
    with pytest.raises(ValueError, match="is not UTF-8"):
        open_dataset(tmp_path)


def box_mask(x0, y0, x1, y1):
    return (xs + 0.5 > x0) & (xs + 0.5 < x1) & (ys + 0.5 > y0) & (ys + 0.5 < y1)


def coco(tmp_path, segmentations, size=SIZE, bom=False):
    pytest.importorskip("pycocotools")
    photo(tmp_path / "x.png")
    content = {
        "images": [{"id": 1, "file_name": "x.png", "height": size[0], "width": size[1]}],
        "annotations": [{"id": n, "image_id": 1, "segmentation": each} for n, each in enumerate(segmentations)],
    }
    text = json.dumps(content)
    (tmp_path / "coco.json").write_bytes((b"\xef\xbb\xbf" if bom else b"") + text.encode())
    return open_dataset(tmp_path / "coco.json")


def runs(pixels):
    flat = pixels.T.ravel()
    changes = np.flatnonzero(np.diff(np.concatenate([[0], flat.view(np.uint8), [0]]).astype(int)))
    return np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()


def test_coco_with_a_byte_order_mark_and_every_kind_of_segmentation(tmp_path):
    pieces = [[10, 10, 30, 10, 30, 40, 10, 40], [50, 50, 60, 50, 60, 60, 50, 60]]
    ((_, masks),) = coco(tmp_path, [pieces, {"size": list(SIZE), "counts": runs(MASK)}], bom=True)
    np.testing.assert_array_equal(masks[0], box_mask(10, 10, 30, 40) | box_mask(50, 50, 60, 60))
    np.testing.assert_array_equal(masks[1], MASK)
    assert len(open_dataset(tmp_path)) == 1  # the folder's only COCO file


BAD = {
    "NaN": [[10, 10, math.nan, 10, 30, 40]],
    "infinite": [[10, 10, math.inf, 10, 30, 40]],
    "far": [[10, 10, 1e8, 10, 30, 40]],
    "very far": [[10, 10, 10**400, 10, 30, 40]],
    "a box": [[10, 10, 30, 40]],
    "a point": [[10, 10]],
    "odd": [[10, 10, 30, 10, 30, 40, 5]],
    "texts": [["10", "10", "30", "10", "30", "40"]],
    "flags": [[True, False, True, True, False, True]],
    "nested": [[[10, 10], [30, 10], [30, 40]]],
    "flat": [10, 10, 30, 10, 30, 40],
    "nothing": [],
    "none": None,
    "a number": 5,
    "text": "abc",
    "zigzag": [[0, 0, 119, 95] * 50_000],
    "other size": {"size": [40_000, 40_000], "counts": [0, 1_600_000_000]},
    "no sum": {"size": list(SIZE), "counts": [5, 10]},
    "negative": {"size": list(SIZE), "counts": [-5, 5 + SIZE[0] * SIZE[1]]},
    "overflow": {"size": list(SIZE), "counts": [2**62, 2**62, 2**62, 2**62, SIZE[0] * SIZE[1]]},
    "fractions": {"size": list(SIZE), "counts": [0.5, SIZE[0] * SIZE[1] - 0.5]},
    "damaged text": {"size": list(SIZE), "counts": "~~~\x00"},
    "cut text": {"size": list(SIZE), "counts": "PP"},
    "no counts": {"size": list(SIZE)},
    "no size": {"counts": [SIZE[0] * SIZE[1]]},
}


def test_segmentations_that_cannot_be_drawn_are_counted_and_the_others_stay(tmp_path):
    good = [[10, 10, 30, 10, 30, 40, 10, 40]]
    dataset = coco(tmp_path, [*BAD.values(), good])
    ((_, masks),) = dataset
    assert len(masks) == 1
    np.testing.assert_array_equal(masks[0], box_mask(10, 10, 30, 40))
    named = [name for reason, names in dataset.report.cases.items() for name in names if "unreadable mask" in reason]
    assert sorted(named) == sorted(f"x.png, annotation {number}" for number in range(len(BAD)))


def test_run_lengths_whose_sum_wraps_around_are_refused():
    with pytest.raises(ValueError, match="must be lengths that sum to"):
        RunLengthMask.from_dict({"size": [4, 4], "counts": [2**62, 2**62, 2**62, 2**62, 16]})


@pytest.mark.parametrize("size", [(10**9, 10**9), (96, 121), (-96, 120), ("96", "120")])
def test_coco_sizes_other_than_the_images_are_never_drawn(size, tmp_path):
    dataset = coco(tmp_path, [[[10, 10, 30, 10, 30, 40, 10, 40]]], size=size)
    assert len(dataset[0][1]) == 0
    assert "another size" in next(iter(dataset.report.cases))


def labelme(folder, shapes, image="x.png", **more):
    folder.mkdir(parents=True, exist_ok=True)
    document = {"version": "5.4", "shapes": shapes, "imagePath": image, "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    (folder / "x.json").write_text(json.dumps({**document, **more}), encoding="utf-8-sig")


def test_labelme_shapes(tmp_path):
    pytest.importorskip("pycocotools")
    photo(tmp_path / "x.png")
    png = io.BytesIO()
    Image.fromarray(MASK[20:81, 30:91]).save(png, "PNG")
    encoded = base64.b64encode(png.getvalue()).decode()
    square = [[10, 10], [30, 10], [30, 40], [10, 40]]
    labelme(
        tmp_path,
        [
            {"label": "a", "points": square, "shape_type": "polygon", "group_id": None},
            {"label": "b", "points": [[60, 70], [50, 20]], "shape_type": "rectangle"},
            {"label": "c", "points": [[60, 50], [60, 80]], "shape_type": "circle"},
            {
                "label": "d",
                "points": [[30, 20], [90, 80]],
                "shape_type": "mask",
                "mask": encoded,
            },
            {"label": "e", "points": square, "shape_type": "polygon", "group_id": 1},
            {"label": "e", "points": [[70, 70], [90, 70], [90, 90], [70, 90]], "group_id": 1},
            {"label": "f", "points": [[5, 5], [9, 9]], "shape_type": "line"},
            {"label": "g", "points": [[5, math.nan], [9, 9], [3, 4]], "shape_type": "polygon"},
            "nothing",
        ],
        image="C:\\photos\\x.png",
    )
    dataset = open_dataset(tmp_path)
    ((_, masks),) = dataset
    np.testing.assert_array_equal(masks[0], box_mask(10, 10, 30, 40))
    np.testing.assert_array_equal(masks[1], box_mask(50, 20, 60, 70))
    circle = (ys + 0.5 - 50) ** 2 + (xs + 0.5 - 60) ** 2 < 30**2
    assert (masks[2] != circle).mean() < 0.01
    np.testing.assert_array_equal(masks[3], MASK)
    np.testing.assert_array_equal(masks[4], box_mask(10, 10, 30, 40) | box_mask(70, 70, 90, 90))
    assert len(masks) == 5
    assert sum(dataset.report.counts.values()) == 3


def test_labelme_in_a_folder_of_its_own_and_without_a_photo(tmp_path):
    pytest.importorskip("pycocotools")
    photo(tmp_path / "images" / "x.png")
    labelme(
        tmp_path / "labelled", [{"label": "a", "points": [[10, 10], [30, 10], [30, 40], [10, 40]]}], "../images/x.png"
    )
    (tmp_path / "labelled" / "gone.json").write_text(json.dumps({"shapes": [], "imagePath": "gone.png"}))
    dataset = open_dataset(tmp_path)
    np.testing.assert_array_equal(dataset[0][1][0], box_mask(10, 10, 30, 40))
    assert dataset.report.cases == {"mask without an image": ["labelled/gone.json"]}


@pytest.mark.parametrize("stated", ["../photos/x.png", "..\\photos\\x.png"])
def test_labelme_outside_the_folder_of_its_photos(tmp_path, stated):
    pytest.importorskip("pycocotools")
    photo(tmp_path / "photos" / "x.png")
    square = {"label": "a", "points": [[10, 10], [30, 10], [30, 40], [10, 40]]}
    labelme(tmp_path / "labelled", [square], stated)
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "labelled" / "x.png")  # another photo of that name
    pixels, masks = open_dataset(tmp_path / "labelled")[0]
    np.testing.assert_array_equal(pixels, PHOTO)
    np.testing.assert_array_equal(masks[0], box_mask(10, 10, 30, 40))


LINE = "0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75\n"
QUARTER = box_mask(30, 24, 90, 72)


@pytest.mark.parametrize(
    ("place", "entry"),
    [
        ("images/{}/x.png", "images/{}"),
        ("{}/images/x.png", "../{}/images"),
        ("{}/images/x.png", "{}/images"),
    ],
)
@pytest.mark.parametrize("split", ["train", "val"])
def test_yolo_segmentation_by_its_data_file(place, entry, split, tmp_path):
    pytest.importorskip("pycocotools")
    image = tmp_path / place.format(split)
    photo(image)
    label = tmp_path / place.format(split).replace("images", "labels").replace(".png", ".txt")
    label.parent.mkdir(parents=True)
    label.write_text("﻿" + LINE + "1 0.5 0.5 0.2 0.2\n\n2 0.1 nan 0.3 0.3 0.4 0.5\n3 a b\n", encoding="utf-8")
    (tmp_path / "data.yaml").write_text(f"path: .\n{split}: {entry.format(split)}\nnames: [a, b]\n")
    dataset = open_dataset(tmp_path / "data.yaml", split=split)
    ((_, masks),) = dataset
    assert len(masks) == 1
    np.testing.assert_array_equal(masks[0], QUARTER)
    assert sum(dataset.report.counts.values()) == 3
    with pytest.raises(ValueError, match="names no part 'test', only"):
        open_dataset(tmp_path / "data.yaml", split="test")


def test_yolo_segmentation_in_two_folders_without_a_data_file(tmp_path):
    pytest.importorskip("pycocotools")
    photo(tmp_path / "images" / "x.png")
    photo(tmp_path / "images" / "empty.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "x.txt").write_text(LINE)
    dataset = open_dataset(tmp_path, on_bad="raise")
    np.testing.assert_array_equal(dataset[0][1][0], QUARTER)
    assert dataset.report.cases == {"image without a mask": ["images/empty.png"]}


def test_what_is_not_understood_shows_what_is(tmp_path):
    photo(tmp_path / "photos" / "x.jpg")
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(ValueError, match=r"(?s)holds no image.*understood are.*manifest\.csv.*COCO.*LabelMe.*YOLO"):
        open_dataset(tmp_path)
