"""SAM-HQ: an image and prompts to masks with exact boundaries.

Source: "Segment Anything in High Quality" (arXiv 2306.01567). Parameter names, arguments and outputs are those of the
class built into transformers; docs/architecture.md says where and why the results differ.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from .configuration_sam_hq import SamHQConfig
from .model.cpu_decoder import decode_masks
from .model.fast_path import remember_classes, remember_layout
from .model.forward_validation import (
    are_for_no_object,
    check_embeddings,
    check_flags,
    check_image_inputs,
    check_mask_labels,
    checked_persam_inputs,
    values_are_readable,
    warn_of_untrained_hq_token,
    with_one_object,
)
from .model.losses import mask_loss
from .model.mask_decoder import DecodedMasks, SamHQMaskDecoder
from .model.outputs import SamHQImageSegmentationOutput, SamHQVisionEncoderOutput
from .model.prompt_encoder import SamHQPositionalEmbedding, SamHQPromptEncoder
from .model.prompt_validation import validate_prompts
from .pretrained_model import SamHQPreTrainedModel
from .vision_modeling import SamHQEfficientNetModel, SamHQTinyVitModel, SamHQVisionModel, build_vision_encoder


class SamHQModel(SamHQPreTrainedModel):
    """Segment Anything in High Quality.

    Args:
        config: Configuration of the model.
    """

    config: SamHQConfig

    def __init__(self, config: SamHQConfig):
        super().__init__(config)
        self.shared_image_embedding = SamHQPositionalEmbedding(config.vision_config.num_pos_feats)
        self.vision_encoder = build_vision_encoder(config.vision_config)
        self.prompt_encoder = SamHQPromptEncoder(config.prompt_encoder_config)
        self.mask_decoder = SamHQMaskDecoder(config.mask_decoder_config)
        remember_layout(self.vision_encoder)
        remember_layout(self.mask_decoder)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The module that turns pixels into features."""
        return self.vision_encoder.patch_embed

    def get_image_wide_positional_embeddings(self) -> torch.Tensor:
        """The positional encoding (1, C, h, w) of the image embeddings' grid, in float32."""
        return self._grid_positions(self.shared_image_embedding.positional_embedding.device)

    def _grid_positions(self, device: torch.device) -> torch.Tensor:
        size = self.config.prompt_encoder_config.image_embedding_size
        centre = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size
        rows, columns = torch.meshgrid(centre, centre, indexing="ij")
        return self.shared_image_embedding(torch.stack([columns, rows], dim=-1)).permute(2, 0, 1).unsqueeze(0)

    def get_image_embeddings(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Encode images once, to prompt them many times.

        Gradients flow; call it under `torch.no_grad()` where they are not wanted.

        Args:
            pixel_values: Normalised, padded images (B, 3, S, S).

        Returns:
            `image_embeddings` (B, C, h, w) and `intermediate_embeddings`, a list of (B, h, w, C'); `forward` takes
            both back.

        Raises:
            ValueError: If the images have another shape than the model's.
        """
        return self._encode(pixel_values).embeddings()

    def get_hq_features(
        self, image_embeddings: torch.Tensor, intermediate_embeddings: list[torch.Tensor]
    ) -> torch.Tensor:
        """Fuse the encoder's features once, to prompt an image many times.

        Args:
            image_embeddings: (B, C, h, w).
            intermediate_embeddings: List of (B, h, w, C').

        Returns:
            HQ features (B, C / 8, 4h, 4w); `forward` takes them as `hq_features` instead of
            `intermediate_embeddings`.

        Raises:
            ValueError: If the two do not belong together.
        """
        check_embeddings(self.config, image_embeddings, intermediate_embeddings)
        dtype = self.mask_decoder.dtype  # the encoder may have another
        return self.mask_decoder.hq_features(image_embeddings.to(dtype), intermediate_embeddings[0].to(dtype))

    def get_prompt_embeddings(
        self,
        input_points: torch.Tensor | None = None,
        input_labels: torch.Tensor | None = None,
        input_boxes: torch.Tensor | None = None,
        input_masks: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Encode prompts.

        Args:
            input_points: Points (B, P, N, 2) as (x, y) in pixels of the resized image.
            input_labels: Their labels (B, P, N); all foreground where they are left out.
            input_boxes: Boxes (B, P, 4) as (x0, y0, x1, y1) in pixels of the resized image.
            input_masks: Mask logits (B, P, 4h, 4w) over the padded square.

        Returns:
            Sparse embeddings (B, P, n, C), None without points and boxes, and dense embeddings (B * P, C, h, w), those
            of an image one after another, or (B, C, h, w) without a mask prompt.

        Raises:
            TypeError: If a prompt is no tensor.
            ValueError: If there is no prompt, or one is malformed.
        """
        given = {"input_points": input_points, "input_boxes": input_boxes, "input_masks": input_masks}
        prompts = [prompt for prompt in given.values() if prompt is not None]
        if not prompts:
            raise ValueError("get_prompt_embeddings needs input_points, input_boxes or input_masks, but got none")
        for name, prompt in given.items():
            if prompt is not None and not isinstance(prompt, torch.Tensor):
                raise TypeError(f"{name} must be a tensor, got {type(prompt).__name__}")
        sparse, dense, _ = self.encode_prompts(
            prompts[0].shape[0], prompts[0].device, input_points, input_labels, input_boxes, input_masks
        )
        grid = self.config.prompt_encoder_config.image_embedding_size
        return sparse, dense.expand(prompts[0].shape[0], -1, -1, grid, grid).flatten(0, 1)

    def pixel_positions(self, image_embeddings: torch.Tensor) -> torch.Tensor:
        """The positional encoding (h*w, C) of the grid, where and as the image embeddings are."""
        return self._grid_positions(image_embeddings.device)[0].flatten(1).t().to(image_embeddings.dtype)

    def encode_prompts(
        self,
        batch_size: int,
        device: torch.device,
        input_points: torch.Tensor | None,
        input_labels: torch.Tensor | None,
        input_boxes: torch.Tensor | None,
        input_masks: torch.Tensor | None,
    ) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor | None]:
        """Check prompts and encode them as the mask decoder takes them.

        Args:
            batch_size: Number of images.
            device: Where the embeddings are wanted.
            input_points: As in `forward`.
            input_labels: As in `forward`.
            input_boxes: As in `forward`.
            input_masks: As in `forward`.

        Returns:
            Sparse embeddings (B, P, n, C) or None; dense ones (B, P, C, h, w), or (1, 1, C, 1, 1) without mask
            prompts; and which tokens are no padding (B, P, n), or None where all are.

        Raises:
            ValueError: If a prompt is malformed.
        """
        if isinstance(input_points, torch.Tensor) and input_labels is None:
            input_labels = torch.ones(input_points.shape[:-1], dtype=torch.long, device=input_points.device)
        validate_prompts(
            batch_size=batch_size,
            mask_input_size=self.config.prompt_encoder_config.mask_input_size,
            input_points=input_points,
            input_labels=input_labels,
            input_boxes=input_boxes,
            input_masks=input_masks,
            check_values=values_are_readable(),
        )
        return self.prompt_encoder(
            self.shared_image_embedding, device, input_points, input_labels, input_boxes, input_masks
        )

    def _image_features(
        self,
        source: torch.Tensor,
        image_embeddings: torch.Tensor | None,
        intermediate_embeddings: list[torch.Tensor] | None,
        hq_features: torch.Tensor | None,
        output_hidden_states: bool,
        output_attentions: bool,
    ) -> tuple[SamHQVisionEncoderOutput, torch.Tensor, torch.Tensor]:
        """The encoder's outputs, empty for cached embeddings; image embeddings; and HQ features."""
        encoded, dtype = SamHQVisionEncoderOutput(), self.mask_decoder.dtype
        if image_embeddings is None:
            encoded = self._encode(source, output_hidden_states, output_attentions)
            image_embeddings, intermediate_embeddings = encoded.embeddings()
        # The encoder may have another precision than the decoder, and kept embeddings than the model has now.
        image_embeddings = image_embeddings.to(dtype)
        if hq_features is not None:
            return encoded, image_embeddings, hq_features.to(dtype)
        early = cast(list[torch.Tensor], intermediate_embeddings)[0].to(dtype)
        return encoded, image_embeddings, self.mask_decoder.hq_features(image_embeddings, early)

    def forward(
        self,
        pixel_values: torch.Tensor | None = None,
        input_points: torch.Tensor | None = None,
        input_labels: torch.Tensor | None = None,
        input_boxes: torch.Tensor | None = None,
        input_masks: torch.Tensor | None = None,
        image_embeddings: torch.Tensor | None = None,
        multimask_output: bool = True,
        hq_token_only: bool = False,
        attention_similarity: torch.Tensor | None = None,
        target_embedding: torch.Tensor | None = None,
        intermediate_embeddings: list[torch.Tensor] | None = None,
        labels: torch.Tensor | None = None,
        output_branches: bool = False,
        hq_features: torch.Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        original_sizes: torch.Tensor | None = None,  # noqa: ARG002
        reshaped_input_sizes: torch.Tensor | None = None,  # noqa: ARG002
        valid_objects: torch.Tensor | None = None,  # noqa: ARG002
    ) -> SamHQImageSegmentationOutput | tuple:
        """Predict masks for prompts on images, or on the cached embeddings of images.

        B images, P objects on each, N points per object. Without any prompt there is one object per image.

        Args:
            pixel_values: Normalised, padded images (B, 3, S, S).
            input_points: Points (B, P, N, 2) as (x, y) in pixels of the resized image.
            input_labels: Their labels (B, P, N): 1 foreground, 0 background, -1 not a point, -10 padding without any
                influence. All foreground where they are left out.
            input_boxes: Boxes (B, P, 4) as (x0, y0, x1, y1) in pixels of the resized image.
            input_masks: Mask logits (B, P, 4h, 4w) over the padded square, such as an earlier `pred_masks[:, :, 0]`.
            image_embeddings: (B, C, h, w) from `get_image_embeddings`, instead of `pixel_values`; together with
                `intermediate_embeddings` or `hq_features`.
            multimask_output: Whether the candidates for an ambiguous prompt are returned, best first, or one mask.
            hq_token_only: Whether the mask is the HQ token's alone: one mask, with the score of SAM's first.
            attention_similarity: Added to the scores of the blocks' attention from tokens to pixels, not to those of
                the last one; broadcasts to (B*P, heads, n, h*w).
            target_embedding: Added to the tokens, and so to their positions, before every block; broadcasts to
                (B, P, n, C).
            intermediate_embeddings: List of (B, h, w, C') from `get_image_embeddings`.
            labels: Binary masks (B, P, H, W) over the padded square at any resolution, -100 where it is padding or not
                known; gives `loss`, of `pred_masks[:, :, 0]`.
            output_branches: Whether SAM's own masks and the HQ token's are returned too.
            hq_features: (B, C / 8, 4h, 4w) from `get_hq_features`.
            output_attentions: Whether attention weights are returned; needs `attn_implementation="eager"`.
            output_hidden_states: Whether the vision encoder's features are returned.
            return_dict: Whether the outputs are named, or a tuple.
            original_sizes: Ignored; here so that all that the processor returns can be passed.
            reshaped_input_sizes: Ignored, likewise.
            valid_objects: Ignored, likewise.

        Returns:
            Masks `pred_masks` (B, P, M, 4h, 4w) as logits and `iou_scores` (B, P, M), best first. M is 3 with
            `multimask_output`, else 1; 1 with `hq_token_only`. Prompts for no object (P = 0) give no masks.

        Raises:
            ValueError: If inputs are missing, malformed, or contradict each other.
            TypeError: If an input is not a tensor of the right kind.

        Differs: `attention_similarity` and `target_embedding` have the names and places of transformers' `SamModel`.
            PerSAM (arXiv 2305.03048), which they come from, first brings the similarity to a mean of 0 and a deviation
            of 1 and squashes it by a sigmoid, weighs the scores with it where pixels attend to tokens too, and leaves
            the positions without the target: what it does is up to the caller as far as it can be added here.
        """
        check_flags(multimask_output=multimask_output, hq_token_only=hq_token_only, output_branches=output_branches)
        output_attentions, output_hidden_states, return_dict = self._flags(
            output_attentions, output_hidden_states, return_dict
        )
        source = check_image_inputs(self.config, pixel_values, image_embeddings, intermediate_embeddings, hq_features)
        is_empty = are_for_no_object(input_points, input_labels, input_boxes, input_masks)
        if is_empty:  # an object to be thrown away is decoded, so that the outputs have their shapes and dtypes
            input_points, input_labels, input_boxes, input_masks = (
                with_one_object(prompt) for prompt in (input_points, input_labels, input_boxes, input_masks)
            )
        batch_size = source.shape[0]
        sparse, dense, token_mask = self.encode_prompts(
            batch_size, source.device, input_points, input_labels, input_boxes, input_masks
        )
        warn_of_untrained_hq_token(self.config, hq_token_only, stacklevel=4)
        # The tokens of the score, of SAM's masks and of the HQ mask come before those of the prompts.
        count, prompt_tokens = (dense.shape[1], 0) if sparse is None else sparse.shape[1:3]
        tokens = (batch_size, count, self.mask_decoder.num_output_tokens + prompt_tokens)
        persam_inputs = checked_persam_inputs(
            self.config, tokens, self.mask_decoder.dtype, attention_similarity, target_embedding
        )
        if labels is not None:
            check_mask_labels(labels, batch_size, count, check_values=values_are_readable())

        encoded, image_embeddings, hq_features = self._image_features(
            source, image_embeddings, intermediate_embeddings, hq_features, output_hidden_states, output_attentions
        )
        decode: Callable[..., DecodedMasks] = self.mask_decoder
        if not persam_inputs and self.takes_fast_path(self.mask_decoder):
            decode = partial(decode_masks, self.mask_decoder)
        decoded = decode(
            image_embeddings,
            self.pixel_positions(image_embeddings),
            sparse,
            dense,
            token_mask,
            hq_features,
            multimask_output,
            hq_token_only,
            output_branches,
            **persam_inputs,
        )
        # (B*P, M, ...) -> (B, P, M, ...)
        parts: dict[str, Any] = {
            "iou_scores": decoded.iou_scores[:, :1] if hq_token_only else decoded.iou_scores,
            "pred_masks": decoded.masks,
            "sam_masks": decoded.sam_masks,
            "hq_masks": decoded.hq_masks,
        }
        parts = {name: None if part is None else part.unflatten(0, (batch_size, -1)) for name, part in parts.items()}
        if is_empty:
            parts = {name: None if part is None else part[:, :0] for name, part in parts.items()}
        # Made in one go: the tuple has the order in which the fields are set.
        outputs = SamHQImageSegmentationOutput(
            loss=None if labels is None else mask_loss(parts["pred_masks"][:, :, 0], labels),
            **parts,
            vision_hidden_states=encoded.hidden_states,
            vision_attentions=encoded.attentions,
            mask_decoder_attentions=decoded.attentions if output_attentions else None,
        )
        return outputs if return_dict else outputs.to_tuple()


remember_classes()

__all__ = [
    "SamHQEfficientNetModel",
    "SamHQModel",
    "SamHQPreTrainedModel",
    "SamHQTinyVitModel",
    "SamHQVisionModel",
]
