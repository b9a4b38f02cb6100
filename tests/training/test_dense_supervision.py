"""The loss on the encoder alone: its targets by brute force, unknown places without influence, and that it teaches."""

import numpy as np
import pytest
import torch

from conftest import small_config
from sam_hq.training.dense_supervision import DenseSupervision, box_sides
from sam_hq.training.settings import TrainingSettings


def labels_with_a_part(size: int = 32) -> torch.Tensor:
    labels = torch.zeros(1, 2, size, size, dtype=torch.int8)
    labels[0, 0, 4:28, 2:20] = 1
    labels[0, 1, 10:18, 6:14] = 1  # a part of the first
    return labels


def test_box_sides_are_those_of_the_smallest_object_there():
    labels = labels_with_a_part()
    distances, covered = box_sides(labels, grid=8)
    objects = (labels[0] == 1).numpy()
    for row in range(8):
        for column in range(8):
            y, x = 4 * row + 2, 4 * column + 2  # the pixel right and below the token's centre
            there = [mask for mask in objects if mask[y, x]]
            assert bool(covered[0, row, column]) == bool(there)
            if not there:
                assert (distances[0, :, row, column] == 0).all()
                continue
            mask = min(there, key=np.sum)
            ys, xs = np.nonzero(mask)
            expected = [x + 0.5 - xs.min(), y + 0.5 - ys.min(), xs.max() + 1 - x - 0.5, ys.max() + 1 - y - 0.5]
            np.testing.assert_allclose(distances[0, :, row, column], np.array(expected) / 32, atol=1e-6)


def test_unknown_places_have_no_influence():
    torch.manual_seed(0)
    vision = small_config("tiny_vit").vision_config
    dense, grid = DenseSupervision(vision), 8
    late = torch.randn(1, vision.output_channels, grid, grid)
    early = torch.randn(1, grid, grid, vision.intermediate_size)
    labels = labels_with_a_part()
    foreground = labels.amax(1)
    labels[..., 24:], foreground[..., 24:] = -100, -100
    before, _ = dense(late, early, labels, foreground)
    late[..., 6:] += torch.randn(1, vision.output_channels, grid, 2)
    early[:, :, 6:] += torch.randn(1, grid, 2, vision.intermediate_size)
    after, _ = dense(late, early, labels, foreground)
    torch.testing.assert_close(before, after)


def test_it_reads_objects_off_embeddings_that_show_them():
    torch.manual_seed(0)
    vision = small_config("tiny_vit").vision_config
    dense = DenseSupervision(vision)
    labels = labels_with_a_part()
    shares = torch.nn.functional.avg_pool2d((labels[0, 0] == 1).float()[None, None], 4)
    late = torch.randn(1, vision.output_channels, 8, 8) + shares * torch.randn(vision.output_channels, 1, 1)
    early = late.permute(0, 2, 3, 1).repeat(1, 1, 1, 9)[..., : vision.intermediate_size]
    optimizer = torch.optim.Adam(dense.parameters(), lr=0.02)
    losses = []
    for _ in range(150):
        loss, parts = dense(late, early, labels, labels.amax(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]
    assert parts["iou_dense"] > 0.9


def test_it_is_for_encoders_that_train():
    with pytest.raises(ValueError, match="dense_weight needs an encoder that is trained"):
        TrainingSettings(trainable="hq", dense_weight=0.5)
    with pytest.raises(ValueError, match="dense_weight must be at least 0"):
        TrainingSettings(trainable="sam", dense_weight=-1)
