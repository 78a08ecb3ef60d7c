"""Gated recurrent unit in the paper's form: the reset gate acts on h' *before* the product.

With h' = h_{t-1}, the hidden state of the previous step,

    a_r, a_z = x W_xr + h' W_hr + b_r,  x W_xz + h' W_hz + b_z
    r, z = sigmoid(a_r), sigmoid(a_z)       reset gate and update gate
    s = r h'                                the past, reset
    a_n = x W_xn + s W_hn + b_n
    n = tanh(a_n)                           candidate
    h = (1 - z) n + z h'                    hidden state, which is also the output

A step has two products in sequence, since s W_hn needs r first. That is why cuDNN and PyTorch moved
the reset after the product (``gru.py``). The two are different functions: weights trained in one do
not work in the other.

Shapes: T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, 3H), W_h (H, 3H),
b (3H,), gates in the order r z n. There is no b_hn: without a reset between them, two biases of n
would be one.

References: Cho et al. 2014 (arXiv:1406.1078), section 2.3.
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
    return {"W_x": (D, 3 * H), "W_h": (H, 3 * H), "b": (3 * H,)}


@elementwise
def reset_forward(a_r: Array, a_z: Array, h_prev: Array) -> tuple[Array, ...]:
    """First half of a step, elementwise: both gates, and the past after the reset."""
    r, z = sigmoid(a_r), sigmoid(a_z)
    return r, z, r * h_prev


@elementwise
def update_forward(a_n: Array, z: Array, h_prev: Array) -> tuple[Array, Array]:
    """Second half of a step, elementwise: candidate and new state."""
    n = np.tanh(a_n)
    return n, (ONE - z) * n + z * h_prev


@elementwise
def update_backward(dh: Array, z: Array, n: Array, h_prev: Array) -> tuple[Array, ...]:
    """Backward of the second half, elementwise."""
    da_n = dh * (ONE - z) * d_tanh(n)  # undoes  h = (1 - z) n + ...,  n = tanh(a_n)
    da_z = dh * (h_prev - n) * d_sigmoid(z)  # undoes  h = (1 - z) n + z h',  z = sigmoid(a_z)
    dh_direct = dh * z  # undoes  h = ... + z h': the carry path
    return da_n, da_z, dh_direct


@elementwise
def reset_backward(ds: Array, r: Array, h_prev: Array) -> tuple[Array, Array]:
    """Backward of the first half, elementwise."""
    da_r = ds * h_prev * d_sigmoid(r)  # undoes  s = r h',  r = sigmoid(a_r)
    dh_reset = ds * r  # undoes  s = r h'
    return da_r, dh_reset


class Cache(NamedTuple):
    """Inputs and intermediates saved for backward; plots and tests read the same ones."""

    x: Annotated[Array, "T, N, D"]
    h: Annotated[Array, "T+1, N, H"]  # h[0] is the initial state, h[1:] is the output
    gates: Annotated[Array, "T, N, 3H"]  # r z n, after their sigmoid or tanh
    s: Annotated[Array, "T, N, H"]  # r h', which W_hn is multiplied with
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
    da: Array  # (T, N, 3H)


def step_forward(a: Array, h_prev: Array, W_hn: Array, gates: Array, s: Array, h: Array) -> None:
    """One time step: from a (N, 3H), still without s W_hn, fill gates (N, 3H), s and h (N, H)."""
    (a_r, a_z, a_n), (r, z, n) = split_gates(a, 3), split_gates(gates, 3)
    r[...], z[...], s[...] = reset_forward(a_r, a_z, h_prev)
    a_n += s @ W_hn  # needs r first
    n[...], h[...] = update_forward(a_n, z, h_prev)


def step_backward(dh: Array, gates: Array, W_hn: Array, h_prev: Array, da: Array) -> Array:
    """One time step back: fill da (N, 3H), return the part of dh_prev not from W_hr and W_hz."""
    (r, z, n), (da_r, da_z, da_n) = split_gates(gates, 3), split_gates(da, 3)
    da_n[...], da_z[...], dh_direct = update_backward(dh, z, n, h_prev)
    ds = da_n @ W_hn.T  # undoes  a_n = ... + s W_hn
    da_r[...], dh_reset = reset_backward(ds, r, h_prev)
    return dh_direct + dh_reset


def new_cache(
    x: Array,
    h0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    lengths: Lengths = None,
    empty: Empty = empty_array,
) -> Cache:
    """A cache with the checked inputs and initial states; the time loop fills the rest of it.

    ``empty(like, shape)`` allocates; engines have a faster one.
    """
    lengths = check_forward(param_shapes, lengths, x, h0=h0, W_x=W_x, W_h=W_h, b=b)
    x = zero_padding(x, lengths)
    (T, N, _), H = x.shape, h0.shape[1]
    h, gates, s = empty(x, (T + 1, N, H)), empty(x, (T, N, 3 * H)), empty(x, (T, N, H))
    h[0] = h0
    return Cache(x, h, gates, s, W_x, W_h, lengths, fingerprint(x=x, W_x=W_x, W_h=W_h))


def forward(
    x: Array,
    h0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    lengths: Lengths = None,
    step: Step = step_forward,
) -> tuple[Array, Cache]:
    """Run the cell over a sequence; return the output y (T, N, H) and the cache for ``backward``.

    Parameters
    ----------
    x, h0 : (T, N, D) and (N, H), input and initial state
    W_x, W_h, b : parameters, with the shapes of ``param_shapes``
    lengths : (N,), lengths of the sequences in a padded batch
    step : one time step; engines pass a kernel
    """
    cache = new_cache(x, h0, W_x, W_h, b, lengths)
    h, H = cache.h, h0.shape[1]
    a = input_projection(cache.x, W_x, b)
    for t in range(len(a)):
        a[t, :, : 2 * H] += h[t] @ W_h[:, : 2 * H]
        step(a[t], h[t], W_h[:, 2 * H :], cache.gates[t], cache.s[t], h[t + 1])
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
    h, gates = cache.h, cache.gates
    H = h.shape[2]
    W_hrz, W_hn = cache.W_h[:, : 2 * H], cache.W_h[:, 2 * H :]
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    for t in reversed(range(len(gates))):
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        dh_past_gates = step(dh, gates[t], W_hn, h[t], da[t])
        dh_prev = da[t, :, : 2 * H] @ W_hrz.T + dh_past_gates  # undoes  h' W_hrz,  r h'  and  z h'
        if cache.lengths is not None:
            skip_padding_gradient(cache.lengths <= t, da[t], (dh_prev, dh_next))
        dh_next = dh_prev  # one step back: the gradient of h_{t-1} is upstream of step t-1
    return parameter_gradients(cache, da, dh_next)


def parameter_gradients(cache: Cache, da: Array, dh0: Array) -> Grads:
    """The backward pass outside the time loop: with da (T, N, 3H), each is one product or sum."""
    x, h, H = cache.x, cache.h, cache.h.shape[2]
    T, N, D = x.shape
    flat = da.reshape(T * N, 3 * H)  # every step and sequence uses the same weights: sum over both
    dW_h = np.empty_like(cache.W_h)
    dW_h[:, : 2 * H] = h[:-1].reshape(T * N, H).T @ flat[:, : 2 * H]  # undoes  h' W_hr,  h' W_hz
    dW_h[:, 2 * H :] = cache.s.reshape(T * N, H).T @ flat[:, 2 * H :]  # undoes  s W_hn
    return Grads(
        dx=(flat @ cache.W_x.T).reshape(x.shape),  # undoes  x W_x
        dh0=dh0,
        dW_x=x.reshape(T * N, D).T @ flat,  # undoes  x W_x
        dW_h=dW_h,
        db=flat.sum(axis=0),
        da=da,
    )
