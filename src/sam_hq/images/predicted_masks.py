"""Low-resolution masks as callers hand them back, to be brought to photo size: checked, and freed of padding."""

from typing import Any

import numpy as np
import torch

from sam_hq_numpy.nested_numbers import check_readable
from sam_hq_numpy.number_limits import counted, shown


def checked_logits(masks: Any, valid_objects: Any) -> list[torch.Tensor]:
    """List the predicted masks of each image.

    Args:
        masks: (B, P, M, h, w) logits, or a list of (P, M, h, w); arrays or tensors.
        valid_objects: (B, P) bool, objects that are no padding; None keeps all.

    Returns:
        Per image (p, M, h, w), those of its valid objects.

    Raises:
        TypeError: Masks that are no tensors or arrays of floating point numbers, or marks that are none.
        ValueError: Wrong ranks, NaN, or marks of other images or objects.
    """
    if not isinstance(masks, torch.Tensor | np.ndarray | list | tuple):
        raise TypeError(f"masks must be a tensor or a list of tensors, got {type(masks).__name__}")
    check_readable("masks", masks)
    if isinstance(masks, torch.Tensor | np.ndarray) and masks.ndim != 5:
        raise ValueError(f"masks must be (images, objects, masks, h, w), got shape {tuple(masks.shape)}")
    listed = [_logits(of_image, f"masks[{i}]") for i, of_image in enumerate(masks)]
    if valid_objects is None:
        return listed
    try:
        marks = torch.as_tensor(valid_objects)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"valid_objects must be a tensor of truth values, got {shown(valid_objects, 80)}") from error
    if marks.dtype != torch.bool or marks.ndim != 2 or len(marks) != len(listed):
        raise ValueError(f"valid_objects must be ({len(listed)}, objects) bool, got {marks.dtype} {tuple(marks.shape)}")
    for i, of_image in enumerate(listed):
        if len(of_image) != marks.shape[1]:
            raise ValueError(
                f"valid_objects has {counted(marks.shape[1], 'object')} per image, masks[{i}] has {len(of_image)}"
            )
    return [of_image[mark.to(of_image.device)] for of_image, mark in zip(listed, marks, strict=True)]


def _logits(of_image: Any, name: str) -> torch.Tensor:
    if not isinstance(of_image, torch.Tensor | np.ndarray):
        raise TypeError(f"{name} must be a tensor or an array, got {type(of_image).__name__}")
    check_readable(name, of_image)
    if isinstance(of_image, np.ndarray) and of_image.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold numbers, got an array of {of_image.dtype}")
    if isinstance(of_image, np.ndarray):  # torch takes no swapped bytes, no negative strides and nothing read-only
        of_image = np.array(of_image, of_image.dtype.newbyteorder("="), order="C")
    logits = torch.as_tensor(of_image)
    if not logits.is_floating_point():
        raise TypeError(f"{name} must be floating point logits as the model returns, got {logits.dtype}")
    if logits.isnan().any():
        raise ValueError(f"{name} must be logits, got NaN")
    if logits.ndim != 4 or 0 in logits.shape[1:]:
        raise ValueError(f"{name} must be (objects, masks, h, w), got shape {tuple(logits.shape)}")
    return logits
