"""How this package's time and memory grow: with points, with prompts per call, with the photograph.

    python tests/benchmarks/growth.py [--output docs/growth.json]

TinyViT with seeded weights. Every row runs in a process of its own, since a process does not give memory back.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from benchmarks.bench import photo  # noqa: E402
from benchmarks.measure import interleaved  # noqa: E402
from benchmarks.peers import load_peers  # noqa: E402
from benchmarks.report import replace_between  # noqa: E402
from sam_hq.mask_generator import SamHQMaskGenerator  # noqa: E402

# What grows, and where it is measured.
ROWS = {
    "points of a generation, 2048 x 1365": [("points", value) for value in (8, 16, 32)],  # per side
    "prompts of a call, cached embeddings": [("prompts", value) for value in (1, 4, 16, 64)],
    "longest side of a 3:2 photograph, 256 points": [("side", value) for value in (1024, 2048, 4096, 8192)],
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
            peers.ours, peers.processor.image_processor, points_per_crop=value if kind == "points" else 16
        )
        timing = interleaved({"ours": lambda: len(generator.generate(picture, output_mode="coco_rle"))}, 1, False)[
            "ours"
        ]
    return {"seconds": round(timing.seconds, 2), "peak_megabytes": round(timing.peak_bytes / 2**20)}


def main() -> None:
    """Measure every row and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "growth.json")
    parser.add_argument("--row", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        print(json.dumps(measure(arguments.row[0], int(arguments.row[1]))))
        return
    report: dict[str, list[dict[str, float]]] = {}
    lines = []
    for title, rows in ROWS.items():
        report[title] = []
        lines += [f"| {title} | seconds | peak memory growth, MB |", "|---:|---:|---:|"]
        for kind, value in rows:
            command = [sys.executable, __file__, "--row", kind, str(value)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            row = {"value": value**2 if kind == "points" else value, **json.loads(output.splitlines()[-1])}
            print(title, row, flush=True)
            report[title].append(row)
            lines.append(f"| {row['value']} | {row['seconds']} | {row['peak_megabytes']} |")
        lines.append("")
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    replace_between("growth", "\n".join(lines), REPOSITORY / "docs" / "benchmarks.md")


if __name__ == "__main__":
    main()
