"""The two-way transformer: prompt tokens and image pixels attend to each other.

Source: "Segment Anything" (arXiv 2304.02643), appendix A.
"""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration_sam_hq import SamHQMaskDecoderConfig
from .layers import TransformerMLP

# The authors leave these norms at their library's default, unlike the 1e-6 of all other norms.
_LAYER_NORM_EPS = 1e-5


class SamHQAttention(nn.Module):
    """Multi-head attention at a width that may be lower than the tokens'."""

    def __init__(self, config: SamHQMaskDecoderConfig, downsample_rate: int = 1):
        super().__init__()
        self.config = config
        self.num_attention_heads = config.num_attention_heads
        internal_dim = config.hidden_size // downsample_rate
        self.head_dim = internal_dim // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.q_proj = nn.Linear(config.hidden_size, internal_dim)
        self.k_proj = nn.Linear(config.hidden_size, internal_dim)
        self.v_proj = nn.Linear(config.hidden_size, internal_dim)
        self.out_proj = nn.Linear(internal_dim, config.hidden_size)

    def forward(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend.

        Args:
            query: (N, q, C).
            key: (N, k, C).
            value: (N, k, C).
            bias: Added to the scores; broadcasts to (N, heads, q, k).

        Returns:
            Attended values (N, q, C), and the weights (N, heads, q, k); None but for the eager implementation.
        """
        query, key, value = (
            self.heads(self.q_proj(query)),
            self.heads(self.k_proj(key)),
            self.heads(self.v_proj(value)),
        )
        weights = None
        if self.config._attn_implementation == "eager":
            scores = query @ key.transpose(-2, -1) * self.scaling
            if bias is not None:
                scores = scores + bias
            weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
            attended = weights @ value
        else:
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), weights

    def heads(self, projected: torch.Tensor) -> torch.Tensor:
        """Split into heads: (N, n, heads * d) to (N, heads, n, d)."""
        return projected.unflatten(-1, (self.num_attention_heads, self.head_dim)).transpose(1, 2)


class SamHQTwoWayAttentionBlock(GradientCheckpointingLayer):
    """Self attention of the tokens, tokens to image, MLP of the tokens, image to tokens."""

    def __init__(self, config: SamHQMaskDecoderConfig, skip_first_layer_pe: bool):
        super().__init__()
        rate = config.attention_downsample_rate
        self.skip_first_layer_pe = skip_first_layer_pe
        self.self_attn = SamHQAttention(config)
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=_LAYER_NORM_EPS)
        self.cross_attn_token_to_image = SamHQAttention(config, rate)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=_LAYER_NORM_EPS)
        self.mlp = TransformerMLP(config.hidden_size, config.mlp_dim, config.hidden_act)
        self.layer_norm3 = nn.LayerNorm(config.hidden_size, eps=_LAYER_NORM_EPS)
        self.layer_norm4 = nn.LayerNorm(config.hidden_size, eps=_LAYER_NORM_EPS)
        self.cross_attn_image_to_token = SamHQAttention(config, rate)

    def forward(
        self,
        tokens: torch.Tensor,
        pixels: torch.Tensor,
        token_positions: torch.Tensor,
        pixel_positions: torch.Tensor,
        token_bias: torch.Tensor | None = None,
        attention_similarity: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor | None, ...]]:
        """Update tokens (N, n, C) and pixels (N, h*w, C); also returns the three attentions' weights."""
        if self.skip_first_layer_pe:
            tokens, self_weights = self.self_attn(tokens, tokens, tokens, token_bias)
        else:
            with_positions = tokens + token_positions
            attended, self_weights = self.self_attn(with_positions, with_positions, tokens, token_bias)
            tokens = tokens + attended
        tokens = self.layer_norm1(tokens)

        pixels_with_positions = pixels + pixel_positions
        attended, image_weights = self.cross_attn_token_to_image(
            tokens + token_positions, pixels_with_positions, pixels, attention_similarity
        )
        tokens = self.layer_norm2(tokens + attended)

        tokens = self.layer_norm3(tokens + self.mlp(tokens))

        attended, token_weights = self.cross_attn_image_to_token(
            pixels_with_positions, tokens + token_positions, tokens, token_bias
        )
        pixels = self.layer_norm4(pixels + attended)
        return tokens, pixels, (self_weights, image_weights, token_weights)


class SamHQTwoWayTransformer(nn.Module):
    """Two-way blocks, and a last attention of the tokens to the image."""

    def __init__(self, config: SamHQMaskDecoderConfig):
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(
            SamHQTwoWayAttentionBlock(config, skip_first_layer_pe=index == 0)
            for index in range(config.num_hidden_layers)
        )
        self.final_attn_token_to_image = SamHQAttention(config, config.attention_downsample_rate)
        self.layer_norm_final_attn = nn.LayerNorm(config.hidden_size, eps=_LAYER_NORM_EPS)

    def forward(
        self,
        tokens: torch.Tensor,
        pixels: torch.Tensor,
        pixel_positions: torch.Tensor,
        token_bias: torch.Tensor | None = None,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor | None, ...]]:
        """Let N objects' tokens and pixels attend to each other.

        Args:
            tokens: Output and prompt tokens (N, n, C).
            pixels: Image embeddings with the mask prompt added (M, h*w, C); each serves N / M consecutive objects.
            pixel_positions: Positional encoding (h*w, C) of the pixels.
            token_bias: (N, 1, 1, n), minus infinity for tokens that only pad.
            attention_similarity: Added to the blocks' scores of tokens and pixels; broadcasts to (N, heads, n, h*w).
            target_embedding: Added to the tokens before every block; broadcasts to (N, n, C).

        Returns:
            Tokens (N, n, C), pixels (N, h*w, C), and all attention weights in order, None but for the eager
            implementation.
        """
        pixels = pixels.repeat_interleave(tokens.shape[0] // pixels.shape[0], dim=0)
        if target_embedding is not None:
            tokens = tokens + target_embedding
        token_positions = tokens  # with the target, for the first block's tokens are the positions too
        all_weights: list[torch.Tensor | None] = []
        for index, layer in enumerate(self.layers):
            if index and target_embedding is not None:
                tokens = tokens + target_embedding
            tokens, pixels, weights = layer(
                tokens, pixels, token_positions, pixel_positions, token_bias, attention_similarity
            )
            all_weights.extend(weights)
        attended, weights = self.final_attn_token_to_image(tokens + token_positions, pixels + pixel_positions, pixels)
        return self.layer_norm_final_attn(tokens + attended), pixels, (*all_weights, weights)
