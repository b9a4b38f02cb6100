import numpy as np
import pytest
import torch
from PIL import Image

import sam_hq
from conftest import PHOTOS, small_config, small_model
from sam_hq import PhotoEmbeddings, SamHQPredictor
from sam_hq.hub.conversion import processor_for
from sam_hq_numpy.prompt_warnings import PromptWarning

KITTEN = PHOTOS / "kitten.jpg"
SIZE = (100, 150)


@pytest.fixture(scope="module")
def predictor():
    return SamHQPredictor(small_model("tiny_vit"), processor_for(small_config("tiny_vit")))


@pytest.fixture(scope="module")
def photo():
    return Image.open(KITTEN).resize(SIZE[::-1])


@pytest.fixture(scope="module")
def embeddings(predictor, photo):
    return predictor.embed(photo)


def by_hand(predictor, photo, options, **prompts):
    """The same through processor and model."""
    inputs = predictor.processor(photo, return_tensors="pt", **prompts)
    with torch.no_grad():
        outputs = predictor.model(**inputs, **options)
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    return predictor.processor.post_process_masks(outputs.pred_masks, *sizes)[0], outputs


def one_and_many():
    """Prompts of one object in every form, and of several, with the processor's form of the same."""
    box, points, ragged = [10, 20, 90, 80], [[40, 30], [60, 50]], [[[40, 30]], [[100, 70], [20, 20]]]
    yield {"points": (40, 30)}, {"input_points": [[[[40, 30]]]]}
    yield {"points": (40, 30), "labels": 0}, {"input_points": [[[[40, 30]]]], "input_labels": [[[0]]]}
    yield {"points": points, "labels": [1, 0]}, {"input_points": [[points]], "input_labels": [[[1, 0]]]}
    yield {"points": np.array(points)}, {"input_points": [[points]]}
    yield {"boxes": box}, {"input_boxes": [[box]]}
    yield {"boxes": np.array(box), "points": points}, {"input_boxes": [[box]], "input_points": [[points]]}
    yield {"boxes": torch.tensor([box, box])}, {"input_boxes": [[box, box]]}
    yield {"points": ragged}, {"input_points": [ragged]}
    both = {"input_points": [ragged], "input_labels": [[[1], [1, 0]]], "input_boxes": [[box, box]]}
    yield {"points": ragged, "labels": [[1], [1, 0]], "boxes": [box, box]}, both
    yield {"points": [[], []], "boxes": [box, box]}, {"input_boxes": [[box, box]]}
    yield (
        {"points": [[], [[40, 30]]], "boxes": [box, box]},
        {
            "input_boxes": [[box, box]],
            "input_points": [[[], [[40, 30]]]],
        },
    )
    yield {}, {}


@pytest.mark.parametrize("options", [{}, {"multimask_output": True}, {"hq_token_only": True}])
@pytest.mark.parametrize(("prompts", "of_processor"), list(one_and_many()))
def test_it_equals_processor_and_model(predictor, embeddings, photo, prompts, of_processor, options):
    expected, outputs = by_hand(predictor, photo, {"multimask_output": False, **options}, **of_processor)
    masks, scores, logits = predictor.predict(embeddings, **prompts, **options)
    torch.testing.assert_close(logits, outputs.pred_masks[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(scores, outputs.iou_scores[0], atol=1e-5, rtol=0)
    assert masks.shape == (*scores.shape, *SIZE)
    assert (masks != expected).float().mean() < 1e-3


@pytest.mark.parametrize(
    "given",
    [
        np.asarray,
        lambda photo: torch.from_numpy(np.array(photo)),
        lambda photo: photo,
        lambda photo: np.array(photo) / 255,
    ],
)
def test_any_form_of_an_image_gives_the_same(predictor, photo, given):
    predictor.set_image(given(photo))
    expected = predictor.predict(predictor.embed(np.asarray(photo)), boxes=[10, 20, 90, 80])
    torch.testing.assert_close(predictor.predict(boxes=[10, 20, 90, 80]).low_res_logits, expected.low_res_logits)


def test_a_list_of_images_takes_a_prompt_for_each(predictor, photo):
    photos = [photo, photo.rotate(90, expand=True), KITTEN]
    boxes = [[10, 20, 90, 80], [[5, 5, 50, 60], [20, 30, 90, 140]], np.zeros((0, 4))]
    points = [None, [[[30, 30]], [[50, 70], [52, 71]]], None]
    predictor.set_image(photos)
    results = predictor.predict(boxes=boxes, points=points, multimask_output=True)
    assert [len(result.masks) for result in results] == [1, 2, 0]
    for image, result, of_image, at in zip(photos, results, boxes, points, strict=True):
        alone = predictor.predict(predictor.embed(image), boxes=of_image, points=at, multimask_output=True)
        torch.testing.assert_close(result.low_res_logits, alone.low_res_logits, atol=1e-5, rtol=0)
        assert result.masks.shape == alone.masks.shape
    together = predictor.embed(photos, batch_size=2)
    torch.testing.assert_close(
        together[1].image_embeddings, predictor.embeddings[1].image_embeddings, atol=1e-5, rtol=0
    )
    with pytest.raises(ValueError, match="for each of 3 images"):
        predictor.predict(boxes=boxes[:2])


def test_an_answer_can_be_refined_and_returned_as_logits_or_arrays(predictor, embeddings, photo):
    first = predictor.predict(embeddings, boxes=[[10, 20, 90, 80], [20, 30, 60, 60]], return_logits=True)
    assert first.masks.dtype == torch.float32
    again = predictor.predict(embeddings, points=[[[40, 30]], [[50, 50]]], masks=first.low_res_logits)
    earlier = first.low_res_logits[:, 0]
    one = predictor.predict(embeddings, points=(40, 30), masks=earlier[0])
    torch.testing.assert_close(again.low_res_logits[:1], one.low_res_logits, atol=1e-5, rtol=0)
    rough = Image.fromarray((first.masks[0, 0] > 0).numpy())
    expected, _ = by_hand(predictor, photo, {"multimask_output": False}, input_masks=[[np.array(rough)]])
    masks, scores, logits = predictor.predict(embeddings, masks=rough).numpy()
    assert (masks != expected.numpy()).mean() < 1e-3
    assert masks.dtype == bool
    assert scores.dtype == logits.dtype == np.float32


def test_no_objects_give_no_masks(predictor, embeddings):
    for nothing in ({"boxes": []}, {"boxes": np.zeros((0, 4))}, {"points": []}, {"boxes": [], "masks": []}):
        for options, candidates in (({}, 1), ({"multimask_output": True}, 3), ({"hq_token_only": True}, 1)):
            masks, scores, logits = predictor.predict(embeddings, **nothing, **options)
            assert (masks.shape, scores.shape) == ((0, candidates, *SIZE), (0, candidates))
            assert logits.shape == (0, candidates, 32, 32)


def test_kept_embeddings_answer_as_before_and_only_for_their_model(predictor, embeddings, tmp_path):
    path = tmp_path / "new" / "kitten.safetensors"
    embeddings.save(path)
    kept = PhotoEmbeddings.load(path)
    assert (kept.original_size, kept.reshaped_size) == (SIZE, (85, 128))
    expected = predictor.predict(embeddings, boxes=[10, 20, 90, 80])
    assert torch.equal(predictor.predict(kept, boxes=[10, 20, 90, 80]).masks, expected.masks)
    half = SamHQPredictor(small_model("tiny_vit").to(torch.bfloat16), predictor.processor)
    assert half.predict(kept, boxes=[10, 20, 90, 80]).masks.shape == expected.masks.shape
    other = SamHQPredictor(small_model("tiny_vit", seed=1), predictor.processor)
    with pytest.raises(ValueError, match="another model"):
        other.predict(kept, boxes=[10, 20, 90, 80])
    trained = SamHQPredictor(small_model("tiny_vit"), predictor.processor)
    before = trained.embed(Image.new("RGB", SIZE))
    with torch.no_grad():
        trained.model.vision_encoder.neck.conv1.weight.mul_(1.5)
    with pytest.raises(ValueError, match="other weights"):
        trained.predict(before)
    trained.set_image(Image.new("RGB", SIZE))
    trained.predict(boxes=[10, 20, 90, 80])
    with torch.no_grad():
        trained.model.mask_decoder.compress_vit_conv1.weight.mul_(1.5)
    with pytest.raises(ValueError, match="other weights"):
        trained.predict(boxes=[10, 20, 90, 80])


def test_embeddings_of_another_frame_are_refused(predictor, photo):
    squashing = processor_for(small_config("tiny_vit"))
    squashing.image_processor.size = {"height": 128, "width": 128}
    squashed = SamHQPredictor(predictor.model, squashing)
    assert squashed.predict(squashed.embed(photo), boxes=[10, 20, 90, 80]).masks.shape == (1, 1, *SIZE)
    with pytest.raises(ValueError, match="another size"):
        predictor.predict(squashed.embed(photo), boxes=[10, 20, 90, 80])


@pytest.mark.parametrize(
    ("prompts", "error", "words"),
    [
        ({"boxes": [[1, 2, 3]]}, ValueError, r"boxes must have shape \(count, 4\)"),
        (
            {"boxes": [[[0, 0, 9, 9]]]},
            ValueError,
            r"boxes must be nested \[object\]\[x0, y0, x1, y1\], .*, got 3 levels$",
        ),
        ({"boxes": [[0, 0, 9, 9], [9, 9, 0, 0]]}, ValueError, "boxes must be x0, y0, x1, y1 with x1 >= x0"),
        (
            {"boxes": [[0, 0, 9, 9]] * 2, "points": [[5, 5]]},
            ValueError,
            "all prompts must have the same number of objects, but points has 1, boxes has 2$",
        ),
        ({"labels": [1]}, ValueError, "labels were given without points, every label belongs to a point"),
        ({"points": [[5, 5]], "labels": [1, 0]}, ValueError, r"labels\[0\] must have a label for each of 1 point"),
        ({"points": [[5, 5]], "labels": [3]}, ValueError, r"labels may hold 1 \(foreground\)"),
        ({"points": "here"}, TypeError, r"points\[0\] must hold numbers"),
        ({"points": [[[5, 5]], []]}, ValueError, r"points\[1\] has no point"),
        ({"points": [[5, float("nan")]]}, ValueError, "points must be finite"),
        ({"masks": np.zeros((7, 7), bool)}, ValueError, r"masks\[0\] must be floating point logits"),
    ],
)
def test_bad_prompts_are_refused_by_the_name_that_they_were_given(predictor, embeddings, prompts, error, words):
    with pytest.raises(error, match=f"^{words}"):
        predictor.predict(embeddings, **prompts)
    of_second = {name: [None, prompt] for name, prompt in prompts.items()}
    with pytest.raises(error, match=f"^image 1: {words}"):
        predictor.predict([embeddings, embeddings], **of_second)


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        ({"boxes": [0.1, 0.1, 0.5, 0.5]}, "boxes must be in pixels of the image.*: object 0, "),
        ({"boxes": [[5, 5, 9, 9], [5, 5, 5, 5]]}, "boxes has boxes without area: object 1, "),
        ({"points": [5000, 4]}, "points has points that lie outside their image: object 0, "),
        ({"points": [[5, 5], [5, 5]], "labels": [1, 0]}, "points has a point that is both"),
        ({"masks": np.zeros(SIZE, bool), "boxes": [5, 5, 9, 9]}, r"masks\[0\] is an empty mask"),
    ],
)
def test_prompts_are_warned_of_by_the_name_that_they_were_given(predictor, embeddings, prompts, words):
    with pytest.warns(PromptWarning, match=f"^{words}"):
        predictor.predict(embeddings, **prompts)
    with pytest.warns(PromptWarning, match=f"^image 1: {words}"):
        predictor.predict([embeddings] * 2, **{name: [None, prompt] for name, prompt in prompts.items()})


def test_names_of_the_processor_and_of_regions_stay_theirs(predictor, photo):
    with pytest.raises(ValueError, match=r"^input_boxes\[0\] must have shape"):
        predictor.processor(photo, input_boxes=[[[1, 2, 3]]])
    with pytest.raises(ValueError, match=r"^input_labels may hold 1"):
        sam_hq.segment_regions(predictor.model, predictor.processor, photo, input_points=[[[5, 5]]], input_labels=[[3]])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ({"multimask_output": "no"}, "multimask_output must be True or False, got 'no'"),
        ({"hq_token_only": None}, "hq_token_only must be True or False, got None"),
        ({"return_logits": 0}, "return_logits must be True or False, got 0"),
    ],
)
def test_flags_that_are_none_are_refused(predictor, embeddings, option, words):
    with pytest.raises(TypeError, match=words):
        predictor.predict(embeddings, **option)


@pytest.mark.parametrize("other", [None, "processor", 3])
def test_what_is_no_processor_is_refused(predictor, other):
    for make in (SamHQPredictor, sam_hq.SamHQMaskGenerator):
        with pytest.raises(TypeError, match=r"processor must be a SamHQ.*, got"):
            make(predictor.model, other)
        with pytest.raises(TypeError, match=r"processor must be a SamHQ.*, got SamHQModel"):
            make(predictor.model, predictor.model)
    with pytest.raises(TypeError, match="processor must be a SamHQProcessor, got"):
        sam_hq.segment_regions(predictor.model, other, Image.new("RGB", SIZE), input_boxes=[[0, 0, 9, 9]])
    generator = sam_hq.SamHQMaskGenerator(predictor.model, predictor.processor)
    assert generator.image_processor is predictor.processor.image_processor


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, "2", None, True])
def test_impossible_batch_sizes_are_refused_by_name(predictor, photo, batch_size):
    with pytest.raises((ValueError, TypeError), match=rf"batch_size must be .*, got {batch_size!r}"):
        predictor.embed([photo], batch_size=batch_size)


def test_without_an_image_it_says_so(predictor):
    with pytest.raises(ValueError, match="set_image"):
        SamHQPredictor(predictor.model, predictor.processor).predict(boxes=[0, 0, 9, 9])
    with pytest.raises(TypeError, match="PhotoEmbeddings"):
        predictor.decode("kitten.jpg")


def test_from_pretrained_loads_whole_models_alone(predictor, tmp_path):
    predictor.model.save_pretrained(tmp_path)
    predictor.processor.save_pretrained(tmp_path)
    loaded = SamHQPredictor.from_pretrained(tmp_path, device="cpu", dtype=torch.bfloat16)
    assert (loaded.device.type, loaded.model.dtype, loaded.model.training) == ("cpu", torch.bfloat16, False)
    weights = predictor.model.state_dict()
    del weights["mask_decoder.hq_token.weight"]
    predictor.model.save_pretrained(tmp_path, state_dict=weights)
    with pytest.raises(ValueError, match="hq_token"):
        SamHQPredictor.from_pretrained(tmp_path)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cpu:x", -3, 1.5])
def test_a_device_that_there_is_not_is_refused_before_weights_are_read(device, tmp_path):
    with pytest.raises(ValueError, match=f"device is {device!r}"):
        SamHQPredictor.from_pretrained(tmp_path / "nothing", device=device)


def test_the_embedded_model_is_the_default():
    predictor = sam_hq.SamHQPredictor.from_pretrained(device="cpu")
    predictor.set_image(KITTEN)
    result = predictor.predict(boxes=[300, 50, 900, 560])
    assert 0.05 < result.masks.float().mean() < 0.9


def test_an_offloaded_model_predicts_the_same(predictor, embeddings, photo):
    from accelerate import cpu_offload

    offloaded = SamHQPredictor(cpu_offload(small_model("tiny_vit"), torch.device("cpu")), predictor.processor)
    offloaded.set_image(photo)
    expected = predictor.predict(embeddings, boxes=[10, 20, 90, 80]).low_res_logits
    torch.testing.assert_close(offloaded.predict(boxes=[10, 20, 90, 80]).low_res_logits, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("given", ["x", torch.zeros(1, 4), {"a": 1}, [torch.zeros(1)], [None]])
def test_embeddings_that_are_none_are_refused_by_name(given, predictor):
    with pytest.raises(TypeError, match="embeddings must be what embed returns, or a list of it, got"):
        predictor.predict(given, boxes=[1, 2, 3, 4])


def test_a_list_with_something_else_among_embeddings_names_both_kinds(predictor, embeddings):
    with pytest.raises(TypeError, match="got a list of PhotoEmbeddings and NoneType"):
        predictor.predict([embeddings, None], boxes=[[1, 2, 3, 4]] * 2)


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_no_model(name):
    with pytest.raises(ValueError, match=r"model is ' ?', but must be a directory or a name on the Hub"):
        SamHQPredictor.from_pretrained(name)


@pytest.mark.parametrize("count", [1, 2])
def test_several_images_in_an_array_are_a_list_however_many_they_are(predictor, count):
    images = np.random.default_rng(0).integers(0, 256, (count, 40, 60, 3), dtype=np.uint8)
    for given in (images, torch.from_numpy(images), list(images), tuple(images)):
        embeddings = predictor.embed(given)
        assert isinstance(embeddings, list)
        assert len(embeddings) == count
        assert len(predictor.predict(embeddings, boxes=[[5, 5, 30, 20]] * count)) == count
    assert isinstance(predictor.embed(images[0]), PhotoEmbeddings)
