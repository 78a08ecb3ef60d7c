"""Layer-normalised LSTM: both products and the cell state are brought to mean 0 and variance 1 at
every step.

With h' and c' for the states of the step before, and LN for layer normalisation over the last axis
(``normalise.py``),

    a = gain_x LN(x W_x) + gain_h LN(h' W_h) + b       pre-activations of the four gates: a_i | a_f | a_g | a_o
    i = sigmoid(a_i),  f = sigmoid(a_f),  g = tanh(a_g),  o = sigmoid(a_o)
    c = f c' + i g                                     cell state, which itself is not normalised
    s = gain_c LN(c) + b_c                             what is shown of it
    h = o tanh(s)                                      hidden state, which is also the output

Normalised is, as in the paper, the whole of a product: all 4H numbers of one sequence at one step
share a mean and a variance. So the size of W_x and of W_h does not matter, only their direction,
and h' W_h h' W_h ... can neither explode nor fade by its weights' size. There is one b, where the
paper has one behind each LN: their sum is what counts.

Shapes. T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, 4H), W_h (H, 4H),
b, gain_x, gain_h (4H,), gain_c, b_c (H,), gates in the order i f g o.

Source: Ba, Kiros and Hinton 2016 (arXiv:1607.06450), equations 20 to 22.
"""

from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, read_only
from scratchnet.cells import normalise
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.lstm import split
from scratchnet.cells.padding import hold, pass_over, without_padding
from scratchnet.elementwise import d_sigmoid, d_tanh, elementwise, sigmoid

GATES = "ifgo"
STATES: tuple[str, ...] = ("h", "c")
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order in which ``forward`` takes
    them."""
    gains = {"gain_x": (4 * H,), "gain_h": (4 * H,), "gain_c": (H,), "b_c": (H,)}
    return {"W_x": (D, 4 * H), "W_h": (H, 4 * H), "b": (4 * H,), **gains}


@elementwise
def cell_forward(a_i: Any, a_f: Any, a_g: Any, a_o: Any, c_prev: Any) -> Any:
    """First half of a step, elementwise: pre-activations and old cell state to gates and new cell
    state."""
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    return i, f, g, o, f * c_prev + i * g


@elementwise
def output_forward(o: Any, s: Any) -> Any:
    """Second half of a step, elementwise, behind the normalisation of c."""
    return o * np.tanh(s)


@elementwise
def output_backward(dh: Any, o: Any, s: Any) -> Any:
    """Back through the second half, elementwise."""
    tanh_s = np.tanh(s)
    da_o = dh * tanh_s * d_sigmoid(o)  # undoes  h = o tanh(s),  o = sigmoid(a_o)
    ds = dh * o * d_tanh(tanh_s)  # undoes  h = o tanh(s)
    return da_o, ds


@elementwise
def cell_backward(dc: Any, i: Any, f: Any, g: Any, c_prev: Any) -> Any:
    """Back through the first half, elementwise: dc to da and the gradient of c_prev."""
    da_i = dc * g * d_sigmoid(i)  # undoes  c = f c' + i g,  i = sigmoid(a_i)
    da_f = dc * c_prev * d_sigmoid(f)  # undoes  c = f c' + i g,  f = sigmoid(a_f)
    da_g = dc * i * d_tanh(g)  # undoes  c = f c' + i g,  g = tanh(a_g)
    dc_prev = dc * f  # undoes  c = f c' + i g:  the road on which memory travels
    return da_i, da_f, da_g, dc_prev


class Cache(NamedTuple):
    """All that the forward pass saw and made; ``backward``, plots and tests read the same one."""

    x: Array  # (T, N, D)
    h: Array  # (T+1, N, H)  h[0] is the initial state, h[1:] is the output
    c: Array  # (T+1, N, H)  c[0] is the initial state
    gates: Array  # (T, N, 4H)   i f g o, after their sigmoid or tanh
    n_x: Array  # (T, N, 4H)   LN(x W_x)
    n_h: Array  # (T, N, 4H)   LN(h' W_h)
    n_c: Array  # (T, N, H)    LN(c)
    scale_x: Array  # (T, N, 1)  1 / sqrt(var + eps) of each
    scale_h: Array  # (T, N, 1)
    scale_c: Array  # (T, N, 1)
    W_x: Array  # (D, 4H)
    W_h: Array  # (H, 4H)
    gain_x: Array  # (4H,)
    gain_h: Array  # (4H,)
    gain_c: Array  # (H,)
    b_c: Array  # (H,)
    lengths: Array | None  # (N,)

    def window(self, start: int, stop: int) -> "Cache":
        """The cache of steps start..stop-1 alone, the state at ``start`` taken as given: truncated
        BPTT detaches here."""
        lengths = None if self.lengths is None else self.lengths - start
        states = {name: getattr(self, name)[start : stop + 1] for name in STATES}
        steps = {
            name: getattr(self, name)[start:stop] for name in ("x", "gates", "n_x", "n_h", "n_c")
        }
        scales = {
            name: getattr(self, name)[start:stop] for name in ("scale_x", "scale_h", "scale_c")
        }
        return self._replace(**states, **steps, **scales, lengths=lengths)


class Grads(NamedTuple):
    """Gradients in the order of the forward's arguments, each with its argument's shape, and da (T,
    N, 4H)."""

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
    # of the pre-activations a; behind the normalisation, that of a product is another:
    # ``after_loop`` has it
    da: Array


def step_forward(
    a: Array, c_prev: Array, gain_c: Array, b_c: Array, gates: Array, c: Array, h: Array
) -> tuple[Array, Array]:
    """One time step: fills gates (N, 4H), c and h (N, H), and returns LN(c) (N, H) with its scale
    (N, 1)."""
    i, f, g, o = split(gates)
    i[...], f[...], g[...], o[...], c[...] = cell_forward(*split(a), c_prev)
    n_c, scale = normalise.forward(c)
    h[...] = output_forward(o, gain_c * n_c + b_c)
    return n_c, scale


def before_loop(
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
    lengths: Any = None,
) -> tuple[Array, Cache]:
    """What of the forward pass does not recur: a_x = gain_x LN(x W_x) + b (T, N, 4H), and the
    cache, which the loop fills.

    Raises as ``forward`` does.
    """
    params = {
        "W_x": W_x,
        "W_h": W_h,
        "b": b,
        "gain_x": gain_x,
        "gain_h": gain_h,
        "gain_c": gain_c,
        "b_c": b_c,
    }
    lengths = check_forward(x, {"h0": h0, "c0": c0}, params, param_shapes, lengths)
    x = without_padding(x, lengths)
    T, N, D = x.shape
    h = np.empty_like(x, shape=(T + 1, N, h0.shape[1]), order="C")
    h[0] = h0
    c = np.empty_like(h)
    c[0] = c0
    # for all time steps together
    n_x, scale_x = normalise.forward((x.reshape(T * N, D) @ W_x).reshape(T, N, -1))
    scales = scale_x, np.empty_like(scale_x), np.empty_like(scale_x)
    made = np.empty_like(n_x), n_x, np.empty_like(n_x), np.empty_like(h[1:])  # gates, n_x, n_h, n_c
    return gain_x * n_x + b, Cache(
        x, h, c, *made, *scales, W_x, W_h, gain_x, gain_h, gain_c, b_c, lengths
    )


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
    lengths: Any = None,
) -> tuple[Array, Cache]:
    """Run the cell over a whole sequence: x (T, N, D), h0 and c0 (N, H), to y (T, N, H) and the
    cache.

    ``lengths`` (N,): sequences that are over sooner; past its length a sequence's state stays at
    its last value. Raises ValueError or TypeError, naming both sides, where shapes or types do not
    fit.
    """
    a_x, cache = before_loop(x, h0, c0, W_x, W_h, b, gain_x, gain_h, gain_c, b_c, lengths)
    h, c, lengths = cache.h, cache.c, cache.lengths
    for t in range(len(a_x)):
        cache.n_h[t], cache.scale_h[t] = normalise.forward(h[t] @ W_h)
        a = a_x[t] + gain_h * cache.n_h[t]
        cache.n_c[t], cache.scale_c[t] = step_forward(
            a, c[t], gain_c, b_c, cache.gates[t], c[t + 1], h[t + 1]
        )
        if lengths is not None:
            hold(lengths <= t, t, h, c)
    return read_only(h[1:]), cache


def backward(
    dy: Array, cache: Cache, dh_last: Array | None = None, dc_last: Array | None = None
) -> Grads:
    """Backpropagation through time: dy (T, N, H), the loss's own gradient of every output, to the
    gradient of every input.

    ``dh_last``, ``dc_last`` (N, H): gradients that arrive at the final states from whatever comes
    after. Each gradient has its argument's shape. Raises ValueError or TypeError where one that
    arrives has not.
    """
    check_backward(dy, cache.h, dh_last=dh_last, dc_last=dc_last)
    h, c, n_h, n_c, lengths = cache.h, cache.c, cache.n_h, cache.n_c, cache.lengths
    da, dm, ds = np.empty_like(cache.gates), np.empty_like(n_h), np.empty_like(n_c)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    dc_next = np.zeros_like(c[0]) if dc_last is None else dc_last
    for t in reversed(range(len(da))):
        i, f, g, o = split(cache.gates[t])
        da_i, da_f, da_g, da_o = split(da[t])
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        da_o[...], ds[t] = output_backward(dh, o, cache.gain_c * n_c[t] + cache.b_c)
        # undoes  s = gain_c LN(c) + b_c
        dc = normalise.backward(ds[t] * cache.gain_c, n_c[t], cache.scale_c[t]) + dc_next
        da_i[...], da_f[...], da_g[...], dc_prev = cell_backward(dc, i, f, g, c[t])
        # undoes  gain_h LN(h' W_h)
        dm[t] = normalise.backward(da[t] * cache.gain_h, n_h[t], cache.scale_h[t])
        dh_prev = dm[t] @ cache.W_h.T  # undoes  h' W_h
        if lengths is not None:
            pass_over(lengths <= t, da[t], (dh_prev, dh_next), (dc_prev, dc_next))
            pass_over(lengths <= t, dm[t])
            pass_over(lengths <= t, ds[t])
        # one step back: what left step t is what arrives at step t-1
        dh_next, dc_next = dh_prev, dc_prev
    return after_loop(cache, da, dm, ds, dh_next, dc_next)


def after_loop(cache: Cache, da: Array, dm: Array, ds: Array, dh0: Array, dc0: Array) -> Grads:
    """What does not recur: with da and dm, of h' W_h, (T, N, 4H), and ds (T, N, H) known, the rest
    are products and sums."""
    # each parameter is used at every step by every sequence: summed over both
    x, h, steps = cache.x, cache.h, (0, 1)
    T, N, D = x.shape
    # undoes  gain_x LN(x W_x)
    dp = normalise.backward(da * cache.gain_x, cache.n_x, cache.scale_x).reshape(T * N, -1)
    return Grads(
        dx=(dp @ cache.W_x.T).reshape(x.shape),  # undoes  x W_x
        dh0=dh0,
        dc0=dc0,
        dW_x=x.reshape(T * N, D).T @ dp,  # W_x met x
        # W_h met h', the *previous* hidden state
        dW_h=h[:-1].reshape(T * N, -1).T @ dm.reshape(T * N, -1),
        db=da.sum(axis=steps),
        dgain_x=(da * cache.n_x).sum(axis=steps),  # a gain met the normalised product
        dgain_h=(da * cache.n_h).sum(axis=steps),
        dgain_c=(ds * cache.n_c).sum(axis=steps),
        db_c=ds.sum(axis=steps),
        da=da,
    )
