"""The absorbed form of the two-way transformer, against the plain one."""

import pytest
import torch

from conftest import stirred
from sam_hq.configuration_sam_hq import SamHQMaskDecoderConfig
from sam_hq.model.two_way_transformer import SamHQTwoWayTransformer

WIDTH, PIXELS = 32, 25


def transformer(heads):
    config = SamHQMaskDecoderConfig(hidden_size=WIDTH, mlp_dim=64, num_attention_heads=heads, vit_dim=8)
    return stirred(SamHQTwoWayTransformer(config)).eval()


def inputs(maps, per_map, length):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    tokens, pixels, positions = draw(maps * per_map, length, WIDTH), draw(maps, PIXELS, WIDTH), draw(PIXELS, WIDTH)
    counts = draw(maps * per_map, length) > -1
    counts[:, 0] = True
    bias = torch.zeros(counts.shape).masked_fill(~counts, -torch.inf)[:, None, None]
    return tokens, pixels, positions, bias


@pytest.mark.parametrize("heads", [1, 8], ids=["absorbed", "projected"])
@pytest.mark.parametrize(("maps", "per_map"), [(1, 1), (1, 5), (3, 2)])
@pytest.mark.parametrize("guided", [False, True])
def test_absorbed_equals_plain(heads, maps, per_map, guided):
    model = transformer(heads)
    attention = model.layers[1].cross_attn_token_to_image
    assert attention._absorbs(7) == (heads == 1)  # both forms are met
    tokens, pixels, positions, bias = inputs(maps, per_map, length=7)
    count = maps * per_map
    guides = (torch.randn(count, heads, 7, PIXELS), torch.randn(count, 1, WIDTH)) if guided else (None, None)
    with torch.no_grad():
        plain_tokens, plain_pixels, _ = model(tokens, pixels, positions, bias, *guides)
        begun = model.begin(tokens, pixels, positions, bias, *guides)
        answers = [model.forward_absorbed(tokens, pixels, positions, bias, *guides, first) for first in (None, begun)]
    counted = bias[:, 0, 0] == 0  # what becomes of tokens that only pad is nobody's concern
    for got_tokens, (got_pixels,) in answers:
        torch.testing.assert_close(got_tokens[counted], plain_tokens[counted], atol=2e-6, rtol=0)
        torch.testing.assert_close(got_pixels, plain_pixels, atol=2e-6, rtol=0)


@pytest.mark.parametrize("heads", [1, 8], ids=["absorbed", "projected"])
@pytest.mark.parametrize("own_maps", [False, True])
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("at_once", [1, 2, 5, 9])
def test_pixels_in_parts_and_output_tokens_alone_equal_plain(heads, own_maps, begun, at_once):
    model = transformer(heads)
    tokens, pixels, positions, bias = inputs(maps=1, per_map=5, length=7)
    if own_maps:
        pixels = torch.cat([pixels * 0.2 * share for share in range(1, 6)])
    guides = (torch.randn(5, heads, 7, PIXELS), torch.randn(1, 1, WIDTH))
    with torch.no_grad():
        plain_tokens, plain_pixels, _ = model(tokens, pixels, positions, bias, *guides)
        first = model.begin(tokens, pixels, positions, bias, *guides) if begun and not own_maps else None
        fast_tokens, parts = model.forward_absorbed(tokens, pixels, positions, bias, *guides, first, at_once, 1)
    assert [len(part) for part in parts] == [min(at_once, 5 - start) for start in range(0, 5, at_once)]
    torch.testing.assert_close(fast_tokens, plain_tokens[:, :1], atol=5e-6, rtol=0)
    torch.testing.assert_close(torch.cat(parts), plain_pixels, atol=5e-6, rtol=0)


@pytest.mark.parametrize("heads", [1, 8])
def test_gradients_of_the_absorbed_form_are_those_of_the_plain_one(heads):
    model = transformer(heads)
    tokens, pixels, positions, bias = inputs(2, 3, length=7)
    gradients = []
    for form in (model, model.forward_absorbed):
        model.zero_grad()
        new_tokens, new_pixels, *_ = form(tokens, pixels, positions, bias)
        new_pixels = new_pixels if isinstance(new_pixels, torch.Tensor) else torch.cat(new_pixels)
        (new_tokens[:, 0].square().sum() + new_pixels.square().sum()).backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    plain, absorbed = gradients
    for name in plain:
        largest = max(plain[name].abs().max().item(), 1.0)
        torch.testing.assert_close(absorbed[name], plain[name], atol=1e-5 * largest, rtol=0, msg=name)
