"""What the commands that use a model have in common: which one, on which device, and whether it is whole."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from sam_hq import SamHQModel, SamHQProcessor

_SECONDS_FOR_THE_HUB = 10.0
_EXPORTED = (
    "sam_hq.json",
    *(f"{graph}.onnx" for graph in ("encoder", "decoder", "sam_hq_encoder", "sam_hq_decoder")),
    *("encoder.pt2", "decoder.pt2"),
)


def add_model_options(parser: argparse.ArgumentParser, device: bool = True) -> None:
    """Add --model, and --device where the model may run elsewhere than on the CPU.

    Args:
        parser: Of the command.
        device: Whether --device is added.
    """
    parser.add_argument("--model", metavar="DIR_OR_ID", help="a SAM-HQ directory or Hub id (default: the embedded one)")
    if device:
        parser.add_argument("--device", help="such as cpu, cuda, cuda:1 or mps (default: the fastest there is)")


def quiet_transformers() -> None:
    """Keep transformers' progress bars and messages out of what a command prints."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def model_name(asked: str | None) -> str:
    """Return the model's directory or Hub id: the one asked for, or the embedded checkpoint.

    Args:
        asked: The value of --model.

    Raises:
        ValueError: If none was asked for and this installation has no embedded checkpoint, or if it is a file, neither
            a directory nor a model on the Hub, or a directory with an exported model or without one.
    """
    import sam_hq
    from sam_hq.model.loaded_weights import check_is_no_file

    if asked is not None:
        check_is_no_file(asked)
        if asked.startswith((".", "/", "~")) and not Path(asked).is_dir():
            raise ValueError(f"model is {asked!r}, but there is no such directory")
        if is_exported(asked):
            raise ValueError(f"model is {asked!r}, which sam-hq export wrote; name the model that it was made from")
        if not Path(asked).is_dir():
            _check_on_hub(asked)
        elif not (Path(asked) / "config.json").is_file():
            best = Path(asked) / "best"
            hint = f"; name {str(best)!r}" if (best / "config.json").is_file() else ""
            raise ValueError(f"model is {asked!r}, a directory without a model (config.json){hint}")
        return asked
    if not Path(sam_hq.EMBEDDED_CHECKPOINT).is_dir():
        raise ValueError("this installation has no embedded checkpoint; name a model with --model DIR_OR_ID")
    return sam_hq.EMBEDDED_CHECKPOINT


def _check_on_hub(name: str) -> None:
    """Refuse what the Hub does not know, by one question; loading asks for one file after the other, with retries."""
    from huggingface_hub import HfApi, try_to_load_from_cache
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    try:
        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            HfApi().model_info(name, timeout=_SECONDS_FOR_THE_HUB)
    except (RepositoryNotFoundError, HFValidationError) as error:
        if not isinstance(error, GatedRepoError):
            raise ValueError(
                f"model is {name!r}, but there is no such directory, nor such a model on the Hub"
            ) from error
    except HfHubHTTPError:
        return  # the Hub is there, and loading says what it has against the name
    except Exception as error:  # those of connections belong to whatever library the Hub's client uses
        raise ValueError(
            f"model is {name!r}, but there is no such directory, and the Hub cannot be asked for it: "
            f"{type(error).__name__}: {error}"
        ) from error


def is_exported(name: str) -> bool:
    """Whether a model's name is that of a directory with files of `sam-hq export`, all or some.

    Args:
        name: The value of --model.
    """
    folder = Path(name)
    return any((folder / file).is_file() for file in _EXPORTED) and not (folder / "config.json").is_file()


def chosen_device(asked: str | None) -> torch.device:
    """Return the device to work on.

    Args:
        asked: The value of --device; None for the accelerator, or the CPU where there is none.

    Raises:
        ValueError: If it is no device or is not there.
    """
    import torch

    there = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if asked is None:
        return there or torch.device("cpu")
    try:
        device = torch.device(asked)
    except RuntimeError as error:
        raise ValueError(f"device is {asked!r}, but must be such as cpu, cuda, cuda:1 or mps") from error
    count = torch.accelerator.device_count() if there is not None and there.type == device.type else 0
    if device.type != "cpu" and (device.index or 0) >= count:
        there_is = f"only {count} of kind {device.type}" if count else f"no {device.type} device"
        raise ValueError(f"device is {asked!r}, but this machine has {there_is}")
    return device


def load_model(name: str, device: torch.device, dtype: torch.dtype | None = None) -> SamHQModel:
    """Load a whole model.

    `from_pretrained` alone would draw missing weights at random, and a command keeps its log quiet.

    Args:
        name: From `model_name`.
        device: Where it is wanted.
        dtype: Of the weights; that of the saved ones if None.

    Raises:
        ValueError: If it cannot be loaded, or if a weight is missing, unknown, misshapen or not finite.
    """
    import sam_hq
    from sam_hq.model.loaded_weights import check_report, load_with_report

    try:
        model, report = load_with_report(sam_hq.SamHQModel, name, device_map=device, dtype=dtype or "auto")
    except Exception as error:  # damaged safetensors files have an error class of their own
        raise ValueError(f"cannot load the model of {name!r}: {error}") from error
    check_report(report, name)
    return model.eval()


def load_whole(name: str, device: torch.device, dtype: torch.dtype | None = None) -> tuple[SamHQModel, SamHQProcessor]:
    """Load a model and its processor, the cheaper one first, without transformers' messages.

    Args:
        name: From `model_name`.
        device: As in `load_model`.
        dtype: As in `load_model`.

    Raises:
        ValueError: If one cannot be loaded.
    """
    import sam_hq

    quiet_transformers()
    try:
        processor = sam_hq.SamHQProcessor.from_pretrained(name)
    except Exception as error:  # OSError, JSONDecodeError and the Hub's own errors, which have no common base
        raise ValueError(f"cannot load the processor of {name!r}: {error}") from error
    return load_model(name, device, dtype), processor
