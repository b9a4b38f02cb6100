"""What the runner without torch refuses of its callers, by name; and how it reads arrays."""

import warnings

import numpy as np
import pytest
from PIL import Image

from sam_hq.images.image_loading import load_rgb
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions
from sam_hq_onnx import OnnxSamHQ
from sam_hq_onnx.encoder_inputs import image_rgb
from sam_hq_onnx.prompts import PROMPT_INPUTS, decoder_prompts

PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
MASK = np.zeros((32, 32), np.float32)


@pytest.fixture(scope="module")
def runner(exports):
    return OnnxSamHQ(exports("vit").directory, providers="cpu", threads=1)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({"input_points": [[[[1e39, 2]]]]}, r"input_points\[0\]\[0\] must be finite in 32 bits"),
        ({"input_points": [[[[1, 2], [3, -1e308]]]]}, r"input_points\[0\]\[0\] must be finite in 32 bits"),
        ({"input_boxes": [[[1, 2, 1e39, 3]]]}, r"input_boxes\[0\] must be finite in 32 bits"),
        ({"input_masks": [[np.full((32, 32), 1e300)]]}, r"input_masks\[0\]\[0\] must be finite floating point logits"),
    ],
)
def test_prompts_that_overflow_in_32_bits_are_refused_without_a_warning(runner, prompts, message):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=message):
            runner.segment(PHOTO, **prompts)


@pytest.mark.parametrize(
    ("prompts", "error", "message"),
    [
        ({"input_masks": 5}, TypeError, r"input_masks must be nested \[image\]\[object\] of mask logits, got 5"),
        ({"input_masks": [5]}, TypeError, r"input_masks\[0\] must be floating point logits .*, got 5"),
        ({"input_masks": [[MASK]] * 2}, ValueError, "for 1 image, got 2"),
        ({"input_masks": [[MASK, MASK[:5]]]}, ValueError, r"input_masks\[0\] must .*, got masks of several shapes"),
        ({"input_masks": [[MASK, None]]}, ValueError, r"input_masks\[0\] must .*, got masks of several shapes"),
        ({"input_boxes": [[[0, 0, 1, 1], [10, 2, 1, 2]]]}, ValueError, r"input_boxes\[0\] must .*, got \[10.0, 2.0, 1"),
    ],
)
def test_misshapen_prompts_are_refused_by_name(runner, prompts, error, message):
    with pytest.raises(error, match=message):
        runner.segment(PHOTO, **prompts)


@pytest.mark.parametrize("name", ["multimask_output", "hq_token_only"])
@pytest.mark.parametrize("value", [0, "no", None, [True]])
def test_flags_are_true_or_false(runner, name, value):
    with pytest.raises(TypeError, match=f"{name} must be True or False, got"):
        runner.segment("nowhere.jpg", **{name: value})  # refused before the photo is read
    with pytest.raises(TypeError, match=f"{name} must be True or False, got"):
        runner.decode(runner.embed(PHOTO), {}, **{name: value})


@pytest.mark.parametrize(("value", "error"), [("x", TypeError), (2.5, TypeError), (True, TypeError), (0, ValueError)])
def test_max_pixels_is_a_count(runner, value, error):
    with pytest.raises(error, match="max_pixels must be "):
        runner.embed(PHOTO, max_pixels=value)


def test_inputs_of_the_decoder_that_are_missing_are_named(runner):
    with pytest.raises(ValueError, match="but have no input_points, input_labels, input_boxes, input_masks, has_mask"):
        runner.decode(runner.embed(PHOTO), {"has_box": np.ones((1, 1), bool)})


@pytest.mark.parametrize("name", PROMPT_INPUTS)
def test_inputs_of_the_decoder_for_other_objects_or_images_are_named(runner, name):
    embeddings, points = runner.embed(PHOTO), [[[[5, 5]], [[9, 9]], [[20, 9]]]]
    prompts, _ = decoder_prompts(
        embeddings.original_sizes, embeddings.reshaped_sizes, runner.metadata.mask_size, points
    )
    for wrong in (prompts[name][:, :1], prompts[name].repeat(2, axis=0)):
        with pytest.raises(ValueError, match=r"must be of 1 images and . objects as has_box is, got shape"):
            runner.decode(embeddings, {**prompts, name: wrong})
    with pytest.raises(TypeError, match="embeddings must be what embed returns, got str"):
        runner.decode("embeddings", prompts)


def test_dark_crops_of_an_image_are_no_mistakes(runner, recwarn):
    photo = np.concatenate([PHOTO, np.zeros_like(PHOTO)])
    photo[-1, -1] = photo[len(PHOTO) + 1, 1] = 1
    runner.generate(photo, crops_n_layers=1, crop_overlap_ratio=0, points_per_crop=2)
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(
    ("sizes", "name"),
    [(((0, 5), (1, 1)), "original_size"), (((5, 5), (1,)), "reshaped_size"), (((5, 5), (1, 129)), "reshaped_size")],
)
def test_frames_of_impossible_sizes_are_refused(runner, sizes, name):
    with pytest.raises(ValueError, match=f"{name} must be a height and a width"):
        runner.frame(*sizes)


@pytest.mark.parametrize("option", [{"tile_size": 100}])
def test_options_that_nothing_heeds_are_refused_before_the_image_is_read(runner, option):
    message = f"{next(iter(option))} is not supported without torch, got "
    for call in (runner.generate, lambda *args, **options: next(runner.iterate(*args, **options))):
        with pytest.raises(ValueError, match=message):
            call("nowhere.jpg", **option)
    with pytest.raises(ValueError, match=message):
        runner.candidates("nowhere.jpg", MaskGenerationOptions(**option))


@pytest.mark.parametrize("call", ["generate", "candidates"])
@pytest.mark.parametrize("options", [{"points_per_crop": 3}, {}, 5])
def test_options_as_a_dictionary_are_refused_with_the_way_to_pass_them(runner, call, options):
    with pytest.raises(TypeError, match=r"options must be MaskGenerationOptions, got (dict|int); pass single options"):
        getattr(runner, call)(PHOTO, options)


@pytest.mark.parametrize(
    "shape", [(1, 50, 3), (3, 50, 3), (50, 3, 3), (3, 4, 5), (4, 50, 3), (4, 9, 4), (5, 9, 4), (5, 9, 1), (5, 9)]
)
def test_the_channels_of_an_array_are_where_the_processor_finds_them(shape):
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(image_rgb(image), load_rgb(image)[0])


def test_arrays_without_channels_are_refused():
    with pytest.raises(ValueError, match=r"1, 3 or 4 channels .*, got shape \(5, 9, 2\)"):
        image_rgb(np.zeros((5, 9, 2), np.uint8))


def test_generation_does_not_guess_at_the_channels_of_a_low_image(runner):
    low = Image.fromarray(PHOTO[:3])
    options = {"points_per_crop": 2, "pred_iou_thresh": -100.0, "stability_score_thresh": -1.0}
    found = runner.generate(low, **options)
    assert {mask.shape for mask in found["masks"]} == {(3, 60)}


def test_max_pixels_of_generation_holds_for_its_crops_too(runner, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    options = {"points_per_crop": 1, "pred_iou_thresh": -100.0, "stability_score_thresh": -1.0}
    assert len(runner.generate(PHOTO, max_pixels=10_000, **options)["masks"]) == 1
