"""Convolutions with batch norms on a CPU, for inference.

A batch norm is an affine map per channel, and is folded into the convolution before it. Doing so at each call costs
nothing compared with the convolution, needs no cache that could go stale, and leaves the weights as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import nn

from .cpu_matmul import has_hardware_for, product
from .vision_tiny_vit import ConvNorm


@dataclass(frozen=True)
class FoldedConvolution:
    """A convolution with its batch norm folded in.

    Attributes:
        conv: The convolution.
        weight: Its weights times the norm's scale, in the dtype that it is computed in.
        bias: The norm's shift, after the convolution's own.
    """

    conv: nn.Conv2d
    weight: torch.Tensor
    bias: torch.Tensor

    @classmethod
    def of(cls, layer: ConvNorm) -> "FoldedConvolution":
        """That of a layer."""
        conv, norm = layer.conv, layer.norm
        mean, variance = cast(torch.Tensor, norm.running_mean), cast(torch.Tensor, norm.running_var)
        dtype = computed_in(conv.weight.dtype)
        scale = norm.weight.to(dtype) * torch.rsqrt(variance.to(dtype) + norm.eps)
        bias = norm.bias - (mean if conv.bias is None else mean - conv.bias) * scale
        return cls(conv, conv.weight * scale[:, None, None, None], bias)

    def output_length(self, length: int, axis: int) -> int:
        """How many rows (axis 0) or columns (axis 1) come of so many."""
        conv = self.conv
        return (length + 2 * cast(int, conv.padding[axis]) - conv.kernel_size[axis]) // conv.stride[axis] + 1

    def rows(self, read: Callable[[int, int], torch.Tensor], height: int, top: int, bottom: int) -> torch.Tensor:
        """Make some rows of the output alone.

        Args:
            read: Gives the rows of the input from one to another.
            height: Of the input.
            top: The first row of the output.
            bottom: The one after the last.

        Returns:
            (B, C', bottom - top, W').
        """
        conv, pad = self.conv, cast(tuple[int, int], self.conv.padding)
        first = top * conv.stride[0] - pad[0]
        last = (bottom - 1) * conv.stride[0] - pad[0] + conv.kernel_size[0]
        if top == 0 and bottom == self.output_length(height, 0):
            return self(read(0, height))
        features = read(max(first, 0), min(last, height))
        if first < 0 or last > height:  # zeros above the first strip and below the last, as around a whole map
            features = F.pad(features, (0, 0, max(-first, 0), max(last - height, 0)))
        return self(features, padding=(0, pad[1]))

    def __call__(self, features: torch.Tensor, padding: tuple[int, int] | None = None) -> torch.Tensor:
        """Apply it to (B, C, H, W), with another padding than the layer's where one is given."""
        conv, dtype = self.conv, features.dtype
        features = features.to(self.weight.dtype)
        if conv.kernel_size == (1, 1) and conv.groups == 1:  # a linear layer, on a map in channels-last memory
            made = product(features.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        else:
            padding = padding or cast(tuple[int, int], conv.padding)
            made = F.conv2d(features, self.weight, self.bias, conv.stride, padding, groups=conv.groups)
        return made.to(dtype)


def conv_norm(layer: ConvNorm, features: torch.Tensor) -> torch.Tensor:
    """Apply a convolution and its batch norm to (B, C, H, W)."""
    return FoldedConvolution.of(layer)(features)


def computed_in(dtype: torch.dtype) -> torch.dtype:
    """What convolutions are computed in: in 16 bits that the CPU lacks, torch's take thirty times as long."""
    return dtype if has_hardware_for(dtype) else widened(dtype)


def widened(dtype: torch.dtype) -> torch.dtype:
    """What sums and softmax are kept in: 32 bits, or 64 where the weights have them."""
    return torch.promote_types(dtype, torch.float32)
