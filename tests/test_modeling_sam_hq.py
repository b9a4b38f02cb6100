"""What the model answers: candidates, branches, caches, padding, gradients, and what it refuses."""

import copy
import math
import warnings

import pytest
import torch

from conftest import BACKBONES, small_config, small_model
from sam_hq.configuration_sam_hq import SamHQVisionConfig
from sam_hq.model.losses import mask_loss
from sam_hq.modeling_sam_hq import SamHQEfficientNetModel, SamHQModel, SamHQTinyVitModel, SamHQVisionModel
from sam_hq.training.parts import recompute_activations

GENERATOR = torch.Generator().manual_seed(0)
PIXELS = torch.randn(2, 3, 128, 128, generator=GENERATOR)
POINTS = torch.rand(2, 3, 2, 2, generator=GENERATOR) * 128
LABELS = torch.tensor([[[1, 0], [1, -1], [0, 1]], [[1, 1], [0, 0], [-1, 1]]])
CORNERS = torch.rand(2, 3, 4, generator=GENERATOR) * 60
BOXES = torch.cat([CORNERS[..., :2], CORNERS[..., 2:] + 64], dim=-1)
MASKS = 4 * torch.randn(2, 3, 32, 32, generator=GENERATOR)
POINT_PROMPT = {"input_points": POINTS, "input_labels": LABELS}
PROMPTS = [
    POINT_PROMPT,
    {"input_boxes": BOXES},
    {"input_masks": MASKS},
    {**POINT_PROMPT, "input_boxes": BOXES, "input_masks": MASKS},
]
PATHS = pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])


@pytest.fixture(scope="module", params=BACKBONES)
def shared(request):
    return small_model(request.param)


def ask(model, attn_implementation="sdpa", **inputs):
    model.set_attn_implementation(attn_implementation)
    if "image_embeddings" not in inputs:
        inputs.setdefault("pixel_values", PIXELS)
    with torch.no_grad():
        return model(**inputs)


def close(one, other, **tolerance):
    torch.testing.assert_close(one, other, **({"atol": 1e-5, "rtol": 1e-4} | tolerance))


@pytest.mark.parametrize("prompts", PROMPTS, ids=lambda prompts: " ".join(prompts))
@pytest.mark.parametrize("multimask_output", [True, False])
def test_both_paths_say_the_same_and_the_branches_add_up(shared, prompts, multimask_output):
    options = {"multimask_output": multimask_output, "output_branches": True}
    plain, fast = (ask(shared, path, **prompts, **options) for path in ("eager", "sdpa"))
    count = 3 if multimask_output else 1
    assert fast.pred_masks.shape == (2, 3, count, 32, 32)
    assert fast.iou_scores.shape == (2, 3, count)
    assert (fast.iou_scores.diff(dim=-1) <= 0).all()
    for name in ("pred_masks", "iou_scores", "sam_masks", "hq_masks"):
        close(plain[name], fast[name])
    close(fast.pred_masks, fast.sam_masks + fast.hq_masks)
    hq_only = ask(shared, **prompts, multimask_output=multimask_output, hq_token_only=True)
    assert hq_only.pred_masks.shape == (2, 3, 1, 32, 32)
    assert hq_only.iou_scores.shape == (2, 3, 1)
    close(hq_only.pred_masks, fast.hq_masks)
    close(hq_only.iou_scores, fast.iou_scores[..., :1])
    assert hq_only.sam_masks is None


@PATHS
def test_the_embeddings_may_be_cached(shared, attn_implementation):
    shared.set_attn_implementation(attn_implementation)
    with torch.no_grad():
        image_embeddings, intermediate_embeddings = shared.get_image_embeddings(PIXELS)
        hq_features = shared.get_hq_features(image_embeddings, intermediate_embeddings)
    wanted = ask(shared, attn_implementation, **POINT_PROMPT)
    for extra in ({"intermediate_embeddings": intermediate_embeddings}, {"hq_features": hq_features}):
        answer = ask(shared, attn_implementation, image_embeddings=image_embeddings, **extra, **POINT_PROMPT)
        close(answer.pred_masks, wanted.pred_masks)
        close(answer.iou_scores, wanted.iou_scores)
    assert shared.get_image_embeddings(PIXELS)[0].requires_grad


def test_what_the_processor_adds_is_ignored(shared):
    marks = {"original_sizes": torch.ones(2, 2), "reshaped_input_sizes": None, "valid_objects": torch.ones(2, 3) > 0}
    assert torch.equal(ask(shared, **POINT_PROMPT, **marks).pred_masks, ask(shared, **POINT_PROMPT).pred_masks)


def test_no_prompt_is_one_object_and_labels_default_to_foreground(shared):
    assert ask(shared).pred_masks.shape == (2, 1, 3, 32, 32)
    without = ask(shared, input_points=POINTS)
    for ones in (
        torch.ones(2, 3, 2, dtype=torch.long),
        torch.ones(2, 3, 2, dtype=torch.bool),
        torch.ones(2, 3, 2, dtype=torch.uint8),
    ):
        assert torch.equal(without.pred_masks, ask(shared, input_points=POINTS, input_labels=ones).pred_masks)


@PATHS
def test_padding_has_no_influence(shared, attn_implementation):
    """Points of label -10, objects that only pad, other images: batched equals one by one."""
    padded = {
        "input_points": torch.cat([POINTS, torch.full((2, 3, 2, 2), 77.0)], dim=2),
        "input_labels": torch.cat([LABELS, torch.full((2, 3, 2), -10)], dim=2),
    }
    padded["input_labels"][1, 2] = -10
    for extra in ({}, {"input_boxes": BOXES}, {"input_masks": MASKS}):
        together = ask(shared, attn_implementation, **padded, **extra)
        assert torch.isfinite(together.pred_masks).all()
        for image, index in [(0, 0), (0, 2), (1, 1)]:
            at = (slice(image, image + 1), slice(index, index + 1))
            alone = {"input_points": POINTS[at], "input_labels": LABELS[at], **{k: v[at] for k, v in extra.items()}}
            answer = ask(shared, attn_implementation, pixel_values=PIXELS[at[0]], **alone)
            close(answer.pred_masks, together.pred_masks[at])
            close(answer.iou_scores, together.iou_scores[at])
    only_box = ask(shared, attn_implementation, input_boxes=BOXES)
    padded["input_labels"] = torch.full((2, 3, 4), -10)
    close(ask(shared, attn_implementation, **padded, input_boxes=BOXES).pred_masks, only_box.pred_masks)


def test_a_label_of_minus_one_hides_the_place_but_not_the_token(shared):
    moved = POINTS.clone()
    moved[0, 1, 1] += 40
    assert torch.equal(
        ask(shared, **POINT_PROMPT).pred_masks, ask(shared, **{**POINT_PROMPT, "input_points": moved}).pred_masks
    )
    without = ask(shared, input_points=POINTS[:, 1:2, :1], input_labels=LABELS[:, 1:2, :1])
    assert (without.pred_masks[0] - ask(shared, **POINT_PROMPT).pred_masks[0, 1:2]).abs().max() > 1e-4


@PATHS
def test_gradients_reach_every_parameter(attn_implementation):
    for backbone in BACKBONES:
        model = small_model(backbone)
        model.set_attn_implementation(attn_implementation)
        for prompts in PROMPTS:
            for multimask_output in (True, False):
                outputs = model(pixel_values=PIXELS, **prompts, multimask_output=multimask_output)
                (outputs.pred_masks.square().sum() + outputs.iou_scores.square().sum()).backward()
        without = {name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()}
        # Added to every score of a softmax alike, the biases of keys can have none.
        keys = {name for name in without if name.endswith("k_proj.bias")}
        assert without - keys == set()


def test_gradients_of_both_paths_are_the_same():
    labels = (torch.rand(2, 3, 40, 40, generator=GENERATOR) > 0.5).long()
    for backbone in BACKBONES:
        gradients = []
        for path in ("eager", "sdpa"):
            model = small_model(backbone)
            model.set_attn_implementation(path)
            torch.manual_seed(0)
            outputs = model(pixel_values=PIXELS, **PROMPTS[3], labels=labels)
            (outputs.loss + outputs.iou_scores.sum()).backward()
            gradients.append(
                {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
            )
        assert gradients[0].keys() - gradients[1].keys() == {
            name for name in gradients[0] if name.endswith("k_proj.bias") and name not in gradients[1]
        }
        for name, gradient in gradients[1].items():
            largest = gradients[0][name].abs().max()
            assert (gradient - gradients[0][name]).abs().max() <= 1e-3 * largest + 1e-6, (backbone, name)


def test_the_loss_is_that_of_the_first_mask_as_returned(shared):
    labels = (torch.rand(2, 3, 50, 70, generator=GENERATOR) > 0.5).long()
    labels[..., 40:, :] = -100
    for options in ({}, {"multimask_output": False}, {"hq_token_only": True}):
        torch.manual_seed(0)
        outputs = ask(shared, input_boxes=BOXES, labels=labels, **options)
        torch.manual_seed(0)
        close(outputs.loss, mask_loss(outputs.pred_masks[:, :, 0], labels))
        assert ask(shared, input_boxes=BOXES, labels=labels, return_dict=False)[0].ndim == 0


def test_hq_token_only_trains_the_hq_branch_alone():
    model = small_model()
    model(pixel_values=PIXELS, input_boxes=BOXES, hq_token_only=True, labels=torch.ones(2, 3, 32, 32)).loss.backward()
    reached = {name for name, weight in model.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert any("hq_mask_mlp" in name for name in reached)
    assert not any("output_hypernetworks_mlps" in name or "iou_prediction_head" in name for name in reached)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradient_checkpointing_changes_nothing(backbone):
    answers = []
    for checkpointing in (False, True):
        model = small_model(backbone).train()
        if checkpointing:
            recompute_activations(model)
        torch.manual_seed(0)
        loss = model(pixel_values=PIXELS, input_boxes=BOXES, labels=torch.ones(2, 3, 32, 32)).loss
        loss.backward()
        answers.append((loss, {n: w.grad for n, w in model.named_parameters() if w.grad is not None}))
    close(answers[0][0], answers[1][0])
    assert answers[0][1].keys() == answers[1][1].keys()
    for name, gradient in answers[0][1].items():
        close(gradient, answers[1][1][name])


def test_attention_weights_and_hidden_states(shared):
    outputs = ask(shared, "eager", input_boxes=BOXES, output_attentions=True, output_hidden_states=True)
    heads = shared.config.mask_decoder_config.num_attention_heads
    block = [(6, heads, 8, 8), (6, heads, 8, 64), (6, heads, 64, 8)]
    assert [tuple(weights.shape) for weights in outputs.mask_decoder_attentions] == [*block * 2, (6, heads, 8, 64)]
    for weights in (*outputs.mask_decoder_attentions, *outputs.vision_attentions):
        close(weights.sum(dim=-1), torch.ones(weights.shape[:-1]))
    assert len(outputs.vision_hidden_states) == (8 if hasattr(shared.vision_encoder, "fusion") else 5)
    with pytest.warns(UserWarning, match=r"output_attentions.*'sdpa'.*eager"):
        outputs = ask(shared, "sdpa", output_attentions=True)
    assert outputs.vision_attentions is None
    assert outputs.mask_decoder_attentions is None
    with pytest.raises(ValueError, match=r"Specified `attn_implementation=\"flash\"` is not supported"):
        shared.set_attn_implementation("flash")
    with pytest.raises(ValueError, match=r"vision"):
        shared.set_attn_implementation({"vision": "eager"})


EMBEDDINGS, EARLY = torch.randn(2, 32, 8, 8), [torch.randn(2, 8, 8, 32)]
BAD = {
    "a word for a flag": (
        {"pixel_values": PIXELS, "multimask_output": "no"},
        TypeError,
        "multimask_output must be True or False, got 'no'",
    ),
    "a number for a flag": (
        {"pixel_values": PIXELS, "hq_token_only": 1},
        TypeError,
        "hq_token_only must be True or False, got 1",
    ),
    "nothing for a flag": (
        {"pixel_values": PIXELS, "output_branches": None},
        TypeError,
        "output_branches must be True or False, got None",
    ),
    "no image": ({}, ValueError, "pixel_values or image_embeddings.*neither"),
    "both": ({"pixel_values": PIXELS, "image_embeddings": EMBEDDINGS}, ValueError, "both"),
    "embeddings alone": ({"image_embeddings": EMBEDDINGS}, ValueError, "intermediate_embeddings"),
    "intermediate alone": ({"intermediate_embeddings": EARLY}, ValueError, "image_embeddings"),
    "intermediate beside pixels": (
        {"pixel_values": PIXELS, "intermediate_embeddings": EARLY},
        ValueError,
        "intermediate",
    ),
    "another batch": ({"image_embeddings": EMBEDDINGS, "intermediate_embeddings": [EARLY[0][:1]]}, ValueError, "batch"),
    "another grid": (
        {"image_embeddings": EMBEDDINGS[..., :4], "intermediate_embeddings": EARLY},
        ValueError,
        r"image_embeddings must have shape \(images, 32, 8, 8\), got \(2, 32, 8, 4\)",
    ),
    "another width": (
        {"image_embeddings": EMBEDDINGS[:, :8], "intermediate_embeddings": EARLY},
        ValueError,
        r"32, 8, 8",
    ),
    "another model": (
        {"image_embeddings": EMBEDDINGS, "intermediate_embeddings": [EARLY[0][..., :5]]},
        ValueError,
        r"8, 8, 32",
    ),
    "no list": ({"image_embeddings": EMBEDDINGS, "intermediate_embeddings": EARLY[0]}, TypeError, "list"),
    "small features": (
        {"image_embeddings": EMBEDDINGS, "hq_features": torch.randn(2, 4, 8, 8)},
        ValueError,
        "hq_features",
    ),
    "pixels in a list": ({"pixel_values": [1]}, TypeError, "pixel_values.*list"),
    "one image without batch": ({"pixel_values": PIXELS[0]}, ValueError, "pixel_values"),
    "wrong size": ({"pixel_values": PIXELS[..., :64]}, ValueError, "128"),
    "no images": ({"pixel_values": PIXELS[:0]}, ValueError, "pixel_values"),
    "integer pixels": ({"pixel_values": PIXELS.byte()}, TypeError, "pixel_values.*uint8"),
    "points of rank 3": ({"pixel_values": PIXELS, "input_points": POINTS[0]}, ValueError, "input_points"),
    "NaN point": ({"pixel_values": PIXELS, "input_points": POINTS * torch.nan}, ValueError, "input_points"),
    "no points": ({"pixel_values": PIXELS, "input_points": POINTS[:, :, :0]}, ValueError, "input_points"),
    "fewer labels": (
        {"pixel_values": PIXELS, "input_points": POINTS, "input_labels": LABELS[..., :1]},
        ValueError,
        "input_labels",
    ),
    "unknown label": (
        {"pixel_values": PIXELS, "input_points": POINTS, "input_labels": LABELS + 7},
        ValueError,
        "input_labels",
    ),
    "labels alone": ({"pixel_values": PIXELS, "input_labels": LABELS}, ValueError, "input_points"),
    "reversed box": ({"pixel_values": PIXELS, "input_boxes": BOXES.flip(-1)}, ValueError, "input_boxes"),
    "box of 3": ({"pixel_values": PIXELS, "input_boxes": BOXES[..., :3]}, ValueError, "input_boxes"),
    "NaN box": ({"pixel_values": PIXELS, "input_boxes": BOXES * torch.nan}, ValueError, "input_boxes"),
    "boxes in a list": ({"pixel_values": PIXELS, "input_boxes": BOXES.tolist()}, TypeError, "input_boxes"),
    "more boxes than points": (
        {"pixel_values": PIXELS, "input_points": POINTS[:, :2], "input_boxes": BOXES},
        ValueError,
        "input_boxes has 3",
    ),
    "more masks than points": (
        {"pixel_values": PIXELS, "input_points": POINTS[:, :2], "input_masks": MASKS},
        ValueError,
        "input_masks has 3",
    ),
    "prompts of one image": (
        {"pixel_values": PIXELS, "input_boxes": BOXES[:1]},
        ValueError,
        "for 1 image, but there are 2",
    ),
    "small mask": ({"pixel_values": PIXELS, "input_masks": MASKS[..., :16]}, ValueError, "input_masks"),
    "mask at photo size": ({"pixel_values": PIXELS, "input_masks": MASKS > 0}, TypeError, "input_masks"),
    "labels of other objects": (
        {"pixel_values": PIXELS, "input_boxes": BOXES, "labels": torch.ones(2, 2, 8, 8)},
        ValueError,
        "labels",
    ),
    "labels of 255": (
        {"pixel_values": PIXELS, "input_boxes": BOXES, "labels": torch.full((2, 3, 8, 8), 255)},
        ValueError,
        "labels.*255",
    ),
    "labels in a list": ({"pixel_values": PIXELS, "input_boxes": BOXES, "labels": [1]}, TypeError, "labels"),
    "similarity": (
        {"pixel_values": PIXELS, "attention_similarity": torch.ones(5, 1, 6, 64)},
        ValueError,
        "attention_similarity",
    ),
    "target": ({"pixel_values": PIXELS, "target_embedding": torch.ones(5)}, ValueError, "target_embedding"),
    **{
        f"{name} of {value}": (
            {"pixel_values": PIXELS, name: torch.tensor([[0.0], [value]], dtype=torch.float64)[1:]},
            ValueError,
            f"{name} must be finite in torch.float32",
        )
        for name, values in (
            ("attention_similarity", (math.nan, 1e39)),
            ("target_embedding", (math.nan, -math.inf, 1e39)),
        )
        for value in values
    },
}


@pytest.mark.parametrize(("inputs", "error", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_before_the_encoder_runs(inputs, error, words, monkeypatch):
    model = small_model()

    def no_work(*args, **kwargs):
        raise AssertionError("the encoder ran")

    monkeypatch.setattr(model.vision_encoder, "forward", no_work)
    monkeypatch.setattr(model.mask_decoder, "forward", no_work)
    with pytest.raises(error, match=words):
        model(**inputs)


def test_a_similarity_of_minus_infinity_closes_pixels_to_tokens():
    model = small_model()
    grid = model.config.vision_config.image_embedding_size
    similarity = torch.zeros(grid**2)
    similarity[1:] = -torch.inf
    with torch.no_grad():
        closed = model(PIXELS, input_boxes=BOXES, attention_similarity=similarity).pred_masks
        similarity[1:] = -1e4
        far = model(PIXELS, input_boxes=BOXES, attention_similarity=similarity).pred_masks
    assert closed.isfinite().all()
    torch.testing.assert_close(closed, far)


def test_embeddings_of_prompts_need_a_prompt():
    with pytest.raises(ValueError, match="got none"):
        small_model().get_prompt_embeddings()
    for name in ("input_points", "input_boxes", "input_masks"):
        with pytest.raises(TypeError, match=f"{name} must be a tensor, got list"):
            small_model().get_prompt_embeddings(**{name: [[[1, 2, 3, 4]]]})


@pytest.mark.parametrize("name", ["output_attentions", "output_hidden_states", "return_dict"])
@pytest.mark.parametrize("value", ["no", 1])
def test_what_is_returned_is_asked_for_by_truth_values(name, value):
    model = small_model()
    for call in (model, SamHQVisionModel(model.config.vision_config)):
        with pytest.raises(TypeError, match=f"{name} must be True or False, got {value!r}"):
            call(pixel_values=torch.zeros(1, 3, 128, 128), **{name: value})


def test_embeddings_kept_at_another_precision_are_taken_back():
    model, pixels = small_model(), torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        embeddings, intermediate = model.get_image_embeddings(pixels)
        features = model.get_hq_features(embeddings, intermediate)
        expected = model(image_embeddings=embeddings, intermediate_embeddings=intermediate)
        for kept in ({"intermediate_embeddings": [intermediate[0].bfloat16()]}, {"hq_features": features.bfloat16()}):
            outputs = model(image_embeddings=embeddings.bfloat16(), **kept)
            assert outputs.pred_masks.dtype == torch.float32
            torch.testing.assert_close(outputs.iou_scores, expected.iou_scores, atol=0.05, rtol=0.05)
        with pytest.raises(TypeError, match="image_embeddings must hold floating point numbers"):
            model(image_embeddings=embeddings.long(), intermediate_embeddings=intermediate)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("part", ["vision_encoder", "mask_decoder", "prompt_encoder"])
@PATHS
def test_parts_may_have_precisions_of_their_own(shared, part, dtype, attn_implementation):
    expected = ask(shared, input_boxes=BOXES, input_masks=MASKS)
    mixed = copy.deepcopy(shared)
    getattr(mixed, part).to(dtype)
    with torch.no_grad():
        features = mixed.get_hq_features(*mixed.get_image_embeddings(PIXELS))
    assert features.dtype == mixed.mask_decoder.dtype
    found = ask(mixed, attn_implementation, input_boxes=BOXES, input_masks=MASKS).pred_masks.float()
    tolerance = (1e-4 if dtype == torch.float64 else 0.06) * expected.pred_masks.abs().max().item()
    close(found, expected.pred_masks, atol=tolerance, rtol=0)


def test_prompts_that_are_no_tensors_are_named():
    with pytest.raises(TypeError, match="input_points must be a tensor, got list"):
        small_model()(torch.randn(1, 3, 128, 128), input_points=[[[[1, 2]]]])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e25])
def test_numbers_that_overflow_are_named(model, value):
    side = model.config.vision_config.image_size
    pixels = torch.zeros(1, 3, side, side)
    box, mask = torch.tensor([[[5.0, 5.0, 60.0, 60.0]]]), torch.zeros(1, 1, side // 4, side // 4)
    pixels[0, 1, 2, 3] = mask[0, 0, 5, 6] = value
    with pytest.raises(ValueError, match="pixel_values must be finite"):
        model(pixels)
    with pytest.raises(ValueError, match="pixel_values must be finite"):
        model.get_image_embeddings(pixels)
    with pytest.raises(ValueError, match="input_masks must be finite"):
        model(torch.zeros_like(pixels), input_masks=mask)
    with pytest.raises(ValueError, match="input_points must be finite"):
        model(torch.zeros_like(pixels), input_points=torch.full((1, 1, 1, 2), value * 1e15, dtype=torch.float64))
    with torch.no_grad():
        embeddings, intermediate = model.get_image_embeddings(torch.zeros_like(pixels))
    if not torch.isfinite(torch.tensor(value)):
        embeddings[0, 0, 0, 0] = value
        with pytest.raises(ValueError, match="image_embeddings must be finite"):
            model(image_embeddings=embeddings, intermediate_embeddings=intermediate, input_boxes=box)


@pytest.mark.parametrize(
    "prompt",
    [
        torch.zeros(1, 1, 4).to_sparse(),
        torch.zeros(1, 1, 4, device="meta"),
        torch.quantize_per_tensor(torch.zeros(1, 1, 4), 0.1, 0, torch.quint8),
        torch.zeros(1, 1, 4, dtype=torch.complex64),
        torch.zeros(1, 1, 4, dtype=torch.bool),
    ],
)
def test_tensors_whose_numbers_cannot_be_read_are_named(model, prompt):
    side = model.config.vision_config.image_size
    with pytest.raises(TypeError, match="input_boxes must"):
        model(torch.zeros(1, 3, side, side), input_boxes=prompt)


@pytest.mark.parametrize("grad", [True, False])
def test_prompts_for_no_object_give_no_masks(model, grad):
    side = model.config.vision_config.image_size
    pixels = torch.rand(2, 3, side, side)
    none = {
        "input_points": torch.zeros(2, 0, 1, 2),
        "input_boxes": torch.zeros(2, 0, 4),
        "input_masks": torch.zeros(2, 0, side // 4, side // 4),
    }
    with torch.set_grad_enabled(grad):
        for prompts in ({name: prompt} for name, prompt in none.items()):
            outputs = model(pixels, **prompts)
            assert outputs.pred_masks.shape == (2, 0, 3, side // 4, side // 4)
            assert outputs.iou_scores.shape == (2, 0, 3)
        assert model(pixels, **none, hq_token_only=True).pred_masks.shape == (2, 0, 1, side // 4, side // 4)


def test_an_hq_token_trained_on_the_sum_alone_is_said(model):
    side = model.config.vision_config.image_size
    pixels, box = torch.zeros(1, 3, side, side), torch.tensor([[[5.0, 5.0, 60.0, 60.0]]])
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        model(pixels, input_boxes=box, hq_token_only=True)
        model.config.hq_token_trained_alone = False
        model(pixels, input_boxes=box)
    with torch.no_grad(), pytest.warns(UserWarning, match="hq_token_only=True, but .* only as a correction") as said:
        model(pixels, input_boxes=box, hq_token_only=True)
    assert len(said) == 1


@pytest.mark.parametrize("model_class", [SamHQModel, SamHQVisionModel, SamHQTinyVitModel, SamHQEfficientNetModel])
def test_each_model_takes_its_own_configuration(model_class):
    whole = small_config()
    others = [whole, whole.prompt_encoder_config, whole.to_dict(), None, model_class.config_class]
    others += [small_config(backbone).vision_config for backbone in BACKBONES]
    taken = [type(model_class(other)) for other in others if isinstance(other, model_class.config_class)]
    assert taken == [model_class]
    for other in others:
        if not isinstance(other, model_class.config_class):
            with pytest.raises(TypeError, match=f"config must be an instance of {model_class.config_class.__name__}"):
                model_class(other)


def test_a_derived_configuration_builds_the_encoder_of_its_base():
    class Derived(SamHQVisionConfig):
        pass

    config = small_config().vision_config
    derived = SamHQVisionModel(Derived(**config.to_dict()))
    assert type(derived.vision_encoder) is type(SamHQVisionModel(config).vision_encoder)
