"""The vision encoders as models of their own, and `VISION_ENCODERS`, which finds the module of a configuration."""

from typing import Any

import torch
from torch import nn

from .configuration_sam_hq import AnyVisionConfig, SamHQEfficientNetConfig, SamHQTinyVitConfig, SamHQVisionConfig
from .model.fast_path import remember_layout
from .model.outputs import SamHQVisionEncoderOutput
from .model.vision_efficientnet import SamHQEfficientNetEncoder
from .model.vision_tiny_vit import SamHQTinyVitEncoder
from .model.vision_vit import SamHQVisionEncoder
from .pretrained_model import SamHQPreTrainedModel

VISION_ENCODERS = {
    SamHQVisionConfig: SamHQVisionEncoder,
    SamHQTinyVitConfig: SamHQTinyVitEncoder,
    SamHQEfficientNetConfig: SamHQEfficientNetEncoder,
}


def build_vision_encoder(config: AnyVisionConfig) -> Any:
    """Build the encoder of a configuration, or of a class derived from one.

    Args:
        config: Configuration of the encoder.
    """
    return next(VISION_ENCODERS[kind] for kind in type(config).__mro__ if kind in VISION_ENCODERS)(config)


class SamHQVisionModel(SamHQPreTrainedModel):
    """The ViT encoder alone.

    Args:
        config: Configuration of the encoder.
    """

    config_class: Any = SamHQVisionConfig
    _keep_in_fp32_modules_strict = []  # noqa: RUF012 (the positional encoding is not part of an encoder)
    # A whole model's directory will do: its other parts are ignored.
    _keys_to_ignore_on_load_unexpected = [  # noqa: RUF012
        r"^(prompt_encoder|mask_decoder|shared_image_embedding)\."
    ]

    def __init__(self, config: AnyVisionConfig):
        super().__init__(config)
        self.vision_encoder = build_vision_encoder(config)
        remember_layout(self.vision_encoder)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The module that turns pixels into features."""
        return self.vision_encoder.patch_embed

    def forward(
        self,
        pixel_values: torch.Tensor,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> SamHQVisionEncoderOutput | tuple:
        """Encode images.

        Args:
            pixel_values: Normalised, padded images (B, 3, S, S).
            output_attentions: Whether attention weights are returned; needs `attn_implementation="eager"`.
            output_hidden_states: Whether the features around every layer are returned.
            return_dict: Whether the outputs are named, or a tuple.

        Returns:
            `last_hidden_state` (B, 256, h, w) and `intermediate_embeddings`, a list of (B, h, w, C).

        Raises:
            ValueError: If the images have another shape than the model's.
        """
        output_attentions, output_hidden_states, return_dict = self._flags(
            output_attentions, output_hidden_states, return_dict
        )
        outputs = self._encode(pixel_values, output_hidden_states, output_attentions)
        return outputs if return_dict else outputs.to_tuple()


class SamHQTinyVitModel(SamHQVisionModel):
    """The TinyViT encoder alone.

    Args:
        config: Configuration of the encoder.
    """

    config_class: Any = SamHQTinyVitConfig


class SamHQEfficientNetModel(SamHQVisionModel):
    """The EfficientNet-Lite encoder alone.

    Args:
        config: Configuration of the encoder.
    """

    config_class: Any = SamHQEfficientNetConfig


__all__ = [
    "VISION_ENCODERS",
    "SamHQEfficientNetModel",
    "SamHQTinyVitModel",
    "SamHQVisionModel",
    "build_vision_encoder",
]
