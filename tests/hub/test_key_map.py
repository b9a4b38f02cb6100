import json
from pathlib import Path

import pytest

from sam_hq.hub.key_map import DROPPED_TINY_VIT_SHAPES, authors_name, is_hq_name, our_name

VARIANTS = ("vit_tiny", "vit_b", "vit_l", "vit_h")


def authors_names(variant: str) -> list[str]:
    return list(json.loads((Path(__file__).parents[1] / "parity" / f"shapes_{variant}.json").read_text()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_name_goes_there_and_back(variant):
    for name in authors_names(variant):
        ours = our_name(name)
        if name in DROPPED_TINY_VIT_SHAPES:
            assert ours is None
        else:
            assert authors_name(ours) == name


@pytest.mark.parametrize("variant", VARIANTS)
def test_names_stay_apart(variant):
    ours = [our_name(name) for name in authors_names(variant) if name not in DROPPED_TINY_VIT_SHAPES]
    assert len(set(ours)) == len(ours)


def test_the_hq_parts_are_those_that_plain_sam_lacks():
    hq_modules = ("hf_token", "hf_mlp", "compress_vit_feat", "embedding_encoder", "embedding_maskfeature")
    for name in authors_names("vit_b"):
        assert is_hq_name(our_name(name)) == name.startswith(tuple(f"mask_decoder.{module}." for module in hq_modules))


def test_examples_of_the_table():
    assert our_name("image_encoder.blocks.11.norm2.bias") == "vision_encoder.layers.11.layer_norm2.bias"
    assert our_name("mask_decoder.hf_mlp.layers.2.weight") == "mask_decoder.hq_mask_mlp.proj_out.weight"
    assert our_name("prompt_encoder.point_embeddings.3.weight") == "prompt_encoder.point_embed.3.weight"
    assert our_name("mask_decoder.unheard_of.weight") is None
