"""The sessions of all who use a server: kept apart by unguessable names, bounded in number, forgotten when idle."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from .photo_session import PhotoSession

_MOST_ENDS = 1000  # of which it is still known why


class SessionStore:
    """Sessions by name, the least recently used first.

    Args:
        most_sessions: When one more comes, the least recently used is closed.
        idle_seconds: A session unused for this long is closed.
        clock: Gives the time in seconds.

    Raises:
        ValueError: If a limit is not positive.
    """

    def __init__(
        self, most_sessions: int = 16, idle_seconds: float = 1800.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if most_sessions < 1 or not idle_seconds > 0:
            raise ValueError(
                f"most_sessions must be at least 1 and idle_seconds above 0, got {most_sessions} and {idle_seconds}"
            )
        self._most = most_sessions
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._lock = threading.RLock()
        self._sessions: OrderedDict[str, tuple[PhotoSession, float]] = OrderedDict()
        self._ends: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        """Number of sessions that are held."""
        return len(self._sessions)

    def add(self, session: PhotoSession) -> str:
        """Hold a session.

        Args:
            session: The session.

        Returns:
            Its unguessable name: everyone who knows it may use the session.
        """
        name = secrets.token_urlsafe(24)
        with self._lock:
            self.close_idle()
            while len(self._sessions) >= self._most:
                self._end_oldest(f"the server holds {self._most} images at once, and others came since")
            self._sessions[name] = (session, self._clock())
        return name

    def get(self, name: str) -> PhotoSession:
        """Return a session, which counts as used now.

        Args:
            name: From `add`.

        Raises:
            KeyError: If there is none, or no longer.
        """
        with self._lock:
            self.close_idle()
            session, _ = self._sessions[name]
            self._sessions[name] = (session, self._clock())
            self._sessions.move_to_end(name)
            return session

    def why_gone(self, name: str) -> str:
        """Say why a session ended, where a limit ended it lately; else nothing.

        Args:
            name: From `add`.
        """
        return self._ends.get(name, "")

    def remove(self, name: str) -> None:
        """Close a session; does nothing where there is none.

        Args:
            name: From `add`.
        """
        with self._lock:
            if name in self._sessions:
                self._sessions.pop(name)[0].close()

    def close_idle(self) -> None:
        """Close the sessions that were unused for too long."""
        with self._lock:
            oldest_allowed = self._clock() - self._idle_seconds
            while self._sessions and next(iter(self._sessions.values()))[1] < oldest_allowed:
                self._end_oldest(f"nobody used the image for {self._idle_seconds / 60:g} minutes")

    def close(self) -> None:
        """Close all sessions."""
        with self._lock:
            while self._sessions:
                self._sessions.popitem()[1][0].close()

    def _end_oldest(self, why: str) -> None:
        name, (session, _) = self._sessions.popitem(last=False)
        session.close()
        self._ends[name] = why
        while len(self._ends) > _MOST_ENDS:
            self._ends.popitem(last=False)
