"""Photos, masks, scores and prompts of any form as arrays of one form, for the plots."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from sam_hq_numpy.mask_rle import RunLengthMask

from ..images import image_loading


def photo_pixels(photo: object) -> np.ndarray:
    """Load a photo as (H, W, 3) uint8, upright; see `load_rgb` for what is taken and refused."""
    photos = image_loading.flat_image_list(photo)
    if len(photos) != 1:
        raise ValueError(f"photo must be one image, got {len(photos)}")
    return image_loading.photo_pixels(photos[0])


def _array(name: str, values: Any) -> np.ndarray:
    if hasattr(values, "detach"):  # a tensor, perhaps on a device, perhaps bfloat16
        values = values.detach().cpu()
        values = (values if not values.is_floating_point() else values.float()).numpy()
    elif isinstance(values, list | tuple) and any(hasattr(value, "detach") for value in values):
        values = [_array(name, value) for value in values]
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must have one shape, got a ragged list") from error
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold numbers, got {type(values).__name__} of {array.dtype}")
    return array


def _binary(name: str, values: Any, pixels: np.ndarray) -> np.ndarray:
    array = _array(name, values)
    if array.ndim < 2 or array.shape[-2:] != pixels.shape[:2]:
        raise ValueError(
            f"{name} must end in the photo's height and width {pixels.shape[:2]}, but has the shape {array.shape}"
        )
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} must be boolean or hold 0 and 1, such as post_process_masks returns; logits are not")
    return array.astype(bool)


def candidate_masks(name: str, values: Any, pixels: np.ndarray, of_one_object: bool = False) -> np.ndarray:
    """Bring masks of the photo's size to (P, M, H, W) bool.

    Args:
        name: The argument's name, for messages.
        values: (H, W), (P, M, H, W) or (1, P, M, H, W), boolean or 0 and 1. Three dimensions are one mask of each
            object, or the candidates of one object.
        pixels: The photo (H, W, 3).
        of_one_object: Which of the two.

    Raises:
        TypeError: If they are no numbers.
        ValueError: If they have another shape, or are not binary.
    """
    array = _binary(name, values, pixels)
    if array.ndim == 5 and len(array) == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[None]
    if array.ndim == 3:
        array = array[None] if of_one_object else array[:, None]
    if array.ndim != 4 or 0 in array.shape:
        raise ValueError(f"{name} must be (H, W), (P, H, W) or (P, M, H, W) with at least one mask, got {array.shape}")
    return array


def single_mask(name: str, values: Any, pixels: np.ndarray) -> np.ndarray:
    """Bring one mask to (H, W) bool; leading dimensions of one are taken off.

    Args:
        name: The argument's name, for messages.
        values: The mask.
        pixels: The photo (H, W, 3).

    Raises:
        TypeError: If it holds no numbers.
        ValueError: If it has another size than the photo, is not binary, or there are several.
    """
    array = _binary(name, values, pixels)
    if array.size != pixels.shape[0] * pixels.shape[1]:
        raise ValueError(f"{name} must be one mask, got {array.shape}")
    return array.reshape(pixels.shape[:2])


def candidate_scores(values: Any, masks: np.ndarray) -> np.ndarray | None:
    """Bring scores to (P, M).

    Args:
        values: As many numbers as there are masks, in any shape; or None.
        masks: (P, M, H, W).

    Raises:
        TypeError: If they are no numbers.
        ValueError: If there are more or fewer.
    """
    if values is None:
        return None
    array = _array("scores", values).astype(np.float64)
    if array.size != masks.shape[0] * masks.shape[1]:
        raise ValueError(
            f"scores must be one per mask, got {array.shape} for {masks.shape[0]} objects of {masks.shape[1]} masks"
        )
    return array.reshape(masks.shape[:2])


def generated_masks(generated: Any, pixels: np.ndarray) -> list[np.ndarray]:
    """List the masks (H, W) bool of mask generation.

    Args:
        generated: The pipeline's dictionary, the authors' records, or masks.
        pixels: The photo (H, W, 3).

    Raises:
        TypeError: If it is something else.
        ValueError: If masks are missing, or have another size than the photo.
    """
    if isinstance(generated, Mapping):
        if "masks" not in generated:
            raise ValueError(f"generated must hold 'masks', got the keys {sorted(map(str, generated))}")
        generated = generated["masks"]
    if isinstance(generated, Sequence) and generated and all(isinstance(record, Mapping) for record in generated):
        if not all("segmentation" in record for record in generated):
            raise ValueError("every record of generated must hold 'segmentation'")
        generated = [record["segmentation"] for record in generated]
        generated = [
            RunLengthMask.from_dict(each).to_mask() if isinstance(each, Mapping) else each for each in generated
        ]
    if not isinstance(generated, Sequence | np.ndarray) and not hasattr(generated, "detach"):
        raise TypeError(f"generated must hold masks, got {type(generated).__name__}")
    masks = [_binary(f"generated mask {index}", mask, pixels) for index, mask in enumerate(generated)]
    for index, mask in enumerate(masks):
        if mask.ndim != 2:
            raise ValueError(f"generated mask {index} must be (H, W), got {mask.shape}")
    return masks


def flat_numbers(name: str, values: Any, size: int) -> np.ndarray:
    """Numbers in any nesting, ragged too, as (N, size).

    Args:
        name: The argument's name, for messages.
        values: The numbers, or None.
        size: How many belong together.

    Raises:
        TypeError: If there is anything but numbers.
        ValueError: If the numbers do not come in groups of `size`, or one is not finite.
    """
    if values is None:
        return np.zeros((0, size))
    flat: list[float] = []
    _collect(name, values, size, flat)
    array = np.asarray(flat, dtype=np.float64).reshape(-1, size)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return array


def _collect(name: str, values: Any, size: int, flat: list[float]) -> None:
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, Real):
        values = [values]
    if not isinstance(values, list | tuple):
        raise TypeError(f"{name} must be numbers in lists, arrays or tensors, got {type(values).__name__}")
    if values and all(isinstance(value, Real) for value in values):
        if len(values) != size and size > 1:
            raise ValueError(f"{name} must have {size} numbers each, got {len(values)}: {list(values)}")
        flat.extend(values)
        return
    for value in values:
        _collect(name, value, size, flat)
