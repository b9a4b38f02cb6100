"""The same boxes in every format, and what is wrong with files that cannot be read."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from box_formats import CATEGORIES, WRITERS, write_detections
from sam_hq_numpy.formats import labelme
from sam_hq_numpy.formats.objects import ImageObject
from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.photo_files import decoded_photo, upright_size
from sam_hq_numpy.prompt_files.prompts import ImageNames, ObjectPrompt
from sam_hq_numpy.prompt_files.reading import read_prompts

WITHOUT_SCORES = ("write_coco", "write_labelme")


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / f"photo {index}.png" for index in range(4)]
    for index, path in enumerate(paths):
        Image.new("RGB", (100 + index, 80)).save(path)
    return paths


@pytest.fixture
def boxes(images):
    random = np.random.default_rng(0)
    found = {}
    for image in images[:3]:
        low = random.uniform(0, 40, (5, 2))
        spans = np.concatenate([low, low + random.uniform(2, 30, (5, 2))], axis=1)
        ids = random.choice(list(CATEGORIES), 5)
        found[image] = [(tuple(box), int(category), 0.5) for box, category in zip(spans.tolist(), ids, strict=True)]
    return found


@pytest.mark.parametrize("write", WRITERS)
def test_every_format_gives_the_same_boxes(boxes, images, tmp_path, write):
    found = read_prompts(write(boxes, tmp_path), images)
    assert (found.bad, found.without_image) == ([], {})
    assert {image for image, objects in found.objects.items() if objects} == set(boxes)
    for image, wanted in boxes.items():
        with Image.open(image) as opened:
            size = opened.size[::-1]
        objects = [each.in_pixels(size) for each in found.objects[image]]
        np.testing.assert_allclose([each.box for each in objects], [box for box, _, _ in wanted], rtol=0, atol=1e-9)
        assert all(each.fault(size) is None for each in objects)
        if write is not write_detections:  # which has no names
            assert [found.categories[each.category_id] for each in objects] == [
                CATEGORIES[category] for _, category, _ in wanted
            ]
        scores = [] if write.__name__ in WITHOUT_SCORES else [0.5] * 5
        assert [each.facts["score"] for each in objects if "score" in each.facts] == scores
    if write.__name__ == "write_coco":
        assert found.image_ids == {image: 100 + index for index, image in enumerate(boxes)}
        assert found.categories == CATEGORIES


def test_detections_take_names_and_ids_from_the_ground_truth(images, tmp_path):
    described = {
        "images": [{"id": 7, "file_name": images[2].name}, {"id": 9, "file_name": "gone.jpg"}],
        "categories": [{"id": 3, "name": "cat"}],
        "annotations": [],
    }
    (tmp_path / "truth.json").write_text(json.dumps(described))
    results = [{"image_id": key, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5} for key in (7, 9, 10)]
    (tmp_path / "results.json").write_text(json.dumps(results))
    found = read_prompts(tmp_path / "results.json", images, tmp_path / "truth.json")
    assert [(each.box, each.category_id) for each in found.objects[images[2]]] == [((1, 2, 4, 6), 3)]
    assert found.categories == {3: "cat"}
    assert found.image_ids == {images[2]: 7}
    assert found.without_image == {"image 9": 1, "image 10": 1}


def test_points_of_csv_and_of_labelme(images, tmp_path):
    (tmp_path / "points.csv").write_text(
        f"image,x,y,point_label,object\n{images[0].name},1,2,1,a\n{images[0].name},3,4,0,a\n{images[0].name},5,6,1,\n"
    )
    found = read_prompts(tmp_path / "points.csv", images).objects[images[0]]
    assert {(each.points, each.labels) for each in found} == {(((5, 6),), (1,)), (((1, 2), (3, 4)), (1, 0))}
    shapes = [
        {"label": "a", "points": [[1, 2]], "shape_type": "point", "group_id": 4},
        {"label": "a", "points": [[3, 4]], "shape_type": "point", "group_id": 4},
        {"label": "a", "points": [[5, 6]], "shape_type": "point", "group_id": None},
    ]
    (tmp_path / "label.json").write_text(json.dumps({"imagePath": images[0].name, "shapes": shapes}))
    found = read_prompts(tmp_path / "label.json", images).objects[images[0]]
    assert {each.points for each in found} == {((1, 2), (3, 4)), ((5, 6),)}


def test_labelme_shapes_of_one_label_and_group_are_one_object(images, tmp_path):
    shapes = [
        {"label": "a", "points": [[30, 40], [10, 20]], "shape_type": "rectangle", "group_id": 4},
        {"label": "a", "points": [[12, 22]], "shape_type": "point", "group_id": 4},
        {"label": "a", "points": [[35, 25], [40, 25], [38, 30]], "shape_type": "polygon", "group_id": 4},
        {"label": "a", "points": [[33, 24]], "shape_type": "point", "group_id": 4},
        {"label": "a", "points": [[1, 1], [5, 5]], "shape_type": "rectangle", "group_id": 5},
        {"label": "b", "points": [[1, 1], [6, 6]], "shape_type": "rectangle", "group_id": 4},
        {"label": "a", "points": [[1, 1], [7, 7]], "shape_type": "rectangle"},
        {"label": "a", "points": [[2, 2]], "shape_type": "point", "group_id": None},
        {"label": "a", "points": [[3, 3]], "shape_type": "point", "group_id": [6]},
    ]
    (tmp_path / "label.json").write_text(json.dumps({"imagePath": images[0].name, "shapes": shapes}))
    found = read_prompts(tmp_path / "label.json", images)
    assert [(each.box, each.points, each.labels) for each in found.objects[images[0]]] == [
        ((10, 20, 40, 40), ((12, 22), (33, 24)), (1, 1)),
        ((1, 1, 5, 5), (), ()),
        ((1, 1, 6, 6), (), ()),
        ((1, 1, 7, 7), (), ()),
        (None, ((2, 2),), (1,)),
        (None, ((3, 3),), (1,)),
    ]
    assert not found.bad


def test_an_object_in_pieces_that_labelme_was_given_comes_back_as_one(images, tmp_path):
    mask = np.zeros((80, 100), bool)
    mask[10:20, 5:30], mask[40:60, 50:90] = True, True
    content = labelme.document(images[0].name, (80, 100), [ImageObject(RunLengthMask.from_mask(mask))])
    (tmp_path / "label.json").write_text(json.dumps(content))
    assert [each.box for each in read_prompts(tmp_path / "label.json", images).objects[images[0]]] == [(5, 10, 90, 60)]


@pytest.mark.parametrize("field", ["shapes", "points"])
@pytest.mark.parametrize("value", [5, True, "abc", {"0": 1}])
def test_what_is_no_list_in_labelme_is_named(images, tmp_path, field, value):
    shape = {"label": "a", "points": [[1, 2], [9, 9]], "shape_type": "rectangle"}
    content = {"imagePath": images[0].name, "shapes": [shape, {**shape, field: value}]}
    (tmp_path / "label.json").write_text(json.dumps({**content, field: value} if field == "shapes" else content))
    found = read_prompts(tmp_path / "label.json", images)
    assert len(found.objects.get(images[0], [])) == (field == "points")
    assert len(found.bad) == 1
    assert found.bad[0][1].startswith(f"{field} must be a list, got")


BAD_ROWS = {
    "nan": '[{"file_name": "photo 0", "box": [NaN, 0, 4, 4]}]',
    "huge": '[{"file_name": "photo 0", "box": [0, 0, 1e300, 4]}]',
    "four hundred digits": f'[{{"file_name": "photo 0", "box": [0, 0, 1{"0" * 400}, 4]}}]',
    "three numbers": '[{"file_name": "photo 0", "box": [1, 2, 3]}]',
    "words": '[{"file_name": "photo 0", "box": ["a", 2, 3, 4]}]',
    "true": '[{"file_name": "photo 0", "box": [true, 2, 3, 4]}]',
    "swapped": '[{"file_name": "photo 0", "box": [9, 9, 3, 4]}]',
    "empty": '[{"file_name": "photo 0", "box": [3, 3, 3, 4]}]',
    "outside": '[{"file_name": "photo 0", "box": [200, 3, 300, 4]}]',
    "shares": '[{"file_name": "photo 0", "box": [0.1, 0.1, 0.5, 0.5]}]',
    "no box": '[{"file_name": "photo 0", "label": "cat"}]',
    "half a class": '[{"file_name": "photo 0", "box": [1, 2, 3, 4], "class_id": 1.5}]',
    "coco without a box": '[{"image_id": 0, "file_name": "photo 0.png", "bbox": null, "category_id": 1}]',
    "a score of NaN": '[{"file_name": "photo 0", "box": [1, 2, 3, 4], "score": NaN}]',
    "a label of a point": '[{"file_name": "photo 0", "x": 1, "y": 2, "label": 0}]',
    "a label of a point as text": '[{"file_name": "photo 0", "x": 1, "y": 2, "category": "1"}]',
    "a label of a point in other words": '[{"file_name": "photo 0", "x": 1, "y": 2, "positive": false}]',
    "coco score": '[{"image_id": 0, "file_name": "photo 0.png", "bbox": [1, 2, 3, 4], "score": Infinity}]',
    "coco category": '[{"image_id": 0, "file_name": "photo 0.png", "bbox": [1, 2, 3, 4], "category_id": "x"}]',
}


@pytest.mark.parametrize("fault", BAD_ROWS)
def test_a_bad_box_is_named_and_the_others_stay(images, tmp_path, fault):
    good = {"file_name": images[0].name, "box": [1, 2, 30, 40]}
    if fault.startswith("coco"):
        good = {"image_id": 0, "file_name": images[0].name, "bbox": [1, 2, 29, 38], "category_id": 1}
    rows = BAD_ROWS[fault][:-1] + ", " + json.dumps(good) + "]"
    (tmp_path / "rows.json").write_text(rows)
    found = read_prompts(tmp_path / "rows.json", images)
    faults = [each.fault((80, 100)) for each in found.objects[images[0]]]
    assert faults.count(None) == 1
    assert len(faults) - 1 + len(found.bad) == 1
    assert all(name for name, _ in found.bad)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("absent.json", None),
        ("boxes.json", "{"),
        ("boxes.json", "3"),
        ("boxes.json", "[" * 100000),
        ("boxes.json", '{"a": 1}'),
        ("boxes.json", '{"images": [], "annotations": 3}'),
        ("boxes.json", '{"images": [{"id": 1}], "annotations": []}'),
        *(
            ("boxes.json", json.dumps({"images": [{"file_name": "a.jpg", **other}], "annotations": []}))
            for other in ({}, {"id": None}, {"id": True}, {"id": 1.5}, {"id": [1]})
        ),
        ("boxes.docx", "x"),
        ("data.yaml", "names: 3"),
        ("data.yaml", "a: [b"),
        ("folder", ""),
    ],
)
def test_files_that_are_not_understood_are_refused(images, tmp_path, name, content):
    if name == "folder":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises((ValueError, OSError), match=r"absent|not JSON|understood|COCO file|names|not YAML"):
        read_prompts(tmp_path / name, images)


def test_which_image_a_name_means(tmp_path):
    paths = [tmp_path / name for name in ("a/x.jpg", "b/x.jpg", "a/y.png", "x.y.png")]
    names = ImageNames(paths)
    assert names.find("b/x.jpg") == paths[1]
    assert names.find("C:\\data\\a\\x.jpg") == paths[0]
    assert names.find("elsewhere/y.png") == paths[2]
    assert ImageNames(paths).find_stem(Path("a/y.txt")) == paths[2]
    assert names.find("x.y") == paths[3]
    assert names.find("z.jpg") is names.find("") is None
    with pytest.raises(ValueError, match="may be"):
        names.find("x.jpg")


def document(box=(1, 1, 30, 40), path="x.png"):
    return json.dumps({"imagePath": path, "shapes": [{"points": [box[:2], box[2:]], "shape_type": "rectangle"}]})


def coco_of(names, annotations=None, **more):
    found = [{"id": i, "image_id": i, "bbox": [1, 1, 30, 40], "category_id": 1} for i in range(len(names))]
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    return json.dumps({"images": images, "annotations": found if annotations is None else annotations, **more})


FOLDERS = {
    "coco": {"coco.json": coco_of(["train/x.png", "valid/x.png"])},
    "yolo": {"labels/train/x.txt": "0 .5 .5 .2 .2", "labels/valid/x.txt": "0 .4 .4 .2 .2"},
    "labelme": {"train/x.json": document(), "valid/x.json": document()},
    "csv": {"boxes.csv": "image,x0,y0,x1,y1\ntrain/x.png,1,1,30,40\nvalid\\x.png,1,2,30,40\n"},
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_two_images_of_one_name_are_never_taken_for_one(kind, tmp_path):
    paths = [tmp_path / "photos" / folder / "x.png" for folder in ("train", "valid")]
    for name, content in FOLDERS[kind].items():
        (tmp_path / "prompts" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "prompts" / name).write_text(content)
    source = tmp_path / "prompts" / (next(iter(FOLDERS[kind])) if kind in ("coco", "csv") else "")
    found = read_prompts(source, paths)
    assert {image: len(objects) for image, objects in found.objects.items()} == dict.fromkeys(paths, 1)
    for alone in paths:
        with pytest.raises(ValueError, match=r"train.*x.*and.*valid.*x.*would both be"):
            read_prompts(source, [alone])


def test_the_folders_of_a_label_file_say_which_image_it_is_of(tmp_path):
    paths = [tmp_path / folder / "x.png" for folder in ("a", "b", "")]
    for name, text in (
        ("a/x.json", document()),
        ("x.json", document(path="b\\x.png")),
        ("c/x.json", document(path="../x.png")),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    for source, image in (("a/x.json", 0), ("x.json", 1)):
        assert [*read_prompts(tmp_path / source, paths).objects] == [paths[image]]
    (tmp_path / "a/x.txt").write_text("0 .5 .5 .2 .2")
    assert [*read_prompts(tmp_path / "a/x.txt", paths).objects] == [paths[0]]


@pytest.mark.parametrize("name", ["labels.txt", "classes.txt", "README.txt"])
def test_a_list_of_names_beside_labelme_files_makes_them_no_yolo_labels(name, images, tmp_path):
    (tmp_path / "photo 0.json").write_text(document(path="photo 0.png"))
    (tmp_path / name).write_text("cat\ndog\n")
    assert [len(objects) for objects in read_prompts(tmp_path, images).objects.values()] == [1]


@pytest.mark.parametrize(
    ("categories", "said"),
    [([3], [3]), ([], [1]), ([3, 4], "no category_id, and there are several categories")],
)
def test_a_missing_category_is_the_only_one_or_bad(categories, said, images, tmp_path):
    named = [{"id": number, "name": f"kind {number}"} for number in categories]
    annotations = [{"id": 1, "image_id": 0, "bbox": [1, 1, 30, 40]}]
    path = tmp_path / "coco.json"
    path.write_text(coco_of(["photo 0.png"], annotations, categories=named))
    found = read_prompts(path, images)
    ids = [each.category_id for each in found.objects[images[0]]]
    assert (ids or found.bad[0][1]) == said
    path.with_name("found.json").write_text(json.dumps(annotations))
    found = read_prompts(path.with_name("found.json"), images, path)
    assert ([each.category_id for each in found.objects[images[0]]] or found.bad[0][1]) == said


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("boxes.csv", "x" * 140_000 + ",x0,y0,x1,y1\n", r"boxes\.csv': field larger"),
        ("labels/data.yaml", "names: {cat: 1}\n", r"data\.yaml' must have the numbers of classes as keys: 'cat'"),
        ("labels/data.yaml", "made: 2020-99-99\nnames: [cat]\n", r"data\.yaml' is not YAML: month"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(name, content, said, images, tmp_path):
    (tmp_path / "labels").mkdir()
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=said):
        read_prompts(tmp_path / name, images)


def test_a_box_of_a_thousand_levels_is_bad(images, tmp_path):
    (tmp_path / "boxes.csv").write_text("file_name,box\nphoto 0," + "[" * 100_000 + "\n")
    ((_, said),) = read_prompts(tmp_path / "boxes.csv", images).bad
    assert said.endswith("not of four numbers")


def test_a_line_of_jsonl_ends_where_json_says(images, tmp_path):
    row = {"image": "photo 0", "x0": 1, "y0": 1, "x1": 30, "y1": 40, "label": "one\u2028two\x85three"}
    text = json.dumps(row, ensure_ascii=False)
    (tmp_path / "boxes.jsonl").write_text(f"{text}\r\n\n{text}\n", encoding="utf-8", newline="")
    found = read_prompts(tmp_path / "boxes.jsonl", images)
    assert (found.categories, len(found.objects[images[0]])) == ({1: row["label"]}, 2)


def test_accents_are_the_same_however_they_are_written(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    for there, asked in ((composed, apart), (apart, composed)):
        paths = [tmp_path / f"{there}.png", tmp_path / "cafe.png"]
        names = ImageNames(paths)
        assert names.find(f"{asked}.png") == names.find_stem(Path(f"{asked}.txt")) == names.find(asked) == paths[0]


def test_a_box_that_overhangs_the_image_is_fine():
    assert ObjectPrompt("a", box=(-3, -2, 120, 90)).fault((80, 100)) is None


def test_the_upright_size_is_that_of_the_decoded_image(tmp_path):
    for turn in range(1, 9):
        photo = Image.new("RGB", (30, 20))
        exif = photo.getexif()
        exif[0x0112] = turn
        photo.save(tmp_path / "a.jpg", exif=exif)
        assert upright_size(tmp_path / "a.jpg") == decoded_photo(tmp_path / "a.jpg").size[::-1]
    with pytest.raises(ValueError, match="max_pixels"):
        upright_size(tmp_path / "a.jpg", 100)


@pytest.mark.parametrize("kind", ["dataset", "detections", "labelme"])
@pytest.mark.parametrize(
    ("listed", "wanted"),
    [
        ((80, 100), None),
        ((100, 80), "another size"),
        ((40, 50), "50 x 40"),
        (("40", "50"), "50 x 40"),
        ((40.0, 50.0), "50 x 40"),
        ((0, 0), None),
        ((None, None), None),
    ],
)
def test_boxes_of_an_image_that_is_listed_with_another_size_are_bad(images, tmp_path, kind, listed, wanted):
    height, width = listed
    box = {"image_id": 7, "category_id": 1, "bbox": [1, 2, 30, 40]}
    dataset = {
        "images": [{"id": 7, "file_name": images[0].name, "height": height, "width": width}],
        "annotations": [box],
    }
    shape = {"label": "cat", "shape_type": "rectangle", "points": [[1, 2], [31, 42]]}
    labelme = {"imagePath": images[0].name, "imageHeight": height, "imageWidth": width, "shapes": [shape]}
    contents = {"dataset": dataset, "detections": [box], "labelme": labelme}
    (tmp_path / "boxes.json").write_text(json.dumps(contents[kind]))
    (tmp_path / "listed.json").write_text(json.dumps(dataset))
    described_by = tmp_path / "listed.json" if kind == "detections" else None
    (found,) = read_prompts(tmp_path / "boxes.json", images, described_by).objects[images[0]]
    fault = found.fault((80, 100))
    assert fault is None if wanted is None else wanted in fault


@pytest.mark.parametrize(("width", "height", "is_bad"), [(100, 80, False), (50, 40, True), (29, 38, False)])
def test_width_and_height_beside_corners_are_the_images_or_the_boxes_own(images, tmp_path, width, height, is_bad):
    row = f"{images[0].name},{width},{height},cat,1,2,30,40"
    for names in ("width,height", "image_width,image_height"):
        (tmp_path / "rows.csv").write_text(f"filename,{names},class,xmin,ymin,xmax,ymax\n{row}\n")
        (found,) = read_prompts(tmp_path / "rows.csv", images).objects[images[0]]
        assert (found.fault((80, 100)) is not None) is (is_bad or (width == 29 and names != "width,height"))


@pytest.mark.parametrize("table", ["", "photo 0.png,1,2,30,40\n", "file_name|x0|y0|x1|y1\n", "ImageID,XMin2\na,1\n"])
def test_tables_without_a_box_or_point_are_refused(images, tmp_path, table):
    (tmp_path / "rows.csv").write_text(table)
    with pytest.raises(ValueError, match=r"rows\.csv': columns .*, but a table needs an image"):
        read_prompts(tmp_path / "rows.csv", images)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 .5 .5 .2 .2 7", "a score of 7, above 1"),  # the number of a track
        ("0 .5 .5 .2 .2 nan", "a score of nan"),
        ("0 .5 .5 .2 .2 .9 3", "an outline that leaves the image; tracks and keypoints behind a box are not read"),
        ("0 .5 .5 .2 .2 .9 1", "either three points, or a box with its score and the number of a track"),
        ("0 .5 .5 .2 .2 .1 .1 2 .2 .2 2", "an outline that leaves the image"),  # keypoints
        ("0 .1 .1 .5 .1 inf .5 .1 .5", "an outline that leaves the image"),
        ("-1 .5 .5 .2 .2", "a class of -1"),
        ("0,.5,.5,.2,.2", "1 number, but a box has 5"),
    ],
)
def test_lines_of_yolo_that_mean_something_else_are_bad(images, tmp_path, line, said):
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / f"{images[0].stem}.txt").write_text(
        f"{line}\n0 .5 .5 .2 .2 .9\n1 .1 .1 .5 .1 1 .505 .1 .5\n"
    )
    found = read_prompts(tmp_path / "labels", images)
    assert len(found.objects[images[0]]) == 2
    assert [reason[: len(said)] for _, reason in found.bad] == [said]
    (tmp_path / "data.yaml").write_text("names: [cat]\nkpt_shape: [17, 3]\n")
    with pytest.raises(ValueError, match="'kpt_shape': labels with keypoints are not read"):
        read_prompts(tmp_path / "data.yaml", images)


def test_rows_of_more_values_than_columns_are_bad_and_columns_of_one_name_refused(images, tmp_path):
    table = tmp_path / "boxes.csv"
    rows = ["photo 0,1,2,30,40", "photo 1,1,5,2,30,40", "photo 2,1,2,30,40,"]  # a decimal comma; a comma at the end
    table.write_text("\n".join(["file_name,x0,y0,x1,y1", *rows]))
    found = read_prompts(table, images)
    assert [len(found.objects.get(image, [])) for image in images[:3]] == [1, 0, 1]
    assert found.bad == [("boxes.csv, line 3", "1 value more than there are columns")]
    for twice in ("x0", "X0", " x0"):
        table.write_text(f"file_name,x0,y0,x1,y1,{twice}\nphoto 0,1,2,30,40,9\n")
        with pytest.raises(ValueError, match=r"boxes\.csv': two columns are called 'x0'"):
            read_prompts(table, images)


@pytest.mark.parametrize(
    ("columns", "values", "box", "label"),
    [
        ("x0,y0,x1,y1,x,y", "1,2,30,40,11,12", (1, 2, 30, 40), 1),
        ("x0,y0,x1,y1,x,y,point_label", "1,2,30,40,11,12,0", (1, 2, 30, 40), 0),
        ("x,y,xmin,ymin,xmax,ymax", "11,12,1,2,30,40", (1, 2, 30, 40), 1),
        ("left,top,right,bottom,x,y,width,score", "1,2,30,40,11,12,100,0.5", (1, 2, 30, 40), 1),
        ("left,top,width,height,x,y", "1,2,29,38,11,12", (1, 2, 30, 40), 1),
        ("bbox;x;y", "[1, 2, 29, 38];11;12", (1, 2, 30, 40), 1),
        ("box;bbox;x;y", "[1, 2, 30, 40];[1, 2, 29, 38];11;12", (1, 2, 30, 40), 1),
        ("x0,y0,x1,y1,x,y", ",,,,11,12", None, 1),
    ],
)
def test_a_row_may_hold_a_box_and_a_point_of_one_object(images, tmp_path, columns, values, box, label):
    separator = ";" if ";" in columns else ","
    table = tmp_path / "rows.csv"
    table.write_text(f"file_name{separator}{columns}\n{images[0].name}{separator}{values}\n")
    found = read_prompts(table, images)
    [prompt] = found.objects[images[0]]
    assert found.bad == []
    assert (prompt.box, prompt.points, prompt.labels) == (box, ((11, 12),), (label,))


@pytest.mark.parametrize(
    ("columns", "values", "box"),
    [
        ("x,y,width,height,x0,y0,x1,y1", "1,2,29,38,1,2,30,40", (1, 2, 30, 40)),  # one box in two forms
        ("x,y,w,h,x0,y0,x1,y1", "15.5,21,29,38,1,2,30,40", (1, 2, 30, 40)),  # x and y are its centre
        ("left,top,right,bottom,width,height", "1,2,30,40,100,80", (1, 2, 30, 40)),  # width and height of the image
    ],
)
def test_what_belongs_to_the_box_of_a_row_is_no_point(images, tmp_path, columns, values, box):
    (tmp_path / "rows.csv").write_text(f"file_name,{columns}\n{images[0].name},{values}\n")
    found = read_prompts(tmp_path / "rows.csv", images)
    [prompt] = found.objects[images[0]]
    assert found.bad == []
    assert (prompt.box, prompt.points) == (box, ())


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"x0": 1, "y0": 2, "x1": 30, "y1": 40, "point_label": 0}, "a point_label, but no point"),
        ({"x": 1, "y": 2, "width": 29, "height": 38, "point_label": 1}, "a point_label, but no point"),
        ({"x0": 1, "y0": 2, "x1": 30, "y1": 40, "x": 11}, "x of a point, but not both x and y"),
        ({"box": [1, 2, 30, 40], "y": 11}, "y of a point, but not both x and y"),
        ({"x0": 1, "y0": 2, "x1": 30, "x": 11, "y": 12}, "x0, y0, x1 of a box, but not all four columns of it"),
        ({"x": 11, "y": 12, "width": 29}, "width of a box, but not all four columns of it"),
        ({"box": [1, 2, 30, 40], "points": [[11, 12]]}, "a column 'points', which is not read: a row needs"),
        ({"box": [1, 2, 30, 40], "point_labels": [1]}, "a column 'point_labels', which is not read: a row needs"),
        ({"box": [1, 2, 30, 40], "input_masks": "m.png"}, "a column 'input_masks', which is not read: a row needs"),
        ({"box": [1, 2, 30, 40], "bbox": [1, 2, 30, 40]}, "two boxes, bbox and box, which differ"),
        (
            {"x0": 1, "y0": 2, "x1": 30, "y1": 40, "x2": 50, "y2": 60},
            "two boxes, x0, y0, x1, y1 and x1, y1, x2, y2, which differ",
        ),
    ],
)
def test_prompts_of_a_row_that_would_be_dropped_are_refused_by_name(images, tmp_path, row, reason):
    good = {"file_name": images[0].name, "box": [5, 6, 7, 8]}
    (tmp_path / "rows.json").write_text(json.dumps([{"file_name": images[0].name, **row}, good]))
    found = read_prompts(tmp_path / "rows.json", images)
    assert [each.box for each in found.objects[images[0]]] == [(5, 6, 7, 8)]
    [(name, said)] = found.bad
    assert name == "rows.json, record 0"
    assert said.startswith(reason)


def test_two_boxes_of_one_object_are_refused_and_masks_beside_boxes_are_warned_about(images, tmp_path):
    head = f"file_name,x0,y0,x1,y1,x,y,object\n{images[0].name},1,2,30,40,,,a\n"
    (tmp_path / "rows.csv").write_text(f"{head}{images[0].name},,,,,11,12,a\n{images[0].name},5,6,7,8,13,14,a\n")
    found = read_prompts(tmp_path / "rows.csv", images)
    assert [(each.box, each.points) for each in found.objects[images[0]]] == [((1, 2, 30, 40), ((11, 12),))]
    assert found.bad == [("rows.csv, line 4", "another box for object 'a' than that of rows.csv, line 2")]
    (tmp_path / "masks.csv").write_text(f"file_name,x0,y0,x1,y1,mask\n{images[0].name},1,2,30,40,a.png\n")
    with pytest.warns(UserWarning, match="columns of masks are not used, .*: mask$"):
        assert read_prompts(tmp_path / "masks.csv", images).bad == []
