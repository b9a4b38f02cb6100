"""Bodies of requests, read so that a slow or large upload keeps no other request waiting."""

import anyio
from anyio.lowlevel import checkpoint
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

# A body may take GRACE_SECONDS and the time that it needs at the slowest rate, and UPLOAD_SECONDS at most.
GRACE_SECONDS = 10.0
SLOWEST_BYTES_PER_SECOND = 10_000
UPLOAD_SECONDS = 120.0
MOST_HELD_BYTES = 400_000_000  # of all bodies that are arriving
_CLOSE = {"Connection": "close"}  # the rest of the body is not waited for


class RequestBodies:
    """Reads bodies side by side, and bounds the time of each and the memory of all."""

    def __init__(self) -> None:
        self._held = 0

    async def read(self, request: Request, limit: int) -> bytes:
        """Return a body.

        Args:
            request: Whose body is wanted.
            limit: Bytes that are accepted.

        Raises:
            HTTPException: If it is too large, too slow or does not arrive whole, or others fill the memory.
        """
        accepted = (
            f"at most {limit / 1e6:.1f} MB are accepted" if limit >= 1e5 else f"at most {limit} bytes are accepted"
        )
        announced = request.headers.get("content-length", "0")
        if announced.isascii() and announced.isdigit() and len(announced) < 20 and int(announced) > limit:
            raise HTTPException(413, f"the file has {int(announced) / 1e6:.1f} MB, but {accepted}", _CLOSE)
        body, start = bytearray(), anyio.current_time()
        try:
            with anyio.fail_after(min(GRACE_SECONDS, UPLOAD_SECONDS)) as scope:
                await checkpoint()
                async for chunk in request.stream():
                    body += chunk
                    self._held += len(chunk)
                    if len(body) > limit:
                        raise HTTPException(413, f"the file is too large: {accepted}", _CLOSE)
                    if self._held > MOST_HELD_BYTES:
                        raise HTTPException(503, "too many files arrive at once: try again in a moment", _CLOSE)
                    allowed = min(GRACE_SECONDS + len(body) / SLOWEST_BYTES_PER_SECOND, UPLOAD_SECONDS)
                    scope.deadline = start + allowed
        except TimeoutError:
            seconds = anyio.current_time() - start
            raise HTTPException(408, f"only {len(body)} bytes arrived within {seconds:.0f} seconds", _CLOSE) from None
        except ClientDisconnect:
            raise HTTPException(400, "the file did not arrive whole") from None
        finally:
            self._held -= len(body)
        return bytes(body)
