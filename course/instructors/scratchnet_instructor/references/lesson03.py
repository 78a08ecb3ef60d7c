"""Lesson 03, backpropagation through time: one unit, the cell, and the per-loss gradient."""

from types import ModuleType
from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import rnn
from scratchnet.elementwise import d_tanh
from scratchnet_instructor.reference import Arguments, Reference


def scalar_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, three as on the worksheet, and more."""
    found: list[Arguments] = []
    for T in (1, 3, 7):
        weights = {
            "w": rng.uniform(0.3, 1.2),
            "u": rng.uniform(0.4, 1.1),
            "b": rng.uniform(0.1, 0.5),
            "h0": rng.uniform(0.2, 0.8),
        }
        found.append({**weights, "x": rng.standard_normal(T), "target": rng.uniform(-0.9, 0.9, T)})
    return found


def scalar_bptt(
    w: float, u: float, b: float, h0: float, x: Array, target: Array
) -> tuple[float, float, float, float]:
    """Forward, then back."""
    T = len(x)
    h = np.zeros(T + 1)
    h[0] = h0
    for t in range(T):
        h[t + 1] = np.tanh(w * x[t] + u * h[t] + b)
    dw, du, db, dh_next = 0.0, 0.0, 0.0, 0.0
    for t in reversed(range(T)):
        dh = h[t + 1] - target[t] + dh_next
        da = dh * (1 - h[t + 1] ** 2)
        dw += da * x[t]
        du += da * h[t]
        db += da
        dh_next = da * u
    return dw, du, db, dh_next


def forward_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step of one unit, several of one sequence, a batch."""
    found: list[Arguments] = []
    for T, N, D, H in ((1, 2, 3, 5), (3, 1, 2, 5), (5, 3, 2, 7)):
        params = {
            name: rng.standard_normal(shape) / np.sqrt(H)
            for name, shape in rnn.param_shapes(D, H).items()
        }
        found.append(
            {"x": rng.standard_normal((T, N, D)), "h0": rng.standard_normal((N, H)), **params}
        )
    return found


def rnn_forward(x: Array, h0: Array, W_x: Array, W_h: Array, b: Array) -> Array:
    """a = x W_x + h' W_h + b, h = tanh(a)."""
    T, N, _ = x.shape
    y, h = np.zeros((T, N, len(b))), h0
    for t in range(T):
        a = x[t] @ W_x + h @ W_h + b
        y[t] = np.tanh(a)
        h = y[t]
    return y


def backward_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, four steps of one sequence, a batch with a gradient at the end; forward given."""
    found: list[Arguments] = []
    for T, N, D, H, final in ((1, 2, 3, 5, 0), (3, 1, 2, 5, 0), (5, 3, 2, 7, 1)):
        params = [
            rng.standard_normal(shape) / np.sqrt(H) for shape in rnn.param_shapes(D, H).values()
        ]
        x = rng.standard_normal((T, N, D))
        _, cache = rnn.forward(x, rng.standard_normal((N, H)), *params)
        arriving = {
            "dy": rng.standard_normal((T, N, H)),
            "dh_last": final * rng.standard_normal((N, H)) + 0.0,
        }
        found.append({**arriving, "x": x, "h": cache.h, "W_x": params[0], "W_h": params[1]})
    return found


def rnn_backward(
    dy: Array, dh_last: Array, x: Array, h: Array, W_x: Array, W_h: Array
) -> dict[str, Array]:
    """From the last step to the first; h has two sources of gradient, the weights add up."""
    T = len(x)
    dx, dW_x, dW_h, db = (
        np.zeros_like(x),
        np.zeros_like(W_x),
        np.zeros_like(W_h),
        np.zeros(len(W_h)),
    )
    dh_next = dh_last
    for t in reversed(range(T)):
        dh = dy[t] + dh_next
        da = dh * d_tanh(h[t + 1])
        dx[t] = da @ W_x.T
        dW_x += x[t].T @ da
        dW_h += h[t].T @ da
        db += da.sum(axis=0)
        dh_next = da @ W_h.T
    return {"dx": dx, "dh0": dh_next, "dW_x": dW_x, "dW_h": dW_h, "db": db}


def by_cell(
    cell: ModuleType, dy: Array, dh_last: Array, x: Array, h: Array, W_x: Array, W_h: Array
) -> Any:
    """The same by the library's cell, or by one with a mistake."""
    return cell.backward(dy, cell.Cache(x, h, W_x, W_h, "tanh", None), dh_last)


def per_loss_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, two, and more; positive and negative weights."""
    return [
        {
            "u": rng.uniform(0.4, 1.4) * sign,
            "h": rng.uniform(-0.9, 0.9, T),
            "dy": rng.standard_normal(T),
        }
        for T, sign in ((2, 1), (5, 1), (7, -1))
    ]


def per_loss_gradients(u: float, h: Array, dy: Array) -> Array:
    """Down each column, from the loss's own step to the beginning."""
    T, slope = len(h), 1 - h**2
    G = np.zeros((T, T))
    for tau in range(T):
        arriving = dy[tau]
        for t in range(tau, -1, -1):
            G[t, tau] = arriving * slope[t]
            arriving = u * G[t, tau]
    return G


EXERCISES = [
    Reference("03/ex1", scalar_bptt, scalar_cases, ("dw", "du", "db", "dh0")),
    Reference("03/ex2", rnn_forward, forward_cases, ("y",), timed=("y",), backwards=False),
    Reference(
        "03/ex3",
        rnn_backward,
        backward_cases,
        ("dx", "dh0", "dW_x", "dW_h", "db"),
        cell="rnn",
        by_cell=by_cell,
        timed=("dx",),
    ),
    Reference("03/ex4", per_loss_gradients, per_loss_cases, ("G",)),
]
