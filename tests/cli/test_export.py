import importlib.util
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from conftest import PHOTOS
from exported_models import model_and_processor
from sam_hq.export.check import drawn_photo
from sam_hq.export.onnx import export_onnx
from sam_hq.export.programs import program_runner
from sam_hq_cli.main import main
from sam_hq_onnx import OnnxSamHQ

onnx = pytest.importorskip("onnx", reason="needs the extra `onnx`")
PHOTO = PHOTOS / "scissors.png"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("model")
    for part in model_and_processor("vit"):
        part.save_pretrained(directory)
    return directory


def test_programs_of_torch_export(directory, tmp_path, capsys):
    out = tmp_path / "programs"
    assert main(["export", "--model", str(directory), str(out), "--format", "torch-export"]) == 0
    printed = capsys.readouterr().out
    assert "mean IoU with torch's masks 1.0000" in printed
    assert {path.name for path in out.iterdir()} == {"encoder.pt2", "decoder.pt2", "sam_hq.json"}
    assert json.loads((out / "sam_hq.json").read_text())["image_size"] == "128"
    runner = program_runner(out)
    photos = [drawn_photo((90, 120)), drawn_photo((140, 100)), drawn_photo((60, 60))]
    found = runner.segment(photos, input_boxes=[[[10, 10, 60, 60]] * 4, [[20, 20, 90, 90]], [[5, 5, 50, 50]] * 2])
    assert [len(one.masks) for one in found] == [4, 1, 2]


def test_the_onnx_format_is_the_library_s(directory, exports, tmp_path, capsys, monkeypatch):
    asked = []

    def export(model, image_processor, output_dir, dtype, opset, calibration_photos):
        asked.append((model.dtype, image_processor.pad_size, dtype, opset, calibration_photos))
        return exports("vit")

    monkeypatch.setattr("sam_hq.export.onnx.export_onnx", export)
    words = ["export", "--model", str(directory), str(tmp_path / "new"), "--dtype", "int8", "--opset", "20"]
    assert main(words) == 0
    assert [(str(dtype), *rest) for dtype, *rest in asked] == [
        ("torch.float32", {"height": 128, "width": 128}, "int8", 20, [])
    ]
    printed = capsys.readouterr().out
    assert "encoder.onnx" in printed
    assert "decoder.onnx" in printed


def test_ranges_measured_on_images(directory, exports, tmp_path, capsys, monkeypatch):
    traced = exports("vit").directory  # tracing the model again would take long
    monkeypatch.setattr("sam_hq.export.onnx.traced_encoder", lambda _: "encoder.onnx")
    monkeypatch.setattr("sam_hq.export.onnx.traced_decoder", lambda _: "decoder.onnx")
    monkeypatch.setattr("sam_hq.export.onnx.graph_program", lambda name, *_: traced / name)
    monkeypatch.setattr("sam_hq.export.onnx.write_graph", lambda graph, path, _: shutil.copyfile(graph, path))
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("kitten.jpg", "panda.jpg"):
        Image.open(PHOTOS / name).resize((90, 70)).save(folder / name)
    out = tmp_path / "calibrated"
    words = ["export", "--model", str(directory), str(out), "--dtype", "int8", "--calibrate", str(folder), str(PHOTO)]
    assert main(words) == 0
    assert "ranges   measured on 3 images" in capsys.readouterr().out
    encoder = onnx.load(out / "encoder.onnx")
    # Convolutions have 8-bit weights in the calibrated way alone: they are read through a node that widens them.
    widened = {node.output[0] for node in encoder.graph.node if node.op_type == "DequantizeLinear"}
    convolutions = [node for node in encoder.graph.node if node.op_type == "Conv"]
    assert convolutions
    assert all(node.input[1] in widened for node in convolutions)
    (found,) = OnnxSamHQ(out, providers="cpu").segment(PHOTO, input_boxes=[[[20, 30, 200, 220]]])
    (exact,) = OnnxSamHQ(exports("vit").directory, providers="cpu").segment(PHOTO, input_boxes=[[[20, 30, 200, 220]]])
    difference = np.abs(found.low_res_masks - exact.low_res_masks).max() / np.abs(exact.low_res_masks).max()
    assert 0 < difference < 0.3


@pytest.mark.parametrize(
    ("options", "calibrate", "message"),
    [
        (["--dtype", "int8"], ["nowhere.jpg"], "input 'nowhere.jpg' is no file, and no folder or pattern"),
        (["--dtype", "fp16"], [str(PHOTO)], "--calibrate is for --format onnx --dtype int8, got --format onnx --dtype"),
        (["--format", "torch-export", "--dtype", "int8"], [str(PHOTO)], "--calibrate is for --format onnx"),
        (["--dtype", "int8"], [str(PHOTO), __file__], "test_export.py': cannot identify image file"),
    ],
)
def test_images_to_measure_on_are_looked_at_before_any_work(
    options, calibrate, message, directory, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("sam_hq.export.onnx.traced_encoder", lambda _: pytest.fail("work has begun"))
    words = ["export", "--model", str(directory), str(tmp_path / "new"), *options, "--calibrate", *calibrate]
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--opset", "9"], "opset must be 18 to 23, got 9"),
        (["--format", "torch-export", "--dtype", "int8"], "dtype of programs must be fp32 or fp16, got 'int8'"),
        (["--format", "torch-export", "--opset", "18"], "--opset is for --format onnx, got --opset 18 with --format"),
        (["--model", "./nowhere"], "there is no such directory"),
    ],
)
def test_what_cannot_be_exported_is_one_line(directory, tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.setattr("sam_hq_cli.model_loading.load_model", lambda *_: pytest.fail("the model was loaded"))
    assert main(["export", "--model", str(directory), str(tmp_path / "new"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("options", [[], ["--format", "torch-export"]])
def test_a_place_that_is_taken_is_known_before_a_model_is_loaded(directory, tmp_path, capsys, monkeypatch, options):
    monkeypatch.setattr("sam_hq_cli.model_loading.load_model", lambda *_: pytest.fail("the model was loaded"))
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["export", "--model", str(directory), str(tmp_path), *options]) == 2
    assert "exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_missing_extra_is_named(monkeypatch, tmp_path, capsys):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "sam_hq.export.onnx.importlib.util.find_spec", lambda name: None if name == "onnxscript" else find_spec(name)
    )
    model, processor = model_and_processor("vit")
    with pytest.raises(ImportError, match=r"exporting needs onnxscript: pip install 'sam-hq\[onnx\]'"):
        export_onnx(model, processor.image_processor, tmp_path / "new")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    assert main(["export", "--model", str(tmp_path / "model"), str(tmp_path / "new")]) == 2
    assert "pip install 'sam-hq[onnx]'" in capsys.readouterr().err


def test_segment_takes_an_exported_directory(exports, tmp_path, capsys):
    exported_directory, files = exports("vit").directory, (tmp_path / "overlay.png", tmp_path / "masks.npz")
    words = ["segment", str(PHOTO), "--model", str(exported_directory), "--device", "cpu", "--multimask"]
    words += ["--box", "20", "30", "200", "220", "--point", "90", "90"]
    assert main([*words, "--output", str(files[0]), "--masks", str(files[1])]) == 0
    printed = capsys.readouterr().out
    assert "CPUExecutionProvider" in printed
    assert "object 1, candidate 3: score" in printed
    photo = Image.open(PHOTO)
    assert Image.open(files[0]).size == (3 * photo.width, photo.height)
    assert np.load(files[1])["masks"].shape == (1, 3, photo.height, photo.width)


@pytest.mark.parametrize("command", ["generate {photo} --output {new}", "evaluate --data {folder}", "export {new}"])
def test_an_exported_model_is_told_from_one_of_torch(command, exports, tmp_path, capsys):
    words = command.format(photo=PHOTO, folder=PHOTOS / "realphoto_cc0", new=tmp_path / "new").split()
    assert main([*words, "--model", str(exports("vit").directory)]) == 2
    assert "which sam-hq export wrote; name the model that it was made from" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_half_an_export_is_no_name_on_the_hub(exports, tmp_path, capsys):
    (tmp_path / "encoder.onnx").write_bytes((exports("vit").directory / "encoder.onnx").read_bytes())
    assert main(["segment", str(PHOTO), "--model", str(tmp_path), "--point", "9", "9"]) == 2
    assert "decoder.onnx" in capsys.readouterr().err
    assert main(["segment", str(PHOTO), "--model", str(tmp_path / "encoder.onnx"), "--point", "9", "9"]) == 2
    assert "which is a file; name its directory" in capsys.readouterr().err
    (tmp_path / "encoder.onnx").rename(tmp_path / "sam_hq_encoder.onnx")
    assert main(["segment", str(PHOTO), "--model", str(tmp_path), "--point", "9", "9"]) == 2
    assert "is of the layout segment-anything" in capsys.readouterr().err
    (tmp_path / "sam_hq_encoder.onnx").rename(tmp_path / "encoder.pt2")
    assert main(["segment", str(PHOTO), "--model", str(tmp_path), "--point", "9", "9"]) == 2
    assert "sam_hq.export.programs.program_runner" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--embeddings", "here"], "--embeddings are of the torch model"), (["--device", "mps"], "must be cpu or cuda")],
)
def test_what_an_exported_model_cannot_do_is_said(options, message, exports, capsys):
    words = ["segment", str(PHOTO), "--model", str(exports("vit").directory), *options]
    assert main(words) == 2
    assert message in capsys.readouterr().err
