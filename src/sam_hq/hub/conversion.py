"""Conversion of the authors' checkpoint files to directories that `from_pretrained` reads.

Strict both ways: a weight too many, too few, of the wrong shape or with a value that is not a number is an error that
names it. Files are read as weights alone; a pickle that would run code is refused.

Source: the checkpoints of `segment-anything-hq` (ViT-B, ViT-L, ViT-H, TinyViT), and plain SAM's and MobileSAM's, which
lack the HQ parts.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from sam_hq_numpy.atomic_writing import new_directory
from sam_hq_numpy.number_limits import check_choice, listed_faults

from ..configuration_sam_hq import SamHQConfig, SamHQTinyVitConfig
from ..image_processing_sam_hq import SamHQImageProcessor
from ..modeling_sam_hq import SamHQModel
from ..processing_sam_hq import SamHQProcessor
from .checkpoint_files import read_sam_weights, read_weights
from .code_export import add_code
from .key_map import DROPPED_TINY_VIT_SHAPES, authors_name, is_hq_name, our_name
from .model_card import model_card
from .variants import infer_config, variants

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Conversion:
    """What a conversion found and wrote.

    Args:
        variant: "vit_b", "vit_l", "vit_h", "vit_tiny", or "custom" for another size.
        config: The model's configuration.
        output_dir: Where it was saved.
        new_weights: Our names of the weights that the checkpoint lacks and that are randomly initialised.
    """

    variant: str
    config: SamHQConfig
    output_dir: Path
    new_weights: list[str]


def convert_checkpoint(
    checkpoint: str | Path,
    output_dir: str | Path,
    variant: str | None = None,
    dtype: str = "float32",
    repository: str | None = None,
    with_code: bool = False,
    base: str | Path | None = None,
) -> Conversion:
    """Convert one of the authors' checkpoint files and save model, processor and model card.

    Args:
        checkpoint: A `.pth` file.
        output_dir: A directory that does not exist yet, or an empty one. It appears whole or not at all.
        variant: "vit_b", "vit_l", "vit_h" or "vit_tiny" to insist on one; found from the weights if None.
        dtype: "float32", "float16" or "bfloat16", of the saved weights.
        repository: The Hub repository that the model card's snippets name; the published one if None.
        with_code: The directory also gets the model's code, for users without this package, see `code_export.py`.
        base: The SAM or SAM-HQ file that belongs to `checkpoint`, where that is a mask decoder alone.

    Returns:
        What was found and written.

    Raises:
        ValueError: If the file holds no weights, other weights than SAM-HQ's, or those of another variant.
        OSError: If the file cannot be read or the directory not written.

    Warns:
        UserWarning: If the checkpoint is plain SAM's, whose HQ parts are then untrained.
    """
    if variant is not None:
        check_choice("variant", variant, variants())
    check_choice("dtype", dtype, DTYPES)
    with new_directory(output_dir) as directory:
        weights = read_sam_weights(checkpoint, base)
        found, config = infer_config(weights)
        if variant is not None and variant != found:
            raise ValueError(f"variant is {variant!r}, but the weights of {str(checkpoint)!r} are those of {found!r}")
        state_dict, new_weights = convert_weights(weights, config)
        del weights
        if new_weights:
            warnings.warn(
                f"{str(checkpoint)!r} is a plain SAM checkpoint: its {len(new_weights)} HQ weights are missing and "
                "are randomly initialised; the masks are noise until the HQ parts are trained",
                stacklevel=2,
            )
        config.dtype = DTYPES[dtype]
        model = SamHQModel.from_pretrained(None, config=config, state_dict=state_dict, dtype=DTYPES[dtype])
        model.save_pretrained(directory)
        processor_for(config).save_pretrained(directory)
        card = model_card(found, config, Path(checkpoint).name, bool(new_weights), repository, with_code)
        (directory / "README.md").write_text(card, encoding="utf-8")
        if with_code:
            add_code(directory)
    return Conversion(found, config, Path(output_dir), new_weights)


def convert_weights(
    weights: Mapping[str, torch.Tensor], config: SamHQConfig
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Rename the authors' weights, strictly.

    Args:
        weights: By the authors' names.
        config: The configuration of the model that takes them.

    Returns:
        The weights by our names, and our names of the HQ weights where all of them are missing.

    Raises:
        ValueError: If a weight is unknown, missing or misshapen, each named as the authors name it.
    """
    wanted = _wanted_shapes(config)
    drops_head = isinstance(config.vision_config, SamHQTinyVitConfig)
    renamed: dict[str, torch.Tensor] = {}
    unknown = []
    for name, value in weights.items():
        if drops_head and name in DROPPED_TINY_VIT_SHAPES:
            continue
        target = our_name(name)
        if target is None or target not in wanted:
            unknown.append(name)
        else:
            renamed[target] = value
    missing = [name for name in wanted if name not in renamed]
    hq_names = [name for name in wanted if is_hq_name(name)]
    new_weights = hq_names if set(hq_names) <= set(missing) else []
    missing = [name for name in missing if name not in new_weights]
    misshapen = [
        f"{authors_name(name)} {tuple(value.shape)} instead of {tuple(wanted[name])}"
        for name, value in renamed.items()
        if value.shape != wanted[name]
    ]
    whole = [str(authors_name(name)) for name, value in renamed.items() if not value.is_floating_point()]
    faults = {
        "unknown": unknown,
        "of whole numbers": [name for name in whole if not name.endswith("num_batches_tracked")],
        "missing": [authors_name(name) or name for name in missing],
        "misshapen": misshapen,
    }
    if found := listed_faults(faults):
        raise ValueError(f"the checkpoint does not fit the model; {found}")
    return renamed, new_weights


def processor_for(config: SamHQConfig) -> SamHQProcessor:
    """Return the processor that belongs to a model.

    Args:
        config: The model's configuration; its image size and grid decide.
    """
    side = config.vision_config.image_size
    return SamHQProcessor(
        SamHQImageProcessor(
            size={"longest_edge": side},
            pad_size={"height": side, "width": side},
            mask_size={"longest_edge": config.prompt_encoder_config.mask_input_size},
        )
    )


def _wanted_shapes(config: SamHQConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        model = SamHQModel(config)
    return {name: value.shape for name, value in model.state_dict().items()}


__all__ = [
    "Conversion",
    "convert_checkpoint",
    "convert_weights",
    "infer_config",
    "processor_for",
    "read_weights",
]
