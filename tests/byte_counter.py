"""Counts the bytes of live tensors, for tests of peak memory that a busy machine cannot upset."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter


class ByteCounter(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive: `peak` at the most, `largest` a single one."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = self.largest = 0
        self._seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        for tensor in tree_iter(outputs):
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage())
        return outputs

    def _count(self, storage):
        key = storage._cdata
        if key in self._seen:
            return
        size = storage.nbytes()
        self._seen.add(key)
        weakref.finalize(storage, self._release, key, size)
        self.live += size
        self.peak, self.largest = max(self.peak, self.live), max(self.largest, size)

    def _release(self, key, size):
        self._seen.discard(key)
        self.live -= size
