"""Large arrays whose memory is used again.

A training step allocates the same arrays each time, some of many megabytes. As a rule the system
takes such memory back as soon as an array is gone, and the first access to every new page costs
time. So freed memory is kept, by size, for the next array. Measured (``benchmarks/parts.py``): an
LSTM's training step with (T, N, D, H) = (100, 32, 1, 64) takes 2.2 ms so, and 2.3 with fresh
memory; with (100, 64, 64, 128) it takes 14.0 ms so, and 17.0 with fresh memory.
"""

import math
from collections import defaultdict

import numpy as np

from scratchnet.arrays import Array

SMALL = 1 << 16  # bytes; below that malloc does as well
KEPT = 1 << 29  # bytes that are kept at most, unused

_free: defaultdict[int, list[Array]] = defaultdict(list)
_kept = 0


def empty(like: Array, shape: tuple[int, ...]) -> Array:
    """An uninitialised C-contiguous array of like's dtype.

    Its memory is reused when no view of it is left.
    """
    global _kept
    size = math.prod(shape) * like.dtype.itemsize
    if size < SMALL:
        return np.empty(shape, like.dtype)
    try:
        memory = _free[size].pop()
        _kept -= size
    except IndexError:
        memory = np.empty(size, np.uint8)
    return np.asarray(_Lease(memory)).view(like.dtype).reshape(shape)


class _Lease:
    """Owner of an array's memory, which it gives back when the last view lets go of it."""

    def __init__(self, memory: Array) -> None:
        self.memory = memory
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        global _kept
        size = self.memory.nbytes
        if size > KEPT:
            return
        if _kept + size > KEPT:  # perhaps of sizes no longer in use: start again
            _free.clear()
            _kept = 0
        _kept += size
        _free[size].append(self.memory)
