"""The vanilla recurrent network, forward and backward through time.

With h' for the hidden state of the step before,

    a = x W_x + h' W_h + b          pre-activation
    h = tanh(a)   or   relu(a)      hidden state, which is also the output

Shapes. T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, H), W_h (H, H), b
(H,).

Source: Elman 1990; the relu form: Le, Jaitly and Hinton 2015.
"""

from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, read_only
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.padding import hold, pass_over, without_padding
from scratchnet.elementwise import d_relu, d_tanh, elementwise, relu

GATES = "h"  # no gates: the one block of pre-activations is that of h itself
STATES: tuple[str, ...] = ("h",)
OPTIONS: dict[str, tuple[str, ...]] = {"nonlinearity": ("tanh", "relu")}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order in which ``forward`` takes
    them."""
    return {"W_x": (D, H), "W_h": (H, H), "b": (H,)}


@elementwise
def tanh_forward(a: Any) -> Any:
    """One step, elementwise, tanh form."""
    return np.tanh(a)


@elementwise
def tanh_backward(dh: Any, h: Any) -> Any:
    """One step back, elementwise: undoes h = tanh(a), from the output h."""
    return dh * d_tanh(h)


@elementwise
def relu_forward(a: Any) -> Any:
    """One step, elementwise, relu form."""
    return relu(a)


@elementwise
def relu_backward(dh: Any, h: Any) -> Any:
    """One step back, elementwise: undoes h = relu(a), from the output h."""
    return dh * d_relu(h)


UNIT = {"tanh": (tanh_forward, tanh_backward), "relu": (relu_forward, relu_backward)}


class Cache(NamedTuple):
    """All that the forward pass saw and made; ``backward``, plots and tests read the same one."""

    x: Array  # (T, N, D)
    h: Array  # (T+1, N, H)  h[0] is the initial state, h[1:] is the output
    W_x: Array  # (D, H)
    W_h: Array  # (H, H)
    nonlinearity: str
    lengths: Array | None  # (N,)

    def window(self, start: int, stop: int) -> "Cache":
        """The cache of steps start..stop-1 alone, the state at ``start`` taken as given: truncated
        BPTT detaches here."""
        lengths = None if self.lengths is None else self.lengths - start
        return self._replace(x=self.x[start:stop], h=self.h[start : stop + 1], lengths=lengths)


class Grads(NamedTuple):
    """Gradients in the order of the forward's arguments, each with its argument's shape, and da (T,
    N, H)."""

    dx: Array
    dh0: Array
    dW_x: Array
    dW_h: Array
    db: Array
    # of all pre-activations: dh_next[t] = da[t+1] W_h^T, and step t adds h[t-1]^T da[t] to dW_h
    da: Array


def step_forward(a: Array, h: Array, nonlinearity: str) -> None:
    """One time step: fills h (N, H) from the pre-activations a (N, H)."""
    unit, _ = UNIT[nonlinearity]
    h[...] = unit(a)


def step_backward(dh: Array, h: Array, da: Array, nonlinearity: str) -> None:
    """One time step back: fills da (N, H)."""
    _, d_unit = UNIT[nonlinearity]
    da[...] = d_unit(dh, h)


def before_loop(
    x: Array,
    h0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    nonlinearity: str = "tanh",
    lengths: Any = None,
) -> tuple[Array, Cache]:
    """What of the forward pass does not recur: a_x = x W_x + b (T, N, H), and the cache, which the
    loop fills.

    Raises as ``forward`` does.
    """
    if nonlinearity not in UNIT:
        raise ValueError(
            f"nonlinearity is {nonlinearity!r}: expected one of {', '.join(map(repr, UNIT))}"
        )
    lengths = check_forward(x, {"h0": h0}, {"W_x": W_x, "W_h": W_h, "b": b}, param_shapes, lengths)
    x = without_padding(x, lengths)
    T, N, D = x.shape
    h = np.empty_like(x, shape=(T + 1, N, h0.shape[1]), order="C")
    h[0] = h0
    a_x = (x.reshape(T * N, D) @ W_x).reshape(T, N, -1)  # one product for all time steps
    a_x += b
    return a_x, Cache(x, h, W_x, W_h, nonlinearity, lengths)


def forward(
    x: Array,
    h0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    nonlinearity: str = "tanh",
    lengths: Any = None,
    step: Any = step_forward,
) -> tuple[Array, Cache]:
    """Run the cell over a whole sequence: x (T, N, D), h0 (N, H), to y (T, N, H) and the cache.

    ``nonlinearity`` is "tanh" or "relu". ``lengths`` (N,): sequences that are over sooner; past its
    length a sequence's state stays at its last value. ``step``: what runs one time step; an engine
    puts its kernel here. Raises ValueError or TypeError, naming both sides, where shapes or types
    do not fit.
    """
    a_x, cache = before_loop(x, h0, W_x, W_h, b, nonlinearity, lengths)
    _, h, _, _, _, lengths = cache
    for t in range(len(a_x)):
        a = a_x[t] + h[t] @ W_h
        step(a, h[t + 1], nonlinearity)
        if lengths is not None:
            hold(lengths <= t, t, h)
    return read_only(h[1:]), cache


def backward(
    dy: Array, cache: Cache, dh_last: Array | None = None, step: Any = step_backward
) -> Grads:
    """Backpropagation through time: dy (T, N, H), the loss's own gradient of every output, to the
    gradient of every input.

    ``dh_last`` (N, H): the gradient that arrives at the final state from whatever comes after. Each
    gradient has its argument's shape. Raises ValueError or TypeError where one that arrives has
    not.
    """
    check_backward(dy, cache.h, dh_last=dh_last)
    _, h, _, W_h, nonlinearity, lengths = cache
    T = len(h) - 1
    da = np.empty_like(h[1:])
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    for t in reversed(range(T)):
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        step(dh, h[t + 1], da[t], nonlinearity)  # undoes  h = tanh(a)
        dh_prev = da[t] @ W_h.T  # undoes  a = ... + h' W_h
        if lengths is not None:
            pass_over(lengths <= t, da[t], (dh_prev, dh_next))
        dh_next = dh_prev  # one step back: what left step t is what arrives at step t-1
    return after_loop(cache, da, dh_next)


def after_loop(cache: Cache, da: Array, dh0: Array) -> Grads:
    """What of the backward pass does not recur: with da (T, N, H) known, every other gradient is
    one product or sum."""
    x, h, W_x, _, _, _ = cache
    T, N, D = x.shape
    # a weight is used at every step by every sequence: its gradient sums over both
    flat = da.reshape(T * N, -1)
    return Grads(
        dx=(flat @ W_x.T).reshape(x.shape),  # undoes  a = x W_x + ...
        dh0=dh0,
        dW_x=x.reshape(T * N, D).T @ flat,  # W_x met x
        dW_h=h[:-1].reshape(T * N, -1).T @ flat,  # W_h met h', the *previous* hidden state
        db=flat.sum(axis=0),
        da=da,
    )
