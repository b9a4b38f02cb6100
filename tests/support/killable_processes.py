"""Processes that tests kill at any moment."""

import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from tqdm.auto import tqdm


def killable(function: Callable, *arguments: object) -> BaseProcess:
    """A process, not started yet, that calls a function.

    tqdm's own lock is shared by forked processes, and stays locked where one is killed that holds it: here each has its
    own, as processes that users start have.

    Args:
        function: What is called.
        *arguments: With what.
    """
    return multiprocessing.get_context("fork").Process(target=_call, args=(function, arguments))


def _call(function: Callable, arguments: tuple) -> None:
    tqdm.set_lock(threading.RLock())
    function(*arguments)
