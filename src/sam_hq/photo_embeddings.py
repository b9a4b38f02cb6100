"""Image embeddings that are kept: computed once, prompted at any later time without the encoder."""

import hashlib
import json
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from sam_hq_numpy.atomic_writing import new_file

from .image_processing_sam_hq import SamHQImageProcessor
from .model.model_access import execution_device
from .modeling_sam_hq import SamHQModel

_FORMAT = "sam_hq image embeddings 2"
# Of every weight so many values, evenly spread: training moves all of a weight, and a ViT-H is read in milliseconds.
_VALUES_PER_WEIGHT = 4096
# So many are compared at every prompt, to see whether a weight was written to.
_VALUES_COMPARED = 256
# What embeddings depend on of the mask decoder, by the start of the layer's name.
_HQ_FEATURE_LAYERS = ("compress_vit_", "encoder_")

_digests: "weakref.WeakKeyDictionary[SamHQModel, tuple[Any, torch.Tensor, str]]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class PhotoEmbeddings:
    """What the model needs of one image to answer prompts.

    Args:
        image_embeddings: `(1, C, h, w)`, as `SamHQModel.forward` takes it.
        hq_features: `(1, C / 8, 4h, 4w)`, likewise.
        original_size: Height and width of the photo, in whose pixels `SamHQPredictor` takes prompts.
        reshaped_size: Height and width in the resized frame.
        source: Where the photo was, for people.
        model: Name or path of the model that made them, for people.
        digest: `encoder_digest` of the model that made them; empty if not known.
        image: Digest of the image's file; empty if not known.
    """

    image_embeddings: torch.Tensor
    hq_features: torch.Tensor
    original_size: tuple[int, int]
    reshaped_size: tuple[int, int]
    source: str = ""
    model: str = ""
    digest: str = ""
    image: str = ""

    def save(self, path: str | Path) -> None:
        """Write a safetensors file; it appears whole or not at all.

        Args:
            path: Where to; ends in `.safetensors`.
        """
        about = {
            "format": _FORMAT,
            "original_size": json.dumps(list(self.original_size)),
            "reshaped_size": json.dumps(list(self.reshaped_size)),
            # Names that are not UTF-8 are for people alone.
            "source": self.source.encode(errors="backslashreplace").decode(),
            "model": self.model.encode(errors="backslashreplace").decode(),
            "digest": self.digest,
            "image": self.image,
        }
        tensors = {"image_embeddings": self.image_embeddings, "hq_features": self.hq_features}
        with new_file(path) as aside:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, aside, about)

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> "PhotoEmbeddings":
        """Read a file that `save` wrote.

        Args:
            path: The file.
            device: Where the tensors are wanted.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is another kind of file.
        """
        try:
            with safe_open(path, framework="pt", device=str(device)) as file:
                about = file.metadata() or {}
                if about.get("format") != _FORMAT:
                    raise ValueError(f"its format is {about.get('format')!r}, but must be {_FORMAT!r}")
                tensors = {name: file.get_tensor(name) for name in ("image_embeddings", "hq_features")}
                sizes = [tuple(json.loads(about[name])) for name in ("original_size", "reshaped_size")]
                names = {name: about.get(name, "") for name in ("source", "model", "digest", "image")}
                return cls(**tensors, original_size=sizes[0], reshaped_size=sizes[1], **names)
        except FileNotFoundError:
            raise
        except Exception as error:  # safetensors has its own error class without a public name
            raise ValueError(f"cannot read image embeddings from {str(path)!r}: {error}") from error


@torch.no_grad()
def embed_images(
    model: SamHQModel, image_processor: SamHQImageProcessor, images: Sequence[object], **options: Any
) -> list[PhotoEmbeddings]:
    """Embed images, all in one pass of the encoder.

    Args:
        model: The model.
        image_processor: Its image processor.
        images: Paths, URLs, PIL images, arrays or tensors of any sizes.
        **options: Options of the image processor.
    """
    inputs = image_processor.preprocess(list(images), return_tensors="pt", **options)
    pixel_values = inputs["pixel_values"].to(execution_device(model), model.dtype)
    image_embeddings, intermediate_embeddings = model.get_image_embeddings(pixel_values)
    hq_features = model.get_hq_features(image_embeddings, intermediate_embeddings)
    digest = encoder_digest(model)
    sizes = zip(inputs["original_sizes"].tolist(), inputs["reshaped_input_sizes"].tolist(), strict=True)
    return [
        PhotoEmbeddings(
            image_embeddings[i : i + 1], hq_features[i : i + 1], tuple(original), tuple(reshaped), digest=digest
        )
        for i, (original, reshaped) in enumerate(sizes)
    ]


def encoder_digest(model: SamHQModel) -> str:
    """Name what embeddings depend on: the weights of the encoder and of the HQ features, in 32 bits or rounded.

    Args:
        model: The model.

    Returns:
        64 hexadecimal digits; where weights have another name once they are rounded to float16, a space and that name
        as well. Empty if weights are offloaded, so cannot be read.
    """
    weights, adapters = _encoding_weights(model)
    if not weights or any(weight.is_meta for weight in weights.values()):
        return ""
    # Another weight lies elsewhere, and most of what writes to one counts its version up. Fused optimizers, batch norms
    # and what writes to `weight.data` do not, so that values are compared too.
    places = tuple((weight.data_ptr(), 0 if weight.is_inference() else weight._version) for weight in weights.values())
    state, values = (places, adapters), torch.cat(_samples(weights.values(), _VALUES_COMPARED))
    known_state, known_values, known = _digests.get(model, (None, values, ""))
    if known_state == state and known_values.dtype == values.dtype and torch.equal(known_values, values):
        return known
    names = (sampled_digest(weights, adapters), sampled_digest(weights, adapters, torch.float16))
    _digests[model] = state, values, " ".join(dict.fromkeys(names))
    return _digests[model][2]


def _encoding_weights(model: SamHQModel) -> tuple[dict[str, torch.Tensor], str]:
    """The floating point weights that embeddings depend on, and which of PEFT's adapters act; cheap, as often asked."""
    parameters: dict[str, torch.Tensor] = {}
    buffers: dict[str, torch.Tensor] = {}
    acting = []
    layers = model.mask_decoder._modules.items()
    waiting = [(f"mask_decoder.{name}.", layer) for name, layer in layers if name.startswith(_HQ_FEATURE_LAYERS)]
    waiting = [*reversed(waiting), ("vision_encoder.", model.vision_encoder)]
    while waiting:
        prefix, module = waiting.pop()
        own = module.__dict__
        for kind, found in (("_parameters", parameters), ("_buffers", buffers)):
            for name, weight in own[kind].items():
                if weight is not None and weight.is_floating_point():
                    found[prefix + name] = weight
        if "_active_adapter" in own:
            acting.append(f"{prefix}{own['_active_adapter']}{own.get('_disable_adapters')}{own.get('merged_adapters')}")
        children = own["_modules"].items()
        waiting.extend((f"{prefix}{name}.", child) for name, child in reversed(children) if child is not None)
    return {**parameters, **buffers}, " ".join(acting)


def sampled_digest(
    weights: Mapping[str, torch.Tensor], adapters: str = "", rounded_to: torch.dtype | None = None
) -> str:
    """Name weights by a sample of their values; those that were rounded to bfloat16 have the same name.

    Args:
        weights: By their names, at least one.
        adapters: What else they depend on.
        rounded_to: Name them as they are once rounded to this type.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256(adapters.encode())
    for name, weight in weights.items():
        digest.update(f"{name} {tuple(weight.shape)}".encode())
    samples = _samples(weights.values(), _VALUES_PER_WEIGHT)
    sample = torch.cat([values.to(rounded_to or values.dtype).to(torch.bfloat16) for values in samples])
    digest.update(np.asarray(sample.view(torch.int16).cpu()).tobytes())
    return digest.hexdigest()


@torch.no_grad()
def _samples(weights: Iterable[torch.Tensor], count: int) -> list[torch.Tensor]:
    """About `count` values of every weight, evenly spread, together on one device."""
    samples: list[torch.Tensor] = []
    for weight in weights:
        total = weight.numel()
        step = max(1, total // count)
        if type(weight) in (torch.Tensor, nn.Parameter) and weight.is_contiguous():
            values = weight.as_strided((-(-total // step),), (step,))  # one operation: there are hundreds of weights
        else:
            values = weight.detach().reshape(-1)[::step]
        samples.append(values.to(samples[0].device) if samples else values)
    return samples


def check_maker(model: SamHQModel, embeddings: PhotoEmbeddings) -> None:
    """Refuse embeddings that another model made.

    Args:
        model: The model that is to read them.
        embeddings: The embeddings.

    Raises:
        TypeError: If they are something else.
        ValueError: If they are another model's.
    """
    if not isinstance(embeddings, PhotoEmbeddings):
        raise TypeError(f"embeddings must be PhotoEmbeddings, got {type(embeddings).__name__}")
    own = encoder_digest(model)
    if embeddings.digest and own and set(embeddings.digest.split()).isdisjoint(own.split()):
        named = f", {embeddings.model!r}," if embeddings.model else ""
        raise ValueError(
            f"the embeddings were made by another model{named} or by other weights of this one: embed the image again"
        )
