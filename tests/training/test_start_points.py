"""Start points: SAM's weights arrive where they belong, the HQ parts are drawn fresh, all else is refused."""

import json
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

import sam_hq
from authors_weights import plain_sam, small_authors_weights
from conftest import small_model
from sam_hq.hub.key_map import authors_name, is_hq_name
from sam_hq.training.objectives import decode_branches
from sam_hq.training.start_points import draw_hq_parts, is_plain_sam, start_from_file, start_from_sam

BOX = torch.tensor([[[10.0, 20, 90, 100], [30, 5, 60, 70]]])
PIXELS = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def directory(tmp_path):
    plain_sam().save_pretrained(tmp_path / "sam")
    return tmp_path / "sam"


def test_the_masks_are_those_of_transformers_sam(directory, monkeypatch):
    assert is_plain_sam(directory)
    with pytest.warns(UserWarning, match=r"plain SAM: its 25 HQ weights are randomly initialised"):
        start = start_from_sam(directory)
    assert set(start.new_weights) == {name for name in start.model.state_dict() if is_hq_name(name)}
    builtin = plain_sam()
    for module in builtin.mask_decoder.transformer.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5  # the authors'; the built-in class takes the feature maps' 1e-6
    model = start.model.eval()
    # Without the attention to the HQ token, which plain SAM has not, its tokens see the same.
    prompted = model.mask_decoder.prompted_objects

    def without_hq_token(*arguments):
        objects = prompted(*arguments)
        objects.token_bias = (
            torch.zeros(1, 1, 1, objects.tokens.shape[1]).expand(len(objects.tokens), -1, -1, -1).clone()
        )
        objects.token_bias[..., 1 + model.mask_decoder.num_mask_tokens] = -torch.inf
        return objects

    monkeypatch.setattr(model.mask_decoder, "prompted_objects", without_hq_token)
    with torch.no_grad():
        embeddings, intermediate = model.get_image_embeddings(PIXELS)
        features = model.get_hq_features(embeddings, intermediate)
        ours = decode_branches(model, embeddings, features, {"input_boxes": BOX})
        single = builtin(PIXELS, input_boxes=BOX, multimask_output=False)
        three = builtin(PIXELS, input_boxes=BOX, multimask_output=True)
    torch.testing.assert_close(ours.sam_masks[:, :1], single.pred_masks[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.sam_masks[:, 1:], three.pred_masks[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.iou_scores[:, 1:], three.iou_scores[0], atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*randomly initialised")
def test_fresh_parts_follow_from_the_seed_and_leave_sam_alone(directory):
    torch.manual_seed(3)
    first = start_from_sam(directory, seed=1).model.state_dict()
    torch.manual_seed(4)
    again, other = (start_from_sam(directory, seed=seed).model.state_dict() for seed in (1, 2))
    own = load_file(directory / "model.safetensors")
    for name, value in first.items():
        assert torch.equal(value, again[name])
        if is_hq_name(name):
            same = torch.equal(value, other[name])
            assert same == ("norm" in name), name
        else:
            assert torch.equal(value, own[name])


@pytest.mark.filterwarnings("ignore:.*randomly initialised")
def test_a_directory_without_a_processor_gets_the_one_of_its_size(directory):
    processor = start_from_sam(directory).processor
    assert processor.image_processor.pad_size == {"height": 128, "width": 128}
    processor.save_pretrained(directory)
    assert start_from_sam(directory).processor.image_processor.to_dict() == processor.image_processor.to_dict()


@pytest.mark.filterwarnings("ignore:.*randomly initialised")
@pytest.mark.parametrize("name", ["preprocessor_config.json", "processor_config.json"])
@pytest.mark.parametrize("text", ["", "{", '{"image_processor": {"size": ', "size: 128", "[1, 2"])
def test_a_damaged_processor_is_no_missing_one(directory, name, text):
    (directory / name).write_text(text)
    with pytest.raises(OSError, match=f"{name}' is not a valid JSON"):
        start_from_sam(directory)


def spoil(directory, change) -> None:
    weights = load_file(directory / "model.safetensors")
    change(weights)
    save_file(weights, directory / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("mask_decoder.iou_token.weight"), "1 missing: mask_decoder.iou_token"),
        (lambda weights: weights.update(odd=torch.zeros(2)), "1 unknown: odd"),
        (lambda weights: weights["mask_decoder.iou_token.weight"].fill_(torch.nan), "1 not finite: mask_decoder.iou"),
        (lambda weights: weights.update({"mask_decoder.iou_token.weight": torch.zeros(1, 9)}), "1 misshapen: mask"),
        (lambda weights: weights.update({"mask_decoder.hq_token.weight": torch.zeros(1, 32)}), "1 unknown: .*hq_token"),
    ],
)
def test_weights_that_are_not_sams_are_named(directory, change, message):
    spoil(directory, change)
    with pytest.raises(ValueError, match=message):
        start_from_sam(directory)


def test_other_models_are_refused_by_type(tmp_path):
    small_model("vit").save_pretrained(tmp_path / "hq")
    assert not is_plain_sam(tmp_path / "hq")
    with pytest.raises(ValueError, match="is a 'sam_hq' model, but plain SAM"):
        start_from_sam(tmp_path / "hq")
    with pytest.raises(OSError, match="nowhere"):
        is_plain_sam(tmp_path / "nowhere")


@pytest.mark.parametrize("without_hq", [True, False])
def test_the_authors_vit_files_are_taken(tmp_path, without_hq):
    weights = small_authors_weights(without_hq)
    torch.save(weights, tmp_path / "sam_vit_s.pth")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = start_from_file(tmp_path / "sam_vit_s.pth")
    assert bool(start.new_weights) == without_hq
    assert [str(warning.message).count("25 HQ weights") for warning in caught] == [1] * without_hq
    state = start.model.state_dict()
    kept = {name: weights[authors_name(name)] for name in state if name not in start.new_weights}
    assert len(kept) == len(weights)
    assert all(torch.equal(state[name], value) for name, value in kept.items())
    assert all(value.isfinite().all() for value in state.values())


@pytest.mark.filterwarnings("ignore:.*randomly initialised")
def test_mobile_sam_is_taken(tmp_path):
    """At its own size: the published TinyViT is the only one that a file is recognised as."""
    model = sam_hq.SamHQModel(sam_hq.SamHQConfig(vision_config={"model_type": "sam_hq_tiny_vit"}))
    weights = {authors_name(name): value for name, value in model.state_dict().items() if not is_hq_name(name)}
    torch.save({**weights, "image_encoder.head.weight": torch.zeros(1, 320)}, tmp_path / "mobile_sam.pth")
    start = start_from_file(tmp_path / "mobile_sam.pth")
    assert start.model.config.vision_config.model_type == "sam_hq_tiny_vit"
    assert len(start.new_weights) == 25
    assert start.processor.image_processor.size == {"longest_edge": 1024}


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "a.pth").write_text(json.dumps({}))
    with pytest.raises(ValueError, match="not a readable file of weights"):
        start_from_file(tmp_path / "a.pth")
    with pytest.raises(FileNotFoundError):
        start_from_file(tmp_path / "b.pth")


def test_drawing_leaves_the_random_numbers_alone():
    model = small_model("tiny_vit")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    draw_hq_parts(model)
    assert torch.equal(torch.rand(3), expected)
