"""Which model a training starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WEIGHT_FILES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


def load_start(asked: str | None, seed: int) -> tuple[Any, Any]:
    """Load a start point on the CPU, in float32: the trainer moves it, and mixed precision updates float32 weights.

    Args:
        asked: The value of --model: a directory or Hub id of SAM-HQ or of transformers' SamModel, or one of the
            authors' .pth files; None for the embedded checkpoint.
        seed: Of HQ parts that plain SAM lacks.

    Returns:
        The model and its processor.

    Raises:
        ValueError: If there is none, it is something else, or a weight is missing, unknown, misshapen or not finite.
        OSError: If a file cannot be read.
    """
    import torch

    from sam_hq.training.start_points import is_plain_sam, start_from_file, start_from_sam
    from sam_hq_cli.model_loading import load_whole, model_name

    if asked is not None and (Path(asked).is_file() or asked.endswith(WEIGHT_FILES)):
        start = start_from_file(asked, seed)
        return start.model, start.processor
    name = model_name(asked)
    try:
        from_plain_sam = is_plain_sam(name)
    except OSError as error:
        raise ValueError(f"cannot load the model of {name!r}: {error}") from error
    if from_plain_sam:
        start = start_from_sam(name, seed)
        return start.model, start.processor
    return load_whole(name, torch.device("cpu"), torch.float32)
