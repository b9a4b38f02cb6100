"""What a training run tells people and trackers on its way."""

from collections.abc import Callable, Sequence
from typing import Any

from accelerate.tracking import get_available_trackers

from ..evaluation.segmentation_data import BadDataReport


class RunReport:
    """Lines and progress from the main process; bad data are counted in each.

    Args:
        report: Called with each line, or None.
        progress: Called with what is done, how much of it and of how much, or None.
        is_main: Whether this is the main process.

    Attributes:
        skipped: Bad data met so far.
    """

    def __init__(
        self, report: Callable[[str], None] | None, progress: Callable[[str, int, int], None] | None, is_main: bool
    ) -> None:
        self.skipped = BadDataReport()
        self._report, self._progress = (report, progress) if is_main else (None, None)

    def line(self, text: str) -> None:
        """Tell one line."""
        if self._report is not None:
            self._report(text)

    def progress(self, what: str, done: int, count: int) -> None:
        """Tell how far something is."""
        if self._progress is not None:
            self._progress(what, done, count)

    def skip(self, cases: list[tuple[str, str]]) -> None:
        """Count bad data, given as (name, reason), and name the first of each kind at once."""
        for name, reason in cases:
            if reason not in self.skipped.cases:
                self.line(f"skipped {name}: {reason} (others like it are counted)")
            self.skipped.add(name, reason)


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that accelerate would leave out without a word.

    Args:
        names: Of the trackers; "all" is one.

    Raises:
        ValueError: If one is unknown to accelerate or not installed.
    """
    available = sorted(str(tracker) for tracker in get_available_trackers())
    if missing := sorted(set(names) - {*available, "all"}):
        raise ValueError(f"trackers {missing} are unknown to accelerate or not installed; installed are {available}")


def tracked_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings with the values that trackers take: numbers and texts.

    Args:
        settings: By name.
    """
    return {name: value if isinstance(value, int | float | str) else str(value) for name, value in settings.items()}
