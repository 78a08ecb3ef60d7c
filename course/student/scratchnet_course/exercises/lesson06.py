"""Lesson 06, the LSTM backward: one step, all steps, and what truncation throws away."""

from types import ModuleType
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import lstm
from scratchnet.elementwise import d_sigmoid, d_tanh
from scratchnet_course.exercise import Arguments, Exercise, Wrong


def step_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step of one unit, then of a batch."""
    found = []
    for N, H in ((1, 1), (3, 4)):
        i, f, o = (rng.uniform(0.1, 0.9, (N, H)) for _ in range(3))
        g, c_prev = rng.uniform(-0.9, 0.9, (N, H)), rng.standard_normal((N, H))
        arriving = {"dh": rng.standard_normal((N, H)), "dc_next": rng.standard_normal((N, H))}
        found.append({**arriving, "i": i, "f": f, "g": g, "o": o, "c_prev": c_prev, "c": f * c_prev + i * g})
    return found


def step(dh: Any, dc_next: Any, i: Any, f: Any, g: Any, o: Any, c_prev: Any, c: Any) -> tuple[Any, ...]:
    """One step back through the LSTM's gates."""
    tanh_c = np.tanh(c)
    dc = dh * o * d_tanh(tanh_c) + dc_next
    da_i = dc * g * d_sigmoid(i)
    da_f = dc * c_prev * d_sigmoid(f)
    da_g = dc * i * d_tanh(g)
    da_o = dh * tanh_c * d_sigmoid(o)
    dc_prev = dc * f
    return da_i, da_f, da_g, da_o, dc_prev


STEP_WRONGS = (
    Wrong("dc_next is not added", "c is read twice: by h = o tanh(c) and by the next step's f c'.", ((" + dc_next", ""),)),
    Wrong(
        "tanh'(c) is missing in dc", "h = o tanh(c): the road from h to c goes through the tanh.",
        (("dh * o * d_tanh(tanh_c)", "dh * o"),),
    ),
    Wrong(
        "da_f takes c_t in place of c_{t-1}", "The forget gate met the old cell state: c = f c' + i g.",
        (("dc * c_prev", "dc * c"),),
    ),
    Wrong(
        "the sigmoid's derivative is missing on the input gate", "i = sigmoid(a_i): from i to a_i goes i (1 - i).",
        (("dc * g * d_sigmoid(i)", "dc * g"),),
    ),
    Wrong(
        "the sigmoid's derivative is missing on the forget gate", "f = sigmoid(a_f): from f to a_f goes f (1 - f).",
        (("dc * c_prev * d_sigmoid(f)", "dc * c_prev"),),
    ),
    Wrong("tanh' is missing on the candidate", "g = tanh(a_g): from g to a_g goes 1 - g^2.", (("dc * i * d_tanh(g)", "dc * i"),)),
    Wrong("tanh'(c) is written as 1 - c^2", "In terms of its output: 1 - tanh(c)^2.", (("d_tanh(tanh_c)", "d_tanh(c)"),)),
    Wrong("da_o takes c in place of tanh(c)", "h = o tanh(c): o met tanh(c).", (("dh * tanh_c * d", "dh * c * d"),)),
    Wrong(
        "the sigmoid's derivative is missing on the output gate", "o = sigmoid(a_o): from o to a_o goes o (1 - o).",
        (("tanh_c * d_sigmoid(o)", "tanh_c"),),
    ),
    Wrong(
        "tanh' is written as 1 - g", "In terms of its output the derivative of tanh is 1 - g^2.", (("d_tanh(g)", "(1 - g)"),)
    ),
    Wrong(
        "dc_prev does not pass the forget gate", "c = f c' + i g: what goes back to c' goes through f.",
        (("dc_prev = dc * f", "dc_prev = dc"),),
    ),
    Wrong(
        "da_o takes dc in place of dh", "The output gate stands behind the cell state: only h = o tanh(c) reads it.",
        (("da_o = dh", "da_o = dc"),),
    ),
)  # fmt: skip


def sequence_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, four steps of one sequence, and a batch with gradients at the final states; the forward pass is given."""
    found = []
    for T, N, D, H, final in ((1, 2, 2, 3, 0), (4, 1, 2, 3, 0), (5, 3, 2, 4, 1)):
        x, h0, c0 = rng.standard_normal((T, N, D)), rng.standard_normal((N, H)), rng.standard_normal((N, H))
        params = [rng.standard_normal(shape) / np.sqrt(H) for shape in lstm.param_shapes(D, H).values()]
        _, cache = lstm.forward(x, h0, c0, *params)
        arriving = {"dy": rng.standard_normal((T, N, H)), "dh_last": final * rng.standard_normal((N, H))}
        arriving["dc_last"] = final * rng.standard_normal((N, H))
        made = {"x": x, "h": cache.h, "c": cache.c, "gates": cache.gates}
        found.append({**arriving, **made, "W_x": params[0], "W_h": params[1]})
    return found


def sequence(
    cell: ModuleType, dy: Array, dh_last: Array, dc_last: Array, x: Array, h: Array, c: Array, gates: Array, W_x: Array,
    W_h: Array,
) -> Any:  # fmt: skip
    """Backpropagation through time, by the cell."""
    return cell.backward(dy, cell.Cache(x, h, c, gates, W_x, W_h, None), dh_last, dc_last)


def carry_cases(rng: np.random.Generator) -> list[Arguments]:
    """A forget gate that forgets soon, and some that keep."""
    return [{"f": 0.5, "left": 0.1}, *({"f": rng.uniform(0.8, 0.999), "left": rng.uniform(0.01, 0.5)} for _ in range(5))]


def carry(f: float, left: float) -> float:
    """The smallest whole n with f^n < left."""
    return float(np.floor(np.log(left) / np.log(f)) + 1)


CARRY_WRONGS = (
    Wrong("one step too few", "After floor(log left / log f) steps the share is still there.", ((" + 1", ""),)),
    Wrong("rounded to the nearest", "The smallest whole n *above* the quotient.",
          (("np.floor(np.log(left) / np.log(f)) + 1", "np.rint(np.log(left) / np.log(f))"),)),
    Wrong("logarithms of two bases", "Above and below the line the same logarithm.", (("np.log(left)", "np.log10(left)"),)),
    Wrong("a line in place of an exponential", "Each step takes a share f of what is left, not of the beginning.",
          (("np.log(left) / np.log(f)", "(1 - left) / (1 - f)"),)),
)  # fmt: skip

# Beside those of mistakes.toml: what only shows in a whole pass of one's own writing.
WHOLE = (
    Wrong("all weights' gradients are divided by N", "The loss is a sum over sequences, and so is its gradient; a mean belongs into the loss, once.", (("dW_x=x.reshape(T * N, D).T @ flat", "dW_x=x.reshape(T * N, D).T @ flat / N"), ("dW_h=h[:-1].reshape(T * N, -1).T @ flat", "dW_h=h[:-1].reshape(T * N, -1).T @ flat / N"), ("db=flat.sum(axis=0)", "db=flat.sum(axis=0) / N"))),
    Wrong("all weights' gradients are assigned, not summed, over time", "With = for += only the step visited last is left, t=0.", (("dW_x=x.reshape(T * N, D).T @ flat", "dW_x=x[0].T @ da[0]"), ("dW_h=h[:-1].reshape(T * N, -1).T @ flat", "dW_h=h[0].T @ da[0]"), ("db=flat.sum(axis=0)", "db=da[0].sum(axis=0)"))),
    Wrong("dh is carried along and added to", "dh_next is what left step t through W_h, alone: dh itself stays at its step.", (("dh_next, dc_next = dh_prev, dc_prev", "dh_next, dc_next = dh + dh_prev, dc_prev"),)),
)  # fmt: skip


OUTPUTS = ("dx", "dh0", "dc0", "dW_x", "dW_h", "db")
EXERCISES = [
    Exercise(
        id="06/ex1", title="One step back", function="step_backward", outputs=("da_i", "da_f", "da_g", "da_o", "dc_prev"),
        right=step, cases=step_cases, wrongs=STEP_WRONGS, paragraph="Two sources meet in c",
        hints=(
            "Write the forward pass of the step, and go through its lines from the last to the first.",
            "c is read by h = o tanh(c) and by the next step: its gradient is a sum of two.",
            "Each a needs the derivative of its sigmoid or tanh, in terms of the gate: s (1 - s), 1 - g^2.",
        ),
    ),
    Exercise(
        id="06/ex2", title="All steps back", function="lstm_backward", outputs=OUTPUTS, right=sequence, cases=sequence_cases,
        cell="lstm", wrongs=WHOLE, timed=("dx",), gates={"dW_x": "ifgo", "dW_h": "ifgo", "db": "ifgo"}, paragraph="Two sources meet in h",
        hints=(
            "Walk backwards from t = T-1 and carry two things: dh_next and dc_next.",
            "dh at step t is dy[t] plus what came from step t+1.",
            "dW_h[t] is a product with h[t], the state before the step; add it up over all steps.",
        ),
    ),
    Exercise(
        id="06/ex3", title="How far does the cell state carry?", function="steps_until", outputs=("n",), right=carry,
        cases=carry_cases, wrongs=CARRY_WRONGS, paragraph="Which road is how wide",
        hints=("f^n < left is n log f < log left, and log f is negative.", "Whole and strictly less: mind the edge."),
    ),
]  # fmt: skip
