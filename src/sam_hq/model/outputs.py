"""What the vision encoders and the model return."""

from dataclasses import dataclass
from typing import cast

import torch
from transformers.utils import ModelOutput


@dataclass
class SamHQVisionEncoderOutput(ModelOutput):
    """What every vision encoder returns.

    Attributes:
        last_hidden_state: Image embeddings (B, output_channels, h, w) over the encoder's grid.
        intermediate_embeddings: List of earlier features (B, h, w, C); the HQ features use the first.
        hidden_states: Features before the first and after every layer, each (B, height, width, C).
        attentions: Attention weights of every layer that has them, each (windows, heads, tokens, tokens).
    """

    last_hidden_state: torch.Tensor | None = None
    intermediate_embeddings: list[torch.Tensor] | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None

    def embeddings(self) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """What the mask decoder takes: image embeddings (B, C, h, w), and the list of earlier features."""
        return cast(torch.Tensor, self.last_hidden_state), cast(list[torch.Tensor], self.intermediate_embeddings)


@dataclass
class SamHQImageSegmentationOutput(ModelOutput):
    """What `SamHQModel` returns; B images, P objects per image, M masks per object.

    Attributes:
        loss: Mean over the labelled objects of the loss of their first mask, where labels were given.
        iou_scores: Predicted IoU (B, P, M) of each mask with its object, highest first.
        pred_masks: Low-resolution mask logits (B, P, M, 4h, 4w) over the padded square, for an (h, w) grid.
        sam_masks: SAM's own part (B, P, M, 4h, 4w) of `pred_masks`, with `output_branches`.
        hq_masks: The HQ token's part (B, P, 1, 4h, 4w), with `output_branches`. The two parts add up to `pred_masks`,
            unless `hq_token_only` made `pred_masks` the HQ part alone.
        vision_hidden_states: Hidden states of the vision encoder, with `output_hidden_states`.
        vision_attentions: Attention weights of the vision encoder, with `output_attentions`.
        mask_decoder_attentions: Attention weights of the two-way transformer, with `output_attentions`: of each block
            the self attention (B*P, heads, n, n), tokens to image (B*P, heads, n, h*w), image to tokens
            (B*P, heads, h*w, n), and last the final attention (B*P, heads, n, h*w).
    """

    loss: torch.Tensor | None = None
    iou_scores: torch.Tensor | None = None
    pred_masks: torch.Tensor | None = None
    sam_masks: torch.Tensor | None = None
    hq_masks: torch.Tensor | None = None
    vision_hidden_states: tuple[torch.Tensor, ...] | None = None
    vision_attentions: tuple[torch.Tensor, ...] | None = None
    mask_decoder_attentions: tuple[torch.Tensor, ...] | None = None
