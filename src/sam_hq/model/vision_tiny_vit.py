"""The TinyViT encoder of Light HQ-SAM: convolutions first, then windowed attention with learned biases.

Source: "TinyViT: Fast Pretraining Distillation for Small Vision Transformers" (arXiv 2207.10666), as used by MobileSAM
(arXiv 2306.14289) and by the authors' `tiny_vit_sam.py`: the last downsampling keeps its resolution, so that the grid
is a sixteenth of the image.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer

from ..configuration_sam_hq import SamHQTinyVitConfig
from .layers import EncoderNeck, merge_windows, split_windows
from .outputs import SamHQVisionEncoderOutput


class ConvNorm(nn.Module):
    """A convolution, followed by batch norm."""

    def __init__(
        self,
        config: PreTrainedConfig,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        bias: bool = False,
        eps: float = 1e-5,
        momentum: float = 0.1,
    ):
        super().__init__()
        self.config = config
        padding = kernel_size // 2
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias)
        self.norm = nn.BatchNorm2d(out_channels, eps, momentum)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, C', H', W')."""
        return self.norm(self.conv(features))


class TinyVitPatchEmbeddings(nn.Module):
    """Two strided convolutions: pixels to features at a quarter of the resolution."""

    def __init__(self, config: SamHQTinyVitConfig):
        super().__init__()
        width = config.hidden_sizes[0]
        self.conv1 = ConvNorm(config, config.num_channels, width // 2, kernel_size=3, stride=2)
        self.act = ACT2FN[config.hidden_act]
        self.conv2 = ConvNorm(config, width // 2, width, kernel_size=3, stride=2)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Map (B, 3, H, W) to (B, C, H/4, W/4) in channels-last memory, in the weights' dtype."""
        pixel_values = pixel_values.to(self.conv1.conv.weight.dtype, memory_format=torch.channels_last)
        return self.conv2(self.act(self.conv1(pixel_values)))


class TinyVitMBConv(GradientCheckpointingLayer):
    """Inverted bottleneck: expand, depthwise 3x3, project, with the activation after the residual sum."""

    def __init__(self, config: SamHQTinyVitConfig, width: int):
        super().__init__()
        expanded = int(width * config.mbconv_expand_ratio)
        self.conv1 = ConvNorm(config, width, expanded)
        self.conv2 = ConvNorm(config, expanded, expanded, kernel_size=3, groups=expanded)
        self.conv3 = ConvNorm(config, expanded, width)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        expanded = self.act(self.conv2(self.act(self.conv1(features))))
        return self.act(features + self.conv3(expanded))


class TinyVitDownsample(nn.Module):
    """Three convolutions that widen the features; the middle one is depthwise and may be strided."""

    def __init__(self, config: SamHQTinyVitConfig, width: int, out_width: int, stride: int):
        super().__init__()
        self.conv1 = ConvNorm(config, width, out_width)
        self.conv2 = ConvNorm(config, out_width, out_width, kernel_size=3, stride=stride, groups=out_width)
        self.conv3 = ConvNorm(config, out_width, out_width)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, C', H/stride, W/stride)."""
        return self.conv3(self.act(self.conv2(self.act(self.conv1(features)))))


class TinyVitAttention(nn.Module):
    """Self attention within a window, with one learned bias per head and pair of absolute offsets."""

    def __init__(self, config: SamHQTinyVitConfig, stage: int):
        super().__init__()
        width = config.hidden_sizes[stage]
        self.config = config
        self.window_size = config.window_size[stage]
        self.num_attention_heads = config.num_attention_heads[stage]
        self.head_dim = width // self.num_attention_heads
        self.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(self.num_attention_heads, self.window_size**2))

    def _bias(self) -> torch.Tensor:
        """The bias (heads, n*n, n*n) of each pair of cells, looked up by their offsets (|dy|, |dx|)."""
        size = self.window_size
        place = torch.arange(size * size, device=self.attention_biases.device)
        rows, columns = place // size, place % size
        dy = (rows[:, None] - rows[None, :]).abs()
        dx = (columns[:, None] - columns[None, :]).abs()
        return self.attention_biases[:, dy * size + dx]

    def forward(
        self, hidden_states: torch.Tensor, output_attentions: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend within each window.

        Args:
            hidden_states: Windows (N, n, n, C).
            output_attentions: Whether the weights are returned; needs the eager implementation.

        Returns:
            Windows (N, n, n, C), and the weights (N, heads, n*n, n*n) or None.
        """
        attended, weights = self.attend(self.qkv(self.layer_norm(hidden_states)))
        return self.proj(attended), weights if output_attentions else None

    def attend(self, projected: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attended values (N, n, n, C) from what `qkv` gives, and the weights of the eager implementation."""
        # Each head's query, key and value lie side by side: (N, n*n, heads, 3, d) -> three of (N, heads, n*n, d)
        qkv = projected.flatten(1, 2).unflatten(-1, (self.num_attention_heads, 3, self.head_dim))
        query, key, value = qkv.permute(3, 0, 2, 1, 4).unbind(0)
        bias, weights = self._bias(), None
        if self.config._attn_implementation == "eager":
            scores = query @ key.transpose(-2, -1) * self.head_dim**-0.5 + bias
            weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
            attended = weights @ value
        else:
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias.unsqueeze(0))
        return attended.transpose(1, 2).flatten(2).unflatten(1, projected.shape[1:3]), weights


class TinyVitMLP(nn.Module):
    """The MLP of a block, with its norm in front."""

    def __init__(self, config: SamHQTinyVitConfig, width: int):
        super().__init__()
        expanded = int(width * config.mlp_ratio)
        self.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.lin1 = nn.Linear(width, expanded)
        self.lin2 = nn.Linear(expanded, width)
        self.act = ACT2FN[config.hidden_act]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (..., C) to (..., C)."""
        return self.lin2(self.act(self.lin1(self.layer_norm(hidden_states))))


class TinyVitLayer(GradientCheckpointingLayer):
    """Windowed attention, a depthwise convolution, an MLP."""

    def __init__(self, config: SamHQTinyVitConfig, stage: int):
        super().__init__()
        width = config.hidden_sizes[stage]
        self.window_size = config.window_size[stage]
        self.attn = TinyVitAttention(config, stage)
        self.local_conv = ConvNorm(config, width, width, kernel_size=config.local_conv_size, groups=width)
        self.mlp = TinyVitMLP(config, width)

    def forward(
        self, hidden_states: torch.Tensor, output_attentions: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Map (B, h, w, C) to (B, h, w, C), and the attention weights or None."""
        _, height, width, _ = hidden_states.shape
        # Windows are padded before the attention's norm, unlike the ViT's: a padded key is the norm's bias.
        attended, weights = self.attn(split_windows(hidden_states, self.window_size), output_attentions)
        hidden_states = hidden_states + merge_windows(attended, height, width)
        hidden_states = self.local_conv(hidden_states.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()
        return hidden_states + self.mlp(hidden_states), weights


class TinyVitStage(nn.Module):
    """The blocks of one resolution, and the downsampling that follows them.

    The first stage is convolutional; the others attend. The last has no downsampling.
    """

    def __init__(self, config: SamHQTinyVitConfig, stage: int):
        super().__init__()
        widths = config.hidden_sizes
        layers = range(config.depths[stage])
        self.attends = stage > 0
        self.layers = nn.ModuleList(
            TinyVitLayer(config, stage) if self.attends else TinyVitMBConv(config, widths[0]) for _ in layers
        )
        self.downsample = None
        if stage < 3:
            self.downsample = TinyVitDownsample(config, widths[stage], widths[stage + 1], stride=1 if stage == 2 else 2)

    def forward(
        self, features: torch.Tensor, output_attentions: bool = False
    ) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
        """Map (B, C, H, W) to the next stage's features (B, C', H', W'), and each layer's attention weights."""
        attentions: list[torch.Tensor | None] = []
        if self.attends:
            hidden_states = features.permute(0, 2, 3, 1)
            for layer in self.layers:
                hidden_states, weights = layer(hidden_states, output_attentions)
                attentions.append(weights)
            features = hidden_states.permute(0, 3, 1, 2)
        else:
            for layer in self.layers:
                features = layer(features)
        return (features if self.downsample is None else self.downsample(features)), attentions


class SamHQTinyVitEncoder(nn.Module):
    """The TinyViT encoder: `pixel_values` to image embeddings and intermediate embeddings."""

    def __init__(self, config: SamHQTinyVitConfig):
        super().__init__()
        self.config = config
        self.patch_embed = TinyVitPatchEmbeddings(config)
        self.stages = nn.ModuleList(TinyVitStage(config, stage) for stage in range(4))
        self.neck = EncoderNeck(config.hidden_sizes[-1], config.output_channels, config.neck_layer_norm_eps)

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
            output_hidden_states: Whether the features around every stage are returned.
            output_attentions: Whether the attention weights are returned.
            return_dict: Whether the outputs are named, or a tuple.

        Returns:
            Image embeddings, and one intermediate embedding (B, h, w, C): stage 1 after its downsampling.
        """
        features = self.patch_embed(pixel_values)
        intermediate_embeddings: list[torch.Tensor] = []
        hidden_states = features.permute(0, 2, 3, 1)
        all_hidden_states, all_attentions = [hidden_states], []
        for index, stage in enumerate(self.stages):
            # Through what is returned, so that gradients of hidden states can be asked for.
            features, attentions = stage(hidden_states.permute(0, 3, 1, 2), output_attentions)
            hidden_states = features.permute(0, 2, 3, 1)
            if index == 1:
                intermediate_embeddings.append(hidden_states)
            if output_hidden_states:
                all_hidden_states.append(hidden_states)
            all_attentions.extend(attentions)
        outputs = SamHQVisionEncoderOutput(
            last_hidden_state=self.neck(hidden_states),
            intermediate_embeddings=intermediate_embeddings,
            hidden_states=tuple(all_hidden_states) if output_hidden_states else None,
            attentions=tuple(all_attentions) if output_attentions else None,
        )
        return outputs if return_dict else cast(Any, outputs.to_tuple())
