"""Gated recurrent unit in the form of PyTorch and cuDNN: reset *after* the product.

With h' = h_{t-1}, the hidden state of the previous step,

    a = x W_x + b                   input projection, three blocks: a_r | a_z | a_n
    m = h' W_h                      recurrent projection, m_r | m_z | m_n, and b_hn added to m_n
    r = sigmoid(a_r + m_r)          reset gate:  how much of the past the candidate sees
    z = sigmoid(a_z + m_z)          update gate: how much of the past is kept
    n = tanh(a_n + r m_n)           candidate
    h = (1 - z) n + z h'            hidden state, which is also the output

Shapes: T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, 3H), W_h (H, 3H),
b (3H,), b_hn (H,), gates in the order r z n (PyTorch's; Keras has z r h, and Chung et al. 2014
exchange z and 1 - z).

References: Cho et al. 2014 (arXiv:1406.1078), in the variant of its first version. The form that
resets h' *before* the product is ``gru_reset_before.py``.
"""

from typing import Annotated, NamedTuple

import numpy as np

from scratchnet.arrays import Array, Empty, Lengths, Step, empty_array, read_only
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.sequences import (
    carry_state,
    input_projection,
    skip_padding_gradient,
    split_gates,
    zero_padding,
)
from scratchnet.elementwise import ONE, d_sigmoid, d_tanh, elementwise, sigmoid
from scratchnet.fingerprint import Fingerprints, fingerprint

GATES = "rzn"
STATES: tuple[str, ...] = ("h",)
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order of forward's arguments."""
    return {"W_x": (D, 3 * H), "W_h": (H, 3 * H), "b": (3 * H,), "b_hn": (H,)}


@elementwise
def gates_forward(
    a_r: Array, a_z: Array, a_n: Array, m_r: Array, m_z: Array, m_n: Array, h_prev: Array
) -> tuple[Array, ...]:
    """One step, elementwise: input projection a and recurrent projection m to gates and state."""
    r, z = sigmoid(a_r + m_r), sigmoid(a_z + m_z)
    n = np.tanh(a_n + r * m_n)
    h = (ONE - z) * n + z * h_prev
    return r, z, n, h


@elementwise
def gates_backward(
    dh: Array, r: Array, z: Array, n: Array, m_n: Array, h_prev: Array
) -> tuple[Array, ...]:
    """One step back, elementwise: dh to da, to dm_n, and to the part of dh_prev that skips W_h."""
    da_n = dh * (ONE - z) * d_tanh(n)  # undoes  h = (1 - z) n + ...,  n = tanh(a_n + r m_n)
    da_z = dh * (h_prev - n) * d_sigmoid(z)  # undoes  h = (1 - z) n + z h',  z = sigmoid(...)
    da_r = da_n * m_n * d_sigmoid(r)  # undoes  r m_n,  r = sigmoid(...)
    dm_n = da_n * r  # undoes  r m_n: unlike a_n, m_n passes the reset gate
    dh_direct = dh * z  # undoes  h = ... + z h': the carry path
    return da_r, da_z, da_n, dm_n, dh_direct


class Cache(NamedTuple):
    """Inputs and intermediates saved for backward; plots and tests read the same ones."""

    x: Annotated[Array, "T, N, D"]
    h: Annotated[Array, "T+1, N, H"]  # h[0] is the initial state, h[1:] is the output
    gates: Annotated[Array, "T, N, 3H"]  # r z n, after their sigmoid or tanh
    m_n: Annotated[Array, "T, N, H"]  # h' W_hn + b_hn, before the reset gate
    W_x: Annotated[Array, "D, 3H"]
    W_h: Annotated[Array, "H, 3H"]
    lengths: Array | None  # (N,)
    fingerprints: Fingerprints = None  # of x and the weights


class Grads(NamedTuple):
    """Gradients of forward's arguments, each with its argument's shape, and of a."""

    dx: Array
    dh0: Array
    dW_x: Array
    dW_h: Array
    db: Array
    db_hn: Array
    da: Array  # (T, N, 3H)  of the input projection; dm = da except that dm_n = r da_n


def step_forward(a: Array, m: Array, h_prev: Array, gates: Array, h: Array) -> None:
    """One time step: from a and m (N, 3H), fill gates (N, 3H) and h (N, H)."""
    r, z, n = split_gates(gates, 3)
    r[...], z[...], n[...], h[...] = gates_forward(*split_gates(a, 3), *split_gates(m, 3), h_prev)


def step_backward(
    dh: Array, gates: Array, m_n: Array, h_prev: Array, da: Array, dm: Array
) -> Array:
    """One time step back: fill da and dm (N, 3H), return the part of dh_prev that skips W_h."""
    (da_r, da_z, da_n), (dm_r, dm_z, dm_n) = split_gates(da, 3), split_gates(dm, 3)
    found = gates_backward(dh, *split_gates(gates, 3), m_n, h_prev)
    da_r[...], da_z[...], da_n[...], dm_n[...], dh_direct = found
    dm_r[...], dm_z[...] = da_r, da_z
    return dh_direct


def new_cache(
    x: Array,
    h0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    b_hn: Array,
    lengths: Lengths = None,
    empty: Empty = empty_array,
) -> Cache:
    """A cache with the checked inputs and initial states; the time loop fills the rest of it.

    ``empty(like, shape)`` allocates; engines have a faster one.
    """
    lengths = check_forward(param_shapes, lengths, x, h0=h0, W_x=W_x, W_h=W_h, b=b, b_hn=b_hn)
    x = zero_padding(x, lengths)
    (T, N, _), H = x.shape, h0.shape[1]
    h, gates, m_n = empty(x, (T + 1, N, H)), empty(x, (T, N, 3 * H)), empty(x, (T, N, H))
    h[0] = h0
    return Cache(x, h, gates, m_n, W_x, W_h, lengths, fingerprint(x=x, W_x=W_x, W_h=W_h))


def forward(
    x: Array,
    h0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    b_hn: Array,
    lengths: Lengths = None,
    step: Step = step_forward,
) -> tuple[Array, Cache]:
    """Run the cell over a sequence; return the output y (T, N, H) and the cache for ``backward``.

    Parameters
    ----------
    x, h0 : (T, N, D) and (N, H), input and initial state
    W_x, W_h, b, b_hn : parameters, with the shapes of ``param_shapes``
    lengths : (N,), lengths of the sequences in a padded batch
    step : one time step; engines pass a kernel
    """
    cache = new_cache(x, h0, W_x, W_h, b, b_hn, lengths)
    h, H = cache.h, len(b_hn)
    a = input_projection(cache.x, W_x, b)
    for t in range(len(a)):
        m = h[t] @ W_h
        m[:, 2 * H :] += b_hn
        step(a[t], m, h[t], cache.gates[t], h[t + 1])
        cache.m_n[t] = m[:, 2 * H :]
        if cache.lengths is not None:
            carry_state(cache.lengths <= t, t, h)
    return read_only(h[1:]), cache


def backward(
    dy: Array, cache: Cache, dh_last: Array | None = None, step: Step = step_backward
) -> Grads:
    """Backpropagate through time; return the gradients of all arguments of ``forward``.

    Parameters
    ----------
    dy : (T, N, H), upstream gradient of y
    cache : as ``forward`` returned it
    dh_last : (N, H), upstream gradient of the final state; None for zero
    """
    check_backward(dy, cache, Cache, dh_last=dh_last)
    h, gates, m_n, W_h = cache.h, cache.gates, cache.m_n, cache.W_h
    T = len(gates)
    da, dm = np.empty_like(gates), np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    for t in reversed(range(T)):
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        dh_direct = step(dh, gates[t], m_n[t], h[t], da[t], dm[t])
        dh_prev = dm[t] @ W_h.T + dh_direct  # undoes  m = h' W_h  and  h = ... + z h'
        if cache.lengths is not None:
            skip_padding_gradient(cache.lengths <= t, da[t], (dh_prev, dh_next))
            skip_padding_gradient(cache.lengths <= t, dm[t])
        dh_next = dh_prev  # one step back: the gradient of h_{t-1} is upstream of step t-1
    return parameter_gradients(cache, da, dm, dh_next)


def parameter_gradients(
    cache: Cache,
    da: Array,
    dm: Array,
    dh0: Array,
    db: Array | None = None,
    db_hn: Array | None = None,
) -> Grads:
    """The backward pass outside the time loop: with da and dm, each is one product or sum."""
    x, h, H = cache.x, cache.h, cache.h.shape[2]
    T, N, D = x.shape
    # Every step and sequence uses the same weights: their gradients are sums over both.
    da_flat, dm_flat = da.reshape(T * N, 3 * H), dm.reshape(T * N, 3 * H)
    return Grads(
        dx=(da_flat @ cache.W_x.T).reshape(x.shape),  # undoes  a = x W_x + b
        dh0=dh0,
        dW_x=x.reshape(T * N, D).T @ da_flat,  # undoes  a = x W_x + b
        dW_h=h[:-1].reshape(T * N, H).T @ dm_flat,  # undoes  m = h' W_h, the *previous* h
        db=da_flat.sum(axis=0) if db is None else db,
        # b_hn is inside r (...), so its gradient has r
        db_hn=dm_flat[:, 2 * H :].sum(axis=0) if db_hn is None else db_hn,
        da=da,
    )
