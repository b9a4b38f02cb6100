"""Image embeddings as safetensors files: computed once, prompted at any later time without the encoder."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from sam_hq_numpy.atomic_writing import new_file

_FORMAT = "sam_hq image embeddings 1"


@dataclass(frozen=True, eq=False)
class PhotoEmbeddings:
    """What the model needs of one photograph to answer prompts.

    Args:
        image_embeddings: `(1, C, h, w)`, as `SamHQModel.forward` takes it.
        hq_features: `(1, C / 8, 4h, 4w)`, likewise.
        original_size: Height and width of the photograph.
        reshaped_size: Height and width in the resized frame, in whose pixels prompts are given.
        source: Where the photograph was, for people.
        model: Name or path of the model that made them; others cannot read them.
    """

    image_embeddings: torch.Tensor
    hq_features: torch.Tensor
    original_size: tuple[int, int]
    reshaped_size: tuple[int, int]
    source: str = ""
    model: str = ""


def save_embeddings(path: str | Path, embeddings: PhotoEmbeddings) -> None:
    """Write the embeddings of one photograph; the file appears whole or not at all.

    Args:
        path: Where to; ends in `.safetensors`.
        embeddings: What to write.
    """
    about = {
        "format": _FORMAT,
        "original_size": json.dumps(list(embeddings.original_size)),
        "reshaped_size": json.dumps(list(embeddings.reshaped_size)),
        "source": embeddings.source,
        "model": embeddings.model,
    }
    tensors = {"image_embeddings": embeddings.image_embeddings, "hq_features": embeddings.hq_features}
    with new_file(path) as aside:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, aside, about)


def load_embeddings(path: str | Path, device: torch.device | str = "cpu") -> PhotoEmbeddings:
    """Read the embeddings of one photograph.

    Args:
        path: A file of `save_embeddings`.
        device: Where the tensors are wanted.

    Raises:
        ValueError: If it is another kind of file.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            about = file.metadata() or {}
            if about.get("format") != _FORMAT:
                raise ValueError(f"{str(path)!r} holds no image embeddings of SAM-HQ, its format is {about!r}")
            tensors = {name: file.get_tensor(name) for name in ("image_embeddings", "hq_features")}
    except FileNotFoundError:
        raise
    except Exception as error:  # safetensors has its own error class without a public name
        raise ValueError(f"cannot read image embeddings from {str(path)!r}: {error}") from error
    original, reshaped = (tuple(json.loads(about[name])) for name in ("original_size", "reshaped_size"))
    return PhotoEmbeddings(
        **tensors, original_size=original, reshaped_size=reshaped, source=about["source"], model=about["model"]
    )
