"""The mask decoder with the HQ token and the global-local feature fusion.

Source: "Segment Anything in High Quality" (arXiv 2306.01567), §3.2; the authors' `mask_decoder_hq.py`.
Differs: with `multimask_output` all candidates are returned, best first; the authors return the best alone.
"""

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from ..configuration_sam_hq import SamHQMaskDecoderConfig
from .layers import LayerNorm2d, TokenMLP
from .two_way_transformer import SamHQTwoWayTransformer


@dataclass
class PromptedObjects:
    """N objects on M images, as the two-way transformer takes them; each image serves N / M consecutive objects.

    Attributes:
        tokens: Output tokens and prompt tokens (N, n, C).
        pixels: Image embeddings with the mask prompts added (M, h*w, C), or (N, h*w, C) with mask prompts.
        token_bias: (N, 1, 1, n), minus infinity for tokens that only pad, or None.
    """

    tokens: torch.Tensor
    pixels: torch.Tensor
    token_bias: torch.Tensor | None = None


@dataclass
class TokenReadings:
    """What the output tokens of N objects say, once they have seen the image: scores, and how masks are read off.

    Attributes:
        iou_scores: Predicted IoU (N, M) of SAM's masks.
        sam_kernels: Weights (N, M, C / 8) of the channels of each SAM mask.
        hq_kernel: Weights (N, C / 8) of the channels of the HQ mask.
    """

    iou_scores: torch.Tensor
    sam_kernels: torch.Tensor
    hq_kernel: torch.Tensor

    def wanted(self, multimask_output: bool) -> "TokenReadings":
        """The candidates for ambiguous prompts, best first, or the one mask meant for clear prompts."""
        if not multimask_output:
            return TokenReadings(self.iou_scores[:, :1], self.sam_kernels[:, :1], self.hq_kernel)
        scores, order = self.iou_scores[:, 1:].sort(dim=1, descending=True, stable=True)
        kernels = self.sam_kernels[:, 1:]
        return TokenReadings(scores, kernels.gather(1, order.unsqueeze(-1).expand_as(kernels)), self.hq_kernel)

    def of(self, objects: torch.Tensor, masks: int) -> "TokenReadings":
        """Those of some objects (K,), with the first `masks` masks of each."""
        return TokenReadings(
            self.iou_scores[objects, :masks], self.sam_kernels[objects, :masks], self.hq_kernel[objects]
        )


@dataclass
class DecodedMasks:
    """Masks of N objects.

    Attributes:
        iou_scores: Predicted IoU (N, M), best first.
        masks: Logits (N, M, 4h, 4w): SAM's and the HQ token's added, or (N, 1, 4h, 4w), the HQ token's alone.
        sam_masks: SAM's logits (N, M, 4h, 4w); None where the branches were not wanted.
        hq_masks: The HQ token's logits (N, 1, 4h, 4w); None likewise.
        attentions: The transformer's attention weights; None but for the eager implementation.
    """

    iou_scores: torch.Tensor
    masks: torch.Tensor
    sam_masks: torch.Tensor | None = None
    hq_masks: torch.Tensor | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class SamHQMaskDecoder(nn.Module):
    """Image embeddings and prompt embeddings to mask logits and scores."""

    def __init__(self, config: SamHQMaskDecoderConfig):
        super().__init__()
        self.config = config
        width, eps = config.hidden_size, config.layer_norm_eps
        self.num_mask_tokens = config.num_multimask_outputs + 1  # SAM's own; the HQ token is one more
        self.num_output_tokens = self.num_mask_tokens + 2

        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(self.num_mask_tokens, width)
        self.hq_token = nn.Embedding(1, width)
        self.transformer = SamHQTwoWayTransformer(config)

        self.upscale_conv1 = nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2)
        self.upscale_layer_norm = LayerNorm2d(width // 4, eps=eps)
        self.upscale_conv2 = nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2)

        self.output_hypernetworks_mlps = nn.ModuleList(
            TokenMLP(width, width, width // 8) for _ in range(self.num_mask_tokens)
        )
        self.hq_mask_mlp = TokenMLP(width, width, width // 8)
        self.iou_prediction_head = TokenMLP(
            width, config.iou_head_hidden_dim, self.num_mask_tokens, config.iou_head_depth
        )

        self.compress_vit_conv1 = nn.ConvTranspose2d(cast(int, config.vit_dim), width, kernel_size=2, stride=2)
        self.compress_vit_norm = LayerNorm2d(width, eps=eps)
        self.compress_vit_conv2 = nn.ConvTranspose2d(width, width // 8, kernel_size=2, stride=2)
        self.encoder_conv1 = nn.ConvTranspose2d(width, width // 4, kernel_size=2, stride=2)
        self.encoder_norm = LayerNorm2d(width // 4, eps=eps)
        self.encoder_conv2 = nn.ConvTranspose2d(width // 4, width // 8, kernel_size=2, stride=2)
        self.mask_conv1 = nn.Conv2d(width // 8, width // 4, kernel_size=3, padding=1)
        self.mask_norm = LayerNorm2d(width // 4, eps=eps)
        self.mask_conv2 = nn.Conv2d(width // 4, width // 8, kernel_size=3, padding=1)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the embeddings that it takes."""
        return self.hq_token.weight.dtype

    def forward(
        self,
        image_embeddings: torch.Tensor,
        pixel_positions: torch.Tensor,
        sparse_prompt_embeddings: torch.Tensor | None,
        dense_prompt_embeddings: torch.Tensor,
        token_mask: torch.Tensor | None,
        hq_features: torch.Tensor,
        multimask_output: bool = True,
        hq_token_only: bool = False,
        output_branches: bool = False,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
    ) -> DecodedMasks:
        """Predict the masks of P objects on each of B images.

        Args:
            image_embeddings: (B, C, h, w).
            pixel_positions: Positional encoding (h*w, C) of the grid.
            sparse_prompt_embeddings: Tokens (B, P, n, C) of points and boxes, or None.
            dense_prompt_embeddings: (B, P, C, h, w), or (1, 1, C, 1, 1) without mask prompts.
            token_mask: Which of those tokens are no padding (B, P, n), or None where all are.
            hq_features: (B, C / 8, 4h, 4w), from `hq_features`.
            multimask_output: Whether the candidates for ambiguous prompts are returned, best first, or the one mask
                meant for clear prompts.
            hq_token_only: Whether the masks are the HQ token's alone.
            output_branches: Whether SAM's own masks and the HQ token's are wanted too.
            attention_similarity: Added to the scores of tokens and pixels; broadcasts to (B*P, heads, n, h*w).
            target_embedding: Added to the tokens before every block; broadcasts to (B, P, n, C).

        Returns:
            The masks and the scores of B*P objects, those of an image one after another.
        """
        # Tokens: [IoU, SAM's masks, HQ, prompts]; pixels: the image, with the mask prompts added.
        objects = self.prompted_objects(image_embeddings, sparse_prompt_embeddings, dense_prompt_embeddings, token_mask)
        if target_embedding is not None:
            count = objects.tokens.shape[0] // image_embeddings.shape[0]
            target_embedding = target_embedding.expand(image_embeddings.shape[0], count, -1, -1).flatten(0, 1)
        tokens, pixels, attentions = self.transformer(
            objects.tokens,
            objects.pixels,
            pixel_positions,
            objects.token_bias,
            attention_similarity,
            target_embedding,
        )
        readings = self.read_tokens(tokens).wanted(multimask_output)
        sam_kernels = None if hq_token_only and not output_branches else readings.sam_kernels
        sam_masks, hq_masks = cast(
            tuple[torch.Tensor, torch.Tensor], self.render(pixels, sam_kernels, readings.hq_kernel, hq_features)
        )
        masks = hq_masks if hq_token_only else sam_masks + hq_masks
        return DecodedMasks(
            readings.iou_scores,
            masks,
            sam_masks if output_branches else None,
            hq_masks if output_branches else None,
            attentions,
        )

    def hq_features(self, image_embeddings: torch.Tensor, intermediate_embeddings: torch.Tensor) -> torch.Tensor:
        """Fuse the encoder's last and early features; the same for every prompt on an image.

        Args:
            image_embeddings: (B, C, h, w).
            intermediate_embeddings: Early features (B, h, w, vit_dim).

        Returns:
            HQ features (B, C / 8, 4h, 4w).
        """
        encoded = F.gelu(self.encoder_norm(self.encoder_conv1(image_embeddings)))
        early = F.gelu(self.compress_vit_norm(self.compress_vit_conv1(intermediate_embeddings.permute(0, 3, 1, 2))))
        return self.encoder_conv2(encoded) + self.compress_vit_conv2(early)

    def prompted_objects(
        self,
        image_embeddings: torch.Tensor,
        sparse_prompt_embeddings: torch.Tensor | None,
        dense_prompt_embeddings: torch.Tensor,
        token_mask: torch.Tensor | None,
    ) -> PromptedObjects:
        """Bring P objects on each of B images into the form that the transformer takes; arguments as in `forward`.

        Returns:
            The B*P objects, those of an image one after another.
        """
        batch_size = image_embeddings.shape[0]
        count = (
            dense_prompt_embeddings.shape[1] if sparse_prompt_embeddings is None else sparse_prompt_embeddings.shape[1]
        )
        # Through the embeddings' forward: that is what brings offloaded weights along.
        row = torch.zeros(1, dtype=torch.long, device=image_embeddings.device)
        mask_rows = torch.arange(self.num_mask_tokens, device=image_embeddings.device)
        output_tokens = torch.cat([self.iou_token(row), self.mask_tokens(mask_rows), self.hq_token(row)])
        tokens = output_tokens.expand(batch_size, count, -1, -1)
        token_bias = None
        if sparse_prompt_embeddings is not None:
            tokens = torch.cat([tokens, sparse_prompt_embeddings.to(tokens.dtype)], dim=2)
        if token_mask is not None:
            token_mask = F.pad(token_mask, (output_tokens.shape[0], 0), value=True).flatten(0, 1)[:, None, None]
            token_bias = torch.zeros(token_mask.shape, dtype=tokens.dtype, device=tokens.device)
            token_bias = token_bias.masked_fill(~token_mask, -torch.inf)
        pixels = image_embeddings.unsqueeze(1) + dense_prompt_embeddings.to(image_embeddings.dtype)
        return PromptedObjects(
            tokens.flatten(0, 1),
            pixels.flatten(0, 1).flatten(2).transpose(1, 2).contiguous(),  # (B, P, C, h, w) -> (B*P, h*w, C)
            token_bias,
        )

    def read_tokens(self, tokens: torch.Tensor) -> TokenReadings:
        """Read scores and the masks' kernels off the transformer's tokens (N, n, C).

        Returns:
            Those of all of SAM's mask tokens, the one for clear prompts first.
        """
        kernels = [mlp(tokens[:, 1 + index]) for index, mlp in enumerate(self.output_hypernetworks_mlps)]
        return TokenReadings(
            self.iou_prediction_head(tokens[:, 0]),
            torch.stack(kernels, dim=1),
            self.hq_mask_mlp(tokens[:, 1 + self.num_mask_tokens]),
        )

    def render(
        self,
        pixels: torch.Tensor,
        sam_kernels: torch.Tensor | None,
        hq_kernel: torch.Tensor | None,
        hq_features: torch.Tensor | None,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Make mask logits from the transformer's pixels.

        Args:
            pixels: (N, h*w, C).
            sam_kernels: Weights (N, M, C / 8) of each SAM mask's channels, or None for no SAM masks.
            hq_kernel: Weights (N, C / 8) of the HQ mask's channels, or None for no HQ masks.
            hq_features: (M, C / 8, 4h, 4w), each for N / M consecutive objects; None without HQ masks.

        Returns:
            SAM's logits (N, M, 4h, 4w) or None, and the HQ token's logits (N, 1, 4h, 4w) or None.
        """
        side = math.isqrt(pixels.shape[1])
        grid = pixels.transpose(1, 2).unflatten(2, (side, side))  # (N, h*w, C) -> (N, C, h, w)
        upscaled = F.gelu(self.upscale_layer_norm(self.upscale_conv1(grid)))
        upscaled = F.gelu(self.upscale_conv2(upscaled))
        sam_masks = hq_masks = None
        if sam_kernels is not None:
            sam_masks = torch.einsum("nmc,nchw->nmhw", sam_kernels, upscaled)
        if hq_kernel is not None and hq_features is not None:
            local = self.mask_conv2(F.gelu(self.mask_norm(self.mask_conv1(upscaled))))
            fused = local + hq_features.repeat_interleave(pixels.shape[0] // hq_features.shape[0], dim=0)
            hq_masks = torch.einsum("nc,nchw->nhw", hq_kernel, fused).unsqueeze(1)
        return sam_masks, hq_masks
