"""The LSTM over all of time, for some rows of the batch, a vector of units at a time.

The math is that of ``scratchnet.cells.lstm``. A step's pre-activations are made in the place of its
gates, in the cache, and ``forward_step`` replaces them.
"""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import lstm
from scratchnet.cells.lstm import gates_backward, gates_forward
from scratchnet_kernels.compiled import compiled, kept
from scratchnet_kernels.sequence_cpu.memory import empty
from scratchnet_kernels.sequence_cpu.passes import lengths_of, over_columns, over_rows
from scratchnet_kernels.sequence_cpu.product import multiply, pack, pack_transposed
from scratchnet_kernels.sequence_cpu.projection import back_project, project, steps_at_once
from scratchnet_kernels.sequence_cpu.vector import BYTES, load, store
from scratchnet_kernels.sequence_cpu.work import Passes


@compiled
def forward_step(a: Array, b: Array, c_prev: Array, c: Array, h: Array) -> None:
    """One step: a (rows, 4H), to which b (1, 4H) is added, becomes the gates; fills c and h."""
    (N, H), L = h.shape, BYTES // h.itemsize
    for n in range(N):
        for i in range(0, H, L):
            f, g, o = i + H, i + 2 * H, i + 3 * H  # where units i, i + 1, ... have their gates
            units = H - i  # that are left
            v_i, v_f, v_g, v_o, v_c, v_h = gates_forward(
                load(a, n, i, units) + load(b, 0, i, units),
                load(a, n, f, units) + load(b, 0, f, units),
                load(a, n, g, units) + load(b, 0, g, units),
                load(a, n, o, units) + load(b, 0, o, units),
                load(c_prev, n, i, units),
            )
            store(a, n, i, units, v_i)
            store(a, n, f, units, v_f)
            store(a, n, g, units, v_g)
            store(a, n, o, units, v_o)
            store(c, n, i, units, v_c)
            store(h, n, i, units, v_h)


@kept
def forward_rows(
    x: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    h: Array,
    c: Array,
    gates: Array,
    lengths: Array,
    first: int,
    last: int,
) -> None:
    """All of time for sequences ``first`` to ``last`` - 1; W_x and W_h packed, b (1, 4H)."""
    T, ours = len(x), slice(first, last)
    some = steps_at_once(last - first, gates.shape[2])
    for begin in range(0, T, some):
        project(x, W_x, gates, begin, min(begin + some, T), first, last)  # a = x W_x
        for t in range(begin, min(begin + some, T)):
            a = gates[t, ours]
            multiply(h[t, ours], W_h, a, 1)  # a += h' W_h
            forward_step(a, b, c[t, ours], c[t + 1, ours], h[t + 1, ours])
            for n in range(first, last):
                if t >= lengths[n]:  # an ended sequence carries its state
                    h[t + 1, n], c[t + 1, n] = h[t, n], c[t, n]


@compiled
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

    Leaves dh at zero, for the product to be added; an ended sequence passes dh and dc on.
    """
    (N, H), L = dh.shape, BYTES // dh.itemsize
    for n in range(N):
        if t >= lengths[n]:
            da[n] = 0
            continue
        for i in range(0, H, L):
            f, g, o = i + H, i + 2 * H, i + 3 * H
            units = H - i
            da_i, da_f, da_g, da_o, dc_prev = gates_backward(
                load(dy, n, i, units) + load(dh, n, i, units),
                load(dc, n, i, units),
                load(gates, n, i, units),
                load(gates, n, f, units),
                load(gates, n, g, units),
                load(gates, n, o, units),
                load(c_prev, n, i, units),
                load(c, n, i, units),
            )
            store(da, n, i, units, da_i)
            store(da, n, f, units, da_f)
            store(da, n, g, units, da_g)
            store(da, n, o, units, da_o)
            store(dc, n, i, units, dc_prev)
        dh[n] = 0


@kept
def backward_rows(
    dy: Array,
    W_x: Array,
    W_h: Array,
    c: Array,
    gates: Array,
    lengths: Array,
    dh: Array,
    dc: Array,
    da: Array,
    dx: Array,
    first: int,
    last: int,
) -> None:
    """All of time, backwards, for sequences ``first`` to ``last`` - 1.

    W_x and W_h are transposed and packed. dh and dc (N, H): gradients of the final states first, of
    the initial states at the end.
    """
    T, ours = len(dy), slice(first, last)
    some = steps_at_once(last - first, gates.shape[2])
    for end in range(T, 0, -some):
        begin = max(0, end - some)
        for t in range(end - 1, begin - 1, -1):
            states = c[t, ours], c[t + 1, ours], dh[ours], dc[ours]
            backward_step(dy[t, ours], t, lengths[ours], gates[t, ours], *states, da[t, ours])
            multiply(da[t, ours], W_h, dh[ours], 1)  # undoes  a = ... + h' W_h
        back_project(da, W_x, dx, begin, end, first, last)  # undoes  a = x W_x + ...


def forward(cache: lstm.Cache, W_x: Array, W_h: Array, b: Array) -> Passes[None]:
    """Fill the cache's h, c and gates."""
    arrays = (
        cache.x,
        pack(W_x),
        pack(W_h),
        b[None],
        cache.h,
        cache.c,
        cache.gates,
        lengths_of(cache),
    )
    yield [over_rows(forward_rows, cache, *arrays)]


def backward(dy: Array, cache: lstm.Cache, dh: Array, dc: Array) -> Passes[lstm.Grads]:
    """The gradients; dh and dc are those of the final states, and change."""
    x, h, c, gates, W_x, W_h = cache[:6]
    da, dx = empty(gates, gates.shape), empty(x, x.shape)
    read = dy, pack_transposed(W_x), pack_transposed(W_h), c, gates, lengths_of(cache)
    yield [over_rows(backward_rows, cache, *read, dh, dc, da, dx)]
    dW_x, dW_h, db = np.empty_like(W_x), np.empty_like(W_h), np.empty_like(da[0, 0])
    yield [over_columns(x, h[:-1], da, dW_x, dW_h, db, last=len(db))]
    return lstm.Grads(dx, dh, dc, dW_x, dW_h, db, da)
