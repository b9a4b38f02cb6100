import io
import threading
import time

import numpy as np
import pytest
from PIL import Image

from demo_fixtures import photo_file
from sam_hq.demo.demo_service import found_labels, found_masks
from sam_hq.demo.model_turns import ModelTurns
from sam_hq.generation.generator import SamHQMaskGenerator
from sam_hq_numpy.formats.label_maps import label_map

ALL = {"points_per_side": 5, "least_score": 0.0, "least_stability": 0.0}


def now(work):
    work()


def test_everything_is_what_the_generator_finds(demo_parts, photo_session):
    photo_session.start_generation(now, **ALL)
    model, processor = demo_parts
    generator = SamHQMaskGenerator(
        model, processor.image_processor, points_per_crop=5, pred_iou_thresh=0.0, stability_score_thresh=0.0
    )
    (expected,) = generator.candidates_each([Image.open(io.BytesIO(photo_file()))], 1, generator.options)
    found = photo_session.generation.found
    assert found.masks == expected.masks
    assert len(found) > 0
    assert photo_session.generation.state() == {
        "status": "done",
        "points_done": 25,
        "points": 25,
        "found": len(found),
    }
    about = found_masks(photo_session)
    assert about["scores"] == pytest.approx(expected.scores.tolist())
    assert about["shares"] == [mask.area / (120 * 200) for mask in found.masks]
    labels = found_labels(photo_session)
    assert labels.dtype == np.dtype("<u2")
    np.testing.assert_array_equal(labels, label_map(found.masks, (120, 200)))


def test_the_labels_have_the_size_of_the_shown_picture(demo_service, monkeypatch):
    monkeypatch.setattr("sam_hq.demo.opened_photo.SHOWN_SIDE", 50)
    session = demo_service.store.get(demo_service.open(photo_file(), "photo.png"))
    session.start_generation(now, **ALL)
    labels = found_labels(session)
    assert labels.shape == session.photo.shown_size == (30, 50)
    np.testing.assert_array_equal(labels, label_map(session.generation.found.masks, (120, 200))[2::4, 2::4])


def test_a_search_can_be_ended_and_begun_again(photo_session):
    jobs = []
    photo_session.start_generation(jobs.append, **ALL)
    assert photo_session.generation.state()["status"] == "waiting"
    with pytest.raises(ValueError, match="searched already"):
        photo_session.start_generation(jobs.append, **ALL)
    photo_session.close()
    assert photo_session.generation.state()["status"] == "cancelled"
    jobs.pop()()
    assert photo_session.generation.state() == {"status": "cancelled", "points_done": 0, "points": 25, "found": None}
    photo_session.start_generation(now, **ALL)
    assert photo_session.generation.state()["status"] == "done"


def test_a_search_that_runs_ends_after_the_group_of_points(photo_session, monkeypatch):
    give_way = ModelTurns.give_way
    monkeypatch.setattr(ModelTurns, "give_way", lambda turns: (photo_session.close(), give_way(turns)))
    photo_session.start_generation(now, **ALL)
    assert photo_session.generation.state() == {"status": "cancelled", "points_done": 16, "points": 25, "found": None}


def test_clicks_are_answered_while_a_search_goes_on(photo_session, monkeypatch):
    """A search is held at its first group of points until a click has been answered."""
    give_way, answered = ModelTurns.give_way, threading.Event()

    def give_way_slowly(turns):
        while not turns.short_waiting and not answered.is_set():
            time.sleep(0.001)
        give_way(turns)

    monkeypatch.setattr(ModelTurns, "give_way", give_way_slowly)
    thread = threading.Thread(target=lambda: photo_session.start_generation(now, **ALL))
    thread.start()
    while photo_session.generation is None or photo_session.generation.status == "waiting":
        time.sleep(0.001)
    photo_session.add_point(50, 60)
    assert not photo_session.generation.is_over
    answered.set()
    thread.join(60)
    assert photo_session.generation.status == "done"


def test_a_fault_is_logged_and_said(photo_session, monkeypatch, caplog):
    def fail(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(SamHQMaskGenerator, "candidates_from_embeddings", fail)
    photo_session.start_generation(now, **ALL)
    assert photo_session.generation.state()["status"] == "failed"
    assert "out of memory" in caplog.text
    with pytest.raises(ValueError, match="nothing has been searched"):
        found_masks(photo_session)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"points_per_side": 0}, ValueError, "points_per_side must be at least 1, got 0"),
        ({"points_per_side": 65}, ValueError, "points_per_side must be at most 64, got 65"),
        ({"points_per_side": 8.0}, TypeError, "points_per_side must be a whole number"),
        ({"least_score": "high"}, TypeError, "pred_iou_thresh"),
        ({"least_stability": float("nan")}, ValueError, "stability_score_thresh"),
        ({"tile_size": 5}, TypeError, "tile_size"),
    ],
)
def test_impossible_options_are_refused(photo_session, options, error, message):
    with pytest.raises(error, match=message):
        photo_session.start_generation(now, **options)
    assert photo_session.generation is None
