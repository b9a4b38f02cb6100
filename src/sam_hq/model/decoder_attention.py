"""The attention of the two-way transformer, between a few tokens and thousands of pixels.

Each attention has two forms with the same result. The plain form projects both sides and lets every head compare them.
The absorbed form never projects the pixels: with n tokens and thousands of pixels, a head's scores
`(W_q t) . (W_k p)` are `(W_k^T W_q t) . p`, and its values `sum_p a_p W_v p` are `W_v sum_p a_p p`, so that the
projections act on n rows instead of thousands. A constant added to all scores of a softmax drops out, and with it the
bias of the keys. Where tokens are so many, or heads so wide, that this would be more work, the fast path projects too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..configuration_sam_hq import SamHQMaskDecoderConfig


@dataclass(frozen=True)
class ObjectParts:
    """How N objects are cut up where their pixels, unlike their tokens, are too many to go together.

    Attributes:
        count: N.
        at_once: Objects in a part; None for all in one.
    """

    count: int
    at_once: int | None = None

    @property
    def size(self) -> int:
        """Objects in the first part."""
        return self.count if self.at_once is None else min(self.at_once, self.count)

    def of(self, whole: torch.Tensor | None) -> list:
        """The parts of a tensor (N, ...); one that all objects share, or None, is in every part as it is."""
        if self.at_once is None:
            return [whole]
        starts = range(0, self.count, self.at_once)
        if whole is None or whole.shape[0] != self.count:
            return [whole] * len(starts)
        return [whole[start : start + self.at_once] for start in starts]


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
        parts: ObjectParts,
        tokens: torch.Tensor,
        placed_pixels: Sequence[torch.Tensor],
        pixels: Sequence[torch.Tensor],
        bias: torch.Tensor | None,
    ) -> torch.Tensor:
        """Tokens attend to pixels, absorbed.

        Args:
            parts: The parts in which the pixels come.
            tokens: Queries (N, n, C).
            placed_pixels: Keys (M, p, C) of each part; each map serves as many consecutive objects of the part.
            pixels: Values (M, p, C) of each part.
            bias: Added to the scores; broadcasts to (N, heads, n, p).

        Returns:
            Attended values (N, n, C).
        """
        length, width = tokens.shape[1:]
        heads, maps = self.num_attention_heads, pixels[0].shape[0]
        if not self._absorbs(parts.size // maps * length):
            attended = [
                self.tokens_to_projected(part, *self.project_pixels(placed, values), part_bias)
                for part, placed, values, part_bias in zip(
                    parts.of(tokens), placed_pixels, pixels, parts.of(bias), strict=True
                )
            ]
            return torch.cat(attended)
        query = self.q_proj(tokens).unflatten(-1, (heads, -1)) * self.scaling
        absorbed = torch.einsum("nthd,hdc->nhtc", query, self.k_proj.weight.unflatten(0, (heads, -1)))
        constant = None
        if torch.is_grad_enabled():
            # The keys' bias drops out of the softmax, but distributed training wants every parameter to take part.
            constant = torch.einsum("nthd,hd->nht", query, self.k_proj.bias.unflatten(0, (heads, -1))).unsqueeze(-1)
        attended = []
        for part, placed, values, *added in zip(
            parts.of(absorbed), placed_pixels, pixels, parts.of(constant), parts.of(bias), strict=True
        ):
            scores = part.reshape(placed.shape[0], -1, width) @ placed.transpose(1, 2)  # (M, N/M * heads * n, p)
            for one in added:
                if one is not None:
                    scores = (scores.view(*part.shape[:3], -1) + one).view_as(scores)
            attended.append((scores.softmax(dim=-1) @ values).view_as(part))
        value = torch.einsum("nhtc,hdc->nthd", torch.cat(attended), self.v_proj.weight.unflatten(0, (heads, -1)))
        return self.out_proj(value.flatten(2) + self.v_proj.bias)

    def tokens_to_projected(
        self, tokens: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Tokens (N, n, C) attend to the keys and values (M, heads, p, d) of `project_pixels`: (N, n, C)."""
        count, length, width = tokens.shape
        maps = keys.shape[0]
        if bias is not None:  # (N, heads, n, p) -> (M, heads, N/M * n, p)
            bias = bias.expand(count, self.num_attention_heads, length, -1)
            bias = bias.unflatten(0, (maps, -1)).transpose(1, 2).flatten(2, 3)
        # All tokens of a map are queries of one attention, since they do not see each other.
        query = self._heads(self.q_proj(tokens.reshape(maps, -1, width)))
        attended = F.scaled_dot_product_attention(query, keys, values, attn_mask=bias)
        return self.out_proj(attended.transpose(1, 2).flatten(2)).view_as(tokens)

    def project_pixels(self, placed_pixels: torch.Tensor, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values (M, heads, p, d) that `tokens_to_projected` takes, of pixels (M, p, C)."""
        return self._heads(self.k_proj(placed_pixels)), self._heads(self.v_proj(pixels))

    def add_tokens_to_pixels(
        self,
        parts: ObjectParts,
        pixels: Sequence[torch.Tensor],
        placed_pixels: Sequence[torch.Tensor],
        keys: torch.Tensor,
        values: torch.Tensor,
        bias: torch.Tensor | None,
        queries: torch.Tensor | None = None,
    ) -> Iterator[torch.Tensor]:
        """Pixels attend to tokens, absorbed, and what they attend to is added to them.

        Args:
            parts: The parts in which the pixels come.
            pixels: What is added to (M, p, C), of each part; each map serves as many consecutive objects of the part.
            placed_pixels: Queries (M, p, C) of each part.
            keys: (N, n, C).
            values: (N, n, C).
            bias: Added to the scores; broadcasts to (N, heads, 1, n).
            queries: The queries of every part, projected already: (M, heads, p, d).

        Yields:
            Pixels of every object, part by part.
        """
        length, heads, maps = keys.shape[1], self.num_attention_heads, pixels[0].shape[0]
        project = queries is not None or not self._absorbs(parts.size // maps * length)
        key = self.k_proj(keys).unflatten(-1, (heads, -1)) * self.scaling
        constant = None if bias is None else bias.transpose(2, 3)  # (N, 1, n, 1)
        if not project:
            # The queries' bias meets every key, so unlike the keys' it does not drop out of the softmax.
            met = torch.einsum("nthd,hd->nht", key, self.q_proj.bias.unflatten(0, (heads, -1))).unsqueeze(-1)
            constant = met if constant is None else met + constant
            key = torch.einsum("nthd,hdc->nhtc", key, self.q_proj.weight.unflatten(0, (heads, -1)))
        value = self.v_proj(values).unflatten(-1, (heads, -1))
        value = torch.einsum("nthd,chd->nhtc", value, self.out_proj.weight.unflatten(1, (heads, -1))).flatten(1, 2)
        # Every head's weights sum to one, so that its values can carry its share of the output's bias.
        value = value + self.out_proj.bias / heads
        for part, placed, part_key, part_value, part_constant in zip(
            pixels, placed_pixels, parts.of(key), parts.of(value), parts.of(constant), strict=True
        ):
            if project:
                projected = self.project_queries(placed) if queries is None else queries
                scores = self._projected_scores(part_key, projected)
                if part_constant is not None:
                    scores = scores + part_constant
            else:
                by_map = part_key.reshape(part.shape[0], -1, part_key.shape[-1])
                scores = torch.baddbmm(part_constant.reshape(part.shape[0], -1, 1), by_map, placed.transpose(1, 2))
                scores = scores.view(*part_key.shape[:3], -1)
            weights = scores.softmax(dim=2).flatten(1, 2)  # (N, heads * n, p)
            # (M, p, C) -> (N, p, C), a view where every object has its own map
            repeated = part.unsqueeze(1).expand(-1, part_key.shape[0] // part.shape[0], -1, -1).flatten(0, 1)
            yield torch.baddbmm(repeated, weights.transpose(1, 2), part_value)

    def _projected_scores(self, key: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        """Scores (N, heads, n, p) of keys (N, n, heads, d) and projected queries (M, heads, p, d)."""
        maps, length = queries.shape[0], key.shape[1]
        by_map = key.unflatten(0, (maps, -1)).permute(0, 3, 1, 2, 4).flatten(2, 3)  # (M, heads, N/M * n, d)
        scores = by_map @ queries.transpose(2, 3)
        return scores.unflatten(2, (-1, length)).transpose(1, 2).flatten(0, 1)

    def project_queries(self, placed_pixels: torch.Tensor) -> torch.Tensor:
        """The queries (M, heads, p, d) that `add_tokens_to_pixels` makes of pixels (M, p, C)."""
        return self._heads(self.q_proj(placed_pixels))

    def _heads(self, projected: torch.Tensor) -> torch.Tensor:
        # (N, n, heads * d) -> (N, heads, n, d)
        return projected.unflatten(-1, (self.num_attention_heads, self.head_dim)).transpose(1, 2)
