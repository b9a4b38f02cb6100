"""The published backbones, and the configuration that a checkpoint's weights are of."""

import re
from collections import Counter
from collections.abc import Mapping

import torch

from sam_hq_numpy.number_limits import counted, listed_names

from ..configuration_sam_hq import SamHQConfig, SamHQTinyVitConfig, SamHQVisionConfig

CUSTOM_VARIANT = "custom"
_VIT_PATCHES = "image_encoder.patch_embed.proj.weight"
_TINY_VIT_PATCHES = "image_encoder.patch_embed.seq.2.c.weight"


def variants() -> dict[str, SamHQVisionConfig | SamHQTinyVitConfig]:
    """Return the encoders' configurations of the published backbones by the authors' names for them."""
    return {
        "vit_b": SamHQVisionConfig(),
        "vit_l": SamHQVisionConfig(
            hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, global_attn_indexes=(5, 11, 17, 23)
        ),
        "vit_h": SamHQVisionConfig(
            hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, global_attn_indexes=(7, 15, 23, 31)
        ),
        "vit_tiny": SamHQTinyVitConfig(),
    }


def infer_config(weights: Mapping[str, torch.Tensor]) -> tuple[str, SamHQConfig]:
    """Find the variant and the configuration from the weights themselves.

    A width of the published backbones means that backbone, whatever else is there: missing layers are then reported
    as missing. Other widths are taken as a ViT whose sizes the shapes tell.

    Args:
        weights: By the authors' names.

    Returns:
        The variant's name and the model's configuration.

    Raises:
        ValueError: If these are not the weights of a SAM encoder.
    """
    for name, vision_config in variants().items():
        if isinstance(vision_config, SamHQTinyVitConfig):
            patches, width = weights.get(_TINY_VIT_PATCHES), vision_config.hidden_sizes[0]
        else:
            patches, width = weights.get(_VIT_PATCHES), vision_config.hidden_size
        if patches is not None and patches.ndim == 4 and patches.shape[0] == width:
            return name, SamHQConfig(vision_config=vision_config)
    if _VIT_PATCHES not in weights:
        raise ValueError(
            f"not a SAM checkpoint: neither {_VIT_PATCHES!r} nor {_TINY_VIT_PATCHES!r} of a known width is there; "
            f"it holds {counted(len(weights), 'tensor')}: {listed_names(list(weights), 3)}"
        )
    return CUSTOM_VARIANT, _config_from_shapes(weights)


def _config_from_shapes(weights: Mapping[str, torch.Tensor]) -> SamHQConfig:
    """The configuration of a ViT of any size; the decoder's 8 heads leave no trace in the shapes."""

    def shape(name: str, rank: int) -> torch.Size:
        if name not in weights:
            raise ValueError(f"the checkpoint does not fit the model; 1 missing: {name}")
        if weights[name].ndim != rank or 0 in weights[name].shape:
            raise ValueError(f"the checkpoint does not fit the model; 1 misshapen: {name} {tuple(weights[name].shape)}")
        return weights[name].shape

    width, channels, patch_size, _ = shape(_VIT_PATCHES, 4)
    grid = shape("image_encoder.pos_embed", 4)[1]
    blocks = [re.match(r"image_encoder\.blocks\.(\d+)\.", name) for name in weights]
    depth = 1 + max((int(block[1]) for block in blocks if block), default=-1)
    reaches = [(shape(f"image_encoder.blocks.{layer}.attn.rel_pos_h", 2)[0] + 1) // 2 for layer in range(depth)]
    head_width = shape("image_encoder.blocks.0.attn.rel_pos_h", 2)[1]
    windows = Counter(reach for reach in reaches if reach != grid)
    output_channels = shape("image_encoder.neck.0.weight", 4)[0]
    vision_config = SamHQVisionConfig(
        hidden_size=width,
        output_channels=output_channels,
        num_hidden_layers=depth,
        num_attention_heads=width // head_width,
        num_channels=channels,
        image_size=grid * patch_size,
        patch_size=patch_size,
        mlp_dim=shape("image_encoder.blocks.0.mlp.lin1.weight", 2)[0],
        window_size=windows.most_common(1)[0][0] if windows else grid,
        global_attn_indexes=[layer for layer, reach in enumerate(reaches) if reach == grid],
        num_pos_feats=shape("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", 2)[1],
    )
    decoder_width = shape("mask_decoder.transformer.final_attn_token_to_image.q_proj.weight", 2)[0]
    return SamHQConfig(
        vision_config=vision_config,
        prompt_encoder_config={"mask_input_channels": shape("prompt_encoder.mask_downscaling.3.weight", 4)[0]},
        mask_decoder_config={
            "mlp_dim": shape("mask_decoder.transformer.layers.0.mlp.lin1.weight", 2)[0],
            "attention_downsample_rate": output_channels // decoder_width,
            "num_multimask_outputs": shape("mask_decoder.mask_tokens.weight", 2)[0] - 1,
            "iou_head_hidden_dim": shape("mask_decoder.iou_prediction_head.layers.0.weight", 2)[0],
        },
    )
