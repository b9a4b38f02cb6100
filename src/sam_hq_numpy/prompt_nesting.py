"""Nested lists, arrays and tensors of prompts, split by image and object.

What a caller passes is nested image, object, point, and may be ragged at every level. Here it becomes one list per
image with one entry per object, which `prompt_padding` makes regular. Coordinates stay in the caller's frame, in
float64. torch is imported only where tensors are made: `sam_hq_onnx` reads prompts here too, without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .nested_numbers import MAX_LEVELS, check_readable, holds_a_number, is_array, is_empty, nesting_depth, plain_numbers
from .number_limits import counted, shown

if TYPE_CHECKING:
    import torch


def points_per_object(input_points: Any, batch_size: int) -> list[list[np.ndarray]]:
    """Split points by image and object.

    Args:
        input_points: Nested [image][object][point][x, y], or [image][point][x, y] for one object per image. An image
            without objects and an object without points are `[]` or None.
        batch_size: Number of images.

    Returns:
        One list per image with a (n, 2) float64 array per object.

    Raises:
        TypeError: No nested numbers.
        ValueError: Another nesting, another number of images, or a point that is not x, y.
    """
    forms = "[image][object][point][x, y]", "[image][point][x, y]"
    images = _objects_per_image(input_points, batch_size, "input_points", 4, forms)
    return [
        [_rows(points, 2, f"input_points[{i}][{j}]") for j, points in enumerate(_entries(image, f"input_points[{i}]"))]
        for i, image in enumerate(images)
    ]


def labels_per_object(input_labels: Any, points: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    """Split labels as their points are split.

    Args:
        input_labels: Nested [image][object][point], or [image][point] for one object per image; None: all foreground.
        points: What `points_per_object` returned.

    Returns:
        One list per image with a (n,) int64 array per object.

    Raises:
        TypeError: No nested numbers.
        ValueError: Another nesting, not one label per point, or labels that are no whole numbers.
    """
    if input_labels is None:
        return [[np.ones(len(of_object), dtype=np.int64) for of_object in image] for image in points]
    images = _per_image(input_labels, len(points), "input_labels")
    depth = nesting_depth(input_labels)
    if depth == 2 and all(len(objects) <= 1 for objects in points):
        images = [
            [] if is_empty(image) and not objects else [image] for image, objects in zip(images, points, strict=True)
        ]
    elif depth != 3:
        raise ValueError(
            "input_labels must be nested [image][object][point], or [image][point] for one object per image, "
            f"got {depth} levels"
        )
    labels: list[list[np.ndarray]] = []
    for i, (image, objects) in enumerate(zip(images, points, strict=True)):
        entries = _entries(image, f"input_labels[{i}]")
        if len(entries) != len(objects):
            raise ValueError(
                f"input_labels[{i}] has {counted(len(entries), 'object')}, input_points[{i}] has {len(objects)}"
            )
        labels.append([])
        for j, (entry, of_object) in enumerate(zip(entries, objects, strict=True)):
            name = f"input_labels[{i}][{j}]"
            values = np.zeros(0) if is_empty(entry) else plain_numbers(entry, name, allow_bool=True)
            if values.shape != (len(of_object),):
                raise ValueError(
                    f"{name} must have a label for each of {counted(len(of_object), 'point')}, got shape {values.shape}"
                )
            if not np.array_equal(values, np.round(values)):
                raise ValueError(f"{name} must hold whole numbers, got {values.tolist()}")
            labels[-1].append(values.astype(np.int64))
    return labels


def boxes_per_image(input_boxes: Any, batch_size: int) -> list[np.ndarray]:
    """Split boxes by image.

    Args:
        input_boxes: Nested [image][object][x0, y0, x1, y1], or [image][x0, y0, x1, y1] for one object per image.
        batch_size: Number of images.

    Returns:
        A (p, 4) float64 array per image.

    Raises:
        TypeError: No nested numbers.
        ValueError: Another nesting, another number of images, or a box that has not four numbers.
    """
    forms = "[image][object][x0, y0, x1, y1]", "[image][x0, y0, x1, y1]"
    images = _objects_per_image(input_boxes, batch_size, "input_boxes", 3, forms)
    return [_rows(image, 4, f"input_boxes[{i}]") for i, image in enumerate(images)]


def nested_prompts(
    batch_size: int, input_points: Any, input_labels: Any, input_boxes: Any
) -> tuple[list[list[np.ndarray]] | None, list[list[np.ndarray]] | None, list[np.ndarray] | None]:
    """Split points, their labels and boxes by image and object.

    Args:
        batch_size: Number of images.
        input_points: See `points_per_object`, or None.
        input_labels: See `labels_per_object`.
        input_boxes: See `boxes_per_image`, or None.

    Returns:
        Points, labels and boxes, each None where it was not given; labels wherever there are points.

    Raises:
        TypeError: No nested numbers.
        ValueError: Another nesting, another number of images, or labels without points.
    """
    if input_labels is not None and input_points is None:
        raise ValueError("input_labels were given without input_points, every label belongs to a point")
    points = None if input_points is None else points_per_object(input_points, batch_size)
    labels = None if points is None else labels_per_object(input_labels, points)
    return points, labels, None if input_boxes is None else boxes_per_image(input_boxes, batch_size)


def check_every_object_has_points(points: list[list[np.ndarray]]) -> None:
    """Refuse objects that nothing shows, where points are the only prompts.

    Args:
        points: What `points_per_object` returned.

    Raises:
        ValueError: An object without points.
    """
    for i, image in enumerate(points):
        for j, of_object in enumerate(image):
            if len(of_object) == 0:
                raise ValueError(f"input_points[{i}][{j}] has no point, and the object has neither a box nor a mask")


def masks_per_object(masks: Any, batch_size: int, name: str) -> list[list[torch.Tensor]]:
    """Split masks by image and object.

    Args:
        masks: Nested [image][object] of (h, w) arrays, tensors or PIL images, where an image's entry may be one
            (P, h, w) stack, one (h, w) mask for one object, and `[]` or None for no object. For a single image the
            outer level may be left out.
        batch_size: Number of images.
        name: The argument's name, for messages.

    Returns:
        One list per image with a (h, w) tensor per object.

    Raises:
        TypeError: No masks.
        ValueError: Wrong ranks or another number of images.
    """
    if not (isinstance(masks, Image.Image | list | tuple) or (is_array(masks) and masks.ndim > 1)):
        raise TypeError(f"{name} must be nested [image][object] of (h, w) masks, got {type(masks).__name__}")
    check_readable(name, masks)
    one_mask = isinstance(masks, Image.Image) or (is_array(masks) and masks.ndim == 2)
    one_stack = batch_size == 1 and (
        (is_array(masks) and masks.ndim == 3) or (isinstance(masks, list | tuple) and len(masks) > 1)
    )
    images = [masks] if one_mask or one_stack else list(masks)
    if len(images) != batch_size:
        raise ValueError(f"{name} is for {counted(len(images), 'image')}, but there are {batch_size}")
    split = []
    for i, image in enumerate(images):
        if isinstance(image, Image.Image) or (is_array(image) and image.ndim == 2):
            entries = [image]
        elif (is_array(image) and image.ndim) or isinstance(image, list | tuple):
            check_readable(f"{name}[{i}]", image)
            entries = list(image)
        elif image is None:
            entries = []
        else:
            raise TypeError(f"{name}[{i}] must hold (h, w) masks, got {type(image).__name__}")
        split.append([_mask(entry, f"{name}[{i}][{j}]") for j, entry in enumerate(entries)])
    return split


def object_counts(batch_size: int, **prompts: Sequence | None) -> list[int]:
    """Count the objects of every image, which all prompts have to agree on.

    Args:
        batch_size: Number of images.
        **prompts: Per-image sequences of objects by the argument's name; None is skipped.

    Returns:
        B counts; empty when no prompt is given. Prompts of no object in any image are B zeros: nothing is wanted.

    Raises:
        ValueError: Prompts that disagree.
    """
    given = {name: [len(image) for image in prompt] for name, prompt in prompts.items() if prompt is not None}
    for i in range(batch_size):
        if len({counts[i] for counts in given.values()}) > 1:
            listed = ", ".join(f"{name} has {counts[i]}" for name, counts in given.items())
            raise ValueError(f"all prompts must have the same number of objects per image, but in image {i} {listed}")
    if not given:
        return []
    return next(iter(given.values()))


def _entries(value: Any, name: str) -> list:
    if is_empty(value):
        return []
    if not (isinstance(value, list | tuple) or (is_array(value) and value.ndim)):
        raise TypeError(f"{name} must be a list, an array or a tensor of objects, got {shown(value, 80)}")
    return list(value)


def _per_image(value: Any, batch_size: int, name: str) -> list:
    if not (isinstance(value, list | tuple) or (is_array(value) and value.ndim > 0)):
        raise TypeError(f"{name} must be nested lists, an array or a tensor, got {type(value).__name__}")
    check_readable(name, value)
    if nesting_depth(value) > MAX_LEVELS:
        raise ValueError(f"{name} must have at most {MAX_LEVELS} levels, got more")
    if len(value) != batch_size:
        raise ValueError(
            f"{name} is for {counted(len(value), 'image')} (its outermost level), but there are {batch_size}"
        )
    return list(value)


def _objects_per_image(value: Any, batch_size: int, name: str, levels: int, forms: tuple[str, str]) -> list:
    """The objects of each image, from prompts that may lack the level of objects: one per image then."""
    images = _per_image(value, batch_size, name)
    depth = nesting_depth(value)
    if depth == levels or not holds_a_number(value):
        return images
    if depth != levels - 1:
        raise ValueError(
            f"{name} must be nested {forms[0]}, or {forms[1]} for one object per image, got {depth} levels"
        )
    return [[] if is_empty(image) else [image] for image in images]


def _rows(value: Any, width: int, name: str) -> np.ndarray:
    if is_empty(value):
        return np.zeros((0, width))
    rows = plain_numbers(value, name)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ValueError(f"{name} must have shape (count, {width}), got {rows.shape}")
    return rows


def _mask(value: Any, name: str) -> torch.Tensor:
    import torch

    if isinstance(value, Image.Image):
        value = np.array(value)
    if not is_array(value):
        raise TypeError(f"{name} must be an array, a tensor or a PIL image, got {type(value).__name__}")
    check_readable(name, value)
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold numbers, got an array of {value.dtype}")
        value = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("="), order="C"))
    if value.ndim == 3 and value.shape[0] == 1:
        value = value[0]
    if value.ndim != 2 or 0 in value.shape:
        raise ValueError(f"{name} must be one mask of shape (h, w), got {tuple(value.shape)}")
    return value.detach().cpu()
