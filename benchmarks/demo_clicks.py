"""Time clicks in the demo over HTTP: from the request to the whole answer, on a server of its own.

    python benchmarks/demo_clicks.py PHOTO [--model DIR_OR_ID] [--clicks 30] [--threads 2]

The browser's own drawing is not in it; the page shows the time of each click with everything.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path


def post(address: str, body: bytes, **headers: str) -> dict:
    """Send a request, and read the whole answer."""
    with urllib.request.urlopen(urllib.request.Request(address, body, headers, method="POST")) as answer:
        return json.load(answer)


def main() -> None:
    """Start the demo, click, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model")
    parser.add_argument("--clicks", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    words = [sys.executable, "-m", "sam_hq_cli.main", "demo", "--port", "0", "--device", "cpu"]
    words += ["--model", args.model] if args.model else []
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as server:
        try:
            lines = [server.stdout.readline(), server.stdout.readline()]
            address = re.search(r"http://[^/]+/", lines[1])[0]
            start = time.perf_counter()
            state = post(f"{address}api/photos", args.photo.read_bytes(), **{"X-File-Name": args.photo.name})
            opened = time.perf_counter() - start
            width, height = state["photo"]["width"], state["photo"]["height"]
            session = f"{address}api/photos/{state['session']}"
            seconds = []
            for index in range(args.clicks):
                if index % 5 == 0:
                    post(f"{session}/clear", b"")  # every fifth click is a first one, with three candidates
                x, y = width * (0.2 + 0.6 * (index * 0.618 % 1)), height * (0.2 + 0.6 * (index * 0.414 % 1))
                start = time.perf_counter()
                post(f"{session}/point", json.dumps({"x": x, "y": y}).encode())
                seconds.append(time.perf_counter() - start)
        finally:
            server.terminate()
    print(lines[0].strip())
    print(f"photo    {args.photo.name}, {width} x {height}, {args.threads} threads")
    print(f"open     {opened:.2f} s, embedding included")
    first, further = seconds[::5], [value for index, value in enumerate(seconds) if index % 5]
    for name, values in (("first", first), ("further", further)):
        print(
            f"{name:8} click: median {statistics.median(values):.3f} s, longest {max(values):.3f} s, of {len(values)}"
        )


if __name__ == "__main__":
    main()
