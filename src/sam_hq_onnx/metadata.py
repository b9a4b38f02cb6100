"""What an exported graph says about itself, as strings inside the file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sam_hq_numpy.prompt_labels import BACKGROUND_LABEL, FOREGROUND_LABEL, NOT_A_POINT_LABEL, PADDING_LABEL

from .metadata_fields import read_field

FORMAT = "sam-hq-onnx/1"
ENCODER_FILE, DECODER_FILE, METADATA_FILE = "encoder.onnx", "decoder.onnx", "sam_hq.json"
# The graphs of the other layout, by the names of their files and in their metadata.
SAM_LAYOUT_GRAPHS = ("sam_hq_encoder", "sam_hq_decoder")
LABELS = {
    "foreground": FOREGROUND_LABEL,
    "background": BACKGROUND_LABEL,
    "not a point": NOT_A_POINT_LABEL,
    "padding": PADDING_LABEL,
}


@dataclass(frozen=True)
class GraphMetadata:
    """What is needed to feed the graphs and to read their answers.

    Attributes:
        version: Of the package that exported them.
        model_type: Of the encoder, such as "sam_hq_tiny_vit".
        model: Digest of the weights; graphs that belong together have the same.
        dtype: "fp32", "fp16", or "int8" for an encoder with whole-number weights.
        image_size: Side S of the padded square.
        mask_size: Side s of low-resolution masks.
        size: {"longest_edge": S} keeps the aspect ratio, {"height": …, "width": …} squashes.
        image_mean: Of red, green and blue in 0 to 255.
        image_std: Likewise.
        resample: Pillow's filter.
        mask_threshold: A logit above it is in the mask.
        mask_generation: Options of mask generation that suit the model, where they differ from the defaults.
        hq_token_trained_alone: Whether the HQ token's masks are good by themselves.
    """

    version: str
    model_type: str
    model: str
    dtype: str
    image_size: int
    mask_size: int
    size: dict[str, int]
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    resample: str = "bilinear"
    mask_threshold: float = 0.0
    mask_generation: dict[str, Any] = field(default_factory=dict)
    hq_token_trained_alone: bool = True

    def to_strings(self) -> dict[str, str]:
        """The keys and values that are written into the files."""
        values = {
            name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for name, value in asdict(self).items()
        }
        return {"format": FORMAT, **values, "labels": json.dumps(LABELS)}

    @classmethod
    def from_strings(cls, strings: Mapping[str, str], source: str, graph: str | None = None) -> "GraphMetadata":
        """Read what `to_strings` gave.

        Args:
            strings: Keys and values.
            source: Where they come from, for messages.
            graph: "encoder" or "decoder", where they must be those of that graph.

        Raises:
            ValueError: If they are not those of a graph of ours, of another version of the interface or of the other
                graph, or a value is missing or impossible.
        """
        if not isinstance(strings, Mapping):
            raise ValueError(f"{source} must hold keys and values, got a {type(strings).__name__}")
        if strings.get("format") != FORMAT:
            raise ValueError(f"{source} must be a graph of the format {FORMAT!r}, got {strings.get('format')!r}")
        said = strings.get("graph")
        if graph is not None and said in SAM_LAYOUT_GRAPHS:
            raise ValueError(other_layout(source))
        if graph is not None and said != graph:
            raise ValueError(
                f"{source} must be the {graph}, but its metadata say graph is {said!r}; were files exchanged?"
            )
        _check_labels(strings, source)
        metadata = cls(**{attribute.name: read_field(strings, attribute.name, source) for attribute in fields(cls)})
        if max(metadata.size.values()) > metadata.image_size:
            raise ValueError(
                f"the metadata of {source} are damaged: size must fit into the image_size of "
                f"{metadata.image_size}, got {metadata.size}"
            )
        return metadata

    def check_same_model(self, decoder: "GraphMetadata", source: str) -> None:
        """Refuse the metadata of a decoder that does not belong to the encoder of these.

        Args:
            decoder: Its metadata. Only the encoder's weights have 8 bits, so that `dtype` may be another.
            source: Where both come from, for messages.

        Raises:
            ValueError: If they are of different models, or say different things of one.
        """
        if decoder.model != self.model:
            raise ValueError(
                f"the encoder and the decoder in {source} are of different models: model is {self.model!r} and "
                f"{decoder.model!r}"
            )
        for name in (attribute.name for attribute in fields(self) if attribute.name not in ("version", "dtype")):
            of_encoder, of_decoder = getattr(self, name), getattr(decoder, name)
            if of_encoder != of_decoder:
                raise ValueError(
                    f"the metadata of the encoder and the decoder in {source} must have the same {name}, got "
                    f"{of_encoder!r} and {of_decoder!r}"
                )


def other_layout(source: str) -> str:
    """What there is to say of a graph of the layout of labelling tools where one of ours is wanted.

    Args:
        source: Where it is.
    """
    return (
        f"{source} is of the layout segment-anything, which labelling tools run; wanted is the layout sam-hq, "
        f"{ENCODER_FILE} and {DECODER_FILE}: export the model without --layout"
    )


def missing_graph(path: Path) -> str:
    """What there is to say where a graph is not.

    Args:
        path: Where it should be.
    """
    if any((path.parent / f"{name}.onnx").is_file() for name in SAM_LAYOUT_GRAPHS):
        return other_layout(f"the model in {str(path.parent)!r}")
    if any(path.parent.glob("*.pt2")):
        return (
            f"{str(path.parent)!r} holds programs of torch.export: load them with "
            "sam_hq.export.programs.program_runner, or export the model with --format onnx"
        )
    return f"there is no {str(path)!r}; sam-hq export writes {ENCODER_FILE} and {DECODER_FILE}"


def _check_labels(strings: Mapping[str, str], source: str) -> None:
    """Refuse labels of points other than those of the format, which are not read from anywhere else."""
    written = json.dumps(LABELS)
    try:
        same = json.loads(strings.get("labels", written)) == LABELS
    except (TypeError, ValueError):
        same = False
    if not same:
        raise ValueError(
            f"the metadata of {source} are damaged: labels must be {written}, got {str(strings['labels'])[:200]!r}"
        )
