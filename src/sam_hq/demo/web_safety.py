"""What both servers of the demo do so that other sites cannot reach into them."""

from collections.abc import Mapping
from typing import Any

# Host names that requests to a server on this machine may be addressed to, without ports: under a name of its own
# another site's page could otherwise read what the server answers.
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class ResponseHeaders:
    """An ASGI application whose answers have further headers.

    Args:
        app: The application.
        headers: Names and values.
    """

    def __init__(self, app: Any, headers: Mapping[str, str]) -> None:
        self.app = app
        self.headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *self.headers]}
            await send(message)

        await self.app(scope, receive, send_with_headers)
