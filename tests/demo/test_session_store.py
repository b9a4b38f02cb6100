import pytest

from sam_hq.demo.session_store import SessionStore


class Session:
    closed = False

    def close(self):
        self.closed = True


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_names_cannot_be_guessed_and_lead_to_their_own_session():
    store = SessionStore()
    sessions = [Session() for _ in range(10)]
    names = [store.add(session) for session in sessions]
    assert len(set(names)) == 10
    assert min(map(len, names)) >= 32
    assert [store.get(name) for name in names] == sessions
    with pytest.raises(KeyError):
        store.get(names[0][:-1])


def test_the_least_recently_used_goes_when_there_are_too_many():
    store = SessionStore(most_sessions=2)
    first, second, third = Session(), Session(), Session()
    first_name, second_name = store.add(first), store.add(second)
    store.get(first_name)
    third_name = store.add(third)
    assert (first.closed, second.closed, third.closed) == (False, True, False)
    assert len(store) == 2
    with pytest.raises(KeyError):
        store.get(second_name)
    assert (store.get(first_name), store.get(third_name)) == (first, third)


def test_idle_sessions_are_forgotten():
    clock = Clock()
    store = SessionStore(idle_seconds=60, clock=clock)
    idle, used = Session(), Session()
    idle_name, used_name = store.add(idle), store.add(used)
    clock.now = 50
    store.get(used_name)
    clock.now = 100
    store.close_idle()
    assert (idle.closed, used.closed, len(store)) == (True, False, 1)
    clock.now = 200
    with pytest.raises(KeyError):
        store.get(used_name)
    with pytest.raises(KeyError):
        store.get(idle_name)
    assert used.closed


def test_sessions_are_closed_when_they_are_removed():
    store = SessionStore()
    one, other = Session(), Session()
    name = store.add(one)
    store.add(other)
    store.remove(name)
    store.remove(name)
    assert (one.closed, other.closed) == (True, False)
    store.close()
    assert other.closed
    assert len(store) == 0


@pytest.mark.parametrize("limits", [{"most_sessions": 0}, {"idle_seconds": 0}])
def test_impossible_limits_are_refused(limits):
    with pytest.raises(ValueError, match="most_sessions must be at least 1"):
        SessionStore(**limits)
