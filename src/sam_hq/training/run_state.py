"""What a run carries from step to step beside the model and the optimizer."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from .step import TrainingStep


class RunningMean:
    """An exponential running mean of a model's floating point state; saved with accelerate's states."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.mean = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def update(self, model: nn.Module) -> None:
        """Move towards the model's state, faster in the first updates."""
        self.updates += 1
        weight = 1 - min(self.decay, self.updates / (10 + self.updates))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.mean[name].lerp_(value.detach(), weight)
            else:
                self.mean[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """For accelerate's states."""
        return {"updates": self.updates, "mean": self.mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From accelerate's states."""
        self.updates = state["updates"]
        for name, value in state["mean"].items():
            self.mean[name].copy_(value)


class Progress:
    """How far a run is; saved with accelerate's states."""

    def __init__(self) -> None:
        self.step, self.best = 0, -math.inf

    def state_dict(self) -> dict[str, Any]:
        """For accelerate's states."""
        return {"step": self.step, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From accelerate's states."""
        self.step, self.best = state["step"], state["best"]


class SwappedWeights:
    """The plain model as it would be saved, for as long as the block lasts.

    Args:
        step_module: The module in training.
        mean: The running mean's weights, or None for the module's own.
    """

    def __init__(self, step_module: TrainingStep, mean: dict[str, torch.Tensor] | None) -> None:
        self.step_module, self.mean = step_module, mean

    def __enter__(self) -> Any:
        """Put the mean's weights in place, and merge low-rank updates in a copy."""
        if self.mean is not None:
            self.own = {name: value.clone() for name, value in self.step_module.state_dict().items()}
            self.step_module.load_state_dict(self.mean)
        model: Any = self.step_module.model
        if hasattr(model, "merge_and_unload"):
            # A copy, because taking the updates out again would leave rounding errors in the frozen weights.
            return copy.deepcopy(model).merge_and_unload()
        return model

    def __exit__(self, *_: object) -> None:
        """Bring the module's own weights back."""
        if self.mean is not None:
            self.step_module.load_state_dict(self.own)
