import warnings

import pytest
import torch

from conftest import small_model
from sam_hq.model.prompt_validation import validate_prompts
from sam_hq_numpy.prompt_warnings import PromptWarning, prompts_already_checked

POINTS = torch.rand(2, 3, 4, 2) * 100
LABELS = torch.tensor([1, 0, -1, -10]).expand(2, 3, 4)
BOXES = torch.tensor([1.0, 2.0, 3.0, 4.0]).expand(2, 3, 4)
MASKS = torch.zeros(2, 3, 16, 16)
PROMPTS = {"input_points": POINTS, "input_labels": LABELS, "input_boxes": BOXES, "input_masks": MASKS}


def validated(batch_size=2, mask_input_size=16, **prompts):
    return validate_prompts(batch_size=batch_size, mask_input_size=mask_input_size, **prompts)


def test_every_combination_of_prompts_is_counted():
    assert validated(**PROMPTS) == 3
    for name in ("input_points", "input_boxes", "input_masks"):
        assert validated(**{name: PROMPTS[name]}) == 3
    assert validated() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.int32])
def test_coordinates_of_any_real_dtype_pass(dtype):
    assert validated(input_points=POINTS.to(dtype), input_boxes=BOXES.to(dtype), input_labels=LABELS.to(dtype)) == 3


def test_prompts_outside_the_photo_and_boxes_without_area_pass():
    points = torch.tensor([-50.0, 5000.0]).expand(2, 3, 4, 2)
    assert validated(input_points=points, input_boxes=torch.tensor([-9.0, 7.0, -9.0, 7.0]).expand(2, 3, 4)) == 3
    assert validated(input_boxes=torch.zeros(2, 3, 4)) == 3


def with_value(tensor, value):
    changed = tensor.clone()
    changed.view(-1)[-1] = value
    return changed


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"input_points": POINTS[0]}, r"input_points must have shape .* got \(3, 4, 2\)"),
        ({"input_points": torch.zeros(2, 3, 4, 3)}, r"input_points must have shape .* got \(2, 3, 4, 3\)"),
        ({"input_points": torch.zeros(2, 3, 0, 2)}, r"input_points must have shape .* at least one"),
        ({"input_points": with_value(POINTS, float("nan"))}, "input_points must be finite"),
        ({"input_labels": LABELS}, "input_labels were given without input_points"),
        ({"input_points": POINTS, "input_labels": LABELS[:, :, :3]}, r"one label per point, shape \(2, 3, 4\)"),
        ({"input_points": POINTS, "input_labels": with_value(LABELS, 2)}, "input_labels may hold 1 .* got 2"),
        ({"input_points": POINTS, "input_labels": with_value(LABELS.float(), float("nan"))}, "input_labels may hold"),
        ({"input_boxes": BOXES[:, 0]}, r"input_boxes must have shape .* got \(2, 4\)"),
        ({"input_boxes": with_value(BOXES, float("inf"))}, "input_boxes must be finite"),
        ({"input_boxes": with_value(BOXES, 1.5)}, r"x1 >= x0 and y1 >= y0, got \[1.0, 2.0, 3.0, 1.5\]"),
        ({"input_masks": MASKS[0]}, r"input_masks must have shape \(images, objects, 16, 16\)"),
        ({"input_masks": torch.zeros(2, 3, 16, 8)}, r"input_masks must have shape .* got \(2, 3, 16, 8\)"),
        ({"input_masks": with_value(MASKS, float("nan"))}, "input_masks must be finite"),
        ({"input_boxes": BOXES[:1]}, "input_boxes is for 1 image, but there are 2"),
        ({"input_boxes": BOXES, "input_masks": MASKS[:, :1]}, "input_boxes has 3, input_masks has 1"),
        ({"input_points": POINTS[:, :2], "input_boxes": BOXES}, "input_points has 2, input_boxes has 3"),
    ],
)
def test_a_bad_prompt_is_named(prompts, message):
    with pytest.raises(ValueError, match=message):
        validated(**prompts)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"input_points": [[[[1, 2]]]]}, "input_points must be a tensor, got list"),
        ({"input_boxes": BOXES.to(torch.complex64)}, "input_boxes must hold real numbers"),
        ({"input_masks": MASKS.bool()}, "input_masks must hold real numbers"),
        ({"input_masks": MASKS.int()}, "input_masks must be floating point logits"),
    ],
)
def test_a_prompt_of_another_type_is_named(prompts, message):
    with pytest.raises(TypeError, match=message):
        validated(**prompts)


def test_without_values_only_shapes_are_looked_at():
    broken = {"input_points": torch.full_like(POINTS, float("nan")), "input_boxes": -BOXES}
    assert validated(**broken, check_values=False) == 3
    with pytest.raises(ValueError, match="input_boxes must have shape"):
        validated(input_boxes=BOXES[0], check_values=False)


def test_shape_checks_can_be_traced():
    def count(points, boxes):
        objects = validate_prompts(
            batch_size=2, mask_input_size=16, input_points=points, input_boxes=boxes, check_values=False
        )
        return points.sum() * objects

    compiled = torch.compile(count, fullgraph=True, backend="eager")
    assert torch.equal(compiled(POINTS, BOXES), count(POINTS, BOXES))


DISC = (torch.arange(256).reshape(16, 16) % 16 < 7).float()


@pytest.mark.parametrize(
    "mask",
    [
        DISC,
        DISC.half(),
        torch.ones(16, 16),
        0.25 * DISC,
        torch.linspace(0, 1, 256).reshape(16, 16),
        1e-3 * DISC.double(),
    ],
)
def test_masks_and_probabilities_given_as_logits_are_warned_about(mask):
    logits = (6 * torch.randn(2, 3, 16, 16)).to(mask.dtype)
    logits[1, 2] = mask
    with pytest.warns(PromptWarning, match="input_masks must be logits, but object 2 of image 1 holds only numbers"):
        assert validated(input_masks=logits) == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("scale", [1, 7, 100])
def test_a_label_map_given_as_logits_is_warned_about(dtype, scale):
    logits = (6 * torch.randn(2, 3, 16, 16)).to(dtype)
    logits[1, 0] = (torch.arange(16) // 5 * scale).to(dtype)  # 0 to 3 in columns
    with pytest.warns(
        PromptWarning, match="input_masks must be logits, but object 0 of image 1 seems to be a label map"
    ):
        assert validated(input_masks=logits) == 3


def test_logits_and_what_stands_for_no_mask_are_not_warned_about():
    logits = 6 * torch.randn(2, 3, 16, 16)
    logits[0, 0] = 0  # padding
    logits[0, 1], logits[0, 2], logits[1, 0] = DISC - 0.5, 1.5 * DISC, 10 * DISC
    logits[1, 1], logits[1, 2] = torch.linspace(2, 9, 16), logits[1, 2].round()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert validated(input_masks=logits) == validated(input_masks=-logits.abs()) == 3
        assert validated(input_masks=logits[:, :0]) == 0
        with prompts_already_checked():
            assert validated(input_masks=DISC.expand(2, 3, 16, 16)) == 3


def test_the_line_that_gave_a_mask_as_logits_is_named():
    model = small_model("tiny_vit")
    embeddings, intermediate = model.get_image_embeddings(torch.zeros(1, 3, 128, 128))
    with pytest.warns(PromptWarning, match="object 0 of image 0") as seen:
        model(image_embeddings=embeddings, intermediate_embeddings=intermediate, input_masks=torch.ones(1, 1, 32, 32))
    assert [warning.filename for warning in seen] == [__file__]


@pytest.mark.parametrize("labels", [torch.ones(1, 2, 2).numpy(), [[[1, 1]]], torch.ones(1, 1, 2), torch.ones(1, 3, 2)])
def test_points_of_no_object_take_labels_of_no_object_alone(labels):
    model = small_model("vit")
    size = model.config.vision_config.image_size
    with pytest.raises((TypeError, ValueError), match=r"input_(points|labels) must"):
        model(torch.zeros(1, 3, size, size), input_points=torch.zeros(1, 0, 2, 2), input_labels=labels)
