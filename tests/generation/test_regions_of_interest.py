import numpy as np
import pytest
import torch
from PIL import Image

from conftest import PHOTOS, small_config, small_model
from sam_hq.generation.regions_of_interest import segment_regions
from sam_hq.hub.conversion import processor_for


@pytest.fixture(scope="module")
def model():
    return small_model("vit")


@pytest.fixture(scope="module")
def processor():
    return processor_for(small_config("vit"))


@pytest.fixture(scope="module")
def photo():
    return Image.open(PHOTOS / "koala.jpg").convert("RGB").resize((480, 300))


def plain(model, processor, photo, **prompts):
    inputs = processor(photo, return_tensors="pt", **prompts)
    with torch.no_grad():
        outputs = model(**inputs, multimask_output=False)
    masks = processor.post_process_masks(outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"])
    return masks[0][:, 0].numpy(), outputs.iou_scores[0, :, 0]


def test_an_image_no_larger_than_a_region_is_segmented_as_a_whole(model, processor, photo):
    boxes, points, labels = (
        [[20, 30, 200, 220], [300, 40, 400, 200]],
        [[[90, 90]], [[350, 100], [10, 10]]],
        [[1], [1, 0]],
    )
    found = segment_regions(
        model, processor, photo, input_boxes=boxes, input_points=points, input_labels=labels, tile_size=480
    )
    masks, scores = plain(model, processor, photo, input_boxes=[boxes], input_points=[points], input_labels=[labels])
    for each, mask, score in zip(found, masks, scores, strict=True):
        assert each.region == (0, 0, 480, 300)
        assert (each.mask.to_mask() != mask).mean() < 1e-3
        assert each.score == pytest.approx(score.item(), abs=1e-4)


def test_a_region_gives_the_mask_of_that_part_of_the_image(model, processor, photo):
    box = [250, 120, 310, 170]
    (found,) = segment_regions(model, processor, np.asarray(photo), input_boxes=[box], tile_size=160, max_growths=0)
    x0, y0, x1, y1 = found.region
    assert (x1 - x0, y1 - y0) == (160, 160)
    assert abs((x0 + x1) / 2 - 280) <= 1
    assert abs((y0 + y1) / 2 - 145) <= 1
    masks, scores = plain(
        model, processor, photo.crop(found.region), input_boxes=[[[box[0] - x0, box[1] - y0, box[2] - x0, box[3] - y0]]]
    )
    mask = found.mask.to_mask()
    assert (mask[y0:y1, x0:x1] != masks[0]).mean() < 1e-3
    mask[y0:y1, x0:x1] = False
    assert not mask.any()
    assert found.score == pytest.approx(scores[0].item(), abs=1e-4)


def test_the_region_grows_with_the_prompts_and_where_the_mask_is_cut(model, processor, photo):
    spread = [[[100, 150], [300, 150]]]
    (found,) = segment_regions(model, processor, photo, input_points=spread, tile_size=64, context=1.5, max_growths=0)
    assert found.region == (50, 0, 350, 300)
    # Random weights give masks all over the region, so they are cut until the region is the photo.
    one_point = {"input_points": [[[10, 150]]], "tile_size": 64}
    for growths, region in ((0, (0, 118, 64, 182)), (1, (0, 86, 128, 214)), (5, (0, 0, 480, 300))):
        (found,) = segment_regions(model, processor, photo, **one_point, max_growths=growths)
        assert found.region == region


def test_wrong_prompts_are_refused(model, processor, photo):
    for prompts, complaint in (
        ({}, "needs input_boxes or input_points"),
        ({"input_boxes": [[0, 0, 1, 1]], "input_labels": [[1]]}, "input_points, which are missing"),
        ({"input_boxes": [[0, 0, 1, 1]], "input_points": [[[1, 1]], [[2, 2]]]}, "every object needs an entry"),
        ({"input_points": [[[500, 10]]]}, "object 0 span 500 10"),
        ({"input_points": [[]]}, "neither a box nor a point"),
        ({"input_points": [[[5, 5]]], "context": 0.5}, "context"),
    ):
        with pytest.raises(ValueError, match=complaint):
            segment_regions(model, processor, photo, **prompts)


@pytest.mark.parametrize(
    ("option", "error", "complaint"),
    [
        ({"tile_size": 0}, ValueError, "tile_size must be at least 1, got 0"),
        ({"tile_size": 64.0}, TypeError, "tile_size must be a whole number, got 64.0"),
        ({"tile_size": None}, TypeError, "tile_size must be a whole number, got None"),
        ({"tile_size": True}, TypeError, "tile_size must be a whole number, got True"),
        ({"tile_size": "64"}, TypeError, "tile_size must be a whole number, got '64'"),
        ({"context": 0.5}, ValueError, "context must be at least 1 and at most .*, got 0.5"),
        ({"context": float("nan")}, ValueError, "context must be finite, got nan"),
        ({"context": float("inf")}, ValueError, "context must be finite, got inf"),
        ({"context": 1e300}, ValueError, "context must be at least 1 and at most"),
        ({"context": "2"}, TypeError, "context must be a number, got '2'"),
        ({"context": (1, 2)}, TypeError, r"context must be a number, got \(1, 2\)"),
        ({"max_growths": -1}, ValueError, "max_growths must be at least 0, got -1"),
        ({"max_growths": 10**9}, ValueError, "max_growths must be at most 32"),
        ({"max_growths": 1.5}, TypeError, "max_growths must be a whole number, got 1.5"),
        ({"max_growths": None}, TypeError, "max_growths must be a whole number, got None"),
    ],
)
def test_impossible_options_are_refused_by_name(model, processor, photo, option, error, complaint):
    with pytest.raises(error, match=complaint):
        segment_regions(model, processor, photo, input_boxes=[[0, 0, 9, 9]], **option)


@pytest.mark.parametrize(
    ("prompts", "error", "complaint"),
    [
        ({"input_boxes": [], "multimask_output": 1}, TypeError, "multimask_output must be True or False, got 1"),
        ({"input_boxes": [], "hq_token_only": "no"}, TypeError, "hq_token_only must be True or False, got 'no'"),
        ({"input_boxes": np.array(3)}, TypeError, "input_boxes must have an entry for each object, got array"),
        (
            {"input_points": [[1, 1], [5, 5]], "input_labels": [[1], [0, 1]]},
            ValueError,
            r"input_labels\[0\]\[1\] must have a label for each of 1 point, got shape \(2,\)",
        ),
    ],
)
def test_mistakes_are_named_before_the_image_is_read(model, processor, prompts, error, complaint):
    with pytest.raises(error, match=complaint):
        segment_regions(model, processor, "nowhere.jpg", **prompts)


def test_numbers_of_numpy_are_taken(model, processor, photo):
    options = {"tile_size": 160, "context": 2, "max_growths": 0}
    (plain_numbers,) = segment_regions(model, processor, photo, input_boxes=[[9, 9, 40, 40]], **options)
    options = {"tile_size": np.int32(160), "context": np.float32(2), "max_growths": np.uint8(0)}
    (found,) = segment_regions(model, processor, photo, input_boxes=np.array([[9, 9, 40, 40]]), **options)
    assert found.region == plain_numbers.region
    assert found.mask == plain_numbers.mask
