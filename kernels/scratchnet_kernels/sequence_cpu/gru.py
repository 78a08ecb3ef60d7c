"""The GRU over all of time, for one thread's rows or units, a vector of units at a time.

The math is that of ``scratchnet.cells.gru``. A step's a = x W_x + b is made in the place of its
gates, in the cache, and ``forward_step`` replaces it.
"""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import gru
from scratchnet.cells.gru import gates_backward, gates_forward
from scratchnet_kernels.compiled import compiled, kept
from scratchnet_kernels.sequence_cpu.memory import empty
from scratchnet_kernels.sequence_cpu.part_products import (
    back_project,
    multiply_part,
    pack_part,
    pack_transposed_part,
    pack_transposed_share,
    project,
    steps_at_once,
)
from scratchnet_kernels.sequence_cpu.passes import (
    carry,
    clear,
    contiguous,
    lengths_of,
    over_columns,
    over_time,
    rows_at_once,
)
from scratchnet_kernels.sequence_cpu.product import room, room_transposed
from scratchnet_kernels.sequence_cpu.team import Part, meet, part_of
from scratchnet_kernels.sequence_cpu.vector import BYTES, load, store
from scratchnet_kernels.sequence_cpu.work import Passes


@compiled
def forward_step(
    a: Array, b: Array, m: Array, b_hn: Array, h_prev: Array, m_n: Array, h: Array, part: Part
) -> None:
    """One step: a (rows, 3H), to which b (1, 3H) is added, becomes the gates; fills m_n and h.

    m = h' W_h (rows, 3H), b_hn (1, H).
    """
    (N, H), L = h.shape, BYTES // h.itemsize
    for row in range(N):
        for r in range(part.first, part.last, L):
            z, n = r + H, r + 2 * H  # where units r, r + 1, ... have their gates
            units = part.last - r  # that are left
            v_m_n = load(m, row, n, units) + load(b_hn, 0, r, units)
            v_r, v_z, v_n, v_h = gates_forward(
                load(a, row, r, units) + load(b, 0, r, units),
                load(a, row, z, units) + load(b, 0, z, units),
                load(a, row, n, units) + load(b, 0, n, units),
                load(m, row, r, units),
                load(m, row, z, units),
                v_m_n,
                load(h_prev, row, r, units),
            )
            store(a, row, r, units, v_r)
            store(a, row, z, units, v_z)
            store(a, row, n, units, v_n)
            store(m_n, row, r, units, v_m_n)
            store(h, row, r, units, v_h)


@compiled
def forward_rows(
    x: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    b_hn: Array,
    h: Array,
    gates: Array,
    m_n: Array,
    lengths: Array,
    first: int,
    last: int,
    team: Array,
    part: Part,
) -> None:
    """All of time for sequences ``first`` to ``last`` - 1; W_x and W_h packed."""
    T, H, ours = len(x), h.shape[2], slice(first, last)
    m = np.empty((last - first, b.shape[1]), x.dtype)
    some = steps_at_once(last - first, b.shape[1])
    for begin in range(0, T, some):
        end = min(begin + some, T)
        project(x, W_x, gates, begin, end, first, last, H, part)  # a = x W_x
        for t in range(begin, end):
            multiply_part(h[t, ours], W_h, m, H, part, 0)  # m = h' W_h
            states = h[t, ours], m_n[t, ours], h[t + 1, ours]
            forward_step(gates[t, ours], b, m, b_hn, *states, part)
            for n in range(first, last):
                if t >= lengths[n]:  # an ended sequence carries its state
                    carry(h, t, n, part)
            if part.by_units and not meet(team, part):  # all units' h is there
                return


@kept
def forward_part(
    x: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    b_hn: Array,
    h: Array,
    gates: Array,
    m_n: Array,
    packed_x: Array,
    packed_h: Array,
    lengths: Array,
    team: Array,
    k: int,
    count: int,
) -> None:
    """What thread k of ``count`` computes: some rows, or some units."""
    N, H = h.shape[1:]
    part = part_of(N, H, BYTES // h.itemsize, team, k, count)
    pack_part(W_x, packed_x, H, part)
    pack_part(W_h, packed_h, H, part)
    if not meet(team, part):
        return
    many = rows_at_once(gates.shape[2])
    for first in range(part.first_row, part.last_row, many):
        rows = first, min(first + many, part.last_row)
        arrays = x, packed_x, packed_h, b, b_hn, h, gates, m_n, lengths
        forward_rows(*arrays, *rows, team, part)


@compiled
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
    part: Part,
) -> None:
    """One step back: gates, da, dm (rows, 3H), the others (rows, H).

    Leaves in dh the part of the gradient of h' that skips W_h; an ended sequence passes dh on.
    """
    (N, H), L = dh.shape, BYTES // dh.itemsize
    for row in range(N):
        if t >= lengths[row]:
            clear(da, row, H, part)
            clear(dm, row, H, part)
            continue
        for r in range(part.first, part.last, L):
            z, n = r + H, r + 2 * H
            units = part.last - r
            da_r, da_z, da_n, dm_n, dh_direct = gates_backward(
                load(dy, row, r, units) + load(dh, row, r, units),
                load(gates, row, r, units),
                load(gates, row, z, units),
                load(gates, row, n, units),
                load(m_n, row, r, units),
                load(h_prev, row, r, units),
            )
            store(da, row, r, units, da_r)
            store(da, row, z, units, da_z)
            store(da, row, n, units, da_n)
            store(dm, row, r, units, da_r)
            store(dm, row, z, units, da_z)
            store(dm, row, n, units, dm_n)
            store(dh, row, r, units, dh_direct)


@compiled
def backward_rows(
    dy: Array,
    W_x: Array,
    W_h: Array,
    h: Array,
    gates: Array,
    m_n: Array,
    lengths: Array,
    dh: Array,
    da: Array,
    dm: Array,
    dx: Array,
    first: int,
    last: int,
    team: Array,
    part: Part,
) -> None:
    """All of time, backwards, for sequences ``first`` to ``last`` - 1.

    W_x and W_h are transposed and packed. dh (N, H): gradient of the final state first, of the
    initial state at the end.
    """
    T, H, ours = len(dy), dh.shape[1], slice(first, last)
    some = steps_at_once(last - first, da.shape[2])
    for end in range(T, 0, -some):
        begin = max(0, end - some)
        for t in range(end - 1, begin - 1, -1):
            seen = gates[t, ours], m_n[t, ours], h[t, ours]
            filled = dh[ours], da[t, ours], dm[t, ours]
            backward_step(dy[t, ours], t, lengths[ours], *seen, *filled, part)
            if part.by_units and not meet(team, part):  # all units' dm is there
                return
            multiply_part(dm[t, ours], W_h, dh[ours], H, part, 1)  # undoes  m = h' W_h
        back_project(da, W_x, dx, begin, end, first, last, part)  # undoes  a = x W_x + ...


@kept
def backward_part(
    dy: Array,
    W_x: Array,
    W_h: Array,
    h: Array,
    gates: Array,
    m_n: Array,
    packed_x: Array,
    packed_h: Array,
    lengths: Array,
    dh: Array,
    da: Array,
    dm: Array,
    dx: Array,
    team: Array,
    k: int,
    count: int,
) -> None:
    """What thread k of ``count`` computes: some rows, or some units."""
    N, H = dh.shape
    part = part_of(N, H, BYTES // dh.itemsize, team, k, count)
    pack_transposed_share(W_x, packed_x, part)
    pack_transposed_part(W_h, packed_h, part)
    if not meet(team, part):
        return
    many = rows_at_once(gates.shape[2])
    for first in range(part.first_row, part.last_row, many):
        rows = first, min(first + many, part.last_row)
        arrays = dy, packed_x, packed_h, h, gates, m_n, lengths, dh, da, dm, dx
        backward_rows(*arrays, *rows, team, part)


def forward(cache: gru.Cache, W_x: Array, W_h: Array, b: Array, b_hn: Array) -> Passes[None]:
    """Fill the cache's h, gates and m_n."""
    weights, packed = (W_x, W_h, b[None], b_hn[None]), (room(W_x, 3), room(W_h, 3))
    filled = cache.h, cache.gates, cache.m_n
    yield [over_time(forward_part, cache, cache.x, *weights, *filled, *packed, lengths_of(cache))]


def backward(dy: Array, cache: gru.Cache, dh: Array) -> Passes[gru.Grads]:
    """The gradients; dh is that of the final state, and changes."""
    x, h, gates, m_n, W_x, W_h = cache[:6]
    da, dm, dx = empty(gates, gates.shape), empty(gates, gates.shape), empty(x, x.shape)
    packed = room_transposed(W_x), room_transposed(W_h)
    read = dy, W_x, W_h, h, gates, m_n, *packed, lengths_of(cache)
    yield [over_time(backward_part, cache, *read, dh, da, dm, dx)]
    dW_x, dW_h = empty(W_x, W_x.shape), empty(W_h, W_h.shape)
    db, db_h = np.empty_like(da[0, 0]), np.empty_like(dm[0, 0])
    none, no_grad = contiguous(x[:, :, :0]), dW_x[:0]
    yield [
        over_columns(x, none, da, dW_x, no_grad, db, last=len(db)),
        over_columns(none, h[:-1], dm, no_grad, dW_h, db_h, last=len(db)),
    ]
    return gru.Grads(dx, dh, dW_x, dW_h, db, db_h[2 * h.shape[2] :], da)
