"""The ViT encoder of SAM: windowed blocks, a few global ones, decomposed relative positions.

Source: "Segment Anything" (arXiv 2304.02643), appendix A; "Exploring Plain Vision Transformer Backbones for Object
Detection" (arXiv 2203.16527). SAM-HQ also reads the features after the first global block.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration_sam_hq import SamHQVisionConfig
from .layers import EncoderNeck, TransformerMLP, merge_windows, split_windows
from .outputs import SamHQVisionEncoderOutput

# Up to this many scores, heads included, a bias is cheap enough for one fused call over all windows.
WINDOW_SCORES = 2**20


class SamHQPatchEmbeddings(nn.Module):
    """Pixels to patch embeddings."""

    def __init__(self, config: SamHQVisionConfig):
        super().__init__()
        self.projection = nn.Conv2d(
            config.num_channels, config.hidden_size, kernel_size=config.patch_size, stride=config.patch_size
        )

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) to (B, h, w, hidden_size), in the weights' dtype."""
        return self.projection(pixel_values.to(self.projection.weight.dtype)).permute(0, 2, 3, 1).contiguous()


class SamHQVisionAttention(nn.Module):
    """Multi-head self attention with decomposed relative positions.

    The score of query (y, x) and key (v, u) gets `query . rel_pos_h[y - v] + query . rel_pos_w[x - u]`.
    """

    def __init__(self, config: SamHQVisionConfig, grid_size: int):
        super().__init__()
        self.config = config
        self.grid_size = grid_size
        self.num_attention_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scale = self.head_dim**-0.5
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size, bias=config.qkv_bias)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)
        if config.use_rel_pos:
            self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid_size - 1, self.head_dim))
            self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid_size - 1, self.head_dim))

    def forward(
        self, hidden_states: torch.Tensor, output_attentions: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend within each map of a batch.

        Args:
            hidden_states: Features (N, n, n, C) of N windows or images.
            output_attentions: Whether the weights are returned; needs the eager implementation.

        Returns:
            Features (N, n, n, C), and the weights (N, heads, n*n, n*n) or None.
        """
        attended, weights = self.attend(self.qkv(hidden_states))
        return self.proj(attended), weights if output_attentions else None

    def attend(self, projected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attended values (N, n, n, C) from what `qkv` gives, and the weights of the eager implementation."""
        query, key, value = self.heads(projected)
        weights = None
        if self.config._attn_implementation == "eager":
            attended, weights = self.attend_plainly(query, key, value)
        else:
            attended = self._attend_fused(query, key, value)
        # (N, heads, n*n, d) -> (N, n, n, C)
        return attended.transpose(1, 2).flatten(2).unflatten(1, projected.shape[1:3]), weights

    def heads(self, projected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries, keys and values (N, heads, n*n, d) from what `qkv` gives (N, n, n, 3 * C)."""
        of_heads = projected.flatten(1, 2).unflatten(-1, (3, self.num_attention_heads, self.head_dim))
        query, key, value = of_heads.permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value

    def position_scores(self, query: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of each query with each key row and with each key column: (N, heads, n*n, n) both."""
        count, heads, tokens, head_dim = query.shape
        size = self.grid_size
        position = torch.arange(size, device=query.device)
        offsets = position[:, None] - position[None, :] + size - 1
        query = query.reshape(count * heads, size, size, head_dim)
        by_row = torch.einsum("byxd,yvd->byxv", query, self.rel_pos_h[offsets])
        by_column = torch.einsum("byxd,xud->byxu", query, self.rel_pos_w[offsets])
        return by_row.reshape(count, heads, tokens, size), by_column.reshape(count, heads, tokens, size)

    def attend_plainly(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        position_scores: Sequence[torch.Tensor] = (),
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attended values (N, heads, n*n, d) and the weights, by the definition, for any of the heads.

        `position_scores` are those of the query where a caller has them already.
        """
        scores = (query * self.scale) @ key.transpose(-2, -1)
        if self.config.use_rel_pos:
            by_row, by_column = position_scores or self.position_scores(query)
            # (N, heads, n*n, n*n) -> (N, heads, n*n, n, n); in place, so that no bias of that size is made
            scores = scores.unflatten(-1, (self.grid_size, self.grid_size))
            scores = scores.add_(by_row.unsqueeze(-1)).add_(by_column.unsqueeze(-2)).flatten(-2)
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
        return F.dropout(weights, self.config.attention_dropout, self.training) @ value, weights

    def _attend_fused(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Attended values (N, heads, n*n, d) by the fused kernels, which keep no weights."""
        dropout = self.config.attention_dropout if self.training else 0.0
        if not self.config.use_rel_pos:
            return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        by_row, by_column = self.position_scores(query)
        tokens = query.shape[2]
        if tokens * tokens * self.num_attention_heads <= WINDOW_SCORES:
            # A window: its bias is small, and one fused call over all windows is fastest.
            bias = (by_row.unsqueeze(-1) + by_column.unsqueeze(-2)).flatten(-2)
            return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        return self._attend_extended(query, key, value, by_row, by_column, dropout)

    def _attend_extended(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        by_row: torch.Tensor,
        by_column: torch.Tensor,
        dropout: float,
    ) -> torch.Tensor:
        """The position scores as further channels of queries and keys, so that a fused kernel needs no bias.

        A key holds 1 in the channel of its row and 1 in the channel of its column: the dot product then adds
        `by_row[v] + by_column[u]`.
        """
        count, heads, tokens, head_dim = query.shape
        size = self.grid_size
        place = torch.arange(tokens, device=query.device)
        channel = torch.arange(size, device=query.device)
        row_and_column = torch.cat([place[:, None] // size == channel, place[:, None] % size == channel], dim=1)
        row_and_column = row_and_column.to(query.dtype).expand(count, heads, tokens, 2 * size)
        query = torch.cat([query * self.scale, by_row, by_column], dim=-1)
        key = torch.cat([key, row_and_column], dim=-1)
        # Fused kernels want values as wide as queries.
        value = F.pad(value, (0, 2 * size))
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout, scale=1.0)
        return attended[..., :head_dim]


class SamHQVisionLayer(GradientCheckpointingLayer):
    """A transformer block over windows, or over the whole image where `window_size` is 0."""

    def __init__(self, config: SamHQVisionConfig, window_size: int):
        super().__init__()
        self.window_size = window_size
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attn = SamHQVisionAttention(config, window_size or config.image_embedding_size)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = TransformerMLP(config.hidden_size, cast(int, config.mlp_dim), config.hidden_act)

    def forward(
        self, hidden_states: torch.Tensor, output_attentions: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map (B, h, w, C) to (B, h, w, C), and the attention weights or None."""
        _, height, width, _ = hidden_states.shape
        attended = self.layer_norm1(hidden_states)
        if self.window_size:
            # Windows are padded after the norm: padded keys are zeros, and they are attended to.
            windows, weights = self.attn(split_windows(attended, self.window_size), output_attentions)
            attended = merge_windows(windows, height, width)
        else:
            attended, weights = self.attn(attended, output_attentions)
        hidden_states = hidden_states + attended
        return hidden_states + self.mlp(self.layer_norm2(hidden_states)), weights


class SamHQVisionEncoder(nn.Module):
    """The ViT encoder: `pixel_values` to image embeddings and intermediate embeddings."""

    def __init__(self, config: SamHQVisionConfig):
        super().__init__()
        self.config = config
        grid = config.image_embedding_size
        self.patch_embed = SamHQPatchEmbeddings(config)
        self.pos_embed = nn.Parameter(torch.zeros(1, grid, grid, config.hidden_size)) if config.use_abs_pos else None
        self.layers = nn.ModuleList(
            SamHQVisionLayer(config, 0 if index in config.global_attn_indexes else config.window_size)
            for index in range(config.num_hidden_layers)
        )
        self.neck = EncoderNeck(config.hidden_size, config.output_channels, config.layer_norm_eps)

    def forward(
        self,
        pixel_values: torch.Tensor,
        output_hidden_states: bool = False,
        output_attentions: bool = False,
        return_dict: bool = True,
    ) -> SamHQVisionEncoderOutput:
        """Encode images.

        Args:
            pixel_values: Normalised, padded images (B, 3, image_size, image_size).
            output_hidden_states: Whether the features around every block are returned.
            output_attentions: Whether the attention weights are returned.
            return_dict: Whether the outputs are named, or a tuple.

        Returns:
            Image embeddings, and the features (B, h, w, C) after every global block.
        """
        hidden_states = self.patch_embed(pixel_values)
        if self.pos_embed is not None:
            hidden_states = hidden_states + self.pos_embed
        intermediate_embeddings, all_hidden_states, attentions = [], [hidden_states], []
        for layer in self.layers:
            hidden_states, weights = layer(hidden_states, output_attentions)
            if not layer.window_size:
                intermediate_embeddings.append(hidden_states)
            if output_hidden_states:
                all_hidden_states.append(hidden_states)
            if output_attentions:
                attentions.append(weights)
        outputs = SamHQVisionEncoderOutput(
            last_hidden_state=self.neck(hidden_states),
            intermediate_embeddings=intermediate_embeddings,
            hidden_states=tuple(all_hidden_states) if output_hidden_states else None,
            attentions=tuple(attentions) if output_attentions else None,
        )
        return outputs if return_dict else cast(Any, outputs.to_tuple())
