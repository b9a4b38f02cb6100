"""What an exported graph says about itself, as strings inside the file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ..prompt_labels import BACKGROUND_LABEL, FOREGROUND_LABEL, NOT_A_POINT_LABEL, PADDING_LABEL

FORMAT = "sam-hq-onnx/1"
ENCODER_FILE, DECODER_FILE, METADATA_FILE = "encoder.onnx", "decoder.onnx", "sam_hq.json"
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

    def to_strings(self) -> dict[str, str]:
        """The keys and values that are written into the files."""
        values = {
            name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for name, value in asdict(self).items()
        }
        return {"format": FORMAT, **values, "labels": json.dumps(LABELS)}

    @classmethod
    def from_strings(cls, strings: Mapping[str, str], source: str) -> "GraphMetadata":
        """Read what `to_strings` gave.

        Args:
            strings: Keys and values.
            source: Where they come from, for messages.

        Raises:
            ValueError: If they are not those of a graph of ours, or of another version of the interface.
        """
        if strings.get("format") != FORMAT:
            raise ValueError(f"{source} must be a graph of the format {FORMAT!r}, got {strings.get('format')!r}")
        try:
            return cls(
                version=strings["version"],
                model_type=strings["model_type"],
                model=strings["model"],
                dtype=strings["dtype"],
                image_size=int(strings["image_size"]),
                mask_size=int(strings["mask_size"]),
                size={str(key): int(side) for key, side in json.loads(strings["size"]).items()},
                image_mean=tuple(map(float, json.loads(strings["image_mean"]))),
                image_std=tuple(map(float, json.loads(strings["image_std"]))),
                resample=strings["resample"],
                mask_threshold=float(strings["mask_threshold"]),
                mask_generation=dict(json.loads(strings.get("mask_generation", "{}"))),
            )
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"the metadata of {source} are damaged: {error!r}") from error
