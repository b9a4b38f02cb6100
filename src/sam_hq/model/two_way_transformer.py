"""The two-way transformer: prompt tokens and image pixels attend to each other.

`forward` is the plain path. `forward_absorbed` gives the same by the forms of `decoder_attention.py` that never project
the pixels.

Source: "Segment Anything" (arXiv 2304.02643), appendix A.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from ..configuration_sam_hq import SamHQMaskDecoderConfig
from .decoder_attention import ObjectParts, SamHQAttention
from .layers import TransformerMLP

# The authors leave these norms at their library's default, unlike the 1e-6 of all other norms.
_LAYER_NORM_EPS = 1e-5


@dataclass
class FirstBlock:
    """What the first block makes of N objects on M images before it changes the pixels.

    Attributes:
        tokens: The tokens after they attended to the image, and after their MLP (N, n, C).
        placed_pixels: Pixels with their positions (M, p, C).
        queries: Of the image's attention to the tokens (M, heads, p, d).
    """

    tokens: torch.Tensor
    placed_pixels: torch.Tensor
    queries: torch.Tensor

    def of(self, objects: slice, image: int) -> "FirstBlock":
        """The part of some objects of one image."""
        one = slice(image, image + 1)
        return FirstBlock(self.tokens[objects], self.placed_pixels[one], self.queries[one])


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

    def attend_to_tokens(
        self, tokens: torch.Tensor, token_positions: torch.Tensor, token_bias: torch.Tensor | None
    ) -> torch.Tensor:
        """The tokens' self attention, as in `forward`."""
        if self.skip_first_layer_pe:
            return self.layer_norm1(self.self_attn.fused(tokens, tokens, tokens, token_bias))
        placed = tokens + token_positions
        return self.layer_norm1(tokens + self.self_attn.fused(placed, placed, tokens, token_bias))

    def add_attended(self, tokens: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """The tokens with what they attended to in the image, through the MLP."""
        tokens = self.layer_norm2(tokens + attended)
        return self.layer_norm3(tokens + self.mlp(tokens))


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

    def begin(
        self,
        tokens: torch.Tensor,
        pixels: torch.Tensor,
        pixel_positions: torch.Tensor,
        token_bias: torch.Tensor | None = None,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
    ) -> FirstBlock:
        """Do for many objects on M images at once what the first block does before it changes the pixels.

        Args:
            tokens: As in `forward`.
            pixels: Image embeddings (M, h*w, C), before any prompt has changed them.
            pixel_positions: As in `forward`.
            token_bias: As in `forward`.
            attention_similarity: As in `forward`.
            target_embedding: As in `forward`.
        """
        first = cast(SamHQTwoWayAttentionBlock, self.layers[0])
        if target_embedding is not None:
            tokens = tokens + target_embedding
        placed_pixels, token_positions = pixels + pixel_positions, tokens
        tokens = first.attend_to_tokens(tokens, token_positions, token_bias)
        attention = first.cross_attn_token_to_image
        keys, values = attention.project_pixels(placed_pixels, pixels)
        attended = attention.tokens_to_projected(tokens + token_positions, keys, values, attention_similarity)
        queries = first.cross_attn_image_to_token.project_queries(placed_pixels)
        return FirstBlock(first.add_attended(tokens, attended), placed_pixels, queries)

    def forward_absorbed(
        self,
        tokens: torch.Tensor,
        pixels: torch.Tensor,
        pixel_positions: torch.Tensor,
        token_bias: torch.Tensor | None = None,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
        begun: FirstBlock | None = None,
        objects_at_once: int | None = None,
        output_tokens: int | None = None,
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The same as `forward` in the absorbed form, which keeps no weights.

        The tokens of all objects go together. The pixels, thousands for each object, go in parts that fit the cache.

        Args:
            tokens: As in `forward`, and so are the others down to `target_embedding`.
            pixels: As in `forward`; those of one image, or of every object, where `objects_at_once` is given.
            pixel_positions: (h*w, C).
            token_bias: (N, 1, 1, n).
            attention_similarity: Broadcasts to (N, heads, n, h*w).
            target_embedding: Broadcasts to (N, n, C).
            begun: From `begin`, with these tokens.
            objects_at_once: Objects in a part of the pixels; None for one part.
            output_tokens: How many of the tokens, from the first, are wanted; None for all.

        Returns:
            Tokens (N, output_tokens, C), and the pixels in parts that together are (N, h*w, C).
        """
        if target_embedding is not None:
            tokens = tokens + target_embedding
        token_positions = tokens
        parts = ObjectParts(tokens.shape[0], objects_at_once)
        maps = parts.of(pixels)
        placed = [part + pixel_positions for part in maps] if begun is None else [begun.placed_pixels] * len(maps)
        for index, module in enumerate(self.layers):
            layer, queries = cast(SamHQTwoWayAttentionBlock, module), None
            if not index and begun is not None:
                tokens, queries = begun.tokens, begun.queries
            else:
                if index and target_embedding is not None:
                    tokens = tokens + target_embedding
                tokens = layer.attend_to_tokens(tokens, token_positions, token_bias)
                attended = layer.cross_attn_token_to_image.tokens_to_pixels(
                    parts, tokens + token_positions, placed, maps, attention_similarity
                )
                tokens = layer.add_attended(tokens, attended)
            updated = layer.cross_attn_image_to_token.add_tokens_to_pixels(
                parts, maps, placed, tokens + token_positions, tokens, token_bias, queries
            )
            maps = [layer.layer_norm4(part) for part in updated]
            placed = [part + pixel_positions for part in maps]
        tokens, token_positions = tokens[:, :output_tokens], token_positions[:, :output_tokens]
        attended = self.final_attn_token_to_image.tokens_to_pixels(parts, tokens + token_positions, placed, maps, None)
        return self.layer_norm_final_attn(tokens + attended), maps
