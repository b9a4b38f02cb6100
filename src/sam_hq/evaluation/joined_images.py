"""Several datasets of photos with masks as one."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .masked_images import BadDataReport


class JoinedImages:
    """Several datasets as one, one after another.

    Args:
        datasets: The datasets.
    """

    def __init__(self, datasets: Sequence[Any]) -> None:
        self.datasets = list(datasets)
        self._ends = np.cumsum([len(dataset) for dataset in self.datasets])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """The photo and its masks."""
        dataset, local = self._place(index)
        return dataset[local]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self[index] for index in range(len(self)))

    def name(self, index: int) -> str:
        """What a photo is called in reports."""
        dataset, local = self._place(index)
        return dataset.name(local)

    @property
    def report(self) -> "JoinedReport":
        """What was skipped of all of them."""
        return JoinedReport([dataset.report for dataset in self.datasets])

    def _place(self, index: int) -> tuple[Any, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        which = int(np.searchsorted(self._ends, index, side="right"))
        return self.datasets[which], index - (int(self._ends[which - 1]) if which else 0)


class JoinedReport(BadDataReport):
    """The reports of several datasets as one, as they are when it is made.

    Args:
        reports: The reports.
    """

    def __init__(self, reports: Sequence[BadDataReport]) -> None:
        super().__init__()
        self.reports = list(reports)
        for report in self.reports:
            for reason, names in report.cases.items():
                self.cases.setdefault(reason, []).extend(names)

    def take_new(self) -> list[tuple[str, str]]:
        """The (name, reason) of the cases since the last call."""
        return [case for report in self.reports for case in report.take_new()]
