"""Serves the folder of `static_folder` on this machine."""

import mimetypes
from collections.abc import Sequence
from pathlib import Path

from .web_safety import LOOPBACK_HOSTS, ResponseHeaders

try:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.routing import Mount
    from starlette.staticfiles import StaticFiles
except ImportError as error:
    raise ImportError("the demo needs Starlette and uvicorn: pip install 'sam-hq[demo]'") from error

HEADERS = {
    # Nothing but the page's own files: what is opened on it cannot be sent anywhere else.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; style-src 'self'; "
        "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    # Together these give the page shared memory, without which the runtime has one thread.
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
# Some machines' tables of file types are wrong about these, and browsers insist on them.
_MEDIA_TYPES = {".js": "text/javascript", ".wasm": "application/wasm", ".json": "application/json"}


def build_static_app(directory: str | Path, allowed_hosts: Sequence[str] | None = LOOPBACK_HOSTS) -> ResponseHeaders:
    """Return the web application: the files of the folder, and nothing outside it.

    Args:
        directory: The folder.
        allowed_hosts: Host names that requests may be addressed to, without ports; None allows all.
    """
    for suffix, media_type in _MEDIA_TYPES.items():
        mimetypes.add_type(media_type, suffix)
    middleware = []
    if allowed_hosts is not None:
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=list(allowed_hosts), www_redirect=False))
    app = Starlette(routes=[Mount("/", StaticFiles(directory=directory, html=True))], middleware=middleware)
    return ResponseHeaders(app, HEADERS)
