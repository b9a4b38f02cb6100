"""Start points beside SAM-HQ directories: the authors' files, and plain SAM, which gets fresh HQ parts.

Source: "Segment Anything in High Quality" (arXiv 2306.01567), §3.3: training starts from SAM's weights, and from
HQ parts as torch draws them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from sam_hq_numpy.number_limits import listed_faults

from ..configuration_sam_hq import SamHQConfig
from ..hub.checkpoint_files import read_sam_weights
from ..hub.conversion import convert_weights, processor_for
from ..hub.key_map import is_hq_name
from ..hub.variants import infer_config
from ..model.loaded_weights import faults_of_report, load_with_report
from ..modeling_sam_hq import SamHQModel
from ..processing_sam_hq import SamHQProcessor

PLAIN_SAM = "sam"  # the model type of transformers' SamModel
NAMES_SHOWN = 5


@dataclass(frozen=True)
class StartPoint:
    """A model to train, in float32.

    Attributes:
        model: The model.
        processor: Its processor.
        new_weights: Names of the HQ weights that are randomly initialised; empty where the start point had them.
    """

    model: SamHQModel
    processor: SamHQProcessor
    new_weights: list[str]


def is_plain_sam(name: str | Path) -> bool:
    """Whether a directory or Hub id holds transformers' `SamModel`.

    Args:
        name: The directory or id.

    Raises:
        OSError: There is no such directory or id.
    """
    return _fields_of(name).get("model_type") == PLAIN_SAM


def start_from_file(path: str | Path, seed: int = 0) -> StartPoint:
    """Start from one of the authors' files: SAM-HQ's, SAM's, or MobileSAM's.

    Args:
        path: A `.pth` file.
        seed: Seed of the HQ parts, where the file has none.

    Returns:
        The model with the file's weights.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It holds something else, or a weight is unknown, missing, misshapen or not finite.

    Warns:
        UserWarning: The HQ parts are randomly initialised.
    """
    weights = read_sam_weights(path)
    _, config = infer_config(weights)
    state_dict, new_weights = convert_weights(weights, config)
    model = SamHQModel.from_pretrained(None, config=config, state_dict=state_dict, dtype=torch.float32)
    return _with_initialised_parts(StartPoint(model, processor_for(config), new_weights), path, seed)


def start_from_sam(name: str | Path, seed: int = 0) -> StartPoint:
    """Start from a directory or Hub id of transformers' `SamModel`.

    The HQ token is one of the decoder's tokens, so SAM's own masks move a little as soon as it is there, as in the
    authors' model.

    Args:
        name: The directory or id.
        seed: Seed of the HQ parts.

    Returns:
        The model with SAM's weights.

    Raises:
        OSError: There is no such directory or id, or a file of its processor is no JSON.
        ValueError: It is another model, or a weight is unknown, missing, misshapen or not finite.

    Warns:
        UserWarning: The HQ parts are randomly initialised.
    """
    config = _config_of_sam(name)
    model, found = load_with_report(SamHQModel, str(name), config=config, dtype=torch.float32)
    new_weights = [key for key in model.state_dict() if is_hq_name(key)]
    faults = faults_of_report(found)
    faults["unknown"] |= set(new_weights) - faults["missing"]
    faults["missing"] -= set(new_weights)
    if listed := listed_faults(faults, NAMES_SHOWN):
        raise ValueError(f"the weights of {str(name)!r} are not those of a SAM of its configuration; {listed}")
    return _with_initialised_parts(StartPoint(model, _processor_of(name, config), new_weights), name, seed)


def draw_hq_parts(model: SamHQModel, seed: int = 0) -> None:
    """Initialise the HQ parts randomly, as torch does; SAM's weights stay as they are.

    Args:
        model: The model.
        seed: Seed of the weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for name, module in model.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if reset is not None and is_hq_name(f"{name}."):
                reset()


def _with_initialised_parts(start: StartPoint, name: str | Path, seed: int) -> StartPoint:
    if start.new_weights:
        draw_hq_parts(start.model, seed)
        warnings.warn(
            f"{str(name)!r} is plain SAM: its {len(start.new_weights)} HQ weights are randomly initialised, and the HQ "
            "masks are noise until they are trained",
            stacklevel=3,
        )
    return start


def _fields_of(name: str | Path) -> dict[str, Any]:
    return PreTrainedConfig.get_config_dict(str(name))[0]


def _config_of_sam(name: str | Path) -> SamHQConfig:
    """The same sizes with HQ parts; the names of the fields are the same."""
    fields = _fields_of(name)
    if fields.get("model_type") != PLAIN_SAM:
        raise ValueError(f"{str(name)!r} is a {fields.get('model_type')!r} model, but plain SAM ('sam') is wanted")
    parts: dict[str, Any] = {}
    for part in ("vision_config", "prompt_encoder_config", "mask_decoder_config"):
        parts[part] = {key: value for key, value in (fields.get(part) or {}).items() if key != "model_type"}
    return SamHQConfig(**parts)


def _processor_of(name: str | Path, config: SamHQConfig) -> SamHQProcessor:
    """The directory's own processor, or the one that belongs to the model where it has none."""
    try:
        return SamHQProcessor.from_pretrained(str(name))
    except OSError as error:
        if "not a valid JSON" in str(error):  # there is one, and it is damaged
            raise
        return processor_for(config)
