"""How the demo's servers treat connections: an idle one is closed, and blocks no other."""

import asyncio
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
MOST_CONNECTIONS = 256  # far below the 1024 files that a process may usually have open


class TimedProtocol(H11Protocol):
    """HTTP/1.1 where headers must arrive within `HEADER_SECONDS`.

    When there are too many connections, the one that has asked for nothing for longest is closed.
    """

    _closing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > MOST_CONNECTIONS:
            timers = {other: other._closing for other in self.connections if isinstance(other, TimedProtocol)}
            silent = {other: timer.when() for other, timer in timers.items() if timer is not None and other is not self}
            if silent:
                min(silent, key=lambda other: silent[other]).transport.close()

    def data_received(self, data: bytes) -> None:
        """Take what arrived; bytes that complete no request win no time."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Start to wait for the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_watching()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_watching()  # a request is being answered: its body has limits of its own
        elif self._closing is None:
            self._closing = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _stop_watching(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None


def server_config(app: Any) -> uvicorn.Config:
    """Return how uvicorn serves a demo.

    Args:
        app: The ASGI application.
    """
    return uvicorn.Config(
        app,
        http=TimedProtocol,
        log_level="warning",
        limit_concurrency=2 * MOST_CONNECTIONS,
        server_header=False,
        timeout_graceful_shutdown=3,
    )
