"""What the two pages of `sam-hq demo` share: the address that they answer on, and answering."""

from __future__ import annotations

import socket
from typing import Any

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def check_web_libraries() -> None:
    """Say which extra is missing, if one is.

    Raises:
        ValueError: If Starlette or uvicorn is not installed.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ValueError("the demo needs Starlette and uvicorn: pip install 'sam-hq[demo]'") from error


def listening_socket(host: str, port: int) -> socket.socket:
    """Take the address, so that a port in use is known before the model is loaded.

    Args:
        host: Address or name.
        port: 0 for any that is free.

    Raises:
        OSError: If it cannot be had.
    """
    listener = None
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = places[0]
        listener = socket.socket(family, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # from now on connections wait until there is somebody to answer
    except OSError as error:
        if listener is not None:
            listener.close()
        raise OSError(f"cannot answer on {host} port {port}: {error.strerror}; try another --host or --port") from error
    return listener


def page_address(host: str, port: int) -> str:
    """The address of the page, for people on this machine.

    Args:
        host: What the server listens on.
        port: Its port.
    """
    shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"


def serve(app: Any, listener: socket.socket, host: str, browser: bool) -> None:
    """Say where the page is, and answer until interrupted.

    Args:
        app: The application.
        listener: From `listening_socket`.
        host: What it listens on.
        browser: Whether the page is opened in the browser of this machine.
    """
    import uvicorn

    from sam_hq.demo.connections import server_config

    address = page_address(host, listener.getsockname()[1])
    print(f"page     {address} (stop with Ctrl-C)", flush=True)
    if browser:
        import webbrowser

        webbrowser.open(address)
    uvicorn.Server(server_config(app)).run(sockets=[listener])
