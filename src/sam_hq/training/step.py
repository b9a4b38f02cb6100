"""The model with its loss as one module."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .objectives import training_loss
from .rounds import predict_round
from .settings import TrainingSettings


class TrainingStep(nn.Module):
    """The model with its loss as one module, which is what processes share gradients of.

    Args:
        model: A `SamHQModel`, or one wrapped for LoRA.
        settings: The run's settings.
    """

    def __init__(self, model: Any, settings: TrainingSettings) -> None:
        super().__init__()
        self.model, self.num_points = model, settings.num_points
        self.trains_sam = settings.trainable != "hq"
        self.trains_hq = settings.trainable != "sam"
        self.trains_norms = settings.trainable in ("sam", "all")

    @property
    def plain_model(self) -> Any:
        """The `SamHQModel` inside a LoRA wrapper, or the model itself."""
        unwrap = getattr(self.model, "get_base_model", None)
        return self.model if unwrap is None else unwrap()

    def train(self, mode: bool = True) -> TrainingStep:
        """Set the mode; an encoder that is not trained in full keeps its norms' statistics."""
        super().train(mode)
        if not self.trains_norms:
            self.plain_model.vision_encoder.eval()
        return self

    def forward(self, batch: dict[str, Any]) -> tuple[torch.Tensor, dict[str, float]]:
        """The loss of a batch of `TrainingBatches`, and the means of its parts."""
        model = self.plain_model
        frozen = not any(parameter.requires_grad for parameter in model.vision_encoder.parameters())
        with torch.set_grad_enabled(not frozen):  # a frozen encoder runs once, and keeps no activations
            image_embeddings, intermediate_embeddings = model.get_image_embeddings(batch["pixel_values"])
        hq_features = model.get_hq_features(image_embeddings, intermediate_embeddings) if self.trains_hq else None
        outputs = predict_round(model, image_embeddings, hq_features, batch)
        return training_loss(outputs, batch["labels"].flatten(0, 1), self.trains_sam, self.num_points)
