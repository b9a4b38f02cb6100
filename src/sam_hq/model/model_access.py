"""The model behind its wrappers, and the device that takes its inputs."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import nn

_Model = TypeVar("_Model", bound=nn.Module)

# Where wrappers keep what they wrap: torch.compile; DistributedDataParallel, DataParallel, AveragedModel; PEFT.
_WRAPPED_AS = ("_orig_mod", "module", "base_model", "model")


def unwrapped(model: Any, wanted: type[_Model]) -> _Model:
    """Look through wrappers such as those of PEFT, torch.compile and DistributedDataParallel, nested ones too.

    Args:
        model: A model or a wrapper.
        wanted: The class that is looked for.

    Returns:
        The model of that class; layers that a wrapper put into it, such as LoRA's, stay in it. What is no torch module
        is taken for a stand-in with the same methods.

    Raises:
        TypeError: If there is none.
    """
    if hasattr(model, "get_image_embeddings") and not isinstance(model, nn.Module):
        return model
    for inner in wrapped_models(model):
        if isinstance(inner, wanted):
            return inner
    raise TypeError(f"model must be a {wanted.__name__} or a wrapper around one, got {type(model).__name__}")


def wrapped_models(model: Any) -> Iterator[Any]:
    """The model that was given, and what it wraps, from the outside inwards."""
    waiting, seen = [model], []
    while waiting:
        current = waiting.pop(0)
        seen.append(current)
        yield current
        for name in _WRAPPED_AS:
            inner = getattr(current, name, None)
            if isinstance(inner, nn.Module) and not any(inner is other for other in (*seen, *waiting)):
                waiting.append(inner)


def execution_device(model: Any) -> torch.device:
    """The device that takes the model's inputs, also where accelerate keeps weights elsewhere until they are needed.

    Args:
        model: A model; offloaded weights are on the meta device, or on the CPU beside an accelerator.
    """
    if not isinstance(model, nn.Module):
        return model.device
    for module in model.modules():
        hook = vars(module).get("_hf_hook")  # getattr would search its weights and submodules first, which is slow
        for part in (hook, *getattr(hook, "hooks", ())):
            device = getattr(part, "execution_device", None)
            if device is not None:
                # accelerate numbers accelerators without saying of which kind they are, as torch does too.
                return torch.empty(0, device=device).device
    tensors = chain(model.parameters(), model.buffers())
    return next((tensor.device for tensor in tensors if not tensor.is_meta), torch.device("cpu"))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set a model to evaluation while the block runs; then each of its modules has the mode that it had.

    Args:
        model: The model; a part of it may be in another mode than the whole, as a frozen encoder is.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
