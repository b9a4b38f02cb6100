"""The vision encoders on a CPU, for inference: the answers of their modules from the same weights, piece by piece.

* Tokens do not mix in an MLP, nor windows with each other, so that they go a few at a time, and stay in the cache.
  Besides the cache it is the allocator that gains: each of the largest temporaries is a new request to the system.
* Convolutions between which a map is wide take some rows at a time, and the wide map is never whole.
* Global attention takes a few rows of queries at a time, with the position scores added in place: no bias of all pairs
  of tokens is ever made.
* Matrix products are those that are faster on this machine (`cpu_matmul.py`).
* In 16 bits, the ViT's residual sums, norms and softmax are kept in 32.
* Batch norms are folded into their convolutions (`cpu_convolution.py`).

`fast_path.py` says when all this may replace the modules. tests/model/test_cpu_encoder.py holds it against them.
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from .cpu_convolution import FoldedConvolution, computed_in, conv_norm, widened
from .cpu_matmul import has_hardware_for, linear
from .layers import merge_windows, split_windows
from .outputs import SamHQVisionEncoderOutput
from .vision_efficientnet import EfficientNetBlock, SamHQEfficientNetEncoder
from .vision_tiny_vit import ConvNorm, SamHQTinyVitEncoder, TinyVitLayer, TinyVitMBConv, TinyVitStage
from .vision_vit import SamHQVisionAttention, SamHQVisionEncoder, SamHQVisionLayer

# What is held at once: scores of query-key pairs (2 MB in fp32), and tokens in an MLP, whose hidden features are four
# times as wide, or in the windows that go together.
SCORES_AT_ONCE = 2**19
TOKENS_AT_ONCE = 1024
TINY_VIT_TOKENS_AT_ONCE = 4096  # whose features are narrower
# And elements of the wide map between two convolutions.
STRIP_ELEMENTS_AT_ONCE = 2**21


def encodes(encoder: nn.Module) -> bool:
    """Whether this is an encoder that `encode` knows."""
    return type(encoder) in _ENCODERS


def encode(
    encoder: nn.Module, pixel_values: torch.Tensor, output_hidden_states: bool = False
) -> SamHQVisionEncoderOutput:
    """Encode images; arguments and results are those of the encoder's own `forward`, without attention weights."""
    warn_of_slow_types(next(encoder.parameters()).dtype)
    return _ENCODERS[type(encoder)](encoder, pixel_values, output_hidden_states)


@functools.cache
def warn_of_slow_types(dtype: torch.dtype) -> None:
    """Once for each dtype."""
    if not has_hardware_for(dtype):
        warnings.warn(
            f"this CPU has no instructions for matrices of {dtype}; torch.float32 is faster on it, load the model with "
            "dtype=torch.float32",
            stacklevel=4,
        )


def _encode_vit(
    encoder: SamHQVisionEncoder, pixel_values: torch.Tensor, output_hidden_states: bool
) -> SamHQVisionEncoderOutput:
    hidden_states = encoder.patch_embed(pixel_values)
    dtype = hidden_states.dtype
    if encoder.pos_embed is not None:
        hidden_states = hidden_states + encoder.pos_embed
    intermediate_embeddings, all_hidden_states = [], [hidden_states]
    hidden_states = hidden_states.to(widened(dtype))
    for module in encoder.layers:
        layer = cast(SamHQVisionLayer, module)
        hidden_states = _vit_layer(layer, hidden_states)
        if not layer.window_size:
            intermediate_embeddings.append(hidden_states.to(dtype))
        if output_hidden_states:
            all_hidden_states.append(hidden_states.to(dtype))
    return SamHQVisionEncoderOutput(
        last_hidden_state=encoder.neck(hidden_states.to(dtype)),
        intermediate_embeddings=intermediate_embeddings,
        hidden_states=tuple(all_hidden_states) if output_hidden_states else None,
    )


def _vit_layer(layer: SamHQVisionLayer, hidden_states: torch.Tensor) -> torch.Tensor:
    _, height, width, channels = hidden_states.shape
    attended = _normalised(layer.layer_norm1, hidden_states)
    if layer.window_size:
        # Windows are padded after the norm: padded keys are zeros, and they are attended to.
        windows = split_windows(attended, layer.window_size)
        for part in windows.split(max(1, TOKENS_AT_ONCE // layer.window_size**2)):  # overwritten in place
            part.copy_(linear(layer.attn.proj, layer.attn.attend(linear(layer.attn.qkv, part))[0]))
        attended = merge_windows(windows, height, width)
    else:
        attended = _global_attention(layer.attn, attended)
    hidden_states = hidden_states + attended
    for tokens in hidden_states.view(-1, channels).split(TOKENS_AT_ONCE):  # added to in place
        expanded = layer.mlp.act(linear(layer.mlp.lin1, _normalised(layer.layer_norm2, tokens)))
        tokens += linear(layer.mlp.lin2, expanded)
    return hidden_states


def _normalised(norm: nn.LayerNorm, features: torch.Tensor) -> torch.Tensor:
    """A layer norm in 32 bits or more, in the dtype of its weights afterwards."""
    weight, bias = norm.weight.to(features.dtype), norm.bias.to(features.dtype)
    return F.layer_norm(features, norm.normalized_shape, weight, bias, norm.eps).to(norm.weight.dtype)


def _global_attention(attention: SamHQVisionAttention, hidden_states: torch.Tensor) -> torch.Tensor:
    """Attention over whole images (N, n, n, C), for a few rows of queries at a time."""
    if not attention.config.use_rel_pos:
        return attention(hidden_states)[0]
    query, key, value = attention.heads(linear(attention.qkv, hidden_states))  # (N, heads, n*n, d) each
    by_row, by_column = attention.position_scores(query)
    query = query * attention.scale
    count, heads, tokens, head_dim = query.shape
    size = attention.grid_size
    step, wide = max(1, SCORES_AT_ONCE // tokens), widened(query.dtype)
    attended = torch.empty(count, tokens, heads, head_dim, dtype=query.dtype, device=query.device)
    for index in range(count):
        for head in range(heads):
            keys, values = key[index, head].t().contiguous(), value[index, head].contiguous()
            for start in range(0, tokens, step):
                rows = slice(start, start + step)
                scores = (query[index, head, rows] @ keys).to(wide).unflatten(-1, (size, size))
                scores += by_row[index, head, rows, :, None]
                scores += by_column[index, head, rows, None, :]
                attended[index, rows, head] = scores.flatten(-2).softmax(dim=-1).to(values.dtype) @ values
    return linear(attention.proj, attended.view(count, size, size, heads * head_dim))


def _encode_tiny_vit(
    encoder: SamHQTinyVitEncoder, pixel_values: torch.Tensor, output_hidden_states: bool
) -> SamHQVisionEncoderOutput:
    embed = encoder.patch_embed
    pixel_values = pixel_values.to(embed.conv1.conv.weight.dtype, memory_format=torch.channels_last)
    features = _in_strips(pixel_values, embed.conv1, embed.conv2, None, embed.act)
    intermediate_embeddings, all_hidden_states = [], [features.permute(0, 2, 3, 1)]
    for index, stage in enumerate(encoder.stages):
        features = _tiny_vit_stage(cast(TinyVitStage, stage), features)
        hidden_states = features.permute(0, 2, 3, 1)
        if index == 1:
            intermediate_embeddings.append(hidden_states)
        if output_hidden_states:
            all_hidden_states.append(hidden_states)
    return SamHQVisionEncoderOutput(
        last_hidden_state=encoder.neck(hidden_states),
        intermediate_embeddings=intermediate_embeddings,
        hidden_states=tuple(all_hidden_states) if output_hidden_states else None,
    )


def _tiny_vit_stage(stage: TinyVitStage, features: torch.Tensor) -> torch.Tensor:
    for layer in stage.layers:
        if isinstance(layer, TinyVitLayer):
            features = _tiny_vit_layer(layer, features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        else:
            features = _mb_conv(cast(TinyVitMBConv, layer), features)
    if stage.downsample is None:
        return features
    down = stage.downsample
    return _in_strips(features, down.conv1, down.conv2, down.conv3, down.act)


def _tiny_vit_layer(layer: TinyVitLayer, hidden_states: torch.Tensor) -> torch.Tensor:
    _, height, width, channels = hidden_states.shape
    # Windows are padded before the attention's norm, unlike the ViT's: a padded key is the norm's bias.
    windows = layer.attn.layer_norm(split_windows(hidden_states, layer.window_size))
    attended, _ = layer.attn.attend(linear(layer.attn.qkv, windows))
    hidden_states = hidden_states + merge_windows(linear(layer.attn.proj, attended), height, width)
    hidden_states = conv_norm(layer.local_conv, hidden_states.permute(0, 3, 1, 2)).permute(0, 2, 3, 1).contiguous()
    for tokens in hidden_states.view(-1, channels).split(TINY_VIT_TOKENS_AT_ONCE):  # added to in place
        expanded = layer.mlp.act(linear(layer.mlp.lin1, layer.mlp.layer_norm(tokens)))
        tokens += linear(layer.mlp.lin2, expanded)
    return hidden_states


def _mb_conv(layer: TinyVitMBConv, features: torch.Tensor) -> torch.Tensor:
    def finished(strip: torch.Tensor, rows: slice) -> torch.Tensor:
        return layer.act(strip.add_(features[:, :, rows]))

    return _in_strips(features, layer.conv1, layer.conv2, layer.conv3, layer.act, finished)


def _encode_efficientnet(
    encoder: SamHQEfficientNetEncoder, pixel_values: torch.Tensor, output_hidden_states: bool
) -> SamHQVisionEncoderOutput:
    stem = encoder.patch_embed
    dtype = stem.conv1.conv.weight.dtype
    pixel_values = pixel_values.to(dtype).to(computed_in(dtype), memory_format=torch.channels_last)
    maps = [_activated(stem.act, conv_norm(stem.conv1, pixel_values))]
    for stage in encoder.stages:
        features = maps[-1]
        for block in cast(nn.Sequential, stage):
            features = _efficientnet_block(cast(EfficientNetBlock, block), features)
        maps.append(features)
    return encoder.encodings([features.permute(0, 2, 3, 1).to(dtype) for features in maps], output_hidden_states)


def _efficientnet_block(block: EfficientNetBlock, features: torch.Tensor) -> torch.Tensor:
    def finished(strip: torch.Tensor, rows: slice) -> torch.Tensor:
        return strip.add_(features[:, :, rows]) if block.residual else strip

    return _in_strips(features, block.expand, block.depthwise, block.project, block.act, finished)


def _in_strips(
    features: torch.Tensor,
    expand: ConvNorm | None,
    middle: ConvNorm,
    project: ConvNorm | None,
    act: nn.Module,
    finished: Callable[[torch.Tensor, slice], torch.Tensor] = lambda strip, _: strip,
) -> torch.Tensor:
    """Two or three convolutions, some rows of their output at a time: the wide maps between them are never whole.

    Args:
        features: (B, C, H, W) in channels-last memory.
        expand: The first convolution, with an activation after it; None for none.
        middle: The second.
        project: The third, of single pixels, with an activation before it; None for none.
        act: The activation.
        finished: What becomes of a strip of the output, by the rows that it is.

    Returns:
        (B, C', H', W') in channels-last memory.
    """
    first = None if expand is None else FoldedConvolution.of(expand)
    second, third = FoldedConvolution.of(middle), None if project is None else FoldedConvolution.of(project)
    height, width = features.shape[2:]
    if first is not None:
        height, width = first.output_length(height, 0), first.output_length(width, 1)
    out_height = second.output_length(height, 0)

    def given(top: int, bottom: int) -> torch.Tensor:
        return features[:, :, top:bottom]

    def expanded(top: int, bottom: int) -> torch.Tensor:
        return (
            given(top, bottom) if first is None else _activated(act, first.rows(given, features.shape[2], top, bottom))
        )

    row = features.shape[0] * second.conv.in_channels * second.conv.stride[0] * width
    step = max(1, STRIP_ELEMENTS_AT_ONCE // row)
    strips = []
    for top in range(0, out_height, step):
        rows = slice(top, min(top + step, out_height))
        strip = second.rows(expanded, height, rows.start, rows.stop)
        strips.append(finished(strip if third is None else third(_activated(act, strip)), rows))
    return torch.cat(strips, dim=2) if len(strips) > 1 else strips[0]


def _activated(act: nn.Module, features: torch.Tensor) -> torch.Tensor:
    """An activation of features that nothing else reads, in place where it is ReLU6."""
    return F.relu6(features, inplace=True) if type(act) is nn.ReLU6 else act(features)


_ENCODERS: dict[type[nn.Module], Callable[[Any, torch.Tensor, bool], SamHQVisionEncoderOutput]] = {
    SamHQVisionEncoder: _encode_vit,
    SamHQTinyVitEncoder: _encode_tiny_vit,
    SamHQEfficientNetEncoder: _encode_efficientnet,
}

__all__ = ["encode", "encodes"]
