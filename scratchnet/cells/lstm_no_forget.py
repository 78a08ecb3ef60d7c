"""LSTM without a forget gate, as it was first: the cell state only adds, c = c' + i g.

With h' and c' for the states of the step before,

    a = x W_x + h' W_h + b          pre-activations of the three gates, side by side: a_i | a_g | a_o
    i = sigmoid(a_i)                input gate:  how much of the candidate is written
    g = tanh(a_g)                   candidate
    o = sigmoid(a_o)                output gate: how much of the cell state is shown
    c = c' + i g                    cell state: a counter, kept for ever
    h = o tanh(c)                   hidden state, which is also the output

dc/dc' is 1 by this road: an error that has reached the cell state goes back through any number of
steps neither growing nor dying, the *constant error carousel*. The price is that c can only be
undone by writing its opposite: over a long stream it grows until tanh(c) is flat, which is why the
forget gate was invented (``lstm.py``).

Shapes. T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, 3H), W_h (H, 3H),
b (3H,), gates in the order i g o.

Source: Hochreiter and Schmidhuber 1997, section 4, with tanh for its squashing functions g and h,
and with the full gradient: the paper cuts the one through h' W_h off.
"""

from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, read_only
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.padding import hold, pass_over, without_padding
from scratchnet.elementwise import d_sigmoid, d_tanh, elementwise, sigmoid

GATES = "igo"
STATES: tuple[str, ...] = ("h", "c")
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order in which ``forward`` takes
    them."""
    return {"W_x": (D, 3 * H), "W_h": (H, 3 * H), "b": (3 * H,)}


@elementwise
def gates_forward(a_i: Any, a_g: Any, a_o: Any, c_prev: Any) -> Any:
    """One step, elementwise: pre-activations and old cell state to gates and new states."""
    i, g, o = sigmoid(a_i), np.tanh(a_g), sigmoid(a_o)
    c = c_prev + i * g
    h = o * np.tanh(c)
    return i, g, o, c, h


@elementwise
def gates_backward(dh: Any, dc_next: Any, i: Any, g: Any, o: Any, c: Any) -> Any:
    """One step back, elementwise: dh and dc_next to the three da and the gradient of c_prev."""
    tanh_c = np.tanh(c)
    # c is read twice: by  h = o tanh(c)  and by the next step's  c' + ...
    dc = dh * o * d_tanh(tanh_c) + dc_next
    da_o = dh * tanh_c * d_sigmoid(o)  # undoes  h = o tanh(c),  o = sigmoid(a_o)
    da_i = dc * g * d_sigmoid(i)  # undoes  c = c' + i g,  i = sigmoid(a_i)
    da_g = dc * i * d_tanh(g)  # undoes  c = c' + i g,  g = tanh(a_g)
    # undoes  c = c' + ...:  the gradient of c' is that of c, the constant error carousel
    return da_i, da_g, da_o, dc


class Cache(NamedTuple):
    """All that the forward pass saw and made; ``backward``, plots and tests read the same one."""

    x: Array  # (T, N, D)
    h: Array  # (T+1, N, H)  h[0] is the initial state, h[1:] is the output
    c: Array  # (T+1, N, H)  c[0] is the initial state
    gates: Array  # (T, N, 3H)   i g o, after their sigmoid or tanh
    W_x: Array  # (D, 3H)
    W_h: Array  # (H, 3H)
    lengths: Array | None  # (N,)

    def window(self, start: int, stop: int) -> "Cache":
        """The cache of steps start..stop-1 alone, the state at ``start`` taken as given: truncated
        BPTT detaches here."""
        lengths = None if self.lengths is None else self.lengths - start
        states = slice(start, stop + 1)
        x, h, c, gates = self.x[start:stop], self.h[states], self.c[states], self.gates[start:stop]
        return Cache(x, h, c, gates, self.W_x, self.W_h, lengths)


class Grads(NamedTuple):
    """Gradients in the order of the forward's arguments, each with its argument's shape, and da (T,
    N, 3H)."""

    dx: Array
    dh0: Array
    dc0: Array
    dW_x: Array
    dW_h: Array
    db: Array
    # of all pre-activations: dh_next[t] = da[t+1] W_h^T, and step t adds h[t-1]^T da[t] to dW_h
    da: Array


def split(a: Array) -> tuple[Array, Array, Array]:
    """The three gate blocks of a (..., 3H) array, as views."""
    H = a.shape[-1] // 3
    return a[..., :H], a[..., H : 2 * H], a[..., 2 * H :]


def step_forward(a: Array, c_prev: Array, gates: Array, c: Array, h: Array) -> None:
    """One time step: from the pre-activations a (N, 3H) and the old cell state, fills gates (N,
    3H), c and h (N, H)."""
    i, g, o = split(gates)
    i[...], g[...], o[...], c[...], h[...] = gates_forward(*split(a), c_prev)


def step_backward(dh: Array, dc_next: Array, gates: Array, c: Array, da: Array) -> Array:
    """One time step back: fills da (N, 3H) and returns the gradient of c_prev (N, H)."""
    da_i, da_g, da_o = split(da)
    da_i[...], da_g[...], da_o[...], dc_prev = gates_backward(dh, dc_next, *split(gates), c)
    return dc_prev


def before_loop(
    x: Array, h0: Array, c0: Array, W_x: Array, W_h: Array, b: Array, lengths: Any = None
) -> tuple[Array, Cache]:
    """What of the forward pass does not recur: a_x = x W_x + b (T, N, 3H), and the cache, which the
    loop fills.

    Raises as ``forward`` does.
    """
    lengths = check_forward(
        x, {"h0": h0, "c0": c0}, {"W_x": W_x, "W_h": W_h, "b": b}, param_shapes, lengths
    )
    x = without_padding(x, lengths)
    T, N, D = x.shape
    h = np.empty_like(x, shape=(T + 1, N, h0.shape[1]), order="C")
    h[0] = h0
    c = np.empty_like(h)
    c[0] = c0
    a_x = (x.reshape(T * N, D) @ W_x).reshape(T, N, -1)  # one product for all time steps
    a_x += b
    return a_x, Cache(x, h, c, np.empty_like(a_x), W_x, W_h, lengths)


def forward(
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    lengths: Any = None,
    step: Any = step_forward,
) -> tuple[Array, Cache]:
    """Run the cell over a whole sequence: x (T, N, D), h0 and c0 (N, H), to y (T, N, H) and the
    cache.

    ``lengths`` (N,): sequences that are over sooner; past its length a sequence's state stays at
    its last value. ``step``: what runs one time step; an engine puts its kernel here
    (``step_forward`` is the reference). Raises ValueError or TypeError, naming both sides, where
    shapes or types do not fit.
    """
    a_x, cache = before_loop(x, h0, c0, W_x, W_h, b, lengths)
    _, h, c, gates, _, _, lengths = cache
    for t in range(len(a_x)):
        a = a_x[t] + h[t] @ W_h
        step(a, c[t], gates[t], c[t + 1], h[t + 1])
        if lengths is not None:
            hold(lengths <= t, t, h, c)
    return read_only(h[1:]), cache


def backward(
    dy: Array,
    cache: Cache,
    dh_last: Array | None = None,
    dc_last: Array | None = None,
    step: Any = step_backward,
) -> Grads:
    """Backpropagation through time: dy (T, N, H), the loss's own gradient of every output, to the
    gradient of every input.

    ``dh_last``, ``dc_last`` (N, H): gradients that arrive at the final states from whatever comes
    after. Each gradient has its argument's shape. Raises ValueError or TypeError where one that
    arrives has not.
    """
    check_backward(dy, cache.h, dh_last=dh_last, dc_last=dc_last)
    _, h, c, gates, _, W_h, lengths = cache
    T = len(gates)
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    dc_next = np.zeros_like(c[0]) if dc_last is None else dc_last
    for t in reversed(range(T)):
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        dc_prev = step(dh, dc_next, gates[t], c[t + 1], da[t])
        dh_prev = da[t] @ W_h.T  # undoes  a = ... + h' W_h
        if lengths is not None:
            pass_over(lengths <= t, da[t], (dh_prev, dh_next), (dc_prev, dc_next))
        # one step back: what left step t is what arrives at step t-1
        dh_next, dc_next = dh_prev, dc_prev
    return after_loop(cache, da, dh_next, dc_next)


def after_loop(cache: Cache, da: Array, dh0: Array, dc0: Array) -> Grads:
    """What of the backward pass does not recur: with da (T, N, 3H) known, every other gradient is
    one product or sum."""
    x, h, _, _, W_x, _, _ = cache
    T, N, D = x.shape
    # a weight is used at every step and by every sequence: its gradient is the sum over both
    flat = da.reshape(T * N, -1)
    return Grads(
        dx=(flat @ W_x.T).reshape(x.shape),  # undoes  a = x W_x + ...
        dh0=dh0,
        dc0=dc0,
        dW_x=x.reshape(T * N, D).T @ flat,  # W_x met x
        dW_h=h[:-1].reshape(T * N, -1).T @ flat,  # W_h met h', the *previous* hidden state
        db=flat.sum(axis=0),
        da=da,
    )
