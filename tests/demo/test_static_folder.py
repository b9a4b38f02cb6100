import http.client
import json
import shutil
from urllib.parse import urlsplit

import numpy as np
import onnx
import pytest
from PIL import Image

from browser_fixtures import serving
from conftest import PHOTOS
from described_graphs import METADATA, write_described_export, write_described_graph
from sam_hq.demo.static_folder import is_static_demo, page_files, write_static_demo


@pytest.fixture
def model(tmp_path):
    """What stands where an exported model could."""
    write_described_export(tmp_path / "exported")
    return tmp_path / "exported"


def described_otherwise(**changes):
    """Changes the settings in the file beside the graphs."""
    return lambda model: (model / "sam_hq.json").write_text(json.dumps({**METADATA.to_strings(), **changes}))


def graph_otherwise(name, **changes):
    """Puts another graph into the place of one."""
    return lambda model: write_described_graph(model / name, **changes)


def everything_otherwise(**changes):
    """Changes all three files."""

    def change(model):
        described_otherwise(**changes)(model)
        for name in ("encoder.onnx", "decoder.onnx"):
            write_described_graph(model / name, **changes)

    return change


def weights_beside(model):
    """Moves the weights of a graph into a file of their own."""
    graph = onnx.load(model / "encoder.onnx")
    graph.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(64, np.float32), "weights"))
    onnx.save(graph, model / "encoder.onnx", save_as_external_data=True, location="elsewhere.bin", size_threshold=0)


def test_the_folder_holds_all_that_the_page_asks_for(model, tmp_path):
    folder = write_static_demo(tmp_path / "page", model, "small", [PHOTOS / "lemur.png"])
    assert is_static_demo(folder)
    assert not is_static_demo(model)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"index.html", "app.js", "backend.js", "worker.js", "runtime/ort.js", "model/encoder.onnx"} <= files
    assert "server_backend.js" not in files
    assert "worker" in (folder / "backend.js").read_text()
    about = json.loads((folder / "about.json").read_text())
    assert about["model"] == "small"
    (example,) = about["examples"]
    assert example["name"] == "lemur.png"
    assert (folder / example["photo"]).read_bytes() == (PHOTOS / "lemur.png").read_bytes()
    assert (folder / example["thumbnail"]).stat().st_size < 50_000


def test_every_import_of_the_page_is_in_the_folder():
    names = {file.name for file in page_files()}
    for file in page_files():
        if file.name.endswith(".js"):
            asked = [line.split('"./')[1].split('"')[0] for line in file.read_text().splitlines() if 'from "./' in line]
            assert set(asked) <= names | {"runtime/ort.js"}, file.name


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda model: (model / "decoder.onnx").unlink(), "decoder.onnx"),
        (weights_beside, "too large for a browser, as it has weights in 'elsewhere.bin'"),
        (lambda model: (model / "sam_hq.json").write_text('{"format": "other"}'), "sam-hq-onnx/1"),
        (lambda model: (model / "sam_hq.json").write_text("{"), r"sam_hq\.json' is not JSON"),
        (lambda model: (model / "sam_hq.json").write_text("[]"), r"sam_hq\.json' must hold an object, got list"),
        (everything_otherwise(resample="bicubic"), "the model wants bicubic"),
        (
            described_otherwise(image_mean="[1, 2, 3]"),
            r"image_mean is \(1.0, 2.0, 3.0\) there, but \(0.0, 0.0, 0.0\) in",
        ),
        (described_otherwise(model="def"), "contradicts the graphs beside it: model is 'def' there, but 'abc' in enc"),
        (graph_otherwise("decoder.onnx", model="def"), "of different models: model is 'abc' and 'def'"),
        (graph_otherwise("decoder.onnx", mask_threshold="1.0"), "the same mask_threshold, got 0.0 and 1.0"),
        (graph_otherwise("encoder.onnx", graph="decoder"), "must be the encoder, but its metadata say graph is"),
        (graph_otherwise("encoder.onnx", graph="sam_hq_encoder"), "is of the layout segment-anything"),
        (lambda model: (model / "encoder.onnx").write_bytes(b""), r"encoder\.onnx' is damaged, or no ONNX file"),
        (lambda model: (model / "encoder.onnx").write_text("<html>404"), r"encoder\.onnx' "),
    ],
)
def test_models_that_no_browser_can_run_are_refused(model, tmp_path, broken, message):
    broken(model)
    with pytest.raises(ValueError, match=message):
        write_static_demo(tmp_path / "page", model, "small")
    assert not (tmp_path / "page").exists()


def test_the_folder_says_what_the_graphs_say(model, tmp_path):
    (model / "sam_hq.json").unlink()
    folder = write_static_demo(tmp_path / "page", model, "small")
    assert json.loads((folder / "model" / "sam_hq.json").read_text()) == METADATA.to_strings()


def test_nothing_is_left_of_a_folder_that_fails(model, tmp_path):
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(ValueError, match=r"text\.jpg"):
        write_static_demo(tmp_path / "page", model, "small", [tmp_path / "text.jpg"])
    assert {path.name for path in tmp_path.iterdir()} == {"exported", "text.jpg"}
    (tmp_path / "page").mkdir()
    (tmp_path / "page" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        write_static_demo(tmp_path / "page", model, "small")


@pytest.mark.parametrize("kind", ["TIFF", "PPM", "TGA", "ICO", "PCX"])
def test_an_example_that_no_browser_shows_is_refused(model, tmp_path, kind):
    name = f"a.{kind.lower()}"
    Image.new("RGB", (48, 48)).save(tmp_path / name, kind)
    with pytest.raises(ValueError, match=f"cannot offer '{name}': browsers show JPEG, .*, but it is {kind}"):
        write_static_demo(tmp_path / "page", model, "small", [tmp_path / name])


def test_an_example_that_the_page_would_refuse_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr("sam_hq.demo.static_folder._PIXELS", 400)
    Image.new("RGB", (21, 20)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"cannot offer 'a\.png': .*pixels"):
        write_static_demo(tmp_path / "page", model, "small", [tmp_path / "a.png"])


def test_thumbnails_of_16_bits_are_not_white(model, tmp_path):
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "a.png")
    folder = write_static_demo(tmp_path / "page", model, "small", [tmp_path / "a.png"])
    (example,) = json.loads((folder / "about.json").read_text())["examples"]
    shown = np.asarray(Image.open(folder / example["thumbnail"]).convert("L"), float)
    assert np.abs(shown - ramp / 257).mean() < 3


def answer(address, path, host=None):
    """Ask as no browser would: the path goes out as it is."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=20)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host or parts.netloc)
    connection.endheaders()
    response = connection.getresponse()
    return response, response.read()


def test_the_server_gives_the_folder_and_nothing_else(model, tmp_path):
    starlette = pytest.importorskip("sam_hq.demo.static_server", reason="needs the extra `demo`")
    folder = write_static_demo(tmp_path / "page", model, "small")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    with serving(starlette.build_static_app(folder)) as address:
        page, text = answer(address, "/")
        assert page.status == 200
        assert b"SAM-HQ" in text
        for header in ("Cross-Origin-Opener-Policy", "Cross-Origin-Embedder-Policy", "Content-Security-Policy"):
            assert page.headers[header]
        for name, media_type in (
            ("app.js", "text/javascript"),
            ("runtime/ort.js", "text/javascript"),
            ("runtime/ort-wasm-simd-threaded.wasm", "application/wasm"),
        ):
            file, _ = answer(address, f"/{name}")
            assert file.headers.get_content_type() == media_type
        for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//etc/passwd", "/link.txt", "/model"):
            response, text = answer(address, path)
            assert response.status in (301, 307, 404), path
            assert b"secret" not in text
        assert answer(address, "/", host="elsewhere.example")[0].status == 400


def test_a_folder_that_was_written_can_be_moved(model, tmp_path):
    folder = write_static_demo(tmp_path / "page", model, "small", [PHOTOS / "lemur.png"])
    moved = shutil.move(folder, tmp_path / "moved")
    for file in page_files():
        assert str(folder) not in (moved / file.name).read_text()
    assert is_static_demo(moved)
