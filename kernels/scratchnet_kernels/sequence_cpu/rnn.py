"""The RNN over all of time on a slice of the batch: the simplest of the four, to be read first.

Each nonlinearity of ``scratchnet.cells.rnn`` has its loops, made by one function.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import rnn
from scratchnet_kernels.compiled import time_loop, vector_loop
from scratchnet_kernels.sequence import BackwardRun, ForwardRun, Loops
from scratchnet_kernels.sequence_cpu.blocks import (
    add_blocks,
    backward_blocks,
    forward_blocks,
    multiply,
)
from scratchnet_kernels.sequence_cpu.slices import (
    as_contiguous_readonly,
    one_blas_thread,
    run_slices,
)
from scratchnet_kernels.sequence_cpu.split import plain, split
from scratchnet_kernels.sequence_cpu.vector import vector


class Slices(NamedTuple):
    """The two loops over time of one nonlinearity."""

    forward: Callable[..., None]
    backward: Callable[..., None]


def slices(unit: Any, d_unit: Any) -> Slices:
    """Loops for h = unit(a), where dh and h give da = d_unit(dh, h)."""

    @vector_loop
    def forward_step(a_x: Array, m: Array, h: Array) -> None:
        """One step: a_x, h (rows, H); m = h' W_h (H / w, rows, w)."""
        # unsigned: none counts from the end
        rows, H, w = np.uintp(h.shape[0]), np.uintp(h.shape[1]), np.uintp(m.shape[2])
        for n in range(rows):
            for p in range(H // w):
                for k in range(w):
                    j = p * w + k
                    h[n, j] = unit(a_x[n, j] + m[p, n, k])

    @vector_loop
    def backward_step(dy: Array, t: int, lengths: Array, h: Array, dh: Array, da: Array) -> None:
        """One step back: all (rows, H).  Leaves dh at zero, for the product to be added."""
        rows, H = np.uintp(dy.shape[0]), np.uintp(dy.shape[1])
        for n in range(rows):
            if t < lengths[n]:
                for j in range(H):
                    da[n, j] = d_unit(dy[n, j] + dh[n, j], h[n, j])
                    dh[n, j] = 0
            else:  # an ended sequence passes its gradient on
                da[n] = 0

    @time_loop
    def forward_slice(
        a_x: Array, W: Array, h: Array, lengths: Array, first: int, last: int
    ) -> None:
        """All of time for sequences first to last - 1; W (H / w, H, w)."""
        m = np.empty((W.shape[0], last - first, W.shape[2]), a_x.dtype)
        for t in range(len(a_x)):
            multiply(h[t, first:last], W, m)
            forward_step(a_x[t, first:last], m, h[t + 1, first:last])
            for n in range(first, last):
                if t >= lengths[n]:  # an ended sequence carries its state
                    h[t + 1, n] = h[t, n]

    @time_loop
    def backward_slice(
        dy: Array, W: Array, h: Array, lengths: Array, dh: Array, da: Array, first: int, last: int
    ) -> None:
        """All of time, backwards; W (H / w, H, w).

        dh (N, H): gradient of the final state first, of the initial state at the end.
        """
        parts = np.empty((W.shape[0], last - first, W.shape[2]), dy.dtype)
        ours = slice(first, last)
        for t in range(len(dy) - 1, -1, -1):
            backward_step(dy[t, ours], t, lengths[ours], h[t + 1, ours], dh[ours], da[t, ours])
            multiply(da[t, ours], W, parts)  # undoes  a = ... + h' W_h
            add_blocks(parts, t, lengths[ours], dh[ours])

    return Slices(forward_slice, backward_slice)


SLICES = {name: slices(vector(unit), vector(d_unit)) for name, (unit, d_unit) in rnn.UNIT.items()}


def loop_forward(runs: Sequence[ForwardRun]) -> None:
    """The loop of ``rnn.forward``."""

    def loop(run: ForwardRun, rows: int, lengths: Array) -> Callable[[int, int], None]:
        W, cache = forward_blocks(run.cache.W_h, rows), run.cache
        return partial(SLICES[cache.nonlinearity].forward, run.a, W, cache.h, lengths)

    run_slices(runs, loop)


def loop_backward(runs: Sequence[BackwardRun]) -> None:
    """The loop of ``rnn.backward``."""

    def loop(run: BackwardRun, rows: int, lengths: Array) -> Callable[[int, int], None]:
        W, cache = backward_blocks(run.cache.W_h, rows), run.cache
        dy, made = as_contiguous_readonly(run.dy), (*run.d_states, *run.da)
        return partial(SLICES[cache.nonlinearity].backward, dy, W, cache.h, lengths, *made)

    run_slices(runs, loop)


LOOPS = Loops(rnn, loop_forward, loop_backward, split=split, plain=plain, session=one_blas_thread)
