"""Minimal GRU: a gated unit whose gate does not read the state, forward and backward through time.

With h' = h_{t-1}, the hidden state of the previous step,

    a = x W_x + b                   pre-activations of both gates: a_z | a_n
    z = sigmoid(a_z)                update gate: how much of the past is replaced
    n = a_n                         candidate; no tanh
    h = (1 - z) h' + z n            hidden state, which is also the output

There is no W_h, so no step waits for a product. Given z and n the recurrence is linear in h', and a
parallel scan could compute all steps at once, which is the point of the paper; here it is a loop of
elementwise work. The units of a layer do not exchange information: stack layers for that.

In ``gru.py`` it is z that keeps the past; here, as in the paper, it is 1 - z.

Shapes: T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, 2H), b (2H,),
gates in the order z n.

References: Feng et al. 2024, Were RNNs All We Needed? (arXiv:2410.01201), section 3.1.
"""

from typing import Annotated, NamedTuple

import numpy as np

from scratchnet.arrays import Array, Lengths, empty_array, read_only
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.sequences import (
    carry_state,
    input_projection,
    skip_padding_gradient,
    split_gates,
    zero_padding,
)
from scratchnet.elementwise import ONE, d_sigmoid, elementwise, sigmoid
from scratchnet.fingerprint import Fingerprints, fingerprint

GATES = "zn"
STATES: tuple[str, ...] = ("h",)
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order of forward's arguments."""
    return {"W_x": (D, 2 * H), "b": (2 * H,)}


@elementwise
def gates_forward(a_z: Array, a_n: Array, h_prev: Array) -> tuple[Array, ...]:
    """One step, elementwise: pre-activations and previous state to gates and new state."""
    z = sigmoid(a_z)
    h = (ONE - z) * h_prev + z * a_n
    return z, a_n, h


@elementwise
def gates_backward(dh: Array, z: Array, n: Array, h_prev: Array) -> tuple[Array, ...]:
    """One step back, elementwise: dh to both da and the gradient of h_prev."""
    da_z = dh * (n - h_prev) * d_sigmoid(z)  # undoes  h = (1 - z) h' + z n, which reads z twice
    da_n = dh * z  # undoes  h = ... + z n,  n = a_n
    dh_prev = dh * (ONE - z)  # undoes  h = (1 - z) h' + ...:  the only path back in time
    return da_z, da_n, dh_prev


class Cache(NamedTuple):
    """Inputs and intermediates saved for backward; plots and tests read the same ones."""

    x: Annotated[Array, "T, N, D"]
    h: Annotated[Array, "T+1, N, H"]  # h[0] is the initial state, h[1:] is the output
    gates: Annotated[Array, "T, N, 2H"]  # z n, z after its sigmoid
    W_x: Annotated[Array, "D, 2H"]
    lengths: Array | None  # (N,)
    fingerprints: Fingerprints = None  # of x and the weights


class Grads(NamedTuple):
    """Gradients of forward's arguments, each with its argument's shape, and of a."""

    dx: Array
    dh0: Array
    dW_x: Array
    db: Array
    da: Array  # (T, N, 2H)


def forward(
    x: Array, h0: Array, W_x: Array, b: Array, lengths: Lengths = None
) -> tuple[Array, Cache]:
    """Run the cell over a sequence; return the output y (T, N, H) and the cache for ``backward``.

    Parameters
    ----------
    x, h0 : (T, N, D) and (N, H), input and initial state
    W_x, b : parameters, with the shapes of ``param_shapes``
    lengths : (N,), lengths of the sequences in a padded batch
    """
    lengths = check_forward(param_shapes, lengths, x, h0=h0, W_x=W_x, b=b)
    x = zero_padding(x, lengths)
    T, N, _ = x.shape
    h = empty_array(x, (T + 1, N, h0.shape[1]))
    gates = empty_array(x, (T, N, W_x.shape[1]))
    h[0] = h0
    a = input_projection(x, W_x, b)  # the only product, for all time steps
    for t in range(T):
        z, n = split_gates(gates[t], 2)
        z[...], n[...], h[t + 1] = gates_forward(*split_gates(a[t], 2), h[t])
        if lengths is not None:
            carry_state(lengths <= t, t, h)
    return read_only(h[1:]), Cache(x, h, gates, W_x, lengths, fingerprint(x=x, W_x=W_x))


def backward(dy: Array, cache: Cache, dh_last: Array | None = None) -> Grads:
    """Backpropagate through time; return the gradients of all arguments of ``forward``.

    Parameters
    ----------
    dy : (T, N, H), upstream gradient of y
    cache : as ``forward`` returned it
    dh_last : (N, H), upstream gradient of the final state; None for zero
    """
    check_backward(dy, cache, Cache, dh_last=dh_last)
    x, h, gates = cache.x, cache.h, cache.gates
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    for t in reversed(range(len(gates))):
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        da_z, da_n = split_gates(da[t], 2)
        da_z[...], da_n[...], dh_prev = gates_backward(dh, *split_gates(gates[t], 2), h[t])
        if cache.lengths is not None:
            skip_padding_gradient(cache.lengths <= t, da[t], (dh_prev, dh_next))
        dh_next = dh_prev  # one step back: the gradient of h_{t-1} is upstream of step t-1
    T, N, D = x.shape
    flat = da.reshape(T * N, -1)  # every step and sequence uses the same weights: sum over both
    return Grads(
        dx=(flat @ cache.W_x.T).reshape(x.shape),  # undoes  a = x W_x + b
        dh0=dh_next,
        dW_x=x.reshape(T * N, D).T @ flat,  # undoes  a = x W_x + b
        db=flat.sum(axis=0),
        da=da,
    )
