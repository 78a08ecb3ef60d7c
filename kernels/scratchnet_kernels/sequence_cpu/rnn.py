"""The RNN over all of time, for one thread's rows or units: the simplest, to read first.

The math is that of ``scratchnet.cells.rnn``, compiled for vectors of units. A step's
pre-activations are made in the place of its h, in the cache, and ``forward_step`` replaces them.
"""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import rnn
from scratchnet.cells.rnn import relu_backward, relu_forward, tanh_backward, tanh_forward
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
def forward_step(h: Array, b: Array, relu: bool, part: Part) -> None:
    """One step: a (rows, H), to which b (1, H) is added, becomes h; for some units."""
    L = BYTES // h.itemsize
    for n in range(len(h)):
        for j in range(part.first, part.last, L):
            units = part.last - j  # that are left
            a = load(h, n, j, units) + load(b, 0, j, units)
            store(h, n, j, units, relu_forward(a) if relu else tanh_forward(a))


@compiled
def forward_rows(
    x: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    h: Array,
    lengths: Array,
    relu: bool,
    first: int,
    last: int,
    team: Array,
    part: Part,
) -> None:
    """All of time for sequences ``first`` to ``last`` - 1; W_x and W_h packed, b (1, H)."""
    T, H, ours = len(x), h.shape[2], slice(first, last)
    some = steps_at_once(last - first, H)
    for begin in range(0, T, some):
        end = min(begin + some, T)
        project(x, W_x, h[1:], begin, end, first, last, H, part)  # a = x W_x
        for t in range(begin, end):
            multiply_part(h[t, ours], W_h, h[t + 1, ours], H, part, 1)  # a += h' W_h
            forward_step(h[t + 1, ours], b, relu, part)
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
    h: Array,
    packed_x: Array,
    packed_h: Array,
    lengths: Array,
    relu: bool,
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
    many = rows_at_once(H)
    for first in range(part.first_row, part.last_row, many):
        last = min(first + many, part.last_row)
        forward_rows(x, packed_x, packed_h, b, h, lengths, relu, first, last, team, part)


@compiled
def backward_step(
    dy: Array, t: int, lengths: Array, h: Array, dh: Array, da: Array, relu: bool, part: Part
) -> None:
    """One step back: all (rows, H), of which some units.

    Leaves dh at zero, for the product to be added; an ended sequence passes dh on.
    """
    L = BYTES // dh.itemsize
    for n in range(len(dh)):
        if t >= lengths[n]:
            clear(da, n, da.shape[1], part)
            continue
        for j in range(part.first, part.last, L):
            units = part.last - j
            d, made = load(dy, n, j, units) + load(dh, n, j, units), load(h, n, j, units)
            store(da, n, j, units, relu_backward(d, made) if relu else tanh_backward(d, made))
            store(dh, n, j, units, zeros(dh))


@compiled
def backward_rows(
    dy: Array,
    W_x: Array,
    W_h: Array,
    h: Array,
    lengths: Array,
    dh: Array,
    da: Array,
    dx: Array,
    relu: bool,
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
    some = steps_at_once(last - first, H)
    for end in range(T, 0, -some):
        begin = max(0, end - some)
        for t in range(end - 1, begin - 1, -1):
            seen = h[t + 1, ours], dh[ours], da[t, ours]
            backward_step(dy[t, ours], t, lengths[ours], *seen, relu, part)
            if part.by_units and not meet(team, part):  # all units' da is there
                return
            multiply_part(da[t, ours], W_h, dh[ours], H, part, 1)  # undoes  a = ... + h' W_h
        back_project(da, W_x, dx, begin, end, first, last, part)  # undoes  a = x W_x + ...


@kept
def backward_part(
    dy: Array,
    W_x: Array,
    W_h: Array,
    h: Array,
    packed_x: Array,
    packed_h: Array,
    lengths: Array,
    dh: Array,
    da: Array,
    dx: Array,
    relu: bool,
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
    many = rows_at_once(H)
    for first in range(part.first_row, part.last_row, many):
        rows = first, min(first + many, part.last_row)
        backward_rows(dy, packed_x, packed_h, h, lengths, dh, da, dx, relu, *rows, team, part)


def forward(cache: rnn.Cache, W_x: Array, W_h: Array, b: Array) -> Passes[None]:
    """Fill the cache's h."""
    arrays = cache.x, W_x, W_h, b[None], cache.h, room(W_x, 1), room(W_h, 1), lengths_of(cache)
    yield [over_time(forward_part, cache, *arrays, cache.nonlinearity == "relu")]


def backward(dy: Array, cache: rnn.Cache, dh: Array) -> Passes[rnn.Grads]:
    """The gradients; dh is that of the final state, and changes."""
    x, h, W_x, W_h, nonlinearity = cache[:5]
    da, dx = empty(h, h[1:].shape), empty(x, x.shape)
    packed = room_transposed(W_x), room_transposed(W_h)
    arrays = dy, W_x, W_h, h, *packed, lengths_of(cache), dh, da, dx
    yield [over_time(backward_part, cache, *arrays, nonlinearity == "relu")]
    dW_x, dW_h = empty(W_x, W_x.shape), empty(W_h, W_h.shape)
    db = np.empty_like(da[0, 0])
    yield [over_columns(x, h[:-1], da, dW_x, dW_h, db, last=len(db))]
    return rnn.Grads(dx, dh, dW_x, dW_h, db, da)
