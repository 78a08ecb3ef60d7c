"""LSTM with peepholes: the gates look at the cell state itself, not only at what the output gate
shows of it.

With h' and c' for the states of the step before,

    a = x W_x + h' W_h + b          pre-activations of the four gates, side by side: a_i | a_f | a_g | a_o
    i = sigmoid(a_i + p_i c')       input gate:  how much of the candidate is written
    f = sigmoid(a_f + p_f c')       forget gate: how much of the old cell state is kept
    g = tanh(a_g)                   candidate
    c = f c' + i g                  cell state
    o = sigmoid(a_o + p_o c)        output gate: how much of the cell state is shown; it looks at the *new* one
    h = o tanh(c)                   hidden state, which is also the output

Each unit's gates look at that unit's own cell only, so a peephole is a vector, not a matrix, and
with p_i = p_f = p_o = 0 this is ``lstm.py``. A cell behind a shut output gate can still time its
gates: that is what they were made for.

Shapes. T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, 4H), W_h (H, 4H),
b (4H,), gates in the order i f g o; p_i, p_f, p_o (H,). ``da`` is the gradient of all that a
sigmoid or tanh is taken of, peephole included.

Source: Gers, Schraudolph and Schmidhuber 2002, section 2; the gradient here is the full one, where
the paper's is cut off at the step.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, read_only
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.padding import hold, pass_over, without_padding
from scratchnet.elementwise import d_sigmoid, d_tanh, elementwise, sigmoid

GATES = "ifgo"
STATES: tuple[str, ...] = ("h", "c")
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order in which ``forward`` takes
    them."""
    return {
        "W_x": (D, 4 * H),
        "W_h": (H, 4 * H),
        "b": (4 * H,),
        "p_i": (H,),
        "p_f": (H,),
        "p_o": (H,),
    }


@elementwise
def gates_forward(
    a_i: Any, a_f: Any, a_g: Any, a_o: Any, c_prev: Any, p_i: Any, p_f: Any, p_o: Any
) -> Any:
    """One step, elementwise: pre-activations, old cell state and peepholes to gates and new
    states."""
    i, f, g = sigmoid(a_i + p_i * c_prev), sigmoid(a_f + p_f * c_prev), np.tanh(a_g)
    c = f * c_prev + i * g
    o = sigmoid(a_o + p_o * c)
    h = o * np.tanh(c)
    return i, f, g, o, c, h


@elementwise
def gates_backward(
    dh: Any,
    dc_next: Any,
    i: Any,
    f: Any,
    g: Any,
    o: Any,
    c_prev: Any,
    c: Any,
    p_i: Any,
    p_f: Any,
    p_o: Any,
) -> Any:
    """One step back, elementwise: dh and dc_next to the four da and the gradient of c_prev."""
    tanh_c = np.tanh(c)
    # undoes  h = o tanh(c),  o = sigmoid(a_o + p_o c):  first, for c is behind it
    da_o = dh * tanh_c * d_sigmoid(o)
    # c is read by  h = o tanh(c),  by o's peephole, by the next step
    dc = dh * o * d_tanh(tanh_c) + da_o * p_o + dc_next
    da_i = dc * g * d_sigmoid(i)  # undoes  c = f c' + i g,  i = sigmoid(a_i + p_i c')
    da_f = dc * c_prev * d_sigmoid(f)  # undoes  c = f c' + i g,  f = sigmoid(a_f + p_f c')
    da_g = dc * i * d_tanh(g)  # undoes  c = f c' + i g,  g = tanh(a_g)
    # undoes  f c',  p_i c'  and  p_f c':  three roads on which memory travels
    dc_prev = dc * f + da_i * p_i + da_f * p_f
    return da_i, da_f, da_g, da_o, dc_prev


class Cache(NamedTuple):
    """All that the forward pass saw and made; ``backward``, plots and tests read the same one."""

    x: Array  # (T, N, D)
    h: Array  # (T+1, N, H)  h[0] is the initial state, h[1:] is the output
    c: Array  # (T+1, N, H)  c[0] is the initial state
    gates: Array  # (T, N, 4H)   i f g o, after their sigmoid or tanh
    W_x: Array  # (D, 4H)
    W_h: Array  # (H, 4H)
    p_i: Array  # (H,)
    p_f: Array  # (H,)
    p_o: Array  # (H,)
    lengths: Array | None  # (N,)

    def window(self, start: int, stop: int) -> "Cache":
        """The cache of steps start..stop-1 alone, the state at ``start`` taken as given: truncated
        BPTT detaches here."""
        lengths = None if self.lengths is None else self.lengths - start
        states = slice(start, stop + 1)
        x, h, c, gates = self.x[start:stop], self.h[states], self.c[states], self.gates[start:stop]
        return Cache(x, h, c, gates, self.W_x, self.W_h, self.p_i, self.p_f, self.p_o, lengths)


class Grads(NamedTuple):
    """Gradients in the order of the forward's arguments, each with its argument's shape, and da (T,
    N, 4H)."""

    dx: Array
    dh0: Array
    dc0: Array
    dW_x: Array
    dW_h: Array
    db: Array
    dp_i: Array
    dp_f: Array
    dp_o: Array
    # of all pre-activations: dh_next[t] = da[t+1] W_h^T, and step t adds h[t-1]^T da[t] to dW_h
    da: Array


def split(a: Array) -> tuple[Array, Array, Array, Array]:
    """The four gate blocks of a (..., 4H) array, as views."""
    H = a.shape[-1] // 4
    return a[..., :H], a[..., H : 2 * H], a[..., 2 * H : 3 * H], a[..., 3 * H :]


def step_forward(
    a: Array, c_prev: Array, peepholes: Sequence[Array], gates: Array, c: Array, h: Array
) -> None:
    """One time step: from a (N, 4H), the old cell state and (p_i, p_f, p_o), fills gates (N, 4H), c
    and h (N, H)."""
    i, f, g, o = split(gates)
    i[...], f[...], g[...], o[...], c[...], h[...] = gates_forward(*split(a), c_prev, *peepholes)


def step_backward(
    dh: Array,
    dc_next: Array,
    gates: Array,
    c_prev: Array,
    c: Array,
    peepholes: Sequence[Array],
    da: Array,
) -> Array:
    """One time step back: fills da (N, 4H) and returns the gradient of c_prev (N, H)."""
    da_i, da_f, da_g, da_o = split(da)
    da_i[...], da_f[...], da_g[...], da_o[...], dc_prev = gates_backward(
        dh, dc_next, *split(gates), c_prev, c, *peepholes
    )
    return dc_prev


def before_loop(
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    p_i: Array,
    p_f: Array,
    p_o: Array,
    lengths: Any = None,
) -> tuple[Array, Cache]:
    """What of the forward pass does not recur: a_x = x W_x + b (T, N, 4H), and the cache, which the
    loop fills.

    Raises as ``forward`` does.
    """
    params = {"W_x": W_x, "W_h": W_h, "b": b, "p_i": p_i, "p_f": p_f, "p_o": p_o}
    lengths = check_forward(x, {"h0": h0, "c0": c0}, params, param_shapes, lengths)
    x = without_padding(x, lengths)
    T, N, D = x.shape
    h = np.empty_like(x, shape=(T + 1, N, h0.shape[1]), order="C")
    h[0] = h0
    c = np.empty_like(h)
    c[0] = c0
    a_x = (x.reshape(T * N, D) @ W_x).reshape(T, N, -1)  # one product for all time steps
    a_x += b
    return a_x, Cache(x, h, c, np.empty_like(a_x), W_x, W_h, p_i, p_f, p_o, lengths)


def forward(
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    p_i: Array,
    p_f: Array,
    p_o: Array,
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
    a_x, cache = before_loop(x, h0, c0, W_x, W_h, b, p_i, p_f, p_o, lengths)
    _, h, c, gates, *_, lengths = cache
    for t in range(len(a_x)):
        a = a_x[t] + h[t] @ W_h
        step(a, c[t], (p_i, p_f, p_o), gates[t], c[t + 1], h[t + 1])
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
    _, h, c, gates, _, W_h, *peepholes, lengths = cache
    T = len(gates)
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    dc_next = np.zeros_like(c[0]) if dc_last is None else dc_last
    for t in reversed(range(T)):
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        dc_prev = step(dh, dc_next, gates[t], c[t], c[t + 1], peepholes, da[t])
        dh_prev = da[t] @ W_h.T  # undoes  a = ... + h' W_h
        if lengths is not None:
            pass_over(lengths <= t, da[t], (dh_prev, dh_next), (dc_prev, dc_next))
        # one step back: what left step t is what arrives at step t-1
        dh_next, dc_next = dh_prev, dc_prev
    return after_loop(cache, da, dh_next, dc_next)


def after_loop(cache: Cache, da: Array, dh0: Array, dc0: Array) -> Grads:
    """What of the backward pass does not recur: with da (T, N, 4H) known, every other gradient is
    one product or sum."""
    x, h, c, _, W_x, *_ = cache
    T, N, D = x.shape
    da_i, da_f, _, da_o = split(da)
    # a weight is used at every step and by every sequence: its gradient is the sum over both
    flat = da.reshape(T * N, -1)
    return Grads(
        dx=(flat @ W_x.T).reshape(x.shape),  # undoes  a = x W_x + ...
        dh0=dh0,
        dc0=dc0,
        dW_x=x.reshape(T * N, D).T @ flat,  # W_x met x
        dW_h=h[:-1].reshape(T * N, -1).T @ flat,  # W_h met h', the *previous* hidden state
        db=flat.sum(axis=0),
        dp_i=(da_i * c[:-1]).sum(axis=(0, 1)),  # i and f looked at c', the *previous* cell state
        dp_f=(da_f * c[:-1]).sum(axis=(0, 1)),
        dp_o=(da_o * c[1:]).sum(axis=(0, 1)),  # o looked at the new one
        da=da,
    )
