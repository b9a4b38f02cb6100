"""Time clicks in the demo: over HTTP, from the request to the whole answer, and in a real Chromium, from the release of
the button until the mask is painted. The server is one of its own.

    python benchmarks/demo_clicks.py PHOTO [--model DIR_OR_ID] [--clicks 30] [--threads 2] [--http-only]
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
CLICKS_PER_OBJECT = 5  # every fifth click is a first one, with three candidates
# The answer is painted in the frame after it is shown; a task queued in that frame runs when it is.
WATCH = """() => {
  window.clicks = [];
  const marks = document.getElementById("marks");
  let start = null;
  marks.addEventListener("pointerup", () => { start = performance.now(); }, true);
  new MutationObserver(() => {
    if (start !== null && marks.getAttribute("aria-busy") === "false") {
      const began = start;
      start = null;
      requestAnimationFrame(() => setTimeout(() => window.clicks.push((performance.now() - began) / 1000)));
    }
  }).observe(marks, { attributes: true, attributeFilter: ["aria-busy"] });
}"""


def post(address: str, body: bytes, **headers: str) -> dict:
    """Send a request, and read the whole answer."""
    with urllib.request.urlopen(urllib.request.Request(address, body, headers, method="POST")) as answer:
        return json.load(answer)


def place(index: int) -> tuple[float, float]:
    """Where a click goes, as shares of the width and the height: all over the middle of the photo."""
    return 0.2 + 0.6 * (index * 0.618 % 1), 0.2 + 0.6 * (index * 0.414 % 1)


def clicks_over_http(address: str, photo: Path, count: int) -> list[float]:
    """Seconds of each click."""
    start = time.perf_counter()
    state = post(f"{address}api/photos", photo.read_bytes(), **{"X-File-Name": photo.name})
    width, height = state["photo"]["width"], state["photo"]["height"]
    print(f"photo    {photo.name}, {width} x {height}: opened in {time.perf_counter() - start:.2f} s")
    session = f"{address}api/photos/{state['session']}"
    seconds = []
    for index in range(count):
        if index % CLICKS_PER_OBJECT == 0:
            post(f"{session}/clear", b"")
        x, y = place(index)
        start = time.perf_counter()
        post(f"{session}/point", json.dumps({"x": x * width, "y": y * height}).encode())
        seconds.append(time.perf_counter() - start)
    return seconds


def clicks_in_chromium(address: str, photo: Path, count: int) -> list[float]:
    """Seconds of each click."""
    from playwright.sync_api import sync_playwright

    found = os.environ.get("SAM_HQ_CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if found is None:
        raise SystemExit("no Chromium: `make browser`, or set SAM_HQ_CHROMIUM; --http-only goes without")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(address)
        page.set_input_files("#file", photo)
        page.locator("#work").wait_for()
        page.locator("#status", has_text=photo.name).wait_for()
        page.evaluate(WATCH)
        frame = page.locator("#marks").bounding_box()
        for index in range(count):
            if index % CLICKS_PER_OBJECT == 0 and index:
                page.click("#clear")
                page.locator("#clear:disabled").wait_for()
            x, y = place(index)
            page.mouse.click(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])
            page.wait_for_function("count => window.clicks.length > count", arg=index)
        seconds = page.evaluate("() => window.clicks")
        browser.close()
    return seconds


def report(name: str, seconds: list[float]) -> None:
    """Print the medians of first and further clicks, and of all."""
    first = seconds[::CLICKS_PER_OBJECT]
    further = [value for index, value in enumerate(seconds) if index % CLICKS_PER_OBJECT]
    medians = (f"{kind} {statistics.median(values):.3f}" for kind, values in (("first", first), ("further", further)))
    print(
        f"{name:8} click: median {statistics.median(seconds):.3f} s ({', '.join(medians)}), "
        f"longest {max(seconds):.3f} s, of {len(seconds)}"
    )


def main() -> None:
    """Start the demo, click, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--clicks", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--http-only", action="store_true", help="without a browser")
    args = parser.parse_args()
    words = [sys.executable, "-m", "sam_hq_cli.main", "demo", "--port", "0", "--device", "cpu"]
    words += ["--model", args.model] if args.model else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            lines = [server.stdout.readline(), server.stdout.readline()]
            address = re.search(r"http://[^/]+/", lines[1])[0]
            print(f"{lines[0].strip()}, {args.threads} threads")
            report("HTTP", clicks_over_http(address, args.photo, args.clicks))
            if not args.http_only:
                report("Chromium", clicks_in_chromium(address, args.photo, args.clicks))
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
