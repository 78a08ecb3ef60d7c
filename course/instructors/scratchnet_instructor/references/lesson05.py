"""Lesson 05, the LSTM forward: one step, all steps, the forget gate's bias, saturation."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import lstm
from scratchnet.elementwise import sigmoid
from scratchnet_instructor.reference import Arguments, Reference


def step_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, then a batch."""
    names = ("a_i", "a_f", "a_g", "a_o", "c_prev")
    return [
        {name: 1.5 * rng.standard_normal(shape) for name in names} for shape in ((2, 3), (3, 5))
    ]


def lstm_step(a_i: Array, a_f: Array, a_g: Array, a_o: Array, c_prev: Array) -> tuple[Array, Array]:
    """c = f c' + i g, h = o tanh(c)."""
    i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
    c = f * c_prev + i * g
    h = o * np.tanh(c)
    return c, h


def forward_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step of one unit, then several of a batch."""
    found: list[Arguments] = []
    for T, N, D, H in ((1, 2, 3, 5), (3, 1, 2, 5), (5, 3, 2, 7)):
        params = {
            name: rng.standard_normal(shape) for name, shape in lstm.param_shapes(D, H).items()
        }
        states = {name: rng.standard_normal((N, H)) for name in ("h0", "c0")}
        found.append({"x": rng.standard_normal((T, N, D)), **states, **params})
    return found


def lstm_forward(
    x: Array, h0: Array, c0: Array, W_x: Array, W_h: Array, b: Array
) -> tuple[Array, Array]:
    """The step in a loop; two states are carried."""
    h, c, hs, cs = h0, c0, [], []
    for t in range(len(x)):
        a_i, a_f, a_g, a_o = np.split(x[t] @ W_x + h @ W_h + b, 4, axis=-1)
        i, f, g, o = sigmoid(a_i), sigmoid(a_f), np.tanh(a_g), sigmoid(a_o)
        c = f * c + i * g
        h = o * np.tanh(c)
        hs.append(h)
        cs.append(c)
    return np.array(hs), np.array(cs)


def bias_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step and a half, then random ones."""
    known: list[Arguments] = [{"steps": 1, "left": float(rng.uniform(0.1, 0.4))}]
    return known + [
        {"steps": int(rng.integers(3, 200)), "left": float(rng.uniform(0.05, 0.9))}
        for _ in range(4)
    ]


def bias_for(steps: int, left: float) -> float:
    """f is the root, and the bias the sigmoid's inverse of it."""
    f = left ** (1 / steps)
    return float(np.log(f / (1 - f)))


def share_cases(rng: np.random.Generator) -> list[Arguments]:
    """One sequence, then several, with gates that like the ends."""
    found: list[Arguments] = []
    for T, N, H in ((11, 2, 3), (31, 5, 3)):
        lean = np.linspace(-2, 3, H)
        gate = 1 / (1 + np.exp(-(lean + 3 * rng.standard_normal((T, N, H)))))
        # some of each, whatever was drawn, and the edges, which belong to neither
        gate[:6, 0] = np.array([0.03, 0.97, 0.04, 0.5, 0.1, 0.9])[:, None]
        found.append({"gate": gate})
    return found


def shut_and_open(gate: Array) -> tuple[Array, Array]:
    """Shares of all steps of all sequences."""
    shut = np.mean(gate < 0.1, axis=(0, 1))
    wide = np.mean(gate > 0.9, axis=(0, 1))
    return shut, wide


EXERCISES = [
    Reference("05/ex1", lstm_step, step_cases, ("c", "h")),
    Reference("05/ex2", bias_for, bias_cases, ("bias",)),
    Reference("05/ex3", shut_and_open, share_cases, ("shut", "open")),
    Reference("05/ex4", lstm_forward, forward_cases, ("h", "c"), timed=("h", "c"), backwards=False),
]
