"""The same model for another input size: train on small images first, which costs a fraction, then on larger ones."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F

from ..configuration_sam_hq import SamHQConfig, SamHQEfficientNetConfig, SamHQTinyVitConfig
from ..modeling_sam_hq import SamHQModel

STRIDES = (4, 8, 16, 16)  # of a TinyViT's stages


def resized(model: SamHQModel, image_size: int) -> SamHQModel:
    """A copy of a TinyViT or EfficientNet model for inputs of another size.

    A TinyViT's windows that span a stage's whole grid still do, and their attention biases are interpolated;
    other windows keep their size in cells. Everything else is independent of the size, positions being relative to the
    square's side.

    Args:
        model: A model with a TinyViT or EfficientNet encoder.
        image_size: Side of the new square input in pixels.

    Returns:
        The new model; the given one itself where the size is the same.

    Raises:
        TypeError: Its encoder is a ViT: absolute positions and window padding tie a ViT to its size.
        ValueError: A size that the encoder cannot take.
    """
    old = model.config.vision_config
    if not isinstance(old, SamHQTinyVitConfig | SamHQEfficientNetConfig):
        raise TypeError(
            f"image_size can be changed for TinyViT and EfficientNet encoders only, got {type(old).__name__}"
        )
    if image_size == old.image_size:
        return model
    settings = copy.deepcopy(model.config.to_dict())
    if isinstance(old, SamHQTinyVitConfig):
        if image_size < STRIDES[-1] or image_size % STRIDES[-1]:
            raise ValueError(f"image_size must be a positive multiple of {STRIDES[-1]} for a TinyViT, got {image_size}")
        settings["vision_config"]["window_size"] = [
            image_size // stride if window * stride >= old.image_size else window
            for window, stride in zip(old.window_size, STRIDES, strict=True)
        ]
    for part in ("vision_config", "prompt_encoder_config"):
        settings[part]["image_size"] = image_size
    config = SamHQConfig.from_dict(settings)
    config._attn_implementation = model.config._attn_implementation
    new = SamHQModel(config)
    torch.nn.Module.to(new, dtype=model.dtype)
    weights = model.state_dict()
    for name, own in new.state_dict().items():
        if name.endswith("attention_biases") and own.shape != weights[name].shape:
            weights[name] = _interpolated(weights[name], own.shape[1])
    new.load_state_dict(weights)
    new.train(model.training)
    return new


def _interpolated(biases: torch.Tensor, count: int) -> torch.Tensor:
    """Biases (heads, n*n) of the offsets 0..n-1 along both axes, for m*m = count offsets over the same extent."""
    old_side, new_side = round(biases.shape[1] ** 0.5), round(count**0.5)
    table = biases.view(1, -1, old_side, old_side)
    return F.interpolate(table, (new_side, new_side), mode="bilinear", align_corners=True)[0].flatten(1)
