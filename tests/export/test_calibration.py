"""Calibration of the 8-bit encoder: what is measured, and what is rounded."""

import dataclasses

import numpy as np
import pytest

from exported_models import SMALL

onnx = pytest.importorskip("onnx", reason="needs the extra `onnx`")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")

from sam_hq.export.calibration import activation_ranges, layers_with_weights  # noqa: E402
from sam_hq.export.quantization import CALIBRATED_OPERATORS, quantize_encoder  # noqa: E402

PHOTOS = list(np.random.default_rng(5).integers(0, 256, (2, 90, 120, 3), dtype=np.uint8))


@pytest.fixture(scope="module", params=SMALL)
def kind(request):
    return request.param


@pytest.fixture
def prepared(kind, exports, tmp_path):
    """The encoder's graph with constants folded and shapes known."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    path = tmp_path / "prepared.onnx"
    quant_pre_process(str(exports(kind).directory / "encoder.onnx"), str(path), skip_symbolic_shape=True)
    return path


def has_attention(kind):
    return kind in ("vit", "tiny_vit")


def feeds_of(graph, count):
    side = graph.graph.input[0].type.tensor_type.shape.dim[-1].dim_value
    values = np.random.default_rng(6).normal(size=(count, 1, 3, side, side)).astype(np.float32)
    return [{"pixel_values": value} for value in values]


def test_ranges_are_those_of_the_values_themselves(prepared, tmp_path):
    graph = onnx.load(prepared)
    layers = layers_with_weights(graph, CALIBRATED_OPERATORS)
    feeds = feeds_of(graph, 3)
    ranges = activation_ranges(prepared, layers, feeds, tmp_path / "measuring.onnx")

    names = sorted({name for node in graph.graph.node if node.name in layers for name in (node.input[0], *node.output)})
    assert sorted(ranges.keys()) == names
    have = {value.name for value in [*graph.graph.input, *graph.graph.output]}
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in have)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    asked = [name for name in names if name != "pixel_values"]
    values = [dict(zip(asked, session.run(asked, feed), strict=True)) | feed for feed in feeds]
    for name in names:
        seen = np.concatenate([value[name].ravel() for value in values])
        np.testing.assert_allclose(np.ravel(ranges[name].range_value), (seen.min(), seen.max()), rtol=1e-5)


def test_layers_with_weights_are_all_of_them_and_no_others(kind, prepared):
    graph = onnx.load(prepared)
    constants = {tensor.name for tensor in graph.graph.initializer}
    chosen = set(layers_with_weights(graph, CALIBRATED_OPERATORS))
    without = [node for node in graph.graph.node if node.op_type == "MatMul" and not constants & set(node.input)]
    assert bool(without) == has_attention(kind), "attention has products without weights"
    assert chosen.isdisjoint(node.name for node in without)
    assert chosen.issuperset(node.name for node in graph.graph.node if node.op_type in ("Conv", "Gemm"))


def test_nothing_to_measure_on_is_refused(prepared, tmp_path):
    layers = layers_with_weights(onnx.load(prepared), CALIBRATED_OPERATORS)
    with pytest.raises(ValueError, match="expected at least one image"):
        activation_ranges(prepared, layers, [], tmp_path / "measuring.onnx")


def test_products_of_attention_are_not_rounded(kind, exports, tmp_path):
    path = tmp_path / "encoder.onnx"
    path.write_bytes((exports(kind).directory / "encoder.onnx").read_bytes())
    quantize_encoder(path, dataclasses.replace(exports(kind).metadata, dtype="int8"), PHOTOS)
    graph = onnx.load(path).graph
    made_by = {name: node for node in graph.node for name in node.output}
    stored = {tensor.name for tensor in graph.initializer}

    def is_rounded(name):
        return name in made_by and made_by[name].op_type == "DequantizeLinear"

    def is_weight(name):
        return is_rounded(name) and made_by[name].input[0] in stored

    products = [node for node in graph.node if node.op_type == "MatMul"]
    of_attention = [node for node in products if not is_weight(node.input[1])]
    assert bool(of_attention) == has_attention(kind)
    assert not any(is_rounded(name) for node in of_attention for name in node.input)
    weighted = [node for node in graph.node if node.op_type in CALIBRATED_OPERATORS and node not in of_attention]
    assert weighted
    assert all(is_rounded(name) for node in weighted for name in node.input[:2])
