"""The first LSTM, without a forget gate: the cell state only adds, c = c' + i g.

    a = x W_x + h' W_h + b      pre-activations of the three gates: a_i | a_g | a_o
    i = sigmoid(a_i)            input gate:  how much of the candidate is written
    g = tanh(a_g)               candidate
    o = sigmoid(a_o)            output gate: how much of the cell state is shown
    c = c' + i g                cell state: a sum that nothing is ever removed from
    h = o tanh(c)               hidden state, which is also the output

Along this path dc/dc' is 1: a gradient that has reached the cell state passes through any number of
steps without growing or vanishing, the *constant error carousel*. The price: only writing the
opposite undoes a c, so over a long sequence c grows until tanh(c) is flat. That is why the forget
gate was invented (``lstm.py``, whose loop this cell uses).

Shapes: W_x (D, 3H), W_h (H, 3H), b (3H,), gates in the order i g o.

References: Hochreiter and Schmidhuber 1997, section 4, with tanh for its squashing functions g and
h, and with the full gradient: the paper truncates the one through h' W_h.
"""

from typing import Annotated

import numpy as np

from scratchnet.arrays import Array, Checked, Lengths
from scratchnet.cells import lstm
from scratchnet.cells.checks import check_forward
from scratchnet.cells.sequences import gate_steps
from scratchnet.elementwise import d_sigmoid, d_tanh, elementwise, sigmoid

GATES = "igo"
STATES: tuple[str, ...] = ("h", "c")
OPTIONS: dict[str, tuple[str, ...]] = {}
Grads = lstm.Grads


def param_shapes(D: int, H: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter for D inputs and H units, in the order of forward's arguments."""
    return {"W_x": (D, 3 * H), "W_h": (H, 3 * H), "b": (3 * H,)}


@elementwise
def gates_forward(a_i: Array, a_g: Array, a_o: Array, c_prev: Array) -> tuple[Array, ...]:
    """One step, elementwise: pre-activations and previous cell state to gates and new states."""
    i, g, o = sigmoid(a_i), np.tanh(a_g), sigmoid(a_o)
    c = c_prev + i * g
    h = o * np.tanh(c)
    return i, g, o, c, h


@elementwise
def gates_backward(
    dh: Array, dc_next: Array, i: Array, g: Array, o: Array, c_prev: Array, c: Array
) -> tuple[Array, ...]:
    """One step back, elementwise: dh and dc_next to the three da and the gradient of c_prev."""
    tanh_c = np.tanh(c)
    dc = dh * o * d_tanh(tanh_c) + dc_next  # c is read twice: by  h = o tanh(c)  and by step t+1
    da_o = dh * tanh_c * d_sigmoid(o)  # undoes  h = o tanh(c),  o = sigmoid(a_o)
    da_i = dc * g * d_sigmoid(i)  # undoes  c = c' + i g,  i = sigmoid(a_i)
    da_g = dc * i * d_tanh(g)  # undoes  c = c' + i g,  g = tanh(a_g)
    dc_prev = dc  # undoes  c = c' + ...:  the constant error carousel
    return da_i, da_g, da_o, dc_prev


class Cache(lstm.Cache):
    """The LSTM's cache, with three blocks of gates."""

    gates: Annotated[Array, "T, N, 3H"]  # i g o, after their sigmoid or tanh
    W_x: Annotated[Array, "D, 3H"]
    W_h: Annotated[Array, "H, 3H"]


step_forward, step_backward = gate_steps(gates_forward, gates_backward, 3)


def forward(
    x: Array, h0: Array, c0: Array, W_x: Array, W_h: Array, b: Array, lengths: Lengths = None
) -> tuple[Array, Cache]:
    """Run the cell over a sequence; arguments and results as ``lstm.forward``'s."""
    lengths = check_forward(param_shapes, lengths, x, h0=h0, c0=c0, W_x=W_x, W_h=W_h, b=b)
    y, cache = lstm.forward(x, h0, c0, W_x, W_h, b, Checked(lengths), step_forward)
    return y, Cache(*cache)


def backward(
    dy: Array, cache: Cache, dh_last: Array | None = None, dc_last: Array | None = None
) -> lstm.Grads:
    """Backpropagate through time; arguments and results as ``lstm.backward``'s."""
    return lstm.backward(dy, cache, dh_last, dc_last, step_backward)
