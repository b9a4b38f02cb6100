"""What a frozen encoder says of whole training images, kept on disk: computed once, read in later epochs and runs.

A file is named by the content of the image, its folder by the encoder, so what does not belong together is never found:
after a change of a photo or its normalisation, of the encoder's weights or of the precision, embeddings are
computed again.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from sam_hq_numpy.atomic_writing import new_file

FORMAT = "sam_hq training embeddings 1"


def image_key(pixels: np.ndarray, size: tuple[int, int]) -> str:
    """Name an image by its content.

    Args:
        pixels: The padded square (S, S, 3) that is encoded, normalised.
        size: Unpadded (height, width).

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(json.dumps([str(pixels.dtype), *pixels.shape, *size]).encode())
    digest.update(pixels.tobytes())
    return digest.hexdigest()


def encoder_key(encoder: torch.nn.Module, *circumstances: object) -> str:
    """Name an encoder by its configuration and weights.

    Args:
        encoder: The vision encoder.
        circumstances: What else its output depends on, such as the precision.

    Returns:
        64 hexadecimal digits.
    """
    config: Any = encoder.config
    fields = {key: value for key, value in config.to_dict().items() if key != "transformers_version"}
    digest = hashlib.sha256(json.dumps([FORMAT, fields, *circumstances], sort_keys=True, default=str).encode())
    for name, weight in encoder.state_dict().items():
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


class EmbeddingCache:
    """Image embeddings and early features of single images, by `image_key`.

    Args:
        folder: Where they are kept, those of each encoder in a folder of their own; several runs may share it.
        encoder: The frozen encoder.
        circumstances: See `encoder_key`.
    """

    def __init__(self, folder: str | Path, encoder: torch.nn.Module, *circumstances: object) -> None:
        self.folder = Path(folder) / encoder_key(encoder, *circumstances)[:32]

    def read(self, key: str, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor] | None:
        """The image embeddings (1, C, h, w) and early features (1, h, w, C'), or None where they are not there.

        A damaged file counts as not there.
        """
        try:
            tensors = load_file(self._path(key), device=str(device))
            return tensors["image_embeddings"], tensors["early_embeddings"]
        except (FileNotFoundError, SafetensorError, KeyError):
            return None

    def write(self, key: str, image_embeddings: torch.Tensor, early_embeddings: torch.Tensor) -> None:
        """Keep the embeddings of an image; the file appears whole or not at all."""
        tensors = {"image_embeddings": image_embeddings, "early_embeddings": early_embeddings}
        with new_file(self._path(key)) as aside:
            save_file(
                {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()},
                aside,
                {"format": FORMAT},
            )

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"
