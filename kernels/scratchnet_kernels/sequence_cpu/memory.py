"""Large arrays whose memory is used again.

A training step allocates the same arrays each time, some of many megabytes. As a rule the system
takes such memory back as soon as an array is gone, and the first access to every new page costs
time. So freed memory is kept, by size, for the next array. Measured (``benchmarks/parts.py``): an
LSTM's training step with (T, N, D, H) = (100, 64, 64, 128) takes 16.4 ms so, and 25.1 with fresh
memory; with 32 sequences of 64 units it is the same.
"""

import math
from collections import defaultdict

import numpy as np
from numpy.typing import DTypeLike

from scratchnet.arrays import Array

SMALL = 1 << 16  # bytes; below that malloc does as well
KEPT = 1 << 29  # bytes that are kept at most, unused

_free: defaultdict[int, list[Array]] = defaultdict(list)
_kept = 0


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """An uninitialised C-contiguous array, whose memory is reused when no view of it is left."""
    global _kept
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < SMALL:
        return np.empty(shape, dtype)
    try:
        memory = _free[size].pop()
        _kept -= size
    except IndexError:
        memory = np.empty(size, np.uint8)
    return np.asarray(_Lease(memory)).view(dtype).reshape(shape)


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
