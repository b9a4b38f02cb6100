"""The exported graphs against the torch model, and how they are written."""

import copy
import dataclasses
import functools
import json
import zlib

import numpy as np
import pytest
import torch
from accelerate import cpu_offload

import sam_hq.export.onnx
from exported_models import SMALL, kinds, model_and_processor
from sam_hq.export.check import LIMITS, Agreement, checked_agreement
from sam_hq.export.graphs import traced_encoder
from sam_hq.export.onnx import export_onnx, write_graph
from sam_hq.export.programs import export_programs
from sam_hq.export.quantization import quantize_encoder
from sam_hq_onnx import GraphMetadata, OnnxSamHQ

onnx = pytest.importorskip("onnx", reason="needs the extra `onnx`")
onnx_ir = pytest.importorskip("onnx_ir", reason="needs the extra `onnx`")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
GENERATOR = np.random.default_rng(0)
EMBEDDINGS = ("image_embeddings", "hq_features")


@pytest.fixture(scope="module", params=kinds())
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def runner(kind, exports):
    return OnnxSamHQ(exports(kind).directory, providers="cpu", threads=1)


def random_prompts(images, objects, points, mask_size, image_size):
    """Decoder inputs with every kind of prompt for every object."""
    corners = GENERATOR.uniform(0, image_size / 2, (images, objects, 2))
    return {
        "input_points": GENERATOR.uniform(0, image_size, (images, objects, points, 2)).astype(np.float32),
        "input_labels": GENERATOR.integers(-1, 2, (images, objects, points)),
        "input_boxes": np.concatenate([corners, corners + image_size / 3], -1).astype(np.float32),
        "has_box": np.ones((images, objects), dtype=bool),
        "input_masks": GENERATOR.normal(0, 4, (images, objects, mask_size, mask_size)).astype(np.float32),
        "has_mask": np.ones((images, objects), dtype=bool),
    }


@pytest.fixture(scope="module")
def embedded(kind, runner):
    """Random images by their number, encoded once each: by torch and by the graph, named as both take them."""
    model, _ = model_and_processor(kind)
    side = runner.metadata.image_size

    @functools.cache
    def encode(images):
        pixel_values = GENERATOR.normal(0, 1, (images, 3, side, side)).astype(np.float32)
        with torch.no_grad():
            embeddings, intermediate = model.get_image_embeddings(torch.from_numpy(pixel_values))
            by_torch = embeddings, model.get_hq_features(embeddings, intermediate)
        by_graph = runner.encoder.run(EMBEDDINGS, {"pixel_values": pixel_values})
        return dict(zip(EMBEDDINGS, by_torch, strict=True)), dict(zip(EMBEDDINGS, by_graph, strict=True))

    return encode


def torch_answer(model, embeddings, prompts, multimask_output=True, hq_token_only=False):
    """What torch says to decoder inputs in which all objects have the same kinds of prompts."""
    given = {}
    if (prompts["input_labels"] != -10).any():
        given |= {name: torch.from_numpy(prompts[name]) for name in ("input_points", "input_labels")}
    for name, mark in (("input_boxes", "has_box"), ("input_masks", "has_mask")):
        if prompts[mark].all():
            given[name] = torch.from_numpy(prompts[name])
    with torch.no_grad():
        outputs = model(**embeddings, multimask_output=multimask_output, hq_token_only=hq_token_only, **given)
    return outputs.pred_masks.numpy(), outputs.iou_scores.numpy()


def graph_answer(runner, embeddings, prompts, multimask_output=True, hq_token_only=False):
    flags = {"multimask_output": np.array(multimask_output), "hq_token_only": np.array(hq_token_only)}
    return runner.decoder.run(["pred_masks", "iou_scores"], {**embeddings, **prompts, **flags})


def check_equal(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * max(1, np.abs(other).max()))


@pytest.mark.parametrize("kind", SMALL, indirect=True)
@pytest.mark.parametrize(("images", "objects", "points"), [(2, 3, 2), (1, 1, 1), (3, 2, 5)])
@pytest.mark.parametrize("with_points", [True, False])
@pytest.mark.parametrize("with_boxes", [True, False])
@pytest.mark.parametrize("with_masks", [True, False])
def test_any_number_of_images_objects_and_points_of_every_kind(
    kind, runner, embedded, images, objects, points, with_points, with_boxes, with_masks
):
    model, _ = model_and_processor(kind)
    if not (with_points or with_boxes or with_masks):
        objects = 1  # without a prompt, torch has one object per image
    side = runner.metadata.image_size
    prompts = random_prompts(images, objects, points, runner.metadata.mask_size, side)
    if not with_points:
        prompts["input_labels"][:] = -10
    prompts["has_box"][:], prompts["has_mask"][:] = with_boxes, with_masks
    by_torch, by_graph = embedded(images)
    for flags in ((True, False), (False, False), (True, True), (False, True)):
        found = graph_answer(runner, by_graph, prompts, *flags)
        assert found[0].shape[2] == (3 if flags == (True, False) else 1)
        check_equal(found, torch_answer(model, by_torch, prompts, *flags))


def test_objects_of_different_kinds_in_one_call_are_what_each_is_alone(kind, runner, embedded):
    side = runner.metadata.image_size
    prompts = random_prompts(1, 4, 3, runner.metadata.mask_size, side)
    prompts["input_labels"][0] = [[1, 0, -10], [-10, -10, -10], [-1, -10, -10], [-10, -10, -10]]
    prompts["has_box"][0] = [False, True, True, False]
    prompts["has_mask"][0] = [False, True, False, False]
    by_torch, by_graph = embedded(1)
    masks, scores = graph_answer(runner, by_graph, prompts)
    for index, count in enumerate((2, 1, 1, 1)):
        alone = {name: values[:, index : index + 1] for name, values in prompts.items()}
        alone["input_points"] = alone["input_points"][:, :, :count]
        alone["input_labels"] = alone["input_labels"][:, :, :count]
        found = graph_answer(runner, by_graph, alone)
        check_equal(found, (masks[:, index : index + 1], scores[:, index : index + 1]))
        check_equal(found, torch_answer(model_and_processor(kind)[0], by_torch, alone))


def test_the_files_describe_themselves(kind, exports):
    export = exports(kind)
    model, processor = model_and_processor(kind)
    for name in ("encoder", "decoder"):
        graph = onnx.load(str(export.directory / f"{name}.onnx"))
        onnx.checker.check_model(graph)
        strings = {entry.key: entry.value for entry in graph.metadata_props}
        assert strings["graph"] == name
        assert GraphMetadata.from_strings(strings, name) == export.metadata
        assert not any(node.metadata_props for node in graph.graph.node)
        assert {opset.domain: opset.version for opset in graph.opset_import}[""] == 18
    axes = [
        [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim] for value in graph.graph.output
    ]
    side = export.metadata.mask_size
    assert axes == [["images", "prompts", "candidates", side, side], ["images", "prompts", "candidates"]]
    assert export.metadata.image_size == model.config.vision_config.image_size
    assert export.metadata.size == processor.image_processor.size
    described = json.loads((export.directory / "sam_hq.json").read_text())
    assert described == export.metadata.to_strings()
    assert {path.name for path in export.directory.iterdir()} == {"encoder.onnx", "decoder.onnx", "sam_hq.json"}


def test_what_was_checked_is_within_the_limit(kind, exports):
    agreement = exports(kind).agreement
    assert agreement.largest_difference <= LIMITS["fp32"].difference == 1e-4
    assert agreement.largest_score_difference <= 1e-4
    assert agreement.mask_iou > 0.999


def test_all_heads_share_the_tables_of_positions():
    """A table for each head would be a constant each: 92 MB in ViT-B's graph."""
    model = model_and_processor("vit")[0]
    layers = model.vision_encoder.layers
    assert layers[1].attn.num_attention_heads > 1
    lookups = [node for node in traced_encoder(model).graph.nodes if node.target == torch.ops.aten.index.Tensor]
    assert len(lookups) == 2 * len(layers)  # down and across


@pytest.mark.parametrize("way", ["dynamic", "calibrated"])
def test_eight_bits_are_smaller_and_near(kind, exports, runner, way, tmp_path):
    export = exports(kind)
    path = tmp_path / "encoder.onnx"
    path.write_bytes((export.directory / "encoder.onnx").read_bytes())
    (tmp_path / "decoder.onnx").write_bytes((export.directory / "decoder.onnx").read_bytes())
    photos = [GENERATOR.integers(0, 256, (90, 120, 3), dtype=np.uint8)] if way == "calibrated" else []
    metadata = dataclasses.replace(export.metadata, dtype="int8")
    if kind not in ("vit", "tiny_vit") and way == "dynamic":  # convolutions alone
        with pytest.warns(UserWarning, match="no smaller and no faster"):
            quantize_encoder(path, metadata, photos)
        return
    quantize_encoder(path, metadata, photos)
    assert {file.name for file in tmp_path.iterdir()} == {"encoder.onnx", "decoder.onnx"}
    assert path.stat().st_size < (export.directory / "encoder.onnx").stat().st_size
    rounded = OnnxSamHQ(tmp_path, providers="cpu")
    assert rounded.metadata.dtype == "int8"
    photo = GENERATOR.integers(0, 256, (90, 120, 3), dtype=np.uint8)
    # Of an encoder of convolutions every activation is rounded too.
    limit = 0.2 if kind in ("vit", "tiny_vit") else 0.4
    one, other = rounded.embed(photo).image_embeddings, runner.embed(photo).image_embeddings
    assert 0 < np.abs(one - other).mean() < limit * np.abs(other).mean()


@pytest.mark.parametrize("way", ["dynamic", "calibrated"])
def test_eight_bits_of_a_graph_with_its_weights_beside_it(way, exports, tmp_path):
    source, metadata = onnx.load(exports("vit").directory / "encoder.onnx"), exports("vit").metadata
    photos = [GENERATOR.integers(0, 256, (90, 120, 3), dtype=np.uint8)] if way == "calibrated" else []
    written = []
    for beside in (False, True):
        directory = tmp_path / str(beside)
        directory.mkdir()
        path = directory / "encoder.onnx"
        onnx.save_model(
            source,
            path,
            save_as_external_data=beside,
            location="encoder.onnx.data" if beside else None,
            size_threshold=256,  # as the exporter: smaller ones, such as shapes, stay within
        )
        assert len(list(directory.iterdir())) == 1 + beside
        quantize_encoder(path, dataclasses.replace(metadata, dtype="int8"), photos)
        assert list(directory.iterdir()) == [path]
        pixel_values = np.ones((1, 3, 128, 128), dtype=np.float32)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        written.append(session.run(None, {"pixel_values": pixel_values}))
    for one, other in zip(*written, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_beside_a_graph_are_known_by_their_checksum(exports, tmp_path, monkeypatch):
    export = exports("vit")
    for name, most in (("encoder.onnx", 1000), ("decoder.onnx", 10**9)):
        monkeypatch.setattr(sam_hq.export.onnx, "_BYTES_WITHIN_THE_FILE", most)
        program = torch.onnx.ONNXProgram(onnx_ir.load(export.directory / name), None)
        write_graph(program, tmp_path / name, export.metadata)
    weights = (tmp_path / "encoder.onnx.data").read_bytes()
    strings = {
        name: {entry.key: entry.value for entry in onnx.load(tmp_path / f"{name}.onnx").metadata_props}
        for name in ("encoder", "decoder")
    }
    assert strings["encoder"].pop("weights_crc32") == f"{zlib.crc32(weights):08x}"
    for name, written in strings.items():
        assert written == {**export.metadata.to_strings(), "graph": name}
    assert OnnxSamHQ(tmp_path, "cpu").metadata == export.metadata


def test_what_was_not_compared_agrees_with_nothing():
    with pytest.raises(TypeError, match="mean_difference"):
        Agreement(0.0, 0.0, 1.0)


def test_graphs_that_differ_are_not_written(monkeypatch, exports, tmp_path):
    runner = OnnxSamHQ(exports("vit").directory, providers="cpu")
    model, processor = model_and_processor("vit")
    monkeypatch.setattr(sam_hq.export.onnx, "graph_program", lambda *_: None)
    monkeypatch.setattr(sam_hq.export.onnx, "write_graph", lambda _, path, *__: path.write_bytes(b"graph"))
    monkeypatch.setattr(sam_hq.export.onnx, "traced_encoder", lambda _: None)
    monkeypatch.setattr(sam_hq.export.onnx, "traced_decoder", lambda _: None)
    monkeypatch.setattr(sam_hq.export.onnx, "OnnxSamHQ", lambda *_, **__: runner)
    monkeypatch.setattr("sam_hq.export.check.agreement_of", lambda *_: Agreement(2e-4, 0.0, 1.0, 0.0))
    with pytest.raises(ValueError, match=r"differ from torch's by 0\.0002 .* 0\.0001 that fp32 may; nothing was"):
        export_onnx(model, processor.image_processor, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


class Altered:
    """A session whose masks and scores are changed on their way out."""

    def __init__(self, session, alter):
        self.session, self.alter = session, alter

    def run(self, outputs, inputs):
        """As the session does."""
        return self.alter(*self.session.run(outputs, inputs))


@pytest.mark.parametrize(
    ("dtype", "alter", "message"),
    [
        ("fp32", lambda masks, scores: (masks, scores), None),
        (
            "fp32",
            lambda masks, scores: (masks + 0.01 * abs(masks).max(), scores),
            r"masks differ from torch's by 0\.\d+ .* 0\.0001 that fp32",
        ),
        ("fp32", lambda masks, scores: (masks, scores + 2e-3), "scores differ from torch's by 0.002"),
        ("fp16", lambda masks, scores: (masks, scores * np.float32(np.nan)), "answer is not finite"),
        ("int8", lambda masks, scores: (masks * np.float32(np.nan), scores), "answer is not finite"),
        ("int8", lambda masks, scores: (masks * 0, scores), r"masks differ from torch's by .* 0\.5 that int8"),
        ("int8", lambda masks, scores: (abs(masks).max() * 0.4 - abs(masks) * 0.1, scores), "differ|mean IoU"),
        ("int8", lambda masks, scores: (masks, scores + 5), "scores differ from torch's by 5,"),
        ("int8", lambda masks, scores: (np.where(masks == masks.max(), 0.01 * masks, masks), scores), None),
    ],
)
def test_the_check_looks_at_masks_and_scores_of_every_dtype(dtype, alter, message, exports):
    model, processor = model_and_processor("vit")
    plain = OnnxSamHQ(exports("vit").directory, providers="cpu")
    metadata = dataclasses.replace(plain.metadata, dtype=dtype)
    altered = OnnxSamHQ.from_sessions(plain.encoder, Altered(plain.decoder, alter), metadata)
    if message is None:
        assert checked_agreement(model, processor.image_processor, altered).mask_iou > 0.999
        return
    with pytest.raises(ValueError, match=message):
        checked_agreement(model, processor.image_processor, altered)


def test_the_check_leaves_a_model_in_training_as_it_is(exports):
    _, processor = model_and_processor("tiny_vit")
    model = copy.deepcopy(model_and_processor("tiny_vit")[0]).train()
    model.prompt_encoder.eval()
    modes = [module.training for module in model.modules()]
    runner = OnnxSamHQ(exports("tiny_vit").directory, providers="cpu")
    assert checked_agreement(model, processor.image_processor, runner).mask_iou > 0.999
    assert [module.training for module in model.modules()] == modes
    before = model_and_processor("tiny_vit")[0].state_dict()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_check_takes_an_offloaded_model(exports):
    model, processor = model_and_processor("vit")
    offloaded = cpu_offload(copy.deepcopy(model), execution_device="cpu")
    runner = OnnxSamHQ(exports("vit").directory, providers="cpu")
    assert checked_agreement(offloaded, processor.image_processor, runner).mask_iou > 0.999


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "bf16"}, "dtype must be one of fp32, fp16, int8, got 'bf16'"),
        ({"opset": 12}, "opset must be 18 to 23, got 12"),
        ({"calibration_photos": ["a.jpg"]}, "calibration_photos are for dtype 'int8', got dtype 'fp32'"),
        ({"dtype": "int8", "calibration_photos": ["nowhere.jpg"]}, "no such file: 'nowhere.jpg'"),
    ],
)
def test_unknown_options_are_refused_before_any_work(options, message, tmp_path):
    model, processor = model_and_processor("vit")
    with pytest.raises(ValueError, match=message):
        export_onnx(model, processor.image_processor, tmp_path / "new", **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": "18"}, "opset must be a whole number, got '18'"),
        ({"dtype": "int8", "calibration_photos": "a.jpg"}, "calibration_photos must be a list of images, got str"),
        (
            {"dtype": "int8", "calibration_photos": np.zeros((9, 9, 3), np.uint8)},
            "calibration_photos must be a list of images, got ndarray",
        ),
    ],
)
def test_options_of_another_type_are_refused(options, message, tmp_path):
    model, processor = model_and_processor("vit")
    with pytest.raises(TypeError, match=message):
        export_onnx(model, processor.image_processor, tmp_path / "new", **options)
    with pytest.raises(TypeError, match="model must be a SamHQModel, got NoneType"):
        export_onnx(None, processor.image_processor, tmp_path / "new")
    with pytest.raises(TypeError, match="image_processor must be a SamHQImageProcessor, got SamHQProcessor"):
        export_onnx(model, processor, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("given", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_other_floats_than_its_graphs_is_refused_by_name(given, tmp_path):
    model, processor = model_and_processor("vit")
    changed = copy.deepcopy(model).to(given)
    for export, dtypes in ((export_onnx, ("fp32", "int8")), (export_programs, ("fp32",))):
        for dtype in dtypes:
            with pytest.raises(ValueError, match=f"model must be in float32 for dtype '{dtype}', got {given}"):
                export(changed, processor.image_processor, tmp_path / "new", dtype=dtype)
    assert list(tmp_path.iterdir()) == []


def test_a_processor_that_the_runner_cannot_follow_is_refused(tmp_path):
    model, processor = model_and_processor("vit")
    for options, message in (
        ({"do_normalize": False}, "'do_normalize'"),
        ({"pad_size": {"height": 64, "width": 64}, "size": {"longest_edge": 64}}, "pad_size must be the model's"),
    ):
        changed = type(processor.image_processor)(**{**processor.image_processor.to_dict(), **options})
        with pytest.raises(ValueError, match=message):
            export_onnx(model, changed, tmp_path / "new")


def test_a_place_that_is_taken_is_refused(tmp_path):
    model, processor = model_and_processor("vit")
    (tmp_path / "file").write_text("kept")
    with pytest.raises(FileExistsError):
        export_onnx(model, processor.image_processor, tmp_path)
    assert (tmp_path / "file").read_text() == "kept"
