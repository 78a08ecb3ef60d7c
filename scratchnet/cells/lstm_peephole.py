"""LSTM with peepholes: the gates read the cell state itself, not only what the output gate shows.

    a = x W_x + h' W_h + b      pre-activations of the four gates: a_i | a_f | a_g | a_o
    i = sigmoid(a_i + p_i c')   input gate:  how much of the candidate is written
    f = sigmoid(a_f + p_f c')   forget gate: how much of the previous cell state is kept
    g = tanh(a_g)               candidate
    c = f c' + i g              cell state
    o = sigmoid(a_o + p_o c)    output gate: how much of c is shown; it reads the *new* c
    h = o tanh(c)               hidden state, which is also the output

A unit's gates read its own cell only, so a peephole is a vector, and p_i = p_f = p_o = 0 gives
``lstm.py``, whose loop this cell uses. A cell whose output gate is closed can still time its gates,
which is what peepholes were made for.

Shapes: W_x (D, 4H), W_h (H, 4H), b (4H,), gates in the order i f g o; p_i, p_f, p_o (H,). ``da`` is
the gradient of what a sigmoid or tanh is applied to, peephole included.

References: Gers, Schraudolph and Schmidhuber 2002, section 2; here with the full gradient, which
the paper truncates at each step.
"""

from typing import Annotated, NamedTuple

import numpy as np

from scratchnet.arrays import Array, Checked, Lengths
from scratchnet.cells import lstm
from scratchnet.cells.checks import check_cache, check_forward
from scratchnet.cells.sequences import gate_steps, split_gates
from scratchnet.elementwise import d_sigmoid, d_tanh, elementwise, sigmoid
from scratchnet.fingerprint import Fingerprints, fingerprint

GATES = "ifgo"
STATES: tuple[str, ...] = ("h", "c")
OPTIONS: dict[str, tuple[str, ...]] = {}


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order of forward's arguments."""
    return lstm.param_shapes(D, H) | {"p_i": (H,), "p_f": (H,), "p_o": (H,)}


@elementwise
def gates_forward(
    a_i: Array,
    a_f: Array,
    a_g: Array,
    a_o: Array,
    c_prev: Array,
    p_i: Array,
    p_f: Array,
    p_o: Array,
) -> tuple[Array, ...]:
    """One step, elementwise: pre-activations, previous c and peepholes to gates and states."""
    i, f, g = sigmoid(a_i + p_i * c_prev), sigmoid(a_f + p_f * c_prev), np.tanh(a_g)
    c = f * c_prev + i * g
    o = sigmoid(a_o + p_o * c)
    h = o * np.tanh(c)
    return i, f, g, o, c, h


@elementwise
def gates_backward(
    dh: Array,
    dc_next: Array,
    i: Array,
    f: Array,
    g: Array,
    o: Array,
    c_prev: Array,
    c: Array,
    p_i: Array,
    p_f: Array,
    p_o: Array,
) -> tuple[Array, ...]:
    """One step back, elementwise: dh and dc_next to the four da and the gradient of c_prev."""
    tanh_c = np.tanh(c)
    da_o = dh * tanh_c * d_sigmoid(o)  # undoes  h = o tanh(c),  o = sigmoid(a_o + p_o c)
    dc = dh * o * d_tanh(tanh_c) + da_o * p_o + dc_next  # c is read by  h = o tanh(c),  p_o c, t+1
    da_i = dc * g * d_sigmoid(i)  # undoes  c = f c' + i g,  i = sigmoid(a_i + p_i c')
    da_f = dc * c_prev * d_sigmoid(f)  # undoes  c = f c' + i g,  f = sigmoid(a_f + p_f c')
    da_g = dc * i * d_tanh(g)  # undoes  c = f c' + i g,  g = tanh(a_g)
    dc_prev = dc * f + da_i * p_i + da_f * p_f  # undoes  f c',  p_i c'  and  p_f c'
    return da_i, da_f, da_g, da_o, dc_prev


class Cache(NamedTuple):
    """The LSTM's cache, and the peepholes."""

    x: Annotated[Array, "T, N, D"]
    h: Annotated[Array, "T+1, N, H"]
    c: Annotated[Array, "T+1, N, H"]
    gates: Annotated[Array, "T, N, 4H"]
    W_x: Annotated[Array, "D, 4H"]
    W_h: Annotated[Array, "H, 4H"]
    lengths: Array | None
    p_i: Annotated[Array, "H"]
    p_f: Annotated[Array, "H"]
    p_o: Annotated[Array, "H"]
    fingerprints: Fingerprints = None  # of x, the weights and the peepholes


class Grads(NamedTuple):
    """The LSTM's gradients, and those of the peepholes."""

    dx: Array
    dh0: Array
    dc0: Array
    dW_x: Array
    dW_h: Array
    db: Array
    dp_i: Array
    dp_f: Array
    dp_o: Array
    da: Array


def forward(
    x: Array,
    h0: Array,
    c0: Array,
    W_x: Array,
    W_h: Array,
    b: Array,
    p_i: Array,
    p_f: Array,
    p_o: Array,
    lengths: Lengths = None,
) -> tuple[Array, Cache]:
    """Run the cell over a sequence; arguments and results as ``lstm.forward``'s, and peepholes."""
    peepholes = {"p_i": p_i, "p_f": p_f, "p_o": p_o}
    lengths = check_forward(
        param_shapes, lengths, x, h0=h0, c0=c0, W_x=W_x, W_h=W_h, b=b, **peepholes
    )
    step, _ = gate_steps(gates_forward, gates_backward, 4, (p_i, p_f, p_o))
    y, cache = lstm.forward(x, h0, c0, W_x, W_h, b, Checked(lengths), step)
    seen = fingerprint(x=cache.x, W_x=W_x, W_h=W_h, **peepholes)
    return y, Cache(*cache[:-1], **peepholes, fingerprints=seen)


def backward(
    dy: Array, cache: Cache, dh_last: Array | None = None, dc_last: Array | None = None
) -> Grads:
    """Backpropagate through time; arguments and results as ``lstm.backward``'s, and peepholes."""
    check_cache(cache, Cache)
    c, peepholes = cache.c, (cache.p_i, cache.p_f, cache.p_o)
    _, step = gate_steps(gates_forward, gates_backward, 4, peepholes)
    grads = lstm.backward(dy, lstm.Cache(*cache[:7]), dh_last, dc_last, step)
    da_i, da_f, _, da_o = split_gates(grads.da, 4)
    return Grads(
        *grads[:-1],
        dp_i=(da_i * c[:-1]).sum(axis=(0, 1)),  # undoes  p_i c': i and f read the *previous* c
        dp_f=(da_f * c[:-1]).sum(axis=(0, 1)),
        dp_o=(da_o * c[1:]).sum(axis=(0, 1)),  # undoes  p_o c: o reads the new one
        da=grads.da,
    )
