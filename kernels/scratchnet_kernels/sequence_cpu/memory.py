"""Large arrays whose memory is used again.

A training step allocates the same arrays each time, some of many megabytes. As a rule the system
takes such memory back as soon as an array is gone, and the first access to every new page costs
time. So freed memory is kept for the next array of its size. Measured
(``benchmarks/parts.py``): an LSTM's training step with (T, N, D, H) = (100, 64, 64, 128) takes 17.1
ms so, and 19.8 with fresh memory; with (400, 128, 32, 128) it takes 102 ms so, and 128 with fresh
memory.
"""

import math
import os
from threading import RLock

import numpy as np

from scratchnet.arrays import Array

SMALL = 1 << 16  # bytes; below that malloc does as well


def eighth_of_memory() -> int:
    """An eighth of the machine's memory, in bytes; a gigabyte where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 8
    except (AttributeError, ValueError, OSError):  # Windows
        return 1 << 30


KEPT = eighth_of_memory()  # bytes that are kept at most, unused


class _Store:
    """Unused memory. With it there is at most twice as much as was ever in use at one time: a
    process may be allowed much less than the machine has."""

    def __init__(self) -> None:
        self.free: list[Array] = []  # what was given back last is the last
        self.kept = self.used = self.most_used = 0  # bytes
        # a collection of garbage can give memory back in the midst of a request
        self.lock = RLock()

    def take(self, size: int) -> Array:
        """So many bytes, old or new."""
        with self.lock:
            self.used += size
            self.most_used = max(self.most_used, self.used)
            for k in reversed(range(len(self.free))):
                if self.free[k].nbytes == size:
                    self.kept -= size
                    return self.free.pop(k)
            self._keep_less()
        return np.empty(size, np.uint8)

    def give_back(self, memory: Array) -> None:
        """Keep it for the next one."""
        with self.lock:
            self.used -= memory.nbytes
            if memory.nbytes <= KEPT:
                self.free.append(memory)
                self.kept += memory.nbytes
                self._keep_less()

    def _keep_less(self) -> None:
        """Let go of what was given back first, perhaps of sizes no longer in use."""
        while self.kept > min(KEPT, 2 * self.most_used - self.used):
            self.kept -= self.free.pop(0).nbytes


store = _Store()


def _forked() -> None:
    """In the child of a fork: another thread may have held the lock."""
    store.lock = RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def empty(like: Array, shape: tuple[int, ...]) -> Array:
    """An uninitialised C-contiguous array of like's dtype.

    Its memory is reused when no view of it is left.
    """
    size = math.prod(shape) * like.dtype.itemsize
    if size < SMALL:
        return np.empty(shape, like.dtype)
    lease = _Lease(store.take(size))
    return np.asarray(lease).view(like.dtype).reshape(shape)


class _Lease:
    """Owner of an array's memory, which it gives back when the last view lets go of it."""

    def __init__(self, memory: Array) -> None:
        self.memory, self.store = memory, store  # its own: at the end modules are taken apart
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        self.store.give_back(self.memory)
