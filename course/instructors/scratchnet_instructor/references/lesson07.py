"""Lesson 07, the GRU: both forms of a step, weights from other conventions, backward."""

from types import ModuleType
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import gru
from scratchnet.elementwise import d_sigmoid, d_tanh, sigmoid
from scratchnet_instructor.reference import Arguments, Reference


def step_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, where the forms differ by b_hn alone, then a batch of several."""
    found: list[Arguments] = []
    for N, D, H in ((2, 3, 5), (3, 2, 7)):
        params = {
            name: rng.standard_normal(shape) for name, shape in gru.param_shapes(D, H).items()
        }
        found.append(
            {"x": rng.standard_normal((N, D)), "h_prev": rng.standard_normal((N, H)), **params}
        )
    return found


def both_forms(
    x: Array, h_prev: Array, W_x: Array, W_h: Array, b: Array, b_hn: Array
) -> tuple[Array, Array]:
    """The gates are the same, the candidates are not."""
    a_r, a_z, a_n = np.split(x @ W_x + b, 3, axis=-1)
    W_hr, W_hz, W_hn = np.split(W_h, 3, axis=-1)
    r, z = sigmoid(a_r + h_prev @ W_hr), sigmoid(a_z + h_prev @ W_hz)
    n_after = np.tanh(a_n + r * (h_prev @ W_hn + b_hn))
    n_before = np.tanh(a_n + (r * h_prev) @ W_hn)
    return (1 - z) * n_after + z * h_prev, (1 - z) * n_before + z * h_prev


def other_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, then several."""
    return [
        {
            name: rng.standard_normal(shape)
            for name, shape in gru.param_shapes(D, H).items()
            if name != "b_hn"
        }
        for D, H in ((2, 3), (3, 5))
    ]


def from_other(W_x: Array, W_h: Array, b: Array) -> tuple[Array, Array, Array]:
    """1 - sigmoid(a) = sigmoid(-a)."""
    x_z, x_r, x_n = np.split(W_x, 3, axis=-1)
    h_z, h_r, h_n = np.split(W_h, 3, axis=-1)
    b_z, b_r, b_n = np.split(b, 3)
    return (
        np.concatenate([x_r, -x_z, x_n], axis=-1),
        np.concatenate([h_r, -h_z, h_n], axis=-1),
        np.concatenate([b_r, -b_z, b_n]),
    )


def pytorch_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, then several."""
    return [
        {
            "weight_ih": rng.standard_normal((3 * H, D)),
            "weight_hh": rng.standard_normal((3 * H, H)),
            "bias_ih": rng.standard_normal(3 * H),
            "bias_hh": rng.standard_normal(3 * H),
        }
        for D, H in ((2, 3), (3, 5))
    ]


def from_pytorch(
    weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array
) -> tuple[Array, Array, Array, Array]:
    """Transposed; the biases added but in the n block."""
    H = weight_hh.shape[1]
    b = bias_ih + bias_hh
    b[2 * H :] = bias_ih[2 * H :]
    b_hn = bias_hh[2 * H :]
    return weight_ih.T, weight_hh.T, b, b_hn


def backward_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, four steps of one sequence, a batch with a gradient at the end; forward given."""
    found: list[Arguments] = []
    for T, N, D, H, final in ((1, 2, 3, 5, 0), (3, 1, 2, 5, 0), (5, 3, 2, 7, 1)):
        params = [
            rng.standard_normal(shape) / np.sqrt(H) for shape in gru.param_shapes(D, H).values()
        ]
        _, cache = gru.forward(rng.standard_normal((T, N, D)), rng.standard_normal((N, H)), *params)
        arriving = {
            "dy": rng.standard_normal((T, N, H)),
            "dh_last": final * rng.standard_normal((N, H)) + 0.0,
        }
        made = {name: getattr(cache, name) for name in ("x", "h", "gates", "m_n", "W_x", "W_h")}
        found.append({**arriving, **made})
    return found


def gru_backward(
    dy: Array, dh_last: Array, x: Array, h: Array, gates: Array, m_n: Array, W_x: Array, W_h: Array
) -> dict[str, Array]:
    """From the last step to the first; da is the gradient of x W_x, dm that of h' W_h."""
    T, H = len(x), len(W_h)
    dx, dW_x, dW_h, db = np.zeros_like(x), np.zeros_like(W_x), np.zeros_like(W_h), np.zeros(3 * H)
    db_hn = np.zeros(H)
    dh_next = dh_last
    for t in reversed(range(T)):
        r, z, n = np.split(gates[t], 3, axis=-1)
        dh = dy[t] + dh_next
        dn = dh * (1 - z)
        dz = dh * (h[t] - n)
        da_n = dn * d_tanh(n)
        dm_n = da_n * r
        dr = da_n * m_n[t]
        da_r = dr * d_sigmoid(r)
        da_z = dz * d_sigmoid(z)
        da = np.concatenate([da_r, da_z, da_n], axis=-1)
        dm = np.concatenate([da_r, da_z, dm_n], axis=-1)
        dx[t] = da @ W_x.T
        dW_x += x[t].T @ da
        dW_h += h[t].T @ dm
        db += da.sum(axis=0)
        db_hn += dm_n.sum(axis=0)
        dh_next = dh * z + dm @ W_h.T
    return {"dx": dx, "dh0": dh_next, "dW_x": dW_x, "dW_h": dW_h, "db": db, "db_hn": db_hn}


def by_cell(
    cell: ModuleType,
    dy: Array,
    dh_last: Array,
    x: Array,
    h: Array,
    gates: Array,
    m_n: Array,
    W_x: Array,
    W_h: Array,
) -> Any:
    """The same by the library's cell, or by one with a mistake."""
    return cell.backward(dy, cell.Cache(x, h, gates, m_n, W_x, W_h, None), dh_last)


EXERCISES = [
    Reference("07/ex1", both_forms, step_cases, ("after", "before")),
    Reference(
        "07/ex2",
        from_other,
        other_cases,
        ("W_x", "W_h", "b"),
        gates={"W_x": "rzn", "W_h": "rzn", "b": "rzn"},
    ),
    Reference(
        "07/ex3",
        from_pytorch,
        pytorch_cases,
        ("W_x", "W_h", "b", "b_hn"),
        gates={"W_x": "rzn", "W_h": "rzn", "b": "rzn"},
    ),
    Reference(
        "07/ex4",
        gru_backward,
        backward_cases,
        ("dx", "dh0", "dW_x", "dW_h", "db", "db_hn"),
        cell="gru",
        by_cell=by_cell,
        timed=("dx",),
        gates={"dW_x": "rzn", "dW_h": "rzn", "db": "rzn"},
    ),
]
