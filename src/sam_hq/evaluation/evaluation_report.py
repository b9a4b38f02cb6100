"""The scores of an evaluation, object by object, and their means."""

import json
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from sam_hq_numpy.atomic_writing import write_text


@dataclass(frozen=True)
class ObjectScore:
    """One mask's agreement with the truth.

    Attributes:
        image: Name of the image.
        index: Number of the object in it.
        prompt: Kind of prompt.
        branch: `sam`, `hq`, `sum`, or the name of a baseline.
        iou: Intersection over union at the photo's size.
        boundary_iou: The same of the boundary regions.
        score: The model's own prediction of the IoU; NaN for baselines.
        number: Of the image in the dataset, where several may have one name.
    """

    image: str
    index: int
    prompt: str
    branch: str
    iou: float
    boundary_iou: float
    score: float = float("nan")
    number: int = 0


@dataclass
class EvaluationReport:
    """All scores of an evaluation, and how it was made.

    Attributes:
        settings: Model, data, protocol and so on.
        scores: One entry per object, prompt and branch.
        skipped: Reasons and counts of data that could not be used.
    """

    settings: dict[str, Any]
    scores: list[ObjectScore] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def left_out(self) -> dict[str, int]:
        """The former name of `skipped`, kept for one release."""
        warnings.warn("left_out is now called skipped; the old name will be removed", FutureWarning, stacklevel=2)
        return self.skipped

    def means(self) -> dict[tuple[str, str], tuple[float, float, int]]:
        """For each (prompt, branch): mIoU, mean boundary IoU and the number of objects."""
        groups: dict[tuple[str, str], list[ObjectScore]] = {}
        for score in self.scores:
            groups.setdefault((score.prompt, score.branch), []).append(score)
        return {
            key: (_mean(s.iou for s in group), _mean(s.boundary_iou for s in group), len(group))
            for key, group in groups.items()
        }

    def table(self) -> str:
        """The means as a table in Markdown."""
        lines = ["| prompt | branch | mIoU | mBIoU | objects |", "|---|---|---|---|---|"]
        lines += [
            f"| {prompt} | {branch} | {iou:.3f} | {biou:.3f} | {count} |"
            for (prompt, branch), (iou, biou, count) in self.means().items()
        ]
        return "\n".join(lines)

    def save(self, path: str | Path) -> None:
        """Write settings, means and every object's scores as JSON."""
        means = [
            {"prompt": prompt, "branch": branch, "miou": iou, "mbiou": biou, "objects": count}
            for (prompt, branch), (iou, biou, count) in self.means().items()
        ]
        content = {
            "settings": self.settings,
            "means": means,
            "skipped": self.skipped,
            "objects": [{k: None if v != v else v for k, v in asdict(score).items()} for score in self.scores],
        }
        write_text(path, json.dumps(content, indent=2, default=str))


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
