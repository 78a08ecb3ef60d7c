"""What the cells' passes have in common: arrays as loops take them, and how work is cut."""

from collections.abc import Callable
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet_kernels.sequence_cpu.product import gradients
from scratchnet_kernels.sequence_cpu.vector import lanes
from scratchnet_kernels.sequence_cpu.work import Work

ONE_STEP = 1 << 16  # numbers of one step: 256 KB of float32, a part of a core's own cache


def rows_at_once(G: int) -> int:
    """Sequences that are computed in one call, for G pre-activations each."""
    return max(16, ONE_STEP // G)


def over_rows(loop: Callable[..., None], cache: Any, *args: Any) -> Work:
    """A loop over time, of which any sequences can be computed alone."""
    T, N, D = cache.x.shape
    H, G = cache.W_h.shape
    return Work(loop, args, 0, N, 1, rows_at_once(G), T * N * (D + H) * G)


def over_columns(x: Array, h: Array, da: Array, *grads: Array, first: int = 0, last: int) -> Work:
    """``gradients`` of x (T, N, D), h (T, N, H) and da (T, N, G), in columns ``first`` to ``last``.

    ``grads`` are dW_x, dW_h and db. Columns can be computed alone.
    """
    dW_x, dW_h, db = grads
    args = _matrix(x), _matrix(h), _matrix(da), dW_x, dW_h, db[None]
    multiple = lanes(da.dtype)
    cost = len(args[0]) * (len(dW_x) + len(dW_h)) * (last - first)
    return Work(gradients, args, first, last, multiple, last, cost)


def _matrix(array: Array) -> Array:
    """(T, N, K) as (T N, K)."""
    T, N, K = array.shape
    return array.reshape(T * N, K)


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
