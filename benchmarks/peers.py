"""The models that are compared: ours, the built-in class with its decoder mended in memory, the authors' package.

All have the same seeded weights, so that their answers can be compared as well as their times.
"""

import importlib.util
from dataclasses import dataclass
from typing import Any

import torch

from builtin_sam_hq import mended_builtin_of
from parity.seeded_weights import seeded_state_dict
from sam_hq.hub.conversion import convert_weights, infer_config, processor_for
from sam_hq.modeling_sam_hq import SamHQModel
from sam_hq.processing_sam_hq import SamHQProcessor


@dataclass
class Peers:
    """One backbone in up to three implementations.

    Attributes:
        ours: This package's model.
        processor: Its processor.
        builtin: The class built into transformers, mended; None for TinyViT, which it does not have.
        authors: The authors' `Sam`, or None where their package is not installed.
    """

    ours: SamHQModel
    processor: SamHQProcessor
    builtin: Any
    authors: Any


def load_peers(variant: str, builtin: bool = True, authors: bool = True) -> Peers:
    """Make the models of a variant.

    Args:
        variant: "vit_tiny", "vit_b", "vit_l" or "vit_h".
        builtin: Whether the built-in class is wanted.
        authors: Whether the authors' package is wanted, where it is installed.
    """
    weights = {name: torch.from_numpy(value) for name, value in seeded_state_dict(variant).items()}
    _, config = infer_config(weights)
    state_dict, _ = convert_weights(weights, config)
    ours = SamHQModel.from_pretrained(None, config=config, state_dict=state_dict).eval()
    peer = None
    if builtin and variant != "vit_tiny":
        peer = mended_builtin_of(ours)
        peer.set_attn_implementation("sdpa")
    theirs = _authors(variant, weights) if authors and authors_installed() else None
    return Peers(ours, processor_for(config), peer, theirs)


def authors_installed() -> bool:
    """Whether the authors' package can be imported here."""
    return all(importlib.util.find_spec(name) for name in ("segment_anything_hq", "timm", "torchvision"))


def _authors(variant: str, weights: dict[str, torch.Tensor]) -> Any:
    from segment_anything_hq import sam_model_registry

    model = sam_model_registry[variant]()
    model.load_state_dict(weights, strict=True)
    return model.train().eval()  # the TinyViT builder caches attention biases before they are loaded
