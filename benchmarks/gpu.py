"""Time this package against its peers on a CUDA device, on the same weights and the same photo, in one run.

    python benchmarks/gpu.py [--repeats N]

Writes docs/benchmarks_gpu.json and puts its table into docs/benchmarks.md.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "support")]

from benchmarks.bench import PROMPTS, photo  # noqa: E402
from benchmarks.measure import largest_difference, versions  # noqa: E402
from benchmarks.peers import Peers, load_peers  # noqa: E402
from benchmarks.report import gpu_table, replace_between  # noqa: E402
from sam_hq.generation.generator import SamHQMaskGenerator  # noqa: E402

PHOTOS = 8
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def interleaved(calls: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, Any]]:
    """Median seconds, peak megabytes on the device and the answer of every call, taking turns after a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    results: dict[str, dict[str, Any]] = {name: {} for name in calls}
    with torch.inference_mode():
        for turn in range(repeats + 1):
            for name, call in calls.items():
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                held, start = torch.cuda.memory_allocated(), time.perf_counter()
                answer = call()
                torch.cuda.synchronize()
                if turn:
                    seconds[name].append(time.perf_counter() - start)
                peak = torch.cuda.max_memory_allocated() - held
                results[name] = {"answer": answer, "megabytes": round(peak / 2**20)}
    return {name: {**result, "seconds": statistics.median(seconds[name])} for name, result in results.items()}


def model_cases(peers: Peers, dtype: torch.dtype) -> dict[str, dict[str, Callable[[], Any]]]:
    """The calls of each case: of this package, of the class built into transformers, of the authors' package."""
    ours, builtin, authors = peers.ours, peers.builtin, peers.authors
    inputs = peers.processor(photo(), return_tensors="pt")
    pixel_values = inputs["pixel_values"].to("cuda", dtype)
    several = pixel_values.repeat(PHOTOS, 1, 1, 1)
    height, width = inputs["reshaped_input_sizes"][0].tolist()
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(1, PROMPTS, 1, 2, generator=generator) * torch.tensor([width, height])
    points = points.to("cuda", dtype)
    with torch.inference_mode():
        embeddings, intermediate = ours.get_image_embeddings(pixel_values)
        hq_features = ours.get_hq_features(embeddings, intermediate)
    cached = {"image_embeddings": embeddings, "input_points": points}
    cases: dict[str, dict[str, Callable[[], Any]]] = {
        "embedding": {
            "ours": lambda: ours.get_image_embeddings(pixel_values)[0],
            "built-in": lambda: builtin.get_image_embeddings(pixel_values)[0],
        },
        f"embedding, {PHOTOS} images": {
            "ours": lambda: ours.get_image_embeddings(several)[0],
            "built-in": lambda: builtin.get_image_embeddings(several)[0],
        },
        f"{PROMPTS} prompts": {
            "ours": lambda: ours(**cached, hq_features=hq_features).pred_masks,
            "built-in": lambda: builtin(**cached, intermediate_embeddings=intermediate).pred_masks,
        },
    }
    if authors is not None:
        cases["embedding"]["authors"] = lambda: authors.image_encoder(pixel_values)[0]
        cases[f"embedding, {PHOTOS} images"]["authors"] = lambda: authors.image_encoder(several)[0]
    return cases


def generation_case(peers: Peers) -> dict[str, Callable[[], Any]]:
    """A grid of 1024 points over a photo of 2048 x 1365: the sorted areas of the masks."""
    from transformers.pipelines.mask_generation import MaskGenerationPipeline

    options: dict[str, Any] = {"points_per_batch": 64, "pred_iou_thresh": 0.88, "stability_score_thresh": 0.95}
    ours = SamHQMaskGenerator(peers.ours, peers.processor.image_processor, points_per_crop=32, **options)
    stock = MaskGenerationPipeline(
        model=peers.builtin, image_processor=peers.processor.image_processor, device=peers.ours.device
    )
    picture = photo()

    def areas(masks: list) -> torch.Tensor:
        return torch.tensor(sorted(int(mask.sum()) for mask in masks), dtype=torch.float64)

    return {
        "ours": lambda: areas(ours.generate(picture)["masks"]),
        "built-in": lambda: areas(stock(picture, points_per_crop=32, **options)["masks"]),
    }


def rows_of(case: str, dtype: str, results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a case, with differences relative to the largest magnitude of this package's answer."""
    ours = results["ours"]
    rows = []
    for who, result in results.items():
        rows.append(
            {
                "case": case,
                "dtype": dtype,
                "who": who,
                "milliseconds": round(1000 * result["seconds"], 1),
                "ratio": round(result["seconds"] / ours["seconds"], 2),
                "megabytes": result["megabytes"],
                "difference": largest_difference(ours["answer"].double(), result["answer"].double()),
            }
        )
    return rows


def main() -> None:
    """Measure all cases in fp32 and in bf16, and generation in fp32."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=10)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no CUDA device is visible to torch")
    report: dict[str, Any] = {
        "machine": torch.cuda.get_device_name(),
        "versions": versions(),
        "repeats": arguments.repeats,
        "rows": [],
    }

    def measure(case: str, dtype: str, calls: dict[str, Callable[[], Any]], repeats: int) -> None:
        rows = rows_of(case, dtype, interleaved(calls, repeats))
        report["rows"] += rows
        for row in rows:
            print(row, flush=True)

    whole = load_peers("vit_b")
    for name, dtype in DTYPES.items():
        parts = (whole.ours, whole.builtin, whole.authors)
        moved = [None if part is None else copy.deepcopy(part).to("cuda", dtype) for part in parts]
        peers = Peers(moved[0], whole.processor, moved[1], moved[2])
        for case, calls in model_cases(peers, dtype).items():
            measure(case, name, calls, arguments.repeats)
        if dtype == torch.float32:
            measure("generation", name, generation_case(peers), 1)
    (REPOSITORY / "docs" / "benchmarks_gpu.json").write_text(json.dumps(report, indent=1) + "\n")
    replace_between("gpu", gpu_table(report), REPOSITORY / "docs" / "benchmarks.md")


if __name__ == "__main__":
    main()
