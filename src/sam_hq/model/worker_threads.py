"""Work on many small things at once: one thread for each, rather than all threads for every step of each.

The decoder's steps on one prompt are too small to be worth cutting up among the cores: they wait for each other more
than they gain. Prompts do not depend on each other, so on a CPU each thread takes its own.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from typing import TypeVar

import torch

# Each worker holds the temporaries of its own group, so that their number bounds the memory.
_MAX_WORKERS = 8

# torch's thread count belongs to a thread, and is taken over by those that start later. While any call has shared it
# out, what it was before is known here alone.
_lock = threading.Lock()
_calls = 0
_threads_before = 0
_here = threading.local()  # `is_worker` in the workers

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def worker_count() -> int:
    """How many threads `in_threads` would use here: as many as torch has, one inside a worker.

    One also where something that belongs to the calling thread would be missed: autograd's graph, autocast, a compiler.
    """
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling():
        return 1
    if getattr(_here, "is_worker", False):
        return 1
    with _lock:
        return min(_threads_before if _calls else torch.get_num_threads(), _MAX_WORKERS)


def in_threads(function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
    """Apply a function of tensors on the CPU to every item, several at once.

    torch's threads are shared out among the workers while this runs, and the caller's setting is restored at the end. A
    single item is left to the caller's thread, and has all of them.

    Args:
        function: Called in worker threads, without gradients.
        items: Taken one by one, a few ahead of what has been yielded.

    Yields:
        The results, in the order of the items.
    """
    workers, items = worker_count(), iter(items)
    first = list(islice(items, 2))
    items = chain(first, items)
    if workers == 1 or len(first) < 2:
        yield from map(function, items)
        return
    inference = torch.is_inference_mode_enabled()

    def call(item: _Item) -> _Result:
        with torch.inference_mode(inference), torch.no_grad():  # these modes are a thread's own
            return function(item)

    pending: deque[Future[_Result]] = deque()
    with (
        _shared_threads() as threads,
        ThreadPoolExecutor(workers, initializer=_become_worker, initargs=(threads // workers,)) as pool,
    ):
        try:
            for item in items:
                pending.append(pool.submit(call, item))
                if len(pending) > workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def in_one_thread(function: Callable[[], _Result]) -> _Result:
    """Call a function in a thread that has one of torch's threads, and give what it returns."""
    if getattr(_here, "is_worker", False) or torch.get_num_threads() == 1:
        return function()
    with _shared_threads(), ThreadPoolExecutor(1, initializer=_become_worker, initargs=(1,)) as pool:
        return pool.submit(function).result()


@contextmanager
def _shared_threads() -> Iterator[int]:
    """Torch's threads as the first of the calls that overlap found them, and as each leaves them."""
    global _calls, _threads_before
    with _lock:
        if not _calls:
            _threads_before = torch.get_num_threads()
        _calls += 1
        threads = _threads_before
    try:
        yield threads
    finally:
        with _lock:
            _calls -= 1
        torch.set_num_threads(threads)  # a worker's setting is also that of threads started after it


def _become_worker(threads: int) -> None:
    _here.is_worker = True
    torch.get_num_threads()  # a thread's first use takes over what was set last anywhere, and would undo the next line
    torch.set_num_threads(threads)
