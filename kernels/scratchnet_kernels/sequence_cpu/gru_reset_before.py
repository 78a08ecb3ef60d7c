"""The GRU in the paper's form over all of time, for one thread's rows or units.

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
def reset_step(a: Array, b: Array, m: Array, h_prev: Array, s: Array, part: Part) -> None:
    """First half: a_r and a_z of a (rows, 3H) become r and z; m = h' W_h (rows, 2H); fills s."""
    (N, H), L = s.shape, BYTES // s.itemsize
    for n in range(N):
        for r in range(part.first, part.last, L):
            z, units = r + H, part.last - r
            v_r, v_z, v_s = reset_forward(
                load(a, n, r, units) + load(b, 0, r, units) + load(m, n, r, units),
                load(a, n, z, units) + load(b, 0, z, units) + load(m, n, z, units),
                load(h_prev, n, r, units),
            )
            store(a, n, r, units, v_r)
            store(a, n, z, units, v_z)
            store(s, n, r, units, v_s)


@compiled
def update_step(a: Array, b: Array, m: Array, h_prev: Array, h: Array, part: Part) -> None:
    """Second half: a_n of a (rows, 3H) becomes n; m = s W_hn (rows, H); fills h."""
    (N, H), L = h.shape, BYTES // h.itemsize
    for n in range(N):
        for j in range(part.first, part.last, L):
            a_n, units = j + 2 * H, part.last - j
            v_n, v_h = update_forward(
                load(a, n, a_n, units) + load(b, 0, a_n, units) + load(m, n, j, units),
                load(a, n, j + H, units),
                load(h_prev, n, j, units),
            )
            store(a, n, a_n, units, v_n)
            store(h, n, j, units, v_h)


@compiled
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
    team: Array,
    part: Part,
) -> None:
    """All of time for sequences ``first`` to ``last`` - 1; the three matrices packed."""
    T, H, ours = len(x), h.shape[2], slice(first, last)
    m_rz, m_n = np.empty((last - first, 2 * H), x.dtype), np.empty((last - first, H), x.dtype)
    some = steps_at_once(last - first, b.shape[1])
    for begin in range(0, T, some):
        end = min(begin + some, T)
        project(x, W_x, gates, begin, end, first, last, H, part)  # a = x W_x
        for t in range(begin, end):
            multiply_part(h[t, ours], W_rz, m_rz, H, part, 0)
            reset_step(gates[t, ours], b, m_rz, h[t, ours], s[t, ours], part)
            if part.by_units and not meet(team, part):  # all units' s is there
                return
            multiply_part(s[t, ours], W_n, m_n, H, part, 0)
            update_step(gates[t, ours], b, m_n, h[t, ours], h[t + 1, ours], part)
            for n in range(first, last):
                if t >= lengths[n]:  # an ended sequence carries its state
                    carry(h, t, n, part)
            if part.by_units and not meet(team, part):  # all units' h is there
                return


@kept
def forward_part(
    x: Array,
    W_x: Array,
    W_rz: Array,
    W_n: Array,
    b: Array,
    h: Array,
    gates: Array,
    s: Array,
    packed_x: Array,
    packed_rz: Array,
    packed_n: Array,
    lengths: Array,
    team: Array,
    k: int,
    count: int,
) -> None:
    """What thread k of ``count`` computes: some rows, or some units."""
    N, H = h.shape[1:]
    part = part_of(N, H, BYTES // h.itemsize, team, k, count)
    pack_part(W_x, packed_x, H, part)
    pack_part(W_rz, packed_rz, H, part)
    pack_part(W_n, packed_n, H, part)
    if not meet(team, part):
        return
    many = rows_at_once(gates.shape[2])
    for first in range(part.first_row, part.last_row, many):
        rows = first, min(first + many, part.last_row)
        arrays = x, packed_x, packed_rz, packed_n, b, h, gates, s, lengths
        forward_rows(*arrays, *rows, team, part)


@compiled
def back_update_step(
    dy: Array, t: int, lengths: Array, gates: Array, h_prev: Array, dh: Array, da: Array, part: Part
) -> None:
    """Back through the second half: gates and da (rows, 3H), the others (rows, H).

    Fills da_z and da_n, and leaves in dh the part of the gradient of h' that skips W_h. An ended
    sequence passes dh on.
    """
    (N, H), L = dh.shape, BYTES // dh.itemsize
    for n in range(N):
        if t >= lengths[n]:
            clear(da, n, H, part)
            continue
        for j in range(part.first, part.last, L):
            units = part.last - j
            da_n, da_z, dh_direct = update_backward(
                load(dy, n, j, units) + load(dh, n, j, units),
                load(gates, n, j + H, units),
                load(gates, n, j + 2 * H, units),
                load(h_prev, n, j, units),
            )
            store(da, n, j + 2 * H, units, da_n)
            store(da, n, j + H, units, da_z)
            store(dh, n, j, units, dh_direct)


@compiled
def back_reset_step(
    ds: Array, t: int, lengths: Array, gates: Array, h_prev: Array, dh: Array, da: Array, part: Part
) -> None:
    """Back through the first half: ds (rows, H); fills da_r, and adds to dh."""
    L = BYTES // dh.itemsize
    for n in range(len(dh)):
        if t >= lengths[n]:
            continue
        for r in range(part.first, part.last, L):
            units = part.last - r
            da_r, dh_reset = reset_backward(
                load(ds, n, r, units), load(gates, n, r, units), load(h_prev, n, r, units)
            )
            store(da, n, r, units, da_r)
            store(dh, n, r, units, load(dh, n, r, units) + dh_reset)


@compiled
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
    team: Array,
    part: Part,
) -> None:
    """All of time, backwards, for sequences ``first`` to ``last`` - 1.

    The three matrices are transposed and packed. dh (N, H): gradient of the final state first, of
    the initial state at the end.
    """
    T, H, ours = len(dy), h.shape[2], slice(first, last)
    ds = np.empty((last - first, H), dy.dtype)
    some = steps_at_once(last - first, da.shape[2])
    for end in range(T, 0, -some):
        begin = max(0, end - some)
        for t in range(end - 1, begin - 1, -1):
            seen = t, lengths[ours], gates[t, ours], h[t, ours], dh[ours], da[t, ours], part
            back_update_step(dy[t, ours], *seen)
            if part.by_units and not meet(team, part):  # all units' da_n is there
                return
            multiply_part(da[t, ours, 2 * H :], W_n, ds, H, part, 0)  # undoes  a_n = ... + s W_hn
            back_reset_step(ds, *seen)
            if part.by_units and not meet(team, part):  # all units' da_r and da_z are there
                return
            # undoes  a_r, a_z = ... + h' W_h
            multiply_part(da[t, ours, : 2 * H], W_rz, dh[ours], H, part, 1)
        back_project(da, W_x, dx, begin, end, first, last, part)  # undoes  a = x W_x + ...


@kept
def backward_part(
    dy: Array,
    W_x: Array,
    W_rz: Array,
    W_n: Array,
    h: Array,
    gates: Array,
    packed_x: Array,
    packed_rz: Array,
    packed_n: Array,
    lengths: Array,
    dh: Array,
    da: Array,
    dx: Array,
    team: Array,
    k: int,
    count: int,
) -> None:
    """What thread k of ``count`` computes: some rows, or some units."""
    N, H = dh.shape
    part = part_of(N, H, BYTES // dh.itemsize, team, k, count)
    pack_transposed_share(W_x, packed_x, part)
    pack_transposed_part(W_rz, packed_rz, part)
    pack_transposed_part(W_n, packed_n, part)
    if not meet(team, part):
        return
    many = rows_at_once(gates.shape[2])
    for first in range(part.first_row, part.last_row, many):
        rows = first, min(first + many, part.last_row)
        arrays = dy, packed_x, packed_rz, packed_n, h, gates, lengths, dh, da, dx
        backward_rows(*arrays, *rows, team, part)


def forward(cache: gru_reset_before.Cache, W_x: Array, W_h: Array, b: Array) -> Passes[None]:
    """Fill the cache's h, gates and s."""
    W_rz, W_n = halves(W_h)
    weights, packed = (W_x, W_rz, W_n, b[None]), (room(W_x, 3), room(W_rz, 2), room(W_n, 1))
    filled = cache.h, cache.gates, cache.s
    yield [over_time(forward_part, cache, cache.x, *weights, *filled, *packed, lengths_of(cache))]


def backward(dy: Array, cache: gru_reset_before.Cache, dh: Array) -> Passes[gru_reset_before.Grads]:
    """The gradients; dh is that of the final state, and changes."""
    x, h, gates, s, W_x, W_h = cache[:6]
    da, dx = empty(gates, gates.shape), empty(x, x.shape)
    W_rz, W_n = halves(W_h)
    matrices = W_x, W_rz, W_n
    read = dy, *matrices, h, gates, *map(room_transposed, matrices), lengths_of(cache)
    yield [over_time(backward_part, cache, *read, dh, da, dx)]
    dW_x, dW_h = empty(W_x, W_x.shape), empty(W_h, W_h.shape)
    db = np.empty_like(da[0, 0])
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
    W_rz.flags.writeable = W_n.flags.writeable = False  # as all others are
    return W_rz, W_n
