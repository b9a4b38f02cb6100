"""Where the time of the ViT-B embedding goes, by kind of work, on one thread.

    python benchmarks/embedding_profile.py

Seeded weights, 1024 x 1024 pixels. Prints a Markdown table of shares of the time; what is not a matrix product is what
the floor of docs/benchmarks.md leaves out.
"""

import sys
from collections import Counter
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "support")]

from benchmarks.peers import load_peers  # noqa: E402

# Parts of the names of torch's operators, the first that fits. `addmm` copies its bias before it multiplies.
KINDS = {
    "attention in windows, fused": ("scaled_dot_product",),
    "matrix products": ("aten::addmm", "aten::mm", "aten::bmm", "convolution"),
    "softmax of the global attention": ("softmax",),
    "additions: position scores, residuals": ("aten::add",),
    "copies: heads, windows, biases": ("copy_",),
    "GELU and norms": ("gelu", "layer_norm"),
}


def main() -> None:
    """Profile one embedding after a first that is not counted."""
    torch.set_num_threads(1)
    model = load_peers("vit_b", builtin=False, authors=False).ours
    pixel_values = torch.randn(1, 3, 1024, 1024, generator=torch.Generator().manual_seed(0))
    spent: Counter[str] = Counter()
    with torch.inference_mode():
        model.get_image_embeddings(pixel_values)
        with profile(activities=[ProfilerActivity.CPU]) as profiled:
            model.get_image_embeddings(pixel_values)
    for operator in profiled.key_averages():
        fitting = (kind for kind, names in KINDS.items() if any(name in operator.key for name in names))
        spent[next(fitting, "the rest")] += operator.self_cpu_time_total
    print("| kind of work | share of the time |\n|---|---:|")
    for kind in (*KINDS, "the rest"):
        print(f"| {kind} | {spent[kind] / spent.total():.1%} |")


if __name__ == "__main__":
    main()
