"""Sessions are held to plain calls of the model."""

import io
import json
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from demo_fixtures import HEIGHT, WIDTH, photo_file
from sam_hq.demo.photo_session import MOST_POINTS, PhotoSession
from sam_hq.demo.session_history import MOST_UNDO
from sam_hq.demo.session_steps import MOST_OBJECTS
from sam_hq.predictor import SamHQPredictor
from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.overlays import object_color


@pytest.fixture
def calls(monkeypatch):
    """Counts what the decoder is asked."""
    calls, decode = [], SamHQPredictor.decode
    monkeypatch.setattr(SamHQPredictor, "decode", lambda *args, **how: (calls.append(how), decode(*args, **how))[1])
    return calls


def plain_masks(demo_parts, multimask=False, hq_only=False, input_masks=None, branches=False, **prompts):
    """Masks (M, H, W) at photo size, scores (M,) and low-res logits of one call of the model with the photo."""
    model, processor = demo_parts
    inputs = processor(Image.open(io.BytesIO(photo_file())), return_tensors="pt", **prompts)
    if input_masks is not None:
        inputs["input_masks"] = input_masks
    with torch.no_grad():
        outputs = model(**inputs, multimask_output=multimask, hq_token_only=hq_only, output_branches=True)
    logits = outputs.sam_masks if branches else outputs.pred_masks
    masks = processor.post_process_masks(logits, inputs["original_sizes"], inputs["reshaped_input_sizes"])
    return masks[0][0].numpy(), outputs.iou_scores[0, 0].tolist(), outputs.pred_masks[0, 0]


def shown_masks(state) -> list[np.ndarray]:
    return [decoded(each["counts"]) for each in state["candidates"]]


def decoded(counts) -> np.ndarray:
    return RunLengthMask(HEIGHT, WIDTH, np.array(counts)).to_mask()


def assert_shows(state, masks, scores):
    assert len(state["candidates"]) == len(masks)
    for candidate, shown, mask, score in zip(state["candidates"], shown_masks(state), masks, scores, strict=True):
        assert candidate["score"] == pytest.approx(score, abs=1e-4)
        assert (shown != mask).mean() < 1e-3  # pixels whose logit is next to nothing
        assert candidate["share"] == pytest.approx(shown.mean())


def test_a_point_gives_three_candidates(demo_parts, photo_session):
    photo_session.add_point(50, 60)
    state = photo_session.state()
    masks, scores, _ = plain_masks(demo_parts, multimask=True, input_points=[[[[50, 60]]]])
    assert_shows(state, masks, scores)
    sam, _, _ = plain_masks(demo_parts, multimask=True, branches=True, input_points=[[[[50, 60]]]])
    assert (decoded(state["sam"]["counts"]) != sam[0]).mean() < 1e-3
    assert state["points"] == [[50.0, 60.0, 1]]
    assert not state["refined"]
    json.dumps(state)


def test_a_box_gives_one_mask_and_its_corners_come_in_any_order(demo_parts, photo_session):
    photo_session.set_box(150, 100, 20, 10)
    masks, scores, _ = plain_masks(demo_parts, input_boxes=[[[20, 10, 150, 100]]])
    assert_shows(photo_session.state(), masks, scores)
    assert photo_session.state()["box"] == (20, 10, 150, 100)


def test_a_further_point_refines_the_chosen_mask(demo_parts, photo_session):
    photo_session.add_point(50, 60)
    photo_session.choose(2)
    photo_session.add_point(150, 30, 0)
    _, _, logits = plain_masks(demo_parts, multimask=True, input_points=[[[[50, 60]]]])
    masks, scores, _ = plain_masks(
        demo_parts,
        input_points=[[[[50, 60], [150, 30]]]],
        input_labels=[[[1, 0]]],
        input_masks=logits[2][None, None],
    )
    state = photo_session.state()
    assert_shows(state, masks, scores)
    assert state["refined"]
    assert state["chosen"] == 0


def test_without_refinement_the_prompts_alone_count(demo_parts, photo_session):
    photo_session.set_options(refine=False)
    photo_session.add_point(50, 60)
    photo_session.add_point(150, 30, 0)
    masks, scores, _ = plain_masks(demo_parts, input_points=[[[[50, 60], [150, 30]]]], input_labels=[[[1, 0]]])
    assert_shows(photo_session.state(), masks, scores)


@pytest.mark.parametrize(
    "before",
    [
        [],
        [lambda session: session.add_point(20, 20), lambda session: session.choose(2)],
        [lambda session: session.set_box(20, 10, 150, 100)],
        [lambda session: session.add_point(20, 20), PhotoSession.keep, lambda session: session.refine(1)],
        [lambda session: session.set_options(candidates="one", refine=False), lambda session: session.add_point(9, 9)],
    ],
    ids=["nothing", "candidate", "box", "taken up", "options"],
)
@pytest.mark.parametrize("label", [0, 1])
def test_a_preview_is_what_the_click_gives_and_changes_nothing(photo_session, calls, before, label):
    for action in before:
        action(photo_session)
    state = photo_session.state()
    calls.clear()
    preview = photo_session.preview_point(50, 60, label)
    assert photo_session.state() == state
    assert len(calls) == 1
    photo_session.add_point(50, 60, label)
    assert len(calls) == 1  # the answer is known
    (shown, *_) = photo_session.state()["candidates"]
    assert preview == shown
    shown = photo_session.state()
    photo_session.undo()
    assert photo_session.state() == {**state, "can_redo": True}
    photo_session.redo()
    assert photo_session.state() == shown


@pytest.mark.parametrize(
    "between",
    [
        lambda session: session.add_point(20, 20),
        lambda session: session.set_options(hq_token_only=True),
        lambda session: None,
    ],
    ids=["another step", "other options", "another point"],
)
def test_a_click_is_answered_anew_where_the_preview_was_of_something_else(demo_service, photo_session, calls, between):
    place = (50, 60)
    photo_session.preview_point(*place)
    between(photo_session)
    if not photo_session.state()["can_undo"] and not photo_session.state()["options"]["hq_token_only"]:
        place = (51, 60)
    calls.clear()
    photo_session.add_point(*place)
    assert len(calls) == 1
    plain = demo_service.store.get(demo_service.open(photo_file(), "photo.png"))
    between(plain)
    plain.add_point(*place)
    assert photo_session.state() == plain.state()


def test_a_preview_waits_for_nothing(photo_session, monkeypatch):
    """It is asked while a click is being decoded."""
    decode, previews = SamHQPredictor.decode, []

    def asked_meanwhile(*args, **options):
        thread = threading.Thread(target=lambda: previews.append(photo_session.preview_point(9, 9)))
        thread.start()
        thread.join(60)
        return decode(*args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(SamHQPredictor, "decode", asked_meanwhile)
        photo_session.add_point(50, 60)
    assert previews == [None]
    assert photo_session.preview_point(50, 60) is not None
    with pytest.raises(ValueError, match="x must be from 0 to 200"):
        photo_session.preview_point(201, 60)


def test_kept_masks_are_encoded_once(photo_session, monkeypatch):
    photo_session.add_point(50, 60)
    photo_session.keep()
    first = photo_session.state()["objects"]
    monkeypatch.setattr(SamHQPredictor, "photo_masks", lambda *_: pytest.fail("encoded again"))
    assert photo_session.state()["objects"] == first


def test_a_box_begins_anew_and_keeps_the_points(demo_parts, photo_session):
    photo_session.add_point(50, 60)
    photo_session.set_box(20, 10, 150, 100)
    masks, scores, _ = plain_masks(demo_parts, input_points=[[[[50, 60]]]], input_boxes=[[[20, 10, 150, 100]]])
    assert_shows(photo_session.state(), masks, scores)


@pytest.mark.parametrize(("candidates", "count"), [("auto", 3), ("three", 3), ("one", 1)])
def test_the_number_of_candidates_of_a_point(photo_session, candidates, count):
    photo_session.add_point(50, 60)
    photo_session.set_options(candidates=candidates)
    assert len(photo_session.state()["candidates"]) == count


def test_options_ask_the_model_again(demo_parts, photo_session):
    photo_session.add_point(50, 60)
    photo_session.choose(2)
    photo_session.set_options(hq_token_only=True)
    state = photo_session.state()
    masks, scores, _ = plain_masks(demo_parts, multimask=True, hq_only=True, input_points=[[[[50, 60]]]])
    assert_shows(state, masks, scores)
    assert state["chosen"] == 0


def test_undo_and_redo_go_through_everything(photo_session):
    states = [photo_session.state()]
    for action in (
        lambda: photo_session.add_point(50, 60),
        lambda: photo_session.add_point(150, 30, 0),
        lambda: photo_session.set_box(20, 10, 150, 100),
        photo_session.keep,
        lambda: photo_session.add_point(10, 10),
        photo_session.clear,
        lambda: photo_session.remove(1),
    ):
        action()
        states.append(photo_session.state())
    seen = ("points", "box", "candidates", "objects", "refined", "sam")
    for expected in states[-2::-1]:
        photo_session.undo()
        assert {name: photo_session.state()[name] for name in seen} == {name: expected[name] for name in seen}
    assert not photo_session.state()["can_undo"]
    photo_session.undo()
    for expected in states[1:]:
        photo_session.redo()
        assert {name: photo_session.state()[name] for name in seen} == {name: expected[name] for name in seen}
    assert not photo_session.state()["can_redo"]
    photo_session.redo()


def test_undo_restores_the_candidate_that_was_chosen(photo_session):
    photo_session.add_point(50, 60)
    photo_session.choose(1)
    photo_session.add_point(60, 60)
    photo_session.undo()
    assert photo_session.state()["chosen"] == 1


def test_a_new_action_ends_redo(photo_session):
    photo_session.add_point(50, 60)
    photo_session.undo()
    photo_session.add_point(60, 60)
    assert not photo_session.state()["can_redo"]


def test_what_can_be_undone_is_bounded(demo_service, monkeypatch):
    monkeypatch.setattr("sam_hq.demo.session_history.MOST_UNDO", 2)
    session = demo_service.store.get(demo_service.open(photo_file(), "a.png"))
    for x in range(4):
        session.add_point(x, 1)
    for _ in range(4):
        session.undo()
    assert len(session.state()["points"]) == 2
    assert MOST_UNDO == 50


def test_kept_objects_have_numbers_and_colours_that_stay(photo_session):
    for x in (20, 60, 100):
        photo_session.add_point(x, 60)
        photo_session.keep()
    assert photo_session.state()["points"] == []
    photo_session.remove(2)
    state = photo_session.state()
    assert [each["number"] for each in state["objects"]] == [1, 3]
    assert state["number"] == 2  # the next gets the free one
    red, green, blue = object_color(2)
    assert state["objects"][1]["color"] == f"#{red:02x}{green:02x}{blue:02x}"


def test_a_kept_object_has_the_mask_that_was_shown(photo_session):
    photo_session.add_point(50, 60)
    photo_session.choose(1)
    expected = shown_masks(photo_session.state())[1]
    photo_session.keep()
    kept = photo_session.state()["objects"][0]
    np.testing.assert_array_equal(decoded(kept["counts"]), expected)


def test_masks_come_at_any_size(photo_session):
    photo_session.add_point(50, 60)
    photo_session.keep()
    photo_session.set_box(20, 10, 150, 100)
    small, large = (
        [photo_session.mask_at(each, size) for each in photo_session.objects()] for size in ((60, 100), (240, 400))
    )
    assert [(mask.height, mask.width) for mask in small + large] == [(60, 100)] * 2 + [(240, 400)] * 2
    for one, other in zip(small, large, strict=True):
        assert (one.to_mask() != other.to_mask()[::4, ::4]).mean() < 0.1


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda s: s.add_point(-1, 5), ValueError, "x must be from 0 to 200"),
        (lambda s: s.add_point(5, 121), ValueError, "y must be from 0 to 120"),
        (lambda s: s.add_point(float("nan"), 5), ValueError, "x must be from 0 to 200"),
        (lambda s: s.add_point("5", 5), TypeError, "x must be a number"),
        (lambda s: s.add_point(True, 5), TypeError, "x must be a number"),
        (lambda s: s.add_point(5, 5, 2), ValueError, "label must be 1"),
        (lambda s: s.add_point(5, 5, "1"), ValueError, "label must be 1"),
        (lambda s: s.set_box(5, 5, 5.5, 90), ValueError, "at least one pixel"),
        (lambda s: s.set_box(5, 5, 500, 90), ValueError, "x1 must be from 0 to 200"),
        (lambda s: s.choose(3), ValueError, "there are 3 candidates, got number 3"),
        (lambda s: s.choose(-1), ValueError, "there are 3 candidates"),
        (lambda s: s.choose(True), ValueError, "there are 3 candidates"),
        (lambda s: s.remove(7), ValueError, "there is no object '7'"),
        (lambda s: s.remove(True), ValueError, "there is no object 'True'"),
        (lambda s: s.refine(1), ValueError, "there is no object '1'"),
        (lambda s: s.refine([1]), ValueError, "there is no object"),
        (lambda s: s.rename(1, "cat"), ValueError, "there is no object '1'"),
        (lambda s: s.rename(1, 5), TypeError, "name must be a string"),
        (lambda s: s.rename(1, "a" * 61), ValueError, "at most 60 letters, got 61"),
        (lambda s: s.set_options(candidates="many"), ValueError, "candidates must be one of"),
        (lambda s: s.set_options(refine=1), TypeError, "refine must be true or false"),
        (lambda s: s.set_options(threshold=1), TypeError, "threshold"),
    ],
)
def test_what_is_refused_changes_nothing(photo_session, act, error, message):
    photo_session.add_point(50, 60)
    before = photo_session.state()
    with pytest.raises(error, match=message):
        act(photo_session)
    assert photo_session.state() == before


def test_numbers_are_bounded(photo_session, monkeypatch):
    with pytest.raises(ValueError, match="there is no mask to keep"):
        photo_session.keep()
    photo_session.set_options(candidates="one")
    monkeypatch.setattr("sam_hq.demo.photo_session.MOST_POINTS", 2)
    monkeypatch.setattr("sam_hq.demo.session_steps.MOST_OBJECTS", 1)
    photo_session.add_point(1, 1)
    photo_session.add_point(2, 2)
    with pytest.raises(ValueError, match="at most 2 points"):
        photo_session.add_point(3, 3)
    photo_session.keep()
    photo_session.add_point(1, 1)
    with pytest.raises(ValueError, match="at most 1 objects"):
        photo_session.keep()
    assert (MOST_POINTS, MOST_OBJECTS) == (100, 255)


def test_the_image_is_embedded_once(demo_parts, demo_service, monkeypatch):
    calls = []
    embed = demo_parts[0].get_image_embeddings
    monkeypatch.setattr(demo_parts[0], "get_image_embeddings", lambda pixels: calls.append(1) or embed(pixels))
    photo_session = demo_service.store.get(demo_service.open(photo_file(), "a.png"))
    photo_session.add_point(50, 60)
    photo_session.set_box(20, 10, 150, 100)
    photo_session.undo()
    photo_session.set_options(hq_token_only=True)
    photo_session.start_generation(lambda work: work(), points_per_side=2)
    assert calls == [1]


class FoundMasks(list):
    """As candidates of a search: with a length, masks and scores."""

    @property
    def masks(self):
        return list(self)

    @property
    def scores(self):
        return np.linspace(0.9, 0.5, len(self))


def test_found_masks_are_kept_once_each_and_taken_back(photo_session):
    with pytest.raises(ValueError, match="nothing has been found yet"):
        photo_session.keep_found()
    masks = []
    for number in range(3):
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        mask[10 * number : 10 * number + 20, 5 * number : 5 * number + 40] = True
        masks.append(RunLengthMask.from_mask(mask))
    found = FoundMasks(masks)
    photo_session.generation = SimpleNamespace(found=found, state=dict, cancel=lambda: None)
    for numbers, error in (([0], ValueError), ([len(found) + 1], ValueError), ([True], TypeError), ("1", TypeError)):
        with pytest.raises(error, match="numbers must be"):
            photo_session.keep_found(numbers)
    photo_session.keep_found([2])
    photo_session.keep_found([2])
    (kept,) = photo_session.objects()
    mask = photo_session.mask_at(kept, photo_session.photo.size)
    np.testing.assert_array_equal(mask.to_mask(), found.masks[1].to_mask())
    photo_session.keep_found()
    state = photo_session.state()
    assert [each["number"] for each in state["objects"]] == list(range(1, len(found) + 1))
    assert state["objects"][0]["share"] == found.masks[1].area / (200 * 120)
    photo_session.remove(2)
    assert len(photo_session.state()["objects"]) == len(found) - 1
    photo_session.undo()
    photo_session.undo()
    assert len(photo_session.state()["objects"]) == 1
    photo_session.add_point(50, 60)  # kept ones stay while another is shown
    assert len(photo_session.objects()) == 2


def test_an_object_that_is_refined_keeps_its_room(photo_session, monkeypatch):
    monkeypatch.setattr("sam_hq.demo.session_steps.MOST_OBJECTS", 2)
    for x in (20, 100):
        photo_session.add_point(x, 60)
        photo_session.keep()
    photo_session.refine(1)
    mask = RunLengthMask.from_mask(np.eye(HEIGHT, WIDTH, dtype=bool))
    photo_session.generation = SimpleNamespace(found=FoundMasks([mask]), state=dict, cancel=lambda: None)
    with pytest.raises(ValueError, match="at most 2 objects"):
        photo_session.keep_found()
    photo_session.clear()
    assert [each["number"] for each in photo_session.state()["objects"]] == [1, 2]


def test_a_kept_object_is_refined_and_comes_back_with_number_and_name(demo_parts, photo_session):
    for x in (20, 100):
        photo_session.add_point(x, 60)
        photo_session.keep()
    photo_session.rename(1, " a\tcat\n")
    kept = photo_session.state()["objects"]
    photo_session.refine(1)
    state = photo_session.state()
    assert [each["number"] for each in state["objects"]] == [2]
    assert (state["number"], state["taken_up"]) == (1, True)
    assert [each["counts"] for each in state["candidates"]] == [kept[0]["counts"]]
    assert [each.number for each in photo_session.objects()] == [2, 1]  # what is shown is what is taken away
    photo_session.add_point(30, 70, 0)
    _, _, logits = plain_masks(demo_parts, multimask=True, input_points=[[[[20, 60]]]])
    masks, scores, _ = plain_masks(
        demo_parts, input_points=[[[[30, 70]]]], input_labels=[[[0]]], input_masks=logits[0][None, None]
    )
    assert_shows(photo_session.state(), masks, scores)
    photo_session.keep()
    first, second = photo_session.state()["objects"]
    assert (first["number"], first["name"]) == (1, "a cat")
    assert first["counts"] != kept[0]["counts"]
    assert second == kept[1]


def test_clearing_puts_an_object_that_was_taken_up_back_as_it_was(photo_session):
    photo_session.add_point(20, 60)
    photo_session.keep()
    before = photo_session.state()["objects"]
    for points in (0, 2):
        photo_session.refine(1)
        for x in range(points):
            photo_session.add_point(x, 5)
        photo_session.clear()
        assert photo_session.state()["objects"] == before
        assert not photo_session.state()["candidates"]


def test_what_is_in_work_is_kept_when_another_object_is_taken_up(photo_session):
    for x in (20, 100):
        photo_session.add_point(x, 60)
        photo_session.keep()
    photo_session.add_point(150, 30)
    shown = photo_session.state()["candidates"][0]["counts"]
    photo_session.refine(1)
    assert [(each["number"], each["counts"] == shown) for each in photo_session.state()["objects"]] == [
        (2, False),
        (3, True),
    ]
    photo_session.refine(2)
    assert [each["number"] for each in photo_session.state()["objects"]] == [1, 3]
    photo_session.undo()
    photo_session.undo()
    state = photo_session.state()
    assert [each["number"] for each in state["objects"]] == [1, 2]
    assert state["candidates"][0]["counts"] == shown


def test_a_found_mask_is_refined_and_not_kept_twice(demo_parts, photo_session):
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[30:90, 40:120] = True
    found = FoundMasks([RunLengthMask.from_mask(mask)])
    photo_session.generation = SimpleNamespace(found=found, state=dict, cancel=lambda: None)
    photo_session.keep_found()
    photo_session.refine(1)
    photo_session.keep_found()
    assert photo_session.state()["objects"] == []  # it is in work
    np.testing.assert_array_equal(shown_masks(photo_session.state())[0], mask)
    photo_session.add_point(60, 60)
    rough = demo_parts[1](original_sizes=[(HEIGHT, WIDTH)], input_masks=[[mask]])["input_masks"]
    masks, scores, _ = plain_masks(demo_parts, input_points=[[[[60, 60]]]], input_masks=rough)
    assert_shows(photo_session.state(), masks, scores)
    photo_session.keep()
    photo_session.keep_found()
    assert len(photo_session.state()["objects"]) == 1


def test_names_refinement_and_removal_are_undone_and_done_again(photo_session):
    photo_session.add_point(20, 60)
    photo_session.keep()
    states = [photo_session.state()]
    for action in (
        lambda: photo_session.rename(1, "cat"),
        lambda: photo_session.refine(1),
        lambda: photo_session.add_point(30, 70),
        photo_session.keep,
        lambda: photo_session.rename(1, ""),
        lambda: photo_session.remove(1),
    ):
        action()
        states.append(photo_session.state())
    seen = ("points", "candidates", "objects", "taken_up", "number", "refined")
    for steps, go in ((states[-2::-1], photo_session.undo), (states[1:], photo_session.redo)):
        for expected in steps:
            go()
            assert {name: photo_session.state()[name] for name in seen} == {name: expected[name] for name in seen}
    photo_session.undo()
    photo_session.rename(1, "")  # the name it has: no step of its own
    assert photo_session.state()["can_redo"]
