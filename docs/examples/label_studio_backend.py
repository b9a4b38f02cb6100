"""A Label Studio machine-learning backend: points, boxes and brush strokes in, brush masks or polygons out.

    pip install sam-hq
    LABEL_STUDIO_URL=http://localhost:8080 LABEL_STUDIO_API_KEY=… python docs/examples/label_studio_backend.py

docs/label_studio.md leads from here to the first click.
"""

import argparse
import base64
import io
import json
import math
import os
import threading
import traceback
import urllib.request
import uuid
import xml.etree.ElementTree as ElementTree
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

import sam_hq
from sam_hq_numpy.formats.polygons import one_ring, outline
from sam_hq_numpy.mask_rle import RunLengthMask

RUN_BITS = (3, 4, 8, 16)  # the lengths of a run that the encoder chooses from, in bits


def brush_rle(mask: np.ndarray) -> list[int]:
    """A mask (H, W) as Label Studio's brush: the bytes of an RGBA picture, row by row, packed as runs of bits."""
    pixels = np.asarray(mask, dtype=bool).ravel()
    starts = np.concatenate([[0], np.flatnonzero(pixels[1:] != pixels[:-1]) + 1])
    lengths = np.diff(np.append(starts, len(pixels))) * 4
    bits = [f"{4 * len(pixels):032b}", f"{8 - 1:05b}", *(f"{size - 1:04b}" for size in RUN_BITS)]
    for length, value in zip(lengths.tolist(), pixels[starts].tolist(), strict=True):
        while length:
            run = min(length, 2 ** RUN_BITS[-1])
            kind = next(i for i, size in enumerate(RUN_BITS) if run <= 2**size)
            bits.append(f"1{kind:02b}{run - 1:0{RUN_BITS[kind]}b}{'1' * 8 if value else '0' * 8}")
            length -= run
    text = "".join(bits)
    return np.packbits(np.frombuffer(text.encode(), dtype=np.uint8) - ord("0")).tolist()


def brush_mask(rle: list[int], size: tuple[int, int]) -> np.ndarray:
    """The mask (H, W) of a brush region: where its picture is not transparent."""
    bits = np.unpackbits(np.array(rle, dtype=np.uint8))
    text, at = (bits + ord("0")).tobytes(), 0

    def read(count: int) -> int:
        nonlocal at
        at += count
        return int(text[at - count : at], 2)

    total, word = read(32), read(5) + 1
    if word != 8 or total != 4 * size[0] * size[1]:
        raise ValueError(f"a brush region must be an RGBA picture of {size} (height, width), got {total} values")
    run_bits = [read(4) + 1 for _ in range(4)]
    values, filled = np.zeros(total, dtype=np.uint8), 0
    while filled < total:
        is_run = read(1)
        count = read(run_bits[read(2)]) + 1
        if is_run:
            values[filled : filled + count] = read(8)
        else:
            values[filled : filled + count] = np.packbits(bits[at : at + 8 * count])
            at += 8 * count
        filled += count
    return values[3::4].reshape(size) > 0


def box_of(value: dict, size: tuple[int, int]) -> list[float]:
    """The box (x0, y0, x1, y1) about a rectangle, which may be turned about its top left corner."""
    x, y, w, h = (value[name] * size[axis] / 100 for name, axis in (("x", 1), ("y", 0), ("width", 1), ("height", 0)))
    cosine, sine = (turn(math.radians(value.get("rotation", 0))) for turn in (math.cos, math.sin))
    xs = [x + a * cosine - b * sine for a in (0, w) for b in (0, h)]
    ys = [y + a * sine + b * cosine for a in (0, w) for b in (0, h)]
    return [min(xs), min(ys), max(xs), max(ys)]


def prompts_of(regions: list[dict], size: tuple[int, int]) -> dict:
    """What was drawn, for one object, as `SamHQPredictor.predict` takes it; Label Studio counts in percent."""
    height, width = size
    points, labels, boxes, rough = [], [], [], np.zeros(size, dtype=bool)
    for region in regions:
        value = region["value"]
        if region.get("image_rotation"):
            raise ValueError("the image must not be rotated while it is prompted")
        if "rle" in value:
            rough |= brush_mask(value["rle"], size)
        elif "height" in value and "x" in value:
            boxes.append(box_of(value, size))
        elif "x" in value and "radiusX" not in value:
            points.append([value["x"] * width / 100, value["y"] * height / 100])
            labels.append(int(region.get("is_positive", True)))
        else:
            raise ValueError(f"prompts are key points, rectangles and brushes, got {region.get('type')!r}")
    if len(boxes) > 1:
        raise ValueError(f"one object has one box, got {len(boxes)}")
    prompts = {"points": points, "labels": labels} if points else {}
    prompts |= {"boxes": boxes[0]} if boxes else {}
    return prompts | ({"masks": rough} if rough.any() else {})


class Backend:
    """Answers Label Studio's requests; keeps the embeddings of the last images, so that a click is quick."""

    def __init__(self, predictor: sam_hq.SamHQPredictor, kept_images: int = 8):
        self.predictor, self.kept_images = predictor, kept_images
        self.version = f"sam-hq {sam_hq.__version__}"
        self._kept: OrderedDict[str, sam_hq.PhotoEmbeddings] = OrderedDict()
        self._lock = threading.Lock()  # one model, many annotators

    def predict(self, request: dict) -> dict:
        """Answer `POST /predict`: without a context there is nothing to segment."""
        regions = ((request.get("params") or {}).get("context") or {}).get("result") or []
        results = [self.segment(request["tasks"][0], request["label_config"], regions)] if regions else []
        return {"results": results, "model_version": self.version}

    def segment(self, task: dict, label_config: str, regions: list[dict]) -> dict:
        """The object that the regions show, as a prediction for the first brush or polygon tag of the configuration."""
        tags = list(ElementTree.fromstring(label_config).iter())
        control = next((tag for tag in tags if tag.tag in ("BrushLabels", "PolygonLabels")), None)
        if control is None:
            raise ValueError("the labelling configuration must have BrushLabels or PolygonLabels")
        image = next(tag for tag in tags if tag.tag == "Image" and tag.get("name") == control.get("toName"))
        with self._lock:
            embeddings = self._embeddings(task["data"][image.get("value").lstrip("$")], task.get("id"))
            size = height, width = embeddings.original_size
            prompts = prompts_of(regions, size)
            if not prompts:
                return {"result": [], "score": 0.0, "model_version": self.version}
            found = self.predictor.predict(embeddings, **prompts)
        mask, score = found.masks[0, 0].cpu().numpy(), found.scores[0, 0].item()
        kind = control.tag.lower()
        labels = regions[-1]["value"].get(regions[-1]["type"], [])
        if kind == "brushlabels":
            values = [{"format": "rle", "rle": brush_rle(mask)}] if mask.any() else []
        else:
            pieces = outline(RunLengthMask.from_mask(mask)).polygons
            percent = 100 / np.array([width, height])
            values = [{"points": (one_ring(piece.rings) * percent).tolist(), "closed": True} for piece in pieces]
        about = {
            "from_name": control.get("name"), "to_name": image.get("name"), "type": kind, "score": score,
            "original_width": width, "original_height": height, "image_rotation": 0, "readonly": False,
        }  # fmt: skip
        result = [{"id": uuid.uuid4().hex[:10], **about, "value": {**value, kind: labels}} for value in values]
        return {"result": result, "score": score, "model_version": self.version}

    def _embeddings(self, source: str, task_id: int | None) -> sam_hq.PhotoEmbeddings:
        if source not in self._kept:
            self._kept[source] = self.predictor.embed(fetch_image(source, task_id))
        self._kept.move_to_end(source)
        while len(self._kept) > self.kept_images:
            self._kept.popitem(last=False)
        return self._kept[source]


def fetch_image(source: str, task_id: int | None) -> Image.Image:
    """The task's image: uploads, local files and cloud storage come from Label Studio's server, with its key."""
    server = os.environ.get("LABEL_STUDIO_URL", "http://localhost:8080").rstrip("/")
    if source.startswith(("s3:", "gs:", "azure-blob:")):
        source = f"tasks/{task_id}/presign/?fileuri={base64.urlsafe_b64encode(source.encode()).decode()}"
    url = urlsplit(source if "://" in source else f"{server}/{source.lstrip('/')}")
    if url.scheme not in ("http", "https"):
        raise ValueError(f"an image must be on Label Studio's server or the web, got {source!r}")
    request = urllib.request.Request(url.geturl())
    if url.netloc == urlsplit(server).netloc and "LABEL_STUDIO_API_KEY" in os.environ:
        key = authorization(server, os.environ["LABEL_STUDIO_API_KEY"])
        request.add_unredirected_header("Authorization", key)  # a cloud that it leads to is not told
    with urllib.request.urlopen(request, timeout=60) as answer:
        return Image.open(io.BytesIO(answer.read()))


def authorization(server: str, key: str) -> str:
    """The header for a key: a personal access token buys one for some minutes, a legacy token is used as it is."""
    if key.count(".") != 2:
        return f"Token {key}"
    asked = urllib.request.Request(
        f"{server}/api/token/refresh/", json.dumps({"refresh": key}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return f"Bearer {json.load(answer)['access']}"


class Handler(BaseHTTPRequestHandler):
    """The four requests of Label Studio's protocol."""

    backend: Backend

    def do_GET(self) -> None:
        """Answer `/health`."""
        self._answer(200, {"status": "UP", "model_class": "SamHQPredictor"})

    def do_POST(self) -> None:
        """Answer `/predict`, `/setup` and, for what is saved, `/webhook`."""
        answer = {"model_version": self.backend.version}
        try:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
            if self.path.rstrip("/").endswith("/predict"):
                answer = self.backend.predict(request)
        except Exception as error:  # a bad region or an unreadable image must not end the server
            traceback.print_exc()
            self._answer(500, {"error": f"{type(error).__name__}: {error}"})
        else:
            self._answer(200, answer)

    def _answer(self, status: int, answer: dict) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def serve(backend: Backend, host: str, port: int) -> ThreadingHTTPServer:
    """A server for a backend; it waits for `serve_forever`."""
    return ThreadingHTTPServer((host, port), type("BackendHandler", (Handler,), {"backend": backend}))


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Serve SAM-HQ to Label Studio.")
    parser.add_argument("--model", help="a directory, or a name on the Hub; left out: the model that comes with sam-hq")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, default=9090)
    parser.add_argument("--kept-images", type=int, default=8, help="images whose embeddings are kept")
    args = parser.parse_args()
    backend = Backend(sam_hq.SamHQPredictor.from_pretrained(args.model), args.kept_images)
    with serve(backend, args.host, args.port) as server:
        print(f"{backend.version} for Label Studio: http://{args.host}:{args.port}")
        server.serve_forever()


if __name__ == "__main__":
    main()
