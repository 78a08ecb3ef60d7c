"""Long short-term memory, forward and backward through time.

With h' = h_{t-1} and c' = c_{t-1}, the states of the previous step,

    a = x W_x + h' W_h + b      pre-activations of the four gates: a_i | a_f | a_g | a_o
    i = sigmoid(a_i)            input gate:  how much of the candidate is written
    f = sigmoid(a_f)            forget gate: how much of the previous cell state is kept
    g = tanh(a_g)               candidate
    o = sigmoid(a_o)            output gate: how much of the cell state is shown
    c = f c' + i g              cell state
    h = o tanh(c)               hidden state, which is also the output

Shapes: T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, 4H), W_h (H, 4H),
b (4H,), gates in the order i f g o (PyTorch's).

References: Hochreiter and Schmidhuber 1997; forget gate: Gers, Schmidhuber and Cummins 2000.
"""

from typing import Annotated, NamedTuple

import numpy as np

from scratchnet.arrays import Array, Empty, Lengths, Step, empty_array, read_only
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.sequences import (
    carry_state,
    gate_steps,
    input_projection,
    skip_padding_gradient,
    zero_padding,
)
from scratchnet.elementwise import d_sigmoid, d_tanh, elementwise, sigmoid
from scratchnet.fingerprint import Fingerprints, fingerprint

GATES = "ifgo"
STATES: tuple[str, ...] = ("h", "c")
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order of forward's arguments."""
    return {"W_x": (D, 4 * H), "W_h": (H, 4 * H), "b": (4 * H,)}


@elementwise
def gates_forward(
    a_i: Array, a_f: Array, a_g: Array, a_o: Array, c_prev: Array
) -> tuple[Array, ...]:
    """One step, elementwise: pre-activations and previous cell state to gates and new states."""
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    c = f * c_prev + i * g
    h = o * np.tanh(c)
    return i, f, g, o, c, h


@elementwise
def gates_backward(
    dh: Array, dc_next: Array, i: Array, f: Array, g: Array, o: Array, c_prev: Array, c: Array
) -> tuple[Array, ...]:
    """One step back, elementwise: dh and dc_next to the four da and the gradient of c_prev."""
    tanh_c = np.tanh(c)
    dc = dh * o * d_tanh(tanh_c) + dc_next  # c is read twice: by  h = o tanh(c)  and by step t+1
    da_o = dh * tanh_c * d_sigmoid(o)  # undoes  h = o tanh(c),  o = sigmoid(a_o)
    da_i = dc * g * d_sigmoid(i)  # undoes  c = f c' + i g,  i = sigmoid(a_i)
    da_f = dc * c_prev * d_sigmoid(f)  # undoes  c = f c' + i g,  f = sigmoid(a_f)
    da_g = dc * i * d_tanh(g)  # undoes  c = f c' + i g,  g = tanh(a_g)
    dc_prev = dc * f  # undoes  c = f c' + i g:  the carry path (constant error carousel)
    return da_i, da_f, da_g, da_o, dc_prev


class Cache(NamedTuple):
    """Inputs and intermediates saved for backward; plots and tests read the same ones."""

    x: Annotated[Array, "T, N, D"]
    h: Annotated[Array, "T+1, N, H"]  # h[0] is the initial state, h[1:] is the output
    c: Annotated[Array, "T+1, N, H"]  # c[0] is the initial state
    gates: Annotated[Array, "T, N, 4H"]  # i f g o, after their sigmoid or tanh
    W_x: Annotated[Array, "D, 4H"]
    W_h: Annotated[Array, "H, 4H"]
    lengths: Array | None  # (N,)
    fingerprints: Fingerprints = None  # of x and the weights


class Grads(NamedTuple):
    """Gradients of forward's arguments, each with its argument's shape, and of a."""

    dx: Array
    dh0: Array
    dc0: Array
    dW_x: Array
    dW_h: Array
    db: Array
    da: Array  # (T, N, 4H)  dh_next[t] = da[t+1] W_h^T, and step t adds h[t-1]^T da[t] to dW_h


step_forward, step_backward = gate_steps(gates_forward, gates_backward, 4)


def new_cache(
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    lengths: Lengths = None,
    empty: Empty = empty_array,
) -> Cache:
    """A cache with the checked inputs and initial states; the time loop fills the rest of it.

    ``empty(like, shape)`` allocates; engines have a faster one.
    """
    lengths = check_forward(param_shapes, lengths, x, h0=h0, c0=c0, W_x=W_x, W_h=W_h, b=b)
    x = zero_padding(x, lengths)
    (T, N, _), H, G = x.shape, h0.shape[1], W_x.shape[1]  # G is 4H; some variants have fewer gates
    h, c, gates = empty(x, (T + 1, N, H)), empty(x, (T + 1, N, H)), empty(x, (T, N, G))
    h[0], c[0] = h0, c0
    return Cache(x, h, c, gates, W_x, W_h, lengths, fingerprint(x=x, W_x=W_x, W_h=W_h))


def forward(
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    lengths: Lengths = None,
    step: Step = step_forward,
) -> tuple[Array, Cache]:
    """Run the cell over a sequence; return the output y (T, N, H) and the cache for ``backward``.

    Parameters
    ----------
    x, h0, c0 : (T, N, D) and (N, H), input and initial states
    W_x, W_h, b : parameters, with the shapes of ``param_shapes``
    lengths : (N,), lengths of the sequences in a padded batch
    step : one time step; engines pass a kernel, variants their own gates
    """
    cache = new_cache(x, h0, c0, W_x, W_h, b, lengths)
    h, c, gates = cache.h, cache.c, cache.gates
    a_x = input_projection(cache.x, W_x, b)
    for t in range(len(a_x)):
        a = a_x[t] + h[t] @ W_h
        step(a, c[t], gates[t], c[t + 1], h[t + 1])
        if cache.lengths is not None:
            carry_state(cache.lengths <= t, t, h, c)
    return read_only(h[1:]), cache


def backward(
    dy: Array,
    cache: Cache,
    dh_last: Array | None = None,
    dc_last: Array | None = None,
    step: Step = step_backward,
) -> Grads:
    """Backpropagate through time; return the gradients of all arguments of ``forward``.

    Parameters
    ----------
    dy : (T, N, H), upstream gradient of y
    cache : as ``forward`` returned it
    dh_last, dc_last : (N, H), upstream gradients of the final states; None for zero
    """
    check_backward(dy, cache, Cache, dh_last=dh_last, dc_last=dc_last)
    h, c, gates, W_h = cache.h, cache.c, cache.gates, cache.W_h
    T = len(gates)
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    dc_next = np.zeros_like(c[0]) if dc_last is None else dc_last
    for t in reversed(range(T)):
        dh = dy[t] + dh_next  # h is read twice: by the loss at t, and by step t+1
        dc_prev = step(dh, dc_next, gates[t], c[t], c[t + 1], da[t])
        dh_prev = da[t] @ W_h.T  # undoes  a = ... + h' W_h
        if cache.lengths is not None:
            ended = cache.lengths <= t
            skip_padding_gradient(ended, da[t], (dh_prev, dh_next), (dc_prev, dc_next))
        dh_next, dc_next = dh_prev, dc_prev  # one step back: what step t computed is t-1's upstream
    return parameter_gradients(cache, da, dh_next, dc_next)


def parameter_gradients(
    cache: Cache, da: Array, dh0: Array, dc0: Array, db: Array | None = None
) -> Grads:
    """The backward pass outside the time loop: with da (T, N, 4H), each is one product or sum."""
    x, h = cache.x, cache.h
    T, N, D = x.shape
    flat = da.reshape(T * N, -1)  # every step and sequence uses the same weights: sum over both
    return Grads(
        dx=(flat @ cache.W_x.T).reshape(x.shape),  # undoes  a = x W_x + ...
        dh0=dh0,
        dc0=dc0,
        dW_x=x.reshape(T * N, D).T @ flat,  # undoes  a = x W_x + ...
        dW_h=h[:-1].reshape(T * N, -1).T @ flat,  # undoes  a = ... + h' W_h, the *previous* h
        db=flat.sum(axis=0) if db is None else db,
        da=da,
    )
