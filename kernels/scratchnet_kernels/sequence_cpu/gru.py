"""The GRU over all of time on a slice of the batch, a vector of units at a time.

The math is that of ``scratchnet.cells.gru``.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import gru
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

gates_forward, gates_backward = vector(gru.gates_forward), vector(gru.gates_backward)


@vector_loop
def forward_step(
    a: Array, m: Array, b_hn: Array, h_prev: Array, gates: Array, m_n: Array, h: Array
) -> None:
    """One step: a, gates (rows, 3H); m = h' W_h (3H / w, rows, w); b_hn (H,); others (rows, H)."""
    # unsigned: no index counts from the end
    rows, H, w = np.uintp(h.shape[0]), np.uintp(h.shape[1]), np.uintp(m.shape[2])
    blocks = H // w  # of one gate
    for row in range(rows):
        for p in range(blocks):
            b_z = p + blocks
            b_n = b_z + blocks
            for k in range(w):
                r = p * w + k
                z = r + H
                n = z + H
                m_n[row, r] = m[b_n, row, k] + b_hn[r]
                gates[row, r], gates[row, z], gates[row, n], h[row, r] = gates_forward(
                    a[row, r],
                    a[row, z],
                    a[row, n],
                    m[p, row, k],
                    m[b_z, row, k],
                    m[b_n, row, k] + b_hn[r],
                    h_prev[row, r],
                )


@vector_loop
def backward_step(
    dy: Array,
    t: int,
    lengths: Array,
    gates: Array,
    m_n: Array,
    h_prev: Array,
    dh: Array,
    da: Array,
    dm: Array,
) -> None:
    """One step back: gates, da, dm (rows, 3H), the others (rows, H).

    Leaves in dh the direct part of the gradient of h'.
    """
    rows, H = np.uintp(dy.shape[0]), np.uintp(dy.shape[1])
    for row in range(rows):
        if t < lengths[row]:
            for r in range(H):
                z = r + H
                n = z + H
                da_r, da_z, da_n, dm_n, dh_direct = gates_backward(
                    dy[row, r] + dh[row, r],
                    gates[row, r],
                    gates[row, z],
                    gates[row, n],
                    m_n[row, r],
                    h_prev[row, r],
                )
                da[row, r], da[row, z], da[row, n], dh[row, r] = da_r, da_z, da_n, dh_direct
                dm[row, r], dm[row, z], dm[row, n] = da_r, da_z, dm_n
        else:  # an ended sequence passes its gradient on
            da[row] = 0
            dm[row] = 0


@time_loop
def forward_slice(
    a: Array,
    W: Array,
    b_hn: Array,
    h: Array,
    gates: Array,
    m_n: Array,
    lengths: Array,
    first: int,
    last: int,
) -> None:
    """All of time for sequences first to last - 1; W (3H / w, H, w)."""
    m = np.empty((W.shape[0], last - first, W.shape[2]), a.dtype)
    ours = slice(first, last)
    for t in range(len(a)):
        multiply(h[t, ours], W, m)
        forward_step(a[t, ours], m, b_hn, h[t, ours], gates[t, ours], m_n[t, ours], h[t + 1, ours])
        for n in range(first, last):
            if t >= lengths[n]:  # an ended sequence carries its state
                h[t + 1, n] = h[t, n]


@time_loop
def backward_slice(
    dy: Array,
    W: Array,
    h: Array,
    gates: Array,
    m_n: Array,
    lengths: Array,
    dh: Array,
    da: Array,
    dm: Array,
    first: int,
    last: int,
) -> None:
    """All of time, backwards; W (H / w, 3H, w), dh (N, H): of the final, then the initial state."""
    parts = np.empty((W.shape[0], last - first, W.shape[2]), dy.dtype)
    ours = slice(first, last)
    for t in range(len(dy) - 1, -1, -1):
        seen = gates[t, ours], m_n[t, ours], h[t, ours]
        backward_step(dy[t, ours], t, lengths[ours], *seen, dh[ours], da[t, ours], dm[t, ours])
        multiply(dm[t, ours], W, parts)  # undoes  m = h' W_h
        add_blocks(parts, t, lengths[ours], dh[ours])


def loop_forward(runs: Sequence[ForwardRun]) -> None:
    """The loop of ``gru.forward``."""

    def loop(run: ForwardRun, rows: int, lengths: Array) -> Callable[[int, int], None]:
        W, b_hn, cache = (
            forward_blocks(run.cache.W_h, rows),
            as_contiguous_readonly(run.args[-1]),
            run.cache,
        )
        return partial(forward_slice, run.a, W, b_hn, cache.h, cache.gates, cache.m_n, lengths)

    run_slices(runs, loop)


def loop_backward(runs: Sequence[BackwardRun]) -> None:
    """The loop of ``gru.backward``."""

    def loop(run: BackwardRun, rows: int, lengths: Array) -> Callable[[int, int], None]:
        W, cache = backward_blocks(run.cache.W_h, rows), run.cache
        (dh,), (da, dm) = run.d_states, run.da
        return partial(
            backward_slice,
            as_contiguous_readonly(run.dy),
            W,
            cache.h,
            cache.gates,
            cache.m_n,
            lengths,
            dh,
            da,
            dm,
        )

    run_slices(runs, loop)


LOOPS = Loops(
    gru, loop_forward, loop_backward, parts=2, split=split, plain=plain, session=one_blas_thread
)
