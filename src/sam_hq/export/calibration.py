"""Ranges of a graph's activations, measured on photos.

`onnxruntime.quantization.quantize_static` measures them too, but on every matrix product, those of attention included,
and keeps what it measures until the run has ended: 13 GB for one photo through ViT-B, and more with each that
follows.
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime.quantization.calibrate import TensorsData


def layers_with_weights(graph: "ModelProto", operators: Collection[str]) -> list[str]:
    """Names of the nodes of these types, such as `Conv`, whose second input is a constant."""
    weights = {tensor.name for tensor in graph.graph.initializer}
    return [node.name for node in graph.graph.node if node.op_type in operators and node.input[1] in weights]


def activation_ranges(
    path: Path,
    layers: Collection[str],
    feeds: Iterable[dict[str, np.ndarray]],
    measuring: Path,
    weights_beside: bool = False,
) -> "TensorsData":
    """Smallest and largest value of the inputs and outputs of layers.

    Args:
        path: The graph's file.
        layers: Names of its nodes, whose first input and first output are float32.
        feeds: Inputs of the graph, one run each, taken one by one.
        measuring: Where the graph that returns ranges instead of its outputs may be written.
        weights_beside: Write that graph's weights into a file of their own, as one above 2 GB needs.

    Raises:
        ValueError: If there are no feeds, or something measured is not finite.
    """
    import onnx
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorsData

    graph = onnx.load(str(path))
    of_layers = [node for node in graph.graph.node if node.name in layers]
    names = sorted({name for node in of_layers for name in (node.input[0], node.output[0])})
    _return_extrema(graph, names)
    onnx.save_model(graph, str(measuring), save_as_external_data=weights_beside)
    del graph
    session = _lean_session(measuring)
    lowest, highest = np.full(len(names), np.inf, np.float32), np.full(len(names), -np.inf, np.float32)
    for feed in feeds:
        extrema = np.array(session.run(None, feed)).reshape(-1, 2)
        lowest, highest = np.minimum(lowest, extrema[:, 0]), np.maximum(highest, extrema[:, 1])
    if not np.isfinite([lowest, highest]).all():
        raise ValueError("expected at least one image, and finite activations on each, to measure ranges on")
    ranges = zip(lowest[:, None], highest[:, None], strict=True)
    return TensorsData(CalibrationMethod.MinMax, dict(zip(names, ranges, strict=True)))


def _return_extrema(graph: "ModelProto", names: Iterable[str]) -> None:
    """Make the minimum and the maximum of each named tensor the outputs of a graph, in place."""
    import onnx

    del graph.graph.output[:]
    for name in names:
        for operator in ("ReduceMin", "ReduceMax"):
            output = f"{name}.{operator}"
            graph.graph.node.append(onnx.helper.make_node(operator, [name], [output], keepdims=0))
            graph.graph.output.append(onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, []))


def _lean_session(path: Path) -> Any:
    """A session that gives its memory back."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # The default arena keeps all that it ever took, and a plan of the memory takes it a second time.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
