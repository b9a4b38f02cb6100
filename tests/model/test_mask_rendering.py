"""The fast form of mask rendering, against the plain one."""

import pytest
import torch

from conftest import small_model
from sam_hq.model import mask_rendering
from sam_hq.model.mask_rendering import render_masks, render_masks_fast

GRID = 8


def decoded(images, per_image):
    generator = torch.Generator().manual_seed(0)
    count = images * per_image

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    return draw(count, GRID * GRID, 32), draw(count, 3, 4), draw(count, 4), draw(images, 4, 4 * GRID, 4 * GRID)


@pytest.mark.parametrize("rows_at_once", [4, 12, 32, 100])
@pytest.mark.parametrize("region", [None, (32, 32), (1, 32), (17, 5), (22, 31), (32, 2)])
def test_fast_equals_plain(monkeypatch, rows_at_once, region):
    monkeypatch.setattr(mask_rendering, "_ROWS_AT_ONCE", rows_at_once)
    decoder = small_model().mask_decoder
    inputs = decoded(images=2, per_image=3)
    with torch.no_grad():
        sam, hq = render_masks(decoder, *inputs)
        fast_sam, fast_hq = render_masks_fast(decoder, *inputs, region)
    rows, columns = region or (32, 32)
    torch.testing.assert_close(fast_sam, sam[..., :rows, :columns], atol=1e-5, rtol=0)
    torch.testing.assert_close(fast_hq, hq[..., :rows, :columns], atol=1e-5, rtol=0)


@pytest.mark.parametrize("render", [render_masks, render_masks_fast])
def test_sam_masks_are_left_out_where_they_are_not_wanted(render):
    decoder = small_model().mask_decoder
    pixels, sam_kernels, hq_kernel, hq_features = decoded(1, 2)
    with torch.no_grad():
        _, wanted = render(decoder, pixels, sam_kernels, hq_kernel, hq_features)
        sam, hq = render(decoder, pixels, None, hq_kernel, hq_features)
    assert sam is None
    torch.testing.assert_close(hq, wanted)
