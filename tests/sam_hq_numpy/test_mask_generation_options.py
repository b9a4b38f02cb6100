import dataclasses
import inspect
import re

import numpy as np
import pytest
from transformers import MaskGenerationPipeline

from conftest import REPOSITORY
from sam_hq_numpy.crop_grids import tile_boxes
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions


def test_names_and_defaults_are_those_of_the_stock_pipeline():
    defaults = {field.name: field.default for field in dataclasses.fields(MaskGenerationOptions)}
    for method in ("preprocess", "_forward", "postprocess"):
        for name, parameter in inspect.signature(getattr(MaskGenerationPipeline, method)).parameters.items():
            if parameter.default is not inspect.Parameter.empty:
                assert defaults[name] == parameter.default, name


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("pred_iou_threshold", "pred_iou_thresh"),
        ("points_per_side", "points_per_crop"),
        ("crop_n_layers", "crops_n_layers"),
        ("hq_only", "hq_token_only"),
        ("zzz", "'"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest_one(typo, meant):
    with pytest.raises(TypeError, match=f"no option '{typo}'; the nearest is .*{meant}"):
        MaskGenerationOptions().updated({typo: 1})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"points_per_batch": 0}, "points_per_batch.*at least 1 or None, got 0"),
        ({"points_per_crop": 0}, "points_per_crop.*at least 1"),
        ({"crops_n_layers": -1}, "crops_n_layers.*at least 0"),
        ({"crop_overlap_ratio": 1.0}, "crop_overlap_ratio.*at least 0 and below 1, got 1.0"),
        ({"crop_n_points_downscale_factor": 0}, "crop_n_points_downscale_factor.*above 0"),
        ({"points_per_crop": 2, "crops_n_layers": 2, "crop_n_points_downscale_factor": 2}, "leave layer 2"),
        ({"pred_iou_thresh": float("nan")}, "pred_iou_thresh.*finite"),
        ({"stability_score_thresh": float("inf")}, "stability_score_thresh.*finite"),
        ({"stability_score_offset": -1}, "stability_score_offset.*at least 0"),
        ({"crops_nms_thresh": -float("inf")}, "crops_nms_thresh.*finite"),
        ({"max_hole_area": -1}, "max_hole_area.*at least 0"),
        ({"min_mask_region_area": -1}, "min_mask_region_area.*at least 0"),
        ({"candidates_per_point": 2}, "candidates_per_point.*1 or 3, got 2"),
        ({"candidates_per_point": 3, "hq_token_only": True}, "contradicts hq_token_only=True"),
        ({"candidates_per_point": 3, "multimask_output": False}, "contradicts multimask_output=False"),
        ({"output_mode": "rle"}, "output_mode.*coco_rle, got 'rle'"),
        ({"output_mode": np.array(["coco_rle", "rle"])}, "output_mode must be one of"),
        ({"mask_threshold": 10**400}, "mask_threshold must be finite, got 1000"),
        ({"mask_threshold": -(10**5000)}, "mask_threshold must be finite, got a int that is too long"),
        ({"points_per_crop": 10**5000}, "points_per_crop must be at most 1024, got a int that is too long"),
        ({"crops_n_layers": -(10**5000)}, "crops_n_layers must be at least 0, got a int that is too long"),
        ({"output_mode": "coco_rle", "output_rle_mask": True}, "output_rle_mask.*leave one out"),
        ({"timeout": 0}, "timeout.*above 0"),
        ({"tile_size": 512, "crops_n_layers": 1}, "not both"),
        ({"tile_overlap": 0.6}, "tile_overlap.*at most 0.5"),
        ({"point_grids": [np.zeros((4, 3))]}, r"point_grids\[0\].*\(P, 2\)"),
        ({"point_grids": [np.full((4, 2), 1.5)]}, r"point_grids\[0\].*\[0, 1\]"),
        ({"point_grids": [np.zeros((4, 2))], "crops_n_layers": 1}, "point_grids.*crops_n_layers=1, got 1"),
    ],
)
def test_impossible_values_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        MaskGenerationOptions(**options)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"points_per_crop": 3.5}, "points_per_crop.*whole number, got 3.5"),
        ({"points_per_batch": True}, "points_per_batch.*whole number or None"),
        ({"pred_iou_thresh": "0.9"}, "pred_iou_thresh.*number, got '0.9'"),
        ({"hq_token_only": 1}, "hq_token_only.*True or False"),
    ],
)
def test_wrong_types_are_refused(options, complaint):
    with pytest.raises(TypeError, match=complaint):
        MaskGenerationOptions(**options)


def test_any_finite_threshold_is_taken():
    for threshold in (-3, -0.5, 0, 0.999, 7, np.float32(0.5)):
        for name in ("pred_iou_thresh", "stability_score_thresh", "mask_threshold", "crops_nms_thresh"):
            assert getattr(MaskGenerationOptions(**{name: threshold}), name) == threshold


@pytest.mark.parametrize("name", ["pred_iou_thresh", "stability_score_thresh"])
def test_thresholds_in_percent_are_warned_about(name):
    with pytest.warns(UserWarning, match=f"{name} is 88, but scores are fractions"):
        MaskGenerationOptions(**{name: 88})


def test_own_grids_take_the_place_of_the_regular_ones():
    grids = [[[0.25, 0.5]], [[0.1, 0.2], [0.3, 0.4]]]
    options = MaskGenerationOptions(point_grids=grids, crops_n_layers=1, points_per_crop=1)
    assert [grid.tolist() for grid in options.layer_grids()] == grids


def test_updating_leaves_the_original_alone():
    before = MaskGenerationOptions(pred_iou_thresh=0.5)
    assert before.updated({"points_per_crop": 8}).points_per_crop == 8
    assert (before.points_per_crop, before.updated({}).pred_iou_thresh) == (32, 0.5)


def test_the_page_names_every_option_with_its_default():
    page = (REPOSITORY / "docs" / "mask_generation.md").read_text()
    rows = dict(re.findall(r"^\* `(\w+)`, default ([^:]+):", page, flags=re.MULTILINE))
    rows.pop("batch_size")  # of the call, not of the generation
    assert set(rows) == set(MaskGenerationOptions.names())
    for field in dataclasses.fields(MaskGenerationOptions):
        shown = {"512 / 1500": 512 / 1500, "None": None, "True": True, "False": False}
        default = shown[rows[field.name]] if rows[field.name] in shown else float(rows[field.name])
        assert default == field.default, field.name


@pytest.mark.parametrize(
    "options",
    [
        {"crops_n_layers": 10**9},
        {"points_per_crop": 10**9},
        {"points_per_batch": 10**9},
        {"crop_n_points_downscale_factor": 1e-9, "crops_n_layers": 1},
        {"crop_n_points_downscale_factor": 1e-300, "crops_n_layers": 5},
        {"point_grids": [np.zeros((2**21, 2))]},
    ],
)
def test_work_without_an_end_is_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        MaskGenerationOptions(**options)


def test_more_tiles_than_can_be_searched_are_refused():
    with pytest.raises(ValueError, match="tile_size=1 would cut an image of 640 x 480 pixels into more than"):
        tile_boxes((480, 640), 1)
