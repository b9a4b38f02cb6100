"""How this package's time and memory grow: with points, with prompts per call, with the photo.

    python benchmarks/growth.py [--kinds points prompts side]

TinyViT with seeded weights. Every row runs in a process of its own, since a process does not give memory back. Writes
docs/growth.json and the tables of docs/benchmarks.md; tables that are not measured again stay.
"""

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "support")]

from benchmarks.bench import photo  # noqa: E402
from benchmarks.measure import cpu_name, interleaved  # noqa: E402
from benchmarks.peers import load_peers  # noqa: E402
from benchmarks.report import replace_between  # noqa: E402
from sam_hq.generation.generator import SamHQMaskGenerator  # noqa: E402

FILE = REPOSITORY / "docs" / "growth.json"
# What grows: the heading of its table, and where it is measured.
TABLES = {
    "points": ("points of a generation, 2048 x 1365", (64, 256, 1024)),
    "prompts": ("prompts of a call, cached embeddings", (1, 4, 16, 64)),
    "side": ("longest side of a 3:2 image, 256 points", (1024, 2048, 4096, 8192)),
}


def measure(kind: str, value: int) -> dict[str, float]:
    """Time and memory growth of one row, in this process."""
    peers = load_peers("vit_tiny", authors=False)
    if kind == "prompts":
        inputs = peers.processor(photo(), return_tensors="pt")
        with torch.inference_mode():
            embeddings, intermediate = peers.ours.get_image_embeddings(inputs["pixel_values"])
            hq_features = peers.ours.get_hq_features(embeddings, intermediate)
        points = torch.rand(1, value, 1, 2) * 683
        call = lambda: peers.ours(image_embeddings=embeddings, hq_features=hq_features, input_points=points)  # noqa: E731
        timing = interleaved({"ours": call}, repeats=3)["ours"]
    else:
        side = 2048 if kind == "points" else value
        picture = photo((side, round(side * 2 / 3)))
        generator = SamHQMaskGenerator(
            peers.ours, peers.processor.image_processor, points_per_crop=math.isqrt(value) if kind == "points" else 16
        )
        timing = interleaved({"ours": lambda: len(generator.generate(picture, output_mode="coco_rle"))}, 1, False)[
            "ours"
        ]
    return {"seconds": round(timing.seconds, 2), "peak_megabytes": round(timing.peak_bytes / 2**20)}


def main() -> None:
    """Measure every row and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(measure(arguments.row[0], int(arguments.row[1]))))
        return
    report = json.loads(FILE.read_text()) if FILE.exists() else {}
    for kind in arguments.kinds:
        report[kind] = []
        report.setdefault("machines", {})[kind] = f"{torch.get_num_threads()} threads ({cpu_name()})"
        for value in TABLES[kind][1]:
            command = [sys.executable, __file__, "--row", kind, str(value)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            report[kind].append({"value": value, **json.loads(output.splitlines()[-1])})
            print(kind, report[kind][-1], flush=True)
        FILE.write_text(json.dumps(report, indent=1) + "\n")
        replace_between("growth", tables(report), REPOSITORY / "docs" / "benchmarks.md")


def tables(report: dict[str, Any]) -> str:
    """What has been measured, as Markdown."""
    lines = []
    for kind, (title, _) in TABLES.items():
        if kind in report:
            lines += [f"{report['machines'][kind]}:", ""] if kind in report.get("machines", {}) else []
            lines += [f"| {title} | seconds | peak memory growth, MB |", "|---:|---:|---:|"]
            lines += [f"| {row['value']} | {row['seconds']} | {row['peak_megabytes']} |" for row in report[kind]]
            lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
