import threading
import time

import pytest

from sam_hq.demo.model_turns import ModelTurns


def test_short_work_goes_between_the_pieces_of_long_work():
    turns, order = ModelTurns(), []
    holding, waiting = threading.Event(), threading.Event()

    def click():
        holding.wait(10)
        waiting.set()
        with turns.short():
            order.append("click")

    thread = threading.Thread(target=click)
    thread.start()
    with turns.long():
        order.append("piece")
        holding.set()
        waiting.wait(10)
        while not turns.short_waiting:  # the click stands in the queue now
            time.sleep(0.001)
        turns.give_way()
        order.append("piece")
    thread.join(10)
    assert order == ["piece", "click", "piece"]


@pytest.mark.parametrize("kind", ["short", "long", "if_free"])
def test_what_can_be_left_never_waits(kind):
    turns = ModelTurns()
    with getattr(turns, kind)():
        with turns.if_free() as free:
            assert not free
        with turns.if_free() as free:  # what was not held is not given back
            assert not free
    with turns.if_free() as free:
        assert free


def test_one_at_a_time():
    turns, inside, most = ModelTurns(), [], []

    def work(kind):
        for _ in range(50):
            with getattr(turns, kind)():
                inside.append(kind)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work, args=(kind,)) for kind in ("short", "long", "short", "long")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == [1] * 200


@pytest.mark.parametrize("kind", ["short", "long", "if_free"])
def test_the_model_is_free_again_after_an_error(kind):
    turns = ModelTurns()
    with pytest.raises(RuntimeError), getattr(turns, kind)():
        raise RuntimeError
    with turns.short():
        pass
