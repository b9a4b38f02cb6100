"""Torch and onnxruntime beside each other on this CPU, with 32 and with 8 bits; and what 8 bits cost on photographs.

    python tests/benchmarks/deployment.py [--models embedded vit_b] [--threads 2] [--output docs/deployment.json]

One photograph through the encoder and one prompt through the decoder, taking turns in one process. The masks of the
embedded checkpoint are held against ground truth, on every other photograph of docs/photos/realphoto_cc0; with seeded
weights there is no truth, so ViT-B's are held against those of fp32. The 8-bit encoders are made here: dynamic, and
calibrated on the photographs between.
"""

import argparse
import copy
import dataclasses
import json
import platform
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
import transformers
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

import sam_hq  # noqa: E402
from benchmarks.measure import interleaved  # noqa: E402
from benchmarks.peers import load_peers  # noqa: E402
from benchmarks.report import replace_between  # noqa: E402
from sam_hq.evaluation import PromptedModel, evaluate  # noqa: E402
from sam_hq.mask_metrics import boundary_iou, mask_iou  # noqa: E402
from sam_hq.onnx_export import export_onnx  # noqa: E402
from sam_hq.onnx_quantization import quantize_encoder  # noqa: E402
from sam_hq.onnx_runtime import OnnxSamHQ  # noqa: E402
from sam_hq.segmentation_data import ImageMaskFolder  # noqa: E402

PHOTOS = REPOSITORY / "docs" / "photos"
CALIBRATION_PHOTOS = 16
WAYS = ("onnxruntime fp32", "onnxruntime int8, dynamic", "onnxruntime int8, calibrated")


class EveryOther:
    """Half of the photographs with ground truth.

    Args:
        first: 0 or 1, the first that is taken.
    """

    def __init__(self, first: int):
        self.whole = ImageMaskFolder(PHOTOS / "realphoto_cc0")
        self.first, self.report = first, self.whole.report

    def __len__(self) -> int:
        return (len(self.whole) - self.first + 1) // 2

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.whole[2 * index + self.first]

    def name(self, index: int) -> str:
        """Name of a photograph."""
        return self.whole.name(2 * index + self.first)


class GraphEncoder(PromptedModel):
    """The torch model with its encoder replaced by a graph, so that only the encoder's rounding is measured."""

    def __init__(self, model: Any, processor: Any, runner: OnnxSamHQ):
        super().__init__(model, processor)
        self.runner = runner

    def embed(self, image: np.ndarray) -> None:
        """Take a photograph (H, W, 3) uint8."""
        super().embed(image)
        embeddings = self.runner.embed(image)
        self._embeddings = torch.from_numpy(embeddings.image_embeddings)
        self._hq_features = torch.from_numpy(embeddings.hq_features)


def loaded(name: str) -> tuple[Any, Any]:
    """A model and its processor."""
    if name == "embedded":
        model = sam_hq.SamHQModel.from_pretrained(sam_hq.EMBEDDED_CHECKPOINT, dtype=torch.float32).eval()
        return model, sam_hq.SamHQProcessor.from_pretrained(sam_hq.EMBEDDED_CHECKPOINT)
    peers = load_peers(name, builtin=False, authors=False)
    return peers.ours, peers.processor


def graphs(model: Any, processor: Any, root: Path) -> dict[str, Path]:
    """The exports by the way they are made."""
    exported = export_onnx(model, processor.image_processor, root / "fp32")
    between = EveryOther(0)
    calibration = [between[index][0] for index in range(CALIBRATION_PHOTOS)]
    directories = {WAYS[0]: exported.directory}
    for way, photos in zip(WAYS[1:], ([], calibration), strict=True):
        directory = root / way.replace(" ", "-")
        directory.mkdir()
        for path in exported.directory.iterdir():
            (directory / path.name).write_bytes(path.read_bytes())
        quantize_encoder(directory / "encoder.onnx", dataclasses.replace(exported.metadata, dtype="int8"), photos)
        directories[way] = directory
    return directories


def torch_int8(model: Any) -> Any:
    """A copy whose encoder's linear layers have 8-bit weights, by torch's own dynamic quantisation."""
    copied = copy.deepcopy(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        copied.vision_encoder = torch.ao.quantization.quantize_dynamic(
            copied.vision_encoder, {torch.nn.Linear}, dtype=torch.qint8
        )
    return copied


def timings(model: Any, processor: Any, runners: dict[str, OnnxSamHQ], repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of the encoder and of the decoder with one prompt."""
    photo = np.asarray(Image.open(PHOTOS / "kingfisher.png").convert("RGB"))
    inputs = processor(photo, return_tensors="pt", input_boxes=[[[40, 40, 300, 300]]])
    pixel_values, boxes = inputs["pixel_values"], inputs["input_boxes"]
    with torch.inference_mode():
        image_embeddings, intermediate = model.get_image_embeddings(pixel_values)
        hq_features = model.get_hq_features(image_embeddings, intermediate)
    half, rounded, whole = torch.bfloat16, copy.deepcopy(model).to(torch.bfloat16), torch_int8(model)

    def torch_encoder(of: Any, dtype: torch.dtype) -> Callable[[], Any]:
        return lambda: of.get_hq_features(*of.get_image_embeddings(pixel_values.to(dtype)))

    def torch_decoder(of: Any, dtype: torch.dtype) -> Callable[[], Any]:
        cached = {"image_embeddings": image_embeddings.to(dtype), "hq_features": hq_features.to(dtype)}
        return lambda: of(**cached, input_boxes=boxes).pred_masks

    encoders: dict[str, Callable[[], Any]] = {
        "torch fp32": torch_encoder(model, torch.float32),
        "torch bf16": torch_encoder(rounded, half),
        "torch int8, dynamic": torch_encoder(whole, torch.float32),
    }
    decoders: dict[str, Callable[[], Any]] = {
        "torch fp32": torch_decoder(model, torch.float32),
        "torch bf16": torch_decoder(rounded, half),
    }
    for way, runner in runners.items():
        embeddings = runner.embed(photo)
        encoders[way] = lambda runner=runner: runner.encoder.run(None, {"pixel_values": pixel_values.numpy()})
        decoders[way] = lambda runner=runner, kept=embeddings: runner.decode(kept, _box_prompt(runner, boxes))
    taken: dict[str, dict[str, float]] = {}
    for part, calls in (("encoder", encoders), ("decoder", decoders)):
        for way, timing in interleaved(calls, repeats).items():
            taken.setdefault(way, {})[part] = round(timing.seconds, 4)
    return taken


def _box_prompt(runner: OnnxSamHQ, boxes: torch.Tensor) -> dict[str, np.ndarray]:
    side = runner.metadata.mask_size
    return {
        "input_points": np.zeros((1, 1, 1, 2), dtype=np.float32),
        "input_labels": np.full((1, 1, 1), -10),
        "input_boxes": boxes.numpy(),
        "has_box": np.ones((1, 1), dtype=bool),
        "input_masks": np.zeros((1, 1, side, side), dtype=np.float32),
        "has_mask": np.zeros((1, 1), dtype=bool),
    }


def quality_on_truth(model: Any, processor: Any, runners: dict[str, OnnxSamHQ]) -> dict[str, dict[str, float]]:
    """mIoU and mBIoU with box prompts on the photographs with masks."""
    dataset = EveryOther(1)
    predictors = {
        "torch fp32": PromptedModel(model, processor),
        "torch int8, dynamic": PromptedModel(torch_int8(model), processor),
    }
    predictors |= {way: GraphEncoder(model, processor, runner) for way, runner in runners.items()}
    found = {}
    for way, predictor in predictors.items():
        miou, mbiou, count = evaluate(predictor, dataset).means()[("box", "sum")]
        found[way] = {"mIoU": round(miou, 4), "mBIoU": round(mbiou, 4), "objects": count}
    return found


def agreement_with_fp32(runners: dict[str, OnnxSamHQ]) -> dict[str, dict[str, float]]:
    """The same metrics with the masks of fp32 as the truth, where the weights have not learned anything."""
    exact = runners[WAYS[0]]
    photos = sorted(path for path in PHOTOS.iterdir() if path.suffix in (".png", ".jpg"))[:4]
    found: dict[str, dict[str, float]] = {}
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {way: [] for way in WAYS[1:]}
    for photo in photos:
        with Image.open(photo) as opened:
            width, height = opened.size
        boxes = [[[0.1 * width, 0.1 * height, 0.6 * width, 0.7 * height], [0.4 * width, 0.3 * height, width, height]]]
        (wanted,) = exact.segment(photo, input_boxes=boxes, multimask_output=False)
        for way in WAYS[1:]:
            (given,) = runners[way].segment(photo, input_boxes=boxes, multimask_output=False)
            pairs[way] += [(one[0], other[0]) for one, other in zip(given.masks, wanted.masks, strict=True)]
    for way, masks in pairs.items():
        found[way] = {
            "mIoU": round(float(np.mean([mask_iou(one, other) for one, other in masks])), 4),
            "mBIoU": round(float(np.mean([boundary_iou(one, other) for one, other in masks])), 4),
            "objects": len(masks),
        }
    return found


def table(report: dict[str, Any]) -> str:
    """A run as Markdown."""
    versions = report["versions"]
    lines = [
        f"{report['threads']} threads ({platform.machine()}); Python {versions['python']}, torch {versions['torch']}, "
        f"transformers {versions['transformers']}, onnxruntime {versions['onnxruntime']}; medians of "
        f"{report['repeats']}, taking turns.",
        "",
        "| model | who | encoder, s | decoder, one box, s | encoder file, MB | mIoU | mBIoU | against |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in report["rows"]:
        size = "" if row["megabytes"] is None else row["megabytes"]
        quality = row["quality"] or {"mIoU": "", "mBIoU": ""}
        lines.append(
            f"| {row['model']} | {row['who']} | {row['encoder']} | {row.get('decoder', '')} | {size} | "
            f"{quality['mIoU']} | {quality['mBIoU']} | {row['against']} |"
        )
    return "\n".join([*lines, "", *_fastest(report["rows"])])


def _fastest(rows: list[dict[str, Any]]) -> list[str]:
    """Which path is the faster one, in a sentence for each model."""
    sentences = []
    for model in dict.fromkeys(row["model"] for row in rows):
        parts = []
        for part in ("encoder", "decoder"):
            exact = sorted(
                (row[part], row["who"]) for row in rows if row["model"] == model and row["who"].endswith("fp32")
            )
            (seconds, who), (slower, other) = exact
            parts.append(f"the {part} of {who} is {slower / seconds:.1f} times as fast as that of {other}")
        sentences.append(f"* {model}, fp32: {'; '.join(parts)}.")
    return sentences


def measured(name: str, repeats: int, threads: int) -> list[dict[str, Any]]:
    """The rows of one model."""
    model, processor = loaded(name)
    with tempfile.TemporaryDirectory() as root:
        directories = graphs(model, processor, Path(root))
        runners = {way: OnnxSamHQ(path, "cpu", threads) for way, path in directories.items()}
        seconds = timings(model, processor, runners, repeats)
        truth = name == "embedded"
        quality = quality_on_truth(model, processor, runners) if truth else agreement_with_fp32(runners)
        return [
            {
                "model": name,
                "who": way,
                **taken,
                "megabytes": _megabytes(directories[way]) if way in directories else None,
                "quality": quality.get(way),
                "against": ("ground truth" if truth else "fp32") if way in quality else "",
            }
            for way, taken in seconds.items()
        ]


def _megabytes(directory: Path) -> float:
    return round(sum(path.stat().st_size for path in directory.glob("encoder.onnx*")) / 1e6, 1)


def main() -> None:
    """Measure and write the table."""
    there = ["embedded"] * Path(sam_hq.EMBEDDED_CHECKPOINT).is_dir()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=[*there, "vit_b"], help="embedded, vit_tiny, vit_b, ...")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs" / "deployment.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    report: dict[str, Any] = {
        "threads": arguments.threads,
        "repeats": arguments.repeats,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        "rows": [],
    }
    for name in arguments.models:
        rows = measured(name, arguments.repeats, arguments.threads)
        report["rows"] += rows
        for row in rows:
            print(row, flush=True)
    arguments.output.write_text(json.dumps(report, indent=1) + "\n")
    replace_between("deployment", table(report), REPOSITORY / "docs" / "benchmarks.md")


if __name__ == "__main__":
    main()
