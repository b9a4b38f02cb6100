"""Whether an image processor makes the images that a model was trained on."""

import warnings
from typing import Any

from .image_options import mean_and_std

# Photos normalised as every SAM is trained span about 4.5 from black to white; (-1, 1) and (0, 1) are other models'.
_SPANS = (2.5, 12.0)


def check_processor_fits(config: Any, image_processor: Any) -> None:
    """Refuse an image processor whose images the model cannot take, and warn of one that can only be another model's.

    Args:
        config: Configuration of the model.
        image_processor: The image processor.

    Raises:
        ValueError: If it pads to another size than the model's.

    Warns:
        UserWarning: If images fill a part of the model's frame alone, or their values are not spread around 0.
    """
    side, pad, size = config.vision_config.image_size, image_processor.pad_size, image_processor.size
    if image_processor.do_pad and (pad["height"], pad["width"]) != (side, side):
        raise ValueError(
            f"the processor pads to {pad['height']} x {pad['width']} pixels, but the model takes {side} x {side}"
        )
    found = []
    if image_processor.do_resize and set(size.values()) != {side}:
        found.append(f"size={size} fills a part of the model's {side} x {side} pixels alone")
    options = ("do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")
    mean, std = mean_and_std({name: getattr(image_processor, name) for name in options})
    black, white = -(mean / std), (255 - mean) / std
    span = white - black
    if (black > 0).any() or (white < 0).any() or (span < _SPANS[0]).any() or (span > _SPANS[1]).any():
        named = ", ".join(f"{name}={getattr(image_processor, name)}" for name in options)
        found.append(f"{named} give values from {black.min():.3g} to {white.max():.3g}, but SAM wants about -2 to 2.5")
    for fault in found:
        warnings.warn(f"the image processor seems to be another model's: {fault}", stacklevel=3)
