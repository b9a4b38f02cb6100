"""The server from HTTP: what it answers, what it refuses, and that nothing of the machine can be read through it."""

import gzip
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from demo_fixtures import photo_file
from sam_hq.demo import request_bodies
from sam_hq.demo.demo_service import DemoService
from sam_hq.demo.opened_photo import PhotoLimits
from sam_hq.demo.server import build_app
from sam_hq.demo.session_store import SessionStore

LIMITS = PhotoLimits(upload_bytes=200_000, pixels=60_000)


@pytest.fixture(scope="module")
def client(demo_parts):
    service = DemoService(*demo_parts, "small", LIMITS, SessionStore(), [("example.png", photo_file(seed=7))])
    with TestClient(build_app(service), base_url="http://127.0.0.1:7860") as client:
        yield client


def opened(client, data=None, name="photo.png") -> tuple[str, dict]:
    answer = client.post("/api/photos", content=data or photo_file(), headers={"X-File-Name": name})
    assert answer.status_code == 201
    state = answer.json()
    return f"/api/photos/{state['session']}", state


def test_an_image_from_opening_to_the_download(client):
    photo, state = opened(client, name="m%C3%BCller%20.png")
    assert state["photo"] == {
        "name": "müller .png",
        "width": 200,
        "height": 120,
        "shown_width": 200,
        "shown_height": 120,
    }
    assert Image.open(io.BytesIO(client.get(f"{photo}/shown.jpg").content)).size == (200, 120)
    state = client.post(f"{photo}/point", json={"x": 50, "y": 60}).json()
    assert len(state["candidates"]) == 3
    assert client.post(f"{photo}/choose", json={"candidate": 1}).json()["chosen"] == 1
    assert client.post(f"{photo}/keep").json()["objects"][0]["number"] == 1
    assert client.get(photo).json()["objects"] == client.post(f"{photo}/clear").json()["objects"]
    answer = client.get(f"{photo}/files/objects/annotations.json")
    assert answer.headers["content-disposition"] == ("attachment; filename*=utf-8''m%C3%BCller%20-annotations.json")
    assert answer.json()["images"][0]["file_name"] == "müller .png"
    overlay = client.get(f"{photo}/files/objects/overlay.png")
    assert Image.open(io.BytesIO(overlay.content)).size == (200, 120)
    assert overlay.headers["content-type"] == "image/png"


def test_a_preview_changes_nothing(client):
    photo, state = opened(client)
    preview = client.get(f"{photo}/preview?x=50&y=60&label=1").json()
    assert client.get(photo).json() == {name: value for name, value in state.items() if name != "session"}
    assert preview == client.post(f"{photo}/point", json={"x": 50, "y": 60}).json()["candidates"][0]


@pytest.mark.parametrize(
    "query", ["", "x=1&y=2", "x=a&y=2&label=1", "x=1&y=2&label=2", "x=nan&y=2&label=1", "x=1&y=1e999&label=0"]
)
def test_previews_that_make_no_sense_are_refused(client, query):
    photo, _ = opened(client)
    answer = client.get(f"{photo}/preview?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_everything_is_found_with_progress(client):
    photo, _ = opened(client)
    assert client.get(f"{photo}/generation").json() is None
    options = {"points_per_side": 4, "least_score": 0, "least_stability": 0}
    run = client.post(f"{photo}/generation", json=options).json()
    assert run["points"] == 16
    while run["status"] in ("waiting", "running"):
        run = client.get(f"{photo}/generation").json()
    assert run["status"] == "done"
    masks = client.get(f"{photo}/generation/masks").json()
    assert run["found"] == len(masks["scores"]) == len(masks["colors"])
    answer = client.get(f"{photo}/generation/labels")  # the client undoes the compression, as a browser does
    labels = np.frombuffer(answer.content, "<u2").reshape(120, 200)
    assert 0 < labels.max() <= run["found"]  # one may lie under others
    assert len(client.get(f"{photo}/files/everything/annotations.json").json()["annotations"]) == run["found"]
    assert client.delete(f"{photo}/generation").json()["status"] == "done"


def test_users_are_kept_apart(client):
    (one, first), (other, second) = opened(client), opened(client, photo_file(seed=1), "other.png")
    assert first["session"] != second["session"]
    client.post(f"{one}/point", json={"x": 50, "y": 60})
    assert client.get(other).json()["points"] == []
    client.post(f"{other}/box", json={"x0": 1, "y0": 1, "x1": 90, "y1": 90})
    assert client.get(one).json()["box"] is None
    assert client.get(f"{one}/shown.jpg").content != client.get(f"{other}/shown.jpg").content
    assert client.delete(one).status_code == 204
    assert client.get(one).status_code == 410
    assert client.get(other).status_code == 200
    assert "set-cookie" not in client.get("/").headers


def test_examples_are_offered_and_opened(client):
    assert client.get("/api/about").json() == {
        "model": "small",
        "upload_bytes": 200_000,
        "pixels": 60_000,
        "examples": ["example.png"],
        "least_score": 0.88,
        "least_stability": 0.95,
    }
    assert Image.open(io.BytesIO(client.get("/api/examples/0").content)).format == "JPEG"
    state = client.post("/api/photos?example=0").json()
    assert state["photo"]["name"] == "example.png"
    for number in ("1", "-1", "x", "٣"):
        assert client.post("/api/photos", params={"example": number}).status_code == 404


def chunks(size):
    for _ in range(size // 1000):
        yield b"x" * 1000


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"no photo", 400, "the file is no photo that can be read"),
        (b"", 400, "the file is no photo that can be read"),
        (photo_file(size=(300, 201)), 400, "300 x 201 = 0.1 million pixels, but at most 0.1 million are accepted"),
        (b"x" * 250_000, 413, "the file has 0.2 MB, but at most 0.2 MB are accepted"),
        (chunks(250_000), 413, "the file is too large: at most 0.2 MB are accepted"),  # its size is not announced
    ],
)
def test_images_beyond_the_limits_are_refused_with_a_reason(client, body, status, message):
    answer = client.post("/api/photos", content=body)
    assert answer.status_code == status
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("action", "body", "status"),
    [
        ("point", b'{"x": 1000, "y": 5}', 400),
        ("point", b'{"x": "a", "y": 5}', 400),
        ("point", b'{"x": NaN, "y": 5}', 400),
        ("point", b'{"x": 5}', 400),
        ("point", b'{"x": 5, "y": 5, "self": 5}', 400),
        ("point", b"[1, 2]", 400),
        ("point", b"{", 400),
        ("point", b"[" * 5000, 400),
        ("point", b'{"x": "' + b"a" * 20_000 + b'"}', 413),
        ("options", b'{"candidates": "all"}', 400),
        ("options", b'{"__class__": 1}', 400),
        ("generation", b'{"points_per_side": 1000}', 400),
        ("generation", b'{"generator": 1}', 400),
        ("close", b"{}", 404),
        ("state", b"{}", 404),
        ("__init__", b"{}", 404),
    ],
)
def test_actions_that_make_no_sense_are_refused(client, action, body, status):
    photo, state = opened(client)
    answer = client.post(f"{photo}/{action}", content=body)
    assert answer.status_code == status
    assert answer.json()["error"]
    assert client.get(photo).json() == {name: value for name, value in state.items() if name != "session"}


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2fetc/passwd",
        "/....//....//etc/passwd",
        "/app.js/../../server.py",
        "/server.py",
        "/__init__.py",
        "/page/index.html",
        "//etc/passwd",
        "/file=/etc/passwd",
        "/api/examples/..%2f..%2fetc%2fpasswd",
        "/api/photos/..%2f..%2fetc%2fpasswd",
        "/api/photos?path=/etc/passwd",
        "/index.html%00.css",
        "/.git/config",
        "/openapi.json",
    ],
)
def test_no_path_leads_to_a_file(client, path):
    for method in ("GET", "POST"):
        answer = client.request(method, path)
        assert answer.status_code >= 400
        assert "root:" not in answer.text
        assert "import" not in answer.text
        assert "[build-system]" not in answer.text


def test_downloads_have_fixed_names(client):
    photo, _ = opened(client)
    client.post(f"{photo}/point", json={"x": 50, "y": 60})
    for place in ("objects/other.png", "all/overlay.png", "objects/..%2foverlay.png", "objects/%2fetc%2fpasswd"):
        assert client.get(f"{photo}/files/{place}").status_code == 404


def test_a_name_cannot_add_headers(client):
    photo, state = opened(client, name="a%0d%0aSet-Cookie:%20b=c.png")
    client.post(f"{photo}/point", json={"x": 50, "y": 60})
    answer = client.get(f"{photo}/files/objects/annotations.json")
    assert "set-cookie" not in answer.headers
    assert re.fullmatch(r"[\w .-]+", state["photo"]["name"])


def test_nothing_that_is_answered_names_a_path(client, demo_parts):
    photo, state = opened(client, name="/home/someone/photo.png")
    texts = [json.dumps(state), client.get("/api/about").text, client.get("/nowhere").text]
    texts += [client.post(f"{photo}/point", json={}).text, client.post("/api/photos", content=b"x").text]
    for text in texts:
        assert "/home" not in text
        assert "site-packages" not in text


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 400),  # another site's name that leads to this machine
        ({"Host": "127.0.0.1:7860", "Origin": "http://evil.example"}, 403),
        ({"Host": "127.0.0.1:7860", "Origin": "null"}, 403),
        ({"Host": "127.0.0.1:7860", "Origin": "http://127.0.0.1:9999"}, 403),
        ({"Host": "localhost:7860", "Origin": "http://localhost:7860"}, 201),
        ({"Host": "127.0.0.1:7860"}, 201),
    ],
)
def test_other_sites_cannot_use_the_server_through_a_visitors_browser(client, headers, status):
    assert client.post("/api/photos", content=photo_file(), headers=headers).status_code == status


def test_a_server_for_everyone_takes_any_host_name_but_no_other_origin(demo_parts):
    with TestClient(build_app(DemoService(*demo_parts), allowed_hosts=None), base_url="http://box.lan") as client:
        assert client.get("/api/about").status_code == 200
        refused = client.post("/api/photos", content=photo_file(), headers={"Origin": "http://evil.example"})
        assert refused.status_code == 403


def test_every_answer_forbids_foreign_code_and_sniffing(client):
    for path in ("/", "/app.js", "/style.css", "/api/about", "/nowhere"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    page = client.get("/").text
    assert "<script>" not in page
    assert not re.search(r"""\son\w+=|\sstyle=|https?://""", page)


def test_the_page_comes_whole(client):
    page = client.get("/").text
    wanted = set(re.findall(r'(?:src|href)="([^"]+)"', page))
    scripts = {name: client.get(f"/{name}").text for name in wanted if name.endswith(".js")}
    queue = list(scripts)
    while queue:
        for name in re.findall(r'from "\./([^"]+)"', scripts[queue.pop()]):
            if name not in scripts:
                scripts[name] = client.get(f"/{name}").text
                queue.append(name)
    for name in wanted | set(scripts):
        assert client.get(f"/{name}").status_code == 200, name


def test_an_image_that_does_not_arrive_is_given_up(client, monkeypatch):
    monkeypatch.setattr(request_bodies, "UPLOAD_SECONDS", 0.0)
    answer = client.post("/api/photos", content=photo_file())
    assert answer.status_code == 408
    assert client.post("/api/photos", content=photo_file()).status_code == 408
    monkeypatch.undo()
    assert client.post("/api/photos", content=photo_file()).status_code == 201


def test_bodies_that_arrive_at_once_are_bounded_in_all(client, monkeypatch):
    monkeypatch.setattr(request_bodies, "MOST_HELD_BYTES", 1000)
    answer = client.post("/api/photos", content=photo_file(size=(200, 200)))
    assert answer.status_code == 503
    assert "too many files" in answer.json()["error"]
    monkeypatch.undo()
    assert client.post("/api/photos", content=photo_file()).status_code == 201


def test_the_limits_that_were_asked_for_hold_and_are_said(demo_parts):
    now = [0.0]
    service = DemoService(*demo_parts, store=SessionStore(1, 60, clock=lambda: now[0]))
    with TestClient(build_app(service), base_url="http://localhost") as client:
        (first, _), (second, _) = opened(client), opened(client)
        assert len(service.store) == 1
        assert "holds 1 images at once" in client.get(first).json()["error"]
        now[0] = 61
        answer = client.get(second)
        assert answer.status_code == 410
        assert "nobody used the image for 1 minutes" in answer.json()["error"]


def test_a_photo_that_others_push_out_while_it_is_embedded_is_said_to_be_gone(demo_parts, monkeypatch):
    service = DemoService(*demo_parts, store=SessionStore(1, 60))
    open_photo = service.open

    def others_come_between(data, name):
        session = open_photo(data, name)
        open_photo(data, name)
        return session

    monkeypatch.setattr(service, "open", others_come_between)
    with TestClient(build_app(service), base_url="http://localhost") as client:
        answer = client.post("/api/photos", content=photo_file())
    assert answer.status_code == 410
    assert "holds 1 images at once" in answer.json()["error"]


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("point", '{"x": %s, "y": 5}'),
        ("point", '{"x": 5, "y": -%s}'),
        ("point", '{"x": 5, "y": 5, "label": %s}'),
        ("box", '{"x0": 1, "y0": 1, "x1": 9, "y1": %s}'),
        ("choose", '{"candidate": %s}'),
        ("remove", '{"number": %s}'),
        ("generation", '{"points_per_side": %s}'),
        ("generation", '{"least_score": %s}'),
        ("generation", '{"least_stability": -%s}'),
    ],
)
def test_numbers_of_many_digits_are_refused(client, action, body, digits):
    photo, _ = opened(client)
    answer = client.post(f"{photo}/{action}", content=body % ("9" * digits))
    assert answer.status_code == 400
    assert len(answer.json()["error"]) < 1000


@pytest.mark.parametrize("path", ["/api/examples/%s", "/api/photos?example=%s"])
def test_numbers_of_many_digits_name_no_example(client, path):
    for digits in (20, 400, 5000):
        method = "POST" if "?" in path else "GET"
        assert client.request(method, path % ("9" * digits)).status_code in (400, 404)


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://]", "//[", "http://[x]"])
def test_an_origin_that_is_no_address_is_refused(client, origin):
    answer = client.post("/api/photos", content=photo_file(), headers={"Origin": origin})
    assert answer.status_code in (400, 403)
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_fault_shows_nothing_of_the_inside(demo_parts, monkeypatch):
    service = DemoService(*demo_parts)
    monkeypatch.setattr(service, "open", lambda *_: 1 / 0)
    with TestClient(build_app(service), base_url="http://localhost", raise_server_exceptions=False) as client:
        answer = client.post("/api/photos", content=photo_file())
    assert (answer.status_code, answer.text) == (500, "Internal Server Error")
    assert "default-src" in answer.headers["content-security-policy"]


def test_labels_are_compressed_on_their_way(client):
    photo, _ = opened(client)
    client.post(f"{photo}/generation", json={"points_per_side": 1, "least_score": 0, "least_stability": 0})
    while client.get(f"{photo}/generation").json()["status"] in ("waiting", "running"):
        pass
    with client.stream("GET", f"{photo}/generation/labels") as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert len(gzip.decompress(b"".join(answer.iter_raw()))) == 2 * 120 * 200
