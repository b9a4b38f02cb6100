"""Masks that callers give at photo size: segmentation maps to train on, and rough masks as prompts."""

from typing import Any

import torch

from sam_hq_numpy.prompt_labels import LARGEST_LOGIT, ROUGH_MASK_LOGIT
from sam_hq_numpy.prompt_nesting import masks_per_object
from sam_hq_numpy.prompt_warnings import warn_about_prompt, warn_if_no_logits

from ..model.losses import IGNORED_LABEL
from .mask_frames import photo_masks_to_logits

# The line that called `SamHQProcessor`, as `warnings.warn` counts from `_prompt_logits`.
_CALLERS_LINE = 6
_FAINTEST = 64  # the brightest value of 255 that shades may have
_GENTLEST = 2  # how far shades that fill areas are from the next, where there are many


def binary_stacks(segmentation_maps: Any, original_sizes: list[tuple[int, int]]) -> list[torch.Tensor]:
    """Read segmentation maps.

    Args:
        segmentation_maps: Nested [image][object] of (H, W), see `sam_hq_numpy.prompt_nesting.masks_per_object`.
        original_sizes: (height, width) of every image.

    Returns:
        Per image (p, H, W) int16 of 0, 1 and -100 (ignored), photo frame.

    Raises:
        TypeError: No masks.
        ValueError: Not binary, another size than the image, or no object in any image.
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
    """Read mask prompts: logits of the low-res frame as they are, masks as logits.

    What holds only 0 and 1, or 0 and 255, is a mask, whatever its dtype, and so are integers of 0 and one other number:
    of the image where it has the photo's size, else of the padded frame at the low-res frame's size. Logits that happen
    to hold nothing else are read so too. Other floating point numbers of the low-res frame's size are logits. Anything
    else has to be at photo size: integers from 0 to 255, or probabilities in [0, 1].

    Args:
        masks_per_image: [image][object] of (h, w), from `sam_hq_numpy.prompt_nesting.masks_per_object`.
        original_sizes: (height, width) of every image.
        reshaped_sizes: (height, width) of every image in the resized frame.
        frame_size: (height, width) of the padded frame.
        mask_size: (height, width) of the low-res frame.

    Returns:
        Per image (p, h, w) float32 logits, of `mask_size`.

    Raises:
        ValueError: A mask of another size, a label map, or values that are neither logits nor a rough mask.
    """
    stacks = []
    for i, masks in enumerate(masks_per_image):
        logits = torch.zeros((len(masks), *mask_size), dtype=torch.float32)
        for j, mask in enumerate(masks):
            name = f"input_masks[{i}][{j}]"
            logits[j] = _prompt_logits(mask, name, original_sizes[i], reshaped_sizes[i], frame_size, mask_size)
        stacks.append(logits)
    return stacks


def _prompt_logits(
    mask: torch.Tensor,
    name: str,
    original_size: tuple[int, int],
    reshaped_size: tuple[int, int],
    frame_size: tuple[int, int],
    mask_size: tuple[int, int],
) -> torch.Tensor:
    """One mask prompt (h, w) as logits of `mask_size`."""
    size = tuple(mask.shape)
    is_binary = _holds_only(mask, 1) or _holds_only(mask, 255) or _holds_one_label(mask)
    if is_binary:
        mask = mask != 0
    if is_binary and size in (original_size, mask_size) and not mask.any():
        warn_about_prompt(f"{name} is an empty mask, it shows no object", _CALLERS_LINE)
    if size == original_size and (is_binary or original_size != mask_size):
        _refuse_label_map(mask, name)
        rough = _probabilities(mask, name)
        logits = photo_masks_to_logits(rough[None], reshaped_size, frame_size, mask_size)[0]
        if original_size != mask_size and mask.any() and (logits < 0).all():
            message = f"{name} shows no object: none of its values, up to {float(mask.max()):g}, is above half"
            warn_about_prompt(message, _CALLERS_LINE)
        return logits
    if size == mask_size and is_binary:
        return torch.where(mask, ROUGH_MASK_LOGIT, -ROUGH_MASK_LOGIT)
    if size == mask_size and mask.is_floating_point():
        _check_logits(mask, name)
        return mask
    raise ValueError(
        f"{name} must be floating point logits or a mask of zeros and ones of shape {mask_size}, or a rough mask of "
        f"its image's shape {original_size} (height, width), got {mask.dtype} {size}"
    )


def _holds_only(mask: torch.Tensor, foreground: int) -> bool:
    return bool(((mask == 0) | (mask == foreground)).all())


def _holds_one_label(mask: torch.Tensor) -> bool:
    """Whether integers are 0 and one other number, as 0 and 128, or 0 and the number of a class."""
    if mask.is_floating_point() or mask.dtype == torch.bool or (mask != 0).all():
        return False
    largest = int(mask.to(torch.int64).max())
    return 0 < largest <= 255 and _holds_only(mask, largest)


def _check_logits(mask: torch.Tensor, name: str) -> None:
    largest = float(mask.abs().max())
    if not largest <= LARGEST_LOGIT:  # NaN is not either
        raise ValueError(f"{name} must be finite logits of at most {LARGEST_LOGIT:g}, got {largest:g}")
    warn_if_no_logits(name, mask, _CALLERS_LINE + 1)


def _refuse_label_map(mask: torch.Tensor, name: str) -> None:
    """Refuse integers of three or more values that are no shades of one mask.

    Shades are few and on the edges of an object, or change from pixel to pixel; labels fill areas, or are all small.
    """
    if mask.is_floating_point() or mask.dtype == torch.bool:
        return
    levels = mask.unique()
    if len(levels) <= 2 or levels[0] < 0 or levels[-1] > 255:
        return
    between = (mask != levels[0]) & (mask != levels[-1])
    values = mask.to(torch.int16)
    is_inside = torch.zeros_like(between)
    is_inside[1:-1, 1:-1] = between[1:-1, 1:-1]
    for axis in (0, 1):
        for shift in (1, -1):
            is_inside &= values == values.roll(shift, axis)
    fills_areas = bool(is_inside.sum() * 2 > between.sum())
    if levels[-1] < _FAINTEST or (fills_areas and not _changes_gently(values)):
        named = ", ".join(str(level) for level in levels[:5].tolist()) + (", ..." if len(levels) > 5 else "")
        raise ValueError(
            f"{name} must be one mask, got {mask.dtype} of the values {named}, a label map: give each object a mask of "
            "its own, such as label_map == 1, or shades as floats from 0 to 1"
        )


def _changes_gently(values: torch.Tensor) -> bool:
    """Whether neighbours that differ do so by little, nearly all of them: the shades of a wide blur, not labels."""
    steps = torch.cat([(values.diff(dim=axis)).abs().flatten() for axis in (0, 1)])
    return bool((steps > _GENTLEST).sum() * 8 < (steps > 0).sum())


def _probabilities(mask: torch.Tensor, name: str) -> torch.Tensor:
    values = mask.to(torch.float32)
    whole = not mask.is_floating_point() and mask.dtype != torch.bool
    highest = 255 if whole or _holds_only(mask, 255) else 1
    if not (torch.isfinite(values).all() and values.min() >= 0 and values.max() <= highest):
        raise ValueError(
            f"{name} as a rough mask at photo size must be bool, 0 and 1, integers of 0 to 255 or floats in [0, 1], "
            f"got {mask.dtype} of {float(values.min()):g} to {float(values.max()):g}"
        )
    return values / 255 if values.max() > 1 else values


def _binary_labels(mask: torch.Tensor, name: str) -> torch.Tensor:
    # Of 64 bits without a sign, the largest numbers would become negative ones.
    signed = mask if mask.is_floating_point() else mask.to(torch.float64 if mask.dtype == torch.uint64 else torch.int64)
    for foreground in (1, 255):
        is_foreground, ignored = signed == foreground, signed == IGNORED_LABEL
        if (is_foreground | ignored | (signed == 0)).all():
            return is_foreground.to(torch.int16).masked_fill(ignored, IGNORED_LABEL)
    raise ValueError(
        f"{name} must be binary (0 and 1, or 0 and 255), one mask per object, got {signed.unique()[:5].tolist()}"
    )
