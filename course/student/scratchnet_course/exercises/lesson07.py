"""Lesson 07, the GRU: both forms of a step, weights from other conventions, and the backward pass."""

from types import ModuleType
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import gru
from scratchnet.elementwise import sigmoid
from scratchnet_course.exercise import Arguments, Exercise, Wrong

CELL, FORMS, BIASES, WHO = (
    "One state, two gates, a candidate", "Before or after the product", "One bias or two", "Who has 1 - z",
)  # fmt: skip


def step_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, where the forms differ by b_hn alone, then a batch of several."""
    found: list[Arguments] = []
    for N, D, H in ((1, 1, 1), (3, 2, 4)):
        params = {name: rng.standard_normal(shape) for name, shape in gru.param_shapes(D, H).items()}
        found.append({"x": rng.standard_normal((N, D)), "h_prev": rng.standard_normal((N, H)), **params})
    return found


def both_forms(x: Array, h_prev: Array, W_x: Array, W_h: Array, b: Array, b_hn: Array) -> tuple[Array, Array]:
    """The gates are the same, the candidates are not."""
    a_r, a_z, a_n = np.split(x @ W_x + b, 3, axis=-1)
    W_hr, W_hz, W_hn = np.split(W_h, 3, axis=-1)
    r, z = sigmoid(a_r + h_prev @ W_hr), sigmoid(a_z + h_prev @ W_hz)
    n_after = np.tanh(a_n + r * (h_prev @ W_hn + b_hn))
    n_before = np.tanh(a_n + (r * h_prev) @ W_hn)
    return (1 - z) * n_after + z * h_prev, (1 - z) * n_before + z * h_prev


STEP = (
    Wrong("both forms reset after the product", "In the first form the reset gate acts on h', and then comes the product.", (("(r * h_prev) @ W_hn", "r * (h_prev @ W_hn)"),)),
    Wrong("both forms reset before the product", "In the second form the product is taken first, and the reset gate acts on its result.", (("r * (h_prev @ W_hn + b_hn)", "(r * h_prev) @ W_hn + b_hn"),)),
    Wrong("b_hn stands outside the reset gate", "r (h' W_hn + b_hn): the bias belongs to the memory's part.", (("(h_prev @ W_hn + b_hn)", "(h_prev @ W_hn) + b_hn"),), BIASES),
    Wrong("b_hn is left out", "The form that resets after the product has a second bias in the n block.", ((" + b_hn", ""),), BIASES),
    Wrong("the other form has b_hn too", "Without a reset between them two biases are one: that form has b alone.", (("(r * h_prev) @ W_hn)", "(r * h_prev) @ W_hn + b_hn)"),), BIASES),
    Wrong("z and 1 - z are exchanged", "Here z multiplies the past: h = (1 - z) n + z h'.", (("(1 - z) * n_after + z * h_prev, (1 - z) * n_before + z * h_prev", "z * n_after + (1 - z) * h_prev, z * n_before + (1 - z) * h_prev"),), WHO),
    Wrong("the blocks are read as z r n", "The order of the blocks is r z n.", (("a_r, a_z, a_n =", "a_z, a_r, a_n ="), ("W_hr, W_hz, W_hn =", "W_hz, W_hr, W_hn =")), WHO),
    Wrong("the reset gate is left out", "The candidate sees the past only as far as r is open.", (("r * (h_prev @ W_hn + b_hn)", "(h_prev @ W_hn + b_hn)"), ("(r * h_prev)", "h_prev")), CELL),
    Wrong("the past is not kept", "h = (1 - z) n + z h': what is kept, and what is written.", (("n_after + z * h_prev", "n_after"), ("n_before + z * h_prev", "n_before")), CELL),
    Wrong("the reset gate also stands at the input's part", "r acts on the memory's part of the candidate only.", (("a_n + r * (", "r * (a_n + "), ("(r * h_prev) @ W_hn)", "r * a_n - a_n + (r * h_prev) @ W_hn)")), CELL),
)  # fmt: skip


def other_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, then several."""
    return [
        {name: rng.standard_normal(shape) for name, shape in gru.param_shapes(D, H).items() if name != "b_hn"}
        for D, H in ((1, 1), (2, 3))
    ]  # fmt: skip


def from_other(W_x: Array, W_h: Array, b: Array) -> tuple[Array, Array, Array]:
    """1 - sigmoid(a) = sigmoid(-a)."""
    x_z, x_r, x_n = np.split(W_x, 3, axis=-1)
    h_z, h_r, h_n = np.split(W_h, 3, axis=-1)
    b_z, b_r, b_n = np.split(b, 3)
    return np.concatenate([x_r, -x_z, x_n], axis=-1), np.concatenate([h_r, -h_z, h_n], axis=-1), np.concatenate([b_r, -b_z, b_n])


OTHER = (
    Wrong("the sign is not turned", "1 - sigmoid(a) = sigmoid(-a): everything that makes a_z changes its sign.", (("[x_r, -x_z", "[x_r, x_z"), ("[h_r, -h_z", "[h_r, h_z"), ("[b_r, -b_z", "[b_r, b_z"))),
    Wrong("the blocks stay in their order", "The order here is r z n.", (("[x_r, -x_z", "[-x_z, x_r"), ("[h_r, -h_z", "[-h_z, h_r"), ("[b_r, -b_z", "[-b_z, b_r"))),
    Wrong("the bias keeps its sign", "a_z = x W_xz + h' W_hz + b_z: all three change their sign.", (("-b_z", "b_z"),)),
    Wrong("W_h keeps its sign", "a_z = x W_xz + h' W_hz + b_z: all three change their sign.", (("-h_z", "h_z"),)),
    Wrong("the weights are taken from 1", "It is the gate that is taken from 1; its pre-activation changes its sign.", (("-x_z", "1 - x_z"), ("-h_z", "1 - h_z"), ("-b_z", "1 - b_z"))),
    Wrong("the candidate's sign is turned too", "n stands in both conventions as it is; only z differs.", (("x_n]", "-x_n]"), ("h_n]", "-h_n]"), ("b_n]", "-b_n]"))),
)  # fmt: skip


def pytorch_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, then several."""
    return [
        {
            "weight_ih": rng.standard_normal((3 * H, D)), "weight_hh": rng.standard_normal((3 * H, H)),
            "bias_ih": rng.standard_normal(3 * H), "bias_hh": rng.standard_normal(3 * H),
        }
        for D, H in ((1, 1), (2, 3))
    ]  # fmt: skip


def from_pytorch(weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array) -> tuple[Array, Array, Array, Array]:
    """Transposed; the biases added but in the n block."""
    H = weight_hh.shape[1]
    b = bias_ih + bias_hh
    b[2 * H :] = bias_ih[2 * H :]
    b_hn = bias_hh[2 * H :]
    return weight_ih.T, weight_hh.T, b, b_hn


PYTORCH = (
    Wrong("the biases are added in the n block too", "b_hn stands inside r (...): it is no part of b.", (("    b[2 * H :] = bias_ih[2 * H :]\n", ""),)),
    Wrong("all biases are added and b_hn is zero", "b_hn stands inside r (...): it cannot be moved out.", (("    b[2 * H :] = bias_ih[2 * H :]\n", ""), ("b_hn = bias_hh[2 * H :]", "b_hn = 0 * bias_hh[2 * H :]"))),
    Wrong("bias_hh is left out of r and z", "In r and z both biases are added at once: b is their sum.", (("bias_ih + bias_hh", "bias_ih.copy()"),)),
    Wrong("b_hn is the first block of bias_hh", "The order of the blocks is r z n: n is the last.", (("b_hn = bias_hh[2 * H :]", "b_hn = bias_hh[:H]"),)),
    Wrong("the weights are reshaped, not transposed", "Reshaping keeps the order of the numbers in memory; a transpose exchanges rows and columns.", (("weight_ih.T, weight_hh.T", "weight_ih.reshape(-1, 3 * H), weight_hh.reshape(-1, 3 * H)"),), WHO),
    Wrong("b_n and b_hn are exchanged", "bias_ih is the input's, bias_hh the memory's, which stands behind the reset.", (("= bias_ih[2 * H :]", "= bias_hh[2 * H :]"), ("b_hn = bias_hh", "b_hn = bias_ih"))),
)  # fmt: skip


def backward_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, four steps of one sequence, and a batch with a gradient at the final state; the forward pass is given."""
    found: list[Arguments] = []
    for T, N, D, H, final in ((1, 2, 2, 3, 0), (4, 1, 2, 3, 0), (5, 3, 2, 4, 1)):
        params = [rng.standard_normal(shape) / np.sqrt(H) for shape in gru.param_shapes(D, H).values()]
        _, cache = gru.forward(rng.standard_normal((T, N, D)), rng.standard_normal((N, H)), *params)
        arriving = {"dy": rng.standard_normal((T, N, H)), "dh_last": final * rng.standard_normal((N, H))}
        made = {name: getattr(cache, name) for name in ("x", "h", "gates", "m_n", "W_x", "W_h")}
        found.append({**arriving, **made})
    return found


def backward(
    cell: ModuleType, dy: Array, dh_last: Array, x: Array, h: Array, gates: Array, m_n: Array, W_x: Array, W_h: Array
) -> Any:
    """Backpropagation through time, by the cell."""
    return cell.backward(dy, cell.Cache(x, h, gates, m_n, W_x, W_h, None), dh_last)


EXERCISES = [
    Exercise(
        id="07/ex1", title="One step of both forms", function="both_forms", outputs=("after", "before"), right=both_forms,
        cases=step_cases, wrongs=STEP, paragraph=FORMS,
        hints=(
            "r and z are the same in both forms; only the candidates differ.",
            "After: r (h' W_hn + b_hn).  Before: (r h') W_hn.",
            "h = (1 - z) n + z h', with each form's own n.",
        ),
    ),
    Exercise(
        id="07/ex2", title="From the other convention", function="from_other", outputs=("W_x", "W_h", "b"), right=from_other,
        cases=other_cases, wrongs=OTHER, gates={"W_x": "rzn", "W_h": "rzn", "b": "rzn"}, paragraph=WHO,
        hints=("Two things: where the blocks stand, and what makes their z one minus ours.", "1 - sigmoid(a) = sigmoid(-a)."),
    ),
    Exercise(
        id="07/ex3", title="From PyTorch", function="from_pytorch", outputs=("W_x", "W_h", "b", "b_hn"), right=from_pytorch,
        cases=pytorch_cases, wrongs=PYTORCH, gates={"W_x": "rzn", "W_h": "rzn", "b": "rzn"}, paragraph=BIASES,
        hints=("The order of the blocks is the same; rows and columns are not.", "In which blocks can the two biases be added?"),
    ),
    Exercise(
        id="07/ex4", title="All steps back", function="gru_backward", right=backward, cases=backward_cases, cell="gru",
        outputs=("dx", "dh0", "dW_x", "dW_h", "db", "db_hn"), timed=("dx",), paragraph="Backwards",
        gates={"dW_x": "rzn", "dW_h": "rzn", "db": "rzn"},
        hints=(
            "h = (1 - z) n + z h': begin with the gradients of n, of z, and of h' straight.",
            "Keep two arrays of blocks: da for the input's part, and dm for the memory's, with dm_n = r da_n.",
            "dh' = dh z + dm W_h^T; dW_x and db are made from da, dW_h and db_hn from dm.",
        ),
    ),
]  # fmt: skip
