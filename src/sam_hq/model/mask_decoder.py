"""The mask decoder with the HQ token and the global-local feature fusion.

Source: "Segment Anything in High Quality" (arXiv 2306.01567), §3.2; the authors' `mask_decoder_hq.py`.
Differs: with `multimask_output` all candidates are returned, best first; the authors return the best alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import nn

from ..configuration_sam_hq import SamHQMaskDecoderConfig
from .decoder_attention import ObjectParts, SamHQAttention
from .layers import LayerNorm2d, TokenMLP
from .mask_rendering import mask_strips, render_masks, render_masks_fast
from .two_way_transformer import FirstBlock, SamHQTwoWayTransformer
from .worker_threads import in_threads

# Objects whose pixels go together on a CPU are as many as have this many floats, so that they stay in the cache: one at
# full size (4 MB), whose strips of rows are contiguous besides.
_PIXEL_FLOATS_AT_ONCE = 2**20
# Such parts in a group, for the sake of the tokens: the weights that meet them are as large as an object's pixels.
_PARTS_AT_ONCE = 2
# And in a run of groups whose tokens go through the first block together, before anything has changed the pixels.
_BEGUN_AT_ONCE = 32

_Decoded = TypeVar("_Decoded")


@dataclass
class PromptedObjects:
    """N objects on M images, ready to be decoded; each image serves N / M consecutive objects.

    Attributes:
        tokens: Output tokens and prompt tokens (N, n, C).
        pixels: Image embeddings with the mask prompts added (M, h*w, C), or (N, h*w, C) with mask prompts.
        hq_features: (M, C / 8, 4h, 4w).
        token_bias: (N, 1, 1, n), minus infinity for tokens that only pad, or None.
        attention_similarity: Broadcasts to (N, heads, n, h*w), or None.
        target_embedding: Broadcasts to (N, n, C), or None.
        begun: What the transformer's first block makes of all objects together, where it is worth doing first.
    """

    tokens: torch.Tensor
    pixels: torch.Tensor
    hq_features: torch.Tensor
    token_bias: torch.Tensor | None = None
    attention_similarity: torch.Tensor | None = None
    target_embedding: torch.Tensor | None = None
    begun: FirstBlock | None = None

    def groups(self, size: int) -> Iterator["PromptedObjects"]:
        """Cut into groups of at most `size` objects of one image."""
        count, images = self.tokens.shape[0], self.hq_features.shape[0]
        per_image = count // images
        for image in range(images):
            for start in range(image * per_image, (image + 1) * per_image, size):
                chosen = slice(start, min(start + size, (image + 1) * per_image))
                pixels = slice(image, image + 1) if self.pixels.shape[0] == images else chosen
                yield PromptedObjects(
                    self.tokens[chosen],
                    self.pixels[pixels],
                    self.hq_features[image : image + 1],
                    _chosen(self.token_bias, chosen, count),
                    _chosen(self.attention_similarity, chosen, count),
                    _chosen(self.target_embedding, chosen, count),
                    None if self.begun is None else self.begun.of(chosen, image),
                )


@dataclass
class DecodedObjects:
    """What the two-way transformer says of N objects: all that their masks are rendered from.

    Attributes:
        iou_scores: Predicted IoU (N, M), best first.
        sam_kernels: Weights (N, M, C / 8) of the channels of each SAM mask.
        hq_kernel: Weights (N, C / 8) of the channels of the HQ mask.
        pixels: Image output (N, h*w, C).
        hq_features: (M, C / 8, 4h, 4w); each image serves N / M consecutive objects.
        fast: Whether the fast path is taken.
        attentions: Attention weights, or None.
    """

    iou_scores: torch.Tensor
    sam_kernels: torch.Tensor
    hq_kernel: torch.Tensor
    pixels: torch.Tensor
    hq_features: torch.Tensor
    fast: bool
    attentions: tuple[torch.Tensor, ...] | None = None

    def select(self, kept: torch.Tensor, candidates: int) -> "DecodedObjects":
        """The objects `kept` (K,) of a single image, with their best `candidates` masks."""
        return DecodedObjects(
            self.iou_scores[kept, :candidates],
            self.sam_kernels[kept, :candidates],
            self.hq_kernel[kept],
            self.pixels if len(kept) == len(self.pixels) else self.pixels[kept],
            self.hq_features,
            self.fast,
        )


@dataclass
class DecodedMasks:
    """Masks of N objects.

    Attributes:
        iou_scores: Predicted IoU (N, M), best first.
        sam_masks: SAM's logits (N, M, 4h, 4w), or None where they were not wanted.
        hq_masks: The HQ token's logits (N, 1, 4h, 4w).
        attentions: The transformer's attention weights, or None.
    """

    iou_scores: torch.Tensor
    sam_masks: torch.Tensor | None
    hq_masks: torch.Tensor
    attentions: tuple[torch.Tensor, ...] | None = None


class SamHQMaskDecoder(nn.Module):
    """Image embeddings and prompt embeddings to mask logits and scores."""

    def __init__(self, config: SamHQMaskDecoderConfig):
        super().__init__()
        self.config = config
        width, eps = config.hidden_size, config.layer_norm_eps
        self.num_mask_tokens = config.num_multimask_outputs + 1  # SAM's own; the HQ token is one more

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
        token_counts: torch.Tensor | None,
        hq_features: torch.Tensor,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
    ) -> PromptedObjects:
        """Bring P objects on each of B images into the form that is decoded.

        Args:
            image_embeddings: (B, C, h, w).
            sparse_prompt_embeddings: Tokens (B, P, n, C) of points and boxes, or None.
            dense_prompt_embeddings: (B, P, C, h, w), or (1, 1, C, 1, 1) without mask prompts.
            token_counts: Which of those tokens count (B, P, n), or None where all do.
            hq_features: (B, C / 8, 4h, 4w), from `hq_features`.
            attention_similarity: Added to the scores of tokens and pixels; broadcasts to (B*P, heads, n, h*w).
            target_embedding: Added to the tokens before every block; broadcasts to (B, P, n, C).

        Returns:
            The B*P objects, those of an image one after another.
        """
        batch_size = image_embeddings.shape[0]
        count = (
            dense_prompt_embeddings.shape[1] if sparse_prompt_embeddings is None else sparse_prompt_embeddings.shape[1]
        )
        row = torch.zeros(1, dtype=torch.long, device=image_embeddings.device)
        mask_rows = torch.arange(self.num_mask_tokens, device=image_embeddings.device)
        output_tokens = torch.cat([self.iou_token(row), self.mask_tokens(mask_rows), self.hq_token(row)])
        tokens = output_tokens.expand(batch_size, count, -1, -1)
        token_bias = None
        if sparse_prompt_embeddings is not None:
            tokens = torch.cat([tokens, sparse_prompt_embeddings.to(tokens.dtype)], dim=2)
        if token_counts is not None:
            counts = F.pad(token_counts, (output_tokens.shape[0], 0), value=True).flatten(0, 1)[:, None, None]
            token_bias = torch.zeros(counts.shape, dtype=tokens.dtype, device=tokens.device)
            token_bias = token_bias.masked_fill(~counts, -torch.inf)
        if target_embedding is not None:
            target_embedding = target_embedding.expand(batch_size, count, -1, -1).flatten(0, 1)
        pixels = image_embeddings.unsqueeze(1) + dense_prompt_embeddings.to(image_embeddings.dtype)
        return PromptedObjects(
            tokens.flatten(0, 1),
            pixels.flatten(0, 1).flatten(2).transpose(1, 2).contiguous(),  # (B, P, C, h, w) -> (B*P, h*w, C)
            hq_features,
            token_bias,
            attention_similarity,
            target_embedding,
        )

    def forward(
        self,
        objects: PromptedObjects,
        pixel_positions: torch.Tensor,
        multimask_output: bool = True,
        sam_branch: bool = True,
    ) -> DecodedMasks:
        """Predict the masks of N objects.

        Args:
            objects: What to decode, from `prompted_objects`.
            pixel_positions: Positional encoding (h*w, C) of the grid.
            multimask_output: Whether the candidates for ambiguous prompts are returned, best first, or the one mask
                meant for clear prompts.
            sam_branch: Whether SAM's own masks are wanted too.

        Returns:
            The masks of both branches, and the scores.
        """
        fast = self._fast()

        def decode(group: PromptedObjects) -> list[DecodedMasks]:
            parts = self._transform(group, pixel_positions, multimask_output, fast)
            return [self._render(part, sam_branch) for part in parts]

        masks = [part for group in self._groups(objects, pixel_positions, fast, decode) for part in group]
        if len(masks) == 1:
            return masks[0]
        return DecodedMasks(
            torch.cat([part.iou_scores for part in masks]),
            torch.cat([cast(torch.Tensor, part.sam_masks) for part in masks]) if sam_branch else None,
            torch.cat([part.hq_masks for part in masks]),
        )

    def filtered(
        self,
        objects: PromptedObjects,
        pixel_positions: torch.Tensor,
        use: Callable[[DecodedObjects], _Decoded],
        min_score: float | None = None,
        multimask_output: bool = True,
        candidates: int = 1,
    ) -> Iterator[tuple[torch.Tensor, _Decoded]]:
        """Decode objects and go on with those whose scores pass: these need the tokens alone, and no mask.

        Args:
            objects: What to decode, from `prompted_objects`.
            pixel_positions: Positional encoding (h*w, C) of the grid.
            use: What is made of the objects of a part that pass, such as their masks by `strips`; on a CPU called in
                worker threads.
            min_score: Objects whose best score is not above it are left out; None keeps all.
            multimask_output: As in `forward`.
            candidates: Masks per object, the best ones.

        Yields:
            Indices (K,) of the objects of a part that pass, and what `use` made of them. Parts without any are left
            out.
        """
        fast = self._fast()

        def decode(group: PromptedObjects) -> list[tuple[int, torch.Tensor, list[_Decoded]]]:
            found = []
            for part in self._transform(group, pixel_positions, multimask_output, fast):
                scores = part.iou_scores[:, 0]
                kept = torch.arange(len(scores), device=scores.device)
                if min_score is not None:
                    kept = kept[scores > min_score]
                used = [use(part.select(kept, candidates))] if kept.numel() else []
                found.append((len(scores), kept, used))
            return found

        start = 0
        for group in self._groups(objects, pixel_positions, fast, decode):
            for count, kept, used in group:
                for made in used:
                    yield start + kept, made
                start += count

    def strips(
        self, decoded: DecodedObjects, sam_branch: bool = True, region: tuple[int, int] | None = None
    ) -> Iterator[DecodedMasks]:
        """Render the masks of N objects some rows at a time, upper ones first; the plain form gives all at once.

        Args:
            decoded: The objects.
            sam_branch: As in `forward`.
            region: Height and width of the upper left part of the masks that is wanted; None for all.
        """
        inputs = (*self._rendered_from(decoded, sam_branch), region)
        for sam_masks, hq_masks in mask_strips(*inputs) if decoded.fast else [render_masks(*inputs)]:
            yield DecodedMasks(decoded.iou_scores, sam_masks, hq_masks)

    def _groups(
        self,
        objects: PromptedObjects,
        pixel_positions: torch.Tensor,
        fast: bool,
        decode: Callable[[PromptedObjects], list[_Decoded]],
    ) -> Iterator[list[_Decoded]]:
        """Decode the objects group by group, on a CPU several groups at once."""
        size = _objects_at_once(objects) if fast else None
        if size is None:
            yield decode(objects)
            return
        begun = (self._begun(part, pixel_positions) for part in objects.groups(_BEGUN_AT_ONCE * size))
        yield from in_threads(decode, (group for part in begun for group in part.groups(_PARTS_AT_ONCE * size)))

    def _begun(self, objects: PromptedObjects, pixel_positions: torch.Tensor) -> PromptedObjects:
        """Objects of one image with the first block begun for all of them, where that is less work."""
        shared = objects.pixels.shape[0] == 1 and objects.tokens.shape[0] > 2
        if not shared or objects.attention_similarity is not None:  # similarities of all objects would be too large
            return objects
        begun = self.transformer.begin(
            objects.tokens,
            objects.pixels,
            pixel_positions,
            objects.token_bias,
            target_embedding=objects.target_embedding,
        )
        return replace(objects, begun=begun)

    def _fast(self) -> bool:
        """Whether the fast path is taken; asked once a call, since it looks at every weight."""
        if self.config._attn_implementation == "eager":
            return False
        # The algebra reads weights outside of their own module's forward. Offloaded ones are present there alone, and
        # what wraps a layer, as LoRA does, or derives from one, as layers of 8 bits do, has its effect there alone.
        attentions = [part for part in self.transformer.modules() if isinstance(part, SamHQAttention)]
        layers: list[nn.Module] = [self.upscale_conv1, self.upscale_conv2, self.mask_conv1, self.mask_conv2]
        layers += [projection for attention in attentions for projection in attention.children()]
        plain = all(type(layer) in (nn.Linear, nn.Conv2d, nn.ConvTranspose2d) for layer in layers)
        return plain and not any(weight.is_meta for weight in self.parameters())

    def _transform(
        self, objects: PromptedObjects, pixel_positions: torch.Tensor, multimask_output: bool, fast: bool
    ) -> list[DecodedObjects]:
        """The objects after the two-way transformer, in parts whose pixels go together."""
        inputs = (
            objects.tokens,
            objects.pixels,
            pixel_positions,
            objects.token_bias,
            objects.attention_similarity,
            objects.target_embedding,
        )
        attentions, size = None, _objects_at_once(objects) if fast else None
        if fast:
            outputs = 2 + self.num_mask_tokens
            tokens, pixels = self.transformer.forward_absorbed(*inputs, objects.begun, size, outputs)
        else:
            tokens, whole, attentions = self.transformer(*inputs)
            pixels = [whole]
        scores, sam_kernels = self._select(tokens, multimask_output)
        hq_kernel = self.hq_mask_mlp(tokens[:, 1 + self.num_mask_tokens])
        parts = ObjectParts(tokens.shape[0], size)
        return [
            DecodedObjects(*part, objects.hq_features, fast, attentions)
            for part in zip(parts.of(scores), parts.of(sam_kernels), parts.of(hq_kernel), pixels, strict=True)
        ]

    def _render(self, decoded: DecodedObjects, sam_branch: bool) -> DecodedMasks:
        render = render_masks_fast if decoded.fast else render_masks
        sam_masks, hq_masks = render(*self._rendered_from(decoded, sam_branch))
        return DecodedMasks(decoded.iou_scores, sam_masks, hq_masks, decoded.attentions)

    def _rendered_from(self, decoded: DecodedObjects, sam_branch: bool) -> tuple[Any, ...]:
        """What the functions of `mask_rendering` take first."""
        return self, decoded.pixels, decoded.sam_kernels if sam_branch else None, decoded.hq_kernel, decoded.hq_features

    def _select(self, tokens: torch.Tensor, multimask_output: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (N, M) of the wanted SAM masks, best first, and the weights (N, M, C / 8) of their channels."""
        scores = self.iou_prediction_head(tokens[:, 0])
        if not multimask_output:
            return scores[:, :1], self.output_hypernetworks_mlps[0](tokens[:, 1]).unsqueeze(1)
        kernels = torch.stack(
            [mlp(tokens[:, 1 + index]) for index, mlp in enumerate(self.output_hypernetworks_mlps) if index], dim=1
        )
        scores, order = scores[:, 1:].sort(dim=1, descending=True, stable=True)
        return scores, kernels.gather(1, order.unsqueeze(-1).expand_as(kernels))


def _chosen(part: torch.Tensor | None, objects: slice, count: int) -> torch.Tensor | None:
    """The rows of some of `count` objects; a part that all of them share stays as it is."""
    return part if part is None or part.shape[0] != count else part[objects]


def _objects_at_once(objects: PromptedObjects) -> int | None:
    """Objects whose pixels go together on the fast path, None for all of them."""
    if objects.pixels.device.type != "cpu" or torch.compiler.is_compiling():
        return None
    return max(1, _PIXEL_FLOATS_AT_ONCE // objects.pixels[0].numel())
