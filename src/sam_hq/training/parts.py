"""Which parameters are trained."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from sam_hq_numpy.number_limits import check_choice

from ..hub.key_map import is_hq_name
from ..modeling_sam_hq import SamHQModel

ENCODER_STAGES = re.compile(r"(^|\.)vision_encoder\.(?!neck\.|fusion\.|fine\.)")
TRAINABLE = ("hq", "decoder", "sam", "all", "lora")
FROZEN_ENCODER = ("hq", "decoder")  # those that leave the vision encoder as it is
# Attentions and MLPs, and the convolutions of single pixels of an EfficientNet's bottlenecks, which has neither.
LORA_TARGETS = (
    r".*(vision_encoder|mask_decoder).*\.(qkv|q_proj|v_proj|proj|lin1|lin2)"
    r"|.*vision_encoder\.stages\..*\.(expand|project)\.conv"
)


def trainable_model(
    model: SamHQModel, trainable: str, lora_rank: int = 8, seed: int = 0, gradient_checkpointing: bool = False
) -> Any:
    """Prepare a model for training: what is trained needs gradients, the rest does not.

    Args:
        model: The model, which is changed.
        trainable: `lora`, or what `select_parameters` takes.
        lora_rank: Rank of the updates of `lora`.
        seed: Seed of their starting values.
        gradient_checkpointing: Whether activations are recomputed.

    Returns:
        The model, with `lora` in PEFT's wrapper.

    Raises:
        ImportError: `lora` without peft.
        ValueError: Another value of `trainable`.
    """
    if gradient_checkpointing:
        recompute_activations(model)
    if trainable == "lora":
        return with_lora(model, lora_rank, seed=seed)
    select_parameters(model, trainable)
    return model


def select_parameters(model: SamHQModel, trainable: str) -> list[str]:
    """Freeze everything but what is trained.

    Args:
        model: The model; `requires_grad` of its parameters is set.
        trainable: `hq` the HQ parts, SAM frozen (the paper); `decoder` these and SAM's mask decoder and prompt
            encoder; `sam` SAM without the HQ parts, before a stage of `hq`; `all` everything.

    Returns:
        Names of the trained parameters.

    Raises:
        ValueError: Another value, `lora` among them: that is made by `with_lora`.
    """
    choose = {
        "hq": is_hq_name,
        "decoder": lambda name: name.startswith(("mask_decoder.", "prompt_encoder.")),
        # The HQ token is one of the transformer's tokens, so SAM trains beside it.
        "sam": lambda name: not is_hq_name(name) or "hq_token" in name,
        "all": lambda _: True,
    }
    check_choice("trainable", trainable, choose)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(choose[trainable](name))
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def recompute_activations(model: SamHQModel) -> None:
    """Keep the activations of few layers in training and compute the others again.

    Args:
        model: The model.
    """
    # transformers renamed it and drops the old name in its version 6.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable()


def with_lora(model: SamHQModel, rank: int = 8, seed: int = 0) -> Any:
    """Wrap the model for low-rank adaptation of encoder and decoder; the HQ parts are trained in full.

    Args:
        model: The model, which is changed.
        rank: Rank of the updates.
        seed: Seed of their starting values.

    Returns:
        A `peft.PeftModel`; `merge_and_unload()` makes a plain model of it.

    Raises:
        ImportError: peft is not installed.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ImportError("LoRA needs peft: pip install 'sam-hq[lora]'") from error
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LORA_TARGETS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wrapped = get_peft_model(model, config)
    for name, parameter in wrapped.named_parameters():
        if is_hq_name(name.removeprefix("base_model.model.")) and "lora_" not in name:
            parameter.requires_grad_(True)
    return wrapped


def parameter_groups(module: nn.Module, weight_decay: float, encoder_rate: float = 1.0) -> list[dict[str, Any]]:
    """Groups of the trained parameters for the optimizer.

    Matrices and kernels decay; biases, norms and embeddings do not. The vision encoder trains at another rate, but for
    what follows its stages: that is as new as the decoder where the encoder is a pretrained one.

    Args:
        module: The model, alone or inside others.
        weight_decay: Of matrices and kernels.
        encoder_rate: Share of the learning rate that the encoder trains at.

    Returns:
        Each group's `params`, `weight_decay`, and as `rate_share` the share of the learning rate that it trains at.
    """
    embedded = {id(p) for part in module.modules() if isinstance(part, nn.Embedding) for p in part.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            slower = encoder_rate != 1 and ENCODER_STAGES.search(name) is not None
            groups.setdefault((slower, parameter.ndim > 1 and id(parameter) not in embedded), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": weight_decay if decays else 0.0,
            "rate_share": encoder_rate if slower else 1.0,
        }
        for (slower, decays), parameters in sorted(groups.items(), key=lambda group: (group[0][0], not group[0][1]))
    ]
