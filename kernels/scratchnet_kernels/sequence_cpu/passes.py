"""What the cells' passes have in common: arrays as loops take them, and how work is cut."""

from collections.abc import Callable
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet_kernels.compiled import compiled
from scratchnet_kernels.sequence_cpu.product import TERMS, gradients
from scratchnet_kernels.sequence_cpu.team import Part
from scratchnet_kernels.sequence_cpu.work import Work

ONE_STEP = 1 << 16  # numbers of one step: 256 KB of float32, a part of a core's own cache


@compiled
def rows_at_once(G: int) -> int:
    """Sequences that go through time together, for G pre-activations each."""
    return max(16, ONE_STEP // G)


@compiled
def clear(a: Array, n: int, H: int, part: Part) -> None:
    """Zeros for the part's units in row n of a (rows, gates H)."""
    for gate in range(0, a.shape[1], H):
        a[n, gate + part.first : gate + part.last] = 0


@compiled
def carry(state: Array, t: int, n: int, part: Part) -> None:
    """The part's units of row n as they were before step t: state (T + 1, rows, H)."""
    for j in range(part.first, part.last):
        state[t + 1, n, j] = state[t, n, j]


def over_time(loop: Callable[..., None], cache: Any, *args: Any) -> Work:
    """A loop over time, of which any sequences, or any units, can be computed by one thread."""
    T, N, D = cache.x.shape
    H, G = cache.W_h.shape
    return Work(loop, args, T * N * (D + H) * G, N, H * G)


def over_columns(x: Array, h: Array, da: Array, *grads: Array, first: int = 0, last: int) -> Work:
    """``gradients`` of x (T, N, D), h (T, N, H) and da (T, N, G), in columns ``first`` to ``last``.

    ``grads`` are dW_x, dW_h and db. Columns can be computed alone.
    """
    dW_x, dW_h, db = grads
    (T, N, _), ones = x.shape, contiguous(np.ones((TERMS, 1), x.dtype))
    left = [a.reshape(T * N, a.shape[2]) for a in (x, h, da)]
    args = left[0], left[1], ones, left[2], dW_x, dW_h, db[None], first, last
    return Work(gradients, args, T * N * (len(dW_x) + len(dW_h)) * (last - first))


def lengths_of(cache: Any) -> Array:
    """The length of each sequence; T where they have one length."""
    T, N, _ = cache.x.shape
    found = np.empty(N, np.intp)
    found[...] = T if cache.lengths is None else cache.lengths
    return found


def contiguous(array: Array) -> Array:
    """The caller's array as loops take it: contiguous, aligned, and marked read-only.

    Numba compiles a loop again for every other memory order, and for read-only arrays too.
    """
    flags = array.flags
    if not (flags.c_contiguous and flags.aligned):
        array = np.require(array, requirements=["C", "A"])
    found = array.view(np.ndarray)
    found.flags.writeable = False
    return found
