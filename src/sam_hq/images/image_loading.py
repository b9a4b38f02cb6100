"""Any form of an image to upright 8-bit RGB pixels.

Everything ends as uint8 because the authors resize 8-bit images with Pillow: a photo gives the same model input
whether it comes as a file, bytes, a URL, an array or a tensor.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from sam_hq_numpy.image_arrays import array_rgb, check_pixel_count, image_axis
from sam_hq_numpy.photo_files import decoded_rgb
from sam_hq_numpy.photo_sources import is_encoded, no_image
from sam_hq_numpy.value_ranges import InputRange, warn_if_zero_and_one


def is_one_image(images: Any) -> bool:
    """Whether something is a single image, whose rows, letters or bytes would else be taken for images.

    Args:
        images: As in `flat_image_list`. An array or tensor of 4 dimensions is a batch, any other a single image.
    """
    if isinstance(images, np.ndarray | torch.Tensor):
        return images.ndim != 4
    return isinstance(images, Image.Image) or is_encoded(images)


def flat_image_list(images: Any) -> list:
    """List the single images in `images`.

    Args:
        images: One image, a list or another sequence of them such as a column of `datasets` (lists in it are
            flattened), or a 4-d array or tensor of a batch. An image is a PIL image, a path, a URL (`http:`, `https:`,
            `data:`), bytes, an open binary file, a dictionary with `bytes` or `path` as `datasets` keeps files that
            are not decoded, or an array or tensor of 2 or 3 dimensions.

    Raises:
        TypeError: Something that is no image.
        ValueError: No image at all.
    """
    if isinstance(images, np.ndarray | torch.Tensor) and images.ndim not in (2, 3, 4):
        raise ValueError(
            "images as an array must be (H, W), (H, W, channels), (channels, H, W) or a batch of the latter two, "
            f"got shape {tuple(images.shape)}"
        )
    if is_one_image(images):
        return [images]
    if isinstance(images, Sequence | np.ndarray | torch.Tensor):
        flat = [image for entry in images for image in flat_image_list(entry)] if len(images) else []
        if not flat:
            raise ValueError("images is empty, at least one image is needed")
        return flat
    raise no_image(images)


def load_rgb(
    image: Any,
    *,
    max_pixels: int | None = None,
    input_data_format: str | None = None,
    input_range: InputRange = None,
    timeout: float | None = None,
) -> tuple[np.ndarray | torch.Tensor, bool]:
    """Load one image as 8-bit RGB.

    Transparency is dropped, not blended, as `PIL.Image.convert("RGB")` does. A photo with an EXIF orientation is
    turned upright. 16-bit values are scaled by 1/257 (Pillow itself would clip them at 255). Floating point values in
    [0, 1] are multiplied by 255, those in [0, 255] are taken as they are; both are rounded. `input_range` stretches
    other ranges. Of a file with several frames the first is read.

    Args:
        image: One entry of `flat_image_list`.
        max_pixels: Images with more pixels are refused before they are decoded; default: Pillow's limit
            `PIL.Image.MAX_IMAGE_PIXELS`.
        input_data_format: "channels_first" or "channels_last" for arrays and tensors; inferred when left out: the side
            with 1 or 3 entries, then 4; the first dimension when both fit.
        input_range: (low, high) that become 0 and 255, or "auto" for those of this image; images of 8 bits stay as they
            are. See `sam_hq_numpy.value_ranges.to_uint8`.
        timeout: Seconds to wait for a URL; default: as long as it takes.

    Returns:
        The pixels, uint8: an array (H, W, 3), or a tensor (3, H, W) on its own device if `image` was on an
        accelerator; and whether the values came as floats in [0, 1].

    Raises:
        TypeError: Something that is no image, or values that are no pixels.
        ValueError: An unreadable (`UnreadableImageError`), empty or too large image, or values out of range.

    Warns:
        UserWarning: The values fill a small part of their range or are 0 and 1 alone, or a file has several frames.
    """
    if not isinstance(image, np.ndarray | torch.Tensor):
        return decoded_rgb(image, max_pixels=max_pixels, input_range=input_range, timeout=timeout), False
    if isinstance(image, np.ma.MaskedArray):
        raise TypeError("images must hold numbers, got a masked array; fill it first")
    if isinstance(image, torch.Tensor):
        _check_plain(image)
        if image.device.type != "cpu" and image.dtype == torch.uint8:
            return _on_device(image, max_pixels, input_data_format, input_range), False
    pixels, unit_range = array_rgb(
        _as_array(image), max_pixels=max_pixels, input_data_format=input_data_format, input_range=input_range
    )
    if isinstance(image, torch.Tensor) and image.device.type != "cpu":
        return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).to(image.device), unit_range
    return np.array(pixels, order="C"), unit_range  # a copy, so that what the caller writes later changes nothing


def photo_pixels(image: object, max_pixels: int | None = None, input_range: InputRange = None) -> np.ndarray:
    """Load one image as `(H, W, 3)` uint8 on the CPU.

    Args:
        image: Whatever `load_rgb` takes.
        max_pixels: As in `load_rgb`.
        input_range: As in `load_rgb`.
    """
    pixels, _ = load_rgb(image, max_pixels=max_pixels, input_range=input_range)
    return pixels if isinstance(pixels, np.ndarray) else pixels.permute(1, 2, 0).cpu().numpy()


def _check_plain(image: torch.Tensor) -> None:
    is_narrow = image.is_floating_point() and image.dtype.itemsize < 2  # arrays have no such type
    if is_narrow or image.is_complex() or image.layout != torch.strided or image.is_meta or image.is_quantized:
        raise TypeError(f"images must hold numbers, got a {image.layout} tensor of {image.dtype} on {image.device}")


def _on_device(
    image: torch.Tensor, max_pixels: int | None, input_data_format: str | None, input_range: InputRange
) -> torch.Tensor:
    axis = image_axis(tuple(image.shape), input_data_format)
    pixels = image[None] if axis is None else image.movedim(axis, 0)  # (channels, H, W)
    check_pixel_count(pixels.shape[2], pixels.shape[1], max_pixels)
    pixels = pixels.expand(3, -1, -1) if pixels.shape[0] == 1 else pixels[:3]
    warn_if_zero_and_one(pixels, input_range)
    return pixels


def _as_array(image: np.ndarray | torch.Tensor) -> np.ndarray:
    if isinstance(image, np.ndarray):
        return image
    image = image.detach()
    return (image.float() if image.dtype == torch.bfloat16 else image).cpu().numpy()
