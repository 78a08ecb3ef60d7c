"""Gated recurrent unit, forward and backward through time, in the form of PyTorch and cuDNN: reset
*after* the product.

With h' for the hidden state of the step before,

    r = sigmoid(x W_xr + h' W_hr + b_r)             reset gate:  how much of the past the candidate sees
    z = sigmoid(x W_xz + h' W_hz + b_z)             update gate: how much of the past is kept
    n = tanh(x W_xn + b_n + r (h' W_hn + b_hn))     candidate
    h = (1 - z) n + z h'                            hidden state, which is also the output

Two products meet in a gate, and the reset gate stands between them, so each has its own name:
a = x W_x + b is the input's part, m = h' W_h (+ b_hn in the n block) the memory's.

Shapes. T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, 3H), W_h (H, 3H),
b (3H,), b_hn (H,), gates in the order r z n (PyTorch's; Keras has z r h, and Chung et al. 2014 swap
the roles of z and 1 - z).

Source: Cho et al. 2014 (arXiv:1406.1078), in the variant of its first version. The form that resets
h' *before* the product is ``gru_reset_before.py``.
"""

from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, read_only
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.padding import hold, pass_over, without_padding
from scratchnet.elementwise import ONE, d_sigmoid, d_tanh, elementwise, sigmoid

GATES = "rzn"
STATES: tuple[str, ...] = ("h",)
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order in which ``forward`` takes
    them."""
    return {"W_x": (D, 3 * H), "W_h": (H, 3 * H), "b": (3 * H,), "b_hn": (H,)}


@elementwise
def gates_forward(a_r: Any, a_z: Any, a_n: Any, m_r: Any, m_z: Any, m_n: Any, h_prev: Any) -> Any:
    """One step, elementwise: the input's part a and the memory's part m to gates and new state."""
    r, z = sigmoid(a_r + m_r), sigmoid(a_z + m_z)
    n = np.tanh(a_n + r * m_n)
    h = (ONE - z) * n + z * h_prev
    return r, z, n, h


@elementwise
def gates_backward(dh: Any, r: Any, z: Any, n: Any, m_n: Any, h_prev: Any) -> Any:
    """One step back, elementwise: dh to da, to dm where it differs from da, and to h' by the direct
    road."""
    da_n = dh * (ONE - z) * d_tanh(n)  # undoes  h = (1 - z) n + ...,  n = tanh(a_n + r m_n)
    da_z = dh * (h_prev - n) * d_sigmoid(z)  # undoes  h = (1 - z) n + z h',  z = sigmoid(...)
    da_r = da_n * m_n * d_sigmoid(r)  # undoes  r m_n,  r = sigmoid(...)
    dm_n = da_n * r  # undoes  r m_n: the memory's part of n stands behind the reset gate
    dh_direct = dh * z  # undoes  h = ... + z h': the road on which memory travels
    return da_r, da_z, da_n, dm_n, dh_direct


class Cache(NamedTuple):
    """All that the forward pass saw and made; ``backward``, plots and tests read the same one."""

    x: Array  # (T, N, D)
    h: Array  # (T+1, N, H)  h[0] is the initial state, h[1:] is the output
    gates: Array  # (T, N, 3H)   r z n, after their sigmoid or tanh
    m_n: Array  # (T, N, H)    h' W_hn + b_hn, before the reset gate
    W_x: Array  # (D, 3H)
    W_h: Array  # (H, 3H)
    lengths: Array | None  # (N,)

    def window(self, start: int, stop: int) -> "Cache":
        """The cache of steps start..stop-1 alone, the state at ``start`` taken as given: truncated
        BPTT detaches here."""
        lengths = None if self.lengths is None else self.lengths - start
        x, h, gates, m_n = (
            self.x[start:stop],
            self.h[start : stop + 1],
            self.gates[start:stop],
            self.m_n[start:stop],
        )
        return Cache(x, h, gates, m_n, self.W_x, self.W_h, lengths)


class Grads(NamedTuple):
    """Gradients in the order of the forward's arguments, each with its argument's shape, and da (T,
    N, 3H)."""

    dx: Array
    dh0: Array
    dW_x: Array
    dW_h: Array
    db: Array
    db_hn: Array
    # of the input's part a; the memory's part m has dm = da, but for its n block, where dm_n = r
    # da_n
    da: Array


def split(a: Array) -> tuple[Array, Array, Array]:
    """The three gate blocks of a (..., 3H) array, as views."""
    H = a.shape[-1] // 3
    return a[..., :H], a[..., H : 2 * H], a[..., 2 * H :]


def step_forward(a: Array, m: Array, h_prev: Array, gates: Array, h: Array) -> None:
    """One time step: from the input's part a and the memory's part m (N, 3H), fills gates (N, 3H)
    and h (N, H)."""
    r, z, n = split(gates)
    r[...], z[...], n[...], h[...] = gates_forward(*split(a), *split(m), h_prev)


def step_backward(
    dh: Array, gates: Array, m_n: Array, h_prev: Array, da: Array, dm: Array
) -> Array:
    """One time step back: fills da and dm (N, 3H) and returns what reaches h_prev directly (N,
    H)."""
    (da_r, da_z, da_n), (dm_r, dm_z, dm_n) = split(da), split(dm)
    da_r[...], da_z[...], da_n[...], dm_n[...], dh_direct = gates_backward(
        dh, *split(gates), m_n, h_prev
    )
    dm_r[...], dm_z[...] = da_r, da_z
    return dh_direct


def before_loop(
    x: Array, h0: Array, W_x: Array, W_h: Array, b: Array, b_hn: Array, lengths: Any = None
) -> tuple[Array, Cache]:
    """What of the forward pass does not recur: a = x W_x + b (T, N, 3H), and the cache, which the
    loop fills.

    Raises as ``forward`` does.
    """
    lengths = check_forward(
        x, {"h0": h0}, {"W_x": W_x, "W_h": W_h, "b": b, "b_hn": b_hn}, param_shapes, lengths
    )
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
    b_hn: Array,
    lengths: Any = None,
    step: Any = step_forward,
) -> tuple[Array, Cache]:
    """Run the cell over a whole sequence: x (T, N, D), h0 (N, H), to y (T, N, H) and the cache.

    ``lengths`` (N,): sequences that are over sooner; past its length a sequence's state stays at
    its last value. ``step``: what runs one time step; an engine puts its kernel here
    (``step_forward`` is the reference). Raises ValueError or TypeError, naming both sides, where
    shapes or types do not fit.
    """
    a, cache = before_loop(x, h0, W_x, W_h, b, b_hn, lengths)
    _, h, gates, m_n, _, _, lengths = cache
    H = h.shape[2]
    for t in range(len(a)):
        m = h[t] @ W_h
        m[:, 2 * H :] += b_hn
        step(a[t], m, h[t], gates[t], h[t + 1])
        m_n[t] = m[:, 2 * H :]
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
    _, h, gates, m_n, _, W_h, lengths = cache
    T = len(gates)
    da, dm = np.empty_like(gates), np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    for t in reversed(range(T)):
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        dh_direct = step(dh, gates[t], m_n[t], h[t], da[t], dm[t])
        dh_prev = dm[t] @ W_h.T + dh_direct  # undoes  m = h' W_h  and  h = ... + z h'
        if lengths is not None:
            pass_over(lengths <= t, da[t], (dh_prev, dh_next))
            pass_over(lengths <= t, dm[t])
        dh_next = dh_prev  # one step back: what left step t is what arrives at step t-1
    return after_loop(cache, da, dm, dh_next)


def after_loop(cache: Cache, da: Array, dm: Array, dh0: Array) -> Grads:
    """What of the backward pass does not recur: with da and dm (T, N, 3H) known, every other
    gradient is a product or sum."""
    x, h, _, _, W_x, _, _ = cache
    T, N, D = x.shape
    H = h.shape[2]
    da_flat, dm_flat = da.reshape(T * N, 3 * H), dm.reshape(T * N, 3 * H)
    return Grads(
        dx=(da_flat @ W_x.T).reshape(x.shape),  # undoes  a = x W_x + b
        dh0=dh0,
        # a weight is used at every step by every sequence: the sum over both
        dW_x=x.reshape(T * N, D).T @ da_flat,
        dW_h=h[:-1].reshape(T * N, H).T @ dm_flat,  # W_h met h', the *previous* hidden state
        db=da_flat.sum(axis=0),
        # b_hn stands inside r (...), so its gradient carries r
        db_hn=dm_flat[:, 2 * H :].sum(axis=0),
        da=da,
    )
