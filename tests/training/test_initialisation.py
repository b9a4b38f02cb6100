"""Starting values: reproducible, and such that prompts reach the masks at once."""

import torch

from conftest import TINY_VIT
from sam_hq.configuration_sam_hq import SamHQConfig
from sam_hq.modeling_sam_hq import SamHQModel
from sam_hq.training.initialisation import start_from_scratch


def fresh(seed: int = 0) -> SamHQModel:
    vision = {**TINY_VIT, "output_channels": 64, "num_pos_feats": 32}
    decoder = {"mlp_dim": 128, "num_attention_heads": 4, "iou_head_hidden_dim": 32}
    return start_from_scratch(SamHQModel(SamHQConfig(vision_config=vision, mask_decoder_config=decoder)), seed)


def test_weights_follow_from_the_seed_alone():
    torch.manual_seed(1)
    first = fresh().state_dict()
    torch.manual_seed(2)
    second, other = fresh().state_dict(), fresh(seed=5).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["mask_decoder.hq_token.weight"], other["mask_decoder.hq_token.weight"])


def test_each_head_of_the_pixels_attention_starts_as_a_side_of_the_token():
    model = fresh()
    attention = model.mask_decoder.transformer.layers[0].cross_attn_image_to_token
    generator = torch.Generator().manual_seed(0)
    tokens, pixels = torch.rand(40, 2, generator=generator), torch.rand(60, 2, generator=generator)
    query = attention.q_proj(model.shared_image_embedding(pixels)).unflatten(1, (4, -1))
    key = attention.k_proj(model.shared_image_embedding(tokens)).unflatten(1, (4, -1))
    scores = torch.einsum("phd,thd->hpt", query, key)
    offset = pixels[:, None] - tokens[None]
    right, below = offset[..., 0] > 0, offset[..., 1] > 0
    for head, side in enumerate((right, below, ~right, ~below)):
        assert torch.equal(scores[head] > 0, side)
