"""The EfficientNet-Lite encoder: inverted bottlenecks down to a 32nd of the image, brought back to the grid of a 16th.

Source: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (arXiv 1905.11946) in its Lite form,
without squeeze-and-excitation and with ReLU6. Differs: strided convolutions pad by half their kernel on every side,
where TensorFlow pads an even map at its right and bottom alone; the classifier's head is dropped; a depthwise
convolution mixes the two coarsest maps, and the features for the HQ token come from strides 4 and 8.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration_sam_hq import SamHQEfficientNetConfig
from .layers import EncoderNeck
from .outputs import SamHQVisionEncoderOutput
from .vision_tiny_vit import ConvNorm

# Of each stage; how deep and how wide it is, is the configuration's.
KERNEL_SIZES = (3, 3, 5, 3, 5, 5, 3)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)


def conv_norm(
    config: SamHQEfficientNetConfig, in_channels: int, out_channels: int, kernel_size: int = 1, **options: Any
) -> ConvNorm:
    """A convolution with the batch norm of stem and stages."""
    eps, momentum = config.batch_norm_eps, config.batch_norm_momentum
    return ConvNorm(config, in_channels, out_channels, kernel_size, eps=eps, momentum=momentum, **options)


class EfficientNetStem(nn.Module):
    """A strided convolution: pixels to features at half of the resolution."""

    def __init__(self, config: SamHQEfficientNetConfig):
        super().__init__()
        self.conv1 = conv_norm(config, config.num_channels, config.stem_width, kernel_size=3, stride=2)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) to (B, C, H/2, W/2) in channels-last memory, in the weights' dtype."""
        pixel_values = pixel_values.to(self.conv1.conv.weight.dtype, memory_format=torch.channels_last)
        return self.act(self.conv1(pixel_values))


class EfficientNetBlock(GradientCheckpointingLayer):
    """Inverted bottleneck: expand, depthwise convolution, project; a residual sum where the shape stays."""

    def __init__(
        self,
        config: SamHQEfficientNetConfig,
        in_channels: int,
        out_channels: int,
        expansion: int,
        kernel_size: int,
        stride: int,
    ):
        super().__init__()
        expanded = in_channels * expansion
        self.expand = conv_norm(config, in_channels, expanded) if expansion > 1 else None
        self.depthwise = conv_norm(config, expanded, expanded, kernel_size, stride=stride, groups=expanded)
        self.project = conv_norm(config, expanded, out_channels)
        self.act = ACT2FN[config.hidden_act]
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, C', H/stride, W/stride)."""
        expanded = features if self.expand is None else self.act(self.expand(features))
        projected = self.project(self.act(self.depthwise(expanded)))
        return features + projected if self.residual else projected


class EfficientNetFusion(nn.Module):
    """The maps of strides 16 and 32 summed on the finer grid, with the surroundings mixed in."""

    def __init__(self, config: SamHQEfficientNetConfig):
        super().__init__()
        width = config.fusion_width
        self.lateral16 = nn.Conv2d(config.hidden_sizes[4], width, kernel_size=1)
        self.lateral32 = nn.Conv2d(config.hidden_sizes[6], width, kernel_size=1)
        self.depthwise = ConvNorm(config, width, width, kernel_size=5, groups=width, bias=True)
        self.pointwise = nn.Conv2d(width, width, kernel_size=1)

    def forward(self, stride16: torch.Tensor, stride32: torch.Tensor) -> torch.Tensor:
        """Map (B, C, h, w) and (B, C', h/2, w/2) to (B, width, h, w)."""
        coarse = F.interpolate(self.lateral32(stride32), stride16.shape[-2:], mode="bilinear", align_corners=False)
        fused = self.lateral16(stride16) + coarse
        return fused + self.pointwise(F.relu(self.depthwise(fused)))


class SamHQEfficientNetEncoder(nn.Module):
    """The EfficientNet-Lite encoder: `pixel_values` to image embeddings and intermediate embeddings."""

    def __init__(self, config: SamHQEfficientNetConfig):
        super().__init__()
        self.config = config
        self.patch_embed = EfficientNetStem(config)
        self.stages = nn.ModuleList()
        in_channels = config.stem_width
        stages = zip(config.hidden_sizes, config.num_hidden_layers, EXPANSIONS, KERNEL_SIZES, STRIDES, strict=True)
        for width, depth, expansion, kernel_size, stride in stages:
            blocks = [EfficientNetBlock(config, in_channels, width, expansion, kernel_size, stride)]
            blocks += [EfficientNetBlock(config, width, width, expansion, kernel_size, 1) for _ in range(depth - 1)]
            self.stages.append(nn.Sequential(*blocks))
            in_channels = width
        self.fusion = EfficientNetFusion(config)
        self.fine = nn.Conv2d(config.hidden_sizes[1], config.fine_channels, kernel_size=1)
        self.neck = EncoderNeck(config.fusion_width, config.output_channels, config.neck_layer_norm_eps)

    def feature_maps(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """Features (B, H/s, W/s, C) of the stem and of every stage; s is 2, then 2, 4, 8, 16, 16, 32, 32."""
        maps = [self.patch_embed(pixel_values).permute(0, 2, 3, 1)]
        for stage in self.stages:
            # Through what is returned, so that gradients of hidden states can be asked for.
            maps.append(stage(maps[-1].permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return maps

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
            output_hidden_states: Whether the features of the stem and of every stage are returned.
            output_attentions: Has no effect but an empty tuple: nothing attends.
            return_dict: Whether the outputs are named, or a tuple.

        Returns:
            Image embeddings, and one intermediate embedding (B, h, w, C): the maps of strides 4 and 8, each cell of
            the grid with all that they hold of it.
        """
        outputs = self.encodings(self.feature_maps(pixel_values), output_hidden_states)
        outputs.attentions = () if output_attentions else None
        return outputs if return_dict else cast(Any, outputs.to_tuple())

    def encodings(self, maps: list[torch.Tensor], output_hidden_states: bool = False) -> SamHQVisionEncoderOutput:
        """What `forward` returns, from the maps of `feature_maps`."""
        stride4, stride8, stride16, stride32 = (maps[stage].permute(0, 3, 1, 2) for stage in (2, 3, 5, 7))
        fused = self.fusion(stride16, stride32)
        early = torch.cat([_cells(self.fine(stride4), 4), _cells(stride8, 2)], dim=-1)
        return SamHQVisionEncoderOutput(
            last_hidden_state=self.neck(fused.permute(0, 2, 3, 1)),
            intermediate_embeddings=[early],
            hidden_states=tuple(maps) if output_hidden_states else None,
        )


def _cells(features: torch.Tensor, side: int) -> torch.Tensor:
    """Cells of side x side pixels as vectors: (B, C, H, W) to (B, H / side, W / side, C * side * side).

    In the order of `F.pixel_unshuffle`, which onnxscript 0.5 exports in another one.
    """
    cells = features.unflatten(3, (-1, side)).unflatten(2, (-1, side))  # (B, C, h, side, w, side)
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(3)
