"""The training objective against a plain implementation with loops, and its choice of candidates."""

import pytest
import torch
from torch.nn import functional as F

from conftest import BACKBONES, small_model
from sam_hq.training import objectives
from sam_hq.training.objectives import BranchOutputs, decode_branches, label_frames, mask_losses, training_loss


def drawn_points(monkeypatch, labels, count: int) -> torch.Tensor:
    """Make both random draws return known points, and return the points that the loss will use, for one mask each."""
    generator = torch.Generator().manual_seed(5)
    uncertain = torch.rand(len(labels), count - count // 2, 2, generator=generator)
    near = torch.rand(len(labels), count // 2, 2, generator=generator)
    monkeypatch.setattr(objectives, "uncertain_points", lambda logits, *_: uncertain.repeat_interleave(1, 0))
    monkeypatch.setattr(torch, "rand", lambda *_, **__: near)
    frames = label_frames(labels)
    return torch.cat([uncertain, frames[:, :1] + near * (frames[:, 1:] - frames[:, :1])], 1)


def plain_loss(logits: torch.Tensor, labels: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """One mask's BCE + Dice, point by point."""
    losses = []
    for mask, label, places in zip(logits, labels, points, strict=True):
        bce, overlap, predicted, wanted, weight_sum = 0.0, 0.0, 0.0, 0.0, 0.0
        for place in places:
            at = (2 * place - 1).view(1, 1, 1, 2)
            options = {"align_corners": False, "padding_mode": "border"}
            logit = F.grid_sample(mask[None, None], at, **options).squeeze()
            # The mean of the known ones among the four nearest labels, each with the share of the area it has.
            share = F.grid_sample((label != -100).float()[None, None], at, **options).squeeze()
            target = F.grid_sample((label == 1).float()[None, None], at, **options).squeeze() / share.clamp(min=1e-6)
            known = F.grid_sample((label != -100).float()[None, None], at, mode="nearest", **options).squeeze()
            probability = 1 / (1 + torch.exp(-logit))
            bce = bce - known * (target * torch.log(probability) + (1 - target) * torch.log(1 - probability))
            overlap = overlap + known * probability * target
            predicted = predicted + known * probability
            wanted = wanted + known * target
            weight_sum = weight_sum + known
        losses.append(bce / weight_sum.clamp(min=1) + 1 - (2 * overlap + 1) / (predicted + wanted + 1))
    return torch.stack(losses)


def some_labels() -> torch.Tensor:
    labels = torch.zeros(3, 24, 24, dtype=torch.long)
    labels[0, 3:12, 5:20] = 1
    labels[1, 10:23, 0:7] = 1
    labels[2, 8:12, 8:12] = 1
    labels[:, 20:] = -100
    return labels


def test_loss_and_gradient_equal_a_plain_implementation(monkeypatch):
    labels = some_labels()
    points = drawn_points(monkeypatch, labels, 30)
    logits = torch.randn(3, 12, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float32)
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss, expected = mask_losses(ours[:, None], labels, 30)[:, 0], plain_loss(plain, labels, points)
    torch.testing.assert_close(loss, expected, atol=1e-5, rtol=1e-5)
    loss.sum().backward()
    expected.sum().backward()
    torch.testing.assert_close(ours.grad, plain.grad, atol=1e-6, rtol=1e-4)


def test_padding_beside_an_object_pushes_a_correct_mask_nowhere():
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[0, :40, 16:48] = 1
    labels[0, 40:] = -100
    logits = torch.where(labels == 1, 8.0, -8.0)[:, ::4, ::4].clone()
    logits[0, 10:] = logits[0, 9]  # the mask goes on into the padding
    torch.manual_seed(0)
    logits.requires_grad_()
    sum(mask_losses(logits[:, None], labels, 4000).sum() for _ in range(8)).backward()
    inside = logits.grad[0, 8:10, 6:10]
    assert (inside < 0).all()  # nothing but "more of it"


def test_frames_hold_the_object_and_a_margin():
    frames = label_frames(some_labels(), margin=0.0)
    torch.testing.assert_close(frames[0], torch.tensor([[5, 3], [20, 12]]) / 24)
    wider = label_frames(some_labels(), margin=0.2)
    torch.testing.assert_close(wider[2], torch.tensor([[8 - 0.8, 8 - 0.8], [12 + 0.8, 12 + 0.8]]) / 24)


def outputs_with_one_good_candidate(good: int) -> tuple[BranchOutputs, torch.Tensor]:
    labels = some_labels()
    target = F.interpolate((labels == 1).float()[:, None], (12, 12), mode="area")[:, 0]
    sam = torch.full((3, 4, 12, 12), -4.0)
    sam[:, good] = 8 * target - 4
    scores = torch.zeros(3, 4)
    return BranchOutputs(scores.requires_grad_(), sam.requires_grad_(), torch.zeros(3, 12, 12).requires_grad_()), labels


@pytest.mark.parametrize("good", [1, 3])
def test_gradients_reach_the_single_mask_the_best_candidate_and_the_hq_mask_only(monkeypatch, good):
    outputs, labels = outputs_with_one_good_candidate(good)
    monkeypatch.setattr(objectives, "OTHER_CANDIDATE_SHARE", 0)
    loss, _ = training_loss(outputs, labels, num_points=64)
    loss.backward()
    moved = outputs.sam_masks.grad.abs().sum((0, 2, 3)) > 0
    assert moved.tolist() == [index in (0, good) for index in range(4)]
    assert outputs.hq_masks.grad.abs().sum() > 0
    assert outputs.iou_scores.grad[:, good].abs().min() > outputs.iou_scores.grad[:, 2].abs().max()


def test_the_hq_mask_is_trained_alone_and_scores_on_what_is_returned(monkeypatch):
    """Where SAM is right already, a mask that only adds to it would learn nothing."""
    outputs, labels = outputs_with_one_good_candidate(0)
    monkeypatch.setattr(objectives, "BEST_PARTNER_SHARE", 0)
    torch.manual_seed(0)
    _, parts = training_loss(outputs, labels, train_sam=False, num_points=400)
    assert parts["sum"] < 0.5 < 1 < parts["hq"]
    spoiled = BranchOutputs(outputs.iou_scores, outputs.sam_masks, torch.full((3, 12, 12), 400.0))
    torch.manual_seed(0)
    _, spoilt = training_loss(spoiled, labels, num_points=64)
    assert spoilt["iou_sum"] < spoilt["iou_single"]
    everything = torch.stack([(label == 1).sum() / (label != -100).sum() for label in labels])
    assert spoilt["score"] == pytest.approx(everything.square().mean().item(), abs=0.02)


def test_with_sam_frozen_only_the_hq_mask_is_trained():
    outputs, labels = outputs_with_one_good_candidate(2)
    training_loss(outputs, labels, train_sam=False, num_points=64)[0].backward()
    assert outputs.sam_masks.grad is None
    assert outputs.hq_masks.grad.abs().sum() > 0


@pytest.mark.parametrize("backbone", BACKBONES)
def test_all_tokens_in_one_pass_equal_the_models_forward(backbone):
    model = small_model(backbone)
    pixels = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor([[[10.0, 20, 90, 100], [30, 5, 60, 70]], [[0, 0, 128, 96], [50, 50, 80, 77]]])
    with torch.no_grad():
        embeddings, intermediate = model.get_image_embeddings(pixels)
        features = model.get_hq_features(embeddings, intermediate)
        ours = decode_branches(model, embeddings, features, {"input_boxes": boxes})
        single = model(pixels, input_boxes=boxes, multimask_output=False, output_branches=True)
        three = model(pixels, input_boxes=boxes, multimask_output=True, output_branches=True)
        sam_only = decode_branches(model, embeddings, None, {"input_boxes": boxes})
    torch.testing.assert_close(ours.sam_masks[:, :1], single.sam_masks.flatten(0, 1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.hq_masks[:, None], single.hq_masks.flatten(0, 1), atol=1e-4, rtol=1e-4)
    order = ours.iou_scores[:, 1:].argsort(1, descending=True)
    sorted_masks = ours.sam_masks[:, 1:][torch.arange(4)[:, None], order]
    torch.testing.assert_close(sorted_masks, three.sam_masks.flatten(0, 1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sam_only.sam_masks, ours.sam_masks, atol=1e-4, rtol=1e-4)
