"""Boxes of a dataset to masks: every input format, kills and two processes, bad boxes, images without any."""

import json
import os
import random
import time
import warnings

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from pycocotools.coco import COCO

from box_formats import CATEGORIES, WRITERS, upright_size, write_coco, write_csv
from conftest import PHOTOS, small_config, small_model
from killable_processes import killable
from sam_hq.hub.conversion import processor_for
from sam_hq.jobs.annotation_job import AnnotationJob
from sam_hq.jobs.journal import JobJournal
from sam_hq.jobs.outputs import JobOutputs
from sam_hq.predictor import SamHQPredictor
from sam_hq_numpy.atomic_writing import new_file
from sam_hq_numpy.prompt_files.prompts import ObjectPrompt, PromptSet
from sam_hq_numpy.prompt_files.reading import read_prompts

NAMES = ("kitten.jpg", "koala.jpg", "panda.jpg", "moose.jpg", "crab.jpg", "lemur.png", "liberty.png", "kingfisher.png")


@pytest.fixture(scope="module")
def predictor():
    return SamHQPredictor(small_model("vit"), processor_for(small_config("vit")))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for index, name in enumerate(NAMES):
        photo = Image.open(PHOTOS / name).convert("RGB").resize((100 + 7 * index, 90))
        exif = photo.getexif()
        exif[0x0112] = 6 if index == 2 else 1
        photo.save(folder / name, exif=exif)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def boxes(images):
    """25 boxes in each image."""
    random_numbers, found = np.random.default_rng(0), {}
    for image in images:
        width, height = upright_size(image)
        low = random_numbers.uniform(0, 0.6, (25, 2)) * [width, height]
        high = low + random_numbers.uniform(0.05, 0.4, (25, 2)) * [width, height]
        ids = random_numbers.choice(list(CATEGORIES), 25).tolist()
        spans = np.concatenate([low, high], axis=1).round(2).tolist()
        scores = random_numbers.uniform(0.2, 1, 25).round(3).tolist()
        found[image] = [(tuple(box), category, score) for box, category, score in zip(spans, ids, scores, strict=True)]
    return found


@pytest.fixture(scope="module")
def expected(predictor, boxes):
    """The masks, each of its own call."""
    masks = {}
    for image, objects in boxes.items():
        embeddings = predictor.embed(image)
        answers = [predictor.predict(embeddings, boxes=list(box)) for box, _, _ in objects]
        masks[image] = torch.cat([answer.masks[:, 0] for answer in answers]).numpy()
    return masks


def annotate(predictor, images, source, folder, **options):
    job = AnnotationJob(predictor, images, read_prompts(source, images), folder, **options)
    job.run(progress=False)
    return job.finish()


def check(folder, boxes, expected, names=True):
    coco = COCO(str(folder / "annotations.json"))
    by_path = {(folder / image["file_name"]).resolve(): image for image in coco.imgs.values()}
    assert {path for path in by_path if coco.imgToAnns[by_path[path]["id"]]} == set(boxes)
    for path, wanted in expected.items():
        annotations = coco.imgToAnns[by_path[path]["id"]]
        masks = np.array([coco.annToMask(each) for each in annotations]).astype(bool)
        assert masks.shape == wanted.shape
        # One object at a time and many are sums in another order: a pixel at the edge may fall either way.
        assert (masks != wanted).mean() < 1e-4
        if names:
            assert [coco.cats[each["category_id"]]["name"] for each in annotations] == [
                CATEGORIES[category] for _, category, _ in boxes[path]
            ]
    return coco


@pytest.mark.parametrize("write", WRITERS)
def test_two_hundred_boxes_in_every_format_give_the_same_masks(predictor, images, boxes, expected, tmp_path, write):
    source = write(boxes, tmp_path)
    summary = annotate(predictor, images, source, tmp_path / "job", batch_size=3, objects_per_batch=11)
    assert (summary.done, summary.missing, summary.failures, list(summary.bad_prompts)) == (8, 0, {}, [])
    coco = check(tmp_path / "job", boxes, expected, names=write.__name__ != "write_detections")
    assert len(coco.anns) == 200
    if write is write_coco:
        assert set(coco.imgs) == set(range(100, 108))
        assert {number: each["name"] for number, each in coco.cats.items()} == CATEGORIES
        assert {each["source_id"] for each in coco.anns.values()} == set(range(1, 201))
    elif write.__name__ != "write_labelme":
        scores = sorted(score for objects in boxes.values() for _, _, score in objects)
        assert sorted(each["score"] for each in coco.anns.values()) == pytest.approx(scores)
    assert all(each["predicted_iou"] >= 0 or each["predicted_iou"] < 0 for each in coco.anns.values())


def segment_rectangles(predictor, folder, spec, categories, **options):
    """A job on objects given as (category, box) by image."""
    prompts = PromptSet(categories=categories)
    for image, objects in spec.items():
        for number, (category, box) in enumerate(objects):
            prompts.add(image, ObjectPrompt(f"object {number}", category, box))
    job = AnnotationJob(predictor, [*spec, *spec], prompts, folder, **options)
    job.run(progress=False)
    return job.finish()


@pytest.mark.parametrize("height", [1, 3])
def test_images_of_one_or_three_rows_are_read_as_the_processor_reads_their_files(predictor, tmp_path, height):
    image = tmp_path / "strip.png"
    pixels = np.random.default_rng(0).integers(0, 256, (height, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(image)
    box = (10.0, 0.0, 50.0, float(height))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a box outside an image that is 90 pixels high
        segment_rectangles(predictor, tmp_path / "job", {image: [(1, box)]}, {1: "object"})
    coco = COCO(str(tmp_path / "job" / "annotations.json"))
    wanted = predictor.predict(predictor.embed(image), boxes=list(box)).masks[0, 0].numpy()
    assert (coco.annToMask(coco.anns[1]).astype(bool) == wanted).mean() > 0.99


def test_objects_that_are_gone_leave_no_masks_and_images_given_twice_count_once(predictor, images, tmp_path):
    box, outputs = (5.0, 5.0, 40.0, 40.0), JobOutputs(("objects",))
    for count in (3, 1, 2):
        spec = {images[0]: [(1, box)] * count, images[1]: [(1, box)]}
        summary = segment_rectangles(predictor, tmp_path, spec, {1: "object"}, outputs=outputs)
        assert (summary.done, len(COCO(str(tmp_path / "annotations.json")).imgs)) == (2, 2)
        named = [each["mask_file"] for each in COCO(str(tmp_path / "annotations.json")).anns.values()]
        assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("objects/*/*")) == sorted(named)
        assert len(named) == count + 1


def test_new_categories_leave_yolos_numbers_of_earlier_images_as_they_were(predictor, images, tmp_path):
    box, outputs = (5.0, 5.0, 80.0, 80.0), JobOutputs(("yolo",))
    names = {1: "cat", 2: "dog", 7: "owl"}
    kinds = {images[0]: [7, 2], images[1]: [1], images[2]: [2, 7, 1]}
    for wanted in (images[:1], images[1:3]):
        spec = {image: [(category, box) for category in kinds[image]] for image in wanted}
        categories = {category: names[category] for image in wanted for category in kinds[image]}
        segment_rectangles(Slow(), tmp_path, spec, categories, outputs=outputs)
    known = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())["names"]
    assert known == {0: "dog", 1: "owl", 2: "cat"}
    for image, categories in kinds.items():
        (label,) = (tmp_path / "yolo" / "labels").glob(f"{image.stem}-*")
        found = [known[int(line.split()[0])] for line in label.read_text().splitlines()]
        assert found == [names[category] for category in categories]


def test_records_that_another_process_removes_meanwhile_are_no_error(predictor, images, tmp_path, monkeypatch):
    spec = {image: [(1, (5.0, 5.0, 40.0, 40.0))] for image in images[:2]}
    job = segment_rectangles(predictor, tmp_path, spec, {1: "object"})
    assert job.done == 2
    next((tmp_path / "records").iterdir()).unlink()
    monkeypatch.setattr(JobJournal, "is_recorded", lambda *_: True)  # when it was looked for, it was there
    monkeypatch.setattr(AnnotationJob, "run", lambda *_, **__: None)
    assert segment_rectangles(predictor, tmp_path, spec, {1: "object"}).failures == {}
    assert len(json.loads((tmp_path / "annotations.json").read_text())["images"]) == 1


def test_bad_boxes_are_named_and_images_without_boxes_are_fine(predictor, images, tmp_path):
    rows = [
        (images[0].name, 1, 2, 30, 40),
        (images[0].name, 30, 2, 1, 40),
        (images[1].name, 900, 900, 990, 990),
        ("gone.jpg", 1, 2, 3, 4),
    ]
    text = "file_name,x0,y0,x1,y1\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
    (tmp_path / "boxes.csv").write_text(text)
    summary = annotate(predictor, images, tmp_path / "boxes.csv", tmp_path / "job")
    assert (summary.done, summary.failures) == (8, {})
    assert [name for name, _ in summary.bad_prompts] == ["boxes.csv, line 3", "boxes.csv, line 4", "gone.jpg"]
    assert len(json.loads((tmp_path / "job" / "skipped.json").read_text())) == 3
    assert len(COCO(str(tmp_path / "job" / "annotations.json")).anns) == 1


def test_points_and_boxes_mixed_keep_their_order(predictor, images, tmp_path):
    (tmp_path / "mixed.json").write_text(
        json.dumps(
            [
                {"file_name": images[0].name, "x": 20, "y": 30},
                {"file_name": images[0].name, "x0": 5, "y0": 6, "x1": 50, "y1": 60},
                {"file_name": images[0].name, "x": 70, "y": 40},
                {"file_name": images[0].name, "x0": 5, "y0": 6, "x1": 50, "y1": 60, "x": 20, "y": 30, "point_label": 0},
            ]
        )
    )
    annotate(predictor, images[:1], tmp_path / "mixed.json", tmp_path / "job")
    coco = COCO(str(tmp_path / "job" / "annotations.json"))
    embeddings = predictor.embed(images[0])
    prompts = [{"points": [20, 30]}, {"boxes": [5, 6, 50, 60]}, {"points": [70, 40]}]
    prompts.append({"boxes": [5, 6, 50, 60], "points": [20, 30], "labels": 0})
    for annotation, prompt in zip(coco.anns.values(), prompts, strict=True):
        wanted = predictor.predict(embeddings, **prompt).masks[0, 0].numpy()
        assert (coco.annToMask(annotation).astype(bool) != wanted).mean() < 1e-3


def test_other_boxes_are_done_again_and_other_names_refused(predictor, images, boxes, tmp_path):
    source = write_csv(boxes, tmp_path)
    annotate(predictor, images, source, tmp_path / "job")
    source.write_text(source.read_text(encoding="utf-8-sig").replace(f"{images[1].name};", f"{images[1].name};1", 1))
    assert annotate(predictor, images, source, tmp_path / "job").again == {"prompts": 1}
    (tmp_path / "other.csv").write_text(f"file_name,x0,y0,x1,y1,class\n{images[0].name},1,2,30,40,zebra\n")
    with pytest.raises(ValueError, match="other options: category 1 was 'animal' and is 'zebra' now; give the same"):
        annotate(predictor, images, tmp_path / "other.csv", tmp_path / "job")
    with pytest.raises(ValueError, match="holds a job of another kind, annotate: name another folder"):
        JobJournal(tmp_path / "job").begin({"job": "generate"}, {})


class Slow(SamHQPredictor):
    """Stands in for a model: masks are the boxes, after a while."""

    def __init__(self):
        pass

    def embed(self, images, batch_size, **options):
        time.sleep(0.02)
        return [type("Embeddings", (), {"original_size": each.shape[:2]})() for each in images]

    def predict(self, embeddings, boxes, **options):
        height, width = embeddings.original_size
        masks = torch.zeros(len(boxes), 1, height, width, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks[:, 0], boxes, strict=True):
            mask[int(y0) : int(y1), int(x0) : int(x1)] = True
        return type("Prediction", (), {"masks": masks, "scores": torch.ones(len(boxes), 1)})


def work(images, source, folder):
    annotate(Slow(), images, source, folder, outputs=JobOutputs(("yolo", "objects")))


def test_kills_at_random_moments_and_two_processes_lose_and_double_nothing(images, boxes, tmp_path):
    source, folder = write_coco(boxes, tmp_path), tmp_path / "job"
    moments, kills = random.Random(0), 0
    while True:
        workers = [killable(work, images, source, folder) for _ in range(2)]
        for worker in workers:
            worker.start()
        time.sleep(moments.uniform(0.02, 0.1) * 1.2**kills)
        if not any(worker.is_alive() for worker in workers):
            break
        for worker in workers:
            worker.kill()
            worker.join()
        kills += 1
    assert kills > 0
    assert all(worker.exitcode == 0 for worker in workers)
    expected = {}
    for image, objects in boxes.items():
        width, height = upright_size(image)
        expected[image] = np.zeros((len(objects), height, width), bool)
        for mask, ((x0, y0, x1, y1), _, _) in zip(expected[image], objects, strict=True):
            mask[int(y0) : int(y1), int(x0) : int(x1)] = True
    assert len(check(folder, boxes, expected).anns) == 200
    assert len(os.listdir(folder / "yolo" / "labels")) == len(os.listdir(folder / "yolo" / "images")) == 8
    assert not list(folder.rglob("*.partial*"))


def test_a_process_that_starts_leaves_alone_what_another_writes_at_its_end(images, boxes, tmp_path, monkeypatch):
    source, folder = write_coco(boxes, tmp_path), tmp_path / "job"
    work(images, source, folder)

    def slowly(path, text):
        monkeypatch.undo()
        other = killable(work, images, source, folder)
        with new_file(path) as aside:
            other.start()
            other.join(2)  # it waits, and would be done long before
            aside.write_text(text)
        others.append(other)

    others = []
    monkeypatch.setattr("sam_hq.jobs.annotation_job.write_text", slowly)
    work(images, source, folder)
    others[0].join()
    assert others[0].exitcode == 0
    assert json.loads((folder / "skipped.json").read_text()) == []
