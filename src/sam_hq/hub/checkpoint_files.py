"""Reading and writing the authors' `.pth` files: as weights alone, checked before anything is materialised."""

import argparse
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sam_hq_numpy.atomic_writing import new_file
from sam_hq_numpy.number_limits import listed_names

from .key_map import DROPPED_TINY_VIT_SHAPES, authors_name

# What training scripts wrap the weights in, the likeliest first.
WRAPPERS = ("state_dict", "model", "model_state_dict", "module", "net", "network", "weights", "model_ema", "ema")
_PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")
_PREFIXES = ("module", "_orig_mod", "sam", "model", "net", "sam_model", "segmentor", "student")
# What torch.compile adds within names; no name of the authors has it.
_ADDED = re.compile(r"(?P<before>^|\.)_orig_mod\.")
_PIXEL_STATISTICS = {"pixel_mean": (123.675, 116.28, 103.53), "pixel_std": (58.395, 57.12, 57.375)}
_SHARED_BYTES = 64 * 1024 * 1024  # that tensors may take beyond their data, where some share it


def read_weights(checkpoint: str | Path) -> dict[str, torch.Tensor]:
    """Read a `.pth` file as weights alone; nothing in it is run.

    The checksums of the file are verified. Weights that a training script wrapped, as in `{"model": ...}`, are taken
    out.

    Args:
        checkpoint: The file.

    Returns:
        The weights by the names in the file, on the CPU.

    Raises:
        OSError: If the file cannot be opened.
        ValueError: If it is damaged, would run code, holds something else than named tensors, values that are not
            finite, negative variances, or tensors larger than the data in it.

    Warns:
        UserWarning: If the weights were taken out of a wrapper.
    """
    path = Path(checkpoint)
    if path.is_dir():
        raise IsADirectoryError(f"checkpoint {str(path)!r} is a directory, but a file of weights is wanted")
    with path.open("rb"):  # a missing file or one without permission, in the system's own words
        pass
    try:
        _check_archive(path)
        with torch.serialization.safe_globals([argparse.Namespace]):  # of training scripts; plain attributes
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for damaged files, OSError among them
        raise ValueError(
            f"checkpoint {str(path)!r} is not a readable file of weights; a file that holds anything else, code "
            f"included, is refused ({_reason(error)})"
        ) from error
    weights = _unwrapped(content, path)
    others = [str(name) for name, value in weights.items() if not (isinstance(name, str) and _is_plain(value))]
    if others:
        raise ValueError(
            f"checkpoint {str(path)!r} holds more than named tensors of real numbers: {listed_names(others)}"
        )
    _check_sizes(weights, path)
    broken = [name for name, value in weights.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise ValueError(f"checkpoint {str(path)!r} holds NaN or infinite values in {listed_names(broken)}")
    negative = [name for name, value in weights.items() if name.endswith("running_var") and (value < 0).any()]
    if negative:  # their square roots are NaN
        raise ValueError(f"checkpoint {str(path)!r} holds negative variances in {listed_names(negative)}")
    return dict(weights)


def _reason(error: Exception) -> str:
    """Why torch could not read a file, without its internals and its advice to read it in ways that run code."""
    code = re.search(r"GLOBAL (\w[\w.]*)", str(error))
    return f"it names {code[1]}" if code else "damaged, or no checkpoint"


def read_sam_weights(checkpoint: str | Path, base: str | Path | None = None) -> dict[str, torch.Tensor]:
    """Read the weights of a SAM or SAM-HQ model by the authors' names, whatever a training script added to these.

    Args:
        checkpoint: The file, of a whole model; or with `base` of a mask decoder alone, as the authors' HQ training
            writes.
        base: The file of the model that the decoder was trained on.

    Returns:
        The weights.

    Raises:
        OSError: If a file cannot be opened.
        ValueError: If a file is not what `read_weights` takes, or holds a part of a model.

    Warns:
        UserWarning: If names or entries were dropped.
    """
    weights = _plain_names(read_weights(checkpoint), checkpoint)
    has_whole_parts = any(name.split(".")[0] in _PARTS for name in weights)
    is_decoder = not has_whole_parts and any(name.startswith("transformer.layers.0.") for name in weights)
    if not is_decoder and base is not None:
        raise ValueError(f"base is for a mask decoder alone, but {str(checkpoint)!r} holds more or something else")
    if not is_decoder:
        return weights
    if base is None:
        raise ValueError(
            f"checkpoint {str(checkpoint)!r} holds a mask decoder alone; give the SAM file it was trained on as base"
        )
    whole = _plain_names(read_weights(base), base)
    return {**whole, **{f"mask_decoder.{name}": value for name, value in weights.items()}}


def write_authors_weights(state_dict: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Write weights as the authors' package loads them, strictly.

    Their TinyViT has a classifier's head that takes no part in segmentation; it is written as zeros.

    Args:
        state_dict: Of a `SamHQModel` with one of the authors' encoders.
        path: A `.pth` file; it appears whole or not at all.

    Raises:
        ValueError: If a weight has no counterpart.
        OSError: If the file cannot be written.
    """
    names = {name: authors_name(name) for name in state_dict}
    if missing := [name for name, theirs in names.items() if theirs is None]:
        raise ValueError(
            "the authors' package, whose encoders are ViT and TinyViT, has no counterpart of "
            f"{listed_names(missing, 5)}"
        )
    weights = {str(names[name]): value.detach().cpu().contiguous() for name, value in state_dict.items()}
    if any(name.startswith("image_encoder.patch_embed.seq.") for name in weights):
        weights |= {name: torch.zeros(shape, dtype=torch.float32) for name, shape in DROPPED_TINY_VIT_SHAPES.items()}
    with new_file(path) as aside:
        torch.save(weights, aside)


def _check_archive(path: Path) -> None:
    """Verify the checksums of a zip archive, and refuse what would grow while it is read."""
    if not zipfile.is_zipfile(path):  # torch's older format, which has no checksums
        return
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise ValueError("its parts are larger than the file")
        for entry in archive.infolist():
            if entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{entry.filename} is compressed, which torch never does")
            if entry.filename.endswith("data.pkl") and b"bytearray" in archive.read(entry):
                raise ValueError("it makes byte arrays, which weights do not need")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {damaged} is wrong")


def _unwrapped(content: Any, path: Path) -> Mapping:
    found: list[str] = []
    while True:
        if not isinstance(content, Mapping):
            raise ValueError(f"checkpoint {str(path)!r} holds a {type(content).__name__}, but named tensors are wanted")
        inner = [key for key in WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner or any(isinstance(value, torch.Tensor) and value.ndim for value in content.values()):
            break
        if len(found) == len(WRAPPERS):  # a dictionary may even hold itself
            raise ValueError(f"checkpoint {str(path)!r} wraps its weights more than {len(found)} times")
        found.append(f"[{inner[0]!r}]")
        others = [str(key) for key in content if key != inner[0]]
        content = content[inner[0]]
        if others:
            found[-1] += f" (not {listed_names(others, 5)})"
    if found:
        warnings.warn(f"the weights of {str(path)!r} were taken from {' '.join(found)}", stacklevel=3)
    return content


def _is_plain(value: object) -> bool:
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
        return False
    # Floats of 8 bits and fewer are quantised too: their scales are kept elsewhere.
    is_quantised = value.is_quantized or (value.is_floating_point() and value.element_size() == 1)
    return not (value.is_complex() or value.is_meta or is_quantised)


def _check_sizes(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse views that repeat their data: a small file would become a huge model."""
    sizes = {name: value.numel() * value.element_size() for name, value in weights.items()}
    larger = [name for name, value in weights.items() if sizes[name] > value.untyped_storage().nbytes()]
    if larger:
        raise ValueError(f"checkpoint {str(path)!r} holds tensors larger than their data: {listed_names(larger)}")
    stored = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in weights.values()}
    if sum(sizes.values()) > 2 * sum(stored.values()) + _SHARED_BYTES:
        raise ValueError(f"checkpoint {str(path)!r} holds tensors that are together far larger than its data")


def _plain_names(weights: Mapping[str, torch.Tensor], path: str | Path) -> dict[str, torch.Tensor]:
    """The names as the authors' package has them, and no statistics of the pixels."""
    plain = {_ADDED.sub(r"\g<before>", name): name for name in weights}
    split = {name: re.match(rf"((?:(?:{'|'.join(_PREFIXES)})\.)*)(?:{'|'.join(_PARTS)})\.", name) for name in plain}
    prefixes = {match[1] for match in split.values() if match is not None}
    if len(plain) < len(weights) or len(prefixes) > 1:
        raise ValueError(f"checkpoint {str(path)!r} holds weights with several prefixes: {sorted(prefixes)}")
    prefix = next(iter(prefixes), "")
    dropped = {prefix} - {""} | ({"_orig_mod."} if any("_orig_mod." in name for name in weights) else set())
    named = {name.removeprefix(prefix): weights[original] for name, original in plain.items()}
    for name, values in _PIXEL_STATISTICS.items():
        statistics = named.pop(name, None)
        if statistics is None:
            continue
        if not torch.allclose(statistics.flatten().double(), torch.tensor(values, dtype=torch.float64), atol=0.01):
            raise ValueError(f"checkpoint {str(path)!r} has another {name} than SAM's: {statistics.flatten().tolist()}")
        dropped.add(name)
    if dropped:
        warnings.warn(f"dropped from the names in {str(path)!r}: {', '.join(sorted(dropped))}", stacklevel=4)
    return named
