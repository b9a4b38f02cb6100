"""The names of the weights: the authors' and those of the Hub checkpoints, one table read both ways.

Source: the state dicts of `segment-anything-hq` 0.3 for the authors' side, those of `syscv-community/sam-hq-vit-*` for
the other. TinyViT has no Hub checkpoint; its names are ours, in the same spirit.
"""

import re

# (authors' module, our module); {} is an index. What follows the module (".weight", ".bias", …) is the same.
_SHARED = (
    ("image_encoder.neck.0", "vision_encoder.neck.conv1"),
    ("image_encoder.neck.1", "vision_encoder.neck.layer_norm1"),
    ("image_encoder.neck.2", "vision_encoder.neck.conv2"),
    ("image_encoder.neck.3", "vision_encoder.neck.layer_norm2"),
    ("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix", "shared_image_embedding.positional_embedding"),
    ("prompt_encoder.point_embeddings.{}", "prompt_encoder.point_embed.{}"),
    ("prompt_encoder.not_a_point_embed", "prompt_encoder.not_a_point_embed"),
    ("prompt_encoder.no_mask_embed", "prompt_encoder.no_mask_embed"),
    ("prompt_encoder.mask_downscaling.0", "prompt_encoder.mask_embed.conv1"),
    ("prompt_encoder.mask_downscaling.1", "prompt_encoder.mask_embed.layer_norm1"),
    ("prompt_encoder.mask_downscaling.3", "prompt_encoder.mask_embed.conv2"),
    ("prompt_encoder.mask_downscaling.4", "prompt_encoder.mask_embed.layer_norm2"),
    ("prompt_encoder.mask_downscaling.6", "prompt_encoder.mask_embed.conv3"),
    ("mask_decoder.iou_token", "mask_decoder.iou_token"),
    ("mask_decoder.mask_tokens", "mask_decoder.mask_tokens"),
    ("mask_decoder.transformer.layers.{}.self_attn", "mask_decoder.transformer.layers.{}.self_attn"),
    (
        "mask_decoder.transformer.layers.{}.cross_attn_token_to_image",
        "mask_decoder.transformer.layers.{}.cross_attn_token_to_image",
    ),
    (
        "mask_decoder.transformer.layers.{}.cross_attn_image_to_token",
        "mask_decoder.transformer.layers.{}.cross_attn_image_to_token",
    ),
    ("mask_decoder.transformer.layers.{}.mlp", "mask_decoder.transformer.layers.{}.mlp"),
    ("mask_decoder.transformer.layers.{}.norm{}", "mask_decoder.transformer.layers.{}.layer_norm{}"),
    ("mask_decoder.transformer.final_attn_token_to_image", "mask_decoder.transformer.final_attn_token_to_image"),
    ("mask_decoder.transformer.norm_final_attn", "mask_decoder.transformer.layer_norm_final_attn"),
    ("mask_decoder.output_upscaling.0", "mask_decoder.upscale_conv1"),
    ("mask_decoder.output_upscaling.1", "mask_decoder.upscale_layer_norm"),
    ("mask_decoder.output_upscaling.3", "mask_decoder.upscale_conv2"),
    ("mask_decoder.output_hypernetworks_mlps.{}.layers.0", "mask_decoder.output_hypernetworks_mlps.{}.proj_in"),
    ("mask_decoder.output_hypernetworks_mlps.{}.layers.1", "mask_decoder.output_hypernetworks_mlps.{}.layers.0"),
    ("mask_decoder.output_hypernetworks_mlps.{}.layers.2", "mask_decoder.output_hypernetworks_mlps.{}.proj_out"),
    ("mask_decoder.iou_prediction_head.layers.0", "mask_decoder.iou_prediction_head.proj_in"),
    ("mask_decoder.iou_prediction_head.layers.1", "mask_decoder.iou_prediction_head.layers.0"),
    ("mask_decoder.iou_prediction_head.layers.2", "mask_decoder.iou_prediction_head.proj_out"),
)
_HQ = (
    ("mask_decoder.hf_token", "mask_decoder.hq_token"),
    ("mask_decoder.hf_mlp.layers.0", "mask_decoder.hq_mask_mlp.proj_in"),
    ("mask_decoder.hf_mlp.layers.1", "mask_decoder.hq_mask_mlp.layers.0"),
    ("mask_decoder.hf_mlp.layers.2", "mask_decoder.hq_mask_mlp.proj_out"),
    ("mask_decoder.compress_vit_feat.0", "mask_decoder.compress_vit_conv1"),
    ("mask_decoder.compress_vit_feat.1", "mask_decoder.compress_vit_norm"),
    ("mask_decoder.compress_vit_feat.3", "mask_decoder.compress_vit_conv2"),
    ("mask_decoder.embedding_encoder.0", "mask_decoder.encoder_conv1"),
    ("mask_decoder.embedding_encoder.1", "mask_decoder.encoder_norm"),
    ("mask_decoder.embedding_encoder.3", "mask_decoder.encoder_conv2"),
    ("mask_decoder.embedding_maskfeature.0", "mask_decoder.mask_conv1"),
    ("mask_decoder.embedding_maskfeature.1", "mask_decoder.mask_norm"),
    ("mask_decoder.embedding_maskfeature.3", "mask_decoder.mask_conv2"),
)
_VIT = (
    ("image_encoder.pos_embed", "vision_encoder.pos_embed"),
    ("image_encoder.patch_embed.proj", "vision_encoder.patch_embed.projection"),
    ("image_encoder.blocks.{}.norm{}", "vision_encoder.layers.{}.layer_norm{}"),
    ("image_encoder.blocks.{}.attn", "vision_encoder.layers.{}.attn"),
    ("image_encoder.blocks.{}.mlp", "vision_encoder.layers.{}.mlp"),
)
_TINY_VIT = (
    ("image_encoder.patch_embed.seq.0.c", "vision_encoder.patch_embed.conv1.conv"),
    ("image_encoder.patch_embed.seq.0.bn", "vision_encoder.patch_embed.conv1.norm"),
    ("image_encoder.patch_embed.seq.2.c", "vision_encoder.patch_embed.conv2.conv"),
    ("image_encoder.patch_embed.seq.2.bn", "vision_encoder.patch_embed.conv2.norm"),
    ("image_encoder.layers.{}.blocks.{}.conv{}.c", "vision_encoder.stages.{}.layers.{}.conv{}.conv"),
    ("image_encoder.layers.{}.blocks.{}.conv{}.bn", "vision_encoder.stages.{}.layers.{}.conv{}.norm"),
    (
        "image_encoder.layers.{}.blocks.{}.attn.attention_biases",
        "vision_encoder.stages.{}.layers.{}.attn.attention_biases",
    ),
    ("image_encoder.layers.{}.blocks.{}.attn.norm", "vision_encoder.stages.{}.layers.{}.attn.layer_norm"),
    ("image_encoder.layers.{}.blocks.{}.attn.qkv", "vision_encoder.stages.{}.layers.{}.attn.qkv"),
    ("image_encoder.layers.{}.blocks.{}.attn.proj", "vision_encoder.stages.{}.layers.{}.attn.proj"),
    ("image_encoder.layers.{}.blocks.{}.local_conv.c", "vision_encoder.stages.{}.layers.{}.local_conv.conv"),
    ("image_encoder.layers.{}.blocks.{}.local_conv.bn", "vision_encoder.stages.{}.layers.{}.local_conv.norm"),
    ("image_encoder.layers.{}.blocks.{}.mlp.norm", "vision_encoder.stages.{}.layers.{}.mlp.layer_norm"),
    ("image_encoder.layers.{}.blocks.{}.mlp.fc1", "vision_encoder.stages.{}.layers.{}.mlp.lin1"),
    ("image_encoder.layers.{}.blocks.{}.mlp.fc2", "vision_encoder.stages.{}.layers.{}.mlp.lin2"),
    ("image_encoder.layers.{}.downsample.conv{}.c", "vision_encoder.stages.{}.downsample.conv{}.conv"),
    ("image_encoder.layers.{}.downsample.conv{}.bn", "vision_encoder.stages.{}.downsample.conv{}.norm"),
)
MODULE_NAMES = _SHARED + _HQ + _VIT + _TINY_VIT

# TinyViT was pretrained as a classifier; its head takes no part in segmentation.
DROPPED_TINY_VIT_SHAPES = {
    "image_encoder.norm_head.weight": (320,),
    "image_encoder.norm_head.bias": (320,),
    "image_encoder.head.weight": (1000, 320),
    "image_encoder.head.bias": (1000,),
}


def our_name(authors_name: str) -> str | None:
    """Return our name of one of the authors' weights, or None where the table does not know it.

    Args:
        authors_name: Such as "mask_decoder.hf_token.weight".
    """
    return _renamed(authors_name, _TO_OURS)


def authors_name(our_name: str) -> str | None:
    """Return the authors' name of one of our weights, or None where the table does not know it.

    Args:
        our_name: Such as "mask_decoder.hq_token.weight".
    """
    return _renamed(our_name, _TO_AUTHORS)


def is_hq_name(our_name: str) -> bool:
    """Return whether a weight belongs to the parts that HQ-SAM adds to SAM.

    Args:
        our_name: Such as "mask_decoder.hq_token.weight".
    """
    return any(our_name.startswith(f"{module}.") for _, module in _HQ)


def _compiled(pairs: list[tuple[str, str]]) -> list[tuple[re.Pattern[str], str]]:
    return [
        (re.compile(re.escape(module).replace(r"\{\}", r"(\d+)") + r"(?=\.|$)"), target) for module, target in pairs
    ]


def _renamed(name: str, rules: list[tuple[re.Pattern[str], str]]) -> str | None:
    for pattern, target in rules:
        if match := pattern.match(name):
            return target.format(*match.groups()) + name[match.end() :]
    return None


_TO_OURS = _compiled(list(MODULE_NAMES))
_TO_AUTHORS = _compiled([(ours, authors) for authors, ours in MODULE_NAMES])
