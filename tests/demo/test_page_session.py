"""An afternoon with the page in a real Chromium: five photos, then two people at once; nothing is lost unasked."""

import numpy as np
import pytest
from playwright.sync_api import expect
from pycocotools.coco import COCO

from browser_fixtures import serving
from demo_fixtures import photo_file
from sam_hq.demo.demo_service import DemoService
from sam_hq.demo.server import build_app

SIZES = [(200, 120), (120, 200), (150, 150), (320, 60), (90, 70)]  # width, height


@pytest.fixture(scope="module")
def address(demo_parts):
    with serving(build_app(DemoService(*demo_parts, "small"))) as address:
        yield f"{address}/"


class Person:
    """Somebody with the page open; whatever the page logs as an error fails the test."""

    def __init__(self, chromium, address):
        self.context = chromium.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        self.problems: list[str] = []
        self.asked: list[str] = []
        self.agree = True
        self.context.on("weberror", lambda error: self.problems.append(str(error.error)))
        self.page = self.context.new_page()
        self.page.on("dialog", self._answer)
        self.page.goto(address)

    def _answer(self, dialog):
        self.asked.append(dialog.type)
        (dialog.accept if self.agree else dialog.dismiss)()

    def open(self, number):
        self.width, self.height = SIZES[number]
        self.choose(number)
        expect(self.page.locator("#status")).to_contain_text(f"photo-{number}.png")

    def choose(self, number):
        inputs = "#another input" if self.page.is_visible("#work") else "#file"
        file = {
            "name": f"photo-{number}.png",
            "mimeType": "image/png",
            "buffer": photo_file("PNG", SIZES[number], number),
        }
        self.page.set_input_files(inputs, file)

    def state(self, act) -> dict:
        """What the server answers to the action that something on the page asks for."""
        with self.page.expect_response(lambda r: "/api/photos/" in r.url and r.request.method == "POST") as got:
            act()
        expect(self.page.locator("#marks")).to_have_attribute("aria-busy", "false")
        return got.value.json()

    def place(self, x, y):
        frame = self.page.locator("#marks").bounding_box()
        return frame["x"] + x * frame["width"], frame["y"] + y * frame["height"]

    def click(self, x, y, **options) -> dict:
        """At a share of the photo's width and height."""
        return self.state(lambda: self.page.mouse.click(*self.place(x, y), **options))

    def drag(self, x0, y0, x1, y1) -> dict:
        self.page.mouse.move(*self.place(x0, y0))
        self.page.mouse.down()
        self.page.mouse.move(*self.place((x0 + x1) / 2, (y0 + y1) / 2))
        self.page.mouse.move(*self.place(x1, y1))
        return self.state(self.page.mouse.up)

    def press(self, name) -> dict:
        return self.state(self.page.get_by_role("button", name=name, exact=True).click)

    def name(self, number, name) -> dict:
        field = self.page.get_by_label(f"Name of object {number}")
        field.fill(name)
        return self.state(lambda: field.press("Enter"))

    def find_everything(self):
        if not self.page.is_visible("#least-score"):
            self.page.get_by_text("Advanced search").click()
        for label in ("Score above", "Stability at least"):
            self.page.get_by_label(label).fill("0")
        self.page.get_by_label("Points", exact=True).select_option("8")
        with self.page.expect_response(lambda r: r.url.endswith("/generation") and r.request.method == "POST"):
            self.page.get_by_role("button", name="Find everything").click()

    def coco(self, path) -> COCO:
        """The file that the page gives, as pycocotools reads it."""
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name="COCO JSON").click()
        path.write_bytes(download.value.path().read_bytes())
        return COCO(str(path))

    def leave(self):
        self.context.close()
        assert self.problems == []


@pytest.fixture
def person(chromium, address):
    person = Person(chromium, address)
    yield person
    person.leave()


def assert_holds(coco: COCO, state: dict) -> None:
    """The file holds the objects of the page, pixel for pixel; the photos are no larger than what is shown."""
    height, width = state["photo"]["height"], state["photo"]["width"]
    assert coco.imgs[1] == {"id": 1, "file_name": state["photo"]["name"], "height": height, "width": width}
    shown = state["objects"] + state["candidates"][state["chosen"] :][:1]
    annotations = coco.loadAnns(coco.getAnnIds())
    assert len(annotations) == len(shown)
    for annotation, each in zip(annotations, shown, strict=True):
        inside = np.arange(len(each["counts"])) % 2 == 1
        mask = np.repeat(inside, each["counts"]).reshape(width, height).T
        np.testing.assert_array_equal(coco.annToMask(annotation).astype(bool), mask)
        assert coco.cats[annotation["category_id"]]["name"] == (each.get("name") or "object")


def test_five_photos(person, tmp_path, search_gate):
    page = person.page
    # Points, candidates, names.
    person.open(0)
    person.click(0.3, 0.5)
    chosen = person.state(page.get_by_role("radio", name="Candidate 3").click)
    assert chosen["chosen"] == 2
    person.press("Keep")
    person.click(0.8, 0.3)
    person.click(0.1, 0.9, button="right")
    person.press("Keep")
    state = person.name(1, "left")
    assert_holds(person.coco(tmp_path / "0.json"), state)

    # A box, zoomed in and moved; the photo before is asked about.
    assert person.asked == []
    person.open(1)
    assert person.asked == ["confirm"]
    assert not person.page.locator("#objects li").count()
    page.mouse.move(*person.place(0.4, 0.4))
    fits = page.locator("#zoom").inner_text()
    page.mouse.wheel(0, -300)
    expect(page.locator("#zoom")).not_to_have_text(fits)
    before = person.place(0, 0)
    page.keyboard.down("Space")
    page.mouse.down()
    page.mouse.move(*person.place(0.45, 0.42))
    page.mouse.up()
    page.keyboard.up("Space")
    page.wait_for_function("y => document.querySelector('#marks').getBoundingClientRect().y !== y", arg=before[1])
    state = person.drag(0.3, 0.32, 0.6, 0.5)
    assert state["box"] == pytest.approx([0.3 * 120, 0.32 * 200, 0.6 * 120, 0.5 * 200], abs=1)
    page.get_by_role("button", name="Fit").click()
    state = person.press("Keep")
    assert_holds(person.coco(tmp_path / "1.json"), state)

    # Another photo is refused, then the search of the third is left for the fourth.
    person.agree = False
    person.choose(2)
    assert person.asked == ["confirm"] * 2
    assert page.locator("#objects li").count() == 1
    person.agree = True
    person.open(2)
    person.find_everything()
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    person.open(3)
    search_gate.set()
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()
    assert person.asked == ["confirm"] * 3  # nothing was kept of the third

    # Found masks are kept, dropped, refined, named; undo and redo go through it; a reload loses nothing.
    person.find_everything()
    expect(page.get_by_label("Show everything that was found")).to_be_checked(timeout=60_000)
    found = person.state(page.get_by_role("button", name="Keep all that was found").click)
    assert found["objects"]
    last = found["objects"][-1]["number"]
    person.state(page.get_by_role("button", name=f"Remove object {last}").click)
    person.press("Undo")
    state = person.state(page.get_by_role("button", name="Refine object 1", exact=True).click)
    assert state["taken_up"]
    person.click(0.5, 0.5)
    person.press("Keep")
    named = person.name(1, "middle")
    for _ in range(4):
        state = person.press("Undo")
    assert state["objects"] == found["objects"]
    for _ in range(4):
        state = person.press("Redo")
    assert state["objects"] == named["objects"]
    page.reload()
    expect(page.get_by_label("Name of object 1")).to_have_value("middle")
    assert person.asked[3:] == ["beforeunload"]
    assert_holds(person.coco(tmp_path / "3.json"), named)

    # The fifth, and back to nothing.
    person.open(4)
    person.click(0.5, 0.5)
    for _ in range(2):
        state = person.click(0.2, 0.2)
    assert_holds(person.coco(tmp_path / "4.json"), state)
    while state["can_undo"]:
        state = person.press("Undo")
    assert state["points"] == []


def test_two_people_at_once(chromium, address, tmp_path, search_gate):
    """One searches and goes on clicking: what was found waits until it is asked for."""
    people = [Person(chromium, address), Person(chromium, address)]
    for number, person in enumerate(people):
        person.open(number)
    people[0].find_everything()
    states = []
    for place in (0.3, 0.6):
        states = [person.click(place, place) for person in people]
    assert [len(state["points"]) for state in states] == [2, 2]
    assert states[0]["photo"]["name"] != states[1]["photo"]["name"]
    search_gate.set()
    shown = people[0].page.get_by_label("Show everything that was found")
    expect(shown).to_be_visible(timeout=60_000)
    expect(shown).not_to_be_checked()
    expect(people[0].page.locator("#status")).to_contain_text("masks found: to see them, tick")
    assert_holds(people[0].coco(tmp_path / "mine.json"), states[0])
    states[0] = people[0].click(0.8, 0.8)
    assert len(states[0]["points"]) == 3
    shown.check()
    expect(people[0].page.locator("#download-hint")).to_contain_text("all that was found")
    assert not people[1].page.get_by_label("Show everything that was found").is_visible()
    assert_holds(people[1].coco(tmp_path / "other.json"), states[1])
    for person in people:
        person.leave()
