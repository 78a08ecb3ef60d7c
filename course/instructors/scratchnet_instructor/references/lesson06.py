"""Lesson 06, the LSTM backward: one step, all steps, and what truncation throws away."""

from types import ModuleType
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import lstm
from scratchnet.elementwise import d_sigmoid, d_tanh
from scratchnet_instructor.reference import Arguments, Reference


def step_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step of one unit, then of a batch."""
    found = []
    for N, H in ((2, 3), (3, 5)):
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
    for T, N, D, H, final in ((1, 2, 3, 5, 0), (3, 1, 2, 5, 0), (5, 3, 2, 7, 1)):
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
            "dh_last": final * rng.standard_normal((N, H)) + 0.0,
        }
        arriving["dc_last"] = final * rng.standard_normal((N, H)) + 0.0
        made = {"x": x, "h": cache.h, "c": cache.c, "gates": cache.gates}
        found.append({**arriving, **made, "W_x": params[0], "W_h": params[1]})
    return found


def lstm_backward(
    dy: Array,
    dh_last: Array,
    dc_last: Array,
    x: Array,
    h: Array,
    c: Array,
    gates: Array,
    W_x: Array,
    W_h: Array,
) -> dict[str, Array]:
    """From the last step to the first; h and c have two sources of gradient each."""
    T, H = len(x), len(W_h)
    dx, dW_x, dW_h, db = np.zeros_like(x), np.zeros_like(W_x), np.zeros_like(W_h), np.zeros(4 * H)
    dh_next, dc_next = dh_last, dc_last
    for t in reversed(range(T)):
        i, f, g, o = np.split(gates[t], 4, axis=-1)
        tanh_c = np.tanh(c[t + 1])
        dh = dy[t] + dh_next
        dc = dh * o * d_tanh(tanh_c) + dc_next
        da_i = dc * g * d_sigmoid(i)
        da_f = dc * c[t] * d_sigmoid(f)
        da_g = dc * i * d_tanh(g)
        da_o = dh * tanh_c * d_sigmoid(o)
        da = np.concatenate([da_i, da_f, da_g, da_o], axis=-1)
        dx[t] = da @ W_x.T
        dW_x += x[t].T @ da
        dW_h += h[t].T @ da
        db += da.sum(axis=0)
        dh_next = da @ W_h.T
        dc_next = dc * f
    return {"dx": dx, "dh0": dh_next, "dc0": dc_next, "dW_x": dW_x, "dW_h": dW_h, "db": db}


def by_cell(
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
    """The same by the library's cell, or by one with a mistake."""
    return cell.backward(dy, cell.Cache(x, h, c, gates, W_x, W_h, None), dh_last, dc_last)


def carry_cases(rng: np.random.Generator) -> list[Arguments]:
    """A forget gate that forgets soon, and some that keep."""
    return [
        {"f": rng.uniform(0.4, 0.6), "left": rng.uniform(0.01, 0.1)},
        *({"f": rng.uniform(0.8, 0.999), "left": rng.uniform(0.01, 0.5)} for _ in range(5)),
        {"f": 0.5, "left": 0.25},
    ]


def steps_until(f: float, left: float) -> float:
    """The smallest whole n with f^n < left."""
    return float(np.floor(np.log(left) / np.log(f)) + 1)


OUTPUTS = ("dx", "dh0", "dc0", "dW_x", "dW_h", "db")
EXERCISES = [
    Reference("06/ex1", step_backward, step_cases, ("da_i", "da_f", "da_g", "da_o", "dc_prev")),
    Reference(
        "06/ex2",
        lstm_backward,
        sequence_cases,
        OUTPUTS,
        cell="lstm",
        by_cell=by_cell,
        timed=("dx",),
        gates={"dW_x": "ifgo", "dW_h": "ifgo", "db": "ifgo"},
    ),
    Reference("06/ex3", steps_until, carry_cases, ("n",)),
]
