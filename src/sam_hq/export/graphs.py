"""The two graphs that are exported: photo to embeddings, embeddings and prompts to masks.

They are the model's own modules, put together so that a graph without branches serves every kind of prompt: what an
object lacks is there as padding that attention does not see. docs/export.md describes their inputs and outputs.
"""

import copy
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sam_hq_numpy.prompt_labels import NOT_A_POINT_LABEL, PADDING_LABEL

from ..model.cpu_rendering import render_rows
from ..model.mask_decoder import SamHQMaskDecoder, TokenReadings
from ..model.prompt_encoder import SamHQPromptEncoder
from ..model.vision_tiny_vit import ConvNorm
from ..model.vision_vit import SamHQVisionAttention, SamHQVisionLayer
from ..modeling_sam_hq import SamHQModel

ENCODER_INPUTS = ("pixel_values",)
ENCODER_OUTPUTS = ("image_embeddings", "hq_features")
DECODER_INPUTS = (
    "image_embeddings",
    "hq_features",
    "input_points",
    "input_labels",
    "input_boxes",
    "has_box",
    "input_masks",
    "has_mask",
    "multimask_output",
    "hq_token_only",
)
DECODER_OUTPUTS = ("pred_masks", "iou_scores")


class EncoderGraph(nn.Module):
    """Photos to all that does not depend on prompts.

    Args:
        model: The model; left as it is.
    """

    def __init__(self, model: SamHQModel):
        super().__init__()
        self.vision_encoder = _plain(_copy(model.vision_encoder))
        self.mask_decoder: SamHQMaskDecoder = _copy(model.mask_decoder)

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode photos.

        Args:
            pixel_values: (B, 3, S, S) float32.

        Returns:
            `image_embeddings` (B, C, h, w) and `hq_features` (B, C / 8, 4h, 4w), float32.
        """
        image_embeddings, (early, *_) = self.vision_encoder(pixel_values).embeddings()
        return image_embeddings.float(), self.mask_decoder.hq_features(image_embeddings, early).float()


class DecoderGraph(nn.Module):
    """Prompts on embeddings to masks and scores.

    Args:
        model: The model; left as it is.
    """

    def __init__(self, model: SamHQModel):
        super().__init__()
        self.encode_positions = _copy(model.shared_image_embedding)
        self.prompt_encoder: SamHQPromptEncoder = _copy(model.prompt_encoder)
        self.mask_decoder: SamHQMaskDecoder = _copy(model.mask_decoder)
        self.dtype = model.mask_decoder.hq_token.weight.dtype
        positions = model.get_image_wide_positional_embeddings()[0].flatten(1).t()
        self.register_buffer("pixel_positions", positions.to("cpu", self.dtype))

    def forward(
        self,
        image_embeddings: torch.Tensor,
        hq_features: torch.Tensor,
        input_points: torch.Tensor,
        input_labels: torch.Tensor,
        input_boxes: torch.Tensor,
        has_box: torch.Tensor,
        input_masks: torch.Tensor,
        has_mask: torch.Tensor,
        multimask_output: torch.Tensor,
        hq_token_only: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Predict masks.

        Args:
            image_embeddings: (B, C, h, w) float32.
            hq_features: (B, C / 8, 4h, 4w) float32.
            input_points: (B, P, N, 2) float32.
            input_labels: (B, P, N) int64.
            input_boxes: (B, P, 4) float32.
            has_box: (B, P) bool.
            input_masks: (B, P, 4h, 4w) float32.
            has_mask: (B, P) bool.
            multimask_output: () bool.
            hq_token_only: () bool.

        Returns:
            `pred_masks` (B, P, M, 4h, 4w) and `iou_scores` (B, P, M), float32.
        """
        batch_size, count, _, _ = input_points.shape
        # Said at once, or the tracer would compare the sizes of different inputs as if they could differ.
        for of_image in (image_embeddings, hq_features, input_labels, input_boxes, has_box, input_masks, has_mask):
            torch._check(of_image.shape[0] == batch_size)
        for of_object in (input_labels, input_boxes, has_box, input_masks, has_mask):
            torch._check(of_object.shape[1] == count)
        torch._check(input_labels.shape[2] == input_points.shape[2])
        decoder = self.mask_decoder
        sparse, token_mask = self._tokens(input_points, input_labels, input_boxes, has_box)
        dense = self._dense(input_masks, has_mask)
        objects = decoder.prompted_objects(image_embeddings.to(self.dtype), sparse, dense, token_mask)
        tokens, pixels, _ = decoder.transformer(
            objects.tokens, objects.pixels, self.pixel_positions, objects.token_bias
        )
        readings = decoder.read_tokens(tokens)
        scores, kernels = self._wanted(readings, multimask_output, hq_token_only)
        side = hq_features.shape[-1]  # whole masks, by the CPU engine's algebra
        both = render_rows(decoder, pixels, kernels, readings.hq_kernel, hq_features.to(self.dtype), 0, side, side)
        sam_masks, hq_masks = cast(tuple[torch.Tensor, torch.Tensor], both)
        masks = torch.where(hq_token_only, torch.zeros_like(sam_masks), sam_masks) + hq_masks
        return masks.unflatten(0, (batch_size, count)).float(), scores.unflatten(0, (batch_size, count)).float()

    def _tokens(
        self, points: torch.Tensor, labels: torch.Tensor, boxes: torch.Tensor, has_box: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, P, N + 3, C) of points, of the end of the points, and of boxes; and which count (B, P, N + 3)."""
        has_box = has_box.unsqueeze(-1)
        # Points without a box are followed by a token that says there is none.
        needless = (labels == PADDING_LABEL).all(dim=-1, keepdim=True) | has_box
        end = torch.where(needless, PADDING_LABEL, NOT_A_POINT_LABEL)
        labels = torch.cat([labels, end], dim=-1)
        embedded, counts = self.prompt_encoder.embed_points(
            self.encode_positions, F.pad(points, (0, 0, 0, 1)), labels, pad=False
        )
        corners = self.prompt_encoder.embed_boxes(self.encode_positions, boxes)
        return torch.cat([embedded, corners], dim=2), torch.cat([counts, has_box, has_box], dim=-1)

    def _dense(self, masks: torch.Tensor, has_mask: torch.Tensor) -> torch.Tensor:
        """Dense embeddings (B, P, C, h, w)."""
        with_mask = self.prompt_encoder.embed_masks(masks.to(self.dtype), masks.device)
        without = self.prompt_encoder.embed_masks(None, masks.device)
        return torch.where(has_mask[:, :, None, None, None], with_mask, without)

    def _wanted(
        self, readings: TokenReadings, multimask_output: torch.Tensor, hq_token_only: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores (B*P, M) and SAM's kernels (B*P, M, C / 8) of the masks that are wanted."""
        decoder, scores, kernels = self.mask_decoder, readings.iou_scores, readings.sam_kernels
        # The exporter knows `topk`, which keeps the order of equals in ONNX, but no stable sort.
        best, order = scores[:, 1:].topk(decoder.num_mask_tokens - 1, dim=1)
        order = F.pad(order + 1, (1, 0))  # the one for clear prompts, then the candidates, best first
        all_of_them = multimask_output & ~hq_token_only
        wanted = torch.stack(
            [~multimask_output, multimask_output, *[all_of_them] * (decoder.num_mask_tokens - 2)]
        ).nonzero()[:, 0]
        torch._check(wanted.shape[0] >= 1)
        torch._check(wanted.shape[0] < decoder.num_mask_tokens)
        chosen = order.index_select(1, wanted)
        scores = torch.cat([scores[:, :1], best], dim=1).index_select(1, wanted)
        return scores, kernels.gather(1, chosen.unsqueeze(-1).expand(-1, -1, kernels.shape[-1]))


class HeadwiseAttention(nn.Module):
    """Global attention of the ViT one head after another: a runtime holds the scores of one head, not of all.

    Args:
        attention: The attention whose weights are used.
    """

    def __init__(self, attention: SamHQVisionAttention):
        super().__init__()
        self.attention = attention
        self.config = attention.config

    def forward(self, hidden_states: torch.Tensor, output_attentions: bool = False) -> tuple[torch.Tensor, None]:
        """Attend within maps (N, n, n, C); `output_attentions` has no effect."""
        del output_attentions
        attention = self.attention
        count, height, width, channels = hidden_states.shape
        qkv = attention.qkv(hidden_states).view(
            count, height * width, 3, attention.num_attention_heads, attention.head_dim
        )
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (N, heads, n*n, d) each
        # For all heads at once, since each would bring its own copy of the table of positions into the file.
        positions = attention.position_scores(query) if self.config.use_rel_pos else ()
        of_heads = zip(*(tensor.split(1, dim=1) for tensor in (query, key, value, *positions)), strict=True)
        heads = [attention.attend_plainly(q, k, v, of_head)[0] for q, k, v, *of_head in of_heads]
        attended = torch.cat(heads, dim=1).transpose(1, 2).reshape(count, height, width, channels)
        return attention.proj(attended), None


@torch.no_grad()
def traced_encoder(model: SamHQModel) -> torch.export.ExportedProgram:
    """Trace the encoder for any number of photos.

    Args:
        model: The model; left as it is.
    """
    side, channels = model.config.vision_config.image_size, model.config.vision_config.num_channels
    images = torch.export.Dim("images", min=1)
    example = (torch.zeros(2, channels, side, side),)
    return torch.export.export(EncoderGraph(model).eval(), example, dynamic_shapes=({0: images},), strict=False)


@torch.no_grad()
def traced_decoder(model: SamHQModel) -> torch.export.ExportedProgram:
    """Trace the decoder for any number of photos, objects and points.

    Args:
        model: The model; left as it is.
    """
    prompt_config = model.config.prompt_encoder_config
    grid, width, mask_side = (
        prompt_config.image_embedding_size,
        prompt_config.hidden_size,
        prompt_config.mask_input_size,
    )
    # Without a least number, torch 2.9 cannot load the program it saved.
    images, prompts, points = (torch.export.Dim(name, min=1) for name in ("images", "prompts", "points"))
    per_object, per_point = {0: images, 1: prompts}, {0: images, 1: prompts, 2: points}
    dynamic = dict.fromkeys(DECODER_INPUTS, per_object) | {
        "image_embeddings": {0: images},
        "hq_features": {0: images},
        "input_points": per_point,
        "input_labels": per_point,
        "multimask_output": None,
        "hq_token_only": None,
    }
    embeddings = torch.zeros(2, width, grid, grid), torch.zeros(2, width // 8, mask_side, mask_side)
    prompts_of_example = _example_prompts(2, 3, 2, mask_side)
    example = (*embeddings, *(prompts_of_example[name] for name in DECODER_INPUTS[2:]))
    dynamic_shapes = tuple(dynamic[name] for name in DECODER_INPUTS)
    return torch.export.export(DecoderGraph(model).eval(), example, dynamic_shapes=dynamic_shapes, strict=False)


def _example_prompts(images: int, objects: int, points: int, mask_size: int) -> dict[str, torch.Tensor]:
    """Prompts of every kind at once, of the right shapes, to trace the decoder with.

    Args:
        images: B.
        objects: P.
        points: N.
        mask_size: Side of a mask prompt.
    """
    corner = torch.rand(images, objects, 2) * mask_size
    return {
        "input_points": torch.rand(images, objects, points, 2) * mask_size,
        "input_labels": torch.ones(images, objects, points, dtype=torch.int64),
        "input_boxes": torch.cat([corner, corner + mask_size], dim=-1),
        "has_box": torch.ones(images, objects, dtype=torch.bool),
        "input_masks": torch.zeros(images, objects, mask_size, mask_size),
        "has_mask": torch.ones(images, objects, dtype=torch.bool),
        "multimask_output": torch.tensor(True),
        "hq_token_only": torch.tensor(False),
    }


def _copy(module: Any) -> Any:
    """A copy on the CPU, for inference."""
    return copy.deepcopy(module).cpu().eval().requires_grad_(False)


def _plain(encoder: nn.Module) -> nn.Module:
    """Bring an encoder to the plain path, with what runtimes are quicker at; changes it in place."""
    for module in list(encoder.modules()):
        if hasattr(module, "config"):
            module.config._attn_implementation = "eager"
        if isinstance(module, ConvNorm):
            module.conv, module.norm = fuse_conv_bn_eval(module.conv, module.norm), nn.Identity()  # type: ignore[assignment]
        elif isinstance(module, SamHQVisionLayer) and not module.window_size:
            module.attn = HeadwiseAttention(module.attn)  # type: ignore[assignment]
    return encoder
