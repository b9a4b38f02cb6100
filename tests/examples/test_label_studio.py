import io
import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from conftest import PHOTOS
from label_studio_example import BRUSH_CONFIG, load_example, smart_region
from sam_hq import SamHQPredictor

SIZE = HEIGHT, WIDTH = 90, 140
POLYGON_CONFIG = BRUSH_CONFIG.replace("BrushLabels", "PolygonLabels")


def region(kind: str, **value) -> dict:
    return smart_region(kind, SIZE, **value)


POINT = region("keypointlabels", x=50.0, y=40.0, width=0.3, is_positive=True)
NEGATIVE = region("keypointlabels", x=10.0, y=90.0, width=0.3, is_positive=False)
BOX = region("rectanglelabels", x=20.0, y=10.0, width=60.0, height=80.0, rotation=0)


def decoded(rle: list[int]) -> np.ndarray:
    """The values of Label Studio's run lengths, bit by bit: 32 bits of count, 5 of word size, four run sizes of 4."""
    bits = iter("".join(f"{byte:08b}" for byte in rle))

    def read(count: int) -> int:
        return int("".join(next(bits) for _ in range(count)), 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values: list[int] = []
    while len(values) < total:
        repeated = read(1)
        count = read(sizes[read(2)]) + 1
        values += [read(word)] * count if repeated else [read(word) for _ in range(count)]
    return np.array(values)


def drawn_stroke() -> np.ndarray:
    picture = Image.new("1", (WIDTH, HEIGHT))
    ImageDraw.Draw(picture).line([(30, 20), (80, 60), (90, 30)], fill=1, width=9)
    return np.array(picture)


@pytest.fixture(scope="module")
def example():
    module = load_example()
    module.fetch_image = lambda source, task_id: source
    return module


class RecordingPredictor:
    """Answers every prompt with one mask, of two pieces and a hole, and keeps what it was asked."""

    def __init__(self):
        self.embedded, self.asked = [], []
        self.mask = np.zeros(SIZE, dtype=bool)
        self.mask[10:60, 20:90] = self.mask[70:75, 5:12] = True
        self.mask[20:30, 30:50] = False

    def embed(self, image):
        self.embedded.append(image)
        return SimpleNamespace(original_size=SIZE)

    def predict(self, embeddings, **prompts):
        assert embeddings.original_size == SIZE
        self.asked.append(prompts)
        return SimpleNamespace(
            masks=torch.from_numpy(self.mask[None, None]), scores=torch.from_numpy(np.array([[0.75]]))
        )


@pytest.fixture
def predictor():
    return RecordingPredictor()


def request_for(photo: str, regions: list[dict], config: str = BRUSH_CONFIG) -> dict:
    context = {"result": regions} if regions else None
    return {
        "tasks": [{"id": 7, "data": {"photo": photo}}], "model_version": None, "project": "1.1700000000",
        "label_config": config, "params": {"login": None, "password": None, "context": context},
    }  # fmt: skip


@pytest.fixture
def server(example, predictor):
    """The backend on loopback; yields it and a function that posts to it."""
    backend = example.Backend(predictor, kept_images=2)
    with example.serve(backend, "127.0.0.1", 0) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()

        def post(path: str, payload: dict) -> dict:
            url = f"http://127.0.0.1:{http.server_address[1]}/{path}"
            sent = urllib.request.Request(url, json.dumps(payload).encode(), {"Content-Type": "application/json"})
            with urllib.request.urlopen(sent, timeout=60) as answer:
                return json.load(answer)

        yield backend, post
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("regions", "prompts"),
    [
        ([POINT], {"points": [[70, 36]], "labels": [1]}),
        ([POINT, NEGATIVE], {"points": [[70, 36], [14, 81]], "labels": [1, 0]}),
        ([BOX], {"boxes": [28, 9, 112, 81]}),
        ([BOX, POINT], {"points": [[70, 36]], "labels": [1], "boxes": [28, 9, 112, 81]}),
        (
            [region("rectanglelabels", x=80.0, y=10.0, width=20.0, height=40.0, rotation=90)],
            {"boxes": [112 - 36, 9, 112, 9 + 28]},
        ),
    ],
)
def test_a_click_is_answered_with_the_predictors_mask(server, predictor, regions, prompts):
    _, post = server
    (prediction,) = post("predict", request_for("a.jpg", regions))["results"]
    (asked,) = predictor.asked
    assert asked.keys() == prompts.keys()
    for name, expected in prompts.items():
        assert np.allclose(asked[name], expected)
    (found,) = prediction["result"]
    assert (found["type"], found["from_name"], found["to_name"]) == ("brushlabels", "mask", "image")
    assert (found["original_height"], found["original_width"]) == SIZE
    assert found["value"]["brushlabels"] == ["Cat"]
    assert prediction["score"] == 0.75
    pixels = decoded(found["value"]["rle"]).reshape(HEIGHT, WIDTH, 4)
    assert (pixels == np.where(predictor.mask, 255, 0)[:, :, None]).all()


def test_a_brush_stroke_is_a_rough_mask(example, server, predictor):
    _, post = server
    stroke = drawn_stroke()
    sent = region("brushlabels", format="rle", rle=example.brush_rle(stroke))
    post("predict", request_for("a.jpg", [sent, POINT]))
    assert np.array_equal(predictor.asked[0]["masks"], stroke)
    assert predictor.asked[0]["labels"] == [1]


@pytest.mark.slow
def test_the_models_mask_comes_back(example):
    photo, predictor = str(PHOTOS / "koala.jpg"), SamHQPredictor.from_pretrained()
    embeddings = predictor.embed(photo)
    height, width = embeddings.original_size
    (prediction,) = example.Backend(predictor).predict(request_for(photo, [POINT, BOX]))["results"]
    expected = predictor.predict(
        embeddings,
        points=[[0.5 * width, 0.4 * height]],
        labels=[1],
        boxes=[0.2 * width, 0.1 * height, 0.8 * width, 0.9 * height],
    )
    (found,) = prediction["result"]
    mask = example.brush_mask(found["value"]["rle"], (height, width))
    assert (mask != expected.masks[0, 0].cpu().numpy()).mean() < 1e-4


def test_run_lengths_of_any_mask_are_read_back(example):
    rng = np.random.default_rng(0)
    noise = rng.random((37, 53)) < 0.5
    large = np.zeros((700, 500), dtype=bool)
    large[300:310, 7:9] = True
    for mask in (noise, large, ~large, np.zeros((5, 3), bool), np.ones((1, 1), bool), drawn_stroke()):
        rle = example.brush_rle(mask)
        assert np.array_equal(decoded(rle), np.repeat(mask.ravel() * 255, 4))
        assert np.array_equal(example.brush_mask(rle, mask.shape), mask)


def test_single_values_of_a_painted_brush_are_read(example):
    """Soft edges come as stretches of single values: one run of 3 transparent pixels, then 4 pixels as they are."""
    values = [0] * 12 + [1, 2, 3, 0, 9, 9, 9, 40, 9, 9, 9, 255, 0, 0, 0, 0]
    bits = f"{28:032b}" + f"{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits += f"1{1:02b}{11:04b}{0:08b}" + f"0{1:02b}{15:04b}" + "".join(f"{value:08b}" for value in values[12:])
    bits += "0" * (-len(bits) % 8)
    rle = [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
    assert decoded(rle).tolist() == values
    assert example.brush_mask(rle, (1, 7)).tolist() == [[False] * 4 + [True, True, False]]


def test_polygons_cover_the_mask(server, predictor):
    _, post = server
    (prediction,) = post("predict", request_for("a.jpg", [BOX], POLYGON_CONFIG))["results"]
    assert len(prediction["result"]) == 2
    picture = np.zeros(SIZE, dtype=bool)
    for found in prediction["result"]:
        assert found["type"] == "polygonlabels"
        layer = Image.new("1", (WIDTH * 8, HEIGHT * 8))
        corners = np.array(found["value"]["points"]) / 100 * [WIDTH * 8, HEIGHT * 8]
        ImageDraw.Draw(layer).polygon([tuple(corner) for corner in corners], fill=1)
        picture |= np.array(layer)[4::8, 4::8]
    assert (picture & predictor.mask).sum() / (picture | predictor.mask).sum() > 0.95


def test_an_image_is_embedded_once_and_few_are_kept(server, predictor):
    _, post = server
    for photo in "aabacab":
        post("predict", request_for(photo, [POINT]))
    assert predictor.embedded == ["a", "b", "c", "b"]


@pytest.fixture
def images():
    """A web server that answers every request with one image; yields its address and the requests."""
    picture = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), "teal").save(picture, "PNG")
    seen = []

    class Images(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append((self.path, self.headers.get("Authorization")))
            there = f"http://localhost:{self.server.server_address[1]}/cloud.png"  # the same server by another name
            self.send_response(302 if "presign" in self.path else 200)
            self.send_header("Location", there)
            self.end_headers()
            self.wfile.write(picture.getvalue())

        def do_POST(self):
            seen.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"access": "some.short.lived"}')

    with ThreadingHTTPServer(("127.0.0.1", 0), Images) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}", seen
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/data/upload/1/a.png", [("/data/upload/1/a.png", "Token abc")]),
        ("/data/local-files/?d=b/c.png", [("/data/local-files/?d=b/c.png", "Token abc")]),
        (
            "s3://bucket/d.png",
            [("/tasks/7/presign/?fileuri=czM6Ly9idWNrZXQvZC5wbmc=", "Token abc"), ("/cloud.png", None)],
        ),
    ],
)
def test_images_are_fetched_with_the_key_which_no_other_server_sees(images, monkeypatch, source, expected):
    address, seen = images
    monkeypatch.setenv("LABEL_STUDIO_URL", address)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "abc")
    assert load_example().fetch_image(source, 7).size == (WIDTH, HEIGHT)
    assert seen == expected


def test_a_personal_access_token_buys_a_short_one(images, monkeypatch):
    address, seen = images
    monkeypatch.setenv("LABEL_STUDIO_URL", f"{address}/")
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", "long.lived.one")
    load_example().fetch_image("/data/upload/1/a.png", 7)
    assert seen == [
        ("/api/token/refresh/", {"refresh": "long.lived.one"}),
        ("/data/upload/1/a.png", "Bearer some.short.lived"),
    ]


@pytest.mark.parametrize("source", ["file:///etc/hostname", "ftp://127.0.0.1/a.png", "data://a"])
def test_no_file_of_the_backends_machine_is_read(source):
    with pytest.raises(ValueError, match="on Label Studio's server or the web"):
        load_example().fetch_image(source, 7)


def test_requests_without_a_prompt(server):
    backend, post = server
    assert post("predict", request_for("a.jpg", []))["results"] == []
    for path in ("setup", "webhook"):
        assert post(path, {"project": "1.17", "schema": BRUSH_CONFIG})["model_version"] == backend.version


@pytest.mark.parametrize(
    "regions",
    [
        [BOX, BOX],
        [region("ellipselabels", x=50.0, y=50.0, radiusX=5.0, radiusY=5.0)],
        [region("polygonlabels", points=[[1, 1], [9, 9], [1, 9]])],
        [{**POINT, "image_rotation": 90}],
        [region("brushlabels", format="rle", rle=[0, 0, 0, 4, 57, 0, 0, 0, 0, 0])],
    ],
)
def test_what_cannot_be_a_prompt_is_an_error_and_the_server_goes_on(server, regions):
    _, post = server
    with pytest.raises(urllib.error.HTTPError) as error:
        post("predict", request_for("a.jpg", regions))
    assert "ValueError" in json.load(error.value)["error"]
    assert post("predict", request_for("a.jpg", [POINT]))["results"]
