"""Filtered decoding gives what the model gives, without what was not asked for."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from conftest import small_model
from sam_hq.generation.passing_masks import passing_masks, valid_region


@pytest.fixture(params=[False, True], ids=["modules", "engine"])
def prompted(request):
    model = small_model()
    model.set_fast_path(request.param)
    torch.manual_seed(1)
    with torch.no_grad():
        image_embeddings, intermediate = model.get_image_embeddings(torch.randn(1, 3, 128, 128))
        hq_features = model.get_hq_features(image_embeddings, intermediate)
    return model, image_embeddings, hq_features, torch.rand(1, 7, 2, 2) * 128


@pytest.mark.parametrize(
    ("multimask_output", "hq_token_only", "candidates"),
    [(True, False, 1), (True, False, 3), (True, True, 1), (False, False, 1), (False, True, 1)],
)
@pytest.mark.parametrize("region", [None, (20, 32)])
@pytest.mark.parametrize("objects_at_once", [1, 3, 100])
def test_it_is_the_model_filtered(
    prompted, monkeypatch, multimask_output, hq_token_only, candidates, region, objects_at_once
):
    monkeypatch.setattr("sam_hq.model.cpu_decoder.PIXEL_FLOATS_AT_ONCE", objects_at_once * 64 * 32)
    model, image_embeddings, hq_features, points = prompted
    options = {"input_points": points, "multimask_output": multimask_output, "hq_token_only": hq_token_only}
    with torch.no_grad():
        whole = model(image_embeddings=image_embeddings, hq_features=hq_features, **options)
        best = whole.iou_scores[0, :, 0]
        min_score = best.median().item()
        groups = list(
            passing_masks(
                model,
                image_embeddings,
                hq_features,
                **options,
                min_score=min_score,
                candidates=candidates,
                region=region,
            )
        )
        masks = torch.cat([masks.logits() for _, masks in groups])
    rows, columns = region or (32, 32)
    indices = torch.cat([indices for indices, _ in groups])
    assert indices.tolist() == (best > min_score).nonzero()[:, 0].tolist()
    assert 0 < len(indices) < 7
    scores = torch.cat([masks.iou_scores for _, masks in groups])
    torch.testing.assert_close(masks, whole.pred_masks[0, indices, :candidates, :rows, :columns], atol=1e-5, rtol=0)
    torch.testing.assert_close(scores, whole.iou_scores[0, indices, :candidates], atol=1e-6, rtol=0)


def test_nothing_passes(prompted):
    model, image_embeddings, hq_features, points = prompted
    with torch.no_grad():
        groups = list(passing_masks(model, image_embeddings, hq_features, points, min_score=float("inf")))
    assert groups == []


def test_several_images_are_refused(prompted):
    model, image_embeddings, hq_features, points = prompted
    with pytest.raises(ValueError, match="image_embeddings must be those of one image, but hold 2"):
        next(passing_masks(model, image_embeddings.repeat(2, 1, 1, 1), hq_features, points))


def test_valid_region_is_all_that_upscaling_reads_and_no_more():
    """By brute force: cells whose change reaches an unpadded pixel."""
    image_size, mask_size = 64, 16
    for height, width in itertools.product((1, 2, 3, 30, 31, 43, 62, 64), repeat=2):
        low_res = torch.zeros(1, 1, mask_size, mask_size, requires_grad=True)
        upscaled = F.interpolate(low_res, (image_size, image_size), mode="bilinear", align_corners=False)
        upscaled[..., :height, :width].sum().backward()
        read = low_res.grad[0, 0] != 0
        rows, columns = valid_region((height, width), image_size, mask_size)
        read_rows, read_columns = read.any(dim=1).nonzero().max().item() + 1, read.any(dim=0).nonzero().max().item() + 1
        assert read_rows <= rows <= read_rows + 1
        assert read_columns <= columns <= read_columns + 1


def test_the_threshold_is_not_rounded_to_the_models_precision(prompted):
    model, image_embeddings, hq_features, points = prompted
    model, (image_embeddings, hq_features) = (
        model.bfloat16(),
        (each.bfloat16() for each in (image_embeddings, hq_features)),
    )
    options = {"input_points": points, "multimask_output": True}
    with torch.no_grad():
        scores = model(image_embeddings=image_embeddings, hq_features=hq_features, **options).iou_scores[0, :, 0]
        highest = scores.max().item()
        just_below = highest - 1e-5 * abs(highest)
        assert torch.tensor(just_below, dtype=torch.bfloat16) == highest
        groups = list(passing_masks(model, image_embeddings, hq_features, **options, min_score=just_below))
    assert torch.cat([indices for indices, _ in groups]).tolist() == (scores == highest).nonzero()[:, 0].tolist()
