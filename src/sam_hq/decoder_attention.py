"""The attention of the two-way transformer, between a few tokens and thousands of pixels.

Each attention has two forms with the same result. The plain form projects both sides and lets every head compare them.
The absorbed form never projects the pixels: with n tokens and thousands of pixels, a head's scores
`(W_q t) . (W_k p)` are `(W_k^T W_q t) . p`, and its values `sum_p a_p W_v p` are `W_v sum_p a_p p`, so that the
projections act on n rows instead of thousands. A constant added to all scores of a softmax drops out, and with it the
bias of the keys. Where tokens are so many, or heads so wide, that this would be more work, the fast path projects too.
"""

import torch
import torch.nn.functional as F
from torch import nn

from .configuration_sam_hq import SamHQMaskDecoderConfig


class SamHQAttention(nn.Module):
    """Multi-head attention at a width that may be lower than the tokens'."""

    def __init__(self, config: SamHQMaskDecoderConfig, downsample_rate: int = 1):
        super().__init__()
        self.hidden_size = config.hidden_size
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
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attend in the plain form.

        Args:
            query: (N, q, C).
            key: (N, k, C).
            value: (N, k, C).
            bias: Added to the scores; broadcasts to (N, heads, q, k).

        Returns:
            Attended values (N, q, C), and the weights (N, heads, q, k).
        """
        query, key, value = (
            self._heads(project(part))
            for project, part in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        scores = query @ key.transpose(-2, -1) * self.scaling
        if bias is not None:
            scores = scores + bias
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
        return self.out_proj((weights @ value).transpose(1, 2).flatten(2)), weights

    def fused(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """The same as `forward` by the fused kernel, which keeps no weights."""
        query, key, value = (
            self._heads(project(part))
            for project, part in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        return self.out_proj(attended.transpose(1, 2).flatten(2))

    def _absorbs(self, tokens_per_map: int) -> bool:
        """Whether the absorbed form is less work: heads x C per token and pixel, rather than C x d once per pixel."""
        if torch.compiler.is_compiling():
            return True  # the number of tokens may be symbolic, and the graph must not depend on it
        heads, width = self.num_attention_heads, self.hidden_size
        internal_dim = heads * self.head_dim
        return tokens_per_map * (heads * width - internal_dim) < internal_dim * width

    def tokens_to_pixels(
        self,
        tokens: torch.Tensor,
        placed_pixels: torch.Tensor,
        pixels: torch.Tensor,
        bias: torch.Tensor | None,
        projected: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Tokens attend to pixels, absorbed.

        Args:
            tokens: Queries (N, n, C).
            placed_pixels: Keys (M, p, C); each map serves N / M consecutive objects.
            pixels: Values (M, p, C).
            bias: Added to the scores; broadcasts to (N, heads, n, p).
            projected: The keys and values, projected already: (M, heads, p, d) each.

        Returns:
            Attended values (N, n, C).
        """
        count, length, width = tokens.shape
        heads, maps = self.num_attention_heads, pixels.shape[0]
        if projected is None and not self._absorbs(count // maps * length):
            projected = self.project_pixels(placed_pixels, pixels)
        if projected is not None:
            if bias is not None:  # (N, heads, n, p) -> (M, heads, N/M * n, p)
                bias = bias.expand(count, heads, length, -1).unflatten(0, (maps, -1)).transpose(1, 2).flatten(2, 3)
            # All tokens of a map are queries of one attention, since they do not see each other.
            query = self._heads(self.q_proj(tokens.reshape(maps, -1, width)))
            attended = F.scaled_dot_product_attention(query, *projected, attn_mask=bias)
            return self.out_proj(attended.transpose(1, 2).flatten(2)).view_as(tokens)
        query = self.q_proj(tokens).unflatten(-1, (heads, -1)) * self.scaling
        absorbed = torch.einsum("nthd,hdc->nhtc", query, self.k_proj.weight.unflatten(0, (heads, -1)))
        scores = absorbed.reshape(maps, -1, width) @ placed_pixels.transpose(1, 2)  # (M, N/M * heads * n, p)
        if torch.is_grad_enabled():
            # The keys' bias drops out of the softmax, but distributed training wants every parameter to take part.
            constant = torch.einsum("nthd,hd->nht", query, self.k_proj.bias.unflatten(0, (heads, -1)))
            scores = scores + constant.reshape(maps, -1, 1)
        if bias is not None:
            scores = (scores.view(count, heads, length, -1) + bias).view_as(scores)
        attended = (scores.softmax(dim=-1) @ pixels).view(count, heads, length, width)
        value = torch.einsum("nhtc,hdc->nthd", attended, self.v_proj.weight.unflatten(0, (heads, -1)))
        return self.out_proj(value.flatten(2) + self.v_proj.bias)

    def project_pixels(self, placed_pixels: torch.Tensor, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values (M, heads, p, d) that `tokens_to_pixels` makes of pixels (M, p, C)."""
        return self._heads(self.k_proj(placed_pixels)), self._heads(self.v_proj(pixels))

    def pixels_to_tokens(
        self,
        placed_pixels: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        bias: torch.Tensor | None,
        projected: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Pixels attend to tokens, absorbed.

        Args:
            placed_pixels: Queries (M, p, C); each map serves N / M consecutive objects.
            keys: (N, n, C).
            values: (N, n, C).
            bias: Added to the scores; broadcasts to (N, heads, 1, n).
            projected: The queries, projected already: (M, heads, p, d).

        Returns:
            Attended values (N, p, C).
        """
        count, length, width = keys.shape
        heads, maps = self.num_attention_heads, placed_pixels.shape[0]
        if projected is None and not self._absorbs(count // maps * length):
            projected = self.project_queries(placed_pixels)
        key = self.k_proj(keys).unflatten(-1, (heads, -1)) * self.scaling
        if projected is not None:
            by_map = key.unflatten(0, (maps, -1)).permute(0, 3, 1, 2, 4).flatten(2, 3)  # (M, heads, N/M * n, d)
            scores = (by_map @ projected.transpose(2, 3)).unflatten(2, (-1, length)).transpose(1, 2).flatten(0, 1)
        else:
            # The queries' bias meets every key, so unlike the keys' it does not drop out of the softmax.
            constant = torch.einsum("nthd,hd->nht", key, self.q_proj.bias.unflatten(0, (heads, -1)))
            key = torch.einsum("nthd,hdc->nhtc", key, self.q_proj.weight.unflatten(0, (heads, -1)))
            scores = (key.reshape(maps, -1, width) @ placed_pixels.transpose(1, 2)).view(count, heads, length, -1)
            scores = scores + constant.unsqueeze(-1)
        if bias is not None:
            scores = scores + bias.transpose(2, 3)
        weights = scores.softmax(dim=2).flatten(1, 2)  # (N, heads * n, p)
        value = self.v_proj(values).unflatten(-1, (heads, -1))
        value = torch.einsum("nthd,chd->nhtc", value, self.out_proj.weight.unflatten(1, (heads, -1))).flatten(1, 2)
        return weights.transpose(1, 2) @ value + self.out_proj.bias

    def project_queries(self, placed_pixels: torch.Tensor) -> torch.Tensor:
        """The queries (M, heads, p, d) that `pixels_to_tokens` makes of pixels (M, p, C)."""
        return self._heads(self.q_proj(placed_pixels))

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        # (N, n, heads * d) -> (N, heads, n, d)
        return projected.unflatten(-1, (self.num_attention_heads, self.head_dim)).transpose(1, 2)
