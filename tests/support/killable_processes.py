"""Processes that tests kill at any moment."""

import multiprocessing
import threading
from collections.abc import Callable
from multiprocessing.process import BaseProcess

import torch
from tqdm.auto import tqdm


def killable(function: Callable, *arguments: object) -> BaseProcess:
    """A process, not started yet, that calls a function.

    tqdm's own lock is shared by forked processes, and stays locked where one is killed that holds it: here each has its
    own, as processes that users start have. Torch's threads do not come along when a process is forked, and work that
    is given to them would never end: there is one thread.

    Args:
        function: What is called.
        *arguments: With what.
    """
    return multiprocessing.get_context("fork").Process(target=_call, args=(function, arguments))


def _call(function: Callable, arguments: tuple) -> None:
    tqdm.set_lock(threading.RLock())
    torch.set_num_threads(1)
    function(*arguments)
