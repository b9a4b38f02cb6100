"""The demo's server: sessions over HTTP, and the page.

No address is ever turned into a path: the page's files are read when the server starts, and photos come as bytes.
"""

import gzip
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import anyio

from .demo_service import DemoService, found_labels, found_masks
from .downloads import FILES, ROWS
from .photo_session import PhotoSession
from .request_bodies import RequestBodies
from .web_safety import LOOPBACK_HOSTS, ResponseHeaders

try:
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Receive, Scope, Send
except ImportError as error:
    raise ImportError("the demo needs Starlette and uvicorn: pip install 'sam-hq[demo]'") from error

MEDIA_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_MOST_JSON_BYTES = 10_000
_SECONDS_BETWEEN_CLEANING = 30.0

# What a page may do with a session; arguments come as JSON and are those of the methods.
ACTIONS: dict[str, Callable[..., None]] = {
    "point": PhotoSession.add_point,
    "box": PhotoSession.set_box,
    "choose": PhotoSession.choose,
    "keep": PhotoSession.keep,
    "keep_found": PhotoSession.keep_found,
    "remove": PhotoSession.remove,
    "rename": PhotoSession.rename,
    "refine": PhotoSession.refine,
    "clear": PhotoSession.clear,
    "undo": PhotoSession.undo,
    "redo": PhotoSession.redo,
    "options": PhotoSession.set_options,
}


def build_app(service: DemoService, allowed_hosts: Sequence[str] | None = LOOPBACK_HOSTS) -> ASGIApp:
    """Return the web application.

    Args:
        service: The model and the sessions.
        allowed_hosts: Host names that requests may be addressed to, without ports; None allows all. It keeps other
            sites from reaching a server on this machine under a name of theirs.
    """
    handlers = _Handlers(service)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(_close_idle_sessions, service)
            yield
            group.cancel_scope.cancel()
        service.close()

    photo = "/api/photos/{session}"
    routes = [
        *(Route(path, _page_file(name)) for path, name in _page_paths().items()),
        Route("/api/about", handlers.about),
        Route("/api/examples/{number:int}", handlers.example),
        Route("/api/photos", handlers.open, methods=["POST"]),
        Route(photo, handlers.state),
        Route(photo, handlers.forget, methods=["DELETE"]),
        Route(f"{photo}/shown.jpg", handlers.shown),
        Route(f"{photo}/preview", handlers.preview),
        Route(f"{photo}/generation", handlers.generation),
        Route(f"{photo}/generation", handlers.start_generation, methods=["POST"]),
        Route(f"{photo}/generation", handlers.cancel_generation, methods=["DELETE"]),
        Route(f"{photo}/generation/masks", handlers.generated_masks),
        Route(f"{photo}/generation/labels", handlers.generated_labels),
        Route(f"{photo}/files/{{rows}}/{{file}}", handlers.file),
        Route(f"{photo}/{{action}}", handlers.act, methods=["POST"]),
    ]
    middleware = [Middleware(_SameOrigin)]
    if allowed_hosts is not None:
        middleware.insert(0, Middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts), www_redirect=False))
    app = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={
            HTTPException: _http_error,  # type: ignore[dict-item]
            ValueError: _refused,
            TypeError: _refused,
            OverflowError: _too_large,
        },
        lifespan=lifespan,
    )
    return ResponseHeaders(app, HEADERS)  # around all of it, so that answers to faults have them too


class _Handlers:
    """What the addresses under /api do; work that takes time goes to other threads."""

    def __init__(self, service: DemoService) -> None:
        self.service = service
        self._bodies = RequestBodies()

    async def about(self, _: Request) -> Response:
        return JSONResponse(self.service.about())

    async def example(self, request: Request) -> Response:
        return Response(self._example(request.path_params["number"]).thumbnail, media_type="image/jpeg")

    async def open(self, request: Request) -> Response:
        number = request.query_params.get("example")
        if number is not None:
            example = self._example(int(number) if number.isascii() and number.isdigit() else -1)
            data, name = example.data, example.name
        else:
            data, name = (
                await self._bodies.read(request, self.service.limits.upload_bytes),
                unquote(request.headers.get("x-file-name", "")),
            )
        session = await run_in_threadpool(self.service.open, data, name)
        state = await run_in_threadpool(self._held(session).state)
        return JSONResponse({"session": session, **state}, status_code=201)

    async def state(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._session(request).state))

    async def forget(self, request: Request) -> Response:
        self.service.store.remove(request.path_params["session"])
        return Response(status_code=204)

    async def shown(self, request: Request) -> Response:
        return Response(self._session(request).photo.shown, media_type="image/jpeg")

    async def act(self, request: Request) -> Response:
        session, action = self._session(request), ACTIONS.get(request.path_params["action"])
        if action is None:
            raise HTTPException(404, "there is no such action")
        arguments = await self._json_object(request)

        def work() -> dict[str, Any]:
            action(session, **arguments)
            return session.state()

        return JSONResponse(await run_in_threadpool(work))

    async def preview(self, request: Request) -> Response:
        asked, session = request.query_params, self._session(request)
        try:
            place = float(asked["x"]), float(asked["y"]), int(asked["label"])
        except (KeyError, ValueError):
            raise HTTPException(400, "a preview needs the numbers x, y and label") from None
        return JSONResponse(await run_in_threadpool(session.preview_point, *place))

    async def generation(self, request: Request) -> Response:
        run = self._session(request).generation
        return JSONResponse(None if run is None else run.state())

    async def start_generation(self, request: Request) -> Response:
        session = self._session(request)
        self.service.start_generation(session, **await self._json_object(request))
        return await self.generation(request)

    async def cancel_generation(self, request: Request) -> Response:
        self._session(request).close()
        return await self.generation(request)

    async def generated_masks(self, request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(found_masks, self._session(request)))

    async def generated_labels(self, request: Request) -> Response:
        session = self._session(request)
        data = await run_in_threadpool(lambda: gzip.compress(found_labels(session).tobytes(), 1))
        return Response(data, media_type="application/octet-stream", headers={"Content-Encoding": "gzip"})

    async def file(self, request: Request) -> Response:
        session = self._session(request)
        rows, known = ROWS.get(request.path_params["rows"]), FILES.get(request.path_params["file"])
        if rows is None or known is None:
            raise HTTPException(404, "there is no such file")
        make, media_type = known
        data = await run_in_threadpool(lambda: make(session, rows(session)))
        name = f"{session.photo.stem}-{request.path_params['file']}"
        return Response(
            data,
            media_type=media_type,
            headers={"Content-Disposition": f"attachment; filename*=utf-8''{quote(name, safe='')}"},
        )

    def _session(self, request: Request) -> PhotoSession:
        return self._held(request.path_params["session"])

    def _held(self, name: str) -> PhotoSession:
        try:
            return self.service.store.get(name)
        except KeyError:
            why = self.service.store.why_gone(name)
            raise HTTPException(
                410, f"the server no longer holds this photo{why and f' ({why})'}: open it again"
            ) from None

    def _example(self, number: int) -> Any:
        if not 0 <= number < len(self.service.examples):
            raise HTTPException(404, "there is no such example")
        return self.service.examples[number]

    async def _json_object(self, request: Request) -> dict[str, Any]:
        body = await self._bodies.read(request, _MOST_JSON_BYTES)
        try:
            values = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise HTTPException(400, "the request must be a JSON object")
        return values


def _page_paths() -> dict[str, str]:
    """The page's addresses, and the file behind each."""
    names = [file.name for file in resources.files(__package__).joinpath("page").iterdir()]
    named = {f"/{name}": name for name in names if name.rsplit(".", 1)[-1] in MEDIA_TYPES}
    return {"/": "index.html", **named}


def _page_file(name: str) -> Callable[[Request], Response]:
    data = resources.files(__package__).joinpath("page").joinpath(name).read_bytes()

    async def answer(_: Request) -> Response:
        return Response(data, media_type=MEDIA_TYPES[name.rsplit(".", 1)[-1]])

    return answer  # type: ignore[return-value]


async def _close_idle_sessions(service: DemoService) -> None:
    while True:
        await anyio.sleep(_SECONDS_BETWEEN_CLEANING)
        service.store.close_idle()


async def _http_error(_: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, status_code=error.status_code, headers=error.headers)


async def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=400)


async def _too_large(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "a number in the request is too large"}, status_code=400)


class _SameOrigin:
    """Refuses what another site's page sends: it could make a visitor's browser upload and prompt."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            headers = Request(scope).headers
            origin = headers.get("origin")
            status, error = 403, "requests from other sites are refused"
            try:
                refused = origin is not None and urlsplit(origin).netloc != headers.get("host")
            except ValueError:
                refused, status, error = True, 400, "the header Origin is no address"
            if refused:
                await JSONResponse({"error": error}, status_code=status)(scope, receive, send)
                return
        await self.app(scope, receive, send)
