"""The model as it is kept, moved, offloaded, compiled and exported."""

import copy
import pickle

import pytest
import torch
from accelerate import init_empty_weights
from peft import LoraConfig, inject_adapter_in_model
from torch.nn.utils.parametrizations import weight_norm

from conftest import BACKBONES, small_config, small_model
from sam_hq.modeling_sam_hq import SamHQModel

GENERATOR = torch.Generator().manual_seed(0)
PIXELS = torch.randn(2, 3, 128, 128, generator=GENERATOR)
POINTS = torch.rand(2, 3, 2, 2, generator=GENERATOR) * 128
LABELS = torch.tensor([[[1, 0], [1, -1], [0, -10]], [[1, 1], [0, 0], [-1, 1]]])
CORNERS = torch.rand(2, 3, 4, generator=GENERATOR) * 60
BOXES = torch.cat([CORNERS[..., :2], CORNERS[..., 2:] + 64], dim=-1)
MASKS = 4 * torch.randn(2, 3, 32, 32, generator=GENERATOR)
PROMPTS = {"input_points": POINTS, "input_labels": LABELS, "input_boxes": BOXES, "input_masks": MASKS}


@pytest.fixture(scope="module", params=BACKBONES)
def shared(request):
    return small_model(request.param)


@pytest.fixture(scope="module")
def shallow(request):
    return small_model(request.param, shallow=True)


@pytest.fixture(scope="module")
def directory(shared, tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    shared.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def wanted(shared):
    with torch.no_grad():
        return shared(pixel_values=PIXELS, **PROMPTS)


def answer(model, **prompts):
    with torch.no_grad():
        return model(pixel_values=PIXELS, **(prompts or PROMPTS))


def plain(model):
    """A copy of which no part is compiled."""
    model = copy.deepcopy(model)
    for module in model.modules():
        module._compiled_call_impl = None
    return model


def relative(found, expected):
    return ((found.float() - expected).abs().max() / expected.abs().max()).item()


def test_copies_say_the_same(shared, wanted):
    for other in (copy.deepcopy(shared), pickle.loads(pickle.dumps(shared))):
        assert torch.equal(answer(other).pred_masks, wanted.pred_masks)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_loaded_with_either_path_and_switched_afterwards(directory, wanted, attn_implementation):
    model = SamHQModel.from_pretrained(directory, attn_implementation=attn_implementation)
    assert model.vision_encoder.config._attn_implementation == attn_implementation
    assert model.mask_decoder.config._attn_implementation == attn_implementation
    for path in (attn_implementation, "sdpa", "eager"):
        model.set_attn_implementation(path)
        torch.testing.assert_close(answer(model).pred_masks, wanted.pred_masks, atol=1e-5, rtol=1e-4)
        if path == "eager":
            assert model(pixel_values=PIXELS, output_attentions=True).mask_decoder_attentions


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_and_keeps_positions_exact(shared, directory, wanted, dtype, tmp_path):
    frequencies = shared.shared_image_embedding.positional_embedding
    loaded = SamHQModel.from_pretrained(directory, dtype=dtype)
    loaded.save_pretrained(tmp_path)
    for model in (loaded, copy.deepcopy(shared).to(dtype), SamHQModel.from_pretrained(tmp_path)):
        assert model.dtype == dtype
        assert model.shared_image_embedding.positional_embedding.dtype == torch.float32
        assert torch.equal(model.shared_image_embedding.positional_embedding, frequencies)
    for path in ("eager", "sdpa"):
        loaded.set_attn_implementation(path)
        found = answer(loaded)
        assert found.pred_masks.dtype == found.iou_scores.dtype == dtype
        assert relative(found.pred_masks, wanted.pred_masks) < (0.06 if dtype == torch.bfloat16 else 0.01)


@pytest.mark.parametrize("attn_implementation", ["eager", "sdpa"])
def test_autocast(shared, wanted, attn_implementation):
    shared.set_attn_implementation(attn_implementation)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert relative(answer(shared).pred_masks, wanted.pred_masks) < 0.06
        shared(pixel_values=PIXELS, **PROMPTS, labels=torch.ones(2, 3, 32, 32)).loss.backward()
    shared.zero_grad()
    shared.set_attn_implementation("sdpa")


def offload_maps():
    parts = ["shared_image_embedding", "vision_encoder", "prompt_encoder", "mask_decoder"]
    yield dict.fromkeys(["shared_image_embedding"], "cpu") | dict.fromkeys(parts[1:], "disk")
    for part in parts[1:]:
        yield {name: "disk" if name == part else "cpu" for name in parts}


@pytest.mark.parametrize("device_map", offload_maps(), ids=["all", "vision_encoder", "prompt_encoder", "mask_decoder"])
def test_offloaded_to_disk_it_says_the_same(directory, wanted, device_map, tmp_path):
    model = SamHQModel.from_pretrained(directory, device_map=device_map, offload_folder=tmp_path)
    assert any(weight.is_meta for weight in model.parameters())
    for path in ("sdpa", "eager"):
        model.set_attn_implementation(path)
        torch.testing.assert_close(answer(model).pred_masks, wanted.pred_masks, atol=1e-5, rtol=1e-4)
    assert answer(model, input_boxes=BOXES).pred_masks.shape == (2, 3, 3, 32, 32)


def test_without_weights_it_can_be_built_and_filled(shared, wanted):
    with init_empty_weights():
        empty = SamHQModel(shared.config)
    empty.to_empty(device="cpu")
    empty.load_state_dict(shared.state_dict())
    assert torch.equal(answer(empty.eval()).pred_masks, wanted.pred_masks)


# Behind the encoder all is the same: every kind of prompt with one backbone, and the others with one kind.
@pytest.mark.parametrize(
    ("shallow", "names", "options"),
    [
        *((backbone, ["input_boxes"], {}) for backbone in BACKBONES),
        ("vit", ["input_points", "input_labels"], {"hq_token_only": True}),
        ("vit", ["input_masks"], {"multimask_output": False}),
    ],
    ids=[*BACKBONES, "points", "masks"],
    indirect=["shallow"],
)
def test_compiled_in_one_graph(shallow, names, options):
    torch._dynamo.reset()
    prompts = {name: PROMPTS[name] for name in names}
    compiled = torch.compile(shallow, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        found = compiled(pixel_values=PIXELS, **prompts, **options)
        expected = shallow(pixel_values=PIXELS, **prompts, **options)
    torch.testing.assert_close(found.pred_masks, expected.pred_masks, atol=1e-5, rtol=1e-4)


class Louder(torch.nn.Linear):
    def forward(self, hidden_states):
        return 1.2 * super().forward(hidden_states)


def swap_layers(model):
    for parent in list(model.mask_decoder.modules()):
        for name, layer in list(parent.named_children()):
            if name == "v_proj":
                louder = Louder(layer.in_features, layer.out_features)
                louder.load_state_dict(layer.state_dict())
                setattr(parent, name, louder)


def load_other_weights(model, assign=False):
    weights = {name: weight * 1.1 for name, weight in model.state_dict().items()}
    model.load_state_dict(weights, assign=assign)


def normalise_weights(model):
    weight_norm(model.mask_decoder.mask_conv2).parametrizations.weight.original0.data.mul_(1.5)


EDITS = {
    "other weights": load_other_weights,
    "other tensors": lambda model: load_other_weights(model, assign=True),
    "weights in place": lambda model: model.mask_decoder.mask_conv2.weight.data.mul_(1.5),
    "a buffer": lambda model: model.shared_image_embedding.positional_embedding.mul_(1.5),
    "LoRA": lambda model: inject_adapter_in_model(
        LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False), model
    ),
    "another layer": swap_layers,
    "weight norm": normalise_weights,
    "another epsilon": lambda model: setattr(model.mask_decoder.transformer.layers[0].layer_norm1, "eps", 0.5),
    "a hook": lambda model: model.mask_decoder.mask_conv2.register_forward_hook(lambda *call: 1.3 * call[-1]),
    "the precision": lambda model: model.double(),
}


def every_compiled_part():
    yield pytest.param("vit", "mask_decoder")
    for backbone in BACKBONES:
        yield pytest.param(backbone, "", marks=pytest.mark.slow)


@pytest.mark.parametrize(("backbone", "part"), list(every_compiled_part()))
def test_what_is_changed_after_compiling_has_its_effect(backbone, part):
    torch._dynamo.reset()
    model = small_model(backbone, shallow=True)
    compiled = model
    if part:
        model.get_submodule(part).compile(backend="eager")
    else:
        compiled = torch.compile(model, backend="eager")
    answer(compiled, input_boxes=BOXES)
    before = torch.zeros(())
    # Torch ignores hooks that come later unless it is told to look.
    with torch._dynamo.config.patch(skip_nnmodule_hook_guards=False):
        for edit in EDITS.values():
            edit(model)
            found = answer(compiled, input_boxes=BOXES).pred_masks
            expected = answer(plain(model), input_boxes=BOXES).pred_masks
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
            assert edit is EDITS["the precision"] or not torch.allclose(before, expected, atol=1e-4)
            before = expected


@pytest.mark.parametrize(
    ("shallow", "dtype"),
    [*((backbone, torch.float32) for backbone in BACKBONES), ("vit", torch.bfloat16)],
    indirect=["shallow"],
)
def test_training_with_labels_is_compiled_in_one_graph(shallow, dtype):
    torch._dynamo.reset()
    model = copy.deepcopy(shallow).to(dtype).train()
    labels = torch.randint(0, 2, (2, 3, 128, 128))
    labels[0, 0] = -100  # an object that pads
    inputs = {"pixel_values": PIXELS, "input_boxes": PROMPTS["input_boxes"], "labels": labels}
    losses, gradients = [], []
    for call in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        model.zero_grad()
        torch.manual_seed(0)
        loss = call(**inputs).loss
        loss.backward()
        losses.append(loss.detach())
        gradients.append(model.mask_decoder.hq_token.weight.grad.clone())
    tolerance = 1e-4 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(*losses, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(*gradients, atol=tolerance * gradients[0].abs().max().item(), rtol=0)


@pytest.mark.parametrize("backbone", BACKBONES[1:])
def test_other_encoders_train_in_one_graph_in_16_bits(backbone):
    torch._dynamo.reset()
    encoder = small_model(backbone, shallow=True).vision_encoder.bfloat16().train()
    embeddings, gradients = [], []
    for call in (encoder, torch.compile(encoder, fullgraph=True, backend="aot_eager")):
        encoder.zero_grad()
        embedding = call(PIXELS.bfloat16()).last_hidden_state
        embedding.square().mean().backward()
        embeddings.append(embedding.detach())
        gradients.append(encoder.patch_embed.conv1.conv.weight.grad.clone())
    for eager, compiled in (embeddings, gradients):
        torch.testing.assert_close(compiled, eager, atol=0.05 * eager.abs().max().item(), rtol=0)


BATCH, COUNT, NUMBER = torch.export.Dim("batch"), torch.export.Dim("prompts"), torch.export.Dim("points")
DYNAMIC = {
    "input_boxes": {0: BATCH, 1: COUNT},
    "input_points": {0: BATCH, 1: COUNT, 2: NUMBER},
    "input_labels": {0: BATCH, 1: COUNT, 2: NUMBER},
    "input_masks": {0: BATCH, 1: COUNT},
}


@pytest.mark.parametrize(
    ("shallow", "names"),
    [
        *((backbone, ["input_boxes"]) for backbone in BACKBONES),
        ("vit", ["input_points", "input_labels", "input_masks"]),
    ],
    ids=[*BACKBONES, "points and masks"],
    indirect=["shallow"],
)
def test_exported_with_any_number_of_images_objects_and_points(shallow, names):
    example = {"pixel_values": PIXELS, **{name: PROMPTS[name] for name in names}}
    dynamic = {"pixel_values": {0: BATCH}, **{name: DYNAMIC[name] for name in names}}
    with torch.no_grad():
        exported = torch.export.export(shallow, (), example, dynamic_shapes=dynamic).module()
        for images, objects, points in [(2, 3, 2), (1, 1, 1), (3, 5, 4)]:
            pixels = torch.randn(images, 3, 128, 128, generator=GENERATOR)
            corners = torch.rand(images, objects, 4, generator=GENERATOR) * 60
            prompts = {
                "input_boxes": corners + torch.tensor([0, 0, 60, 60]),
                "input_points": torch.rand(images, objects, points, 2, generator=GENERATOR) * 128,
                "input_labels": torch.randint(-1, 2, (images, objects, points), generator=GENERATOR),
                "input_masks": torch.randn(images, objects, 32, 32, generator=GENERATOR),
            }
            inputs = {"pixel_values": pixels, **{name: prompts[name] for name in names}}
            torch.testing.assert_close(
                exported(**inputs).pred_masks, shallow(**inputs).pred_masks, atol=1e-5, rtol=1e-4
            )


@pytest.mark.parametrize("backbone", BACKBONES[1:])
def test_training_moves_the_statistics_and_inference_leaves_the_weights(backbone):
    model = small_model(backbone)
    before = copy.deepcopy(model.state_dict())
    answer(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.train()
    answer(model)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    norms = {name for name in before if name.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    assert moved == norms
    model.eval()
    plain = copy.deepcopy(model)
    plain.set_attn_implementation("eager")
    torch.testing.assert_close(answer(model).pred_masks, answer(plain).pred_masks, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_fresh_weights_are_finite_and_drawn(backbone):
    model = SamHQModel(small_config(backbone)).eval()
    assert torch.isfinite(answer(model).pred_masks).all()
    assert model.vision_encoder.neck.conv1.weight.std() > 1e-3
    assert model.mask_decoder.hq_token.weight.std() > 1e-3


class HalfLinear(torch.nn.Linear):
    """A layer whose answer is not what its weight says, like those of 8 bits."""

    def forward(self, features):
        return super().forward(features) / 2


class HalfConv2d(torch.nn.Conv2d):
    """The same of a convolution."""

    def forward(self, features):
        return super().forward(features) / 2


@pytest.mark.parametrize("kind", [HalfLinear, HalfConv2d])
def test_layers_that_derive_from_plain_ones_keep_their_own_forward(shared, kind):
    model = copy.deepcopy(shared)
    for layer in list(model.modules()):
        if type(layer) is kind.__base__:
            layer.__class__ = kind
    answers = []
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        with torch.no_grad():
            answers.append(model(pixel_values=PIXELS, **PROMPTS).pred_masks)
    torch.testing.assert_close(*answers, atol=1e-4, rtol=1e-4)
