"""What the two pages of `sam-hq demo` share: the address that they answer on."""

from __future__ import annotations

import socket

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def listening_socket(host: str, port: int) -> socket.socket:
    """Take the address, so that a port in use is known before the model is loaded.

    Args:
        host: Address or name.
        port: 0 for any that is free.

    Raises:
        OSError: If it cannot be had.
    """
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, kind)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()  # from now on connections wait until there is somebody to answer
    except OSError as error:
        listener.close()
        raise OSError(f"cannot answer on {host} port {port}: {error.strerror}; try another --port") from error
    return listener


def page_address(host: str, port: int) -> str:
    """The address of the page, for people on this machine.

    Args:
        host: What the server listens on.
        port: Its port.
    """
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)
    return f"http://{shown}:{port}/"
