"""What every configuration checks of its numbers: whole, positive, and within all reason."""

import math
from typing import Any

import torch
from transformers import PreTrainedConfig

_PARTS = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
# Far beyond every model there is. A damaged or malicious file must not make a loop of years, or ask for all memory.
_LARGEST = {
    "attention_downsample_rate": 1024,
    "depths": 512,
    "fine_channels": 4096,
    "fusion_width": 16384,
    "hidden_size": 16384,
    "hidden_sizes": 16384,
    "image_size": 16384,
    "iou_head_depth": 64,
    "iou_head_hidden_dim": 16384,
    "local_conv_size": 255,
    "mask_input_channels": 4096,
    "mlp_dim": 65536,
    "num_attention_heads": 1024,
    "num_channels": 256,
    "num_hidden_layers": 512,
    "num_multimask_outputs": 64,
    "num_pos_feats": 8192,
    "output_channels": 16384,
    "patch_size": 4096,
    "stem_width": 16384,
    "vit_dim": 16384,
    "window_size": 1024,
}
_MOST_WEIGHTS = 4e9
_RANGES = {
    "attention_dropout": (0, 1),
    "batch_norm_eps": (0, 1),
    "batch_norm_momentum": (0, 1),
    "initializer_range": (0, 100),
    "layer_norm_eps": (0, 1),
    "neck_layer_norm_eps": (0, 1),
}


def require_at_most_largest(config: PreTrainedConfig) -> None:
    """Refuse a number far beyond every model there is, and fields of another type, with a ValueError."""
    require_types(config)
    for name, largest in _LARGEST.items():
        value = getattr(config, name, None)
        if value is None:
            continue
        one = type(config).__annotations__.get(name) in (int, int | None)
        for number in value if isinstance(value, list | tuple) and not one else [value]:
            if not isinstance(number, int) or isinstance(number, bool):
                raise ValueError(f"{name} is {value!r}, but must be whole")
            if number > largest:
                raise ValueError(f"{name} is {value!r}, but must be at most {largest}")


def require_types(config: PreTrainedConfig) -> None:
    """Refuse what is no size and of another type or range: epsilons, truth values, the names of activations."""
    flags_of_all = dict.fromkeys(("return_dict", "output_attentions", "output_hidden_states"), bool)
    for name, kind in {**flags_of_all, **type(config).__annotations__}.items():
        value = getattr(config, name, False)
        if kind is bool and not isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}, but must be true or false")
        if name == "hidden_act" and not isinstance(value, str):
            raise ValueError(f"hidden_act is {value!r}, but must be the name of an activation")
        if name in _RANGES:
            low, high = _RANGES[name]
            if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
                raise ValueError(f"{name} is {value!r}, but must be a number from {low} to {high}")


def require_dtypes(fields: dict[str, Any], prefix: str = "") -> None:
    """Refuse names that are no precision of torch, in a configuration's fields and those of its parts."""
    for name, value in fields.items():
        if isinstance(value, dict) and name in _PARTS:
            require_dtypes(value, f"{prefix}{name}.")
        elif name in ("dtype", "torch_dtype") and value is not None:
            dtype = getattr(torch, value.removeprefix("torch."), None) if isinstance(value, str) else value
            if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point or dtype.itemsize < 2:
                raise ValueError(f"{prefix}{name} is {value!r}, but must be the name of a precision, such as float32")


def require_few_weights(config: PreTrainedConfig, count: int) -> None:
    """Refuse a configuration of more weights than any model has, with a ValueError."""
    if count > _MOST_WEIGHTS:
        raise ValueError(
            f"{config.base_config_key} describes about {count:.1e} weights, but must be one of at most "
            f"{_MOST_WEIGHTS:.0e}"
        )


def require_ratio(name: str, ratio: float) -> None:
    """Refuse a ratio of widths that is none, with a ValueError."""
    if not isinstance(ratio, int | float) or isinstance(ratio, bool) or not 0 < ratio <= 64 or not math.isfinite(ratio):
        raise ValueError(f"{name} is {ratio!r}, but must be a number above 0 and at most 64")


def require_positive(config: PreTrainedConfig, *names: str) -> None:
    """Refuse sizes and counts below 1, with a ValueError."""
    for name in names:
        value = getattr(config, name)
        numbers = value if isinstance(value, list) else [value]
        if any(not isinstance(number, int) or number < 1 for number in numbers):
            raise ValueError(f"{name} is {value!r}, but must be whole and at least 1")


def require_multiple(name: str, value: int, divisor_name: str, divisor: int) -> None:
    """Refuse a size that another does not divide, with a ValueError."""
    if not isinstance(value, int) or not isinstance(divisor, int):
        raise ValueError(f"{name} is {value!r} and {divisor_name} is {divisor!r}, but both must be whole numbers")
    if divisor < 1 or value < 1 or value % divisor:
        raise ValueError(f"{name} is {value}, which is not a positive multiple of {divisor_name} = {divisor}")
