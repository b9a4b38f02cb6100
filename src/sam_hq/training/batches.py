"""Training batches that depend on a seed and the step's number alone, so that training resumes exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from ..evaluation.ground_truth_prompts import jittered_box, mask_box, random_points
from .augmentation import MIN_MASK_AREA, Augmentation, augment
from .embedding_cache import image_key
from .prompts import MAX_POINTS, PROMPT_SHARES

IMAGE_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGE_STD = np.array([0.229, 0.224, 0.225], np.float32)
MAX_DRAWS = 50


class TrainingBatches(Dataset):
    """The batch of every step: `batches[step]`.

    Each epoch visits all images once in a new order. All objects of a batch have the same kind of prompt.

    Args:
        images: Sequence of (image (H, W, 3) uint8, masks (n, H, W) bool).
        steps: Number of batches.
        batch_size: Images per batch.
        objects: Objects per image; where an image has fewer, some are prompted more than once.
        size: Side of the model's input.
        seed: Seed of orders, crops and prompts.
        prompt_shares: Share of every kind of prompt: `box`, `points`, `box_points`, `mask`, `clicks`.
        augmentation: How images are changed; None for the default.
        normalisation: Mean and standard deviation of the three colours, of values in [0, 1]; None for SAM's.
        keyed: Whether batches name their images by content, for `EmbeddingCache`.

    Raises:
        ValueError: There are no images; from a batch, if no object is found in many draws.
    """

    def __init__(
        self,
        images: Sequence[tuple[np.ndarray, np.ndarray]],
        steps: int,
        batch_size: int = 8,
        objects: int = 4,
        size: int = 1024,
        seed: int = 0,
        prompt_shares: dict[str, float] | None = None,
        augmentation: Augmentation | None = None,
        normalisation: tuple[Sequence[float], Sequence[float]] | None = None,
        keyed: bool = False,
    ) -> None:
        if len(images) == 0:
            raise ValueError("there are no training images")
        self.images, self.steps, self.batch_size, self.objects = images, steps, batch_size, objects
        self.size, self.seed, self.augmentation, self.keyed = size, seed, augmentation, keyed
        self.mean, self.std = (np.array(part, np.float32) for part in normalisation or (IMAGE_MEAN, IMAGE_STD))
        self.prompt_shares = dict(prompt_shares or PROMPT_SHARES)
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, Any]:
        """The batch of a step.

        Returns:
            `pixel_values` (B, 3, S, S) float32, `labels` (B, P, S, S) int8, `kind` of prompt, `input_boxes`
            (B, P, 4), `input_points` (B, P, N, 2), `input_labels` (B, P, N), `image_keys`
            where they were asked for, and `skipped`, the (name, reason) of bad data met for the first time.
        """
        rng = np.random.default_rng((self.seed, step))
        kind = str(rng.choice(list(self.prompt_shares), p=list(self.prompt_shares.values())))
        few = 1 + int(rng.integers(3))  # drawn for every kind, so that a seed gives the batches that it always gave
        count = few if kind == "box_points" else 1
        if kind == "points" and rng.random() < 0.5:
            count = int(rng.integers(2, MAX_POINTS + 1))
        samples = [self._sample(step * self.batch_size + slot, count, rng) for slot in range(self.batch_size)]
        *arrays, keys = zip(*samples, strict=True)
        pixels, labels, boxes, points = map(np.stack, arrays)
        report = getattr(self.images, "report", None)
        return {
            "kind": kind,
            "skipped": [] if report is None else report.take_new(),
            **({"image_keys": list(keys)} if self.keyed else {}),
            "pixel_values": torch.from_numpy(pixels).permute(0, 3, 1, 2),
            "labels": torch.from_numpy(labels),
            "input_boxes": torch.from_numpy(boxes),
            "input_points": torch.from_numpy(points),
            "input_labels": torch.ones(points.shape[:-1], dtype=torch.long),
        }

    def _index(self, position: int) -> int:
        epoch, place = divmod(position, len(self.images))
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self.seed, epoch, 1)).permutation(len(self.images)))
        return int(self._order[1][place])

    def _sample(self, position: int, num_points: int, rng: np.random.Generator) -> tuple[Any, ...]:
        index = self._index(position)
        for _ in range(MAX_DRAWS):
            image, masks = self.images[index]
            pixels, labels, (height, width) = augment(image, masks, self.size, rng, self.augmentation)
            if len(labels):
                break
            index = int(rng.integers(len(self.images)))  # the crop holds no object
        else:
            report = str(getattr(self.images, "report", "")) or "none was skipped as bad"
            raise ValueError(
                f"{MAX_DRAWS} draws in a row held no object of at least {MIN_MASK_AREA} pixels; check the masks: "
                f"{report}"
            )
        order = rng.permutation(len(labels))
        chosen = np.resize(order, self.objects)
        boxes, points = [], []
        for which in chosen:
            mask = labels[which] == 1
            boxes.append(jittered_box(mask_box(mask), rng).clip(0, [width, height, width, height]))
            points.append(random_points(mask, num_points, rng))
        normalised = np.zeros(pixels.shape, np.float32)
        valid = slice(0, height), slice(0, width)
        normalised[valid] = (pixels[valid] / np.float32(255) - self.mean) / self.std
        key = image_key(normalised, (height, width)) if self.keyed else ""
        return normalised, labels[chosen], np.stack(boxes).astype(np.float32), np.stack(points), key
