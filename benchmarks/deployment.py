"""Torch and onnxruntime beside each other on this CPU, with 32, 16 and 8 bits; and what fewer bits cost on photos.

    python benchmarks/deployment.py [--models embedded vit_b] [--threads 2] [--output docs/deployment.json]

Writes a JSON file, and its table into docs/benchmarks.md; with another `--output` the table is printed. Models that are
measured again replace their rows; those of other models stay if threads, processor and versions are the same.

One photo through the encoder and one prompt through the decoder, taking turns in one process. The masks of the
embedded checkpoint are held against ground truth, on every other photo of docs/photos/realphoto_cc0; with seeded
weights there is no truth, so ViT-B's are held against those of fp32. The 8-bit encoders are made here: dynamic, and
calibrated on the photos between.
"""

import argparse
import copy
import dataclasses
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "support")]

import sam_hq  # noqa: E402
from benchmarks.measure import cpu_name, interleaved, versions  # noqa: E402
from benchmarks.peers import load_peers  # noqa: E402
from benchmarks.report import deployment_table, replace_between  # noqa: E402
from sam_hq.evaluation import PromptedModel, evaluate  # noqa: E402
from sam_hq.evaluation.mask_metrics import boundary_iou, mask_iou  # noqa: E402
from sam_hq.evaluation.segmentation_data import ImageMaskFolder  # noqa: E402
from sam_hq.export.onnx import export_onnx  # noqa: E402
from sam_hq.export.quantization import quantize_encoder  # noqa: E402
from sam_hq_numpy.atomic_writing import new_file  # noqa: E402
from sam_hq_onnx import OnnxSamHQ  # noqa: E402

PHOTOS = REPOSITORY / "docs" / "photos"
CALIBRATION_PHOTOS = 16
EXACT, HALF = "onnxruntime fp32", "onnxruntime fp16"
ROUNDED = ("onnxruntime int8, dynamic", "onnxruntime int8, calibrated")
OUTPUT = REPOSITORY / "docs" / "deployment.json"


class EveryOther:
    """Half of the photos with ground truth.

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
        """Name of a photo."""
        return self.whole.name(2 * index + self.first)


class GraphEncoder(PromptedModel):
    """The torch model with its encoder replaced by a graph, so that only the encoder's rounding is measured."""

    def __init__(self, model: Any, processor: Any, runner: OnnxSamHQ):
        super().__init__(model, processor)
        self.runner = runner

    def embed(self, image: np.ndarray) -> None:
        """Take a photo (H, W, 3) uint8."""
        super().embed(image)
        embeddings = self.runner.embed(image)
        self.embeddings = dataclasses.replace(
            self.embeddings,
            image_embeddings=torch.from_numpy(embeddings.image_embeddings),
            hq_features=torch.from_numpy(embeddings.hq_features),
        )


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
    directories = {EXACT: exported.directory}
    directories[HALF] = export_onnx(model, processor.image_processor, root / "fp16", "fp16").directory
    between = EveryOther(0)
    calibration = [between[index][0] for index in range(CALIBRATION_PHOTOS)]
    for way, photos in zip(ROUNDED, ([], calibration), strict=True):
        directory = root / way.replace(" ", "-")
        directory.mkdir()
        for path in exported.directory.iterdir():
            (directory / path.name).write_bytes(path.read_bytes())
        quantize_encoder(directory / "encoder.onnx", dataclasses.replace(exported.metadata, dtype="int8"), photos)
        directories[way] = directory
    return directories


def torch_models(model: Any) -> dict[str, Any]:
    """The torch model, and copies of it with fewer bits; those of 8 bits by torch's own dynamic quantisation."""
    eight = copy.deepcopy(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        eight.vision_encoder = torch.ao.quantization.quantize_dynamic(
            eight.vision_encoder, {torch.nn.Linear}, dtype=torch.qint8
        )
    return {
        "torch fp32": model,
        "torch bf16": copy.deepcopy(model).to(torch.bfloat16),
        "torch fp16": copy.deepcopy(model).to(torch.float16),
        "torch int8, dynamic": eight,
    }


def timings(
    models: dict[str, Any], processor: Any, runners: dict[str, OnnxSamHQ], repeats: int
) -> dict[str, dict[str, float]]:
    """Seconds of the encoder and of the decoder with one prompt."""
    photo = np.asarray(Image.open(PHOTOS / "kingfisher.png").convert("RGB"))
    inputs = processor(photo, return_tensors="pt", input_boxes=[[[40, 40, 300, 300]]])
    pixel_values, boxes = inputs["pixel_values"], inputs["input_boxes"]
    model = models["torch fp32"]
    with torch.inference_mode():
        image_embeddings, intermediate = model.get_image_embeddings(pixel_values)
        hq_features = model.get_hq_features(image_embeddings, intermediate)

    def torch_encoder(of: Any) -> Callable[[], Any]:
        return lambda: of.get_hq_features(*of.get_image_embeddings(pixel_values.to(of.dtype)))

    def torch_decoder(of: Any) -> Callable[[], Any]:
        cached = {"image_embeddings": image_embeddings.to(of.dtype), "hq_features": hq_features.to(of.dtype)}
        return lambda: of(**cached, input_boxes=boxes).pred_masks

    encoders: dict[str, Callable[[], Any]] = {way: torch_encoder(of) for way, of in models.items()}
    decoders: dict[str, Callable[[], Any]] = {
        way: torch_decoder(of)
        for way, of in models.items()
        if "int8" not in way  # whose decoder is that of fp32
    }
    for way, runner in runners.items():
        embeddings = runner.embed(photo)
        encoders[way] = lambda runner=runner: runner.encoder.run(None, {"pixel_values": pixel_values.numpy()})
        decoders[way] = lambda runner=runner, kept=embeddings: runner.decode(kept, _box_prompt(runner, boxes))
    taken: dict[str, dict[str, float]] = {}
    for part, calls in (("encoder", encoders), ("decoder", decoders)):
        for way, timing in interleaved(calls, repeats, pause=0.2).items():
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


def quality_on_truth(predictors: dict[str, PromptedModel]) -> dict[str, dict[str, float]]:
    """mIoU and mBIoU with box prompts on the photos with masks."""
    dataset, found = EveryOther(1), {}
    for way, predictor in predictors.items():
        miou, mbiou, count = evaluate(predictor, dataset).means()[("box", "sum")]
        found[way] = {"mIoU": round(miou, 4), "mBIoU": round(mbiou, 4), "objects": count}
    return found


def agreement_with_fp32(predictors: dict[str, PromptedModel]) -> dict[str, dict[str, float]]:
    """The same metrics with the masks of torch in fp32 as the truth, where the weights have not learned anything."""
    photos = sorted(path for path in PHOTOS.iterdir() if path.suffix in (".png", ".jpg"))[:4]
    found: dict[str, list[np.ndarray]] = {way: [] for way in predictors}
    for path in photos:
        photo = np.asarray(Image.open(path).convert("RGB"))
        height, width = photo.shape[:2]
        boxes = np.array([[0.1, 0.1, 0.6, 0.7], [0.4, 0.3, 1, 1]]) * [width, height, width, height]
        for way, predictor in predictors.items():
            predictor.embed(photo)
            masks, _, _ = predictor.predict(boxes, None, None)
            found[way] += list(masks["sum"])
    exact = found.pop("torch fp32")
    return {
        way: {
            "mIoU": round(float(np.mean([mask_iou(one, other) for one, other in zip(masks, exact, strict=True)])), 4),
            "mBIoU": round(
                float(np.mean([boundary_iou(one, other) for one, other in zip(masks, exact, strict=True)])), 4
            ),
            "objects": len(masks),
        }
        for way, masks in found.items()
    }


def measured(name: str, repeats: int, threads: int) -> list[dict[str, Any]]:
    """The rows of one model."""
    model, processor = loaded(name)
    with tempfile.TemporaryDirectory() as root:
        directories = graphs(model, processor, Path(root))
        models = torch_models(model)
        runners = {way: OnnxSamHQ(path, "cpu", threads) for way, path in directories.items()}
        seconds = timings(models, processor, runners, repeats)
        predictors: dict[str, PromptedModel] = {way: PromptedModel(of, processor) for way, of in models.items()}
        predictors |= {way: GraphEncoder(model, processor, runner) for way, runner in runners.items()}
        truth = name == "embedded"
        quality = (quality_on_truth if truth else agreement_with_fp32)(predictors)
        return [
            {
                "model": name,
                "who": way,
                "repeats": repeats,
                **taken,
                "megabytes": _megabytes(directories[way]) if way in directories else None,
                "quality": quality.get(way),
                "against": ("ground truth" if truth else "torch fp32") if way in quality else "",
            }
            for way, taken in seconds.items()
        ]


def _megabytes(directory: Path) -> float:
    return round(sum(path.stat().st_size for path in directory.glob("encoder.onnx*")) / 1e6, 1)


def merged(before: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """A run with the rows of an earlier one for models that it did not measure, where both are comparable."""
    same = all(before.get(key) == report[key] for key in ("threads", "processor", "versions"))
    measured_now = {row["model"] for row in report["rows"]}
    kept = [row for row in before["rows"] if row["model"] not in measured_now] if same else []
    return {**report, "rows": sorted([*kept, *report["rows"]], key=lambda row: row["model"] != "embedded")}


def main() -> None:
    """Measure and write the table."""
    there = ["embedded"] * Path(sam_hq.EMBEDDED_CHECKPOINT).is_dir()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=[*there, "vit_b"], help="embedded, vit_tiny, vit_b, ...")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    before = json.loads(arguments.output.read_text()) if arguments.output.exists() else {}
    report: dict[str, Any] = {
        "threads": arguments.threads,
        "processor": cpu_name(),
        "versions": {**versions(), "onnxruntime": onnxruntime.__version__},
        "rows": [],
    }
    for name in arguments.models:
        rows = measured(name, arguments.repeats, arguments.threads)
        report["rows"] += rows
        for row in rows:
            print(row, flush=True)
        # After every model, so that a run that is cut short leaves what it has.
        everything = merged(before, report)
        with new_file(arguments.output) as aside:
            aside.write_text(json.dumps(everything, indent=1) + "\n")
        if arguments.output.resolve() == OUTPUT:
            replace_between("deployment", deployment_table(everything), REPOSITORY / "docs" / "benchmarks.md")
        else:
            print(deployment_table(everything), flush=True)


if __name__ == "__main__":
    main()
