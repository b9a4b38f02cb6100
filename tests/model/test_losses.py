"""The loss against its definition, and what must have no influence on it."""

import pytest
import torch
import torch.nn.functional as F

from sam_hq.model.losses import mask_loss, point_cross_entropy, point_dice, sample_points, uncertain_points


def random_masks(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator) * 3


def test_the_two_terms_by_their_definitions():
    logits, targets = random_masks(2, 50), (random_masks(2, 50, seed=1) > 0).float()
    weights = torch.ones(2, 50)
    probability = 1 / (1 + (-logits).exp())
    entropy = -(targets * probability.log() + (1 - targets) * (1 - probability).log()).mean(dim=1)
    torch.testing.assert_close(point_cross_entropy(logits, targets, weights), entropy)
    dice = 1 - (2 * (probability * targets).sum(1) + 1) / (probability.sum(1) + targets.sum(1) + 1)
    torch.testing.assert_close(point_dice(logits, targets, weights), dice)
    halved = torch.cat([torch.ones(2, 25), torch.zeros(2, 25)], dim=1)
    torch.testing.assert_close(
        point_dice(logits, targets, halved), point_dice(logits[:, :25], targets[:, :25], weights[:, :25])
    )
    torch.testing.assert_close(
        point_cross_entropy(logits, targets, halved),
        point_cross_entropy(logits[:, :25], targets[:, :25], weights[:, :25]),
    )


def test_with_many_points_it_nears_the_mean_over_all_pixels():
    """Uniform points alone: nothing is weighed more than the rest."""
    coarse = random_masks(1, 2, 4, 4)
    logits = F.interpolate(coarse, size=(64, 64), mode="nearest")
    labels = (F.interpolate(random_masks(1, 2, 4, 4, seed=1), size=(64, 64), mode="nearest") > 0).long()
    torch.manual_seed(0)
    loss = mask_loss(logits, labels, num_points=200_000, oversample_ratio=1.0, importance_ratio=0.0)
    flat, target = logits.flatten(2)[0], labels.flatten(2)[0].float()
    entropy = F.binary_cross_entropy_with_logits(flat, target)
    share = 200_000 / (64 * 64)
    probability = flat.sigmoid()
    dice = 1 - (2 * share * (probability * target).sum(1) + 1) / (share * (probability.sum(1) + target.sum(1)) + 1)
    torch.testing.assert_close(loss, entropy + dice.mean(), atol=0.02, rtol=0)


def test_points_are_read_where_they_lie():
    ramp = torch.arange(8.0).expand(1, 8, 8)  # the value is the column
    points = torch.tensor([[[0.5 / 8, 0.3], [3.5 / 8, 0.9], [4 / 8, 0.1]]])
    torch.testing.assert_close(sample_points(ramp, points), torch.tensor([[0.0, 3.0, 3.5]]))
    torch.testing.assert_close(sample_points(ramp.mT, points.flip(-1)), torch.tensor([[0.0, 3.0, 3.5]]))


def test_most_points_are_drawn_where_the_mask_is_uncertain():
    logits = torch.full((2, 32, 32), 9.0)
    logits[:, :, 16:20] = 0.0
    torch.manual_seed(0)
    points = uncertain_points(logits, torch.ones(2, 32, 32, dtype=torch.bool), 300, 3.0, 0.75)
    assert points.shape == (2, 300, 2)
    assert points.min() >= 0
    assert points.max() <= 1
    certainty = sample_points(logits, points).abs()
    everywhere = sample_points(logits, torch.rand(2, 300, 2)).abs()
    assert (certainty < 9).float().mean() > 2 * (everywhere < 9).float().mean()


def test_unknown_regions_are_drawn_last():
    known = torch.zeros(1, 32, 32, dtype=torch.bool)
    known[:, :16] = True
    points = uncertain_points(random_masks(1, 32, 32), known, 200, 3.0, 1.0)
    assert (points[..., 1] < 0.5).all()


@pytest.mark.parametrize("side", [16, 32, 48, 256])
def test_labels_may_have_any_resolution(side):
    logits = F.interpolate(random_masks(2, 3, 4, 4), size=(32, 32), mode="nearest") * 20
    labels = (F.interpolate(logits, size=(side, side), mode="nearest") > 0).float()
    assert mask_loss(logits, labels) < 0.1 * mask_loss(logits, 1 - labels)


def test_what_lies_under_unknown_labels_has_no_influence():
    logits = random_masks(1, 1, 32, 32)
    labels = (random_masks(1, 1, 32, 32, seed=1) > 0).long()
    labels[..., 20:, :] = -100
    values, gradients = [], []
    for below in (0.0, 50.0, -50.0):
        changed = logits.clone()
        changed[..., 21:, :] = below  # row 20 is read by points between it and row 19
        changed.requires_grad_()
        torch.manual_seed(0)
        loss = mask_loss(changed, labels, importance_ratio=0.0)
        loss.backward()
        values.append(loss.item())
        gradients.append(changed.grad)
    assert values[0] == values[1] == values[2]
    assert torch.equal(gradients[0], gradients[1])
    assert not gradients[0][..., 21:, :].any()


def test_an_object_that_reaches_into_unknown_labels_is_whole():
    """Beside an unknown label a known one counts fully, not as half background."""
    logits = torch.full((1, 1, 32, 32), 30.0)
    labels = torch.ones(1, 1, 32, 32, dtype=torch.long)
    labels[..., ::3] = -100
    assert mask_loss(logits, labels) < 1e-3


def test_objects_without_any_known_label_do_not_count():
    logits = random_masks(1, 3, 16, 16)

    def loss(labelled):
        labels = torch.full((1, 3, 16, 16), -100)
        labels[:, labelled] = 1
        torch.manual_seed(0)
        return mask_loss(logits, labels)

    alone = [loss([number]) for number in range(3)]
    torch.testing.assert_close(loss([0, 2]), (alone[0] + alone[2]) / 2)
    torch.testing.assert_close(loss([0, 1, 2]), sum(alone) / 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_no_known_label_at_all_is_zero_and_can_be_differentiated(dtype):
    logits = random_masks(1, 2, 8, 8).to(dtype).requires_grad_()
    loss = mask_loss(logits, torch.full((1, 2, 8, 8), -100))
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("fill", [0, 1])
def test_it_is_finite(scale, fill):
    logits = (random_masks(1, 2, 8, 8) * scale).requires_grad_()
    loss = mask_loss(logits, torch.full((1, 2, 8, 8), fill))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("labels", [torch.zeros(1, 2, 8), torch.zeros(1, 3, 8, 8), torch.zeros(2, 2, 8, 8)])
def test_labels_for_other_objects_are_refused(labels):
    with pytest.raises(ValueError, match=r"labels must be"):
        mask_loss(torch.zeros(1, 2, 8, 8), labels)
