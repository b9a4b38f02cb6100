"""How a training shows itself: lines for logs, and a bar where a person watches."""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from typing import Any


class TrainingDisplay:
    """Prints lines, and draws a bar of updates and one of a validation's images on a terminal."""

    def __init__(self) -> None:
        self.bars: dict[str, Any] = {}
        self.draws = sys.stderr.isatty()
        self._start: tuple[float, int] | None = None  # when training began, and from which update
        self._left = ""

    def line(self, text: str) -> None:
        """Print a line above the bars."""
        if self.draws:
            from tqdm import tqdm

            tqdm.write(text, file=sys.stdout)
            sys.stdout.flush()
        else:
            print(text + self._left, flush=True)
            self._left = ""

    def progress(self, what: str, done: int, count: int) -> None:
        """Move a bar to `done` of `count`; that of a validation is removed when it is full."""
        if not self.draws:
            if what == "training":
                self._estimate(done, count)
            return
        from tqdm import tqdm

        if what not in self.bars:
            training = what == "training"
            # What was done before this run took no time of it.
            self.bars[what] = tqdm(
                total=count, initial=done - 1 if training else 0, desc=what, leave=training, file=sys.stderr
            )
        bar = self.bars[what]
        bar.update(done - bar.n)
        if done == count:
            self.bars.pop(what).close()

    def _estimate(self, done: int, count: int) -> None:
        """Work out how long is left, for the next line of a log."""
        now = time.monotonic()
        if self._start is None or done <= self._start[1]:
            self._start = (now, done)
        elif done < count:
            seconds = (now - self._start[0]) / (done - self._start[1]) * (count - done)
            self._left = f", {timedelta(seconds=round(seconds))} left"

    def close(self) -> None:
        """Leave the bars as they are."""
        for bar in self.bars.values():
            bar.close()
        self.bars = {}
