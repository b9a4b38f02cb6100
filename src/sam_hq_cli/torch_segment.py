"""`sam-hq segment` with a model of torch."""

from __future__ import annotations

import argparse
import glob
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sam_hq_cli.model_loading import chosen_device, load_whole, model_name
from sam_hq_cli.prompt_arguments import Prompts

if TYPE_CHECKING:
    import torch

    from sam_hq.photo_embeddings import PhotoEmbeddings


class TorchModel:
    """Segments images with a SAM-HQ directory or Hub id.

    Args:
        args: Of `sam-hq segment`.

    Raises:
        ValueError: If the model cannot be loaded, or there is no such device.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        from sam_hq.predictor import SamHQPredictor

        name = model_name(args.model)
        self.args = args
        self.device = chosen_device(args.device)
        start = time.perf_counter()
        self.predictor = SamHQPredictor(*load_whole(name, self.device))
        self.load_seconds = time.perf_counter() - start
        self.name = f"{name}, {self.device}"

    def segment(
        self, pixels: np.ndarray, source: str, prompts: Prompts
    ) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
        """Masks (P, M, H, W), scores (P, M) and the seconds of each step.

        Args:
            pixels: (H, W, 3) of the image.
            source: What the image was called on the command line.
            prompts: What shows the objects.
        """
        from sam_hq.images.large_photos import options_of_parts

        kept = kept_embeddings(self.args.embeddings, source, pixels.shape[:2])
        clock = Clock(self.device)
        embeddings = self.predictor.embed(pixels, **options_of_parts([pixels])) if kept is None else kept
        clock.lap("image")
        answer = self.predictor.decode(
            embeddings,
            points=prompts.points or None,
            labels=prompts.labels or None,
            boxes=prompts.boxes or None,
            multimask_output=self.args.multimask,
            hq_token_only=self.args.hq_token_only,
        )
        clock.lap("prompts")
        masks = self.predictor.photo_masks(embeddings, answer.pred_masks[0]).cpu().numpy()
        scores = answer.iou_scores[0].float().cpu().numpy()
        clock.lap("masks")
        return masks, scores, clock.laps


def kept_embeddings(place: str | None, source: str, size: tuple[int, ...]) -> PhotoEmbeddings | None:
    """Embeddings that were kept; None if none are asked for.

    Args:
        place: Their file, or the folder they are in.
        source: The image's path.
        size: Its height and width.

    Raises:
        ValueError: If there are none, or they are those of another image.
    """
    if place is None:
        return None
    from sam_hq.photo_embeddings import PhotoEmbeddings
    from sam_hq_numpy.listing import content_digest, image_key

    path = Path(place) / f"{image_key(Path(source))}.safetensors" if Path(place).is_dir() else Path(place)
    if not path.is_file():
        stem = glob.escape(path.stem.rpartition("-")[0])
        moved = sorted(Path(place).glob(f"{stem}-*.safetensors")) if Path(place).is_dir() else []
        advice = f"; {str(moved[0])!r} is of an image of this name elsewhere: name the file itself" if moved else ""
        raise ValueError(f"there are no embeddings at {str(path)!r}{advice}")
    kept = PhotoEmbeddings.load(path)
    if tuple(kept.original_size) != tuple(size):
        raise ValueError(
            f"{str(path)!r} holds the embeddings of {kept.source!r}, an image of {kept.original_size[1]} x "
            f"{kept.original_size[0]} pixels, but {source!r} has {size[1]} x {size[0]}"
        )
    if kept.image and Path(source).is_file() and kept.image != content_digest(Path(source)):
        raise ValueError(
            f"{str(path)!r} holds the embeddings of {kept.source!r} as it was, another image than {source!r}"
        )
    return kept


class Clock:
    """Times of the steps, waiting for the device at the end of each.

    Args:
        device: Where the work is done.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.laps: dict[str, float] = {}
        self._start = time.perf_counter()

    def lap(self, step: str) -> None:
        """End a step.

        Args:
            step: Its name.
        """
        import torch

        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        now = time.perf_counter()
        self.laps[step], self._start = now - self._start, now
