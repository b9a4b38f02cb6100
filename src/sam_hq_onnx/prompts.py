"""Nested prompts in pixels of the photo to the decoder's inputs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sam_hq_numpy.number_limits import counted
from sam_hq_numpy.prompt_labels import LARGEST_LOGIT, PADDING_LABEL, POINT_LABELS, ROUGH_MASK_LOGIT
from sam_hq_numpy.prompt_nesting import (
    check_every_object_has_points,
    nested_prompts,
    object_counts,
)
from sam_hq_numpy.prompt_padding import padded_objects
from sam_hq_numpy.prompt_warnings import warn_about_prompt, warn_about_prompts, warn_if_no_logits

PROMPT_INPUTS = ("input_points", "input_labels", "input_boxes", "has_box", "input_masks", "has_mask")

Size = tuple[int, int]


def decoder_prompts(
    original_sizes: Sequence[Size],
    reshaped_sizes: Sequence[Size],
    mask_size: int,
    input_points: Any = None,
    input_labels: Any = None,
    input_boxes: Any = None,
    input_masks: Any = None,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Bring prompts, ragged ones too, into the form that the decoder takes.

    Args:
        original_sizes: Height and width of each of B photos.
        reshaped_sizes: Height and width of each in the resized frame.
        mask_size: Side of a mask prompt.
        input_points: [image][object][point][x, y] in pixels of the photo, see `SamHQProcessor`.
        input_labels: 1 foreground, 0 background; all foreground where they are left out.
        input_boxes: [image][object][x0, y0, x1, y1] in pixels of the photo.
        input_masks: [image][object] of mask logits (s, s), such as an earlier `low_res_masks[:, 0]`, or of masks of
            zeros and ones (s, s) over the padded square.

    Returns:
        The decoder's inputs by name, and which of the P objects of each image are more than padding (B, P).

    Raises:
        TypeError: If a prompt holds no numbers.
        ValueError: If a prompt is misshapen or not finite, or prompts contradict each other.
    """
    batch_size = len(original_sizes)
    points, labels, boxes = nested_prompts(batch_size, input_points, input_labels, input_boxes)
    masks = None if input_masks is None else _mask_stacks(input_masks, batch_size, mask_size)
    counts = object_counts(batch_size, input_points=points, input_boxes=boxes, input_masks=masks) or [1] * batch_size
    objects = max(counts)
    valid = np.arange(objects) < np.array(counts)[:, None]
    scales = np.array(reshaped_sizes, dtype=np.float64)[:, ::-1] / np.array(original_sizes, dtype=np.float64)[:, ::-1]
    if points is not None and boxes is None and masks is None:
        check_every_object_has_points(points)
    prompts = {
        **_points(points, labels, (batch_size, objects), scales),
        **_boxes(boxes, valid, scales),
        "input_masks": np.zeros((batch_size, objects, mask_size, mask_size), dtype=np.float32),
        "has_mask": np.zeros_like(valid) if masks is None else valid,
    }
    # Once none is refused.
    warn_about_prompts(original_sizes, points, labels, boxes, stacklevel=4, masks_too=masks is not None)
    for row, stack in zip(prompts["input_masks"], masks or (), strict=False):
        row[: len(stack)] = stack
    return prompts, valid


def _points(
    points: list[list[np.ndarray]] | None,
    labels: list[list[np.ndarray]] | None,
    shape: Size,
    scales: np.ndarray,
) -> dict[str, np.ndarray]:
    if points is None or labels is None:
        return {
            "input_points": np.zeros((*shape, 1, 2), dtype=np.float32),
            "input_labels": np.full((*shape, 1), PADDING_LABEL, dtype=np.int64),
        }
    scaled: list[list[np.ndarray]] = [[] for _ in points]
    for i, image in enumerate(points):
        for j, of_object in enumerate(image):
            scaled[i].append(_in_float32(f"input_points[{i}][{j}]", of_object, scales[i]))
            if not np.isin(labels[i][j], POINT_LABELS).all():
                raise ValueError(f"input_labels[{i}][{j}] may hold {POINT_LABELS}, got {labels[i][j].tolist()}")
    if not any(len(of_object) for image in points for of_object in image):
        return _points(None, None, shape, scales)
    return {
        "input_points": padded_objects(scaled, (2,), 0.0),
        "input_labels": padded_objects(labels, (), PADDING_LABEL).astype(np.int64),
    }


def _boxes(boxes: list[np.ndarray] | None, valid: np.ndarray, scales: np.ndarray) -> dict[str, np.ndarray]:
    scaled = np.zeros((*valid.shape, 4), dtype=np.float32)
    for i, of_image in enumerate(boxes or ()):
        scaled[i, : len(of_image)] = _in_float32(f"input_boxes[{i}]", of_image, np.tile(scales[i], 2))
        turned = of_image[(of_image[:, 2:] < of_image[:, :2]).any(axis=1)].tolist()
        if turned:
            raise ValueError(f"input_boxes[{i}] must be x0, y0, x1, y1 with x1 >= x0 and y1 >= y0, got {turned[0]}")
    return {"input_boxes": scaled, "has_box": np.zeros_like(valid) if boxes is None else valid}


def _mask_stacks(input_masks: Any, batch_size: int, mask_size: int) -> list[np.ndarray]:
    """Mask prompts of each image, (p, s, s) float32."""
    wanted = "nested [image][object] of mask logits"
    if not isinstance(input_masks, list | tuple) and not (isinstance(input_masks, np.ndarray) and input_masks.ndim):
        raise TypeError(f"input_masks must be {wanted}, got {input_masks!r}")
    if len(input_masks) != batch_size:
        raise ValueError(f"input_masks must be {wanted}, for {counted(batch_size, 'image')}, got {len(input_masks)}")
    return [_mask_stack(f"input_masks[{i}]", of_image, mask_size) for i, of_image in enumerate(input_masks)]


def _mask_stack(name: str, of_image: Any, mask_size: int) -> np.ndarray:
    shape = f"(objects, {mask_size}, {mask_size})"
    wanted = f"{name} must be floating point logits or masks of zeros and ones of shape {shape}"
    try:
        stack = np.asarray([] if of_image is None else of_image)
    except ValueError as error:
        raise ValueError(f"{wanted}, got masks of several shapes") from error
    if stack.ndim == 0:
        raise TypeError(f"{wanted}, got {of_image!r}")
    if not len(stack):
        return np.zeros((0, mask_size, mask_size), dtype=np.float32)
    if stack.shape[1:] != (mask_size, mask_size) or stack.dtype.kind not in "biuf":
        raise ValueError(f"{wanted}, got {stack.dtype} {stack.shape}")
    return np.stack([_mask_logits(f"{name}[{j}]", mask) for j, mask in enumerate(stack)])


def _mask_logits(name: str, mask: np.ndarray) -> np.ndarray:
    # As the processor reads them: what holds nothing but two values is a mask, whatever its dtype.
    if any(((mask == 0) | (mask == foreground)).all() for foreground in (1, 255)):
        if not mask.any():
            warn_about_prompt(f"{name} is an empty mask, it shows no object", stacklevel=8)
        return np.where(mask != 0, ROUGH_MASK_LOGIT, -ROUGH_MASK_LOGIT).astype(np.float32)
    largest = np.abs(mask).max()
    if mask.dtype.kind != "f" or not largest <= LARGEST_LOGIT:  # NaN is not either
        raise ValueError(
            f"{name} must be finite floating point logits of at most {LARGEST_LOGIT:g}, or a mask of zeros and ones, "
            f"got {mask.dtype} of up to {largest:g}"
        )
    warn_if_no_logits(name, mask, stacklevel=8)
    return mask.astype(np.float32)


def _in_float32(name: str, values: np.ndarray, scale: np.ndarray | float = 1.0) -> np.ndarray:
    """Scale, and bring to the precision that the decoder takes; what overflows there is refused as infinity is."""
    with np.errstate(over="ignore"):
        narrow = (values * scale).astype(np.float32)
    if not np.isfinite(narrow).all():
        raise ValueError(f"{name} must be finite in 32 bits, got NaN, infinity or numbers too large")
    return narrow
