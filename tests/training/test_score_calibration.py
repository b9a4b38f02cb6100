"""Scores are measured and corrected: the line of least absolute error, exact in the model's last layer."""

import runpy

import numpy as np
import pytest
import torch
from accelerate import cpu_offload

import sam_hq
from conftest import REPOSITORY, small_config, small_model
from sam_hq.evaluation.segmentation_data import ImageMaskFolder
from sam_hq.hub.conversion import processor_for
from sam_hq.training.score_calibration import (
    ScoredObjects,
    fitted_lines,
    passing_shares,
    quality,
    recalibrate,
    score_objects,
)
from training_data import shapes, write_pairs


def test_lines_are_those_of_least_absolute_error():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0, 1, (60, 3))
    ious = np.stack([0.5 * scores[:, 0] + 0.2, 1 - scores[:, 1], scores[:, 2]], 1)
    ious[:5, 0] = 0  # outliers, which a line of least squares would follow
    lines = fitted_lines(scores, ious)
    np.testing.assert_allclose(lines[0], [0.5, 0.2], atol=1e-3)
    assert lines[1, 0] > 0  # its scores are the wrong way round: never turned, and no worse than they were
    assert np.abs(scores[:, 1] * lines[1, 0] + lines[1, 1] - ious[:, 1]).mean() <= np.abs(scores - ious)[:, 1].mean()
    np.testing.assert_allclose(lines[2], [1, 0], atol=1e-6)


def test_the_head_gives_the_corrected_scores_and_the_same_masks():
    model, pixel_values = small_model(), torch.randn(1, 3, 128, 128)
    prompt = {"pixel_values": pixel_values, "input_points": torch.tensor([[[[40.0, 60.0]]]])}
    lines = np.array([[0.5, 0.1], [2.0, -0.3], [2.0, -0.3], [2.0, -0.3]])
    with torch.no_grad():
        before = [model(**prompt, multimask_output=several) for several in (False, True)]
        recalibrate(model, lines)
        after = [model(**prompt, multimask_output=several) for several in (False, True)]
    torch.testing.assert_close(after[0].iou_scores, 0.5 * before[0].iou_scores + 0.1)
    torch.testing.assert_close(after[1].iou_scores, 2 * before[1].iou_scores - 0.3)
    assert all(torch.equal(one.pred_masks, other.pred_masks) for one, other in zip(before, after, strict=True))


def test_quality_by_hand():
    objects = ScoredObjects(
        np.array([0, 1]),
        np.array(["box", "box"]),
        np.array([[0.9, 0.2, 0.8], [0.5, 0.6, 0.1]]),
        np.array([[0.8, 0.9, 0.6], [0.5, 0.6, 0.3]]),
        np.array([[0.9, 0.8, 0.7], [0.9, 0.3, 0.2]]),
    )
    found = quality(objects)
    assert found["score_error"] == pytest.approx((0.1 + 0 + 0.2 + 0) / 4)
    assert found["single"] == pytest.approx(0.65)
    assert found["best_scored"] == pytest.approx(0.6)
    assert found["best"] == pytest.approx(0.75)
    assert found["stability_of_good"] == pytest.approx(0.8)
    turned = np.array([[1.0, 0], [1.0, 1.0], [1.0, 0]])
    assert quality(objects.corrected(turned))["best_scored"] == pytest.approx(0.75)
    assert passing_shares(objects.corrected(turned), [0.5, 0.9]) == [(0.5, 1.0, 0.0), (0.9, 0.0, 0.0)]


def test_the_script_measures_and_writes_a_model_with_better_scores(tmp_path, capsys):
    write_pairs(tmp_path / "data", shapes(4))
    small_model("tiny_vit").save_pretrained(tmp_path / "model")
    processor_for(small_config("tiny_vit")).save_pretrained(tmp_path / "model")
    script = runpy.run_path(str(REPOSITORY / "conversion_scripts" / "calibrate_scores.py"))
    options = {"pred_iou_thresh": 0.1, "stability_score_offset": 0.5}
    arguments = [str(tmp_path / "model"), [str(tmp_path / "data")]]
    script["calibrate"](*arguments, tmp_path / "new", options)
    assert "any-point, corrected" in capsys.readouterr().out
    new = sam_hq.SamHQModel.from_pretrained(tmp_path / "new")
    assert new.config.mask_generation == options
    with pytest.raises(FileExistsError, match="new"):
        script["calibrate"](*arguments, tmp_path / "new")
    objects = script["score_objects"]
    errors = []
    for name in ("model", "new"):
        model = sam_hq.SamHQModel.from_pretrained(tmp_path / name)
        found = objects(model, processor_for(model.config), script["open_images"](arguments[1]))
        errors.append(np.abs(found.scores - found.ious).mean())
    assert errors[1] < errors[0]
    offloaded = objects(
        cpu_offload(model, execution_device="cpu"), processor_for(model.config), script["open_images"](arguments[1])
    )
    np.testing.assert_allclose(offloaded.scores, found.scores, atol=1e-5)


def test_a_model_has_the_modes_that_it_had(tmp_path):
    write_pairs(tmp_path, shapes(1))
    model = small_model("tiny_vit").train()
    model.vision_encoder.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = ImageMaskFolder(tmp_path)
    found = score_objects(model, processor_for(model.config), images)
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    np.testing.assert_array_equal(score_objects(model.eval(), processor_for(model.config), images).scores, found.scores)
    with pytest.raises(ZeroDivisionError):
        score_objects(model.train(), processor_for(model.config), images, progress=lambda *_: 1 / 0)
    assert all(module.training for module in model.modules())
