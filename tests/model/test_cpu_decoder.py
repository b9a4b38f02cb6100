"""The CPU engine's decoder, against the modules."""

import pytest
import torch

from conftest import DECODER, small_model, stirred
from sam_hq.configuration_sam_hq import SamHQMaskDecoderConfig
from sam_hq.model import cpu_decoder, cpu_rendering
from sam_hq.model.cpu_decoder import transformed_objects
from sam_hq.model.cpu_rendering import mask_strips
from sam_hq.model.mask_decoder import PromptedObjects, SamHQMaskDecoder

WIDTH, GRID, PIXELS = 32, 5, 25


def mask_decoder(heads):
    config = SamHQMaskDecoderConfig(**{**DECODER, "hidden_size": WIDTH, "num_attention_heads": heads, "vit_dim": 8})
    config._attn_implementation = "sdpa"
    return stirred(SamHQMaskDecoder(config)).eval()


def prompted(images, per_image, own_pixels=False, length=9):
    generator = torch.Generator().manual_seed(0)
    count = images * per_image
    tokens = torch.randn(count, length, WIDTH, generator=generator)
    pixels = torch.randn(count if own_pixels else images, PIXELS, WIDTH, generator=generator)
    padded = torch.randn(count, length, generator=generator) < -1
    padded[:, 0] = False
    bias = torch.zeros(padded.shape).masked_fill(padded, -torch.inf)[:, None, None]
    return PromptedObjects(tokens, pixels, bias), torch.randn(PIXELS, WIDTH, generator=generator)


@pytest.mark.parametrize("heads", [1, 8], ids=["absorbed", "projected"])
@pytest.mark.parametrize(("images", "per_image"), [(1, 1), (1, 2), (1, 5), (3, 2), (2, 4)])
@pytest.mark.parametrize("own_pixels", [False, True])
@pytest.mark.parametrize("at_once", [1, 2, 9])
def test_the_transformer_is_the_modules(monkeypatch, heads, images, per_image, own_pixels, at_once):
    monkeypatch.setattr(cpu_decoder, "PIXEL_FLOATS_AT_ONCE", at_once * PIXELS * WIDTH)
    decoder = mask_decoder(heads)
    objects, positions = prompted(images, per_image, own_pixels)
    with torch.no_grad():
        tokens, pixels, _ = decoder.transformer(objects.tokens, objects.pixels, positions, objects.token_bias)
        parts = list(transformed_objects(decoder, objects, positions, images))
    outputs = decoder.num_output_tokens
    counted = objects.token_bias[:, 0, 0, :outputs] == 0  # what becomes of tokens that only pad is nobody's concern
    assert [len(part) for part, _ in parts] == [
        min(at_once, per_image - start) for _ in range(images) for start in range(0, per_image, at_once)
    ]
    found = torch.cat([part for part, _ in parts])
    torch.testing.assert_close(found[counted], tokens[:, :outputs][counted], atol=5e-6, rtol=0)
    torch.testing.assert_close(torch.cat([part for _, part in parts]), pixels, atol=5e-6, rtol=0)


def decoded(images, per_image):
    generator = torch.Generator().manual_seed(0)
    count = images * per_image

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    return draw(count, 8 * 8, 32), draw(count, 3, 4), draw(count, 4), draw(images, 4, 32, 32)


@pytest.mark.parametrize("rows_at_once", [4, 12, 32, 100])
@pytest.mark.parametrize("region", [None, (32, 32), (1, 32), (17, 5), (22, 31), (32, 2)])
def test_strips_are_the_rows_of_the_modules_masks(monkeypatch, rows_at_once, region):
    monkeypatch.setattr(cpu_rendering, "ROWS_AT_ONCE", rows_at_once)
    decoder, inputs = small_model().mask_decoder, decoded(images=2, per_image=3)
    rows, columns = region or (32, 32)
    with torch.no_grad():
        sam, hq = decoder.render(*inputs)
        strips = list(mask_strips(decoder, *inputs, region))
    assert [strip.shape[2] for _, strip in strips] == [
        min(rows_at_once, rows - top) for top in range(0, rows, rows_at_once)
    ]
    fast_sam, fast_hq = (torch.cat(parts, dim=2) for parts in zip(*strips, strict=True))
    torch.testing.assert_close(fast_sam, sam[..., :rows, :columns], atol=1e-5, rtol=0)
    torch.testing.assert_close(fast_hq, hq[..., :rows, :columns], atol=1e-5, rtol=0)


def test_sam_masks_are_left_out_where_they_are_not_wanted():
    decoder = small_model().mask_decoder
    pixels, sam_kernels, hq_kernel, hq_features = decoded(1, 2)
    with torch.no_grad():
        _, wanted = decoder.render(pixels, sam_kernels, hq_kernel, hq_features)
        sam, hq = decoder.render(pixels, None, hq_kernel, hq_features)
        strips = list(mask_strips(decoder, pixels, None, hq_kernel, hq_features))
    assert [sam, *(strip for strip, _ in strips)] == [None] * (1 + len(strips))
    torch.testing.assert_close(torch.cat([strip for _, strip in strips], dim=2), wanted, atol=1e-5, rtol=0)
    torch.testing.assert_close(hq, wanted)
