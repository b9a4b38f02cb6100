"""The options of the image processor: which there are, what they may be, and what follows from them."""

import difflib
import math
from numbers import Integral
from typing import Any

import torch
from PIL import Image
from transformers.processing_utils import ImagesKwargs

from sam_hq_numpy.number_limits import as_whole, check_flag, check_number, shown
from sam_hq_numpy.value_ranges import checked_input_range

# The side of a frame, which is held in floating point: 3 GB already.
LARGEST_SIDE = 16384
OPTION_NAMES = (
    "do_convert_rgb", "do_resize", "size", "resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean",
    "image_std", "do_pad", "pad_size", "mask_size", "max_pixels", "input_range",
)  # fmt: skip


class SamHQImageProcessorKwargs(ImagesKwargs, total=False):
    """Options of `SamHQImageProcessor` beside those all image processors have.

    Attributes:
        mask_size: Resolution of the low-res frame, {"longest_edge": 256}; at call time that of `labels` only.
        mask_pad_size: Accepted because the checkpoints of the built-in class carry it; follows from `pad_size`.
        max_pixels: Images with more pixels are refused; default: Pillow's limit `PIL.Image.MAX_IMAGE_PIXELS`.
        input_range: Values of images of more than 8 bits that become black and white, as (low, high), or "auto" for
            the lowest and the highest of each image; default: the whole range of the type.
        timeout: Seconds to wait for an image given as URL, at call time only; default: as long as it takes.
    """

    mask_size: int | dict[str, int] | None
    mask_pad_size: int | dict[str, int] | None
    max_pixels: int | None
    input_range: str | tuple[float, float] | list[float] | None
    timeout: float | None


def known_options(kwargs: dict) -> dict:
    """Check the names and the single values of options; those that are None are skipped.

    Raises:
        TypeError: An unknown name; the message has the nearest known one. A flag that is neither True nor False, or a
            timeout that is no number.
        ValueError: A value that the model cannot work with.
    """
    known = SamHQImageProcessorKwargs.__annotations__
    for name in kwargs:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f", did you mean {nearest[0]}?" if nearest else ""
            raise TypeError(f"unknown option {name!r} of the image processor{hint}")
    given = {name: _plain(value) for name, value in kwargs.items() if value is not None}
    for name in given:
        if name.startswith("do_"):
            check_flag(name, given[name])
    if given.get("do_convert_rgb") is False:
        raise ValueError("do_convert_rgb=False is not possible, the model takes three colour channels")
    if given.get("do_center_crop"):
        raise ValueError("do_center_crop=True is not possible, masks could not be brought back to photo size")
    if getattr(given.get("data_format"), "value", given.get("data_format")) not in (None, "channels_first"):
        raise ValueError(f"data_format must be channels_first, got {given['data_format']!r}")
    limit = given.get("max_pixels", 1)
    if not isinstance(limit, Integral) or isinstance(limit, bool) or limit < 1:
        raise ValueError(f"max_pixels must be a positive whole number, got {limit!r}")
    check_number("timeout", given.get("timeout"), above=0, optional=True)
    resample = given.get("resample", 0)
    if isinstance(resample, bool) or resample not in list(Image.Resampling):
        raise ValueError(f"resample must be one of PIL.Image.Resampling, got {resample!r}")
    return_tensors = given.get("return_tensors")
    if getattr(return_tensors, "value", return_tensors) not in (None, "pt", "np"):
        raise ValueError(f"return_tensors must be 'pt' or 'np', got {return_tensors!r}")
    if "device" in given:
        try:
            torch.device(given["device"])
        except (RuntimeError, TypeError) as error:
            raise ValueError(f"device must be one of torch's, such as cpu, got {given['device']!r}") from error
    if "input_range" in given:
        given["input_range"] = checked_input_range(given["input_range"])
    return {**given, "return_tensors": getattr(return_tensors, "value", return_tensors)}


def _plain(value: Any) -> Any:
    """Numbers of arrays and tensors as Python's own, which can be saved."""
    if isinstance(value, list | tuple):
        return [each.tolist() if hasattr(each, "tolist") else each for each in value]
    return value.tolist() if hasattr(value, "tolist") else value


def size_dict(name: str, size: Any) -> dict[str, int]:
    """Read a size: a dictionary, one number, or a pair of height and width.

    Args:
        name: The option's name; a bare number is a square for "pad_size" and a longest edge elsewhere.
        size: What was given.

    Raises:
        ValueError: Other keys, or sizes that are not positive.
    """
    given = size
    if isinstance(size, Integral) and not isinstance(size, bool):
        size = {"height": size, "width": size} if name == "pad_size" else {"longest_edge": size}
    elif isinstance(size, list | tuple) and len(size) == 2:
        size = {"height": size[0], "width": size[1]}
    try:
        size = {key: as_whole(value) for key, value in dict(size).items() if value is not None}
    except (TypeError, ValueError, OverflowError):
        size = {}
    allowed = ({"height", "width"},) if name == "pad_size" else ({"longest_edge"}, {"height", "width"})
    if set(size) not in allowed or min(size.values()) < 1:
        keys = " or ".join(str(sorted(option)) for option in allowed)
        raise ValueError(f"{name} must be a dictionary of positive sizes with the keys {keys}, got {shown(given, 80)}")
    if max(size.values()) > LARGEST_SIDE:
        raise ValueError(f"{name} must have sides of at most {LARGEST_SIDE} pixels, got {size}")
    return size


def mean_and_std(options: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Offset and divisor that do the rescaling and the normalising at once.

    Returns:
        Two float32 tensors (3, 1, 1) or (1, 1, 1), for pixel values in 0..255.

    Raises:
        ValueError: Not one or three finite numbers, or a divisor that is not positive.
    """
    # ((pixels * factor) - mean) / std as (pixels - mean / factor) / (std / factor): the authors' order of rounding.
    factor = options["rescale_factor"] if options["do_rescale"] else 1.0
    if not isinstance(factor, int | float) or isinstance(factor, bool) or not 0 < factor < math.inf:
        raise ValueError(f"rescale_factor must be a positive number, got {factor!r}")
    values = []
    for name, neutral in (("image_mean", 0.0), ("image_std", 1.0)):
        try:
            value = torch.tensor(options[name] if options["do_normalize"] else neutral, dtype=torch.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be one number or three, got {options[name]!r}") from error
        if value.shape not in ((), (1,), (3,)) or not torch.isfinite(value).all():
            raise ValueError(f"{name} must be one number or three, got {options[name]}")
        values.append((value / factor).float().reshape(-1, 1, 1))
    if (values[1] <= 0).any():
        raise ValueError(f"image_std must be positive, got {options['image_std']}")
    return values[0], values[1]


def frame_size_of(reshaped_sizes: list[tuple[int, int]], options: dict) -> tuple[int, int]:
    """Height and width of the padded frame, which has to hold every resized image.

    Raises:
        ValueError: An image does not fit, or without padding the images differ in size.
    """
    if options["do_pad"]:
        frame_size = (options["pad_size"]["height"], options["pad_size"]["width"])
        for height, width in reshaped_sizes:
            if height > frame_size[0] or width > frame_size[1]:
                raise ValueError(
                    f"pad_size={options['pad_size']} is smaller than an image of {height} x {width} pixels "
                    f"(height x width) after resizing to size={options['size']}"
                )
        return frame_size
    if len(set(reshaped_sizes)) > 1:
        raise ValueError(f"do_pad=False needs images that end with the same size, got {sorted(set(reshaped_sizes))}")
    return reshaped_sizes[0]
