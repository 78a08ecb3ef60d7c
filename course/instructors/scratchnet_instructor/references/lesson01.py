"""Lesson 01, the multilayer perceptron: one weight, one layer, two layers, the softmax's loss."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.elementwise import d_tanh
from scratchnet_instructor.reference import Arguments, Reference


def weight_cases(rng: np.random.Generator) -> list[Arguments]:
    """Four times four numbers."""
    return [
        {
            name: float(rng.uniform(0.3, 1.5)) * float(rng.choice([-1, 1]))
            for name in ("w", "b", "x", "target")
        }
        for _ in range(4)
    ]


def one_weight(w: float, b: float, x: float, target: float) -> tuple[float, float, float]:
    """The chain rule along one path."""
    y = np.tanh(w * x + b)
    dy = 2 * (y - target)
    da = dy * (1 - y**2)
    dw, db, dx = da * x, da, da * w
    return dw, db, dx


def linear_cases(rng: np.random.Generator) -> list[Arguments]:
    """One row, then rectangles, then a square, where a transpose still fits."""
    sizes = ((1, 3, 2), (5, 3, 2), (3, 3, 3))
    return [
        {
            "dy": rng.standard_normal((N, K)),
            "x": rng.standard_normal((N, D)),
            "W": rng.standard_normal((D, K)),
        }
        for N, D, K in sizes
    ]


def linear_backward(dy: Array, x: Array, W: Array) -> tuple[Array, Array, Array]:
    """Undoes y = x W + b."""
    dx = dy @ W.T
    dW = x.T @ dy
    db = dy.sum(axis=0)
    return dx, dW, db


def mlp_cases(rng: np.random.Generator) -> list[Arguments]:
    """One row and one unit, then more."""
    found = []
    for N, D, H, K in ((1, 2, 3, 5), (7, 3, 5, 2), (3, 3, 3, 3)):
        weights = {"W1": (D, H), "b1": (H,), "W2": (H, K), "b2": (K,)}
        numbers = {name: rng.standard_normal(shape) for name, shape in weights.items()}
        found.append(
            {"x": rng.standard_normal((N, D)), "target": rng.standard_normal((N, K)), **numbers}
        )
    return found


def mlp_backward(
    x: Array, target: Array, W1: Array, b1: Array, W2: Array, b2: Array
) -> dict[str, Array]:
    """Two layers, undone from the last line to the first."""
    h = np.tanh(x @ W1 + b1)
    y = h @ W2 + b2
    dy = 2 * (y - target) / y.size
    dh = dy @ W2.T
    da = dh * d_tanh(h)
    return {"dW1": x.T @ da, "db1": da.sum(axis=0), "dW2": h.T @ dy, "db2": dy.sum(axis=0)}


def softmax_cases(rng: np.random.Generator) -> list[Arguments]:
    """Two classes, several, and outputs so large that a bare exponential overflows."""
    found: list[Arguments] = []
    for N, K, shift in ((1, 3, 0.0), (5, 3, 0.0), (3, 5, 1000.0)):
        y = 2 * rng.standard_normal((N, K)) + shift * np.resize(
            [1, -1], (N, 1)
        )  # exp(1000) is infinite, exp(-1000) is zero
        found.append({"y": y, "labels": rng.integers(0, K, N).astype(np.int64)})
    return found


def softmax_loss(y: Array, labels: Array) -> tuple[float, Array]:
    """Cross-entropy of a softmax, and its gradient."""
    rows = np.arange(len(y))
    shifted = y - y.max(axis=1, keepdims=True)
    p = np.exp(shifted) / np.exp(shifted).sum(axis=1, keepdims=True)
    loss = -np.mean(np.log(p[rows, labels]))
    d = p.copy()
    d[rows, labels] -= 1
    return loss, d / len(y)


EXERCISES = [
    Reference("01/ex1", one_weight, weight_cases, ("dw", "db", "dx")),
    Reference("01/ex2", linear_backward, linear_cases, ("dx", "dW", "db")),
    Reference("01/ex3", mlp_backward, mlp_cases, ("dW1", "db1", "dW2", "db2")),
    Reference("01/ex4", softmax_loss, softmax_cases, ("loss", "dy")),
]
