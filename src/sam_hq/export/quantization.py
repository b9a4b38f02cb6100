"""The encoder's graph with 8-bit weights, for CPUs.

Two ways. *Dynamic*: the weights of the linear layers are rounded, and their inputs are rounded at each call; needs
no photos. *Calibrated*: convolutions too, with the ranges of their inputs and outputs measured
on photos beforehand. The products of attention, which have no weights, stay as they are in both.
docs/benchmarks.md has what each costs and gains. The decoder stays as it is: it is a small part of the time, and its
masks are what the eye sees.
"""

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam_hq_onnx.encoder_inputs import encoder_input, image_rgb
from sam_hq_onnx.metadata import GraphMetadata

from .calibration import activation_ranges, layers_with_weights
from .library_warnings import without_warnings

LINEAR_OPERATORS = ("MatMul", "Gemm")
CALIBRATED_OPERATORS = ("Conv", *LINEAR_OPERATORS)


def quantize_encoder(path: Path, metadata: GraphMetadata, photos: Sequence[object] = ()) -> None:
    """Replace an encoder's graph by one with 8-bit weights.

    Args:
        path: The graph, its weights inside or beside it; overwritten, with the weights inside.
        metadata: What the new one says about itself.
        photos: Photos to measure ranges on: paths, PIL images or uint8 arrays (H, W, 3), read one by one; with
            none, the dynamic way is taken.

    Raises:
        TypeError: If something is no photo.
        ValueError: If a photo cannot be read.
    """
    import onnx
    from onnxruntime.quantization.shape_inference import quant_pre_process

    weights = path.with_name(f"{path.name}.data")
    external = weights.exists()
    # A directory of its own, since the tools write some weights of a large graph as a file each.
    with tempfile.TemporaryDirectory(dir=path.parent) as aside, without_warnings():  # on what was done already
        prepared = Path(aside, "prepared.onnx")
        # Folds constants, so that every weight is one, and knows every shape.
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True, save_as_external_data=external)
        graph = _calibrated(prepared, photos, metadata, external) if photos else _dynamic(prepared, external)
    if not photos and not any(node.op_type == "DynamicQuantizeLinear" for node in graph.graph.node):
        warnings.warn(
            "dtype int8 without calibration photos rounds linear layers, of which this encoder has none: its graph is "
            "no smaller and no faster; give calibration_photos",
            stacklevel=3,
        )
    _unfold_large(graph.graph, onnx.load(str(path)).graph)
    # Saved once more with the metadata, which the tools drop. Even ViT-H's 8-bit weights fit into the file.
    weights.unlink(missing_ok=True)
    del graph.metadata_props[:]
    onnx.helper.set_model_props(graph, {**metadata.to_strings(), "graph": path.stem})
    onnx.save_model(graph, str(path))


def check_calibration_photos(photos: Sequence[object]) -> None:
    """Read photos and forget them, so that a damaged one is known before the work that needs them.

    Args:
        photos: As in `quantize_encoder`.

    Raises:
        TypeError: If something is no photo.
        ValueError: If a photo cannot be read.
    """
    for photo in photos:
        image_rgb(photo)


def _dynamic(prepared: Path, external: bool) -> Any:
    """The prepared graph with the weights of its linear layers rounded."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    rounded = prepared.with_name("rounded.onnx")
    quantize_dynamic(
        str(prepared),
        str(rounded),
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=list(LINEAR_OPERATORS),
        use_external_data_format=external,
        extra_options={"MatMulConstBOnly": True},  # and so not the products of attention
    )
    return onnx.load(str(rounded))


def _calibrated(prepared: Path, photos: Sequence[object], metadata: GraphMetadata, external: bool) -> Any:
    """The prepared graph with its layers with weights rounded, and all their inputs and outputs."""
    import onnx
    from onnxruntime.quantization import QDQQuantizer, QuantType

    graph = onnx.load(str(prepared))
    layers = layers_with_weights(graph, CALIBRATED_OPERATORS)
    feeds = ({"pixel_values": encoder_input([image_rgb(photo)], metadata)[0]} for photo in photos)
    quantizer = QDQQuantizer(
        graph,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=activation_ranges(prepared, layers, feeds, prepared.with_name("measuring.onnx"), external),
        nodes_to_quantize=layers,
        nodes_to_exclude=[],
        op_types_to_quantize=list(CALIBRATED_OPERATORS),
        extra_options={},
    )
    quantizer.quantize_model()
    return quantizer.model.model


def _unfold_large(folded: Any, source: Any) -> None:
    """Put back the computation of constants that are larger than what they are made from, in place.

    Folding unrolls a TinyViT's attention biases from one per offset to one per pair of cells.
    """
    made_by = {name: node for node in source.node for name in node.output}
    constants = {tensor.name: tensor for tensor in source.initializer}
    present = {tensor.name for tensor in folded.initializer} | {name for node in folded.node for name in node.output}
    restored: dict[int, Any] = {}
    for tensor in list(folded.initializer):
        if tensor.name in constants or tensor.name not in made_by:
            continue
        nodes, needed, names = {}, {}, [tensor.name]
        while names:
            name = names.pop()
            if name in constants:
                needed[name] = constants[name]
            elif name in made_by and id(made_by[name]) not in nodes:
                nodes[id(made_by[name])] = made_by[name]
                names += [used for used in made_by[name].input if used]
        if tensor.ByteSize() <= sum(constant.ByteSize() for constant in needed.values()):
            continue
        folded.initializer.remove(tensor)
        present.discard(tensor.name)
        restored.update(nodes)
        folded.initializer.extend(constant for name, constant in needed.items() if name not in present)
        present.update(needed)
    ordered = [node for node in source.node if id(node) in restored and not present.intersection(node.output)]
    rest = list(folded.node)
    del folded.node[:]
    folded.node.extend([*ordered, *rest])


__all__ = ["check_calibration_photos", "quantize_encoder"]
