"""The CPU engine answers where calling the modules would say the same, and steps back wherever it would not."""

import copy
import pickle

import peft
import pytest
import torch
import torch.distributed
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.utils import parametrizations, prune
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode
from transformers.utils import ModelOutput

from conftest import BACKBONES, small_model
from sam_hq.model.fast_path import may_run
from sam_hq.model.layers import EncoderNeck
from sam_hq.model.mask_decoder import DecodedMasks
from sam_hq.modeling_sam_hq import SamHQModel

GENERATOR = torch.Generator().manual_seed(0)
PIXELS = torch.randn(1, 3, 128, 128, generator=GENERATOR)
PROMPTS = {
    "input_points": torch.rand(1, 3, 2, 2, generator=GENERATOR) * 128,
    "input_labels": torch.tensor([[[1, 0], [1, -1], [0, -10]]]),
    "input_boxes": torch.tensor([[[10.0, 20, 90, 100], [5, 5, 60, 70], [40, 50, 120, 110]]]),
}
MASKS = {"input_masks": torch.randn(1, 3, 32, 32, generator=GENERATOR)}


@pytest.fixture(params=BACKBONES)
def model(request):
    return small_model(request.param)


def answer(model, **options):
    with torch.no_grad():
        outputs = model(pixel_values=PIXELS, **PROMPTS, **options)
    return torch.cat([outputs.pred_masks.flatten(), outputs.iou_scores.flatten()])


def engine_runs(model):
    with torch.no_grad():
        return model.takes_fast_path(model.vision_encoder), model.takes_fast_path(model.mask_decoder)


def assert_the_modules_answer(model, whole=None, parts=(False, False)):
    """Compare with the switch on and off; `parts` says where the engine may still run."""
    whole = whole or model
    assert engine_runs(model) == parts
    found = answer(whole)
    model.set_fast_path(False)
    torch.testing.assert_close(found, answer(whole), atol=1e-5, rtol=1e-4)
    model.set_fast_path(True)


def test_it_runs_by_default_and_has_a_switch(model, tmp_path):
    assert engine_runs(model) == (True, True)
    found = answer(model)
    model.set_fast_path(False)
    assert engine_runs(model) == (False, False)
    torch.testing.assert_close(answer(model), found, atol=1e-5, rtol=1e-4)
    model.save_pretrained(tmp_path)
    loaded = SamHQModel.from_pretrained(tmp_path)
    assert engine_runs(loaded) == (False, False)
    loaded.set_fast_path(True)
    assert engine_runs(copy.deepcopy(loaded)) == (True, True)


def disturbed(output):
    """An output that no norm brings back to what it was."""
    if isinstance(output, torch.Tensor):
        noise = torch.randn(output.shape, generator=torch.Generator().manual_seed(0))
        return output + noise.to(output.dtype) * (output.std() + 0.1)
    if isinstance(output, ModelOutput):
        output.last_hidden_state = disturbed(output.last_hidden_state)
        return output
    if isinstance(output, DecodedMasks):
        output.masks = disturbed(output.masks)
        return output
    return (disturbed(output[0]), *output[1:])


def test_a_hook_on_any_module_fires_and_acts(model):
    usual = {}
    for name, module in model.named_modules():
        if module is model or isinstance(module, nn.ModuleList):
            continue
        fired = []

        def hook(module, arguments, output, fired=fired):
            fired.append(module)
            return disturbed(output)

        options = {"multimask_output": "hypernetworks_mlps.0" not in name}
        with_masks = "no_mask_embed" not in name
        key = (*options.values(), with_masks)
        options |= MASKS if with_masks else {}
        if key not in usual:
            usual[key] = answer(model, **options)
        handle = module.register_forward_hook(hook)
        found = answer(model, **options)
        handle.remove()
        assert fired, name
        assert not torch.equal(found, usual[key]), name
    assert engine_runs(model) == (True, True)


@pytest.mark.parametrize("kind", ["pre-hook", "backward hook", "global hook"])
def test_other_hooks_are_heeded(kind):
    model = small_model()
    layer = model.mask_decoder.mask_conv2
    register = {
        "pre-hook": layer.register_forward_pre_hook,
        "backward hook": layer.register_full_backward_hook,
        "global hook": nn.modules.module.register_module_forward_hook,
    }[kind]
    handle = register(lambda *_: None)
    assert engine_runs(model)[1] is False
    handle.remove()
    assert engine_runs(model)[1] is True


class Doubled(torch.Tensor):
    """A weight that is not what its numbers say, like quantised ones."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        if function is not torch.conv2d:
            return super().__torch_function__(function, types, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            plain = [2 * value if isinstance(value, Doubled) else value for value in args]
            return function(*plain, **(kwargs or {}))


def test_weights_of_another_tensor_type_act(model):
    usual = answer(model)
    for part in (model.vision_encoder, model.mask_decoder):
        layer = [layer for layer in part.modules() if type(layer) is nn.Conv2d][-1]
        layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Doubled), requires_grad=False)
    assert type(layer.weight) is not nn.Parameter
    assert_the_modules_answer(model)
    assert not torch.allclose(answer(model), usual, atol=1e-4)


class EightBits(torch.Tensor):
    """A weight as int8 and a scale for each row, as torchao keeps them: there is no memory with its floats."""

    @staticmethod
    def __new__(cls, rounded, scale):
        return torch.Tensor._make_wrapper_subclass(cls, rounded.shape, dtype=scale.dtype, device=scale.device)

    def __init__(self, rounded, scale):
        self.rounded, self.scale = rounded, scale

    @classmethod
    def of(cls, weight):
        scale = weight.abs().amax(-1, keepdim=True) / 127
        return cls((weight / scale).round().to(torch.int8), scale)

    def floats(self):
        return self.rounded * self.scale

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        if function is torch.ops.aten.detach.default:
            return cls(args[0].rounded, args[0].scale)
        args = tree_map_only(cls, cls.floats, args)
        return function(*args, **(kwargs or {}))


def test_weights_only_quantised_act(model):
    """torchao's tensors are of this kind. It is not installed: transformers would import it at once, everywhere."""
    usual, plain = answer(model), copy.deepcopy(model)
    linears = {name: layer for name, layer in model.named_modules() if type(layer) is nn.Linear}
    for name, layer in linears.items():
        rounded = EightBits.of(layer.weight.detach())
        layer.weight = nn.Parameter(rounded, requires_grad=False)
        plain.get_submodule(name).weight = nn.Parameter(rounded.floats())
    assert_the_modules_answer(model, parts=(not any(name.startswith("vision_encoder") for name in linears), False))
    torch.testing.assert_close(answer(model), answer(plain), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(answer(model), usual, atol=1e-4)


def replace_forward(layer):
    usual = layer.forward
    layer.forward = lambda *inputs: 2 * usual(*inputs)


@pytest.mark.parametrize(
    "change",
    [
        lambda part: parametrizations.weight_norm(part),
        lambda part: nn.utils.spectral_norm(part),
        lambda part: prune.l1_unstructured(part, "weight", 0.5),
        replace_forward,
    ],
    ids=["weight norm", "spectral norm", "pruning", "another forward"],
)
def test_changed_layers_act(model, change):
    change(next(layer for layer in model.vision_encoder.modules() if type(layer) is nn.Conv2d))
    change(model.mask_decoder.transformer.layers[1].cross_attn_token_to_image.v_proj)
    assert_the_modules_answer(model)


def setting(kind, **values):
    """Gives every layer of a kind another setting than it was built with."""

    def change(part):
        for layer in part.modules():
            if isinstance(layer, kind):
                for name, value in values.items():
                    setattr(layer, name, value)

    return change


def dilate(part):
    layer = getattr(part, "mask_conv1", None) or next(each for each in part.modules() if type(each) is nn.Conv2d)
    layer.dilation = (2, 2)
    layer.padding = (layer.kernel_size[0] - 1, layer.kernel_size[1] - 1)


def patch_method(name):
    def change(part):
        for module in part.modules():
            if hasattr(type(module), name):
                usual = getattr(module, name)
                setattr(module, name, lambda *inputs, usual=usual: usual(*(1.5 * value for value in inputs)))

    return change


@pytest.mark.parametrize(
    "change",
    [
        setting(nn.Conv2d, padding_mode="circular"),
        setting(nn.BatchNorm2d, track_running_stats=False, running_mean=None, running_var=None),
        setting((nn.Linear, nn.LayerNorm, nn.Conv2d, nn.ConvTranspose2d), bias=None),
        setting(nn.LayerNorm, eps=0.5),
        patch_method("render"),
        patch_method("heads"),
        dilate,
    ],
    ids=["padding mode", "no statistics", "no bias", "eps", "patched rendering", "patched heads", "dilation"],
)
def test_settings_and_methods_changed_later_act(model, change):
    usual, before = answer(model), engine_runs(model)
    change(model.mask_decoder)
    change(model.vision_encoder)
    found, runs = answer(model), engine_runs(model)
    model.set_fast_path(False)
    torch.testing.assert_close(found, answer(model), atol=1e-5, rtol=1e-4)
    assert runs != before or torch.equal(found, usual)  # a ViT has no batch norms


def test_settings_given_back_let_the_engine_run_again(model):
    layer = model.mask_decoder.mask_conv1
    layer.padding_mode = "circular"
    assert engine_runs(model) == (True, False)
    layer.padding_mode = "zeros"
    assert engine_runs(model) == (True, True)
    model.requires_grad_(False)
    assert engine_runs(pickle.loads(pickle.dumps(model))) == (True, True)


def test_replaced_layers_act(model):
    model.mask_decoder.mask_norm = nn.Identity()
    model.vision_encoder.neck.layer_norm1 = nn.Identity()
    assert_the_modules_answer(model)


def test_weights_given_for_a_call_act(model):
    """As `torch.func` gives them: plain tensors in the place of parameters."""
    weights = {name: 1.1 * weight.detach() for name, weight in model.named_parameters()}
    with torch.no_grad():
        found = torch.func.functional_call(model, weights, (PIXELS,), PROMPTS).pred_masks
        model.load_state_dict(weights, strict=False)
        torch.testing.assert_close(found, model(PIXELS, **PROMPTS).pred_masks, atol=1e-5, rtol=1e-4)


def adapters(model):
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if type(layer) in (nn.Linear, nn.Conv2d, nn.Embedding) and getattr(layer, "groups", 1) == 1
    }
    norms = [name for name, layer in model.named_modules() if isinstance(layer, nn.LayerNorm)]
    yield peft.LoraConfig(r=2, target_modules=list(layers), init_lora_weights=False)
    yield peft.LNTuningConfig(target_modules=norms)


@pytest.mark.parametrize("which", [0, 1], ids=["LoRA", "norm tuning"])
def test_adapters_on_any_layer_act(model, which):
    usual, torch_state = answer(model), torch.get_rng_state()
    torch.manual_seed(0)
    wrapped = peft.get_peft_model(model, list(adapters(model))[which]).eval()
    torch.set_rng_state(torch_state)
    with torch.no_grad():
        for weight in wrapped.parameters():
            if weight.requires_grad:
                weight.add_(0.05)
    assert_the_modules_answer(model, wrapped, engine_runs(model))
    assert engine_runs(model)[1] is False
    assert not torch.allclose(answer(wrapped), usual, atol=1e-4)


def test_counters_count_what_the_modules_do(model):
    counts = []
    for fast in (True, False):
        model.set_fast_path(fast)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(PIXELS, **PROMPTS)
        counts.append(counter.get_flop_counts())
    assert counts[0] == counts[1]
    assert any("mask_conv2" in name for name in counts[0])


class Louder(TorchDispatchMode):
    """Every convolution gives more."""

    def __torch_dispatch__(self, operator, _, arguments=(), options=None):
        """As torch calls it."""
        found = operator(*arguments, **(options or {}))
        return 1.1 * found if operator is torch.ops.aten.convolution.default else found


class LouderFunctions(TorchFunctionMode):
    """Likewise, by functions."""

    def __torch_function__(self, function, _, arguments=(), options=None):
        """As torch calls it."""
        found = function(*arguments, **(options or {}))
        return 1.1 * found if function is torch.conv2d else found


@pytest.mark.parametrize("mode", [Louder, LouderFunctions])
def test_what_watches_operations_sees_those_of_the_modules(model, mode):
    usual = answer(model)
    with mode():
        assert_the_modules_answer(model)
        assert not torch.equal(answer(model), usual)
    with torch.device("cpu"):  # a mode too, which changes nothing
        assert engine_runs(model) == (True, True)


@pytest.mark.parametrize("patched", [(nn.Conv2d, "_conv_forward"), (nn.Module, "_call_impl"), (EncoderNeck, "forward")])
@pytest.mark.parametrize("built_before", [False, True])
def test_classes_patched_by_users_act(monkeypatch, patched, built_before):
    kind, name = patched
    usual, model = getattr(kind, name), small_model() if built_before else None
    before = answer(small_model())
    monkeypatch.setattr(kind, name, lambda layer, *inputs, **options: usual(layer, *inputs, **options))
    model = model or small_model()
    found = engine_runs(model)
    assert found[0] is False
    assert found[1] is (kind is EncoderNeck)
    torch.testing.assert_close(answer(model), before, atol=1e-5, rtol=1e-4)


def test_function_transforms_give_what_single_calls_do():
    model = small_model()
    model.set_attn_implementation("eager")  # the other has no derivative by its bias
    pixels, points = torch.cat([PIXELS, PIXELS / 2]), torch.rand(2, 1, 1, 2)

    def masks(weight, pixel_values, input_points):
        prompts = {"pixel_values": pixel_values[None], "input_points": 128 * input_points[None]}
        changed = {"mask_decoder.hq_token.weight": weight}
        return torch.func.functional_call(model, changed, kwargs=prompts).pred_masks[0]

    weight = model.mask_decoder.hq_token.weight.detach()
    gradient = torch.func.grad(lambda *inputs: masks(*inputs).sum())
    for function in (masks, gradient):
        found = torch.func.vmap(function, in_dims=(None, 0, 0))(weight, pixels, points)
        for place, each in enumerate(zip(pixels, points, strict=True)):
            torch.testing.assert_close(found[place], function(weight, *each), atol=1e-3, rtol=1e-3)


@pytest.fixture
def one_process(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_sharded_as_the_model_says(model):
    usual, mesh = answer(model), init_device_mesh("cpu", (1,))
    units = [layer for layer in model.modules() if type(layer).__name__ in model._no_split_modules]
    assert units
    for unit in (*units, model):
        fully_shard(unit, mesh=mesh)
    assert engine_runs(model) == (False, False)
    torch.testing.assert_close(answer(model), usual, atol=1e-5, rtol=1e-4)
    model(PIXELS, **PROMPTS).pred_masks.sum().backward()
    assert model.mask_decoder.hq_token.weight.grad is not None


def replica(module):
    """What `nn.DataParallel` makes of a module on another device: parameters become plain tensors."""
    made = module._replicate_for_data_parallel()
    for name, weight in module._parameters.items():
        if weight is None:
            made._parameters[name] = None
        else:
            setattr(made, name, weight.detach().clone())
    for name, child in module._modules.items():
        made._modules[name] = None if child is None else replica(child)
    return made


def test_a_replica_of_data_parallel_says_the_same(model):
    usual = answer(model, **MASKS)
    made = replica(model)
    assert list(made.parameters()) == []
    assert engine_runs(made) == (False, False)
    torch.testing.assert_close(answer(made, **MASKS), usual, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        embeddings, intermediate = made.get_image_embeddings(PIXELS)
        cached = made(image_embeddings=embeddings, intermediate_embeddings=intermediate, **PROMPTS)
    torch.testing.assert_close(cached.iou_scores.flatten(), answer(model)[-9:], atol=1e-5, rtol=1e-4)


def test_it_is_for_inference(model):
    decoder = model.mask_decoder
    assert not may_run(decoder)  # with autograd
    with torch.no_grad():
        assert may_run(decoder)
        with torch.autocast("cpu", torch.bfloat16):
            assert not may_run(decoder)
        model.train()
        assert not may_run(decoder)
        model.eval()
        model.set_attn_implementation("eager")
        assert not may_run(decoder)
        model.set_attn_implementation("sdpa")
        decoder.mask_conv1.compile(backend="eager")
        assert not may_run(decoder)


@pytest.mark.parametrize("enabled", ["no", 0, None])
def test_the_fast_path_is_switched_by_flags_alone(enabled):
    model = small_model("vit")
    with pytest.raises(TypeError, match="enabled must be True or False"):
        model.set_fast_path(enabled)
    assert model.config.cpu_fast_path is True
