"""Masks that callers give at photo size: segmentation maps to train on, and rough masks as prompts."""

from typing import Any

import torch

from sam_hq_numpy.prompt_nesting import masks_per_object

from .mask_frames import IGNORED_LABEL, photo_masks_to_logits


def binary_stacks(segmentation_maps: Any, original_sizes: list[tuple[int, int]]) -> list[torch.Tensor]:
    """Read segmentation maps.

    Args:
        segmentation_maps: nested [image][object] of (H, W), see `sam_hq_numpy.prompt_nesting.masks_per_object`.
        original_sizes: (height, width) of every image.

    Returns:
        Per image (p, H, W) int16 of 0, 1 and -100 (ignored), photo frame.

    Raises:
        TypeError: no masks.
        ValueError: not binary, another size than the image, or no object in any image.
    """
    stacks = []
    per_image = masks_per_object(segmentation_maps, len(original_sizes), "segmentation_maps")
    for i, (masks, original_size) in enumerate(zip(per_image, original_sizes, strict=True)):
        for j, mask in enumerate(masks):
            if tuple(mask.shape) != original_size:
                raise ValueError(
                    f"segmentation_maps[{i}][{j}] is {tuple(mask.shape)}, its image is {original_size} (height, width)"
                )
            masks[j] = _binary_labels(mask, f"segmentation_maps[{i}][{j}]")
        stacks.append(torch.stack(masks) if masks else torch.zeros((0, *original_size), dtype=torch.int16))
    if not any(len(stack) for stack in stacks):
        raise ValueError("segmentation_maps has no object in any image")
    return stacks


def mask_prompt_stacks(
    masks_per_image: list[list[torch.Tensor]],
    original_sizes: list[tuple[int, int]],
    reshaped_sizes: list[tuple[int, int]],
    frame_size: tuple[int, int],
    mask_size: tuple[int, int],
) -> list[torch.Tensor]:
    """Read mask prompts: low-res logits as they are, rough masks at photo size as logits.

    A floating point mask of the low-res frame's size is logits. Anything else has to be at photo size: bool, 0 and 1,
    0 to 255 as integers, or probabilities in [0, 1]. A photograph that happens to have the low-res frame's size leaves
    the decision to the dtype alone.

    Args:
        masks_per_image: [image][object] of (h, w), from `sam_hq_numpy.prompt_nesting.masks_per_object`.
        original_sizes: (height, width) of every photograph.
        reshaped_sizes: (height, width) of every image in the resized frame.
        frame_size: (height, width) of the padded frame.
        mask_size: (height, width) of the low-res frame.

    Returns:
        Per image (p, h, w) float32 logits, of `mask_size`.

    Raises:
        ValueError: a mask of another size, or values that are neither logits nor a rough mask.
    """
    stacks = []
    for i, (masks, original_size, reshaped_size) in enumerate(
        zip(masks_per_image, original_sizes, reshaped_sizes, strict=True)
    ):
        logits = torch.zeros((len(masks), *mask_size), dtype=torch.float32)
        for j, mask in enumerate(masks):
            name = f"input_masks[{i}][{j}]"
            if mask.is_floating_point() and tuple(mask.shape) == mask_size:
                if not torch.isfinite(mask).all():
                    raise ValueError(f"{name} must be finite, got NaN or infinity")
                logits[j] = mask
            elif tuple(mask.shape) == original_size:
                rough = _probabilities(mask, name)
                logits[j] = photo_masks_to_logits(rough[None], reshaped_size, frame_size, mask_size)[0]
            else:
                raise ValueError(
                    f"{name} must be floating point logits of shape {mask_size} or a rough mask of its image's shape "
                    f"{original_size} (height, width), got {mask.dtype} {tuple(mask.shape)}"
                )
        stacks.append(logits)
    return stacks


def _probabilities(mask: torch.Tensor, name: str) -> torch.Tensor:
    values = mask.to(torch.float32)
    highest = 1 if mask.is_floating_point() or mask.dtype == torch.bool else 255
    if not (torch.isfinite(values).all() and values.min() >= 0 and values.max() <= highest):
        raise ValueError(
            f"{name} as a rough mask at photo size must be bool, 0 and 1, integers of 0 to 255 or floats in [0, 1], "
            f"got {mask.dtype} of {float(values.min()):g} to {float(values.max()):g}"
        )
    return values / 255 if values.max() > 1 else values


def _binary_labels(mask: torch.Tensor, name: str) -> torch.Tensor:
    signed = mask if mask.is_floating_point() else mask.to(torch.int64)
    for foreground in (1, 255):
        is_foreground, ignored = signed == foreground, signed == IGNORED_LABEL
        if (is_foreground | ignored | (signed == 0)).all():
            return is_foreground.to(torch.int16).masked_fill(ignored, IGNORED_LABEL)
    raise ValueError(
        f"{name} must be binary (0 and 1, or 0 and 255), one mask per object, got {signed.unique()[:5].tolist()}"
    )
