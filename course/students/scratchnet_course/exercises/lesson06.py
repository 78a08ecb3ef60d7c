"""Lesson 06, the LSTM backward: one step, all steps, and what truncation throws away."""

from types import ModuleType
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import lstm
from scratchnet.elementwise import d_sigmoid, d_tanh
from scratchnet_course.exercise import Arguments, Exercise


def step_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step of one unit, then of a batch."""
    found = []
    for N, H in ((1, 1), (3, 4)):
        i, f, o = (rng.uniform(0.1, 0.9, (N, H)) for _ in range(3))
        g, c_prev = rng.uniform(-0.9, 0.9, (N, H)), rng.standard_normal((N, H))
        arriving = {"dh": rng.standard_normal((N, H)), "dc_next": rng.standard_normal((N, H))}
        found.append(
            {**arriving, "i": i, "f": f, "g": g, "o": o, "c_prev": c_prev, "c": f * c_prev + i * g}
        )
    return found


def step_backward(
    dh: Any, dc_next: Any, i: Any, f: Any, g: Any, o: Any, c_prev: Any, c: Any
) -> tuple[Any, ...]:
    """One step back through the LSTM's gates."""
    tanh_c = np.tanh(c)
    dc = dh * o * d_tanh(tanh_c) + dc_next
    da_i = dc * g * d_sigmoid(i)
    da_f = dc * c_prev * d_sigmoid(f)
    da_g = dc * i * d_tanh(g)
    da_o = dh * tanh_c * d_sigmoid(o)
    dc_prev = dc * f
    return da_i, da_f, da_g, da_o, dc_prev


def sequence_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, four steps of one sequence, a batch with gradients at the end; forward given."""
    found = []
    for T, N, D, H, final in ((1, 2, 2, 3, 0), (4, 1, 2, 3, 0), (5, 3, 2, 4, 1)):
        x, h0, c0 = (
            rng.standard_normal((T, N, D)),
            rng.standard_normal((N, H)),
            rng.standard_normal((N, H)),
        )
        params = [
            rng.standard_normal(shape) / np.sqrt(H) for shape in lstm.param_shapes(D, H).values()
        ]
        _, cache = lstm.forward(x, h0, c0, *params)
        arriving = {
            "dy": rng.standard_normal((T, N, H)),
            "dh_last": final * rng.standard_normal((N, H)),
        }
        arriving["dc_last"] = final * rng.standard_normal((N, H))
        made = {"x": x, "h": cache.h, "c": cache.c, "gates": cache.gates}
        found.append({**arriving, **made, "W_x": params[0], "W_h": params[1]})
    return found


def lstm_backward(
    cell: ModuleType,
    dy: Array,
    dh_last: Array,
    dc_last: Array,
    x: Array,
    h: Array,
    c: Array,
    gates: Array,
    W_x: Array,
    W_h: Array,
) -> Any:
    """Backpropagation through time, by the cell."""
    return cell.backward(dy, cell.Cache(x, h, c, gates, W_x, W_h, None), dh_last, dc_last)


def carry_cases(rng: np.random.Generator) -> list[Arguments]:
    """A forget gate that forgets soon, and some that keep."""
    return [
        {"f": 0.5, "left": 0.1},
        *({"f": rng.uniform(0.8, 0.999), "left": rng.uniform(0.01, 0.5)} for _ in range(5)),
    ]


def steps_until(f: float, left: float) -> float:
    """The smallest whole n with f^n < left."""
    return float(np.floor(np.log(left) / np.log(f)) + 1)


OUTPUTS = ("dx", "dh0", "dc0", "dW_x", "dW_h", "db")
EXERCISES = [
    Exercise("06/ex1", step_backward, step_cases, ("da_i", "da_f", "da_g", "da_o", "dc_prev")),
    Exercise(
        "06/ex2",
        lstm_backward,
        sequence_cases,
        OUTPUTS,
        cell="lstm",
        timed=("dx",),
        gates={"dW_x": "ifgo", "dW_h": "ifgo", "db": "ifgo"},
    ),
    Exercise("06/ex3", steps_until, carry_cases, ("n",)),
]
