"""Who sends half a request, or slowly, takes nobody's place."""

import contextlib
import socket
import threading
import urllib.request

import pytest

from browser_fixtures import serving
from demo_fixtures import photo_file
from sam_hq.demo import connections, request_bodies
from sam_hq.demo.demo_service import DemoService
from sam_hq.demo.server import build_app


@pytest.fixture(scope="module")
def address(demo_parts):
    with serving(build_app(DemoService(*demo_parts))) as address:
        yield address


@pytest.fixture
def connect(address):
    port = int(address.rsplit(":", 1)[1])
    with contextlib.ExitStack() as stack:

        def connected(data: bytes) -> socket.socket:
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
            connection.sendall(data)
            return connection

        yield connected


UPLOAD = b"POST /api/photos HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\n\r\nx"


def received(connection) -> bytes:
    """What comes until the other side closes, in order or with a reset."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(100_000):
            parts.append(data)
    return b"".join(parts)


def upload(address) -> int:
    request = urllib.request.Request(f"{address}/api/photos", data=photo_file(), method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.status


@pytest.mark.parametrize("sent", [UPLOAD, b"GET / HTTP/1.1\r\nHost:", b""])
def test_many_half_sent_requests_keep_nobody_waiting(address, connect, sent):
    for _ in range(80):
        connect(sent)
    assert upload(address) == 201


def test_the_silent_go_when_there_are_too_many(address, connect, monkeypatch):
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 5)
    silent = [connect(b"GET / HTTP") for _ in range(20)]
    assert upload(address) == 201
    assert received(silent[0]) == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost:",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT",
        UPLOAD.replace(b"photos", b"x"),
    ],
)
def test_what_does_not_end_is_closed(connect, monkeypatch, sent):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.3)
    connection = connect(sent)
    stop = threading.Event()

    def trickle():
        with contextlib.suppress(OSError):
            while not stop.wait(0.05):
                connection.sendall(b"a")

    thread = threading.Thread(target=trickle)
    thread.start()
    received(connection)
    stop.set()
    thread.join()


def test_a_body_that_trickles_is_refused_and_the_connection_closed(connect, monkeypatch):
    monkeypatch.setattr(request_bodies, "GRACE_SECONDS", 0.3)
    answer = received(connect(UPLOAD))
    assert b" 408 " in answer.splitlines()[0]
    assert b"content-security-policy" in answer.lower()
