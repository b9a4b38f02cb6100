"""What is checked of weights that were loaded, before anything is computed with them."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from sam_hq_numpy.number_limits import listed_faults, listed_names

_NAMES_SHOWN = 5
_FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_is_no_file(name: str) -> None:
    """Refuse a file, or an empty name, instead of a model's directory.

    Args:
        name: A directory, or a name on the Hub.

    Raises:
        ValueError: If it is a file or empty.
    """
    if not name.strip():
        raise ValueError(f"model is {name!r}, but must be a directory or a name on the Hub")
    if Path(name).is_file():
        raise ValueError(
            f"model is {name!r}, which is a file; name its directory, or make one of a checkpoint: "
            f"sam-hq convert {name} DIR"
        )


def load_with_report(model_class: Any, place: str, **kwargs: Any) -> tuple[Any, Mapping[str, Collection[Any]]]:
    """Load a model, and say which weights did not come from a file or fit nowhere, which `from_pretrained` accepts.

    Args:
        model_class: Its class.
        place: A directory, or a name on the Hub.
        **kwargs: For `from_pretrained`.

    Returns:
        The model, and the report.
    """
    return model_class.from_pretrained(place, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs)


def load_checked(model_class: Any, place: str, **kwargs: Any) -> Any:
    """Load a model of which every weight is in its files, and nothing else.

    Args:
        model_class: Its class.
        place: A directory, or a name on the Hub.
        **kwargs: For `from_pretrained`.

    Raises:
        ValueError: If a weight is missing, unknown or misshapen.
    """
    model, report = load_with_report(model_class, place, **kwargs)
    check_report(report, place)
    return model


def faults_of_report(report: Mapping[str, Collection[Any]]) -> dict[str, set[str]]:
    """Names of weights by their fault, from what `from_pretrained` reports.

    Args:
        report: Its second answer with `output_loading_info=True`.

    Returns:
        Names that are "missing", "unknown" and "misshapen".
    """
    mismatched = report["mismatched_keys"]  # with both shapes, in some releases
    return {
        "missing": set(report["missing_keys"]),
        "unknown": set(report["unexpected_keys"]),
        "misshapen": {key[0] if isinstance(key, tuple) else key for key in mismatched},
    }


def check_report(report: Mapping[str, Collection[Any]], place: str) -> None:
    """Refuse a model that did not get each of its weights from a file, or did not take each of the file's.

    Args:
        report: See `faults_of_report`.
        place: Where the weights come from.

    Raises:
        ValueError: If a weight is missing, unknown or misshapen.
    """
    if found := listed_faults(faults_of_report(report), _NAMES_SHOWN):
        raise ValueError(f"the weights of {place!r} do not fit its configuration; {found}")


def check_values(model: nn.Module, place: str) -> None:
    """Refuse weights with impossible values, without a copy of any; what lies elsewhere or is wrapped is not read.

    Args:
        model: The model.
        place: Where they come from.

    Raises:
        ValueError: If a weight is NaN or infinite, or a variance negative.
    """
    bounds = {
        name: torch.aminmax(value)
        for name, value in model.state_dict().items()
        if type(value) is torch.Tensor and value.dtype in _FLOATING and value.numel() and not value.is_meta
    }
    broken = [name for name, (low, high) in bounds.items() if not (low.isfinite() and high.isfinite())]
    negative = [name for name, (low, _) in bounds.items() if name.endswith("running_var") and low < 0]
    for fault, names in (("not finite", broken), ("with negative variances", negative)):
        if names:
            raise ValueError(
                f"the weights of {place!r} are damaged; {len(names)} {fault}: {listed_names(names, _NAMES_SHOWN)}"
            )


def check_stored_dtypes(
    model: nn.Module, state_dict: Mapping[str, Any] | None, checkpoint_files: Sequence[str] | None
) -> None:
    """Refuse floating point weights that are stored as anything else, as those of 8 bits are, beside their scales.

    Args:
        model: The model that they were loaded into.
        state_dict: The weights, or None.
        checkpoint_files: Where they lie else.

    Raises:
        ValueError: If one is stored as whole numbers, truth values or complex numbers.
    """
    floating = {name for name, value in model.state_dict().items() if value.is_floating_point()}
    stored = [("the state_dict that was given", state_dict)] if state_dict is not None else _stored(checkpoint_files)
    for source, weights in stored:
        others = {
            name: value.dtype
            for name, value in weights.items()
            if name in floating and isinstance(value, torch.Tensor) and not value.is_floating_point()
        }
        if others:
            kinds = ", ".join(sorted({str(dtype) for dtype in others.values()}))
            raise ValueError(
                f"{source} holds {kinds} for {len(others)} weights that must be floating point numbers: "
                f"{listed_names([*others], _NAMES_SHOWN)}; weights of a quantised model cannot be loaded"
            )


def _stored(checkpoint_files: Sequence[str] | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every file and its tensors, of those of safetensors one value alone."""
    for path in map(str, checkpoint_files or ()):
        if not path.endswith(".safetensors"):
            yield repr(path), torch.load(path, map_location="meta", weights_only=True)
            continue
        with safe_open(path, framework="pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            yield (
                repr(path),
                {name: value[:0] if value.get_shape() else file.get_tensor(name) for name, value in slices.items()},
            )
