"""The matrix product of the CPU engine: torch's default or oneDNN's, whichever is faster on this machine.

On CPUs, torch multiplies matrices of 32-bit floats by MKL, which on some of AMD's with AVX-512 reaches half of what
oneDNN does; on others MKL is ahead. Both are 32-bit throughout, and differ by rounding. Which one is taken is measured
for each class of shapes when it first occurs, some milliseconds long, and kept for the life of the process. One thread
measures: several wait for each other on a busy machine, longer in one way than in the other, and what is taken then
would be slower when the machine is free. No setting of torch is touched.
"""

import functools
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from .worker_threads import in_one_thread

_WAYS = ("torch", "onednn")
# Smaller products (multiply-adds) are not worth a measurement, and their overhead is lower in torch's default.
WORTH_MEASURING = 2**24
# So many rows are measured, however many there are.
_MEASURED_ROWS = 256
# Otherwise noise would decide between equals.
_CLEARLY_FASTER = 1.1

_lock = threading.Lock()
_chosen: dict[tuple[int, int, int], str] = {}
_rates: dict[tuple[int, int, int], dict[str, float]] = {}
_override: str | None = None


def linear(layer: nn.Linear, features: torch.Tensor) -> torch.Tensor:
    """Apply a linear layer's weights to features (..., in): (..., out)."""
    return product(features, layer.weight, layer.bias)


def product(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Multiply features (..., in) with weights (out, in), and add a bias (out,): (..., out)."""
    if _way(features, weight) == "onednn":
        return _by_onednn(features, weight, bias)
    return F.linear(features, weight, bias)


def set_cpu_matmul(way: str | None) -> None:
    """Say which matrix product the CPU engine takes, from now on and for the whole process; forget what was measured.

    Args:
        way: "torch", "onednn", or "auto" to measure; None for what the environment variable `SAM_HQ_CPU_MATMUL` says,
            which is "auto" where it is not set.

    Raises:
        ValueError: If it is anything else.
    """
    global _override
    _override = None if way is None else _known(way, "way")
    with _lock:
        _chosen.clear()
        _rates.clear()


def cpu_info() -> dict[str, Any]:
    """What the CPU engine knows of this machine, and what it has chosen so far.

    Returns:
        `cpu`: the processor's name. `capability`: the widest instructions that torch uses. `threads`: torch's.
        `bfloat16`, `float16`: whether the processor multiplies matrices of these in hardware. `matmul`: "auto",
        "torch" or "onednn". `onednn`: whether it can be asked for here. `products`: for each class of shapes that has
        been measured, by its rows, inputs and outputs, `chosen` and the GFLOP/s of both.
    """
    with _lock:
        products = {"x".join(map(str, key)): {"chosen": _chosen[key], **rates} for key, rates in _rates.items()}
    return {
        "cpu": (_capabilities() or {}).get("cpu_name", "unknown"),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "bfloat16": has_hardware_for(torch.bfloat16),
        "float16": has_hardware_for(torch.float16),
        "matmul": _wanted(),
        "onednn": _has_onednn(),
        "products": products,
    }


def has_hardware_for(dtype: torch.dtype) -> bool:
    """Whether the processor multiplies matrices of this dtype in hardware; True where torch cannot tell."""
    wanted = {
        torch.bfloat16: ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16"),
        torch.float16: ("avx512_fp16", "amx_fp16", "fphp"),
    }
    capabilities = _capabilities()
    return capabilities is None or dtype not in wanted or any(capabilities.get(name) for name in wanted[dtype])


def _capabilities() -> Mapping[str, Any] | None:
    """What torch says of the processor; None with torch 2.9, which says nothing."""
    return torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else None


def _known(way: str, name: str) -> str:
    if way not in ("auto", *_WAYS):
        raise ValueError(f"{name} must be 'auto', 'torch' or 'onednn', but is {way!r}")
    return way


def _wanted() -> str:
    if _override is not None:
        return _override
    return _known(os.environ.get("SAM_HQ_CPU_MATMUL") or "auto", "SAM_HQ_CPU_MATMUL")


def _has_onednn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _by_onednn(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return torch.ops.mkldnn._linear_pointwise(features, weight, bias, "none", [], "")


def _way(features: torch.Tensor, weight: torch.Tensor) -> str:
    if torch.compiler.is_compiling():  # the exported graphs share the engine's algebra
        return "torch"
    outputs, inputs = weight.shape
    rows = features.numel() // inputs
    if features.dtype != torch.float32 or rows * inputs * outputs < WORTH_MEASURING:
        return "torch"  # products of 16 bits are oneDNN's already
    wanted = _wanted()
    if wanted != "auto" or not _has_onednn():
        return wanted if _has_onednn() else "torch"
    key = (min(rows, _MEASURED_ROWS), inputs, outputs)
    chosen = _chosen.get(key)
    if chosen is None:
        with _lock:  # the first thread measures, others wait for what it finds
            chosen = _chosen.get(key) or in_one_thread(functools.partial(_measure, key))
    return chosen


def _measure(key: tuple[int, int, int]) -> str:
    rows, inputs, outputs = key
    features = torch.ones(rows, inputs, dtype=torch.float32)
    weight, bias = torch.ones(outputs, inputs, dtype=torch.float32), torch.zeros(outputs, dtype=torch.float32)
    ways: dict[str, Callable[..., torch.Tensor]] = {"torch": F.linear, "onednn": _by_onednn}
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(4):  # taking turns; the first of each warms up
        for name, call in ways.items():
            start = time.perf_counter()
            call(features, weight, bias)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    _rates[key] = {name: round(2e-9 * rows * inputs * outputs / time_, 1) for name, time_ in seconds.items()}
    _chosen[key] = "onednn" if seconds["torch"] > _CLEARLY_FASTER * seconds["onednn"] else "torch"
    return _chosen[key]
