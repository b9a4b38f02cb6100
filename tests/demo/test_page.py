"""The page in a real Chromium: open, click, drag, choose, compare, search, download."""

import base64
import contextlib
import io
import json
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from axe_core import serious_faults
from browser_fixtures import serving
from demo_fixtures import photo_file
from sam_hq.demo.demo_service import DemoService
from sam_hq.demo.opened_photo import PhotoLimits
from sam_hq.demo.server import build_app
from sam_hq_numpy.mask_rle import RunLengthMask

WIDTH, HEIGHT = 200, 120


@pytest.fixture(scope="module")
def address(demo_parts):
    service = DemoService(*demo_parts, "small", PhotoLimits(200_000, 60_000), examples=[("one.png", photo_file())])
    with serving(build_app(service)) as address:
        yield f"{address}/"


@pytest.fixture
def context(chromium, address):
    """A visitor; whatever the page logs as an error or asks of other machines fails the test."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    problems: list[str] = []
    context.on("weberror", lambda error: problems.append(str(error.error)))
    context.on("request", lambda request: request.url.startswith((address, "blob:")) or problems.append(request.url))
    yield context
    context.close()
    assert not problems


@pytest.fixture
def page(context, address):
    """A page with the photo opened."""
    page = context.new_page()
    page.goto(address)
    open_photo(page)
    return page


def open_photo(page, data=None, name="photo.png"):
    page.set_input_files("#file", {"name": name, "mimeType": "image/png", "buffer": data or photo_file()})
    expect(page.locator("#work")).to_be_visible()


def answered(page, act) -> dict:
    """Do something, wait for the server's answer, and return the state that the page got."""
    with page.expect_response(
        lambda response: "/api/photos/" in response.url and response.request.method == "POST"
    ) as got:
        act()
    expect(page.locator("#marks")).to_have_attribute("aria-busy", "false")
    return got.value.json()


def place(page, x: float, y: float) -> dict:
    """Where a pixel of the photo is on the stage."""
    frame = page.locator("#marks").bounding_box()
    return {"x": x / WIDTH * frame["width"], "y": y / HEIGHT * frame["height"]}


def click(page, x, y, **options) -> dict:
    return answered(page, lambda: page.locator("#marks").click(position=place(page, x, y), **options))


def drawn(page, canvas="#masks") -> np.ndarray:
    """A canvas, (H, W, 4)."""
    # After a frame, in which a new layout is drawn. As one string: numbers would be carried over one by one.
    data = page.evaluate(
        """async () => { await new Promise(requestAnimationFrame);
        const c = document.querySelector('CANVAS');
        const pixels = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
        return btoa(Array.from(pixels, value => String.fromCharCode(value)).join('')); }""".replace("CANVAS", canvas)
    )
    return np.frombuffer(base64.b64decode(data), dtype=np.uint8).reshape(HEIGHT, WIDTH, 4)


def mask_of(candidate) -> np.ndarray:
    return RunLengthMask(HEIGHT, WIDTH, np.array(candidate["counts"])).to_mask()


def test_a_click_shows_the_mask_and_another_changes_it(page):
    assert not drawn(page).any()
    state = click(page, 50, 60)
    assert state["points"][0] == [pytest.approx(50, abs=0.5), pytest.approx(60, abs=0.5), 1]
    np.testing.assert_array_equal(drawn(page)[..., 3] > 0, mask_of(state["candidates"][0]))
    expect(page.locator("#status")).to_contain_text(f"Score {state['candidates'][0]['score']:.2f}")
    before = drawn(page)
    state = click(page, 150, 30, button="right")
    assert state["points"][1][2] == 0
    assert state["refined"]
    np.testing.assert_array_equal(drawn(page)[..., 3] > 0, mask_of(state["candidates"][0]))
    assert (drawn(page) != before).any()


def test_dragging_draws_a_box(page):
    frame = page.locator("#marks").bounding_box()
    start, end = place(page, 20, 10), place(page, 150, 100)
    page.mouse.move(frame["x"] + start["x"], frame["y"] + start["y"])
    page.mouse.down()
    page.mouse.move(frame["x"] + 60, frame["y"] + 60)
    page.mouse.move(frame["x"] + end["x"], frame["y"] + end["y"])
    state = answered(page, page.mouse.up)
    assert state["box"] == pytest.approx([20, 10, 150, 100], abs=0.5)
    assert state["points"] == []
    np.testing.assert_array_equal(drawn(page)[..., 3] > 0, mask_of(state["candidates"][0]))


def test_tools_say_what_a_click_means(page):
    page.locator("#tools").get_by_text("Background").click()
    assert click(page, 50, 60)["points"][0][2] == 0
    page.locator("#tools").get_by_text("Box").click()
    page.locator("#marks").click(position=place(page, 60, 60))
    expect(page.locator("#status")).to_contain_text("Drag from one corner")
    page.locator("#tools").get_by_text("Object").click()
    assert click(page, 90, 60, modifiers=["Shift"])["points"][1][2] == 0
    assert click(page, 120, 60)["points"][2][2] == 1


def test_candidates_are_chosen_with_mouse_and_keys(page):
    click(page, 50, 60)
    candidates = page.get_by_role("radio", name=re.compile("Candidate"))
    expect(candidates).to_have_count(3)
    state = answered(page, candidates.nth(1).click)
    assert state["chosen"] == 1
    np.testing.assert_array_equal(drawn(page)[..., 3] > 0, mask_of(state["candidates"][1]))
    candidates.nth(1).focus()
    state = answered(page, lambda: page.keyboard.press("ArrowRight"))
    assert state["chosen"] == 2
    expect(candidates.nth(2)).to_be_focused()
    expect(candidates.nth(2)).to_have_attribute("aria-checked", "true")


def test_undo_redo_and_clear(page):
    first = click(page, 50, 60)
    second = click(page, 150, 30)
    undone = answered(page, lambda: page.keyboard.press("Control+z"))
    assert undone["candidates"] == first["candidates"]
    assert answered(page, page.get_by_role("button", name="Redo").click)["candidates"] == second["candidates"]
    assert answered(page, page.get_by_role("button", name="Clear").click)["points"] == []
    assert not drawn(page).any()
    expect(page.get_by_role("button", name="Keep", exact=True)).to_be_disabled()


def test_the_keyboard_alone_is_enough(page):
    stage = page.locator("#marks")
    expect(stage).to_be_focused()
    page.keyboard.press("Shift+ArrowRight")
    state = answered(page, lambda: page.keyboard.press("Enter"))
    assert state["points"][0][0] > WIDTH / 2
    assert state["points"][0][1:] == [HEIGHT / 2, 1]
    assert answered(page, lambda: page.keyboard.press("Shift+Enter"))["points"][1][2] == 0
    page.keyboard.press("b")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
        page.keyboard.press("Shift+ArrowDown")
    box = answered(page, lambda: page.keyboard.press("b"))["box"]
    assert box[:2] == state["points"][0][:2]
    assert box[2] > box[0]
    assert box[3] > box[1]
    assert len(answered(page, lambda: page.keyboard.press("k"))["objects"]) == 1


def test_sam_beside_sam_hq(page):
    state = click(page, 50, 60)
    page.get_by_label("Compare with SAM").check()
    page.locator("#divider").fill("40")
    pixels, split = drawn(page), round(0.4 * WIDTH)
    np.testing.assert_array_equal(pixels[:, :split, 3] > 0, mask_of(state["sam"])[:, :split])
    np.testing.assert_array_equal(pixels[:, split:, 3] > 0, mask_of(state["candidates"][0])[:, split:])
    colors = [
        {tuple(color) for color in part[part[..., 3] == 255][:, :3]} for part in (pixels[:, :split], pixels[:, split:])
    ]
    assert len(colors[0]) == len(colors[1]) == 1
    assert colors[0] != colors[1]


def test_objects_are_kept_listed_and_removed(page):
    click(page, 50, 60)
    answered(page, page.get_by_role("button", name="Keep", exact=True).click)
    click(page, 150, 30)
    expect(page.locator("#objects li")).to_have_count(1)
    expect(page.locator("#download-hint")).to_contain_text("2 objects")
    state = answered(page, page.get_by_role("button", name="Remove object 1").click)
    assert state["objects"] == []
    expect(page.locator("#objects-section")).to_be_hidden()


def test_kept_objects_are_named_refined_and_all_of_it_undone(page):
    click(page, 50, 60)
    kept = answered(page, page.get_by_role("button", name="Keep", exact=True).click)["objects"][0]
    name = page.get_by_label("Name of object 1")
    name.fill("cat")
    assert answered(page, lambda: name.press("Enter"))["objects"][0]["name"] == "cat"
    state = answered(page, page.get_by_role("button", name="Refine object 1").click)
    assert state["objects"] == []
    np.testing.assert_array_equal(drawn(page)[..., 3] > 0, mask_of(kept))
    expect(page.locator("#status")).to_contain_text("Object 1 is taken up")
    expect(page.get_by_label("Compare with SAM")).to_be_disabled()
    state = click(page, 150, 30, button="right")
    assert state["refined"]
    assert len(state["candidates"]) == 1
    refined = answered(page, page.get_by_role("button", name="Keep", exact=True).click)["objects"][0]
    assert (refined["number"], refined["name"]) == (1, "cat")
    assert refined["counts"] == state["candidates"][0]["counts"]
    name.fill("half a na")
    click(page, 150, 100)
    expect(page.locator("#clear")).to_be_enabled()
    expect(name).to_have_value("half a na")  # given by leaving the field
    for _ in range(8):
        state = answered(page, page.get_by_role("button", name="Undo").click)
    assert not state["can_undo"]
    assert not drawn(page).any()


def test_a_candidate_and_an_object_that_is_pointed_at_are_shown(page):
    state = click(page, 50, 60)
    page.get_by_role("radio", name=re.compile("Candidate 2")).hover()
    np.testing.assert_array_equal(drawn(page)[..., 3] > 0, mask_of(state["candidates"][1]))
    page.locator("#mask-title").hover()
    np.testing.assert_array_equal(drawn(page)[..., 3] > 0, mask_of(state["candidates"][0]))
    answered(page, page.get_by_role("button", name="Keep", exact=True).click)
    before = drawn(page)
    page.get_by_label("Name of object 1").hover()
    after = drawn(page)
    np.testing.assert_array_equal(after[..., 3] > 0, before[..., 3] > 0)
    assert (after[..., 3] > before[..., 3]).any()


def test_options_ask_the_model_again(page):
    click(page, 50, 60)
    page.get_by_text("Advanced", exact=True).click()
    state = answered(page, page.get_by_label("HQ mask alone").check)
    assert len(state["candidates"]) == 1
    assert state["options"]["hq_token_only"]
    answered(page, page.get_by_label("HQ mask alone").uncheck)
    state = answered(page, lambda: page.get_by_label("How many candidates", exact=True).select_option("one"))
    assert len(state["candidates"]) == 1


def downloaded(page, name) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return download.value.suggested_filename, download.value.path().read_bytes()


def test_downloads(page):
    mask = mask_of(click(page, 50, 60)["candidates"][0])
    name, overlay = downloaded(page, "Overlay PNG")
    assert name == "photo-overlay.png"
    pixels, photo = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in (overlay, photo_file()))
    np.testing.assert_array_equal((pixels != photo).any(-1) & ~mask, False)
    assert (pixels != photo).any(-1)[mask].mean() > 0.9
    name, data = downloaded(page, "COCO JSON")
    assert name == "photo-annotations.json"
    (annotation,) = json.loads(data)["annotations"]
    np.testing.assert_array_equal(RunLengthMask.from_dict(annotation["segmentation"]).to_mask(), mask)
    _, data = downloaded(page, "Masks PNG")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))) == 1, mask)
    _, data = downloaded(page, "COCO polygons")
    assert json.loads(data)["annotations"][0]["polygon_iou"] > 0.9
    name, data = downloaded(page, "YOLO zip")
    assert (name, data[:2]) == ("photo-yolo.zip", b"PK")
    expect(page.locator("#status")).to_have_text("Downloaded photo-yolo.zip: 1 object.")
    _, data = downloaded(page, "Cut-out PNG")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data)))[..., 3] == 255, mask)


def test_everything_is_found_shown_and_downloaded(page):
    find_all(page)
    shown = page.get_by_label("Show everything that was found")
    expect(shown).to_be_checked(timeout=60_000)
    expect(page.locator("#everything-hint")).to_contain_text("masks found")
    count = int(page.locator("#everything-hint").inner_text().split()[0])
    covered = drawn(page)[..., 3] > 0
    assert covered.any()
    y, x = np.argwhere(covered)[0]
    page.locator("#marks").hover(position=place(page, x + 0.5, y + 0.5))
    expect(page.locator("#status")).to_contain_text(re.compile(r"Mask \d+: score \d"))
    _, data = downloaded(page, "COCO JSON")
    annotations = json.loads(data)["annotations"]
    assert len(annotations) == count
    union = np.any([RunLengthMask.from_dict(each["segmentation"]).to_mask() for each in annotations], axis=0)
    np.testing.assert_array_equal(covered, union)
    kept = click(page, x + 0.5, y + 0.5)["objects"]
    assert len(kept) == 1
    assert mask_of(kept[0])[y, x]
    expect(page.locator("#status")).to_contain_text("1 more kept")
    objects = answered(page, page.get_by_role("button", name="Keep all that was found").click)["objects"]
    assert len(objects) == count
    shown.uncheck()
    assert ((drawn(page)[..., 3] > 0) == covered).all()
    _, data = downloaded(page, "COCO JSON")
    assert len(json.loads(data)["annotations"]) == count
    while answered(page, page.get_by_role("button", name="Undo").click)["objects"]:
        pass
    assert not drawn(page).any()
    assert len(click(page, 50, 60)["candidates"]) == 3


def find_all(page):
    page.get_by_text("Advanced search").click()
    page.get_by_label("Score above").fill("0")
    page.get_by_label("Stability at least").fill("0")
    page.get_by_label("Points", exact=True).select_option("8")
    page.get_by_role("button", name="Find everything").click()


def press_and_hold(page):
    frame, at = page.locator("#marks").bounding_box(), place(page, 90, 60)
    page.mouse.move(frame["x"] + at["x"], frame["y"] + at["y"])
    page.mouse.down()


def move_the_cross(page):
    page.locator("#marks").focus()
    page.keyboard.press("ArrowRight")


@pytest.mark.parametrize(
    "work",
    [
        lambda page: click(page, 50, 60),
        lambda page: answered(page, page.get_by_role("button", name="Undo").click),
        press_and_hold,
        move_the_cross,
    ],
    ids=["point", "undo", "button held", "keys"],
)
def test_the_end_of_a_search_does_not_take_the_page_over(page, search_gate, work):
    click(page, 150, 30)
    find_all(page)
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    work(page)
    before = drawn(page)
    search_gate.set()
    shown = page.get_by_label("Show everything that was found")
    expect(shown).to_be_visible(timeout=60_000)
    expect(shown).not_to_be_checked()
    expect(page.locator("#status")).to_have_text(re.compile(r"^\d+ masks found: to see them, tick"))
    expect(page.locator("#keep-all")).to_be_hidden()
    np.testing.assert_array_equal(drawn(page), before)
    if work is press_and_hold:
        assert answered(page, page.mouse.up)["points"][-1][:2] == pytest.approx([90, 60], abs=0.5)
    shown.check()
    assert (drawn(page) != before).any()


@pytest.mark.parametrize("objects", [0, 1])
def test_a_reload_during_a_search_shows_what_was_begun(page, search_gate, objects):
    """What was found is shown only where nothing else is."""
    if objects:
        click(page, 50, 60)
    find_all(page)
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    page.reload()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    search_gate.set()
    shown = page.get_by_label("Show everything that was found")
    expect(shown).to_be_visible(timeout=60_000)
    expect(shown).to_be_checked(checked=not objects)


def test_a_search_can_be_stopped(page, search_gate):
    page.get_by_text("Advanced search").click()
    page.get_by_label("Points", exact=True).select_option("32")
    page.get_by_role("button", name="Find everything").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#everything-hint")).to_have_text("Stopped.", timeout=60_000)
    expect(page.get_by_role("button", name="Find everything")).to_be_visible()


def ask_to_open_another(page, agree: bool) -> list[str]:
    """Choose another photo, answer the question; returns what was asked."""
    asked: list[str] = []

    def answer(dialog):
        asked.append(dialog.message)
        (dialog.accept if agree else dialog.dismiss)()

    page.once("dialog", answer)
    file = {"name": "next.png", "mimeType": "image/png", "buffer": photo_file(seed=3)}
    page.set_input_files("#another input", file)
    return asked


def test_kept_objects_are_not_lost_without_a_question(page):
    click(page, 50, 60)
    answered(page, page.get_by_role("button", name="Keep", exact=True).click)
    assert "The object that you kept is lost" in ask_to_open_another(page, agree=False)[0]
    expect(page.locator("#objects li")).to_have_count(1)
    asked = []
    page.once("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    answered(page, page.get_by_role("button", name="Refine object 1").click)  # it is kept all the same
    with page.expect_event("dialog"):
        page.close(run_before_unload=True)
    assert asked == ["beforeunload"]
    assert ask_to_open_another(page, agree=True)
    expect(page.locator("#status")).to_contain_text("next.png")
    expect(page.locator("#objects li")).to_have_count(0)


def test_another_photo_ends_a_search_and_can_be_searched(page, search_gate):
    page.get_by_role("button", name="Find everything").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    ask_to_open_another(page, agree=True)
    expect(page.locator("#status")).to_contain_text("next.png")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    expect(page.locator("#everything-hint")).to_contain_text("Search the whole photo")
    page.get_by_role("button", name="Find everything").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#everything-hint")).to_have_text("Stopped.", timeout=60_000)


def test_what_was_meant_for_one_photo_is_not_done_to_the_next(page):
    held = []
    page.route("**/api/photos", lambda route: held.append(route))
    with page.expect_request("**/api/photos"):
        ask_to_open_another(page, agree=True)
    page.locator("#marks").click(position=place(page, 50, 60))  # while the other one is on its way
    held[0].continue_()
    expect(page.locator("#status")).to_contain_text("next.png")
    expect(page.locator("#marks")).to_have_attribute("aria-busy", "false")
    assert not drawn(page).any()
    assert len(click(page, 50, 60)["points"]) == 1


def test_the_wheel_zooms_about_the_pointer_and_space_drags(page):
    frame = page.locator("#viewport").bounding_box()
    x, y = frame["x"] + 0.7 * frame["width"], frame["y"] + 0.6 * frame["height"]
    place_of = """([x, y]) => { const r = document.querySelector('#marks').getBoundingClientRect();
                 return [(x - r.left) / r.width, (y - r.top) / r.height, r.width, r.left]; }"""
    before = page.evaluate(place_of, [x, y])
    fits = page.locator("#zoom").inner_text()
    page.mouse.move(x, y)
    for _ in range(4):
        page.mouse.wheel(0, -150)
    expect(page.locator("#zoom")).not_to_have_text(fits)
    page.wait_for_function("width => document.querySelector('#marks').clientWidth > 3 * width", arg=before[2])
    after = page.evaluate(place_of, [x, y])
    assert after[:2] == pytest.approx(before[:2], abs=0.01)
    assert after[2] > 2 * before[2]
    page.keyboard.down("Space")
    page.mouse.down()
    page.mouse.move(x - 40, y - 20, steps=4)
    page.mouse.up()
    page.keyboard.up("Space")
    moved = "x => Math.abs(document.querySelector('#marks').getBoundingClientRect().left - x) < 2"
    page.wait_for_function(moved, arg=after[3] - 40)
    expect(page.locator("#clear")).to_be_disabled()  # nothing was drawn by it
    page.locator("#zoom-fit").click()
    expect(page.locator("#zoom")).to_have_text(fits)
    page.get_by_role("button", name="100 %").click()
    assert page.evaluate(place_of, [x, y])[2] == pytest.approx(WIDTH, abs=1)
    expect(page.locator("#zoom")).to_have_text("100\u00a0%")


def test_tabs_are_kept_apart_and_a_reload_goes_on(page, context, address):
    click(page, 50, 60)
    other = context.new_page()
    other.goto(address)
    expect(other.locator("#start")).to_be_visible()
    other.get_by_role("button", name="one.png").click()
    expect(other.locator("#work")).to_be_visible()
    assert not drawn(other).any()
    before = drawn(page)
    page.reload()
    expect(page.get_by_role("radio", name=re.compile("Candidate"))).to_have_count(3)
    np.testing.assert_array_equal(drawn(page), before)


def test_what_is_refused_is_said(page, address):
    page.set_input_files("#another input", {"name": "a.png", "mimeType": "image/png", "buffer": b"no photo"})
    expect(page.get_by_role("alert")).to_contain_text("no photo that can be read")
    page.set_input_files("#another input", {"name": "a.png", "mimeType": "image/png", "buffer": b"x" * 250_000})
    expect(page.get_by_role("alert")).to_contain_text("at most 0.2 MB are accepted")
    assert len(click(page, 50, 60)["candidates"]) == 3  # the photo before is still there
    session = page.evaluate("() => sessionStorage.getItem('sam-hq-session')")
    page.request.delete(f"{address}api/photos/{session}")
    page.locator("#marks").click(position=place(page, 90, 60))
    expect(page.get_by_role("alert")).to_contain_text("no longer holds this photo")
    expect(page.locator("#start")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_everything_fits_the_width_and_has_a_name(page, width):
    page.set_viewport_size({"width": width, "height": 844})
    click(page, 50, 60)
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, progress, canvas:not([aria-hidden])')]
            .filter(e => !(e.getAttribute('aria-label') || e.innerText?.trim() || e.title || e.labels?.length
                           || e.querySelector('img[alt]') || e.closest('[aria-checked]')))
            .map(e => e.outerHTML)"""
    )
    assert nameless == []
    ids = page.evaluate("() => [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(chromium, address, scheme, width):
    context = chromium.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address)
    expect(page.get_by_role("button", name="one.png")).to_be_visible()
    assert serious_faults(page) == []
    open_photo(page)
    click(page, 50, 60)
    answered(page, page.get_by_role("button", name="Keep", exact=True).click)
    click(page, 150, 30)
    for summary in page.locator("summary").all():
        summary.click()
    assert serious_faults(page) == []
    page.get_by_role("button", name="Help").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert serious_faults(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    context.close()


@pytest.fixture
def phone(chromium, address):
    """The page on a phone, with a photo open."""
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(address)
    open_photo(page)
    yield page
    context.close()


def test_on_a_phone_a_tap_sets_a_point(phone):
    state = answered(phone, lambda: phone.locator("#marks").tap(position=place(phone, 50, 60)))
    assert state["points"][0][:2] == pytest.approx([50, 60], abs=1)
    np.testing.assert_array_equal(drawn(phone)[..., 3] > 0, mask_of(state["candidates"][0]))
    targets = "button, summary, select, input[type=text], input[type=number], .check, .segmented label"
    small = phone.locator(targets).evaluate_all(
        """targets => targets.filter(e => e.offsetParent).filter(e => {
            const { width, height } = e.getBoundingClientRect();
            return Math.min(width, height) < 44;
        }).map(e => e.outerHTML)"""
    )
    assert small == []
    phone.evaluate("window.scrollTo(0, 150)")
    bar = phone.locator(".bar").bounding_box()
    assert bar["y"] == pytest.approx(0, abs=1)  # the tools stay in reach


def test_two_fingers_zoom_and_move_the_photo_and_set_no_point(phone):
    fingers = phone.context.new_cdp_session(phone)
    frame = phone.locator("#marks").bounding_box()
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2

    def touch(kind, *places):
        points = [{"x": px, "y": py, "id": number} for number, (px, py) in enumerate(places)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", (x - 30, y))
    touch("touchStart", (x - 30, y), (x + 30, y))
    for apart in (40, 50, 60):
        touch("touchMove", (x - apart, y), (x + apart, y))
    wider = "width => Math.abs(document.querySelector('#marks').clientWidth / width - 2) < 0.04"
    phone.wait_for_function(wider, arg=frame["width"])
    zoomed = phone.locator("#marks").bounding_box()
    assert zoomed["width"] == pytest.approx(2 * frame["width"], rel=0.02)
    assert zoomed["x"] + zoomed["width"] / 2 == pytest.approx(x, abs=2)  # about the fingers
    touch("touchMove", (x - 80, y - 10), (x + 40, y - 10))
    moved = """([x, y]) => { const r = document.querySelector('#marks').getBoundingClientRect();
               return Math.abs(r.x - x) < 2 && Math.abs(r.y - y) < 2; }"""
    phone.wait_for_function(moved, arg=[zoomed["x"] - 20, zoomed["y"] - 10])
    touch("touchEnd")
    expect(phone.locator("#clear")).to_be_disabled()
    state = answered(phone, lambda: phone.touchscreen.tap(x, y))
    assert len(state["points"]) == 1


# The preview of a click.


@pytest.fixture
def quick_answers(page):
    """However slow the machine: no time passes on the page's clock."""
    page.evaluate("() => { performance.now = () => 0; }")


@pytest.fixture
def asked(page):
    """The previews that the page asked for."""
    asked = []
    page.on("request", lambda request: "/preview?" in request.url and asked.append(request.url))
    return asked


def previewed(page) -> np.ndarray:
    return drawn(page, "#preview")


def hover(page, x, y, wait=True):
    """Rest at a pixel of the photo, until the preview is there."""
    frame, at = page.locator("#marks").bounding_box(), place(page, x, y)
    with contextlib.ExitStack() as stack:
        if wait:
            stack.enter_context(page.expect_response("**/preview?**"))
        page.mouse.move(frame["x"] + at["x"], frame["y"] + at["y"])
    if wait:
        page.wait_for_function(
            """() => { const c = document.querySelector('#preview');
            return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(Boolean); }"""
        )


def test_a_preview_shows_the_mask_that_the_click_gives_and_changes_nothing(page, address, quick_answers):
    session = page.evaluate("() => sessionStorage.getItem('sam-hq-session')")
    click(page, 150, 30)
    before, masks = page.request.get(f"{address}api/photos/{session}").json(), drawn(page)
    hint = page.locator("#download-hint").inner_text()
    hover(page, 50, 60)
    preview = previewed(page)[..., 3] > 0
    assert page.request.get(f"{address}api/photos/{session}").json() == before
    np.testing.assert_array_equal(drawn(page), masks)
    expect(page.locator("#download-hint")).to_have_text(hint)
    page.locator("#mask-title").hover()
    assert not previewed(page).any()
    hover(page, 50, 60)
    state = answered(page, lambda: (page.mouse.down(), page.mouse.up()))
    assert len(state["points"]) == 2
    np.testing.assert_array_equal(preview, mask_of(state["candidates"][0]))
    assert not previewed(page).any()
    undone = answered(page, page.get_by_role("button", name="Undo").click)
    assert undone["points"] == before["points"]


@pytest.mark.parametrize(
    "make",
    [
        lambda page: page.locator("#tools").get_by_text("Background").click(),
        lambda page: page.keyboard.down("Shift"),
    ],
)
def test_a_preview_of_a_point_on_the_background(page, quick_answers, make):
    click(page, 150, 30)
    make(page)
    hover(page, 50, 60)
    preview = previewed(page)[..., 3] > 0
    state = answered(page, lambda: (page.mouse.down(), page.mouse.up()))
    assert state["points"][1][2] == 0
    np.testing.assert_array_equal(preview, mask_of(state["candidates"][0]))


def test_one_preview_is_asked_for_at_a_time_and_the_last_place_counts(page, asked, quick_answers):
    held, let = [], []
    page.route("**/preview?**", lambda route: route.continue_() if let else held.append(route))
    with page.expect_request("**/preview?**"):
        hover(page, 20, 20, wait=False)
    for x in range(30, 150, 10):
        hover(page, x, 60, wait=False)
        page.wait_for_timeout(80)
    assert len(asked) == 1
    let.append(True)
    with page.expect_response(re.compile(r"preview\?x=1(39|40)")):
        held[0].continue_()
    assert len(asked) == 2


@pytest.mark.parametrize("kind", ["drag", "box", "space", "found", "switch"])
def test_where_no_click_would_come_no_preview_is_asked_for(page, asked, quick_answers, kind):
    if kind == "box":
        page.locator("#tools").get_by_text("Box").click()
    elif kind == "switch":
        page.get_by_text("Advanced", exact=True).click()
        page.get_by_label("Preview the mask under the pointer").uncheck()
    elif kind == "found":
        find_all(page)
        expect(page.get_by_label("Show everything that was found")).to_be_checked(timeout=60_000)
    elif kind == "drag":
        press_and_hold(page)
    else:
        page.locator("#marks").focus()
        page.keyboard.down("Space")
    asked.clear()
    for x in (20, 90, 150):
        hover(page, x, 60, wait=False)
        page.wait_for_timeout(150)
    assert asked == []
    assert not previewed(page).any()


def test_slow_answers_end_the_previews_until_quick_ones_come(page, asked):
    """Answers take what the page's clock says, here an hour."""
    page.evaluate("() => { const now = performance.now.bind(performance); performance.now = () => 1e4 * now(); }")
    click(page, 50, 60)
    page.get_by_text("Advanced", exact=True).click()
    expect(page.locator("#preview-note")).to_be_visible()
    hover(page, 90, 60, wait=False)
    page.wait_for_timeout(150)
    assert asked == []
    page.evaluate("() => { performance.now = () => 0; }")
    for x in (20, 40):
        click(page, x, 60)
    expect(page.locator("#preview-note")).to_be_hidden()
    hover(page, 90, 60)
    assert len(asked) == 1


def test_a_finger_asks_for_no_preview(phone):
    asked = []
    phone.on("request", lambda request: "/preview?" in request.url and asked.append(request.url))
    answered(phone, lambda: phone.locator("#marks").tap(position=place(phone, 50, 60)))
    phone.wait_for_timeout(200)
    assert asked == []
