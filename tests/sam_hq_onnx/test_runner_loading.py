"""What the runner without torch refuses to load: providers that are not there, and metadata that cannot be true."""

import warnings
import zlib

import numpy as np
import onnx
import onnxruntime
import pytest

from described_graphs import METADATA
from exported_models import kinds
from sam_hq_onnx import GraphMetadata, OnnxSamHQ
from sam_hq_onnx.stored_weights import check_finite_weights, weights_checksum

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@pytest.fixture
def directory(exports):
    return exports("vit").directory


@pytest.fixture
def cuda_that_cannot_be_made(monkeypatch):
    """As a build of onnxruntime with CUDA on a machine without: it lists the provider, and falls back to the CPU."""
    session = onnxruntime.InferenceSession

    def on_the_cpu(path, options, providers):
        return session(path, options, providers=[CPU])

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    monkeypatch.setattr(onnxruntime, "InferenceSession", on_the_cpu)


@pytest.mark.parametrize("providers", ["cuda", [CUDA], ["cuda", "cpu"], [("cuda", {"device_id": 0})]])
def test_a_provider_that_is_asked_for_is_made_or_refused(directory, cuda_that_cannot_be_made, providers):
    with pytest.raises(ValueError, match="CUDAExecutionProvider is in this onnxruntime but could not be made"):
        OnnxSamHQ(directory, providers=providers)


def test_the_automatic_choice_warns_once_where_it_falls_back(directory, cuda_that_cannot_be_made):
    with pytest.warns(UserWarning, match="CUDAExecutionProvider .* could not be made.* The CPU is taken") as seen:
        runner = OnnxSamHQ(directory)
    assert [warning.filename for warning in seen] == [__file__]
    assert runner.providers == [CPU]


def test_a_choice_that_can_be_had_is_quiet(directory):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert OnnxSamHQ(directory).providers == [CPU]
        assert OnnxSamHQ(directory, [("cpu", {})]).providers == OnnxSamHQ(directory, (CPU,)).providers == [CPU]


def test_one_graph_on_another_provider_is_noticed(directory, cuda_that_cannot_be_made, monkeypatch):
    made = onnxruntime.InferenceSession

    def encoder_alone(path, options, providers):
        session = made(path, options, providers)
        if "encoder" in path:
            session.get_providers = lambda: [CUDA, CPU]
        return session

    monkeypatch.setattr(onnxruntime, "InferenceSession", encoder_alone)
    with pytest.raises(ValueError, match="could not be made"):
        OnnxSamHQ(directory, "cuda")


@pytest.mark.parametrize(("file", "output"), [("encoder.onnx", "hq_features"), ("decoder.onnx", "iou_scores")])
def test_a_graph_without_an_output_is_refused_when_loaded(directory, tmp_path, file, output):
    for name in ("encoder.onnx", "decoder.onnx"):
        graph = onnx.load(directory / name)
        if name == file:
            kept = [value for value in graph.graph.output if value.name != output]
            del graph.graph.output[:]
            graph.graph.output.extend(kept)
        onnx.save(graph, tmp_path / name)
    with pytest.raises(ValueError, match=f"{file}' is damaged: it has no output {output}"):
        OnnxSamHQ(tmp_path, "cpu")


def test_graphs_of_elsewhere_have_no_providers(directory):
    runner = OnnxSamHQ(directory, "cpu")
    session = type("Program", (), {"run": runner.encoder.run})()
    assert OnnxSamHQ.from_sessions(session, session, runner.metadata).providers == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"directory": 5}, TypeError, "directory must be a path, got 5"),
        ({"directory": None}, TypeError, "directory must be a path, got None"),
        ({"providers": 5}, TypeError, "providers must be None, a name or a list of names, got 5"),
        ({"providers": {"cpu": {}}}, TypeError, "providers must be None, a name or a list of names"),
        ({"providers": [5]}, TypeError, r"providers\[0\] must be a name or a pair .*, got 5"),
        ({"providers": ("cpu", {})}, TypeError, r"providers\[1\] must be a name or a pair .*, got {}"),
        ({"providers": [("cpu", 5)]}, TypeError, r"providers\[0\] must be a name or a pair .*, got \('cpu', 5\)"),
        ({"providers": []}, ValueError, "providers is empty"),
        ({"providers": "gpu"}, ValueError, "provider 'gpu' is not in this .*short names are cpu and cuda"),
        ({"threads": "2"}, TypeError, "threads must be a whole number or None, got '2'"),
        ({"threads": 1.5}, TypeError, "threads must be a whole number or None, got 1.5"),
        ({"threads": True}, TypeError, "threads must be a whole number or None, got True"),
        ({"threads": -1}, ValueError, "threads must be at least 1 or None, got -1"),
    ],
)
def test_impossible_arguments_are_refused_by_name(directory, arguments, error, message):
    with pytest.raises(error, match=message):
        OnnxSamHQ(**{"directory": directory, **arguments})


def damages():
    """Keys, what they may be damaged to, and what the message says."""
    for key in ("image_size", "mask_size"):
        for value in ("0", "-4", "1.5", "wide", ""):
            yield key, value, "a positive whole number"
    for value in ("{}", '{"longest_edge": 0}', '{"longest_edge": "9"}', '{"shortest_edge": 9}', '{"height": 9}', "9"):
        yield "size", value, '{"longest_edge": side} or '
    for key in ("image_mean", "image_std"):
        for value in ("[1, 2]", "[1, 2, NaN]", "[1, 2, 1e60]", '["1", "2", "3"]', "1", "[1, 2"):
            yield key, value, "three finite numbers"
    for value in ("[1, 2, 0]", "[1, 2, -3]", "[1, 2, 1e-60]"):
        yield "image_std", value, "three finite numbers above 0"
    yield "resample", "sharpest", "one of nearest, .*bilinear"
    yield "dtype", "fp8", "one of fp32, fp16, int8"
    yield "model", "", "a digest of weights"
    for value in ("nan", "inf", "none"):
        yield "mask_threshold", value, "a finite number"
    yield "mask_generation", '{"points_per_crop": 0}', "options of mask generation .*at least 1, got 0"
    yield "mask_generation", '{"sharpness": 3}', "options of mask generation .*no option 'sharpness'"
    yield "mask_generation", "[3]", "options of mask generation"
    yield "hq_token_trained_alone", "1", "true or false"


@pytest.mark.parametrize(("key", "value", "wanted"), list(damages()))
def test_damaged_metadata_are_refused_by_file_and_key(exports, key, value, wanted):
    strings = {**exports("vit").metadata.to_strings(), key: value}
    with pytest.raises(ValueError, match=f"here are damaged: {key} must .*{wanted}") as refused:
        GraphMetadata.from_strings(strings, "here")
    assert f"got {value!r}" in str(refused.value)


def test_a_size_beyond_the_frame_is_refused(exports):
    strings = {**exports("vit").metadata.to_strings(), "size": '{"height": 64, "width": 512}'}
    with pytest.raises(ValueError, match=r"size must fit into the image_size of 128, got .*512"):
        GraphMetadata.from_strings(strings, "here")


def test_missing_metadata_are_refused_by_file_and_key(exports):
    strings = exports("vit").metadata.to_strings()
    for key in set(strings) - {"format", "labels", "mask_generation", "hq_token_trained_alone"}:
        left = {name: value for name, value in strings.items() if name != key}
        with pytest.raises(ValueError, match=f"metadata of here are damaged: {key} is missing"):
            GraphMetadata.from_strings(left, "here")
    with pytest.raises(ValueError, match="here must hold keys and values, got a list"):
        GraphMetadata.from_strings([], "here")


@pytest.fixture
def rewritten(directory, tmp_path):
    """A copy of the export, some of whose metadata were changed."""

    def write(encoder=None, decoder=None):
        for name, changes in (("encoder", encoder or {}), ("decoder", decoder or {})):
            graph = onnx.load(directory / f"{name}.onnx")
            strings = {entry.key: entry.value for entry in graph.metadata_props}
            del graph.metadata_props[:]
            onnx.helper.set_model_props(graph, {**strings, **changes})
            onnx.save(graph, tmp_path / f"{name}.onnx")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("encoder", "decoder", "message"),
    [
        ({"image_size": "256"}, {}, r"encoder\.onnx' are damaged: image_size must .*pixel_values.* 128\], got 256"),
        ({}, {"mask_size": "64"}, r"decoder\.onnx' are damaged: mask_size must .*input_masks.* 32\], got 64"),
        ({"mask_threshold": "2.0"}, {}, "must have the same mask_threshold, got 2.0 and 0.0"),
        ({}, {"mask_generation": '{"points_per_crop": 4}'}, "must have the same mask_generation, got {} and"),
        ({}, {"image_std": "[1, 2, 3]"}, r"must have the same image_std, got .* and \(1.0, 2.0, 3.0\)"),
        ({"resample": "x"}, {}, r"encoder\.onnx' are damaged: resample must be one of .*, got 'x'"),
        ({}, {"model": "abc"}, "are of different models: model is '.*' and 'abc'"),
    ],
)
def test_metadata_that_contradict_the_graphs_or_each_other_are_refused(rewritten, encoder, decoder, message):
    with pytest.raises(ValueError, match=message):
        OnnxSamHQ(rewritten(encoder, decoder), providers="cpu")


def test_an_encoder_of_fewer_bits_and_another_version_goes_with_the_decoder(rewritten):
    assert OnnxSamHQ(rewritten({"dtype": "int8", "version": "9"}), providers="cpu").metadata.dtype == "int8"


def test_exchanged_files_are_refused_by_name(directory, tmp_path):
    for source, target in (("encoder", "decoder"), ("decoder", "encoder")):
        (tmp_path / f"{target}.onnx").write_bytes((directory / f"{source}.onnx").read_bytes())
    with pytest.raises(ValueError, match=r"encoder\.onnx' must be the encoder, but .*graph is 'decoder'"):
        OnnxSamHQ(tmp_path, providers="cpu")


def test_embeddings_of_another_model_are_refused_by_name(directory, rewritten):
    embeddings = OnnxSamHQ(directory, "cpu").embed(np.zeros((20, 30, 3), np.uint8))
    other = OnnxSamHQ(rewritten({"model": "abc"}, {"model": "abc"}), "cpu")
    with pytest.raises(ValueError, match=r"embeddings are of the model '.*', the decoder is of 'abc'"):
        other.segment(embeddings)


def test_every_kind_of_export_is_what_it_says(exports):
    for kind in kinds():
        assert OnnxSamHQ(exports(kind).directory, "cpu").metadata == exports(kind).metadata


def damaged_copy(directory, target, file, number, pick, external=False):
    """A copy of an export with one number in one tensor of weights changed; returns the tensor's name."""
    for name in ("encoder.onnx", "decoder.onnx"):
        graph = onnx.load(directory / name)
        if name == file:
            floating = [tensor for tensor in graph.graph.initializer if tensor.data_type in (1, 10)]
            weights = [tensor for tensor in floating if np.prod(tensor.dims) > 1]
            weights.sort(key=lambda tensor: -len(tensor.raw_data))  # the first lies outside the file, if any does
            changed = weights[pick]
            values = onnx.numpy_helper.to_array(changed).copy()
            values.flat[values.size // 2] = number
            changed.CopyFrom(onnx.numpy_helper.from_array(values, changed.name))
        onnx.save(graph, target / name, save_as_external_data=external, location=f"{name}.data", size_threshold=1024)
    return changed.name


@pytest.mark.parametrize(
    ("file", "number", "pick", "external"),
    [
        ("encoder.onnx", np.nan, 0, False),
        ("encoder.onnx", np.inf, 0, True),
        ("decoder.onnx", np.nan, 0, True),
        ("decoder.onnx", -np.inf, -1, False),
    ],
)
def test_weights_that_are_not_finite_are_refused_when_loaded(directory, tmp_path, file, number, pick, external):
    name = damaged_copy(directory, tmp_path, file, number, pick, external)
    with pytest.raises(ValueError, match=rf"{file}' is damaged: its weights .* hold NaN or infinity") as refused:
        OnnxSamHQ(tmp_path, providers="cpu")
    assert repr(name) in str(refused.value)


def test_weights_beside_the_graph_are_taken(directory, tmp_path):
    damaged_copy(directory, tmp_path, "decoder.onnx", 0.5, 0, external=True)
    assert (tmp_path / "decoder.onnx.data").is_file()
    OnnxSamHQ(tmp_path, providers="cpu")


@pytest.fixture
def with_weights_beside(directory, tmp_path):
    """A copy of the export with all weights in files beside the graphs, and their checksums in the metadata."""
    for name in ("encoder.onnx", "decoder.onnx"):
        graph, beside = onnx.load(directory / name), tmp_path / f"{name}.data"
        onnx.save(graph, tmp_path / name, save_as_external_data=True, location=beside.name, size_threshold=256)
        graph = onnx.load(tmp_path / name, load_external_data=False)
        entry = graph.metadata_props.add()
        entry.key, entry.value = "weights_crc32", f"{zlib.crc32(beside.read_bytes()):08x}"
        onnx.save(graph, tmp_path / name)
    return tmp_path


def of_another_model(path):
    """Weights of the same shapes and other values."""
    values = np.fromfile(path, np.float32)
    (values * np.float32(1.25)).tofile(path)


def with_another_byte(path):
    """A single bit is another one."""
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", ["encoder.onnx", "decoder.onnx"])
@pytest.mark.parametrize(
    "alter",
    [
        of_another_model,
        with_another_byte,
        lambda path: path.write_bytes(path.read_bytes() + b"more"),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
        lambda path: path.write_bytes(path.read_bytes()[::-1]),
    ],
    ids=["another model", "a bit", "longer", "zeros", "backwards"],
)
def test_weights_beside_a_graph_are_those_that_were_written_with_it(with_weights_beside, file, alter):
    OnnxSamHQ(with_weights_beside, "cpu")
    alter(with_weights_beside / f"{file}.data")
    with pytest.raises(
        ValueError, match=rf"{file}' are not those .* weights_crc32 of '{file}\.data' is '[0-9a-f]{{8}}'"
    ):
        OnnxSamHQ(with_weights_beside, "cpu")


def test_a_checksum_of_several_files_is_that_of_all(tmp_path):
    parts = [bytes(5_000_000), b"more"]  # the first is read in two parts
    for name, part in zip("ab", parts, strict=True):
        (tmp_path / name).write_bytes(part)
    assert weights_checksum([tmp_path / "a", tmp_path / "b"]) == f"{zlib.crc32(b''.join(parts)):08x}"


def test_a_graph_of_the_other_layout_is_called_that(directory, tmp_path):
    wanted = "is of the layout segment-anything, .*; wanted is the layout sam-hq, encoder.onnx and decoder.onnx"
    boxes = onnx.helper.make_tensor_value_info("point_coords", onnx.TensorProto.FLOAT, [1, 2])
    out = onnx.helper.make_tensor_value_info("masks", onnx.TensorProto.FLOAT, [1, 2])
    node = onnx.helper.make_node("Identity", ["point_coords"], ["masks"])
    graph = onnx.helper.make_graph([node], "graph", [boxes], [out])
    opsets = [onnx.helper.make_opsetid("", 17)]  # that of onnx itself may be newer than what the runtime knows
    other = onnx.helper.make_model(graph, ir_version=10, opset_imports=opsets)
    # As other programs write it, as sam-hq export does, and with metadata that claim to be of the sam-hq layout.
    for metadata in ({}, {"graph": "sam_hq_decoder"}, {"graph": "decoder"}):
        (tmp_path / "encoder.onnx").write_bytes((directory / "encoder.onnx").read_bytes())
        if metadata:
            onnx.helper.set_model_props(other, {**METADATA.to_strings(), **metadata})
        onnx.save(other, tmp_path / "decoder.onnx")
        with pytest.raises(ValueError, match=rf"decoder\.onnx' {wanted}"):
            OnnxSamHQ(tmp_path, "cpu")
    (tmp_path / "encoder.onnx").rename(tmp_path / "sam_hq_encoder.onnx")
    with pytest.raises(ValueError, match=f"the model in {str(tmp_path)!r} {wanted}"):
        OnnxSamHQ(tmp_path, "cpu")


def test_programs_are_called_that(tmp_path):
    for name in ("encoder.pt2", "decoder.pt2", "sam_hq.json"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"holds programs of torch\.export: load them with .*program_runner"):
        OnnxSamHQ(tmp_path, "cpu")


def test_weights_of_every_precision_are_checked_and_limits_allowed(tmp_path):
    values = np.array([1, 2, np.nan, 4])
    for kind in ("float16", "float32", "float64"):
        weights = onnx.numpy_helper.from_array(values.astype(kind), f"weights_{kind}")
        node = onnx.helper.make_node("Identity", [weights.name], ["copied"])
        outputs = [onnx.helper.make_tensor_value_info("copied", weights.data_type, [4])]
        whole = onnx.numpy_helper.from_array(np.arange(4, dtype=np.int8), "whole_numbers")
        limit = onnx.numpy_helper.from_array(np.array(-np.inf, np.float32), "limit")
        path = tmp_path / f"{kind}.onnx"
        graph = onnx.helper.make_graph([node], "graph", [], outputs, [whole, limit, weights])
        onnx.save(onnx.helper.make_model(graph), path)
        with pytest.raises(ValueError, match=f"weights 'weights_{kind}' hold NaN"):
            check_finite_weights(path)
        graph = onnx.helper.make_graph([node], "graph", [], outputs, [whole, limit])
        onnx.save(onnx.helper.make_model(graph), path)
        check_finite_weights(path)
