"""Work in threads: the same results in order, and nothing of it left behind."""

import threading

import pytest
import torch

from conftest import small_model
from sam_hq.model.worker_threads import in_threads, worker_count


@pytest.fixture(autouse=True)
def two_threads(torch_threads):
    torch_threads(2)


def threads_of_a_fresh_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def test_results_come_in_order_and_from_other_threads_with_one_core_each():
    def look(item):
        return item, threading.current_thread() is threading.main_thread(), torch.get_num_threads(), worker_count()

    with torch.no_grad():
        assert list(in_threads(look, range(20))) == [(item, False, 1, 1) for item in range(20)]
    assert (torch.get_num_threads(), threads_of_a_fresh_thread()) == (2, 2)


def test_a_single_item_has_all_threads():
    def look(item):
        return item, threading.current_thread() is threading.main_thread(), torch.get_num_threads()

    with torch.no_grad():
        assert list(in_threads(look, ["one"])) == [("one", True, 2)]
        assert list(in_threads(look, [])) == []


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_mode_holds_in_the_threads(mode):
    with mode():
        made, _ = in_threads(lambda item: torch.zeros(1, requires_grad=True) * item, [1, 1])
    assert not made.requires_grad
    assert made.is_inference() == (mode is torch.inference_mode)


def test_with_gradients_or_autocast_everything_stays_in_the_calling_thread():
    here = threading.current_thread()
    assert list(in_threads(lambda _: threading.current_thread() is here, [0])) == [True]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert worker_count() == 1


def test_items_are_taken_a_few_ahead_and_no_more_once_the_results_are_left():
    taken, done = [], []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    with torch.no_grad():
        results = in_threads(done.append, items())
        next(results)
        assert len(taken) <= 4
        results.close()
    assert len(done) <= len(taken) <= 4
    assert torch.get_num_threads() == threads_of_a_fresh_thread() == 2


def test_an_error_reaches_the_caller():
    def refuse(item):
        raise ValueError(f"no {item}")

    with torch.no_grad(), pytest.raises(ValueError, match="no 0"):
        list(in_threads(refuse, range(9)))
    assert torch.get_num_threads() == 2


def test_calls_that_overlap_leave_the_threads_as_the_first_found_them():
    """The second call comes from a thread that starts while the first has shared torch's threads out."""
    torch.set_num_threads(4)
    counts, started, over = [], threading.Event(), threading.Event()

    def second():
        with torch.no_grad():
            counts.append(worker_count())
            list(in_threads(lambda _: None, range(3)))
        counts.append(torch.get_num_threads())
        over.set()

    def look(item):
        if item == 0:
            threading.Thread(target=second).start()
            started.set()
        assert started.wait(60)
        assert over.wait(60)
        return torch.get_num_threads()

    with torch.no_grad():
        assert list(in_threads(look, range(6))) == [1] * 6
    assert counts == [4, 4]
    assert torch.get_num_threads() == threads_of_a_fresh_thread() == 4


def test_masks_decoded_in_threads_are_those_of_one_thread(monkeypatch):
    monkeypatch.setattr("sam_hq.model.cpu_decoder.PIXEL_FLOATS_AT_ONCE", 1)
    model = small_model()
    points = torch.rand(1, 25, 1, 2) * 128
    with torch.no_grad():
        image_embeddings, intermediate = model.get_image_embeddings(torch.randn(1, 3, 128, 128))
        hq_features = model.get_hq_features(image_embeddings, intermediate)
        prompted = {"image_embeddings": image_embeddings, "hq_features": hq_features, "input_points": points}
        in_two = model(**prompted)
        torch.set_num_threads(1)
        in_one = model(**prompted)
    torch.testing.assert_close(in_two.pred_masks, in_one.pred_masks, atol=1e-5, rtol=0)
    torch.testing.assert_close(in_two.iou_scores, in_one.iou_scores, atol=1e-6, rtol=0)
