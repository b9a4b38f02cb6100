from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import SamHQProcessor as BuiltinProcessor
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from sam_hq.image_processing_sam_hq import SamHQImageProcessor
from sam_hq.model.prompt_validation import validate_prompts
from sam_hq.processing_sam_hq import SamHQProcessor
from sam_hq_numpy.prompt_warnings import PromptWarning

PHOTOS = Path(__file__).resolve().parents[1] / "docs" / "photos"
WIDE, TALL, SMALL = PHOTOS / "lemur.png", PHOTOS / "liberty.png", PHOTOS / "scissors.png"
SIZES = {WIDE: (414, 640), TALL: (800, 600), SMALL: (240, 320)}


@pytest.fixture(scope="module")
def processor():
    small = SamHQImageProcessor(
        size={"longest_edge": 128}, pad_size={"height": 128, "width": 128}, mask_size={"longest_edge": 32}
    )
    return SamHQProcessor(small)


def scaled(path, coordinates):
    """The authors' rule: each axis by the ratio of the rounded new side to the old one."""
    height, width = SIZES[path]
    new_height, new_width = (int(side * 128 / max(height, width) + 0.5) for side in (height, width))
    ratio = np.array([new_width / width, new_height / height] * 2)
    coordinates = np.asarray(coordinates, np.float64)
    return (coordinates * ratio[: coordinates.shape[-1]]).astype(np.float32)


def test_prompts_of_one_image(processor):
    points, labels, boxes = [[[400, 250], [10.5, 20.25]]], [[[1, 0]]], [[[30, 40, 500, 300]]]
    inputs = processor(WIDE, input_points=[points], input_labels=labels, input_boxes=boxes)
    assert np.array_equal(inputs["input_points"][0, 0], scaled(WIDE, points[0]))
    assert inputs["input_labels"].tolist() == [[[1, 0]]]
    assert np.array_equal(inputs["input_boxes"][0], scaled(WIDE, boxes[0]))
    assert inputs["valid_objects"].tolist() == [[True]]
    types = {name: inputs[name].dtype for name in ("input_points", "input_labels", "input_boxes", "pixel_values")}
    assert types == {
        "input_points": torch.float32,
        "input_labels": torch.int64,
        "input_boxes": torch.float32,
        "pixel_values": torch.float32,
    }


def test_the_published_forms_give_the_builtin_results():
    ours, builtin = SamHQProcessor(SamHQImageProcessor()), BuiltinProcessor(SamImageProcessorPil())
    photo = Image.open(WIDE).convert("RGB")
    for prompts in (
        {"input_boxes": [[[306, 132, 625, 393]]]},
        {"input_points": [[[400, 350]]]},
        {"input_points": [[[400, 350], [20, 30]]], "input_labels": [[1, 0]]},
        {"input_points": [[[[400, 350]], [[20, 30]]]], "input_labels": [[[1], [0]]]},
        {"input_points": [[[400, 350]]], "input_boxes": [[[306, 132, 625, 393]]]},
    ):
        mine = ours(photo, return_tensors="pt", **prompts)
        theirs = builtin(photo, return_tensors="pt", **prompts)
        for name, values in theirs.items():
            if name == "input_labels" and values.ndim < 3:
                continue
            assert mine[name].shape == values.shape, name
            assert torch.allclose(mine[name].double(), values.double(), atol=1e-5), name


def test_coordinates_keep_their_precision_in_a_cast(processor):
    inputs = processor(WIDE, input_points=[[[401, 351]]], input_boxes=[[[301.5, 131, 625, 393]]])
    points, boxes = inputs["input_points"].clone(), inputs["input_boxes"].clone()
    cast = inputs.to("cpu", torch.bfloat16)
    assert cast["pixel_values"].dtype == torch.bfloat16
    assert cast["original_sizes"].dtype == torch.int64
    assert torch.equal(cast["input_points"], points)
    assert torch.equal(cast["input_boxes"], boxes)
    assert cast.to(torch.float64)["input_points"].dtype == torch.float32
    arrays = processor(WIDE, input_points=[[[401, 351]]], return_tensors="np").to("cpu")
    np.testing.assert_array_equal(arrays["input_points"], points)


def objects_of(draw, kinds):
    number = st.floats(-500, 1500, width=32)
    objects = []
    for _ in range(draw(st.integers(0, 3))):
        one = {}
        if "points" in kinds:
            low = 0 if "boxes" in kinds else 1
            count = draw(st.integers(low, 4))
            one["points"] = [[draw(number), draw(number)] for _ in range(count)]
            one["labels"] = [draw(st.sampled_from((1, 0))) for _ in range(count)]
        if "boxes" in kinds:
            x0, y0, width, height = draw(number), draw(number), draw(st.integers(0, 99)), draw(st.integers(0, 99))
            one["boxes"] = [x0, y0, x0 + width, y0 + height]
        objects.append(one)
    return objects


@st.composite
def ragged_batches(draw):
    kinds = draw(st.sampled_from((("points",), ("boxes",), ("points", "boxes"))))
    photos = draw(st.lists(st.sampled_from(list(SIZES)), min_size=1, max_size=3))
    batch = [objects_of(draw, kinds) for _ in photos]
    if not any(batch):
        batch[0] = [{"points": [[1.0, 2.0]], "labels": [0], "boxes": [1.0, 2.0, 3.0, 4.0]}]
    arguments = {f"input_{kind}": [[one[kind] for one in objects] for objects in batch] for kind in kinds}
    if "points" in kinds:
        arguments["input_labels"] = [[one["labels"] for one in objects] for objects in batch]
    return photos, batch, arguments


@pytest.mark.filterwarnings("ignore::sam_hq_numpy.prompt_warnings.PromptWarning")
@settings(max_examples=60)
@given(ragged_batches())
def test_ragged_prompts_are_padded_and_scaled(processor, case):
    photos, batch, arguments = case
    prompts = processor(original_sizes=[SIZES[photo] for photo in photos], **arguments)
    given_prompts = {name: prompts.get(name) for name in ("input_points", "input_labels", "input_boxes")}
    count = validate_prompts(batch_size=len(photos), mask_input_size=32, **given_prompts)
    assert count == max(map(len, batch))
    assert prompts["valid_objects"].tolist() == [[j < len(objects) for j in range(count)] for objects in batch]
    for i, (photo, objects) in enumerate(zip(photos, batch, strict=True)):
        for j in range(count):
            one = objects[j] if j < len(objects) else {}
            if given_prompts["input_points"] is not None:
                length = len(one.get("points", []))
                points, labels = prompts["input_points"][i, j], prompts["input_labels"][i, j]
                expected = scaled(photo, np.reshape(one.get("points", []), (-1, 2)))
                assert np.allclose(points[:length], expected, rtol=1e-6)
                assert not points[length:].any()
                assert labels.tolist() == one.get("labels", []) + [-10] * (len(labels) - length)
            if given_prompts["input_boxes"] is not None:
                expected = scaled(photo, one["boxes"]) if one else np.zeros(4)
                assert np.allclose(prompts["input_boxes"][i, j], expected, rtol=1e-6)


def test_images_and_their_sizes_give_the_same_prompts(processor):
    prompts = {"input_points": [[[[5, 6]], [[7, 8], [9, 10]]], None], "input_boxes": [[[1, 2, 3, 4], [5, 6, 7, 8]], []]}
    with_images = processor([WIDE, TALL], **prompts)
    without = processor(original_sizes=torch.tensor([SIZES[WIDE], SIZES[TALL]]), **prompts)
    assert "pixel_values" not in without
    for name, values in without.items():
        assert torch.equal(with_images[name], values), name


def test_arrays_tensors_and_lists_are_the_same(processor):
    points, boxes = [[[[5, 6], [7, 8]]], [[[9, 10], [11, 12]]]], [[[1, 2, 3, 4]], [[5, 6, 7, 8]]]
    expected = processor([WIDE, TALL], input_points=points, input_boxes=boxes)
    for form in (np.array, torch.tensor, lambda nested: [np.array(part) for part in nested]):
        inputs = processor([WIDE, TALL], input_points=form(points), input_boxes=form(boxes))
        for name, values in expected.items():
            assert torch.equal(inputs[name], values), name


def test_padded_prompts_can_be_passed_again(processor):
    points, labels = [[[[5, 6], [7, 8]], [[9, 10], [0, 0]]]], [[[1, 0], [1, -10]]]
    inputs = processor(WIDE, input_points=points, input_labels=labels)
    assert inputs["input_labels"].tolist() == labels


def test_mask_prompts_of_both_kinds(processor):
    logits = torch.randn(32, 32)
    rough = np.zeros(SIZES[TALL], bool)
    rough[200:600, 150:450] = True
    inputs = processor([WIDE, TALL], input_masks=[logits, [rough, logits]])
    assert inputs["input_masks"].shape == (2, 2, 32, 32)
    assert torch.equal(inputs["input_masks"][0, 0], logits)
    assert not inputs["input_masks"][0, 1].any()
    assert inputs["valid_objects"].tolist() == [[True, False], [True, True]]
    back = processor.post_process_masks(
        inputs["input_masks"][:, :, None],
        inputs["original_sizes"],
        inputs["reshaped_input_sizes"],
        valid_objects=inputs["valid_objects"],
    )
    assert [len(masks) for masks in back] == [1, 2]
    returned = back[1][0, 0].numpy()
    assert (returned & rough).sum() / (returned | rough).sum() > 0.95


def test_an_object_with_a_box_or_a_mask_needs_no_points(processor):
    inputs = processor(WIDE, input_points=[[[], [[5, 6]]]], input_boxes=[[[1, 2, 3, 4], [5, 6, 7, 8]]])
    assert inputs["input_labels"].tolist() == [[[-10], [1]]]
    inputs = processor(WIDE, input_points=[[[]]], input_boxes=[[[1, 2, 3, 4]]])
    assert "input_points" not in inputs
    assert "input_labels" not in inputs


def test_labels_to_train_on_come_with_their_marks(processor):
    maps = [[np.ones(SIZES[WIDE], bool)] * 2, [np.ones(SIZES[TALL], bool)]]
    inputs = processor([WIDE, TALL], maps, input_boxes=[[[1, 2, 3, 4], [5, 6, 7, 8]], [[1, 2, 3, 4]]])
    assert inputs["labels"].shape == (2, 2, 32, 32)
    assert inputs["valid_objects"].tolist() == [[True, True], [True, False]]
    assert torch.equal(processor([WIDE, TALL], maps)["valid_objects"], inputs["valid_objects"])


def test_a_call_without_prompts_is_the_image_processors(processor):
    inputs, expected = processor(WIDE), processor.image_processor(WIDE)
    assert list(inputs) == list(expected)
    assert torch.equal(inputs["pixel_values"], expected["pixel_values"])
    assert processor.model_input_names == ["pixel_values", "original_sizes", "reshaped_input_sizes"]


def test_options_reach_the_image_processor(processor):
    for options in ({"size": {"longest_edge": 64}}, {"images_kwargs": {"size": {"longest_edge": 64}}}):
        inputs = processor(WIDE, input_points=[[[640, 414]]], **options)
        assert inputs["reshaped_input_sizes"].tolist() == [[41, 64]]
        assert inputs["input_points"].tolist() == [[[[64, 41]]]]
    inputs = processor(WIDE, input_boxes=[[[1, 2, 3, 4]]], input_masks=torch.zeros(1, 1, 32, 32), return_tensors="np")
    assert all(isinstance(values, np.ndarray) for values in inputs.values())


def test_a_builtin_image_processor_is_taken_over():
    builtin = SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    processor = SamHQProcessor(builtin)
    assert type(processor.image_processor) is SamHQImageProcessor
    assert processor.image_processor.size == {"longest_edge": 64}
    assert processor.image_processor.pad_size == {"height": 64, "width": 64}
    with pytest.raises(TypeError, match="image_processor must be an image processor, got str"):
        SamHQProcessor("image processor")


def test_saving_and_loading(tmp_path, processor):
    processor.save_pretrained(tmp_path)
    image_processor = SamHQImageProcessor.from_pretrained(tmp_path)
    assert image_processor.to_dict() == processor.image_processor.to_dict()


BOX, POINT = [[[1, 2, 3, 4]]], [[[1, 2]]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either images, or original_sizes"),
        ({"images": WIDE, "original_sizes": [(4, 5)]}, "give either images, or original_sizes"),
        ({"original_sizes": []}, "original_sizes must be pairs"),
        ({"original_sizes": [(4, 5)], "segmentation_maps": np.ones((4, 5))}, "segmentation_maps were given without"),
        ({"images": []}, "images is empty"),
        ({"images": WIDE, "input_labels": [[1]]}, "input_labels were given without input_points"),
        ({"images": WIDE, "input_points": []}, "input_points is for 0 images"),
        ({"images": WIDE, "input_points": [[[1e39, 5]]]}, "input_points must be finite in 32 bits"),
        ({"images": WIDE, "input_boxes": [[[1, 2, 3, 1e39]]]}, "input_boxes must be finite in 32 bits"),
        ({"images": WIDE, "input_masks": torch.full((1, 1, 32, 32), 1e25)}, "finite logits of at most 10000, got 1e"),
        ({"images": WIDE, "input_points": POINT, "point_pad_value": 0}, "point_pad_value must be -10 or None, got 0"),
        ({"images": WIDE, "input_points": [[[[1, 2]], []]]}, r"input_points\[0\]\[1\] has no point"),
        ({"images": WIDE, "input_points": [[[1, float("nan")]]]}, "input_points must be finite"),
        ({"images": WIDE, "input_points": POINT, "input_labels": [[3]]}, "input_labels may hold"),
        ({"images": WIDE, "input_points": POINT, "input_labels": [[1, 1]]}, "must have a label for each of 1 point"),
        ({"images": WIDE, "input_boxes": [[[5, 2, 3, 4]]]}, r"x1 >= x0 and y1 >= y0, got \[5.0, 2.0, 3.0, 4.0\]"),
        ({"images": WIDE, "input_boxes": [[[1, 2, 3, float("inf")]]]}, "input_boxes must be finite"),
        ({"images": WIDE, "input_boxes": [BOX[0], BOX[0]]}, "input_boxes is for 2 images"),
        ({"images": WIDE, "input_boxes": [BOX[0] * 2], "input_points": POINT}, "input_points has 1, input_boxes has 2"),
        ({"images": WIDE, "input_boxes": [BOX[0] * 2], "input_masks": np.zeros((1, 32, 32))}, "input_masks has 1"),
        ({"images": WIDE, "input_masks": np.zeros((1, 31, 32))}, r"input_masks\[0\]\[0\] must be floating point"),
        ({"images": WIDE, "input_boxes": BOX, "size": 64, "images_kwargs": {"size": 64}}, "'size' was given twice"),
    ],
)
def test_bad_input_is_named(processor, arguments, message):
    with pytest.raises(ValueError, match=message):
        processor(**arguments)


@pytest.mark.parametrize(
    "prompts",
    [
        {"input_points": [[]]},
        {"input_points": [None], "input_labels": [[]]},
        {"input_boxes": [[]]},
        {"input_boxes": np.zeros((1, 0, 4))},
        {"input_masks": [[]]},
        {"input_points": [[]], "input_boxes": [None]},
    ],
)
def test_an_image_without_objects_is_one_of_a_batch_by_itself(processor, prompts):
    inputs = processor(WIDE, **prompts)
    assert inputs["valid_objects"].shape == (1, 0)
    box = [[1, 2, 30, 40]]
    batch = processor([TALL, WIDE], input_boxes=[box, []])
    assert batch["valid_objects"].tolist() == [[True], [False]]
    shapes = {
        "input_points": (1, 0, 1, 2),
        "input_labels": (1, 0, 1),
        "input_boxes": (1, 0, 4),
        "input_masks": (1, 0, 32, 32),
    }
    for name in {*prompts, *(["input_labels"] if "input_points" in prompts else [])}:
        assert inputs[name].shape == shapes[name]


def test_padding_has_the_models_label_alone(processor):
    points = [[[[5, 6], [7, 8]], [[9, 10]]]]
    inputs = processor(WIDE, input_points=points, point_pad_value=-10, text_kwargs={})
    assert inputs["input_labels"].tolist() == [[[1, 1], [1, -10]]]


def test_options_nobody_knows_are_refused(processor):
    with pytest.raises(TypeError, match="unknown option 'input_point'"):
        processor(WIDE, input_point=POINT)
    with pytest.raises(TypeError, match="unknown option 'text'"):
        processor(WIDE, text="lemur")


def test_bad_prompts_are_refused_before_the_image_is_read(processor):
    with pytest.raises(ValueError, match="x1 >= x0"):
        processor("no such file.png", input_boxes=[[[5, 2, 3, 4]]])


@pytest.mark.parametrize(
    "mask",
    [np.zeros((60, 80), bool), np.full((60, 80), 0.25), np.full((32, 32), 0.5), np.arange(1024.0).reshape(32, 32) % 99],
    ids=["empty", "faint", "probabilities", "labels"],
)
def test_warnings_of_mask_prompts_name_the_line_that_gave_them(processor, mask):
    with pytest.warns(PromptWarning, match=r"input_masks\[0\]\[0\]") as seen:
        processor(original_sizes=[(60, 80)], input_masks=[[mask]])
    assert [warning.filename for warning in seen] == [__file__]
