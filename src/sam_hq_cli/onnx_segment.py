"""`sam-hq segment` with an exported model: the same answers, without torch."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image

from sam_hq_cli.prompt_arguments import Prompts


class ExportedModel:
    """Segments images with a directory of `sam-hq export`.

    Args:
        args: Of `sam-hq segment`.

    Raises:
        ValueError: If the graphs cannot be read, onnxruntime is missing, the device is neither cpu nor cuda, or kept
            embeddings are asked for.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        if args.embeddings is not None:
            raise ValueError("--embeddings are of the torch model; an exported one cannot take them")
        if args.device not in (None, "cpu", "cuda"):
            raise ValueError(f"device of an exported model must be cpu or cuda, got {args.device!r}")
        if any(Path(args.model).glob("*.pt2")):
            raise ValueError(
                f"model is {args.model!r}, which holds programs of torch.export: load them in Python with "
                "sam_hq.export.programs.program_runner, or export with --format onnx"
            )
        from sam_hq_onnx import OnnxSamHQ

        self.args = args
        start = time.perf_counter()
        try:
            self.runner = OnnxSamHQ(args.model, args.device)
        except ImportError as error:
            raise ValueError(str(error)) from error
        self.load_seconds = time.perf_counter() - start
        self.name = f"{args.model}, {self.runner.providers[0]}"

    def segment(
        self,
        pixels: np.ndarray,
        source: str,  # noqa: ARG002
        prompts: Prompts,
    ) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Masks (P, M, H, W), scores (P, M) and the seconds of each step.

        Args:
            pixels: (H, W, 3) of the image.
            source: What the image was called on the command line.
            prompts: What shows the objects.
        """
        start = time.perf_counter()
        embeddings = self.runner.embed(Image.fromarray(pixels), self.args.max_pixels)
        embedded = time.perf_counter()
        (found,) = self.runner.segment(
            embeddings,
            multimask_output=self.args.multimask,
            hq_token_only=self.args.hq_token_only,
            **prompts.processor_arguments,
        )
        laps = {"image": embedded - start, "prompts and masks": time.perf_counter() - embedded}
        return found.masks, found.scores, laps
