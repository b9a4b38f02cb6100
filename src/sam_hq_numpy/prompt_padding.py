"""Ragged prompts, split by image and object, to arrays and tensors of one shape; torch is needed for tensors alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .prompt_labels import PADDING_LABEL

if TYPE_CHECKING:
    import torch


def padded_objects(objects: list[list[np.ndarray]], item_shape: tuple[int, ...], fill: float) -> np.ndarray:
    """Pad ragged lists of objects to one array.

    Args:
        objects: One list per image with an array (n, *item_shape) per object.
        item_shape: Shape of one of the n items.
        fill: Value of the padding.

    Returns:
        (B, P, N, *item_shape) with the largest P and N there is, in the arrays' dtype.
    """
    object_count = max(len(image) for image in objects)
    item_count = max((len(of_object) for image in objects for of_object in image), default=0)
    dtype = next((of_object.dtype for image in objects for of_object in image), np.float64)
    padded = np.full((len(objects), object_count, item_count, *item_shape), fill, dtype=dtype)
    for i, image in enumerate(objects):
        for j, of_object in enumerate(image):
            padded[i, j, : len(of_object)] = of_object
    return padded


def pad_stacks(stacks: Sequence[torch.Tensor], item_shape: tuple[int, ...], fill: float) -> torch.Tensor:
    """Pad per-image stacks (p, *item_shape) to (B, P, *item_shape), the missing objects filled with `fill`."""
    import torch

    object_count = max(len(stack) for stack in stacks)
    padded = torch.full((len(stacks), object_count, *item_shape), fill, dtype=stacks[0].dtype)
    for i, stack in enumerate(stacks):
        padded[i, : len(stack)] = stack
    return padded


def pad_points(points: list[list[np.ndarray]], labels: list[list[np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad points with zeros and their labels with -10: (B, P, N, 2) float64 and (B, P, N) int64."""
    import torch

    padded = padded_objects(points, (2,), 0.0), padded_objects(labels, (), PADDING_LABEL)
    return torch.from_numpy(padded[0]), torch.from_numpy(padded[1])
