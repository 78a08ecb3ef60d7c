"""Simple recurrent unit: its gates read the unit's own cell state only.

With c' = c_{t-1}, the cell state of the previous step,

    a = x W_x + b                   pre-activations: a_u | a_f | a_r | a_s
    u = a_u                         candidate; no tanh
    f = sigmoid(a_f + v_f c')       forget gate: how much of the previous cell state is kept
    r = sigmoid(a_r + v_r c')       reset gate:  how much of the cell state is shown
    s = a_s                         the input, which skips the cell
    c = f c' + (1 - f) u            cell state
    h = r c + (1 - r) s             hidden state, which is only the output

There is no W_h: no step waits for a product, and the time loop has elementwise work only, which is
the point of the cell. No step reads h', so h0 changes nothing and dh0 is zero; h is a state because
a layer's first state is its output.

The paper takes s = x, which needs D = H. Here s always has weights, as its authors do it where D
differs from H; and b also has a block for u and for s, where the paper has biases in f and r only.

Shapes: T time steps, N sequences in the batch, D inputs, H hidden units. W_x (D, 4H), v_f (H,),
v_r (H,), b (4H,), blocks in the order u f r s. ``da`` is the gradient of what a sigmoid is applied
to, v c' included.

References: Lei, Zhang, Wang, Dai and Artzi 2018 (arXiv:1709.02755), section 3, without the scaling
of section 3.2.
"""

from typing import Annotated, NamedTuple

import numpy as np

from scratchnet.arrays import Array, Lengths, empty_array, read_only
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.cells.sequences import (
    carry_state,
    gate_steps,
    input_projection,
    skip_padding_gradient,
    split_gates,
    zero_padding,
)
from scratchnet.elementwise import ONE, d_sigmoid, elementwise, sigmoid
from scratchnet.fingerprint import Fingerprints, fingerprint

GATES = "ufrs"
STATES: tuple[str, ...] = ("h", "c")
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order of forward's arguments."""
    return {"W_x": (D, 4 * H), "v_f": (H,), "v_r": (H,), "b": (4 * H,)}


@elementwise
def gates_forward(
    a_u: Array, a_f: Array, a_r: Array, a_s: Array, c_prev: Array, v_f: Array, v_r: Array
) -> tuple[Array, ...]:
    """One step, elementwise: pre-activations and previous cell state to gates, c and output."""
    f, r = sigmoid(a_f + v_f * c_prev), sigmoid(a_r + v_r * c_prev)
    c = f * c_prev + (ONE - f) * a_u
    h = r * c + (ONE - r) * a_s
    return a_u, f, r, a_s, c, h


@elementwise
def gates_backward(
    dh: Array,
    dc_next: Array,
    u: Array,
    f: Array,
    r: Array,
    s: Array,
    c_prev: Array,
    c: Array,
    v_f: Array,
    v_r: Array,
) -> tuple[Array, ...]:
    """One step back, elementwise: dh and dc_next to the four da and the gradient of c_prev."""
    da_r = dh * (c - s) * d_sigmoid(r)  # undoes  h = r c + (1 - r) s, which reads r twice
    da_s = dh * (ONE - r)  # undoes  h = ... + (1 - r) s,  s = a_s
    dc = dh * r + dc_next  # c is read twice: by  h = r c  and by step t+1
    da_f = dc * (c_prev - u) * d_sigmoid(f)  # undoes  c = f c' + (1 - f) u, which reads f twice
    da_u = dc * (ONE - f)  # undoes  c = ... + (1 - f) u,  u = a_u
    dc_prev = dc * f + da_f * v_f + da_r * v_r  # undoes  f c',  v_f c'  and  v_r c'
    return da_u, da_f, da_r, da_s, dc_prev


class Cache(NamedTuple):
    """Inputs and intermediates saved for backward; plots and tests read the same ones."""

    x: Annotated[Array, "T, N, D"]
    h: Annotated[Array, "T+1, N, H"]  # h[1:] is the output; h[0], the initial state, is not read
    c: Annotated[Array, "T+1, N, H"]  # c[0] is the initial state
    gates: Annotated[Array, "T, N, 4H"]  # u f r s, f and r after their sigmoid
    W_x: Annotated[Array, "D, 4H"]
    v_f: Annotated[Array, "H"]
    v_r: Annotated[Array, "H"]
    lengths: Array | None  # (N,)
    fingerprints: Fingerprints = None  # of x and the weights


class Grads(NamedTuple):
    """Gradients of forward's arguments, each with its argument's shape, and of a."""

    dx: Array
    dh0: Array
    dc0: Array
    dW_x: Array
    dv_f: Array
    dv_r: Array
    db: Array
    da: Array  # (T, N, 4H)


def forward(
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    v_f: Array,
    v_r: Array,
    b: Array,
    lengths: Lengths = None,
) -> tuple[Array, Cache]:
    """Run the cell over a sequence; return the output y (T, N, H) and the cache for ``backward``.

    Parameters
    ----------
    x, h0, c0 : (T, N, D) and (N, H), input and initial states
    W_x, v_f, v_r, b : parameters, with the shapes of ``param_shapes``
    lengths : (N,), lengths of the sequences in a padded batch
    """
    lengths = check_forward(param_shapes, lengths, x, h0=h0, c0=c0, W_x=W_x, v_f=v_f, v_r=v_r, b=b)
    x = zero_padding(x, lengths)
    (T, N, _), H = x.shape, h0.shape[1]
    h, c = empty_array(x, (T + 1, N, H)), empty_array(x, (T + 1, N, H))
    gates = empty_array(x, (T, N, W_x.shape[1]))
    h[0], c[0] = h0, c0
    a = input_projection(x, W_x, b)  # the only product, for all time steps
    step, _ = gate_steps(gates_forward, gates_backward, 4, (v_f, v_r))
    for t in range(T):
        step(a[t], c[t], gates[t], c[t + 1], h[t + 1])
        if lengths is not None:
            carry_state(lengths <= t, t, h, c)
    seen = fingerprint(x=x, W_x=W_x, v_f=v_f, v_r=v_r)
    return read_only(h[1:]), Cache(x, h, c, gates, W_x, v_f, v_r, lengths, seen)


def backward(
    dy: Array, cache: Cache, dh_last: Array | None = None, dc_last: Array | None = None
) -> Grads:
    """Backpropagate through time; return the gradients of all arguments of ``forward``.

    Parameters
    ----------
    dy : (T, N, H), upstream gradient of y
    cache : as ``forward`` returned it
    dh_last, dc_last : (N, H), upstream gradients of the final states; None for zero
    """
    check_backward(dy, cache, Cache, dh_last=dh_last, dc_last=dc_last)
    x, h, c, gates = cache.x, cache.h, cache.c, cache.gates
    da = np.empty_like(gates)
    dh_next = np.zeros_like(h[0]) if dh_last is None else dh_last
    dc_next = np.zeros_like(c[0]) if dc_last is None else dc_last
    _, step = gate_steps(gates_forward, gates_backward, 4, (cache.v_f, cache.v_r))
    for t in reversed(range(len(gates))):
        dh = dy[t] + dh_next  # step t+1 does not read h: dh_next is zero but at the last step
        dc_prev = step(dh, dc_next, gates[t], c[t], c[t + 1], da[t])
        dh_prev = np.zeros_like(dh)  # no line of the forward pass reads h'
        if cache.lengths is not None:
            ended = cache.lengths <= t
            skip_padding_gradient(ended, da[t], (dh_prev, dh_next), (dc_prev, dc_next))
        dh_next, dc_next = dh_prev, dc_prev  # one step back: upstream of step t-1
    T, N, D = x.shape
    flat = da.reshape(T * N, -1)  # every step and sequence uses the same weights: sum over both
    _, da_f, da_r, _ = split_gates(da, 4)
    return Grads(
        dx=(flat @ cache.W_x.T).reshape(x.shape),  # undoes  a = x W_x + b
        dh0=dh_next,
        dc0=dc_next,
        dW_x=x.reshape(T * N, D).T @ flat,  # undoes  a = x W_x + b
        dv_f=(da_f * c[:-1]).sum(axis=(0, 1)),  # undoes  v_f c', the *previous* cell state
        dv_r=(da_r * c[:-1]).sum(axis=(0, 1)),
        db=flat.sum(axis=0),
        da=da,
    )
