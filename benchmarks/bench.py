"""Time this package against its peers, on the same weights and the same photo, in one run.

    python benchmarks/bench.py [--cases …] [--repeats N] [--authors]

Writes a JSON file and puts its table into docs/benchmarks.md. Cases that are measured again replace their rows; those
of other cases stay if machine and versions are the same. `--authors` measures where the authors' package is installed,
into a table of its own.
"""

import argparse
import copy
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "support")]

from benchmarks.measure import (  # noqa: E402
    Timing,
    cpu_name,
    interleaved,
    largest_difference,
    matrix_rate,
    versions,
    with_medium,
)
from benchmarks.peers import Peers, authors_installed, load_peers  # noqa: E402
from benchmarks.report import replace_between, table  # noqa: E402
from sam_hq import cpu_info  # noqa: E402
from sam_hq.evaluation.ground_truth_prompts import mask_box  # noqa: E402
from sam_hq.generation.generator import SamHQMaskGenerator  # noqa: E402
from sam_hq.generation.passing_masks import passing_masks, valid_region  # noqa: E402
from sam_hq_numpy.crop_grids import layer_point_grids  # noqa: E402

PHOTO = REPOSITORY / "docs" / "photos" / "lemur.png"
ENCODER_MACS = 486e9  # ViT-B at 1024 pixels
PROMPTS = 64
SAME = 1e-4  # the largest relative difference of answers that count as equal
PASSING = 0.3  # share of the prompts that pass the predicted IoU in the filtered cases
CASES = [
    "embedding",
    "one prompt",
    "64 prompts",
    "64 prompts, 30 % pass",
    "TinyViT embedding",
    "generation",
    "generation, 30 % pass",
]
AUTHORS_CASES = ["embedding", "one prompt", "64 prompts", "TinyViT embedding"]


@dataclass
class Result:
    """One implementation in one case.

    Attributes:
        case: What was done.
        who: "ours", "built-in" or "authors"; the peers also with
            `torch.set_float32_matmul_precision("medium")`, as "built-in, medium".
        seconds: Median wall time.
        kernel_seconds: Median time of all CPUs in the kernel.
        peak_megabytes: Largest growth of the process's memory.
        ratio: The implementation's time over ours.
        difference: Largest deviation of its answer from ours, relative to the answer's largest magnitude.
    """

    case: str
    who: str
    seconds: float
    kernel_seconds: float
    peak_megabytes: float
    ratio: float
    difference: float


def photo(size: tuple[int, int] = (2048, 1365)) -> Image.Image:
    """A real photo at a given width and height."""
    return Image.open(PHOTO).convert("RGB").resize(size, Image.Resampling.LANCZOS)


class ViTB:
    """The cases with ViT-B."""

    def __init__(self) -> None:
        self.peers: Peers = load_peers("vit_b")
        ours = self.peers.ours
        inputs = self.peers.processor(photo(), return_tensors="pt")
        self.pixel_values = inputs["pixel_values"]
        self.reshaped = tuple(inputs["reshaped_input_sizes"][0].tolist())
        with torch.inference_mode():
            self.image_embeddings, self.intermediate = ours.get_image_embeddings(self.pixel_values)
            self.hq_features = ours.get_hq_features(self.image_embeddings, self.intermediate)
        generator = torch.Generator().manual_seed(0)
        height, width = self.reshaped
        self.points = torch.rand(1, PROMPTS, 1, 2, generator=generator) * torch.tensor([width, height])

    def embedding(self, repeats: int) -> dict[str, Timing]:
        """One photo through the encoder."""
        calls: dict[str, Callable[[], Any]] = {
            "ours": lambda: self.peers.ours.get_image_embeddings(self.pixel_values)[0],
            "built-in": lambda: self.peers.builtin.get_image_embeddings(self.pixel_values)[0],
        }
        if self.peers.authors is not None:
            calls["authors"] = lambda: self.peers.authors.image_encoder(self.pixel_values)[0]
        if cpu_info()["bfloat16"]:
            half = copy.deepcopy(self.peers.ours).to(torch.bfloat16)
            calls["ours, bfloat16"] = lambda: half.get_image_embeddings(self.pixel_values)[0]
        return interleaved(with_medium(calls), repeats)

    def prompts(self, repeats: int, count: int) -> dict[str, Timing]:
        """Points on cached embeddings, three full masks each."""
        points = self.points[:, :count]
        cached = {"image_embeddings": self.image_embeddings, "input_points": points}
        calls: dict[str, Callable[[], Any]] = {
            "ours": lambda: self.peers.ours(**cached, hq_features=self.hq_features).pred_masks,
            "built-in": lambda: self.peers.builtin(**cached, intermediate_embeddings=self.intermediate).pred_masks,
        }
        if self.peers.authors is not None:
            calls["authors"] = lambda: self._authors_masks(points)
        return interleaved(with_medium(calls), repeats)

    def _authors_masks(self, points: torch.Tensor) -> torch.Tensor:
        model = self.peers.authors
        points = points[0]
        sparse, dense = model.prompt_encoder(points=(points, torch.ones(points.shape[:2])), boxes=None, masks=None)
        masks, _ = model.mask_decoder(
            image_embeddings=self.image_embeddings,
            image_pe=model.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
            hq_token_only=False,
            interm_embeddings=self.intermediate,
        )
        return masks[None]

    def filtered(self, repeats: int) -> dict[str, Timing]:
        """The decoding of mask generation, most prompts failing by their scores; the peers make all masks."""
        ours = self.peers.ours
        with torch.inference_mode():
            scores = ours(
                image_embeddings=self.image_embeddings, hq_features=self.hq_features, input_points=self.points
            ).iou_scores[0, :, 0]
        threshold = scores.quantile(1 - PASSING).item()
        region = valid_region(self.reshaped, 1024, 256)

        def ours_filtered() -> torch.Tensor:
            groups = passing_masks(
                ours,
                self.image_embeddings,
                self.hq_features,
                input_points=self.points,
                min_score=threshold,
                region=region,
            )
            return torch.cat([masks.logits()[:, 0] for _, masks in groups])

        def builtin_filtered() -> torch.Tensor:
            outputs = self.peers.builtin(
                image_embeddings=self.image_embeddings,
                intermediate_embeddings=self.intermediate,
                input_points=self.points,
            )
            return outputs.pred_masks[0, outputs.iou_scores[0, :, 0] > threshold, 0, : region[0], : region[1]]

        return interleaved(with_medium({"ours": ours_filtered, "built-in": builtin_filtered}), repeats)

    def generation(self, repeats: int, passing: float | None = None, side: int = 32) -> dict[str, Timing]:
        """A grid of points over a photo of 2048 x 1365: areas and boxes of the masks that are found.

        Args:
            repeats: Calls of each.
            passing: Share of the points whose predicted IoU shall pass, by a threshold that is the same for all; None
                for the default threshold.
            side: Points along each side.
        """
        from transformers.pipelines.mask_generation import MaskGenerationPipeline

        options: dict[str, Any] = {"points_per_batch": 64, "pred_iou_thresh": 0.88, "stability_score_thresh": 0.95}
        if passing is not None:
            options["pred_iou_thresh"] = self._score_quantile(side, 1 - passing)
        ours = SamHQMaskGenerator(
            self.peers.ours, self.peers.processor.image_processor, points_per_crop=side, **options
        )
        stock = MaskGenerationPipeline(model=self.peers.builtin, image_processor=self.peers.processor.image_processor)
        picture = photo()

        def extents(masks: list) -> torch.Tensor:
            """Area and box of every mask, in an order that is the same for the same masks."""
            boxes = [[int(mask.sum()), *mask_box(np.asarray(mask)).astype(int).tolist()] for mask in masks]
            return torch.tensor(sorted(boxes), dtype=torch.float64)

        return interleaved(
            with_medium(
                {
                    "ours": lambda: extents(ours.generate(picture)["masks"]),
                    "built-in": lambda: extents(stock(picture, points_per_crop=side, **options)["masks"]),
                }
            ),
            repeats,
            warm_up=False,
        )

    @torch.inference_mode()
    def _score_quantile(self, side: int, quantile: float) -> float:
        """The predicted IoU that this share of the points of the grid stay below, half way between two points'."""
        grid = torch.from_numpy(layer_point_grids(side, 0, 1)[0]).float()
        height, width = self.reshaped
        scores = []
        for points in (grid * torch.tensor([width, height])).split(PROMPTS):
            groups = passing_masks(
                self.peers.ours, self.image_embeddings, self.hq_features, input_points=points[None, :, None]
            )
            scores += [masks.iou_scores[:, 0] for _, masks in groups]
        ordered = torch.cat(scores).sort().values
        at = round(quantile * len(ordered))
        return ordered[at - 1 : at + 1].mean().item()


def tiny_embedding(repeats: int) -> dict[str, Timing]:
    """One photo through TinyViT."""
    peers = load_peers("vit_tiny")
    pixel_values = peers.processor(photo(), return_tensors="pt")["pixel_values"]
    calls: dict[str, Callable[[], Any]] = {"ours": lambda: peers.ours.get_image_embeddings(pixel_values)[0]}
    if peers.authors is not None:
        calls["authors"] = lambda: peers.authors.image_encoder(pixel_values)[0]
    return interleaved(with_medium(calls), repeats)


def results(case: str, timings: dict[str, Timing]) -> list[Result]:
    """The rows of a case."""
    ours = timings["ours"]
    return [
        Result(
            case,
            who,
            round(timing.seconds, 3),
            round(timing.kernel_seconds, 2),
            round(timing.peak_bytes / 2**20, 1),
            round(timing.seconds / ours.seconds, 2),
            largest_difference(ours.answer, timing.answer),
        )
        for who, timing in timings.items()
    ]


def cases_of(vit_b: ViTB | None, repeats: int, generation_repeats: int) -> dict[str, Callable[[], dict[str, Timing]]]:
    """What measures each case; those of ViT-B only with its models."""
    cases: dict[str, Callable[[], dict[str, Timing]]] = {"TinyViT embedding": lambda: tiny_embedding(repeats)}
    if vit_b is not None:
        cases |= {
            "embedding": lambda: vit_b.embedding(repeats),
            "one prompt": lambda: vit_b.prompts(repeats, 1),
            "64 prompts": lambda: vit_b.prompts(repeats, PROMPTS),
            "64 prompts, 30 % pass": lambda: vit_b.filtered(repeats),
            "generation": lambda: vit_b.generation(generation_repeats),
            "generation, 30 % pass": lambda: vit_b.generation(generation_repeats, PASSING),
        }
    return cases


def merged(before: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """A run with the rows of an earlier one for cases that it did not measure, where both are comparable."""
    same = before.get("versions") == report["versions"] and all(
        before.get("machine", {}).get(key) == report["machine"][key] for key in ("threads", "processor")
    )
    measured = {row["case"] for row in report["results"]}
    if same and "embedding" not in measured:  # the floor is that of the embedding's run
        report = {**report, "machine": before["machine"]}
    kept = [row for row in before["results"] if row["case"] not in measured] if same else []
    return {**report, "results": sorted([*kept, *report["results"]], key=lambda row: CASES.index(row["case"]))}


def main() -> None:
    """Run the cases that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--generation-repeats", type=int, default=1, help="the peer takes minutes for one")
    parser.add_argument("--authors", action="store_true", help="the cases that the authors' package takes part in")
    arguments = parser.parse_args()
    if arguments.authors and not authors_installed():
        parser.error("--authors needs segment-anything-hq, timm and torchvision installed")
    wanted = arguments.cases or (AUTHORS_CASES if arguments.authors else CASES)

    rate = matrix_rate()
    report: dict[str, Any] = {
        "machine": {
            "threads": torch.get_num_threads(),
            "processor": cpu_name(),
            "gigamacs_per_second": round(rate / 1e9, 1),
            "embedding_floor_seconds": round(ENCODER_MACS / rate, 2),
        },
        "versions": versions(),
        "repeats": arguments.repeats,
        "results": [],
    }
    mark = "authors" if arguments.authors else "bench"
    file = REPOSITORY / "docs" / ("benchmarks_authors.json" if arguments.authors else "benchmarks.json")
    before = json.loads(file.read_text()) if file.exists() else {}
    vit_b = ViTB() if set(wanted) - {"TinyViT embedding"} else None
    run = cases_of(vit_b, arguments.repeats, arguments.generation_repeats)
    for case in CASES:
        if case not in wanted:
            continue
        rows = results(case, run[case]())
        report["results"] += [asdict(row) for row in rows]
        for row in rows:
            print(row, flush=True)
        # After every case, so that a run that is cut short leaves what it has.
        everything = merged(before, report)
        file.write_text(json.dumps(everything, indent=1) + "\n")
        replace_between(mark, table(everything), REPOSITORY / "docs" / "benchmarks.md")
    in_fp32 = [row for row in report["results"] if not row["who"].endswith(("medium", "bfloat16"))]
    differing = [f"{row['who']}, {row['case']}" for row in in_fp32 if not row["difference"] <= SAME]
    if differing:
        sys.exit(f"the answers differ by more than {SAME:g}, so that the times do not compare: {'; '.join(differing)}")


if __name__ == "__main__":
    main()
