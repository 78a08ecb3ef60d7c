"""The LSTM over all of time, for one thread's rows or units, a vector of units at a time.

The math is that of ``scratchnet.cells.lstm``. A step's pre-activations are made in the place of its
gates, in the cache, and ``forward_step`` replaces them.
"""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import lstm
from scratchnet.cells.lstm import gates_backward, gates_forward
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
from scratchnet_kernels.sequence_cpu.vector import BYTES, load, store, zeros
from scratchnet_kernels.sequence_cpu.work import Passes


@compiled
def forward_step(a: Array, b: Array, c_prev: Array, c: Array, h: Array, part: Part) -> None:
    """One step: a (rows, 4H), to which b (1, 4H) is added, becomes the gates; fills c and h."""
    (N, H), L = h.shape, BYTES // h.itemsize
    for n in range(N):
        for i in range(part.first, part.last, L):
            f, g, o = i + H, i + 2 * H, i + 3 * H  # where units i, i + 1, ... have their gates
            units = part.last - i  # that are left
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


@compiled
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
    team: Array,
    part: Part,
) -> None:
    """All of time for sequences ``first`` to ``last`` - 1; W_x and W_h packed, b (1, 4H)."""
    T, H, ours = len(x), h.shape[2], slice(first, last)
    some = steps_at_once(last - first, gates.shape[2])
    for begin in range(0, T, some):
        end = min(begin + some, T)
        project(x, W_x, gates, begin, end, first, last, H, part)  # a = x W_x
        for t in range(begin, end):
            a = gates[t, ours]
            multiply_part(h[t, ours], W_h, a, H, part, 1)  # a += h' W_h
            forward_step(a, b, c[t, ours], c[t + 1, ours], h[t + 1, ours], part)
            for n in range(first, last):
                if t >= lengths[n]:  # an ended sequence carries its state
                    carry(h, t, n, part)
                    carry(c, t, n, part)
            if part.by_units and not meet(team, part):  # all units' h is there
                return


@kept
def forward_part(
    x: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    h: Array,
    c: Array,
    gates: Array,
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
        last = min(first + many, part.last_row)
        forward_rows(x, packed_x, packed_h, b, h, c, gates, lengths, first, last, team, part)


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
    part: Part,
) -> None:
    """One step back: gates, da (rows, 4H), the others (rows, H).

    Leaves dh at zero, for the product to be added; an ended sequence passes dh and dc on.
    """
    (N, H), L = dh.shape, BYTES // dh.itemsize
    for n in range(N):
        if t >= lengths[n]:
            clear(da, n, H, part)
            continue
        for i in range(part.first, part.last, L):
            f, g, o = i + H, i + 2 * H, i + 3 * H
            units = part.last - i
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
            store(dh, n, i, units, zeros(dh))


@compiled
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
    team: Array,
    part: Part,
) -> None:
    """All of time, backwards, for sequences ``first`` to ``last`` - 1.

    W_x and W_h are transposed and packed. dh and dc (N, H): gradients of the final states first, of
    the initial states at the end.
    """
    T, H, ours = len(dy), dh.shape[1], slice(first, last)
    some = steps_at_once(last - first, gates.shape[2])
    for end in range(T, 0, -some):
        begin = max(0, end - some)
        for t in range(end - 1, begin - 1, -1):
            states = c[t, ours], c[t + 1, ours], dh[ours], dc[ours]
            backward_step(dy[t, ours], t, lengths[ours], gates[t, ours], *states, da[t, ours], part)
            if part.by_units and not meet(team, part):  # all units' da is there
                return
            multiply_part(da[t, ours], W_h, dh[ours], H, part, 1)  # undoes  a = ... + h' W_h
        back_project(da, W_x, dx, begin, end, first, last, part)  # undoes  a = x W_x + ...


@kept
def backward_part(
    dy: Array,
    W_x: Array,
    W_h: Array,
    c: Array,
    gates: Array,
    packed_x: Array,
    packed_h: Array,
    lengths: Array,
    dh: Array,
    dc: Array,
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
    pack_transposed_part(W_h, packed_h, part)
    if not meet(team, part):
        return
    many = rows_at_once(da.shape[2])
    for first in range(part.first_row, part.last_row, many):
        rows = first, min(first + many, part.last_row)
        arrays = dy, packed_x, packed_h, c, gates, lengths, dh, dc, da, dx
        backward_rows(*arrays, *rows, team, part)


def forward(cache: lstm.Cache, W_x: Array, W_h: Array, b: Array) -> Passes[None]:
    """Fill the cache's h, c and gates."""
    arrays = (
        cache.x,
        W_x,
        W_h,
        b[None],
        cache.h,
        cache.c,
        cache.gates,
        room(W_x, 4),
        room(W_h, 4),
        lengths_of(cache),
    )
    yield [over_time(forward_part, cache, *arrays)]


def backward(dy: Array, cache: lstm.Cache, dh: Array, dc: Array) -> Passes[lstm.Grads]:
    """The gradients; dh and dc are those of the final states, and change."""
    x, h, c, gates, W_x, W_h = cache[:6]
    da, dx = empty(gates, gates.shape), empty(x, x.shape)
    packed = room_transposed(W_x), room_transposed(W_h)
    read = dy, W_x, W_h, c, gates, *packed, lengths_of(cache)
    yield [over_time(backward_part, cache, *read, dh, dc, da, dx)]
    dW_x, dW_h = empty(W_x, W_x.shape), empty(W_h, W_h.shape)
    db = np.empty_like(da[0, 0])
    yield [over_columns(x, h[:-1], da, dW_x, dW_h, db, last=len(db))]
    return lstm.Grads(dx, dh, dc, dW_x, dW_h, db, da)
