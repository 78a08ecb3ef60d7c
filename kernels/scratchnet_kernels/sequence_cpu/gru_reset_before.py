"""The GRU in the paper's form over all of time, for some rows of the batch.

The math is that of ``scratchnet.cells.gru_reset_before``. Its step has two products, one after the
other, and so two halves: the gates r and z, then the candidate and h.
"""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import gru_reset_before
from scratchnet.cells.gru_reset_before import (
    reset_backward,
    reset_forward,
    update_backward,
    update_forward,
)
from scratchnet_kernels.compiled import compiled, kept
from scratchnet_kernels.sequence_cpu.memory import empty
from scratchnet_kernels.sequence_cpu.passes import lengths_of, over_columns, over_rows
from scratchnet_kernels.sequence_cpu.product import multiply, pack, pack_transposed
from scratchnet_kernels.sequence_cpu.projection import back_project, project, steps_at_once
from scratchnet_kernels.sequence_cpu.vector import BYTES, load, store
from scratchnet_kernels.sequence_cpu.work import Passes


@compiled
def reset_step(a: Array, b: Array, m: Array, h_prev: Array, s: Array) -> None:
    """First half: a_r and a_z of a (rows, 3H) become r and z; m = h' W_h (rows, 2H); fills s."""
    (N, H), L = s.shape, BYTES // s.itemsize
    for n in range(N):
        for r in range(0, H, L):
            z, units = r + H, H - r
            v_r, v_z, v_s = reset_forward(
                load(a, n, r, units) + load(b, 0, r, units) + load(m, n, r, units),
                load(a, n, z, units) + load(b, 0, z, units) + load(m, n, z, units),
                load(h_prev, n, r, units),
            )
            store(a, n, r, units, v_r)
            store(a, n, z, units, v_z)
            store(s, n, r, units, v_s)


@compiled
def update_step(a: Array, b: Array, m: Array, h_prev: Array, h: Array) -> None:
    """Second half: a_n of a (rows, 3H) becomes n; m = s W_hn (rows, H); fills h."""
    (N, H), L = h.shape, BYTES // h.itemsize
    for n in range(N):
        for j in range(0, H, L):
            a_n, units = j + 2 * H, H - j
            v_n, v_h = update_forward(
                load(a, n, a_n, units) + load(b, 0, a_n, units) + load(m, n, j, units),
                load(a, n, j + H, units),
                load(h_prev, n, j, units),
            )
            store(a, n, a_n, units, v_n)
            store(h, n, j, units, v_h)


@kept
def forward_rows(
    x: Array,
    W_x: Array,
    W_rz: Array,
    W_n: Array,
    b: Array,
    h: Array,
    gates: Array,
    s: Array,
    lengths: Array,
    first: int,
    last: int,
) -> None:
    """All of time for sequences ``first`` to ``last`` - 1; the three matrices packed."""
    T, H, ours = len(x), h.shape[2], slice(first, last)
    m_rz, m_n = np.empty((last - first, 2 * H), x.dtype), np.empty((last - first, H), x.dtype)
    some = steps_at_once(last - first, b.shape[1])
    for begin in range(0, T, some):
        end = min(begin + some, T)
        project(x, W_x, gates, begin, end, first, last)  # a = x W_x
        for t in range(begin, end):
            multiply(h[t, ours], W_rz, m_rz, 0)
            reset_step(gates[t, ours], b, m_rz, h[t, ours], s[t, ours])
            multiply(s[t, ours], W_n, m_n, 0)
            update_step(gates[t, ours], b, m_n, h[t, ours], h[t + 1, ours])
            for n in range(first, last):
                if t >= lengths[n]:  # an ended sequence carries its state
                    h[t + 1, n] = h[t, n]


@compiled
def back_update_step(
    dy: Array, gates: Array, h_prev: Array, dh: Array, da_n: Array, da_rz: Array
) -> None:
    """Back through the second half: gates (rows, 3H), da_rz (rows, 2H), the others (rows, H).

    Leaves in dh the part of the gradient of h' that skips W_h. Fills da_n, and da_z in da_rz.
    """
    (N, H), L = dh.shape, BYTES // dh.itemsize
    for n in range(N):
        for j in range(0, H, L):
            units = H - j
            v_n, v_z, dh_direct = update_backward(
                load(dy, n, j, units) + load(dh, n, j, units),
                load(gates, n, j + H, units),
                load(gates, n, j + 2 * H, units),
                load(h_prev, n, j, units),
            )
            store(da_n, n, j, units, v_n)
            store(da_rz, n, j + H, units, v_z)
            store(dh, n, j, units, dh_direct)


@compiled
def back_reset_step(
    ds: Array, gates: Array, h_prev: Array, da_n: Array, da_rz: Array, dh: Array, da: Array
) -> None:
    """Back through the first half: ds (rows, H); adds to dh, fills da_r in da_rz, and da."""
    (N, H), L = dh.shape, BYTES // dh.itemsize
    for n in range(N):
        for r in range(0, H, L):
            z, units = r + H, H - r
            v_r, dh_reset = reset_backward(
                load(ds, n, r, units), load(gates, n, r, units), load(h_prev, n, r, units)
            )
            store(da_rz, n, r, units, v_r)
            store(dh, n, r, units, load(dh, n, r, units) + dh_reset)
            store(da, n, r, units, v_r)
            store(da, n, z, units, load(da_rz, n, z, units))
            store(da, n, z + H, units, load(da_n, n, r, units))


@kept
def backward_rows(
    dy: Array,
    W_x: Array,
    W_rz: Array,
    W_n: Array,
    h: Array,
    gates: Array,
    lengths: Array,
    dh: Array,
    da: Array,
    dx: Array,
    first: int,
    last: int,
) -> None:
    """All of time, backwards, for sequences ``first`` to ``last`` - 1.

    The three matrices are transposed and packed. dh (N, H): gradient of the final state first, of
    the initial state at the end.
    """
    T, H, ours = len(dy), h.shape[2], slice(first, last)
    N = last - first
    da_n, ds, kept_dh = np.empty((N, H), dy.dtype), np.empty((N, H), dy.dtype), dh[ours].copy()
    da_rz = np.empty((N, 2 * H), dy.dtype)
    some = steps_at_once(N, da.shape[2])
    for end in range(T, 0, -some):
        begin = max(0, end - some)
        for t in range(end - 1, begin - 1, -1):
            kept_dh[:] = dh[ours]
            back_update_step(dy[t, ours], gates[t, ours], h[t, ours], dh[ours], da_n, da_rz)
            multiply(da_n, W_n, ds, 0)  # undoes  a_n = ... + s W_hn
            back_reset_step(ds, gates[t, ours], h[t, ours], da_n, da_rz, dh[ours], da[t, ours])
            multiply(da_rz, W_rz, dh[ours], 1)  # undoes  a_r, a_z = ... + h' W_h
            for n in range(first, last):
                if t >= lengths[n]:  # an ended sequence passes dh on
                    dh[n] = kept_dh[n - first]
                    da[t, n] = 0
        back_project(da, W_x, dx, begin, end, first, last)  # undoes  a = x W_x + ...


def forward(cache: gru_reset_before.Cache, W_x: Array, W_h: Array, b: Array) -> Passes[None]:
    """Fill the cache's h, gates and s."""
    W_rz, W_n = halves(W_h)
    weights = pack(W_x), pack(W_rz), pack(W_n), b[None]
    filled = cache.h, cache.gates, cache.s
    yield [over_rows(forward_rows, cache, cache.x, *weights, *filled, lengths_of(cache))]


def backward(dy: Array, cache: gru_reset_before.Cache, dh: Array) -> Passes[gru_reset_before.Grads]:
    """The gradients; dh is that of the final state, and changes."""
    x, h, gates, s, W_x, W_h = cache[:6]
    da, dx = empty(gates, gates.shape), empty(x, x.shape)
    W_rz, W_n = halves(W_h)
    weights = pack_transposed(W_x), pack_transposed(W_rz), pack_transposed(W_n)
    read = dy, *weights, h, gates, lengths_of(cache)
    yield [over_rows(backward_rows, cache, *read, dh, da, dx)]
    dW_x, dW_h, db = np.empty_like(W_x), np.empty_like(W_h), np.empty_like(da[0, 0])
    H, grads = h.shape[2], (dW_x, dW_h, db)
    yield [
        over_columns(x, h[:-1], da, *grads, last=2 * H),  # W_hr and W_hz met h'
        over_columns(x, s, da, *grads, first=2 * H, last=3 * H),  # W_hn met s
    ]
    return gru_reset_before.Grads(dx, dh, dW_x, dW_h, db, da)


def halves(W_h: Array) -> tuple[Array, Array]:
    """W_hr and W_hz together, which multiply h', and W_hn, which multiplies s."""
    both = 2 * len(W_h)
    W_rz, W_n = np.ascontiguousarray(W_h[:, :both]), np.ascontiguousarray(W_h[:, both:])
    W_rz.flags.writeable = W_n.flags.writeable = False  # as pack takes all others
    return W_rz, W_n
