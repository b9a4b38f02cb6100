"""The two-way transformer: prompt tokens and image pixels attend to each other.

`forward` is the plain path. `forward_absorbed` gives the same by the forms of `decoder_attention.py` that never project
the pixels.

Source: "Segment Anything" (arXiv 2304.02643), appendix A.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from .configuration_sam_hq import SamHQMaskDecoderConfig
from .decoder_attention import SamHQAttention
from .layers import TransformerMLP

# The authors leave these norms at their library's default, unlike the 1e-6 of all other norms.
_LAYER_NORM_EPS = 1e-5


@dataclass
class ImageSide:
    """What the first block makes of the pixels of M images, whatever the prompts.

    Attributes:
        placed_pixels: Pixels with their positions (M, p, C).
        keys: Of the tokens' attention to the image (M, heads, p, d).
        values: Likewise.
        queries: Of the image's attention to the tokens (M, heads, p, d).
    """

    placed_pixels: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    queries: torch.Tensor

    def of_image(self, index: int) -> "ImageSide":
        """The part of one image."""
        parts = (self.placed_pixels, self.keys, self.values, self.queries)
        return ImageSide(*(part[index : index + 1] for part in parts))


class SamHQTwoWayAttentionBlock(nn.Module):
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
        token_bias: torch.Tensor | None,
        attention_similarity: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        """Update tokens (N, n, C) and pixels (N, h*w, C); also returns the three attentions' weights."""
        if self.skip_first_layer_pe:
            tokens, self_weights = self.self_attn(tokens, tokens, tokens, token_bias)
        else:
            placed = tokens + token_positions
            attended, self_weights = self.self_attn(placed, placed, tokens, token_bias)
            tokens = tokens + attended
        tokens = self.layer_norm1(tokens)

        placed_pixels = pixels + pixel_positions
        attended, image_weights = self.cross_attn_token_to_image(
            tokens + token_positions, placed_pixels, pixels, attention_similarity
        )
        tokens = self.layer_norm2(tokens + attended)

        tokens = self.layer_norm3(tokens + self.mlp(tokens))

        attended, token_weights = self.cross_attn_image_to_token(
            placed_pixels, tokens + token_positions, tokens, token_bias
        )
        return tokens, self.layer_norm4(pixels + attended), (self_weights, image_weights, token_weights)

    def forward_absorbed(
        self,
        tokens: torch.Tensor,
        pixels: torch.Tensor,
        token_positions: torch.Tensor,
        pixel_positions: torch.Tensor,
        token_bias: torch.Tensor | None,
        attention_similarity: torch.Tensor | None,
        image_side: ImageSide | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same as `forward`; the pixels may be those of M images, each of which serves N / M objects."""
        if self.skip_first_layer_pe:
            tokens = self.self_attn.fused(tokens, tokens, tokens, token_bias)
        else:
            placed = tokens + token_positions
            tokens = tokens + self.self_attn.fused(placed, placed, tokens, token_bias)
        tokens = self.layer_norm1(tokens)

        placed_pixels = pixels + pixel_positions if image_side is None else image_side.placed_pixels
        attended = self.cross_attn_token_to_image.tokens_to_pixels(
            tokens + token_positions,
            placed_pixels,
            pixels,
            attention_similarity,
            None if image_side is None else (image_side.keys, image_side.values),
        )
        tokens = self.layer_norm2(tokens + attended)
        tokens = self.layer_norm3(tokens + self.mlp(tokens))
        attended = self.cross_attn_image_to_token.pixels_to_tokens(
            placed_pixels,
            tokens + token_positions,
            tokens,
            token_bias,
            None if image_side is None else image_side.queries,
        )
        # (N, p, C) + (M, p, C): the pixels of an image are repeated for its objects here at the latest
        pixels = attended.unflatten(0, (pixels.shape[0], -1)) + pixels.unsqueeze(1)
        return tokens, self.layer_norm4(pixels.flatten(0, 1))


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
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
        """Let N objects' tokens and pixels attend to each other.

        Args:
            tokens: Output and prompt tokens (N, n, C).
            pixels: Image embeddings with the mask prompt added (M, h*w, C); each serves N / M consecutive objects.
            pixel_positions: Positional encoding (h*w, C) of the pixels.
            token_bias: (N, 1, 1, n), minus infinity for tokens that only pad.
            attention_similarity: Added to the blocks' scores of tokens and pixels; broadcasts to (N, heads, n, h*w).
            target_embedding: Added to the tokens before every block; broadcasts to (N, n, C).

        Returns:
            Tokens (N, n, C), pixels (N, h*w, C), and all attention weights in order.
        """
        pixels = pixels.repeat_interleave(tokens.shape[0] // pixels.shape[0], dim=0)
        if target_embedding is not None:
            # The first block's tokens are the tokens' positions too, and both get the target (as in PerSAM).
            tokens = tokens + target_embedding
        token_positions = tokens
        all_weights: list[torch.Tensor] = []
        for index, layer in enumerate(self.layers):
            if index and target_embedding is not None:
                tokens = tokens + target_embedding
            tokens, pixels, weights = layer(
                tokens, pixels, token_positions, pixel_positions, token_bias, attention_similarity
            )
            all_weights.extend(weights)
        attended, weights = self.final_attn_token_to_image(tokens + token_positions, pixels + pixel_positions, pixels)
        return self.layer_norm_final_attn(tokens + attended), pixels, (*all_weights, weights)

    def image_side(self, pixels: torch.Tensor, pixel_positions: torch.Tensor) -> ImageSide:
        """Prepare the first block for many prompts on M images.

        Args:
            pixels: Image embeddings (M, h*w, C).
            pixel_positions: Positional encoding (h*w, C).
        """
        placed_pixels, first = pixels + pixel_positions, cast(SamHQTwoWayAttentionBlock, self.layers[0])
        keys, values = first.cross_attn_token_to_image.project_pixels(placed_pixels, pixels)
        return ImageSide(placed_pixels, keys, values, first.cross_attn_image_to_token.project_queries(placed_pixels))

    def forward_absorbed(
        self,
        tokens: torch.Tensor,
        pixels: torch.Tensor,
        pixel_positions: torch.Tensor,
        token_bias: torch.Tensor | None = None,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
        image_side: ImageSide | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, None]:
        """The same as `forward` in the absorbed form, which keeps no weights; `image_side` saves repeated work."""
        if target_embedding is not None:
            tokens = tokens + target_embedding
        token_positions = tokens
        for index, layer in enumerate(self.layers):
            if index and target_embedding is not None:
                tokens = tokens + target_embedding
            tokens, pixels = cast(SamHQTwoWayAttentionBlock, layer).forward_absorbed(
                tokens,
                pixels,
                token_positions,
                pixel_positions,
                token_bias,
                attention_similarity,
                None if index else image_side,
            )
        attended = self.final_attn_token_to_image.tokens_to_pixels(
            tokens + token_positions, pixels + pixel_positions, pixels, None
        )
        return self.layer_norm_final_attn(tokens + attended), pixels, None
