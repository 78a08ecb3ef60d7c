"""The vanilla recurrent network, forward and backward through time.

With h' = h_{t-1}, the hidden state of the previous step,

    a = x W_x + h' W_h + b          pre-activation
    h = tanh(a)   or   relu(a)      hidden state, which is also the output

Shapes: T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, H), W_h (H, H),
b (H,).

References: Elman 1990; the relu form: Le, Jaitly and Hinton 2015.
"""

from typing import Annotated, NamedTuple

import numpy as np

from scratchnet.arrays import Array, Empty, Lengths, Step, empty_array, read_only, require_one_of
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.sequences import (
    carry_state,
    input_projection,
    skip_padding_gradient,
    zero_padding,
)
from scratchnet.elementwise import d_relu, d_tanh, elementwise, relu
from scratchnet.fingerprint import Fingerprints, fingerprint

GATES = "h"  # no gates: the one block of pre-activations is that of h itself
STATES: tuple[str, ...] = ("h",)
OPTIONS: dict[str, tuple[str, ...]] = {"nonlinearity": ("tanh", "relu")}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order of forward's arguments."""
    return {"W_x": (D, H), "W_h": (H, H), "b": (H,)}


@elementwise
def tanh_forward(a: Array) -> Array:
    """One step, elementwise, tanh form."""
    return np.tanh(a)


@elementwise
def tanh_backward(dh: Array, h: Array) -> Array:
    """One step back, elementwise: undoes  h = tanh(a), from the output h."""
    return dh * d_tanh(h)


@elementwise
def relu_forward(a: Array) -> Array:
    """One step, elementwise, relu form."""
    return relu(a)


@elementwise
def relu_backward(dh: Array, h: Array) -> Array:
    """One step back, elementwise: undoes  h = relu(a), from the output h."""
    return dh * d_relu(h)


UNIT = {"tanh": (tanh_forward, tanh_backward), "relu": (relu_forward, relu_backward)}


class Cache(NamedTuple):
    """Inputs and intermediates saved for backward; plots and tests read the same ones."""

    x: Annotated[Array, "T, N, D"]
    h: Annotated[Array, "T+1, N, H"]  # h[0] is the initial state, h[1:] is the output
    W_x: Annotated[Array, "D, H"]
    W_h: Annotated[Array, "H, H"]
    nonlinearity: Annotated[str, ("tanh", "relu")]
    lengths: Array | None  # (N,)
    fingerprints: Fingerprints = None  # of x and the weights


class Grads(NamedTuple):
    """Gradients of forward's arguments, each with its argument's shape, and of a."""

    dx: Array
    dh0: Array
    dW_x: Array
    dW_h: Array
    db: Array
    da: Array  # (T, N, H)  dh_next[t] = da[t+1] W_h^T, and step t adds h[t-1]^T da[t] to dW_h


def step_forward(a: Array, h: Array, nonlinearity: str) -> None:
    """One time step: fill h (N, H) from the pre-activations a (N, H)."""
    h[...] = UNIT[nonlinearity][0](a)


def step_backward(dh: Array, h: Array, da: Array, nonlinearity: str) -> None:
    """One time step back: fill da (N, H)."""
    da[...] = UNIT[nonlinearity][1](dh, h)


def new_cache(
    x: Array,
    h0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    nonlinearity: str = "tanh",
    lengths: Lengths = None,
    empty: Empty = empty_array,
) -> Cache:
    """A cache with the checked inputs and initial states; the time loop fills the rest of it.

    ``empty(like, shape)`` allocates; engines have a faster one.
    """
    require_one_of("nonlinearity", nonlinearity, UNIT)
    lengths = check_forward(param_shapes, lengths, x, h0=h0, W_x=W_x, W_h=W_h, b=b)
    x = zero_padding(x, lengths)
    (T, N, _), H = x.shape, h0.shape[1]
    h = empty(x, (T + 1, N, H))
    h[0] = h0
    return Cache(x, h, W_x, W_h, nonlinearity, lengths, fingerprint(x=x, W_x=W_x, W_h=W_h))


def forward(
    x: Array,
    h0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    nonlinearity: str = "tanh",
    lengths: Lengths = None,
    step: Step = step_forward,
) -> tuple[Array, Cache]:
    """Run the cell over a sequence; return the output y (T, N, H) and the cache for ``backward``.

    Parameters
    ----------
    x, h0 : (T, N, D) and (N, H), input and initial state
    W_x, W_h, b : parameters, with the shapes of ``param_shapes``
    nonlinearity : "tanh" or "relu"
    lengths : (N,), lengths of the sequences in a padded batch
    step : one time step; engines pass a kernel
    """
    cache = new_cache(x, h0, W_x, W_h, b, nonlinearity, lengths)
    h, a_x = cache.h, input_projection(cache.x, W_x, b)
    for t in range(len(a_x)):
        a = a_x[t] + h[t] @ W_h
        step(a, h[t + 1], nonlinearity)
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
    h, W_h = cache.h, cache.W_h
    T = len(h) - 1
    da = np.empty_like(h[1:])
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    for t in reversed(range(T)):
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        step(dh, h[t + 1], da[t], cache.nonlinearity)  # undoes  h = tanh(a)
        dh_prev = da[t] @ W_h.T  # undoes  a = ... + h' W_h
        if cache.lengths is not None:
            skip_padding_gradient(cache.lengths <= t, da[t], (dh_prev, dh_next))
        dh_next = dh_prev  # one step back: the gradient of h_{t-1} is upstream of step t-1
    return parameter_gradients(cache, da, dh_next)


def parameter_gradients(cache: Cache, da: Array, dh0: Array, db: Array | None = None) -> Grads:
    """The backward pass outside the time loop: with da (T, N, H), each is one product or sum."""
    x, h = cache.x, cache.h
    T, N, D = x.shape
    flat = da.reshape(T * N, -1)  # every step and sequence uses the same weights: sum over both
    return Grads(
        dx=(flat @ cache.W_x.T).reshape(x.shape),  # undoes  a = x W_x + ...
        dh0=dh0,
        dW_x=x.reshape(T * N, D).T @ flat,  # undoes  a = x W_x + ...
        dW_h=h[:-1].reshape(T * N, -1).T @ flat,  # undoes  a = ... + h' W_h, the *previous* h
        db=flat.sum(axis=0) if db is None else db,
        da=da,
    )
