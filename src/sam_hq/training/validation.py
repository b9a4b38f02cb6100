"""Validation during training: mIoU and mean boundary IoU, shared among processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from accelerate.utils import gather_object

from ..evaluation.evaluation_report import EvaluationReport
from ..evaluation.scoring import PromptedModel, evaluate


class EveryNth:
    """Some photos of a dataset.

    Args:
        dataset: A `sam_hq.evaluation.segmentation_data.MaskedImages`.
        first: Index of the first.
        step: Distance between them.
    """

    def __init__(self, dataset: Any, first: int, step: int) -> None:
        self.dataset, self.indices = dataset, range(first, len(dataset), step)
        self.report = dataset.report

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The photo and its masks."""
        return self.dataset[self.indices[index]]

    def name(self, index: int) -> str:
        """What a photo is called."""
        return self.dataset.name(self.indices[index])


def validation_quality(
    model: Any,
    processor: Any,
    dataset: Any,
    branches: dict[str, str],
    rank: int = 0,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, float]:
    """Score a model, prompted with boxes; every process scores its photos and gets all the means.

    Args:
        model: A `SamHQModel`.
        processor: Its processor.
        dataset: A `sam_hq.evaluation.segmentation_data.MaskedImages`.
        branches: For each branch that is scored, what its measures are named with in front, such as
            `{"sum": "", "sam": "sam_"}`.
        rank: Number of this process.
        processes: Number of all.
        progress: Called with the number of this process's photos done and of all of them.

    Returns:
        For each branch `miou` and `mbiou`.

    Raises:
        ValueError: The dataset has no usable mask.
    """
    share = EveryNth(dataset, rank, processes)
    report = evaluate(PromptedModel(model, processor), share, ("box",), progress=progress)
    scores = sorted(gather_object(report.scores), key=lambda score: (score.image, score.index, score.branch))
    if not scores:
        raise ValueError(f"the validation data have no usable mask; {dataset.report}")
    means = EvaluationReport({}, scores).means()
    quality: dict[str, float] = {}
    for branch, prefix in branches.items():
        miou, mbiou, _ = means["box", branch]
        quality |= {f"{prefix}miou": miou, f"{prefix}mbiou": mbiou}
    return quality
