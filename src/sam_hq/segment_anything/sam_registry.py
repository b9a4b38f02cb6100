"""`sam_model_registry`: from a backbone's name and a checkpoint to a model."""

import functools
import warnings
from collections.abc import Callable
from pathlib import Path

import torch

from ..configuration_sam_hq import SamHQConfig
from ..hub.checkpoint_files import read_sam_weights
from ..hub.conversion import convert_weights, processor_for
from ..hub.variants import infer_config, variants
from ..modeling_sam_hq import SamHQModel
from ..predictor import SamHQPredictor
from .sam import Sam


def _build(variant: str | None, checkpoint: str | Path | None = None) -> Sam:
    """Build a model.

    Args:
        variant: "vit_b", "vit_l", "vit_h" or "vit_tiny"; None for the checkpoint's own.
        checkpoint: A file of SAM-HQ in its authors' format, a directory or a name on the Hub that
            `SamHQModel.from_pretrained` reads; None for weights randomly initialised.

    Raises:
        ValueError: If the weights do not fit, or are those of another backbone.
        OSError: If there is no such file.
    """
    if checkpoint is None:
        warnings.warn("no checkpoint was given: the weights are randomly initialised", stacklevel=2)
        config = SamHQConfig(vision_config=variants()[variant or "vit_h"].to_dict())
        return Sam(SamHQModel(config), processor_for(config))
    if not Path(checkpoint).is_file() and Path(checkpoint).suffix not in (".pth", ".pt"):
        loaded = SamHQPredictor.from_pretrained(checkpoint, device="cpu")
        _check_variant(variant, loaded.model.config, checkpoint)
        return Sam(loaded.model, loaded.processor)
    weights = read_sam_weights(checkpoint)
    found, config = infer_config(weights)
    if variant is not None and found != variant:
        raise ValueError(f"{str(checkpoint)!r} holds the weights of {found}, not of {variant}")
    state_dict, new_weights = convert_weights(weights, config)
    if new_weights:
        raise ValueError(
            f"{str(checkpoint)!r} is a plain SAM checkpoint without the HQ parts: load it with segment_anything, or "
            "train the HQ parts first (sam-hq train)"
        )
    model = SamHQModel.from_pretrained(None, config=config, state_dict=state_dict, dtype=torch.float32)
    return Sam(model, processor_for(config))


def _check_variant(variant: str | None, config: SamHQConfig, checkpoint: str | Path) -> None:
    if variant is None:
        return
    wanted, found = variants()[variant], config.vision_config
    if type(wanted) is not type(found) or getattr(wanted, "hidden_size", 0) != getattr(found, "hidden_size", 0):
        raise ValueError(f"{str(checkpoint)!r} holds another backbone than {variant}")


build_sam_vit_b: Callable[..., Sam] = functools.partial(_build, "vit_b")
build_sam_vit_l: Callable[..., Sam] = functools.partial(_build, "vit_l")
build_sam_vit_h: Callable[..., Sam] = functools.partial(_build, "vit_h")
build_sam_vit_t: Callable[..., Sam] = functools.partial(_build, "vit_tiny")
build_sam = build_sam_vit_h

# The names of segment_anything_hq, of MobileSAM, and of ComfyUI's nodes.
sam_model_registry: dict[str, Callable[..., Sam]] = {
    "default": functools.partial(_build, None),
    "vit_b": build_sam_vit_b,
    "vit_l": build_sam_vit_l,
    "vit_h": build_sam_vit_h,
    "vit_tiny": build_sam_vit_t,
    "vit_t": build_sam_vit_t,
    "mobile_sam": build_sam_vit_t,
    "sam_vit_b": build_sam_vit_b,
    "sam_vit_l": build_sam_vit_l,
    "sam_vit_h": build_sam_vit_h,
    "sam_hq_vit_b": build_sam_vit_b,
    "sam_hq_vit_l": build_sam_vit_l,
    "sam_hq_vit_h": build_sam_vit_h,
    "sam_hq_vit_tiny": build_sam_vit_t,
}
sam_hq_model_registry = sam_model_registry
