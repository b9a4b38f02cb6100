"""Small checkpoints of other packages: in the authors' format, and transformers' own SAM."""

import torch
from transformers import SamConfig, SamModel

import sam_hq
from conftest import VIT, small_config
from sam_hq.hub.key_map import authors_name, is_hq_name


def small_authors_weights(without_hq: bool = False) -> dict[str, torch.Tensor]:
    """A ViT with 8 decoder heads, which is what the authors' format takes for granted, in that format."""
    config = small_config("vit")
    config.mask_decoder_config.num_attention_heads = 8
    torch.manual_seed(0)
    weights = sam_hq.SamHQModel(config).state_dict()
    for value in weights.values():
        value.normal_(0, 0.2)
    return {
        authors_name(name): value.clone() for name, value in weights.items() if not (without_hq and is_hq_name(name))
    }


def plain_sam() -> SamModel:
    """transformers' own SAM at a small size, with nothing at its neutral value."""
    torch.manual_seed(0)
    config = SamConfig(
        vision_config={**VIT, "mlp_dim": 128},
        prompt_encoder_config={"hidden_size": 32, "image_size": 128, "image_embedding_size": 8},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
    )
    model = SamModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    return model
