"""Who may use the model: one at a time, clicks before long work."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ModelTurns:
    """A lock with two kinds of holders: short work never waits for more than one piece of long work.

    Two passes of a model at once would only fight for the same cores and double the memory.

    Attributes:
        short_waiting: How much short work waits for its turn.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = False
        self.short_waiting = 0

    @contextmanager
    def short(self) -> Iterator[None]:
        """Hold the model for work that a user waits for, such as a click."""
        with self._changed:
            self.short_waiting += 1
            try:
                self._changed.wait_for(lambda: not self._busy)
                self._busy = True
            finally:
                self.short_waiting -= 1
        try:
            yield
        finally:
            self._release()

    @contextmanager
    def if_free(self) -> Iterator[bool]:
        """Hold the model only if nobody does or waits for it; gives whether it is held."""
        with self._changed:
            free = not self._busy and not self.short_waiting
            self._busy = self._busy or free
        try:
            yield free
        finally:
            if free:
                self._release()

    @contextmanager
    def long(self) -> Iterator[None]:
        """Hold the model for work in many pieces, with `give_way` between them."""
        self._acquire_long()
        try:
            yield
        finally:
            self._release()

    def give_way(self) -> None:
        """Within `long`: let waiting short work go first."""
        self._release()
        self._acquire_long()

    def _acquire_long(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._busy and not self.short_waiting)
            self._busy = True

    def _release(self) -> None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
