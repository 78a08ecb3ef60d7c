"""Minimal GRU: a gated unit whose gate does not look at the state, forward and backward through
time.

With h' for the hidden state of the step before,

    a = x W_x + b                   pre-activations of both gates, side by side: a_z | a_n
    z = sigmoid(a_z)                update gate: how much of the past is replaced
    n = a_n                         candidate; no tanh
    h = (1 - z) h' + z n            hidden state, which is also the output

There is no W_h: no step waits for a product, and given z and n the recurrence is linear in h', so
it could even be computed for all steps at once by a parallel scan, which is the point of the paper.
Here it is the loop, of elementwise work only. What is lost is that units cannot speak to each other
inside a layer; stack layers for that.

Beware: in ``gru.py`` it is z that keeps the past, here (as in the paper) it is 1 - z.

Shapes. T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, 2H), b (2H,),
gates in the order z n.

Source: Feng et al. 2024, Were RNNs All We Needed? (arXiv:2410.01201), section 3.1.
"""

from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, read_only
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.padding import hold, pass_over, without_padding
from scratchnet.elementwise import ONE, d_sigmoid, elementwise, sigmoid

GATES = "zn"
STATES: tuple[str, ...] = ("h",)
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order in which ``forward`` takes
    them."""
    return {"W_x": (D, 2 * H), "b": (2 * H,)}


@elementwise
def gates_forward(a_z: Any, a_n: Any, h_prev: Any) -> Any:
    """One step, elementwise: pre-activations and old state to gates and new state."""
    z = sigmoid(a_z)
    h = (ONE - z) * h_prev + z * a_n
    return z, a_n, h


@elementwise
def gates_backward(dh: Any, z: Any, n: Any, h_prev: Any) -> Any:
    """One step back, elementwise: dh to both da and the gradient of h_prev."""
    # undoes  h = (1 - z) h' + z n,  where z stands twice;  z = sigmoid(a_z)
    da_z = dh * (n - h_prev) * d_sigmoid(z)
    da_n = dh * z  # undoes  h = ... + z n,  n = a_n
    dh_prev = dh * (ONE - z)  # undoes  h = (1 - z) h' + ...:  the only road back in time
    return da_z, da_n, dh_prev


class Cache(NamedTuple):
    """All that the forward pass saw and made; ``backward``, plots and tests read the same one."""

    x: Array  # (T, N, D)
    h: Array  # (T+1, N, H)  h[0] is the initial state, h[1:] is the output
    gates: Array  # (T, N, 2H)   z n, z after its sigmoid
    W_x: Array  # (D, 2H)
    lengths: Array | None  # (N,)

    def window(self, start: int, stop: int) -> "Cache":
        """The cache of steps start..stop-1 alone, the state at ``start`` taken as given: truncated
        BPTT detaches here."""
        lengths = None if self.lengths is None else self.lengths - start
        return Cache(
            self.x[start:stop], self.h[start : stop + 1], self.gates[start:stop], self.W_x, lengths
        )


class Grads(NamedTuple):
    """Gradients in the order of the forward's arguments, each with its argument's shape, and da (T,
    N, 2H)."""

    dx: Array
    dh0: Array
    dW_x: Array
    db: Array
    da: Array  # of both pre-activations


def split(a: Array) -> tuple[Array, Array]:
    """The two gate blocks of a (..., 2H) array, as views."""
    H = a.shape[-1] // 2
    return a[..., :H], a[..., H:]


def step_forward(a: Array, h_prev: Array, gates: Array, h: Array) -> None:
    """One time step: from the pre-activations a (N, 2H) and the old state, fills gates (N, 2H) and
    h (N, H)."""
    z, n = split(gates)
    z[...], n[...], h[...] = gates_forward(*split(a), h_prev)


def step_backward(dh: Array, gates: Array, h_prev: Array, da: Array) -> Array:
    """One time step back: fills da (N, 2H) and returns the gradient of h_prev (N, H)."""
    da_z, da_n = split(da)
    da_z[...], da_n[...], dh_prev = gates_backward(dh, *split(gates), h_prev)
    return dh_prev


def before_loop(
    x: Array, h0: Array, W_x: Array, b: Array, lengths: Any = None
) -> tuple[Array, Cache]:
    """What of the forward pass does not recur: a = x W_x + b (T, N, 2H), and the cache, which the
    loop fills.

    Raises as ``forward`` does.
    """
    lengths = check_forward(x, {"h0": h0}, {"W_x": W_x, "b": b}, param_shapes, lengths)
    x = without_padding(x, lengths)
    T, N, D = x.shape
    h = np.empty_like(x, shape=(T + 1, N, h0.shape[1]), order="C")
    h[0] = h0
    # one product for all time steps, and there is no other
    a = (x.reshape(T * N, D) @ W_x).reshape(T, N, -1)
    a += b
    return a, Cache(x, h, np.empty_like(a), W_x, lengths)


def forward(
    x: Array, h0: Array, W_x: Array, b: Array, lengths: Any = None, step: Any = step_forward
) -> tuple[Array, Cache]:
    """Run the cell over a whole sequence: x (T, N, D), h0 (N, H), to y (T, N, H) and the cache.

    ``lengths`` (N,): sequences that are over sooner; past its length a sequence's state stays at
    its last value. ``step``: what runs one time step; an engine puts its kernel here
    (``step_forward`` is the reference). Raises ValueError or TypeError, naming both sides, where
    shapes or types do not fit.
    """
    a, cache = before_loop(x, h0, W_x, b, lengths)
    _, h, gates, _, lengths = cache
    for t in range(len(a)):
        step(a[t], h[t], gates[t], h[t + 1])
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
    _, h, gates, _, lengths = cache
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    for t in reversed(range(len(gates))):
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        dh_prev = step(dh, gates[t], h[t], da[t])
        if lengths is not None:
            pass_over(lengths <= t, da[t], (dh_prev, dh_next))
        dh_next = dh_prev  # one step back: what left step t is what arrives at step t-1
    return after_loop(cache, da, dh_next)


def after_loop(cache: Cache, da: Array, dh0: Array) -> Grads:
    """What of the backward pass does not recur: with da (T, N, 2H) known, every other gradient is
    one product or sum."""
    x, _, _, W_x, _ = cache
    T, N, D = x.shape
    # a weight is used at every step and by every sequence: its gradient is the sum over both
    flat = da.reshape(T * N, -1)
    return Grads(
        dx=(flat @ W_x.T).reshape(x.shape),  # undoes  a = x W_x + b
        dh0=dh0,
        dW_x=x.reshape(T * N, D).T @ flat,  # W_x met x
        db=flat.sum(axis=0),
        da=da,
    )
