"""Gated recurrent unit in the paper's form: the reset gate acts on h' *before* the product.

With h' for the hidden state of the step before,

    r = sigmoid(x W_xr + h' W_hr + b_r)             reset gate:  how much of the past the candidate sees
    z = sigmoid(x W_xz + h' W_hz + b_z)             update gate: how much of the past is kept
    s = r h'                                        the past, reset
    n = tanh(x W_xn + s W_hn + b_n)                 candidate
    h = (1 - z) n + z h'                            hidden state, which is also the output

A step needs two products one after the other, since s W_hn has to wait for r; that is why cuDNN and
PyTorch moved the reset behind the product (``gru.py``). The two are different functions: weights of
one do not work in the other.

Shapes. T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, 3H), W_h (H, 3H),
b (3H,), gates in the order r z n. There is no b_hn: without a reset between them, two biases would
be one.

Source: Cho et al. 2014 (arXiv:1406.1078), section 2.3.
"""

from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, read_only
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.gru import split
from scratchnet.cells.padding import hold, pass_over, without_padding
from scratchnet.elementwise import ONE, d_sigmoid, d_tanh, elementwise, sigmoid

GATES = "rzn"
STATES: tuple[str, ...] = ("h",)
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order in which ``forward`` takes
    them."""
    return {"W_x": (D, 3 * H), "W_h": (H, 3 * H), "b": (3 * H,)}


@elementwise
def reset_forward(a_r: Any, a_z: Any, h_prev: Any) -> Any:
    """First half of a step, elementwise: both gates, and the past after the reset."""
    r, z = sigmoid(a_r), sigmoid(a_z)
    return r, z, r * h_prev


@elementwise
def update_forward(a_n: Any, z: Any, h_prev: Any) -> Any:
    """Second half of a step, elementwise: candidate and new state."""
    n = np.tanh(a_n)
    return n, (ONE - z) * n + z * h_prev


@elementwise
def update_backward(dh: Any, z: Any, n: Any, h_prev: Any) -> Any:
    """Back through the second half, elementwise."""
    da_n = dh * (ONE - z) * d_tanh(n)  # undoes  h = (1 - z) n + ...,  n = tanh(a_n)
    da_z = dh * (h_prev - n) * d_sigmoid(z)  # undoes  h = (1 - z) n + z h',  z = sigmoid(a_z)
    dh_direct = dh * z  # undoes  h = ... + z h': the road on which memory travels
    return da_n, da_z, dh_direct


@elementwise
def reset_backward(ds: Any, r: Any, h_prev: Any) -> Any:
    """Back through the first half, elementwise."""
    da_r = ds * h_prev * d_sigmoid(r)  # undoes  s = r h',  r = sigmoid(a_r)
    dh_reset = ds * r  # undoes  s = r h'
    return da_r, dh_reset


class Cache(NamedTuple):
    """All that the forward pass saw and made; ``backward``, plots and tests read the same one."""

    x: Array  # (T, N, D)
    h: Array  # (T+1, N, H)  h[0] is the initial state, h[1:] is the output
    gates: Array  # (T, N, 3H)   r z n, after their sigmoid or tanh
    s: Array  # (T, N, H)    r h', what W_hn was multiplied with
    W_x: Array  # (D, 3H)
    W_h: Array  # (H, 3H)
    lengths: Array | None  # (N,)

    def window(self, start: int, stop: int) -> "Cache":
        """The cache of steps start..stop-1 alone, the state at ``start`` taken as given: truncated
        BPTT detaches here."""
        lengths = None if self.lengths is None else self.lengths - start
        x, h, gates, s = (
            self.x[start:stop],
            self.h[start : stop + 1],
            self.gates[start:stop],
            self.s[start:stop],
        )
        return Cache(x, h, gates, s, self.W_x, self.W_h, lengths)


class Grads(NamedTuple):
    """Gradients in the order of the forward's arguments, each with its argument's shape, and da (T,
    N, 3H)."""

    dx: Array
    dh0: Array
    dW_x: Array
    dW_h: Array
    db: Array
    da: Array  # of all pre-activations


def step_forward(a: Array, h_prev: Array, W_hn: Array, gates: Array, s: Array, h: Array) -> None:
    """One time step: from a (N, 3H), complete but for s W_hn, fills gates (N, 3H), s and h (N,
    H)."""
    (a_r, a_z, a_n), (r, z, n) = split(a), split(gates)
    r[...], z[...], s[...] = reset_forward(a_r, a_z, h_prev)
    a_n += s @ W_hn  # has to wait for r
    n[...], h[...] = update_forward(a_n, z, h_prev)


def step_backward(dh: Array, gates: Array, W_hn: Array, h_prev: Array, da: Array) -> Array:
    """One time step back: fills da (N, 3H) and returns what reaches h_prev past W_hr and W_hz (N,
    H)."""
    (r, z, n), (da_r, da_z, da_n) = split(gates), split(da)
    da_n[...], da_z[...], dh_direct = update_backward(dh, z, n, h_prev)
    ds = da_n @ W_hn.T  # undoes  a_n = ... + s W_hn
    da_r[...], dh_reset = reset_backward(ds, r, h_prev)
    return dh_direct + dh_reset


def before_loop(
    x: Array, h0: Array, W_x: Array, W_h: Array, b: Array, lengths: Any = None
) -> tuple[Array, Cache]:
    """What of the forward pass does not recur: a = x W_x + b (T, N, 3H), and the cache, which the
    loop fills.

    Raises as ``forward`` does.
    """
    lengths = check_forward(x, {"h0": h0}, {"W_x": W_x, "W_h": W_h, "b": b}, param_shapes, lengths)
    x = without_padding(x, lengths)
    T, N, D = x.shape
    h = np.empty_like(x, shape=(T + 1, N, h0.shape[1]), order="C")
    h[0] = h0
    a = (x.reshape(T * N, D) @ W_x).reshape(T, N, -1)  # one product for all time steps
    a += b
    return a, Cache(x, h, np.empty_like(a), np.empty_like(h[1:]), W_x, W_h, lengths)


def forward(
    x: Array,
    h0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    lengths: Any = None,
    step: Any = step_forward,
) -> tuple[Array, Cache]:
    """Run the cell over a whole sequence: x (T, N, D), h0 (N, H), to y (T, N, H) and the cache.

    ``lengths`` (N,): sequences that are over sooner; past its length a sequence's state stays at
    its last value. ``step``: what runs one time step; an engine puts its kernel here
    (``step_forward`` is the reference). Raises ValueError or TypeError, naming both sides, where
    shapes or types do not fit.
    """
    a, cache = before_loop(x, h0, W_x, W_h, b, lengths)
    _, h, gates, s, _, _, lengths = cache
    H = h.shape[2]
    W_hrz, W_hn = W_h[:, : 2 * H], W_h[:, 2 * H :]
    for t in range(len(a)):
        a[t, :, : 2 * H] += h[t] @ W_hrz
        step(a[t], h[t], W_hn, gates[t], s[t], h[t + 1])
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
    _, h, gates, _, _, W_h, lengths = cache
    T, H = len(gates), h.shape[2]
    W_hrz, W_hn = W_h[:, : 2 * H], W_h[:, 2 * H :]
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    for t in reversed(range(T)):
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        dh_past_gates = step(dh, gates[t], W_hn, h[t], da[t])
        # undoes  a_r, a_z = ... + h' W_h,  s = r h'  and  z h'
        dh_prev = da[t, :, : 2 * H] @ W_hrz.T + dh_past_gates
        if lengths is not None:
            pass_over(lengths <= t, da[t], (dh_prev, dh_next))
        dh_next = dh_prev  # one step back: what left step t is what arrives at step t-1
    return after_loop(cache, da, dh_next)


def after_loop(cache: Cache, da: Array, dh0: Array) -> Grads:
    """What of the backward pass does not recur: with da (T, N, 3H) known, every other gradient is
    one product or sum."""
    x, h, _, s, W_x, W_h, _ = cache
    T, N, D = x.shape
    H = h.shape[2]
    # a weight is used at every step by every sequence: its gradient sums over both
    flat = da.reshape(T * N, 3 * H)
    h_prev, s_flat = h[:-1].reshape(T * N, H), s.reshape(T * N, H)
    dW_h = np.empty_like(W_h)
    # W_hr and W_hz met h', the *previous* hidden state
    dW_h[:, : 2 * H] = h_prev.T @ flat[:, : 2 * H]
    dW_h[:, 2 * H :] = s_flat.T @ flat[:, 2 * H :]  # W_hn met s = r h'
    dx = (flat @ W_x.T).reshape(x.shape)
    return Grads(
        dx=dx, dh0=dh0, dW_x=x.reshape(T * N, D).T @ flat, dW_h=dW_h, db=flat.sum(axis=0), da=da
    )
