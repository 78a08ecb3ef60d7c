"""The LSTM over all of time on a slice of the batch, a vector of units at a time.

The math is that of ``scratchnet.cells.lstm``.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import lstm
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

gates_forward, gates_backward = vector(lstm.gates_forward), vector(lstm.gates_backward)


@vector_loop
def forward_step(a_x: Array, m: Array, c_prev: Array, gates: Array, c: Array, h: Array) -> None:
    """One step: a_x, gates (rows, 4H); m = h' W_h (4H / w, rows, w); c_prev, c, h (rows, H)."""
    # unsigned: no index counts from the end
    rows, H, w = np.uintp(h.shape[0]), np.uintp(h.shape[1]), np.uintp(m.shape[2])
    blocks = H // w  # of one gate
    for n in range(rows):
        for p in range(blocks):
            b_f = p + blocks
            b_g = b_f + blocks
            b_o = b_g + blocks
            for k in range(w):
                i = p * w + k
                f = i + H
                g = f + H
                o = g + H
                gates[n, i], gates[n, f], gates[n, g], gates[n, o], c[n, i], h[n, i] = (
                    gates_forward(
                        a_x[n, i] + m[p, n, k],
                        a_x[n, f] + m[b_f, n, k],
                        a_x[n, g] + m[b_g, n, k],
                        a_x[n, o] + m[b_o, n, k],
                        c_prev[n, i],
                    )
                )


@vector_loop
def backward_step(
    dy: Array,
    t: int,
    lengths: Array,
    gates: Array,
    c_prev: Array,
    c: Array,
    dh: Array,
    dc: Array,
    da: Array,
) -> None:
    """One step back: gates, da (rows, 4H), the others (rows, H).

    Leaves dh at zero, for the product to be added.
    """
    rows, H = np.uintp(dy.shape[0]), np.uintp(dy.shape[1])
    for n in range(rows):
        if t < lengths[n]:
            for i in range(H):
                f = i + H
                g = f + H
                o = g + H
                da[n, i], da[n, f], da[n, g], da[n, o], dc[n, i] = gates_backward(
                    dy[n, i] + dh[n, i],
                    dc[n, i],
                    gates[n, i],
                    gates[n, f],
                    gates[n, g],
                    gates[n, o],
                    c_prev[n, i],
                    c[n, i],
                )
                dh[n, i] = 0
        else:  # an ended sequence passes its gradient on
            da[n] = 0


@time_loop
def forward_slice(
    a_x: Array, W: Array, h: Array, c: Array, gates: Array, lengths: Array, first: int, last: int
) -> None:
    """All of time for sequences first to last - 1; W (4H / w, H, w)."""
    m = np.empty((W.shape[0], last - first, W.shape[2]), a_x.dtype)
    for t in range(len(a_x)):
        multiply(h[t, first:last], W, m)
        made = gates[t, first:last], c[t + 1, first:last], h[t + 1, first:last]
        forward_step(a_x[t, first:last], m, c[t, first:last], *made)
        for n in range(first, last):
            if t >= lengths[n]:  # an ended sequence carries its state
                h[t + 1, n], c[t + 1, n] = h[t, n], c[t, n]


@time_loop
def backward_slice(
    dy: Array,
    W: Array,
    c: Array,
    gates: Array,
    lengths: Array,
    dh: Array,
    dc: Array,
    da: Array,
    first: int,
    last: int,
) -> None:
    """All of time, backwards; W (H / w, 4H, w).

    dh and dc (N, H): gradients of the final states first, of the initial states at the end.
    """
    parts = np.empty((W.shape[0], last - first, W.shape[2]), dy.dtype)
    ours = slice(first, last)
    for t in range(len(dy) - 1, -1, -1):
        states = c[t, ours], c[t + 1, ours]
        backward_step(
            dy[t, ours], t, lengths[ours], gates[t, ours], *states, dh[ours], dc[ours], da[t, ours]
        )
        multiply(da[t, ours], W, parts)  # undoes  a = ... + h' W_h
        add_blocks(parts, t, lengths[ours], dh[ours])


def loop_forward(runs: Sequence[ForwardRun]) -> None:
    """The loop of ``lstm.forward``."""

    def loop(run: ForwardRun, rows: int, lengths: Array) -> Callable[[int, int], None]:
        W, cache = forward_blocks(run.cache.W_h, rows), run.cache
        return partial(forward_slice, run.a, W, cache.h, cache.c, cache.gates, lengths)

    run_slices(runs, loop)


def loop_backward(runs: Sequence[BackwardRun]) -> None:
    """The loop of ``lstm.backward``."""

    def loop(run: BackwardRun, rows: int, lengths: Array) -> Callable[[int, int], None]:
        W, cache = backward_blocks(run.cache.W_h, rows), run.cache
        (dh, dc), (da,) = run.d_states, run.da
        dy = as_contiguous_readonly(run.dy)
        return partial(backward_slice, dy, W, cache.c, cache.gates, lengths, dh, dc, da)

    run_slices(runs, loop)


LOOPS = Loops(lstm, loop_forward, loop_backward, split=split, plain=plain, session=one_blas_thread)
