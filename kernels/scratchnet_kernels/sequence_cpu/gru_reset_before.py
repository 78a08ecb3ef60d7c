"""The GRU in the paper's form over all of time on a slice of the batch.

The math is that of ``scratchnet.cells.gru_reset_before``. A step has two products, h' W_hr and h'
W_hz before the gates r and z, then s W_hn, and so two elementwise halves.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import gru_reset_before
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

reset_forward = vector(gru_reset_before.reset_forward)
reset_backward = vector(gru_reset_before.reset_backward)
update_forward = vector(gru_reset_before.update_forward)
update_backward = vector(gru_reset_before.update_backward)


@vector_loop
def reset_step(a: Array, m: Array, h_prev: Array, gates: Array, s: Array) -> None:
    """First half: a, gates (rows, 3H); m = h' W_hrz (2H / w, rows, w); h_prev, s (rows, H)."""
    # unsigned: no index counts from the end
    rows, H, w = np.uintp(s.shape[0]), np.uintp(s.shape[1]), np.uintp(m.shape[2])
    blocks = H // w  # of one gate
    for row in range(rows):
        for p in range(blocks):
            b_z = p + blocks
            for k in range(w):
                r = p * w + k
                z = r + H
                gates[row, r], gates[row, z], s[row, r] = reset_forward(
                    a[row, r] + m[p, row, k], a[row, z] + m[b_z, row, k], h_prev[row, r]
                )


@vector_loop
def update_step(a: Array, m: Array, h_prev: Array, z: Array, n: Array, h: Array) -> None:
    """Second half: a (rows, 3H); m = s W_hn (H / w, rows, w); the others (rows, H).

    z and n are blocks of the gates.
    """
    rows, H, w = np.uintp(h.shape[0]), np.uintp(h.shape[1]), np.uintp(m.shape[2])
    for row in range(rows):
        for p in range(H // w):
            for k in range(w):
                j = p * w + k
                n[row, j], h[row, j] = update_forward(
                    a[row, j + H + H] + m[p, row, k], z[row, j], h_prev[row, j]
                )


@vector_loop
def back_update_step(
    dy: Array,
    t: int,
    lengths: Array,
    gates: Array,
    h_prev: Array,
    dh: Array,
    da_n: Array,
    da_z: Array,
) -> None:
    """Back through the second half: gates (rows, 3H), the others (rows, H).

    Leaves in dh the direct part of the gradient of h'.
    """
    rows, H = np.uintp(dy.shape[0]), np.uintp(dy.shape[1])
    for row in range(rows):
        if t < lengths[row]:
            for j in range(H):
                z = j + H
                n = z + H
                da_n[row, j], da_z[row, j], dh[row, j] = update_backward(
                    dy[row, j] + dh[row, j], gates[row, z], gates[row, n], h_prev[row, j]
                )
        else:  # an ended sequence passes its gradient on
            da_n[row] = 0
            da_z[row] = 0


@vector_loop
def back_reset_step(
    ds: Array,
    gates: Array,
    h_prev: Array,
    da_n: Array,
    da_z: Array,
    dh: Array,
    da_rz: Array,
    da: Array,
) -> None:
    """Back through the first half; adds to dh (rows, H).

    ds (H / w, rows, w), da_rz (rows, 2H), gates and da (rows, 3H).
    """
    rows, H, w = np.uintp(dh.shape[0]), np.uintp(dh.shape[1]), np.uintp(ds.shape[2])
    for row in range(rows):
        for p in range(H // w):
            for k in range(w):
                r = p * w + k
                da_r, dh_reset = reset_backward(ds[p, row, k], gates[row, r], h_prev[row, r])
                dh[row, r] += dh_reset
                da_rz[row, r], da_rz[row, r + H] = da_r, da_z[row, r]
        for j in range(H):
            z = j + H
            da[row, j], da[row, z], da[row, z + H] = da_rz[row, j], da_rz[row, z], da_n[row, j]


@time_loop
def forward_slice(
    a: Array,
    W_rz: Array,
    W_n: Array,
    h: Array,
    gates: Array,
    s: Array,
    lengths: Array,
    first: int,
    last: int,
) -> None:
    """All of time for sequences first to last - 1; W_rz (2H / w, H, w), W_n (H / w, H, w)."""
    H = h.shape[2]
    m_rz = np.empty((W_rz.shape[0], last - first, W_rz.shape[2]), a.dtype)
    m_n = np.empty((W_n.shape[0], last - first, W_n.shape[2]), a.dtype)
    ours = slice(first, last)
    for t in range(len(a)):
        multiply(h[t, ours], W_rz, m_rz)
        reset_step(a[t, ours], m_rz, h[t, ours], gates[t, ours], s[t, ours])
        multiply(s[t, ours], W_n, m_n)
        z_n = gates[t, ours, H : 2 * H], gates[t, ours, 2 * H :]
        update_step(a[t, ours], m_n, h[t, ours], *z_n, h[t + 1, ours])
        for n in range(first, last):
            if t >= lengths[n]:  # an ended sequence carries its state
                h[t + 1, n] = h[t, n]


@time_loop
def backward_slice(
    dy: Array,
    W_rz: Array,
    W_n: Array,
    h: Array,
    gates: Array,
    lengths: Array,
    dh: Array,
    da: Array,
    first: int,
    last: int,
) -> None:
    """All of time, backwards; dh (N, H): of the final state, then of the initial state.

    W_rz (H / w, 2H, w), W_n (H / w, H, w).
    """
    rows, H = last - first, h.shape[2]
    da_n, da_z = np.empty((rows, H), dy.dtype), np.empty((rows, H), dy.dtype)
    da_rz = np.empty((rows, 2 * H), dy.dtype)
    ds = np.empty((W_n.shape[0], rows, W_n.shape[2]), dy.dtype)
    parts = np.empty((W_rz.shape[0], rows, W_rz.shape[2]), dy.dtype)
    ours = slice(first, last)
    for t in range(len(dy) - 1, -1, -1):
        back_update_step(
            dy[t, ours], t, lengths[ours], gates[t, ours], h[t, ours], dh[ours], da_n, da_z
        )
        multiply(da_n, W_n, ds)  # undoes  a_n = ... + s W_hn
        back_reset_step(ds, gates[t, ours], h[t, ours], da_n, da_z, dh[ours], da_rz, da[t, ours])
        multiply(da_rz, W_rz, parts)  # undoes  a_r, a_z = ... + h' W_h
        add_blocks(parts, t, lengths[ours], dh[ours])


def loop_forward(runs: Sequence[ForwardRun]) -> None:
    """The loop of ``gru_reset_before.forward``."""

    def loop(run: ForwardRun, rows: int, lengths: Array) -> Callable[[int, int], None]:
        cache, H = run.cache, len(run.cache.W_h)
        W_rz = forward_blocks(cache.W_h[:, : 2 * H], rows)
        W_n = forward_blocks(cache.W_h[:, 2 * H :], rows)
        return partial(forward_slice, run.a, W_rz, W_n, cache.h, cache.gates, cache.s, lengths)

    run_slices(runs, loop)


def loop_backward(runs: Sequence[BackwardRun]) -> None:
    """The loop of ``gru_reset_before.backward``."""

    def loop(run: BackwardRun, rows: int, lengths: Array) -> Callable[[int, int], None]:
        cache, H = run.cache, len(run.cache.W_h)
        (dh,), (da,) = run.d_states, run.da
        W_rz = backward_blocks(cache.W_h[:, : 2 * H], rows)
        W_n = backward_blocks(cache.W_h[:, 2 * H :], rows)
        return partial(
            backward_slice,
            as_contiguous_readonly(run.dy),
            W_rz,
            W_n,
            cache.h,
            cache.gates,
            lengths,
            dh,
            da,
        )

    run_slices(runs, loop)


LOOPS = Loops(
    gru_reset_before, loop_forward, loop_backward, split=split, plain=plain, session=one_blas_thread
)
