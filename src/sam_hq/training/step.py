"""The model with its loss as one module."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .embedding_cache import EmbeddingCache
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
        self.model, self.settings = model, settings
        self.trains_sam = settings.trainable != "hq"
        self.trains_hq = settings.trainable != "sam"
        self.trains_norms = settings.trainable in ("sam", "all")
        self.cache: EmbeddingCache | None = None

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
        image_embeddings, intermediate_embeddings = self._encode(batch)
        hq_features = model.get_hq_features(image_embeddings, intermediate_embeddings) if self.trains_hq else None
        outputs = predict_round(model, image_embeddings, hq_features, batch)
        loss, parts = training_loss(outputs, batch["labels"].flatten(0, 1), self.trains_sam, self.settings.num_points)
        parts[f"iou_{batch['kind']}"] = parts["iou_single"]
        return loss, parts

    def _encode(self, batch: dict[str, Any]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        model = self.plain_model
        if any(parameter.requires_grad for parameter in model.vision_encoder.parameters()):
            return model.get_image_embeddings(batch["pixel_values"])
        with torch.no_grad():  # a frozen encoder runs once, and keeps no activations
            if not self.settings.whole_images:
                return model.get_image_embeddings(batch["pixel_values"])
            # One by one, so that an image's embeddings do not depend, in the last bits, on what it is batched with.
            keys = batch.get("image_keys", [None] * len(batch["pixel_values"]))
            parts = [self._encode_one(*part) for part in zip(keys, batch["pixel_values"].split(1), strict=True)]
            late, early = (torch.cat(part) for part in zip(*parts, strict=True))
            return late, [early]

    def _encode_one(self, key: str | None, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Embeddings of an image from the cache, or from the encoder."""
        model, folder = self.plain_model, self.settings.embedding_cache
        if folder is not None and key is not None:
            if self.cache is None:  # not before the first use: the weights may have come from a saved state
                self.cache = EmbeddingCache(folder, model.vision_encoder, self.settings.precision)
            kept = self.cache.read(key, pixel_values.device)
            if kept is not None:
                return kept
        late, intermediate = model.get_image_embeddings(pixel_values)
        # Files hold plain layouts; another one would let later kernels sum in another order.
        late, early = late.contiguous(), intermediate[0].contiguous()
        if self.cache is not None and key is not None:
            self.cache.write(key, late, early)
        return late, early
