"""When the CPU engine may answer for a part of the model.

The engine (`cpu_encoder.py`, `cpu_decoder.py`) computes what the vision encoder and the mask decoder compute, from
their weights, but without calling every module, and in pieces that fit the cache. So it may run only where a call would
do nothing but apply those weights: everything else, and every other device, takes the modules themselves.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

_GLOBAL_HOOKS = (
    "_global_forward_hooks",
    "_global_forward_pre_hooks",
    "_global_backward_hooks",
    "_global_backward_pre_hooks",
)


def remember_layout(part: nn.Module) -> None:
    """Note the layers of a part as they were built, for `may_run` to notice those that are replaced later.

    Args:
        part: A vision encoder or a mask decoder, just built.
    """
    layout: Any = tuple((type(layer), type(layer).forward, tuple(layer._parameters)) for layer in _layers(part))
    part.layout = layout


def may_run(part: nn.Module) -> bool:
    """Whether the engine gives what calling a part would give. Cheap, since it is asked at every call.

    That is in inference (no autograd, no autocast, evaluation mode), on a CPU, not while a graph is compiled or
    exported, with the attention that is the default, and where every layer is as it was built: of the same class,
    without hooks or parametrisations, its weights ordinary parameters that are present.

    Args:
        part: A vision encoder or a mask decoder that `remember_layout` has seen.
    """
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if any(getattr(nn.modules.module, hooks) for hooks in _GLOBAL_HOOKS):
        return False
    if part.config._attn_implementation == "eager":
        return False
    layout, layers = getattr(part, "layout", ()), list(_layers(part))
    return len(layers) == len(layout) and all(map(_is_as_built, layers, layout))


def _is_as_built(layer: nn.Module, built: tuple[type, Any, tuple[str, ...]]) -> bool:
    kind, forward, names = built
    own = layer.__dict__
    if type(layer) is not kind or kind.forward is not forward or "forward" in own:
        return False
    if own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]:
        return False
    weights = own["_parameters"]
    if own["training"] or own.get("_compiled_call_impl") is not None or tuple(weights) != names:
        return False
    for weight in weights.values():
        if weight is not None and (type(weight) is not nn.Parameter or not weight.is_cpu):
            return False
    return True


def _layers(part: nn.Module) -> Iterator[nn.Module]:
    """All modules of a part, itself first; faster than `modules()`, which looks for repetitions."""
    waiting = [part]
    while waiting:
        layer = waiting.pop()
        yield layer
        waiting.extend(child for child in layer._modules.values() if child is not None)


__all__ = ["may_run", "remember_layout"]
