"""When the CPU engine may answer for a part of the model.

The engine (`cpu_encoder.py`, `cpu_decoder.py`) computes what the vision encoder and the mask decoder compute, from
their weights, but without calling every module, and in pieces that fit the cache. So it may run only where a call would
do nothing but apply those weights: everything else, and every other device, takes the modules themselves.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

_GLOBAL_HOOKS = (
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
)
_CALLS = ("__call__", "_wrapped_call_impl", "_call_impl")
_METHODS: dict[type, tuple[tuple[str, Any], ...]] = {}


@dataclass(frozen=True)
class _Built:
    """A layer as it was built.

    Attributes:
        kind: Its class.
        weights: Names of its parameters.
        left_out: Whether each of them is None.
        buffers: Names of its buffers, and whether each is None.
        names: Of its settings: numbers, texts and tuples of them, such as a convolution's `padding_mode`.
        settings: Their values.
        methods: Names of its methods, one of which a patch may have put on the layer itself.
    """

    kind: type
    weights: tuple[str, ...]
    left_out: tuple[bool, ...]
    buffers: tuple[tuple[str, bool], ...]
    names: tuple[str, ...]
    settings: tuple[Any, ...]
    methods: frozenset[str]

    @classmethod
    def of(cls, layer: nn.Module) -> "_Built":
        kind, own = type(layer), layer.__dict__
        settings = {
            name: value
            for name, value in own.items()
            if isinstance(value, bool | int | float | str | tuple | None) and name[0] != "_" and name != "training"
        }
        classes = kind.__mro__[: kind.__mro__.index(nn.Module)]
        methods = {name for each in classes for name, value in vars(each).items() if callable(value)}
        return cls(
            kind,
            tuple(own["_parameters"]),
            tuple(weight is None for weight in own["_parameters"].values()),
            tuple((name, value is None) for name, value in own["_buffers"].items()),
            tuple(settings),
            tuple(settings.values()),
            frozenset(methods | {"forward"}),
        )


def remember_layout(part: nn.Module) -> None:
    """Note the layers of a part as they were built, for `may_run` to notice those that are changed later.

    Args:
        part: A vision encoder or a mask decoder, just built.
    """
    layout: Any = tuple(map(_Built.of, _layers(part)))
    part.layout = layout


def remember_classes() -> None:
    """Note what every class of layers does, for `may_run` to notice those patched before or after a model is built."""
    kinds: list[type] = [nn.Module]
    for kind in kinds:
        kinds.extend(kind.__subclasses__())
        names = _CALLS if kind is nn.Module else tuple(name for name, value in vars(kind).items() if callable(value))
        _METHODS[kind] = tuple((name, vars(kind)[name]) for name in names)


def may_run(part: nn.Module) -> bool:
    """Whether the engine gives what calling a part would give. Cheap, since it is asked at every call.

    That is in inference (no autograd, no autocast, evaluation mode), on a CPU, not while a graph is compiled or
    exported, a function transformed or every operation watched, with the attention that is the default, and where every
    layer is as it was built: of the same class with the same settings and methods, without hooks or parametrisations,
    its weights ordinary parameters that are present.

    Args:
        part: A vision encoder or a mask decoder that `remember_layout` has seen.
    """
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if is_in_torch_dispatch_mode() or torch._C._functorch.get_interpreter_stack():
        return False
    if any(not isinstance(mode, DeviceContext) for mode in _get_current_function_mode_stack()):
        return False
    if any(getattr(nn.modules.module, hooks) for hooks in _GLOBAL_HOOKS):
        return False
    if part.config._attn_implementation == "eager":
        return False
    layout, layers = getattr(part, "layout", ()), list(_layers(part))
    if len(layers) != len(layout) or not all(map(_is_as_built, layers, layout)):
        return False
    return all(map(_does_the_same, {each for built in layout for each in built.kind.__mro__ if each in _METHODS}))


def _does_the_same(kind: type) -> bool:
    now = vars(kind)
    return all(now.get(name) is method for name, method in _METHODS[kind])


def _is_as_built(layer: nn.Module, built: _Built) -> bool:
    own = layer.__dict__
    if type(layer) is not built.kind:
        return False
    if own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]:
        return False
    if own["training"] or own.get("_compiled_call_impl") is not None or not own.keys().isdisjoint(built.methods):
        return False
    if tuple(map(own.get, built.names)) != built.settings:
        return False
    weights, buffers = own["_parameters"], own["_buffers"]
    if tuple(weights) != built.weights:
        return False
    for weight, was_left_out in zip(weights.values(), built.left_out, strict=True):
        if weight is None or was_left_out:
            if weight is not None or not was_left_out:
                return False
        elif type(weight) is not nn.Parameter or not weight.is_cpu:
            return False
    return not buffers or tuple((name, value is None) for name, value in buffers.items()) == built.buffers


def _layers(part: nn.Module) -> Iterator[nn.Module]:
    """All modules of a part, itself first; faster than `modules()`, which looks for repetitions."""
    waiting = [part]
    while waiting:
        layer = waiting.pop()
        yield layer
        waiting.extend(child for child in layer._modules.values() if child is not None)
