"""A real Label Studio server on loopback, in an environment of its own, with the example's backend connected to it."""

import io
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
import uuid
import zipfile

import numpy as np
import pytest
from PIL import Image, ImageDraw

from conftest import PHOTOS
from label_studio_example import BRUSH_CONFIG, load_example, smart_region
from sam_hq import SamHQPredictor

pytestmark = pytest.mark.slow

NAMES = ("kitten.jpg", "koala.jpg", "lemur.png")
START_SECONDS = 1200  # the first start lays out the database
LEGACY_TOKEN = uuid.uuid4().hex + "01234567"


class LabelStudio:
    """Its API, with a key."""

    def __init__(self, address: str):
        self.address, self.authorization = address, f"Token {LEGACY_TOKEN}"

    def ask(self, path: str, body=None, content_type="application/json", method=None) -> bytes:
        data = json.dumps(body).encode() if content_type == "application/json" and body is not None else body
        headers = {"Authorization": self.authorization, **({"Content-Type": content_type} if data else {})}
        sent = urllib.request.Request(f"{self.address}/{path}", data, headers, method=method)
        with urllib.request.urlopen(sent, timeout=300) as answer:
            return answer.read()

    def json(self, path: str, body=None, **options):
        return json.loads(self.ask(path, body, **options))

    def import_photos(self, project: int, names) -> None:
        """As files, as the page uploads them."""
        boundary = uuid.uuid4().hex
        parts = b"".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
            f"Content-Type: image/{'png' if name.endswith('png') else 'jpeg'}\r\n\r\n".encode()
            + (PHOTOS / name).read_bytes()
            + b"\r\n"
            for name in names
        )
        body = parts + f"--{boundary}--\r\n".encode()
        self.json(f"api/projects/{project}/import", body, content_type=f"multipart/form-data; boundary={boundary}")


@pytest.fixture(scope="module")
def label_studio(tmp_path_factory):
    command = os.environ.get("SAM_HQ_LABEL_STUDIO") or shutil.which("label-studio")
    assert command, "needs Label Studio: `make slow`, or set SAM_HQ_LABEL_STUDIO to its command"
    folder = tmp_path_factory.mktemp("label-studio")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [command, "start", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port)]
    words += ["--username", "a@example.com", "--password", uuid.uuid4().hex]
    words += ["--user-token", LEGACY_TOKEN, "--enable-legacy-api-token"]
    quiet = {"COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false", "FEATURE_FLAGS_OFFLINE": "true"}
    local = {"ML_BLOCK_LOCAL_IP": "false", "SSRF_PROTECTION_ENABLED": "false"}  # else it connects no backend here
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = {**own, **quiet, **local, "LABEL_STUDIO_BASE_DATA_DIR": str(folder)}
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        yield wait_for(LabelStudio(f"http://127.0.0.1:{port}"), process, folder / "server.log")
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_for(server: LabelStudio, process: subprocess.Popen, log) -> LabelStudio:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            server.json("api/projects")
        except urllib.error.HTTPError:
            raise  # it answers, and refuses the key
        except OSError:
            time.sleep(1)
        else:
            return server
    pytest.fail(f"Label Studio does not start: {log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def predictor():
    return SamHQPredictor.from_pretrained()


@pytest.fixture
def backend(predictor, monkeypatch, label_studio):
    """The example, serving; yields its module and its address."""
    module = load_example()
    monkeypatch.setenv("LABEL_STUDIO_URL", label_studio.address)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", LEGACY_TOKEN)
    with module.serve(module.Backend(predictor), "127.0.0.1", 0) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield module, f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()
        thread.join()


def project_with_photos(label_studio, url) -> tuple[dict, int, list[dict]]:
    """A project with the backend connected: the project, the backend's number, its tasks."""
    project = label_studio.json("api/projects", {"title": "photos", "label_config": BRUSH_CONFIG})
    label_studio.import_photos(project["id"], NAMES)
    connected = label_studio.json("api/ml", {"url": url, "project": project["id"], "is_interactive": True})
    assert connected["state"] == "CO"
    tasks = label_studio.json(f"api/tasks?project={project['id']}&fields=all")["tasks"]
    assert [task["data"]["photo"].split("-", 1)[1] for task in tasks] == list(NAMES)
    return project, connected["id"], tasks


def stroke(size) -> np.ndarray:
    """A broad stroke over the middle."""
    picture = Image.new("1", size[::-1])
    line = [(size[1] * x, size[0] * y) for x, y in ((0.4, 0.45), (0.6, 0.6))]
    ImageDraw.Draw(picture).line(line, fill=1, width=size[0] // 8)
    return np.array(picture)


def test_three_photos_are_annotated_through_the_backend(label_studio, backend, predictor, monkeypatch):
    """A point, a box and a brush region; what is saved is read back as Label Studio itself decodes it."""
    module, url = backend
    project, connected, tasks = project_with_photos(label_studio, url)
    sizes = [Image.open(PHOTOS / name).size[::-1] for name in NAMES]
    rough = stroke(sizes[2])
    drawn = [
        [smart_region("keypointlabels", sizes[0], x=50.0, y=50.0, width=0.3, is_positive=True)],
        [smart_region("rectanglelabels", sizes[1], x=20.0, y=10.0, width=60.0, height=80.0, rotation=0)],
        [smart_region("brushlabels", sizes[2], format="rle", rle=module.brush_rle(rough))],
    ]
    (across, down), (height, width) = (sizes[0][1], sizes[0][0]), sizes[1]
    prompts = [
        {"points": [[0.5 * across, 0.5 * down]], "labels": [1]},
        {"boxes": [0.2 * width, 0.1 * height, 0.8 * width, 0.9 * height]},
        {"masks": rough},
    ]
    found = []
    for number, (task, regions) in enumerate(zip(tasks, drawn, strict=True)):
        if number == 1:  # from here on with the key that Label Studio's page offers
            monkeypatch.setenv("LABEL_STUDIO_API_KEY", label_studio.json("api/token/", {})["token"])
        asked = {"task": task["id"], "context": {"result": regions}}
        answer = label_studio.json(f"api/ml/{connected}/interactive-annotating", asked)
        assert "errors" not in answer, answer
        (result,) = answer["data"]["result"]
        label_studio.json(f"api/tasks/{task['id']}/annotations", {"result": [result], "was_cancelled": False})
        (saved,) = label_studio.json(f"api/tasks/{task['id']}/annotations")
        assert saved["result"][0]["value"] == result["value"]
        found.append(saved["id"])
    exported = label_studio.ask(f"api/projects/{project['id']}/export?exportType=BRUSH_TO_NUMPY")
    with zipfile.ZipFile(io.BytesIO(exported)) as archive:
        masks = {int(name.split("annotation-")[1].split("-")[0]): archive.read(name) for name in archive.namelist()}
    for number, (name, prompt) in enumerate(zip(NAMES, prompts, strict=True)):
        mask = np.load(io.BytesIO(masks[found[number]])) > 0
        expected = predictor.predict(predictor.embed(PHOTOS / name), **prompt).masks[0, 0].cpu().numpy()
        assert expected.any()
        assert mask.shape == sizes[number]
        assert (mask != expected).mean() < 1e-4, name
