"""The rules that prompts have to keep, in one place for the processor and for the model's forward.

Shapes: B images, P objects per image, N points per object, s the side of low-resolution mask logits.
Coordinates are x, y in pixels of the resized image. Prompts outside the image are allowed: the positional
encoding is defined everywhere and a box that reaches over the border is an ordinary answer of a detector.
"""

import itertools

import torch

from sam_hq_numpy.number_limits import counted
from sam_hq_numpy.prompt_labels import LARGEST_LOGIT, POINT_LABELS
from sam_hq_numpy.prompt_warnings import holds_labels, warn_about_prompt


def check_points(input_points: torch.Tensor, check_values: bool = True) -> None:
    """Check point coordinates.

    Args:
        input_points: (B, P, N, 2) x, y.
        check_values: Look at the numbers too, not only at shape and dtype.

    Raises:
        TypeError: Not a tensor of real numbers.
        ValueError: Wrong rank, no point at all, or NaN or infinity.
    """
    check_real_tensor("input_points", input_points)
    if input_points.ndim != 4 or input_points.shape[-1] != 2 or _is_without_data(input_points):
        raise ValueError(
            "input_points must have shape (images, objects, points, 2) with at least one image and point, "
            f"got {tuple(input_points.shape)}"
        )
    if check_values:
        _check_finite("input_points", input_points)


def check_labels(input_labels: torch.Tensor, input_points: torch.Tensor | None, check_values: bool = True) -> None:
    """Check point labels against their points.

    Args:
        input_labels: (B, P, N): 1 foreground, 0 background, -1 not a point, -10 padding.
        input_points: (B, P, N, 2), the points they belong to.
        check_values: Look at the numbers too, not only at shape and dtype.

    Raises:
        TypeError: Not a tensor of real numbers.
        ValueError: Labels without points, another shape than the points, or an unknown label.
    """
    if input_points is None:
        raise ValueError("input_labels were given without input_points, every label belongs to a point")
    check_real_tensor("input_labels", input_labels, allow_bool=True)
    if input_labels.shape != input_points.shape[:-1]:
        raise ValueError(
            f"input_labels must have one label per point, shape {tuple(input_points.shape[:-1])} for input_points of "
            f"shape {tuple(input_points.shape)}, got {tuple(input_labels.shape)}"
        )
    if check_values:
        known = torch.zeros_like(input_labels, dtype=torch.bool)
        for label in POINT_LABELS:
            known |= input_labels == label
        if not known.all():
            raise ValueError(
                "input_labels may hold 1 (foreground), 0 (background), -1 (not a point) and -10 (padding), "
                f"got {input_labels[~known][0].item():g}"
            )


def check_boxes(input_boxes: torch.Tensor, check_values: bool = True) -> None:
    """Check boxes. A box without area (a line, or the zeros of a padded object) is allowed.

    Args:
        input_boxes: (B, P, 4) x0, y0, x1, y1.
        check_values: Look at the numbers too, not only at shape and dtype.

    Raises:
        TypeError: Not a tensor of real numbers.
        ValueError: Wrong rank, NaN or infinity, or corners in the wrong order.
    """
    check_real_tensor("input_boxes", input_boxes)
    if input_boxes.ndim != 3 or input_boxes.shape[-1] != 4 or _is_without_data(input_boxes):
        raise ValueError(
            f"input_boxes must have shape (images, objects, 4) with at least one image, got {tuple(input_boxes.shape)}"
        )
    if check_values:
        _check_finite("input_boxes", input_boxes)
        reversed_corners = (input_boxes[..., 2:] < input_boxes[..., :2]).any(dim=-1)
        if reversed_corners.any():
            box = [round(value, 2) for value in input_boxes[reversed_corners][0].tolist()]
            raise ValueError(f"input_boxes must be x0, y0, x1, y1 with x1 >= x0 and y1 >= y0, got {box}")


def check_masks(input_masks: torch.Tensor, mask_input_size: int, check_values: bool = True) -> None:
    """Check low-resolution mask prompts.

    Args:
        input_masks: (B, P, s, s) logits in the padded model frame.
        mask_input_size: The side that the model takes: four times its embedding grid.
        check_values: Look at the numbers too, not only at shape and dtype.

    Raises:
        TypeError: Not a tensor of floating point numbers.
        ValueError: Wrong rank or size, NaN or infinity.
    """
    check_real_tensor("input_masks", input_masks)
    if not input_masks.is_floating_point():
        raise TypeError(
            f"input_masks must be floating point logits, got {input_masks.dtype}; "
            "the processor turns rough masks at photo size into logits"
        )
    sides = (mask_input_size, mask_input_size)
    if input_masks.ndim != 4 or tuple(input_masks.shape[-2:]) != sides or _is_without_data(input_masks):
        raise ValueError(
            f"input_masks must have shape (images, objects, {sides[0]}, {sides[1]}) with at least one image, "
            f"got {tuple(input_masks.shape)}"
        )
    if check_values:
        check_within("input_masks", input_masks, LARGEST_LOGIT)
        _warn_of_masks_as_logits(input_masks)


def check_counts(batch_size: int, **prompts: torch.Tensor | None) -> int:
    """Check that all prompts speak of the same images and objects.

    Args:
        batch_size: Number of images.
        **prompts: Tensors that start with (B, P), by the argument's name; None is skipped.

    Returns:
        P, and 1 when there is no prompt: one object per image, as the model takes it.

    Raises:
        ValueError: A prompt for another number of images, or prompts that disagree in the number of objects.
    """
    given = {name: prompt for name, prompt in prompts.items() if prompt is not None}
    for name, prompt in given.items():
        if prompt.shape[0] != batch_size:
            raise ValueError(f"{name} is for {counted(prompt.shape[0], 'image')}, but there are {batch_size}")
    counts = {name: prompt.shape[1] for name, prompt in given.items()}
    # Compared one by one: the symbolic counts of an export cannot be put into a set.
    if any(count != first for first, count in itertools.pairwise(counts.values())):
        listed = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise ValueError(f"all prompts must have the same number of objects per image, but {listed}")
    return next(iter(counts.values()), 1)


def validate_prompts(
    *,
    batch_size: int,
    mask_input_size: int,
    input_points: torch.Tensor | None = None,
    input_labels: torch.Tensor | None = None,
    input_boxes: torch.Tensor | None = None,
    input_masks: torch.Tensor | None = None,
    check_values: bool = True,
) -> int:
    """Check all prompts of one call, each by itself and against each other.

    Args:
        batch_size: Number of images.
        mask_input_size: The side of the mask prompts that the model takes.
        input_points: (B, P, N, 2).
        input_labels: (B, P, N).
        input_boxes: (B, P, 4).
        input_masks: (B, P, s, s).
        check_values: Look at the numbers too; shapes, dtypes and counts alone need no synchronisation with a GPU
            and can be traced.

    Returns:
        P, the number of objects per image; 1 when no prompt is given.

    Raises:
        TypeError: A prompt of the wrong type.
        ValueError: A prompt of the wrong shape or value, or prompts that disagree.
    """
    if input_points is not None:
        check_points(input_points, check_values)
    if input_labels is not None:
        check_labels(input_labels, input_points, check_values)
    if input_boxes is not None:
        check_boxes(input_boxes, check_values)
    if input_masks is not None:
        check_masks(input_masks, mask_input_size, check_values)
    return check_counts(batch_size, input_points=input_points, input_boxes=input_boxes, input_masks=input_masks)


def _warn_of_masks_as_logits(input_masks: torch.Tensor) -> None:
    """Warn about objects whose logits are a mask, its probabilities, or the labels of several objects."""
    if not input_masks.numel():
        return
    low, high = input_masks.detach().flatten(2).aminmax(dim=-1)
    for image, index in ((low >= 0) & (high > 0)).nonzero().tolist():
        if high[image, index] <= 1:
            by_hand = "torch.logit(mask, eps=1e-4) does too"
            fault = f"holds only numbers from 0 to 1; the processor turns masks into logits, {by_hand}"
        elif holds_labels(input_masks[image, index]):
            fault = "seems to be a label map; give each object a mask of its own"
        else:
            continue
        warn_about_prompt(f"input_masks must be logits, but object {index} of image {image} {fault}", stacklevel=9)
        return


def check_real_tensor(name: str, value: object, allow_bool: bool = False) -> None:
    """Refuse what is no ordinary tensor of real numbers, by the argument's name."""
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if value.is_complex() or value.is_quantized or (value.dtype == torch.bool and not allow_bool):
        raise TypeError(f"{name} must hold real numbers, got {value.dtype}")
    if value.layout != torch.strided or value.is_meta:
        raise TypeError(f"{name} must be a plain tensor, got a {value.layout} one on {value.device}")


def _is_without_data(prompt: torch.Tensor) -> bool:
    """Whether a side of (images, objects, ...) is 0: that of the objects may be, there are no masks then."""
    return 0 in prompt.shape and (prompt.shape[0] == 0 or prompt.shape[1] != 0)


def _check_finite(name: str, value: torch.Tensor) -> None:
    if not torch.isfinite(value.float()).all():  # as the model takes it: a large double is infinite there
        raise ValueError(f"{name} must be finite in 32 bits, got NaN, infinity or numbers too large")


def check_within(name: str, value: torch.Tensor, largest: float) -> None:
    """Refuse numbers whose size is above `largest`, and NaN, by the argument's name."""
    if not value.numel():
        return
    low, high = value.detach().aminmax()
    if not (low >= -largest and high <= largest):  # NaN is not either
        raise ValueError(
            f"{name} must be finite and between {-largest:g} and {largest:g}, got {low.item():g} to {high.item():g}"
        )
