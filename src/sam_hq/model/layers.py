"""Layers that several parts of the model share."""

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of a feature map (B, C, H, W).

    On a map in channels-last memory, which is what this package's convolutions hand on, neither permutation copies.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Normalise (B, C, H, W) over C."""
        return super().forward(features.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class TransformerMLP(nn.Module):
    """The two-layer MLP of a transformer block."""

    def __init__(self, hidden_size: int, mlp_dim: int, hidden_act: str):
        super().__init__()
        self.lin1 = nn.Linear(hidden_size, mlp_dim)
        self.lin2 = nn.Linear(mlp_dim, hidden_size)
        self.act = ACT2FN[hidden_act]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (..., hidden_size) to (..., hidden_size)."""
        return self.lin2(self.act(self.lin1(hidden_states)))


class TokenMLP(nn.Module):
    """The ReLU MLP that turns an output token into a mask's weights or into scores."""

    def __init__(self, input_dim: int, hidden_dim: int, output_dim: int, num_layers: int = 3):
        super().__init__()
        self.proj_in = nn.Linear(input_dim, hidden_dim)
        self.layers = nn.ModuleList(nn.Linear(hidden_dim, hidden_dim) for _ in range(num_layers - 2))
        self.proj_out = nn.Linear(hidden_dim, output_dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map (..., input_dim) to (..., output_dim)."""
        hidden = F.relu(self.proj_in(tokens))
        for layer in self.layers:
            hidden = F.relu(layer(hidden))
        return self.proj_out(hidden)


class EncoderNeck(nn.Module):
    """Two convolutions that bring an encoder's features to the width of the mask decoder."""

    def __init__(self, hidden_size: int, output_channels: int, layer_norm_eps: float):
        super().__init__()
        self.conv1 = nn.Conv2d(hidden_size, output_channels, kernel_size=1, bias=False)
        self.layer_norm1 = LayerNorm2d(output_channels, eps=layer_norm_eps)
        self.conv2 = nn.Conv2d(output_channels, output_channels, kernel_size=3, padding=1, bias=False)
        self.layer_norm2 = LayerNorm2d(output_channels, eps=layer_norm_eps)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Map (B, h, w, C) to image embeddings (B, output_channels, h, w)."""
        features = self.layer_norm1(self.conv1(hidden_states.permute(0, 3, 1, 2)))
        return self.layer_norm2(self.conv2(features))


def split_windows(hidden_states: torch.Tensor, window_size: int) -> torch.Tensor:
    """Cut a map into windows, padded with zeros at its right and bottom where the window does not divide it.

    Args:
        hidden_states: Features (B, H, W, C).
        window_size: Side of a window.

    Returns:
        Windows (B * windows, window_size, window_size, C), row by row.
    """
    batch_size, height, width, channels = hidden_states.shape
    pad_bottom, pad_right = -height % window_size, -width % window_size
    if pad_bottom or pad_right:
        hidden_states = F.pad(hidden_states, (0, 0, 0, pad_right, 0, pad_bottom))
    rows, columns = (height + pad_bottom) // window_size, (width + pad_right) // window_size
    windows = hidden_states.reshape(batch_size, rows, window_size, columns, window_size, channels)
    # (B, rows, window, columns, window, C) -> (B * rows * columns, window, window, C)
    return windows.transpose(2, 3).reshape(-1, window_size, window_size, channels)


def merge_windows(windows: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Undo `split_windows`, padding dropped.

    Args:
        windows: Windows (B * windows, window_size, window_size, C).
        height: Height of the map that was cut.
        width: Its width.

    Returns:
        Features (B, height, width, C).
    """
    _, window_size, _, channels = windows.shape
    rows, columns = -(-height // window_size), -(-width // window_size)
    merged = windows.reshape(-1, rows, columns, window_size, window_size, channels).transpose(2, 3)
    merged = merged.reshape(-1, rows * window_size, columns * window_size, channels)
    return merged[:, :height, :width]
