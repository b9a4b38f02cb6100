"""Counts the bytes of live tensors, for tests of peak memory that a busy machine cannot upset."""

import threading
import weakref

import torch
from torch.utils._pytree import tree_iter

from watching import Watcher


class ByteCounter(Watcher):
    """Counts the bytes of the tensors that are alive: `peak` at the most, `largest` a single one.

    A counter sees the thread that it is entered in alone; `in_other_thread` gives one that adds to its counts.
    """

    def __init__(self, counts=None):
        super().__init__()
        self.counts = _Counts() if counts is None else counts

    def in_other_thread(self):
        """A counter to enter in another thread, which adds to this one's counts."""
        return ByteCounter(self.counts)

    @property
    def peak(self):
        """Bytes alive at the most."""
        return self.counts.peak

    @property
    def largest(self):
        """Bytes of the largest tensor."""
        return self.counts.largest

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        for tensor in tree_iter(outputs):
            if isinstance(tensor, torch.Tensor):
                self.counts.add(tensor.untyped_storage())
        return outputs


class _Counts:
    def __init__(self):
        self.live = self.peak = self.largest = 0
        self._seen = set()
        self._lock = threading.RLock()  # a release may come in the middle of an addition

    def add(self, storage):
        key = storage._cdata
        with self._lock:
            if key in self._seen:
                return
            size = storage.nbytes()
            self._seen.add(key)
            weakref.finalize(storage, self._release, key, size)
            self.live += size
            self.peak, self.largest = max(self.peak, self.live), max(self.largest, size)

    def _release(self, key, size):
        with self._lock:
            self._seen.discard(key)
            self.live -= size
