"""Times and peak memory."""

import os
import platform
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from sam_hq import cpu_info


@dataclass
class Timing:
    """What one implementation took for one case.

    Attributes:
        seconds: Median wall time of a call.
        kernel_seconds: Median time of the CPUs in the kernel during a call, most of it fetching memory page by page.
        peak_bytes: Largest growth of the process's memory during a call.
        answer: What the last call returned.
    """

    seconds: float
    kernel_seconds: float
    peak_bytes: int
    answer: Any


def interleaved(
    calls: dict[str, Callable[[], Any]], repeats: int, warm_up: bool = True, pause: float = 0.0
) -> dict[str, Timing]:
    """Time several implementations of one thing, taking turns, so that all meet the same weather.

    Args:
        calls: The implementations by name.
        repeats: Calls of each.
        warm_up: Whether a call of each goes before, untimed.
        pause: Seconds between calls. Threads of onnxruntime spin for a while when their work is done, and would take
            the cores from the call that comes after.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    kernel: dict[str, list[float]] = {name: [] for name in calls}
    peaks = dict.fromkeys(calls, 0)
    answers: dict[str, Any] = {}
    with torch.inference_mode():
        for turn in range(repeats + warm_up):
            for name, call in calls.items():
                time.sleep(pause)
                with MemoryWatch() as watch:
                    start, kernel_start = time.perf_counter(), os.times().system
                    answers[name] = call()
                    elapsed, in_kernel = time.perf_counter() - start, os.times().system - kernel_start
                if turn >= warm_up:
                    seconds[name].append(elapsed)
                    kernel[name].append(in_kernel)
                    peaks[name] = max(peaks[name], watch.peak_bytes)
    return {
        name: Timing(statistics.median(seconds[name]), statistics.median(kernel[name]), peaks[name], answers[name])
        for name in calls
    }


class MemoryWatch:
    """Watches the process's resident memory from a thread; `peak_bytes` is its largest growth."""

    def __init__(self, interval: float = 0.005):
        self.interval = interval
        self.peak_bytes = 0

    def __enter__(self) -> "MemoryWatch":
        self._start = resident_bytes()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self.interval):
            self.peak_bytes = max(self.peak_bytes, resident_bytes() - self._start)


def resident_bytes() -> int:
    """The process's resident memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def matrix_rate() -> float:
    """Multiply-adds per second of a matrix product of the encoder's size, in fp32: the floor of everything else.

    The best of all ways that torch has here, whichever the packages take.
    """
    tokens, width, hidden = 4096, 768, 3072
    left, right = torch.randn(tokens, width), torch.randn(width, hidden)
    weight = right.t().contiguous()
    calls: dict[str, Callable[[], Any]] = {
        "product": lambda: left @ right,
        "linear": lambda: torch.nn.functional.linear(left, weight),
    }
    if cpu_info()["onednn"]:
        calls["onednn"] = lambda: torch.ops.mkldnn._linear_pointwise(left, weight, None, "none", [], "")
    calls |= {f"{name}, medium": at_medium(call) for name, call in calls.items()}
    fastest = min(timing.seconds for timing in interleaved(calls, repeats=20).values())
    return tokens * width * hidden / fastest


def at_medium(call: Callable[[], Any]) -> Callable[[], Any]:
    """A call under `set_float32_matmul_precision("medium")`: perhaps another product, or 16 bits."""

    def call_at_medium() -> Any:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium")
        try:
            return call()
        finally:
            torch.set_float32_matmul_precision(before)

    return call_at_medium


def with_medium(calls: dict[str, Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
    """The same calls, and those of the peers under that setting too."""
    return calls | {f"{who}, medium": at_medium(call) for who, call in calls.items() if not who.startswith("ours")}


def largest_difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest deviation of an answer from ours, relative to our largest magnitude; NaN if shapes differ."""
    if theirs.shape != ours.shape:  # the authors return the best mask alone
        ours = ours[:, :, : theirs.shape[2]] if theirs.ndim == ours.ndim == 5 else ours
    if theirs.shape != ours.shape or ours.numel() == 0:
        return float("nan")
    return float((ours - theirs).abs().max() / ours.abs().max())


def versions() -> dict[str, str]:
    """What every report says of the software."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def cpu_name() -> str:
    """The processor and the widest instructions that torch uses on it."""
    info = cpu_info()
    return f"{info['cpu']}, {info['capability']}"
