"""The RNN over all of time, for some rows of the batch: the simplest of the four, to read first.

The math is that of ``scratchnet.cells.rnn``, compiled for vectors of units. A step's
pre-activations are made in the place of its h, in the cache, and ``forward_step`` replaces them.
"""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import rnn
from scratchnet.cells.rnn import relu_backward, relu_forward, tanh_backward, tanh_forward
from scratchnet_kernels.compiled import compiled, kept
from scratchnet_kernels.sequence_cpu.memory import empty
from scratchnet_kernels.sequence_cpu.passes import lengths_of, over_columns, over_rows
from scratchnet_kernels.sequence_cpu.product import multiply, pack, pack_transposed
from scratchnet_kernels.sequence_cpu.projection import back_project, project, steps_at_once
from scratchnet_kernels.sequence_cpu.vector import BYTES, load, store
from scratchnet_kernels.sequence_cpu.work import Passes


@compiled
def forward_step(h: Array, b: Array, relu: bool) -> None:
    """One step: a (rows, H), to which b (1, H) is added, becomes h."""
    (N, H), L = h.shape, BYTES // h.itemsize
    for n in range(N):
        for j in range(0, H, L):
            a = load(h, n, j, H - j) + load(b, 0, j, H - j)
            store(h, n, j, H - j, relu_forward(a) if relu else tanh_forward(a))


@kept
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
) -> None:
    """All of time for sequences ``first`` to ``last`` - 1; W_x and W_h packed, b (1, H)."""
    T, ours = len(x), slice(first, last)
    some = steps_at_once(last - first, h.shape[2])
    for begin in range(0, T, some):
        end = min(begin + some, T)
        project(x, W_x, h[1:], begin, end, first, last)  # a = x W_x
        for t in range(begin, end):
            multiply(h[t, ours], W_h, h[t + 1, ours], 1)  # a += h' W_h
            forward_step(h[t + 1, ours], b, relu)
            for n in range(first, last):
                if t >= lengths[n]:  # an ended sequence carries its state
                    h[t + 1, n] = h[t, n]


@compiled
def backward_step(
    dy: Array, t: int, lengths: Array, h: Array, dh: Array, da: Array, relu: bool
) -> None:
    """One step back: all (rows, H).

    Leaves dh at zero, for the product to be added; an ended sequence passes dh on.
    """
    (N, H), L = dh.shape, BYTES // dh.itemsize
    for n in range(N):
        if t >= lengths[n]:
            da[n] = 0
            continue
        for j in range(0, H, L):
            d, made = load(dy, n, j, H - j) + load(dh, n, j, H - j), load(h, n, j, H - j)
            store(da, n, j, H - j, relu_backward(d, made) if relu else tanh_backward(d, made))
        dh[n] = 0


@kept
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
) -> None:
    """All of time, backwards, for sequences ``first`` to ``last`` - 1.

    W_x and W_h are transposed and packed. dh (N, H): gradient of the final state first, of the
    initial state at the end.
    """
    T, ours = len(dy), slice(first, last)
    some = steps_at_once(last - first, da.shape[2])
    for end in range(T, 0, -some):
        begin = max(0, end - some)
        for t in range(end - 1, begin - 1, -1):
            backward_step(
                dy[t, ours], t, lengths[ours], h[t + 1, ours], dh[ours], da[t, ours], relu
            )
            multiply(da[t, ours], W_h, dh[ours], 1)  # undoes  a = ... + h' W_h
        back_project(da, W_x, dx, begin, end, first, last)  # undoes  a = x W_x + ...


def forward(cache: rnn.Cache, W_x: Array, W_h: Array, b: Array) -> Passes[None]:
    """Fill the cache's h."""
    arrays = cache.x, pack(W_x), pack(W_h), b[None], cache.h, lengths_of(cache)
    yield [over_rows(forward_rows, cache, *arrays, cache.nonlinearity == "relu")]


def backward(dy: Array, cache: rnn.Cache, dh: Array) -> Passes[rnn.Grads]:
    """The gradients; dh is that of the final state, and changes."""
    x, h, W_x, W_h, nonlinearity = cache[:5]
    da, dx = empty(h, h[1:].shape), empty(x, x.shape)
    arrays = dy, pack_transposed(W_x), pack_transposed(W_h), h, lengths_of(cache), dh, da, dx
    yield [over_rows(backward_rows, cache, *arrays, nonlinearity == "relu")]
    dW_x, dW_h, db = np.empty_like(W_x), np.empty_like(W_h), np.empty_like(da[0, 0])
    yield [over_columns(x, h[:-1], da, dW_x, dW_h, db, last=len(db))]
    return rnn.Grads(dx, dh, dW_x, dW_h, db, da)
