"""Wrapped and offloaded models, and images of a few rows, give what the plain model gives."""

import numpy as np
import pytest
import torch
from accelerate import cpu_offload, disk_offload
from PIL import Image
from torch import nn
from transformers import pipeline

import sam_hq
from conftest import small_config, small_model
from sam_hq.hub.conversion import processor_for

EVERYTHING = {"points_per_crop": 2, "pred_iou_thresh": -100.0, "stability_score_thresh": -1.0}
PHOTO = np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8)
PROCESSOR = processor_for(small_config("vit"))


def generated(model):
    generator = sam_hq.SamHQMaskGenerator(model, PROCESSOR.image_processor, **EVERYTHING)
    return generator.generate(PHOTO)


def assert_same(found, expected):
    assert len(found["masks"]) == len(expected["masks"]) > 0
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=1e-5)


@pytest.mark.parametrize("wrap", [nn.DataParallel, torch.compile, lambda model: nn.DataParallel(torch.compile(model))])
def test_the_pipeline_and_the_generator_look_through_wrappers(wrap):
    model = small_model("vit")
    wrapped = wrap(model)
    found = pipeline("mask-generation", model=wrapped, image_processor=PROCESSOR.image_processor)
    assert type(found) is sam_hq.SamHQMaskGenerationPipeline
    assert found.model is model
    expected = generated(model)
    assert_same(generated(wrapped), expected)
    assert_same(found(Image.fromarray(PHOTO), **EVERYTHING), expected)
    with pytest.raises(TypeError, match="points_per_crops"):
        found(PHOTO, points_per_crops=3)


def test_offloaded_models_work_as_forward_does(tmp_path):
    plain = small_model("vit")
    expected = generated(plain)
    box = [[10, 20, 60, 70]]
    (of_plain,) = sam_hq.segment_regions(plain, PROCESSOR, PHOTO, input_boxes=box)
    for offload in (cpu_offload, lambda model, **device: disk_offload(model, tmp_path, **device)):
        model = small_model("vit")
        offload(model, execution_device="cpu")
        assert_same(generated(model), expected)
        (found,) = sam_hq.segment_regions(model, PROCESSOR, PHOTO, input_boxes=box)
        assert found.score == pytest.approx(of_plain.score, abs=1e-5)
        found = pipeline("mask-generation", model=model, image_processor=PROCESSOR.image_processor)
        assert_same(found(Image.fromarray(PHOTO), **EVERYTHING), expected)


@pytest.mark.parametrize("shape", [(1, 100), (3, 100), (3, 3), (100, 1), (100, 3)])
def test_images_of_a_few_rows_are_not_taken_for_channels(shape):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8))
    model = small_model("vit")
    with torch.no_grad():
        expected, _ = model.get_image_embeddings(PROCESSOR(image)["pixel_values"])
    generator = sam_hq.SamHQMaskGenerator(model, PROCESSOR.image_processor, **EVERYTHING)
    kept = []
    options = generator.options
    (found,) = generator.candidates_each([image], 1, options, kept.append)
    torch.testing.assert_close(kept[0].image_embeddings, expected, atol=1e-5, rtol=1e-5)
    assert all(mask.to_mask().shape == shape for mask in found.masks)
    (region,) = sam_hq.segment_regions(model, PROCESSOR, image, input_boxes=[[0, 0, shape[1], shape[0]]])
    assert region.mask.to_mask().shape == shape


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_default_dtype_changes_no_mask(dtype):
    model = small_model("vit")
    expected = generated(model)
    torch.set_default_dtype(dtype)
    try:
        found = generated(model)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_same(found, expected)
    assert found["scores"].dtype == torch.float32
    for mask, same in zip(found["masks"], expected["masks"], strict=True):
        np.testing.assert_array_equal(mask, same)


def test_autocast_is_for_the_model_alone():
    model = small_model("vit")
    expected = generated(model)
    with torch.autocast("cpu", torch.bfloat16):
        found = generated(model)
    assert len(found["masks"]) == len(expected["masks"])
    assert all(mask.shape == PHOTO.shape[:2] for mask in found["masks"])
    np.testing.assert_allclose(found["scores"], expected["scores"], atol=0.1)


@pytest.mark.parametrize("default", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_default_dtype_changes_no_loss(default, dtype):
    model = small_model("vit").to(dtype)
    inputs = {"pixel_values": PROCESSOR(PHOTO)["pixel_values"].to(dtype), "labels": torch.ones(1, 1, 64, 64)}
    losses = []
    for ambient in (torch.float32, default):
        torch.set_default_dtype(ambient)
        try:
            torch.manual_seed(0)
            loss = model(**inputs).loss
        finally:
            torch.set_default_dtype(torch.float32)
        model.zero_grad()
        loss.backward()
        losses.append((loss, model.mask_decoder.mask_conv1.weight.grad.clone()))
    assert losses[0][0].dtype == losses[1][0].dtype == torch.float32
    torch.testing.assert_close(losses[1], losses[0])


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.float64])
def test_labels_of_any_dtype_and_autocast_give_the_loss(kind):
    model = small_model("vit")
    pixels = PROCESSOR(PHOTO)["pixel_values"]
    labels = torch.zeros(1, 1, 64, 64)
    labels[..., 10:30, 20:50] = 1
    torch.manual_seed(0)
    expected = model(pixels, labels=labels).loss
    torch.manual_seed(0)
    torch.testing.assert_close(model(pixels, labels=labels.to(kind)).loss, expected)
    with torch.autocast("cpu", torch.bfloat16):
        torch.manual_seed(0)
        loss = model(pixels, labels=labels.to(kind)).loss
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, atol=0.05, rtol=0)
    model.bfloat16()
    torch.manual_seed(0)
    loss = model(pixels.bfloat16(), labels=labels.to(kind)).loss
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected, atol=0.1, rtol=0)


def test_a_model_in_training_mode_gives_what_it_gives_in_evaluation_and_keeps_its_statistics():
    model = small_model("tiny_vit")
    expected, before = generated(model), {name: value.clone() for name, value in model.state_dict().items()}
    assert_same(generated(model.train()), expected)
    found = pipeline("mask-generation", model=model.train(), image_processor=PROCESSOR.image_processor)
    assert_same(found(Image.fromarray(PHOTO), **EVERYTHING), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
