"""The static page in headless Chromium: what it finds is what the Python runner finds on the same photo."""

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from conftest import PHOTOS
from exported_models import kinds
from sam_hq_numpy.overlays import draw_masks, object_color

onnx = pytest.importorskip("onnx", reason="needs the extra `onnx`")
pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
pytest.importorskip("starlette", reason="needs the extra `demo`")

LEAST_IOU = 0.99
KIND = kinds()[-1]  # the embedded checkpoint where there is one
WAIT = 120_000  # milliseconds; the first answer compiles the runtime


@pytest.fixture(scope="module")
def folder(exports, tmp_path_factory):
    """A folder with the page."""
    from sam_hq.demo.static_folder import write_static_demo

    directory = tmp_path_factory.mktemp("static") / "page"
    return write_static_demo(directory, exports(KIND).directory, "small", [PHOTOS / "kitten.jpg"])


@pytest.fixture(scope="module")
def runner(exports):
    """The Python runner of the same graphs."""
    from sam_hq_onnx import OnnxSamHQ

    return OnnxSamHQ(exports(KIND).directory, providers="cpu", threads=1)


@pytest.fixture(scope="module")
def address(folder):
    """Where the page is served."""
    from browser_fixtures import serving
    from sam_hq.demo.static_server import build_static_app

    with serving(build_static_app(folder)) as address:
        yield address


class StaticPage:
    """The page in a browser, as a person uses it."""

    def __init__(self, browser, address):
        self.page = browser.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        self.page.set_default_timeout(WAIT)
        self.requested, self.complaints = [], []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: dialog.accept())  # the next test's photo drops what was kept in the last
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.goto(f"{address}/")

    def open(self, name, data):
        self.page.evaluate("document.getElementById('status').textContent = ''")
        self.give(name, data)
        self.wait_for_status(name)
        self.width, self.height = Image.open(io.BytesIO(data)).size

    def give(self, name, data):
        at_work = self.page.is_visible("#work")
        chooser = self.page.locator("#another input" if at_work else "#file")
        chooser.set_input_files({"name": name, "mimeType": "image/png", "buffer": data})

    def place(self, x, y):
        """From pixels of the photo to those of the window."""
        frame = self.page.locator("#marks").bounding_box()
        return frame["x"] + x / self.width * frame["width"], frame["y"] + y / self.height * frame["height"]

    def answer(self, act):
        """Do something and wait until the page has answered."""
        self.page.evaluate("document.getElementById('status').textContent = ''")
        act()
        self.wait_for_status("Answered in")

    def wait_for_status(self, text):
        # The page forbids scripts made of strings, so no condition of Playwright's can run in it.
        self.page.locator("#status", has_text=text).wait_for(state="attached")

    def click(self, x, y, **options):
        self.answer(lambda: self.page.mouse.click(*self.place(x, y), **options))

    def drag(self, x0, y0, x1, y1):
        def moved():
            self.page.mouse.move(*self.place(x0, y0))
            self.page.mouse.down()
            self.page.mouse.move(*self.place((x0 + x1) / 2, (y0 + y1) / 2))
            self.page.mouse.move(*self.place(x1, y1))
            self.page.mouse.up()

        self.answer(moved)

    def download(self, file):
        with self.page.expect_download() as waited:
            self.page.click(f"#downloads button[data-file='{file}']")
        return waited.value.path().read_bytes()

    def masks(self):
        """The objects' numbers at photo size."""
        return np.asarray(Image.open(io.BytesIO(self.download("masks.png"))))

    def previewed(self, shown=True):
        """The preview's mask at photo size, once there is one, or none any more."""
        data = self.page.evaluate(
            """async (shown) => {
              const canvas = document.getElementById("preview");
              const { width, height } = canvas;
              for (;;) {
                const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
                if (data.some(Boolean) === shown) {
                  return Array.from({ length: width * height }, (_, at) => (data[4 * at + 3] ? 1 : 0)).join("");
                }
                await new Promise((done) => setTimeout(done, 50));
              }
            }""",
            shown,
        )
        return np.frombuffer(data.encode(), dtype=np.uint8).reshape(self.height, self.width) == ord("1")

    def scores(self):
        return [float(text) for text in self.page.locator("#candidates span").all_inner_texts()]


@pytest.fixture(scope="module")
def loaded_page(chromium, address):
    """The page; it loads the runtime and the model once."""
    page = StaticPage(chromium, address)
    yield page
    page.page.close()
    assert all(url.startswith((f"{address}/", "blob:")) for url in page.requested)


@pytest.fixture
def static_page(loaded_page):
    """The page, with whatever photo was open before."""
    yield loaded_page
    complaints, loaded_page.complaints = loaded_page.complaints, []
    assert complaints == []


def iou(mask, other):
    return (mask & other).sum() / (mask | other).sum()


def test_an_example_opens(static_page):
    static_page.page.click("#example-list button")
    static_page.page.wait_for_selector("#work:not([hidden])")
    assert "kitten.jpg" in static_page.page.get_attribute("#marks", "aria-label")


@pytest.mark.parametrize("name", ["kitten.jpg", "lemur.png"])
def test_a_click_gives_the_mask_of_the_runner(static_page, runner, name):
    static_page.open(name, (PHOTOS / name).read_bytes())
    x, y = static_page.width // 2, static_page.height // 2
    static_page.click(x, y)
    found = static_page.masks()
    expected = runner.segment(PHOTOS / name, input_points=[[[[x, y]]]])[0]
    assert found.shape == expected.masks.shape[-2:]
    assert iou(found == 1, expected.masks[0, 0]) >= LEAST_IOU
    assert static_page.scores() == pytest.approx(expected.scores[0], abs=0.011)  # two digits are shown


def drag_central_box(static_page) -> list[int]:
    """Draw a box over the middle third of the photo."""
    width, height = static_page.width, static_page.height
    box = [width // 3, height // 5, 2 * width // 3, 9 * height // 10]
    static_page.drag(*box)
    return box


def test_boxes_points_and_candidates_follow_the_runner(static_page, runner):
    photo = PHOTOS / "kitten.jpg"
    static_page.open(photo.name, photo.read_bytes())
    box = drag_central_box(static_page)
    with_box = runner.segment(photo, input_boxes=[[box]], multimask_output=False)[0]
    assert iou(static_page.masks() == 1, with_box.masks[0, 0]) >= LEAST_IOU

    point = [static_page.width // 2, static_page.height // 2]
    static_page.click(*point, button="right")
    refined = runner.segment(
        photo,
        input_points=[[[point]]],
        input_labels=[[[0]]],
        input_boxes=[[box]],
        input_masks=[with_box.low_res_masks[:, 0]],
        multimask_output=False,
    )[0]
    assert iou(static_page.masks() == 1, refined.masks[0, 0]) >= LEAST_IOU

    static_page.answer(lambda: static_page.page.click("#undo"))
    assert iou(static_page.masks() == 1, with_box.masks[0, 0]) >= LEAST_IOU

    static_page.page.click("summary:has-text('Advanced'):visible >> nth=0")
    static_page.answer(lambda: static_page.page.select_option("#how-many", "three"))
    three = runner.segment(photo, input_boxes=[[box]])[0]
    static_page.answer(lambda: static_page.page.click("#candidates button:nth-child(3)"))
    assert iou(static_page.masks() == 1, three.masks[0, 2]) >= LEAST_IOU

    static_page.answer(lambda: static_page.page.check("#hq-only"))
    alone = runner.segment(photo, input_boxes=[[box]], hq_token_only=True)[0]
    assert iou(static_page.masks() == 1, alone.masks[0, 0]) >= LEAST_IOU


@pytest.fixture
def quick_answers(static_page):
    """However slow the machine: no time passes on the page's clock."""
    static_page.page.evaluate("() => { performance.now = () => 0; }")
    yield
    static_page.page.evaluate("() => { delete performance.now; }")


@pytest.mark.parametrize("button", ["left", "right"])
def test_resting_shows_the_mask_that_a_click_gives_and_changes_nothing(static_page, quick_answers, button):
    photo, page = PHOTOS / "kitten.jpg", static_page.page
    static_page.open(photo.name, photo.read_bytes())
    width, height = static_page.width, static_page.height
    for share in (4, 3, 2):  # of five answers the middle one counts, and those before may have been slow
        static_page.click(width // share, height // 2)
    before, scores = static_page.masks(), static_page.scores()

    if button == "right":
        page.keyboard.down("Shift")
    page.mouse.move(*static_page.place(width // 5, 4 * height // 5))
    preview = static_page.previewed()
    assert (static_page.masks() == before).all()
    assert static_page.scores() == scores
    static_page.previewed(shown=False)  # the pointer went to the download

    page.mouse.move(*static_page.place(width // 5, 4 * height // 5))
    assert (static_page.previewed() == preview).all()
    page.keyboard.up("Shift")
    static_page.click(width // 5, 4 * height // 5, button=button)
    static_page.previewed(shown=False)
    after = static_page.masks()
    assert (after != before).any()
    assert ((after == 1) == preview).all()


def test_kept_objects_and_downloads(static_page, runner):
    photo = PHOTOS / "kitten.jpg"
    static_page.open(photo.name, photo.read_bytes())
    width, height = static_page.width, static_page.height
    points = [[width // 2, height // 2], [width // 5, 4 * height // 5]]
    static_page.click(*points[0])
    static_page.page.click("#keep")
    static_page.page.wait_for_selector("#objects li")
    static_page.page.fill("#objects input", "cat")
    static_page.click(*points[1])
    coco = json.loads(static_page.download("annotations.json"))
    assert coco["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "object"}]
    assert [each["category_id"] for each in coco["annotations"]] == [1, 2]
    masks = [coco_mask.decode(each["segmentation"]).astype(bool) for each in coco["annotations"]]
    found = runner.segment(photo, input_points=[[[point] for point in points]])[0].masks
    for mask, expected, each in zip(masks, found, coco["annotations"], strict=True):
        assert iou(mask, expected[0]) >= LEAST_IOU
        assert each["area"] == mask.sum()
        rows, columns = mask.any(axis=1).nonzero()[0], mask.any(axis=0).nonzero()[0]
        left, top = columns[0], rows[0]
        assert each["bbox"] == [left, top, columns[-1] - left + 1, rows[-1] - top + 1]
    small_on_top = sorted(range(2), key=lambda i: -masks[i].sum())
    labels = np.zeros((height, width), dtype=int)
    for i in small_on_top:
        labels[masks[i]] = i + 1
    assert (static_page.masks() == labels).all()
    assert static_page.page.locator("#downloads button:visible").count() == 4  # polygons are the server's

    pixels = Image.open(photo).convert("RGB")
    cutout = Image.open(io.BytesIO(static_page.download("cutout.png")))
    assert (np.asarray(cutout)[..., 3] == 255 * (masks[0] | masks[1])).all()
    overlay = np.asarray(Image.open(io.BytesIO(static_page.download("overlay.png"))).convert("RGB"), dtype=int)
    drawn = draw_masks(pixels, [masks[i] for i in small_on_top], colors=[object_color(i) for i in small_on_top])
    assert (np.abs(overlay - np.asarray(drawn, dtype=int)).max(axis=-1) <= 8).mean() > 0.99


def test_images_are_turned_upright(static_page, runner):
    photo = Image.open(PHOTOS / "kitten.jpg")
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.transpose(Image.Transpose.ROTATE_90).save(file, "JPEG", quality=95, exif=exif)
    static_page.open("turned.jpg", file.getvalue())
    static_page.width, static_page.height = photo.size
    x, y = photo.width // 2, photo.height // 2
    static_page.click(x, y)
    expected = runner.segment(Image.open(file), input_points=[[[[x, y]]]])[0]
    assert iou(static_page.masks() == 1, expected.masks[0, 0]) >= LEAST_IOU


def test_what_is_no_photo_is_refused_and_the_page_goes_on(static_page):
    static_page.give("a.png", b"no photo")
    static_page.page.wait_for_selector("#error:not([hidden])")
    assert "no photo" in static_page.page.inner_text("#error")
    static_page.open("kitten.jpg", (PHOTOS / "kitten.jpg").read_bytes())
    assert static_page.page.is_hidden("#error")


def test_a_model_that_does_not_arrive_is_said(chromium, folder, tmp_path):
    from browser_fixtures import serving
    from sam_hq.demo.static_server import build_static_app

    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "model" / "decoder.onnx").unlink()
    with serving(build_static_app(broken)) as address:
        page = StaticPage(chromium, address)
        page.give("kitten.jpg", (PHOTOS / "kitten.jpg").read_bytes())
        page.page.locator("#error", has_text="The model did not arrive (decoder.onnx)").wait_for()
        page.page.close()


def settings_otherwise(model):
    """Changes a setting in the file beside the graphs."""
    strings = json.loads((model / "sam_hq.json").read_text())
    (model / "sam_hq.json").write_text(json.dumps({**strings, "image_mean": "[0, 0, 0]"}))


def decoder_otherwise(model):
    """Puts the decoder of another model into the place of the model's own."""
    graph = onnx.load(model / "decoder.onnx")
    for entry in graph.metadata_props:
        entry.value = "abc" if entry.key == "model" else entry.value
    onnx.save(graph, model / "decoder.onnx")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (settings_otherwise, "The model's files are of different exports: image_mean is"),
        (decoder_otherwise, "The model's files are of different exports: model is"),
        (lambda model: (model / "sam_hq.json").write_text("{}"), "undefined in sam_hq.json"),
        (
            lambda model: (model / "encoder.onnx").write_bytes(b"<html>"),
            "encoder.onnx is not the encoder of the format",
        ),
        (
            lambda model: shutil.copy(model / "encoder.onnx", model / "decoder.onnx"),
            "decoder.onnx is not the decoder of",
        ),
    ],
    ids=["settings", "another decoder", "no settings", "no graph", "the encoder twice"],
)
def test_files_of_different_exports_are_said(chromium, folder, tmp_path, change, message):
    from browser_fixtures import serving
    from sam_hq.demo.static_server import build_static_app

    mixed = shutil.copytree(folder, tmp_path / "mixed")
    change(mixed / "model")
    with serving(build_static_app(mixed)) as address:
        page = StaticPage(chromium, address)
        page.give("kitten.jpg", (PHOTOS / "kitten.jpg").read_bytes())
        page.page.locator("#error", has_text=message).wait_for()
        page.page.close()


def test_pixels_are_those_that_pillow_reads(static_page):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    photo = photo.resize((1500, 900), Image.Resampling.NEAREST)  # more than is read at once
    file = io.BytesIO()
    photo.save(file, "PNG")
    sums = static_page.page.evaluate(
        """async (bytes) => {
          const { decodePhoto } = await import("/photo_decoding.js");
          const { pixels, width, height } = await decodePhoto(new Blob([Uint8Array.from(bytes)]), 1e9);
          const sums = Array.from({ length: height }, () => 0);
          pixels.forEach((value, at) => {
            sums[Math.floor(at / 4 / width)] += value * (1 + (at % 7) + (at % 1201));
          });
          return sums;
        }""",
        list(file.getvalue()),
    )
    pixels = np.asarray(photo.convert("RGBA"), dtype=np.int64).reshape(-1)
    at = np.arange(pixels.size)
    assert sums == (pixels * (1 + at % 7 + at % 1201)).reshape(900, -1).sum(axis=1).tolist()


# Pillow may make the height first where an image loses many more rows than columns: rounding then differs.
@pytest.mark.parametrize(
    ("size", "tolerance"), [((16, 13), 0), ((10, 22), 0), ((1, 1), 0), ((75, 62), 0), ((57, 16), 0), ((170, 3), 1)]
)
def test_images_are_resized_as_pillow_does(static_page, size, tolerance):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 57, 4), dtype=np.uint8))
    resized = static_page.page.evaluate(
        """async ([pixels, width, height, newWidth, newHeight]) => {
          const { resize } = await import("/photo_pixels.js");
          return [...resize(Uint8ClampedArray.from(pixels), width, height, newWidth, newHeight)];
        }""",
        [np.asarray(photo).flatten().tolist(), *photo.size, *size],
    )
    expected = photo.convert("RGB").resize(size, Image.Resampling.BILINEAR)
    difference = np.reshape(resized, (size[1], size[0], 4))[..., :3] - np.asarray(expected, dtype=int)
    assert np.abs(difference).max() <= tolerance


def test_a_kept_object_is_refined_from_its_mask(static_page, runner):
    photo = PHOTOS / "kitten.jpg"
    static_page.open(photo.name, photo.read_bytes())
    box = drag_central_box(static_page)
    static_page.page.click("#keep")
    static_page.page.fill("#objects input", "cat")
    static_page.page.click("button[aria-label='Refine object 1']")
    static_page.wait_for_status("Object 1 is taken up")
    with_box = runner.segment(photo, input_boxes=[[box]], multimask_output=False)[0]
    assert iou(static_page.masks() == 1, with_box.masks[0, 0]) >= LEAST_IOU
    point = [static_page.width // 2, static_page.height // 2]
    static_page.click(*point)
    refined = runner.segment(
        photo, input_points=[[[point]]], input_masks=[with_box.low_res_masks[:, 0]], multimask_output=False
    )[0]
    assert iou(static_page.masks() == 1, refined.masks[0, 0]) >= LEAST_IOU
    static_page.page.click("#keep")
    for said in ("Answered in", "is taken up", "1 kept", "1 kept", "Answered in"):  # backwards through all of it
        static_page.page.evaluate("document.getElementById('status').textContent = ''")
        static_page.page.click("#undo")
        static_page.wait_for_status(said)
    assert iou(static_page.masks() == 1, with_box.masks[0, 0]) >= LEAST_IOU
