"""Evaluation: perfect and empty answers, branches, protocols, baselines and reports."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from PIL import Image, ImageDraw

import sam_hq
from conftest import small_model
from sam_hq.evaluation import PROMPTS, PromptedModel, evaluate
from sam_hq.evaluation.baselines import filled_box
from sam_hq.evaluation.contact_sheet import HEADER, KEY, TILE, write_contact_sheet
from sam_hq.evaluation.found_masks import best_found_mask
from sam_hq.evaluation.ground_truth_prompts import central_point, mask_box
from sam_hq.evaluation.joined_images import JoinedImages
from sam_hq.evaluation.mask_metrics import boundary_iou, mask_iou
from sam_hq.evaluation.segmentation_data import ImageMaskFolder
from training_data import shapes, write_pairs


def processor() -> sam_hq.SamHQProcessor:
    return sam_hq.SamHQProcessor(
        sam_hq.SamHQImageProcessor(
            size={"longest_edge": 128}, pad_size={"height": 128, "width": 128}, mask_size={"longest_edge": 32}
        )
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> ImageMaskFolder:
    """Three wide photos with masks."""
    folder = tmp_path_factory.mktemp("pairs")
    images = [(image[:96], np.stack([m for m in masks[:, :96] if m.any()])) for image, masks in shapes(3)]
    write_pairs(folder, images)
    return ImageMaskFolder(folder)


class Oracle(PromptedModel):
    """Answers every prompt with what it is told, and keeps what it was asked, with the logits that it gave."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []

    def embed(self, image):
        self.shape = image.shape[:2]

    def predict(self, boxes, points, labels, masks=None):
        count = len(boxes if boxes is not None else points)
        truth, logits = self.answer(self.shape, count), torch.zeros(count, 4, 4)
        self.asked.append((boxes, points, labels, masks, logits))
        return dict.fromkeys(("sam", "hq", "sum"), truth), np.ones(count), logits


def test_every_kind_of_prompt_scores_every_object_and_branch(dataset):
    predictor = Oracle(lambda shape, count: np.zeros((count, *shape), bool))
    report = evaluate(predictor, dataset, PROMPTS)
    objects = sum(len(masks) for _, masks in dataset)
    assert {key: value[2] for key, value in report.means().items()} == {
        (prompt, branch): objects for prompt in PROMPTS for branch in ("sam", "hq", "sum")
    }
    assert all(means[:2] == (0.0, 0.0) for means in report.means().values())


def test_what_is_prompted_with_follows_from_the_truth(dataset):
    truths = dataset[0][1]

    def asked(kind):
        oracle = Oracle(lambda shape, count: np.zeros((count, *shape), bool))
        evaluate(oracle, dataset, (kind,))
        return oracle.asked

    boxes = np.stack([mask_box(truth) for truth in truths])
    np.testing.assert_array_equal(asked("box")[0][0], boxes)
    sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moves = np.abs(asked("jittered-box")[0][0] - boxes) / sizes
    assert 0 < moves.max() <= 0.1 + 1e-6

    (_, points, labels, _, _), *_ = asked("points-5")
    assert points.shape == (len(truths), 5, 2)
    assert (labels == 1).all()
    for truth, of_truth in zip(truths, points, strict=True):
        np.testing.assert_array_equal(of_truth[0], central_point(truth))
        assert all(truth[int(y), int(x)] for x, y in of_truth)

    first, second, third = asked("clicks-3")[:3]
    assert [step[1].shape[1] for step in (first, second, third)] == [1, 2, 3]
    np.testing.assert_array_equal(first[1][:, 0], [central_point(truth) for truth in truths])
    assert first[3] is None
    assert second[3] is first[4]  # the logits of the answer before
    assert third[3] is second[4]
    np.testing.assert_array_equal(third[1][:, :2], second[1])
    assert (third[2] == 1).all()  # nothing was found, so everything is missed


def test_clicks_on_what_was_taken_too_much_are_off_the_object(dataset):
    greedy = Oracle(lambda shape, count: np.ones((count, *shape), bool))
    evaluate(greedy, dataset, ("clicks-3",))
    truths, (_, points, labels, _, _) = dataset[0][1], greedy.asked[2]
    assert labels.tolist() == [[1, 0, 0]] * len(truths)
    for truth, of_truth in zip(truths, points, strict=True):
        assert not any(truth[int(y), int(x)] for x, y in of_truth[1:])


@pytest.mark.parametrize("protocol", ["normal", "squashed"])
def test_points_and_masks_are_given_as_the_processor_gives_them(dataset, protocol):
    model, prepare = small_model("tiny_vit"), processor()
    image, truths = dataset[0]
    points = np.stack([[central_point(truth), [3.0, 90.0]] for truth in truths]).astype(np.float32)
    labels = np.array([[1, 0]] * len(truths))
    earlier = torch.randn(len(truths), 32, 32)
    predictor = PromptedModel(model, prepare, protocol)
    predictor.embed(image)
    _, scores, logits = predictor.predict(None, points, labels, earlier)
    frame, frame_points = image, points
    if protocol == "squashed":
        frame = np.asarray(Image.fromarray(image).resize((128, 128), Image.Resampling.BILINEAR))
        frame_points = points * [1, 128 / 96]
    inputs = prepare(frame, input_points=[frame_points.tolist()], input_labels=[labels.tolist()])
    with torch.no_grad():
        outputs = model(**inputs, input_masks=earlier[None], multimask_output=False)
    torch.testing.assert_close(logits, outputs.pred_masks[0, :, 0], atol=1e-4, rtol=0)
    np.testing.assert_allclose(scores, outputs.iou_scores[0, :, 0], atol=1e-5)


def test_images_of_the_same_name_in_two_folders_are_told_apart(tmp_path):
    for number, (folder, (image, masks)) in enumerate(zip(("x", "y"), shapes(2), strict=True)):
        for kind in ("images", "masks"):
            (tmp_path / kind / folder).mkdir(parents=True)
        Image.fromarray(image).save(tmp_path / "images" / folder / "1.jpg")
        kept = masks if number == 0 else masks[:1]
        for index, mask in enumerate([*kept, np.zeros_like(masks[0])]):
            Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "masks" / folder / f"1_{index}.png")
    rows = [f"{path.parent.name}/1.jpg,{path.parent.name}/{path.name}" for path in tmp_path.glob("masks/*/*.png")]
    (tmp_path / "manifest.csv").write_text("\n".join(["image,mask", *sorted(rows)]))
    dataset = ImageMaskFolder(tmp_path)
    predictor = PromptedModel(small_model("tiny_vit"), processor())
    report = evaluate(predictor, dataset, ("box",))
    assert {score.image for score in report.scores} == {"x/1.jpg", "y/1.jpg"}
    assert report.skipped == {"empty mask": 2}
    report.save(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["skipped"] == {"empty mask": 2}
    with pytest.warns(FutureWarning, match="left_out is now called skipped"):
        assert report.left_out == report.skipped
    write_contact_sheet(tmp_path / "sheet.png", predictor, dataset, report, "box")
    assert (tmp_path / "sheet.png").exists()


def test_a_sheet_shows_the_image_that_was_scored_whatever_its_name(tmp_path):
    parts = []
    for name, (image, masks), kept in zip(("x", "y"), shapes(2), (2, 1), strict=True):
        (tmp_path / name).mkdir()
        Image.fromarray(image).save(tmp_path / name / "1.jpg")
        for index, mask in enumerate(masks[:kept]):
            Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / name / f"1_{index}.png")
        parts.append(ImageMaskFolder(tmp_path / name))
    dataset, predictor = JoinedImages(parts), PromptedModel(small_model("tiny_vit"), processor())
    report = evaluate(predictor, dataset, ("box", "box"), ("filled-box", "filled-box"))
    assert [(score.image, score.number, score.index) for score in report.scores if score.branch == "sum"] == [
        ("1.jpg", 0, 0), ("1.jpg", 0, 1), ("1.jpg", 1, 0),
    ]  # fmt: skip
    assert {count for _, _, count in report.means().values()} == {3}
    shown, place = [], JoinedImages.__getitem__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JoinedImages, "__getitem__", lambda self, index: (shown.append(index), place(self, index))[1])
        write_contact_sheet(tmp_path / "sheet.png", predictor, dataset, report, "box")
    ranked = sorted((score for score in report.scores if score.branch == "sum"), key=lambda score: score.iou)
    assert shown == [score.number for score in ranked]
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        write_contact_sheet(tmp_path / "sheet.png", predictor, dataset, report, "box", count=0)


@pytest.mark.parametrize("height", [1, 3])
def test_mask_generation_reads_images_of_one_or_three_rows(height):
    strip = np.random.default_rng(0).integers(0, 256, (height, 90, 3), dtype=np.uint8)
    model = small_model("tiny_vit")
    model.config.mask_generation = {"pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    mask, _ = best_found_mask(model, processor().image_processor, strip, np.ones((height, 90), bool), 2)
    assert mask.shape == (height, 90)


def test_the_truth_scores_one(dataset):
    truths = iter([masks for _, masks in dataset])
    report = evaluate(Oracle(lambda *_: next(truths)), dataset, ("box",))
    assert report.means()["box", "sum"][:2] == (1.0, 1.0)


@pytest.mark.parametrize("protocol", ["normal", "squashed"])
def test_predictions_equal_the_pipeline_of_processor_and_model(dataset, protocol):
    model, prepare = small_model("tiny_vit"), processor()
    image, truths = dataset[0]
    boxes = np.stack([mask_box(truth) for truth in truths])
    predictor = PromptedModel(model, prepare, protocol)
    predictor.embed(image)
    ours, scores, _ = predictor.predict(boxes, None, None)
    frame, frame_boxes = image, boxes
    if protocol == "squashed":
        frame = np.asarray(Image.fromarray(image).resize((128, 128), Image.Resampling.BILINEAR))
        frame_boxes = boxes * [1, 128 / 96, 1, 128 / 96]
    inputs = prepare(frame, input_boxes=[frame_boxes.tolist()])
    with torch.no_grad():
        outputs = model(**inputs, multimask_output=False, output_branches=True)
    sizes = {"original_sizes": [image.shape[:2]], "reshaped_input_sizes": inputs["reshaped_input_sizes"]}
    for branch, logits in (("sum", outputs.pred_masks), ("sam", outputs.sam_masks), ("hq", outputs.hq_masks)):
        expected = prepare.post_process_masks(logits, **sizes)[0][:, 0].numpy()
        assert np.mean(expected != ours[branch]) < 1e-3
    np.testing.assert_allclose(scores, outputs.iou_scores[0, :, 0], atol=1e-5)


def test_points_and_earlier_masks_are_taken(dataset):
    predictor = PromptedModel(small_model("vit"), processor(), multimask=True)
    report = evaluate(predictor, dataset, ("points-3", "clicks-3"))
    assert all(0 <= score.iou <= 1 and score.boundary_iou <= 1 for score in report.scores)
    again = evaluate(predictor, dataset, ("points-3", "clicks-3"))
    assert [score.iou for score in again.scores] == [score.iou for score in report.scores]


def test_the_filled_box_floor_is_the_share_of_the_box_that_the_object_fills(dataset):
    report = evaluate(Oracle(lambda shape, n: np.zeros((n, *shape), bool)), dataset, (), baselines=("filled-box",))
    expected = []
    for _, masks in dataset:
        for mask in masks:
            x0, y0, x1, y1 = mask_box(mask)
            expected.append(mask.sum() / ((x1 - x0) * (y1 - y0)))
    assert report.means()["box", "filled-box"][0] == pytest.approx(np.mean(expected))


def test_a_box_outside_the_image_is_cut():
    for box, area in (([-3, 2, 4, 30], 4 * 8), ([-9, 2, -3, 8], 0), ([2, -9, 8, -1], 0), ([12, 2, 30, 8], 0)):
        assert filled_box(np.zeros((10, 10, 3), np.uint8), np.array(box, np.float32)).sum() == area


def test_report_and_sheet_are_written(dataset, tmp_path):
    predictor = PromptedModel(small_model("tiny_vit"), processor())
    report = evaluate(predictor, dataset, ("box",), settings={"model": Path("small")})
    report.save(tmp_path / "out" / "report.json")
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["settings"] == {"model": "small", "seed": 0}
    assert len(content["objects"]) == len(report.scores)
    row = next(mean for mean in content["means"] if mean["branch"] == "sum")
    assert f"| box | sum | {row['miou']:.3f} | {row['mbiou']:.3f} |" in report.table()
    write_contact_sheet(tmp_path / "sheet.png", predictor, dataset, report, "box", count=2)
    sheet = Image.open(tmp_path / "sheet.png")
    assert min(sheet.info["dpi"]) > 149.9
    header = np.asarray(sheet)[:HEADER]
    for color, _ in KEY:
        assert (header == color).all(-1).sum() > 100
    assert np.asarray(sheet).shape == (HEADER + 2 * TILE, 2 * TILE, 3)


def test_the_numbers_on_the_sheet_say_what_they_are(dataset, tmp_path, monkeypatch):
    texts, draw = [], ImageDraw.ImageDraw.text
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda *a, **k: (texts.append(a[2]), draw(*a, **k))[1])
    predictor = PromptedModel(small_model("tiny_vit"), processor())
    report = evaluate(predictor, dataset, ("box",))
    write_contact_sheet(tmp_path / "sheet.png", predictor, dataset, report, "box", count=2)
    written = "\n".join(texts)
    for score in sorted((score for score in report.scores if score.branch == "sum"), key=lambda score: score.iou)[:2]:
        assert f"IoU {score.iou:.2f}, boundary IoU {score.boundary_iou:.2f}" in written
    assert {meaning for _, meaning in KEY} <= set(texts)


def test_scores_agree_with_the_metrics(dataset):
    rng, answers = np.random.default_rng(0), []

    def guess(shape, count):
        answers.append(rng.random((count, *shape)) < 0.5)
        return answers[-1]

    report = evaluate(Oracle(guess), dataset, ("box",))
    pairs = [
        (mask, truth, index)
        for masks, (_, truths) in zip(answers, dataset, strict=True)
        for index, (mask, truth) in enumerate(zip(masks, truths, strict=True))
    ]
    expected = [(index, mask_iou(mask, truth), boundary_iou(mask, truth), 1.0) for mask, truth, index in pairs]
    for branch in ("sam", "hq", "sum"):
        scores = [score for score in report.scores if score.branch == branch]
        assert [(score.index, score.iou, score.boundary_iou, score.score) for score in scores] == expected


def test_baselines_may_be_called_floors_for_one_release(dataset):
    oracle = Oracle(lambda shape, count: np.zeros((count, *shape), bool))
    with pytest.warns(FutureWarning, match="floors is now called baselines"):
        former = evaluate(oracle, dataset, (), floors=["filled-box"])
    assert former.scores
    assert repr(former.scores) == repr(evaluate(oracle, dataset, (), ["filled-box"]).scores)


def test_unknown_names_are_refused(dataset):
    predictor = Oracle(None)
    with pytest.raises(ValueError, match=r"unknown prompts \['boxes'\]"):
        evaluate(predictor, dataset, ("boxes",))
    with pytest.raises(ValueError, match=r"unknown baselines \['otsu'\]"):
        evaluate(predictor, dataset, ("box",), baselines=("otsu",))
    with pytest.raises(ValueError, match="protocol"):
        PromptedModel(small_model("vit"), processor(), "stretched")


def test_an_offloaded_model_is_scored_as_the_plain_one(dataset):
    prompts = ("box", "clicks-3", "everything")
    expected = evaluate(PromptedModel(small_model("vit"), processor()), dataset, prompts, points_per_crop=2)
    offloaded = cpu_offload(small_model("vit"), execution_device="cpu")
    report = evaluate(PromptedModel(offloaded, processor()), dataset, prompts, points_per_crop=2)
    assert report.means().keys() == expected.means().keys()
    for found, wanted in zip(report.scores, expected.scores, strict=True):
        assert (found.image, found.index, found.prompt, found.branch) == (
            wanted.image,
            wanted.index,
            wanted.prompt,
            wanted.branch,
        )
        assert found.iou == pytest.approx(wanted.iou, abs=1e-3)
        assert found.score == pytest.approx(wanted.score, abs=1e-4)
