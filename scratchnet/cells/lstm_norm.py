"""Layer-normalised LSTM: both products and the cell state get mean 0 and variance 1 at every step.

With h' and c', the states of the previous step, and LN for layer normalisation over the last axis
(``normalise.py``),

    a = gain_x LN(x W_x) + gain_h LN(h' W_h) + b    pre-activations: a_i | a_f | a_g | a_o
    i = sigmoid(a_i),  f = sigmoid(a_f),  g = tanh(a_g),  o = sigmoid(a_o)
    c = f c' + i g                                  cell state, which itself is not normalised
    s = gain_c LN(c) + b_c                          what is shown of it
    h = o tanh(s)                                   hidden state, which is also the output

As in the paper, a product is normalised as a whole: all 4H numbers of one sequence at one step
share a mean and a variance. So the size of W_x and of W_h does not matter, only their direction,
and the size of the weights cannot make h' W_h h' W_h ... explode or vanish. There is one b where
the paper has one after each LN: only their sum matters.

Shapes: W_x (D, 4H), W_h (H, 4H), b, gain_x, gain_h (4H,), gain_c, b_c (H,), gates i f g o.

References: Ba, Kiros and Hinton 2016 (arXiv:1607.06450), equations 20 to 22.
"""

from typing import Annotated, NamedTuple

import numpy as np

from scratchnet.arrays import Array, Lengths, read_only
from scratchnet.cells import normalise
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.sequences import carry_state, skip_padding_gradient, split_gates, zero_padding
from scratchnet.elementwise import d_sigmoid, d_tanh, elementwise, sigmoid
from scratchnet.fingerprint import Fingerprints, fingerprint

GATES = "ifgo"
STATES: tuple[str, ...] = ("h", "c")
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order of forward's arguments."""
    gains = {"gain_x": (4 * H,), "gain_h": (4 * H,), "gain_c": (H,), "b_c": (H,)}
    return {"W_x": (D, 4 * H), "W_h": (H, 4 * H), "b": (4 * H,), **gains}


@elementwise
def cell_forward(
    a_i: Array, a_f: Array, a_g: Array, a_o: Array, c_prev: Array
) -> tuple[Array, ...]:
    """First half of a step, elementwise: pre-activations and c_prev to gates and new cell state."""
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    return i, f, g, o, f * c_prev + i * g


@elementwise
def output_forward(o: Array, s: Array) -> Array:
    """Second half of a step, elementwise, after the normalisation of c."""
    return o * np.tanh(s)


@elementwise
def output_backward(dh: Array, o: Array, s: Array) -> tuple[Array, Array]:
    """Backward of the second half, elementwise."""
    tanh_s = np.tanh(s)
    da_o = dh * tanh_s * d_sigmoid(o)  # undoes  h = o tanh(s),  o = sigmoid(a_o)
    ds = dh * o * d_tanh(tanh_s)  # undoes  h = o tanh(s)
    return da_o, ds


@elementwise
def cell_backward(dc: Array, i: Array, f: Array, g: Array, c_prev: Array) -> tuple[Array, ...]:
    """Backward of the first half, elementwise: dc to da and the gradient of c_prev."""
    da_i = dc * g * d_sigmoid(i)  # undoes  c = f c' + i g,  i = sigmoid(a_i)
    da_f = dc * c_prev * d_sigmoid(f)  # undoes  c = f c' + i g,  f = sigmoid(a_f)
    da_g = dc * i * d_tanh(g)  # undoes  c = f c' + i g,  g = tanh(a_g)
    dc_prev = dc * f  # undoes  c = f c' + i g:  the carry path
    return da_i, da_f, da_g, dc_prev


class Cache(NamedTuple):
    """Inputs and intermediates saved for backward; plots and tests read the same ones."""

    x: Annotated[Array, "T, N, D"]
    h: Annotated[Array, "T+1, N, H"]  # h[0] is the initial state, h[1:] is the output
    c: Annotated[Array, "T+1, N, H"]  # c[0] is the initial state
    gates: Annotated[Array, "T, N, 4H"]  # i f g o, after their sigmoid or tanh
    n_x: Annotated[Array, "T, N, 4H"]  # LN(x W_x)
    n_h: Annotated[Array, "T, N, 4H"]  # LN(h' W_h)
    n_c: Annotated[Array, "T, N, H"]  # LN(c)
    scale_x: Annotated[Array, "T, N, 1"]  # 1 / sqrt(var + eps) of each
    scale_h: Annotated[Array, "T, N, 1"]
    scale_c: Annotated[Array, "T, N, 1"]
    W_x: Annotated[Array, "D, 4H"]
    W_h: Annotated[Array, "H, 4H"]
    gain_x: Annotated[Array, "4H"]
    gain_h: Annotated[Array, "4H"]
    gain_c: Annotated[Array, "H"]
    b_c: Annotated[Array, "H"]
    lengths: Array | None  # (N,)
    fingerprints: Fingerprints = None  # of x and the weights


class Grads(NamedTuple):
    """Gradients of forward's arguments, each with its argument's shape, and of a."""

    dx: Array
    dh0: Array
    dc0: Array
    dW_x: Array
    dW_h: Array
    db: Array
    dgain_x: Array
    dgain_h: Array
    dgain_c: Array
    db_c: Array
    da: Array  # (T, N, 4H)  of a; the gradient of a product differs, by its normalisation


def forward(
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    gain_x: Array,
    gain_h: Array,
    gain_c: Array,
    b_c: Array,
    lengths: Lengths = None,
) -> tuple[Array, Cache]:
    """Run the cell over a sequence; return the output y (T, N, H) and the cache for ``backward``.

    Parameters
    ----------
    x, h0, c0 : (T, N, D) and (N, H), input and initial states
    W_x, W_h, b, gain_x, gain_h, gain_c, b_c : with the shapes of ``param_shapes``
    lengths : (N,), lengths of the sequences in a padded batch
    """
    gains = {"gain_x": gain_x, "gain_h": gain_h, "gain_c": gain_c, "b_c": b_c}
    lengths = check_forward(param_shapes, lengths, x, h0=h0, c0=c0, W_x=W_x, W_h=W_h, b=b, **gains)
    x = zero_padding(x, lengths)
    T, N, D = x.shape
    h = np.empty_like(x, shape=(T + 1, N, h0.shape[1]), order="C")
    c = np.empty_like(h)
    h[0], c[0] = h0, c0
    product = (x.reshape(T * N, D) @ W_x).reshape(T, N, -1)  # one product for all time steps
    n_x, scale_x = normalise.forward(product)
    a_x = gain_x * n_x + b
    gates, n_h, n_c = np.empty_like(n_x), np.empty_like(n_x), np.empty_like(h[1:])
    scale_h, scale_c = np.empty_like(scale_x), np.empty_like(scale_x)
    for t in range(T):
        n_h[t], scale_h[t] = normalise.forward(h[t] @ W_h)
        a = a_x[t] + gain_h * n_h[t]
        i, f, g, o = split_gates(gates[t], 4)
        i[...], f[...], g[...], o[...], c[t + 1] = cell_forward(*split_gates(a, 4), c[t])
        n_c[t], scale_c[t] = normalise.forward(c[t + 1])
        h[t + 1] = output_forward(o, gain_c * n_c[t] + b_c)
        if lengths is not None:
            carry_state(lengths <= t, t, h, c)
    scales = scale_x, scale_h, scale_c
    cache = Cache(
        x,
        h,
        c,
        gates,
        n_x,
        n_h,
        n_c,
        *scales,
        W_x,
        W_h,
        **gains,
        lengths=lengths,
        fingerprints=fingerprint(x=x, W_x=W_x, W_h=W_h, **gains),
    )
    return read_only(h[1:]), cache


def backward(
    dy: Array, cache: Cache, dh_last: Array | None = None, dc_last: Array | None = None
) -> Grads:
    """Backpropagate through time; return the gradients of all arguments of ``forward``.

    Parameters
    ----------
    dy : (T, N, H), upstream gradient of y
    cache : as ``forward`` returned it
    dh_last, dc_last : (N, H), upstream gradients of the final states; None for zero
    """
    check_backward(dy, cache, Cache, dh_last=dh_last, dc_last=dc_last)
    h, c, n_h, n_c = cache.h, cache.c, cache.n_h, cache.n_c
    da, dm, ds = np.empty_like(cache.gates), np.empty_like(n_h), np.empty_like(n_c)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    dc_next = np.zeros_like(c[0]) if dc_last is None else dc_last
    for t in reversed(range(len(da))):
        i, f, g, o = split_gates(cache.gates[t], 4)
        da_i, da_f, da_g, da_o = split_gates(da[t], 4)
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        da_o[...], ds[t] = output_backward(dh, o, cache.gain_c * n_c[t] + cache.b_c)
        dn_c = ds[t] * cache.gain_c  # undoes  s = gain_c LN(c) + b_c
        dc = normalise.backward(dn_c, n_c[t], cache.scale_c[t]) + dc_next  # c is read twice
        da_i[...], da_f[...], da_g[...], dc_prev = cell_backward(dc, i, f, g, c[t])
        dn_h = da[t] * cache.gain_h  # undoes  a = ... + gain_h LN(h' W_h)
        dm[t] = normalise.backward(dn_h, n_h[t], cache.scale_h[t])
        dh_prev = dm[t] @ cache.W_h.T  # undoes  h' W_h
        if cache.lengths is not None:
            ended = cache.lengths <= t
            skip_padding_gradient(ended, da[t], (dh_prev, dh_next), (dc_prev, dc_next))
            skip_padding_gradient(ended, dm[t])
            skip_padding_gradient(ended, ds[t])
        dh_next, dc_next = dh_prev, dc_prev  # one step back: upstream of step t-1
    x, steps = cache.x, (0, 1)  # every step and sequence uses the same parameters: sum over both
    T, N, D = x.shape
    dp = normalise.backward(da * cache.gain_x, cache.n_x, cache.scale_x)  # undoes  gain_x LN(x W_x)
    return Grads(
        dx=(dp.reshape(T * N, -1) @ cache.W_x.T).reshape(x.shape),  # undoes  x W_x
        dh0=dh_next,
        dc0=dc_next,
        dW_x=x.reshape(T * N, D).T @ dp.reshape(T * N, -1),  # undoes  x W_x
        dW_h=h[:-1].reshape(T * N, -1).T @ dm.reshape(T * N, -1),  # undoes  h' W_h
        db=da.sum(axis=steps),
        dgain_x=(da * cache.n_x).sum(axis=steps),  # undoes  gain_x LN(x W_x)
        dgain_h=(da * cache.n_h).sum(axis=steps),
        dgain_c=(ds * cache.n_c).sum(axis=steps),
        db_c=ds.sum(axis=steps),
        da=da,
    )
