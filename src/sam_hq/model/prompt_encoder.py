"""Prompts to embeddings: points and boxes become tokens, masks an embedding of each place.

Source: "Segment Anything" (arXiv 2304.02643), appendix A; positions by random Fourier features (arXiv 2006.10739).
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN

from sam_hq_numpy.prompt_labels import BACKGROUND_LABEL, FOREGROUND_LABEL, NOT_A_POINT_LABEL, PADDING_LABEL

from ..configuration_sam_hq import SamHQPromptEncoderConfig
from .layers import LayerNorm2d


class SamHQPositionalEmbedding(nn.Module):
    """Positions in the unit square by sines and cosines of random frequencies.

    The frequencies stay in float32 whatever the model's dtype: at half precision a coordinate moves by up to 2 pixels.
    """

    positional_embedding: torch.Tensor

    def __init__(self, num_pos_feats: int):
        super().__init__()
        self.register_buffer("positional_embedding", torch.randn(2, num_pos_feats, dtype=torch.float32))

    def _apply(
        self,
        fn: Callable[[torch.Tensor], torch.Tensor],
        recurse: bool = True,  # noqa: ARG002
    ) -> "SamHQPositionalEmbedding":
        # `.to(dtype)`, `.half()` and the like come through here: follow the device, keep the dtype.
        moved = fn(self.positional_embedding)
        if moved.dtype != torch.float32 and not self.positional_embedding.is_meta:
            moved = self.positional_embedding.to(moved.device)
        self.positional_embedding = moved.to(torch.float32)
        return self

    def forward(self, coordinates: torch.Tensor) -> torch.Tensor:
        """Encode (x, y) in [0, 1], shape (..., 2), as (..., 2 * num_pos_feats) in float32."""
        by_x, by_y = self.positional_embedding
        coordinates = 2 * coordinates.float() - 1
        # Two products rather than a matrix product: autocast leaves these in float32.
        angles = 2 * math.pi * (coordinates[..., :1] * by_x + coordinates[..., 1:] * by_y)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class SamHQMaskEmbedding(nn.Module):
    """Convolutions that bring a mask prompt to the grid of the image embeddings."""

    def __init__(self, config: SamHQPromptEncoderConfig):
        super().__init__()
        channels = config.mask_input_channels
        self.conv1 = nn.Conv2d(1, channels // 4, kernel_size=2, stride=2)
        self.conv2 = nn.Conv2d(channels // 4, channels, kernel_size=2, stride=2)
        self.conv3 = nn.Conv2d(channels, config.hidden_size, kernel_size=1)
        self.layer_norm1 = LayerNorm2d(channels // 4, eps=config.layer_norm_eps)
        self.layer_norm2 = LayerNorm2d(channels, eps=config.layer_norm_eps)
        self.activation = ACT2FN[config.hidden_act]

    def forward(self, masks: torch.Tensor) -> torch.Tensor:
        """Map mask logits (N, 1, 4h, 4w) to dense embeddings (N, hidden_size, h, w), in the weights' dtype."""
        masks = masks.to(self.conv1.weight.dtype)
        hidden = self.activation(self.layer_norm1(self.conv1(masks)))
        hidden = self.activation(self.layer_norm2(self.conv2(hidden)))
        return self.conv3(hidden)


class SamHQPromptEncoder(nn.Module):
    """Prompts to sparse tokens and dense embeddings.

    The positional encoding is the model's one copy, handed to `forward` as encoded positions rather than held here.
    """

    def __init__(self, config: SamHQPromptEncoderConfig):
        super().__init__()
        self.config = config
        self.mask_embed = SamHQMaskEmbedding(config)
        self.no_mask_embed = nn.Embedding(1, config.hidden_size)
        self.point_embed = nn.ModuleList(
            nn.Embedding(1, config.hidden_size) for _ in range(config.num_point_embeddings)
        )
        self.not_a_point_embed = nn.Embedding(1, config.hidden_size)

    def forward(
        self,
        encode_positions: Callable[[torch.Tensor], torch.Tensor],
        device: torch.device,
        input_points: torch.Tensor | None = None,
        input_labels: torch.Tensor | None = None,
        input_boxes: torch.Tensor | None = None,
        input_masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor | None]:
        """Encode prompts.

        Args:
            encode_positions: Maps (x, y) in [0, 1] to positional encodings.
            device: Where the embeddings are wanted.
            input_points: Points (B, P, N, 2) as (x, y) in pixels of the padded square.
            input_labels: Their labels (B, P, N): 1 foreground, 0 background, -1 not a point, -10 padding.
            input_boxes: Boxes (B, P, 4) as (x0, y0, x1, y1) in pixels of the padded square.
            input_masks: Mask logits (B, P, 4h, 4w).

        Returns:
            Sparse embeddings (B, P, n, hidden_size) or None without points and boxes; dense embeddings
            (B, P, hidden_size, h, w), or (1, 1, hidden_size, 1, 1) without masks; and which tokens are no padding
            (B, P, n), or None where all are.
        """
        tokens, token_mask = [], None
        if input_points is not None and input_labels is not None:
            points, token_mask = self.embed_points(
                encode_positions, input_points, input_labels, pad=input_boxes is None
            )
            tokens.append(points)
        if input_boxes is not None:
            tokens.append(self.embed_boxes(encode_positions, input_boxes))
            if token_mask is not None:
                token_mask = F.pad(token_mask, (0, 2), value=True)
        sparse_embeddings = torch.cat(tokens, dim=2) if tokens else None
        return sparse_embeddings, self.embed_masks(input_masks, device), token_mask

    def embed_points(
        self,
        encode_positions: Callable[[torch.Tensor], torch.Tensor],
        points: torch.Tensor,
        labels: torch.Tensor,
        pad: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, P, n, hidden_size) of points and their mask (B, P, n); `pad` adds the token that ends them."""
        labels = labels.to(torch.long)  # the token below has a label that unsigned numbers and booleans cannot hold
        if pad:
            # Points without a box are followed by one token that says there is none, unless all of them only pad.
            padded = (labels == PADDING_LABEL).all(dim=-1, keepdim=True)
            points = F.pad(points, (0, 0, 0, 1))
            labels = torch.cat([labels, torch.where(padded, PADDING_LABEL, NOT_A_POINT_LABEL)], dim=-1)
        not_a_point = _row(self.not_a_point_embed, points.device)
        positions = encode_positions((points.float() + 0.5) / self.config.image_size).to(not_a_point.dtype)
        labels = labels.unsqueeze(-1)
        embedded = torch.where(labels == NOT_A_POINT_LABEL, not_a_point, positions)
        embedded = embedded + (labels == BACKGROUND_LABEL) * _row(self.point_embed[0], points.device)
        embedded = embedded + (labels == FOREGROUND_LABEL) * _row(self.point_embed[1], points.device)
        token_mask = labels != PADDING_LABEL
        return embedded * token_mask, token_mask.squeeze(-1)

    def embed_boxes(
        self, encode_positions: Callable[[torch.Tensor], torch.Tensor], boxes: torch.Tensor
    ) -> torch.Tensor:
        """Tokens (B, P, 2, hidden_size) of the corners of boxes (B, P, 4)."""
        corners = boxes.float().unflatten(-1, (2, 2))  # (B, P, 4) -> (B, P, corner, 2)
        kinds = torch.cat([_row(self.point_embed[2], boxes.device), _row(self.point_embed[3], boxes.device)])
        return encode_positions((corners + 0.5) / self.config.image_size).to(kinds.dtype) + kinds

    def embed_masks(self, masks: torch.Tensor | None, device: torch.device) -> torch.Tensor:
        """Dense embeddings (B, P, hidden_size, h, w) of mask prompts, or (1, 1, hidden_size, 1, 1) of none."""
        if masks is None:
            return _row(self.no_mask_embed, device)[None, :, :, None, None]
        batch_size, count = masks.shape[:2]
        embedded = self.mask_embed(masks.flatten(0, 1).unsqueeze(1))
        return embedded.unflatten(0, (batch_size, count))


def _row(embedding: nn.Module, device: torch.device) -> torch.Tensor:
    """The one row (1, C) of an embedding, through its forward: that is what brings offloaded weights along."""
    return embedding(torch.zeros(1, dtype=torch.long, device=device))
