"""The model written as ONNX: two graphs, checked against torch before they get their name.

docs/export.md describes the graphs; `graphs.py` holds what is traced, `onnx_runtime` what runs the result.
"""

import copy
import hashlib
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from sam_hq_numpy.atomic_writing import check_free_directory, new_directory
from sam_hq_numpy.number_limits import check_choice
from sam_hq_onnx import OnnxSamHQ
from sam_hq_onnx.metadata import DECODER_FILE, ENCODER_FILE, METADATA_FILE, GraphMetadata
from sam_hq_onnx.onnx_file import files_beside
from sam_hq_onnx.stored_weights import CHECKSUM_KEY, weights_checksum

from .. import __version__
from ..image_processing_sam_hq import SamHQImageProcessor
from ..images.image_options import mean_and_std
from ..images.processor_fit import check_processor_fits
from ..modeling_sam_hq import SamHQModel
from .check import Agreement, checked_agreement
from .graphs import (
    DECODER_INPUTS,
    DECODER_OUTPUTS,
    ENCODER_INPUTS,
    ENCODER_OUTPUTS,
    traced_decoder,
    traced_encoder,
)
from .library_warnings import without_warnings
from .quantization import check_calibration_photos, quantize_encoder

DTYPES = ("fp32", "fp16", "int8")
DEFAULT_OPSET = 18
_OPSETS = range(18, 24)
# A file of protobuf ends at 2 GB.
_BYTES_WITHIN_THE_FILE = 1_500_000_000


@dataclass(frozen=True)
class OnnxExport:
    """What was written.

    Attributes:
        directory: With both graphs and the metadata.
        metadata: What the graphs say about themselves.
        agreement: How near their answers are to torch's.
    """

    directory: Path
    metadata: GraphMetadata
    agreement: Agreement


def export_onnx(
    model: SamHQModel,
    image_processor: SamHQImageProcessor,
    directory: str | Path,
    dtype: str = "fp32",
    opset: int = DEFAULT_OPSET,
    calibration_photos: Sequence[object] = (),
) -> OnnxExport:
    """Write a model as ONNX, and check it against torch on prompts of every kind.

    Args:
        model: The model; left as it is.
        image_processor: Its image processor.
        directory: A new or empty directory; it appears whole or not at all.
        dtype: "fp32"; "fp16" for weights and work in half precision; "int8" for an encoder with 8-bit weights.
        opset: The version of ONNX's operators, 18 to 23.
        calibration_photos: With "int8", images like those that the graphs are for (paths, PIL images or uint8
            arrays (H, W, 3)), to measure ranges on; with none, the dynamic way is taken. See `onnx_quantization`.

    Raises:
        TypeError: If `model` is not a SAM-HQ model or `image_processor` its image processor, or an entry of the images
            is not an image.
        ValueError: If an option is unknown, the model is not in float32 (but for "fp16"), an image cannot be read, the
            processor prepares images in a way that the runner does not, or the graphs' answers differ from torch's
            by more than they may.
        ImportError: If the extra `onnx` is not installed.
        OSError: If the directory cannot be written.
    """
    check_onnx_options(directory, dtype, opset, calibration_photos)
    metadata = graph_metadata(model, image_processor, dtype)
    working = copy.deepcopy(model).half() if dtype == "fp16" else model
    with new_directory(directory) as aside:
        write_graph(
            graph_program(traced_encoder(working), ENCODER_INPUTS, ENCODER_OUTPUTS, opset),
            aside / ENCODER_FILE,
            metadata,
        )
        write_graph(
            graph_program(traced_decoder(working), DECODER_INPUTS, DECODER_OUTPUTS, opset),
            aside / DECODER_FILE,
            metadata,
        )
        if dtype == "int8":
            quantize_encoder(aside / ENCODER_FILE, metadata, calibration_photos)
        (aside / METADATA_FILE).write_text(json.dumps(metadata.to_strings(), indent=1) + "\n", encoding="utf-8")
        agreement = checked_agreement(model, image_processor, OnnxSamHQ(aside, providers="cpu"))
    return OnnxExport(Path(directory), metadata, agreement)


def check_onnx_options(
    directory: str | Path, dtype: str = "fp32", opset: int = DEFAULT_OPSET, calibration_photos: Sequence[object] = ()
) -> None:
    """Refuse what `export_onnx` would refuse, before a model is loaded.

    Args:
        directory: As in `export_onnx`, like the others.
        dtype: Of the weights.
        opset: The version of ONNX's operators.
        calibration_photos: Images to measure ranges on; each is read, and forgotten.

    Raises:
        TypeError: If an entry of the images is not an image, or `opset` not a whole number.
        ValueError: If an option is unknown, or an image cannot be read.
        ImportError: If the extra `onnx` is not installed.
        FileExistsError: If the directory has contents.
    """
    check_choice("dtype", dtype, DTYPES)
    if isinstance(opset, bool) or not isinstance(opset, int):
        raise TypeError(f"opset must be a whole number, got {opset!r}")
    if opset not in _OPSETS:
        raise ValueError(f"opset must be {_OPSETS.start} to {_OPSETS.stop - 1}, got {opset}")
    if not isinstance(calibration_photos, list | tuple):
        raise TypeError(f"calibration_photos must be a list of images, got {type(calibration_photos).__name__}")
    if calibration_photos and dtype != "int8":
        raise ValueError(f"calibration_photos are for dtype 'int8', got dtype {dtype!r}")
    require_onnx()
    check_free_directory(directory)
    check_calibration_photos(calibration_photos)


def require_onnx() -> None:
    """Say which extra is missing, if one is.

    Raises:
        ImportError: If onnx, onnxscript or onnxruntime is not installed.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"exporting needs {', '.join(missing)}: pip install 'sam-hq[onnx]'")


def graph_metadata(model: SamHQModel, image_processor: SamHQImageProcessor, dtype: str) -> GraphMetadata:
    """What the graphs of a model have to say about themselves.

    Args:
        model: The model.
        image_processor: Its image processor.
        dtype: As in `export_onnx`.

    Raises:
        TypeError: If `model` is no SAM-HQ, or `image_processor` no image processor of one.
        ValueError: If the weights have another dtype, or the processor prepares images in a way that the runner does
            not.
    """
    wanted = {"model": (model, SamHQModel), "image_processor": (image_processor, SamHQImageProcessor)}
    for name, (given, kind) in wanted.items():
        if not isinstance(given, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, got {type(given).__name__}")
    if dtype != "fp16" and model.dtype != torch.float32:
        raise ValueError(f"model must be in float32 for dtype {dtype!r}, got {model.dtype}; load it with torch.float32")
    options = image_processor.options_of_call({})
    side = model.config.vision_config.image_size
    switched_off = [name for name in ("do_resize", "do_pad", "do_rescale", "do_normalize") if not options[name]]
    if switched_off:
        raise ValueError(f"the image processor must resize, rescale, normalise and pad, but {switched_off} are False")
    if options["pad_size"] != {"height": side, "width": side}:
        raise ValueError(f"pad_size must be the model's {side} x {side}, got {options['pad_size']}")
    check_processor_fits(model.config, image_processor)
    mean, std = ([float(value) for value in part.flatten().expand(3)] for part in mean_and_std(options))
    return GraphMetadata(
        version=__version__,
        model_type=model.config.vision_config.model_type,
        model=weights_digest(model),
        dtype=dtype,
        image_size=side,
        mask_size=model.config.prompt_encoder_config.mask_input_size,
        size=dict(options["size"]),
        image_mean=tuple(mean),
        image_std=tuple(std),
        resample=Image.Resampling(options["resample"]).name.lower(),
        mask_generation=dict(model.config.mask_generation or {}),
        hq_token_trained_alone=model.config.hq_token_trained_alone,
    )


def weights_digest(model: nn.Module) -> str:
    """A digest of all weights, by which graphs of one model are known to belong together."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def graph_program(
    traced: torch.export.ExportedProgram, inputs: tuple[str, ...], outputs: tuple[str, ...], opset: int
) -> Any:
    """A traced graph as ONNX, with named inputs and outputs."""
    # The exporter warns of libraries that are not installed and axes that have one name.
    with without_warnings("torch.onnx"):
        return torch.onnx.export(
            traced,
            dynamo=True,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=opset,
            verbose=False,
        )


def write_graph(program: Any, path: Path, metadata: GraphMetadata) -> None:
    """Write a graph with what it has to say about itself, and without traces of this machine."""
    model = program.model
    which = path.stem
    model.metadata_props.clear()
    model.metadata_props.update({**metadata.to_strings(), "graph": which})
    model.producer_name, model.producer_version = "sam-hq", metadata.version
    model.graph.name = f"sam_hq_{which}"
    for node in model.graph:
        node.metadata_props.clear()  # stack traces of this machine
    _name_axes(model)
    weights = sum(value.const_value.nbytes for value in model.graph.initializers.values())
    beside = weights > _BYTES_WITHIN_THE_FILE
    program.save(str(path), external_data=beside)
    if beside:
        _add_checksum(path)


def _add_checksum(path: Path) -> None:
    """Say in a graph's metadata what the weights beside it are, as is known once they are written."""
    import onnx

    graph = onnx.load(str(path), load_external_data=False)
    checksum = graph.metadata_props.add()
    checksum.key, checksum.value = CHECKSUM_KEY, weights_checksum(files_beside(path))
    onnx.save_model(graph, str(path))


def _name_axes(model: Any) -> None:
    """Give the axes that may have any length the names of docs/export.md; the exporter numbers them."""
    named = {
        "pixel_values": ("images",),
        "input_points": ("images", "prompts", "points"),
        "iou_scores": (None, None, "candidates"),
        "point_coords": (None, "num_points"),
        "masks": (None, None, "height", "width"),
    }
    values = [*model.graph.inputs, *model.graph.outputs]
    names = {
        str(side): name
        for value in values
        for side, name in zip(value.shape, named.get(value.name, ()), strict=False)
        if name is not None
    }
    for value in values + [output for node in model.graph for output in node.outputs]:
        if value.shape is not None:
            value.shape = type(value.shape)([names.get(str(side), side) for side in value.shape])


__all__ = ["DEFAULT_OPSET", "DTYPES", "OnnxExport", "export_onnx", "graph_metadata", "require_onnx", "weights_digest"]
