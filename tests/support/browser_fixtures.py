"""Headless Chromium, and applications served on a free port of this machine."""

import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator

import pytest

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Nothing that calls home, and none of the warnings of a browser that is run by root and has no graphics card.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_SECONDS = 30


@contextlib.contextmanager
def serving(app) -> Iterator[str]:
    """Serve an ASGI application while the block runs; gives its address, without a slash at the end."""
    import uvicorn

    from sam_hq.demo.connections import server_config

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(server_config(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        end = time.monotonic() + START_SECONDS
        while not server.started:
            assert thread.is_alive(), "the server failed"
            assert time.monotonic() < end, "the server does not start"
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(START_SECONDS)


@pytest.fixture(scope="session")
def chromium():
    """A headless browser, one for all tests of a process."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the extra `dev`")
    found = os.environ.get("SAM_HQ_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    assert found, "the tests of the pages need Chromium: `make browser`, or set SAM_HQ_CHROMIUM to its path"
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()
