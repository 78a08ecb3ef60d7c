"""Lesson 02, checking gradients: differences, the relative error, a check along a direction."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_instructor.reference import Arguments, Reference


def numeric_cases(rng: np.random.Generator) -> list[Arguments]:
    """One number with a wide step, which tells the kinds of difference apart, then several."""
    return [
        {"w": rng.uniform(0.3, 1, n), "coefficients": rng.uniform(0.5, 2, n), "e": 0.1}
        for n in (2, 5)
    ]


def numeric(w: Array, coefficients: Array, e: float) -> Array:
    """Both sides, one element after the other."""
    slopes = np.empty(len(w))
    for k in range(len(w)):
        above, below = w.copy(), w.copy()
        above[k] += e
        below[k] -= e
        slopes[k] = np.sum(coefficients * (np.tanh(above) - np.tanh(below))) / (2 * e)
    return slopes


def error_cases(rng: np.random.Generator) -> list[Arguments]:
    """Large, small and zero gradients, of both signs."""
    ours = np.array([1.0, -2.0, 1e-9, 0.0, 3e4, -1e-3])
    return [
        {"ours": ours, "numeric": ours * (1 + 0.1 * rng.standard_normal(6)) + 1e-10, "floor": 1e-6},
        {"ours": rng.standard_normal((3, 2)), "numeric": rng.standard_normal((3, 2)), "floor": 0.5},
    ]


def relative_error(ours: Array, numeric: Array, floor: float) -> Array:
    """Against the larger of the two, and never against less than the floor."""
    size = np.maximum(np.maximum(np.abs(ours), np.abs(numeric)), floor)
    return np.abs(ours - numeric) / size


def along_cases(rng: np.random.Generator) -> list[Arguments]:
    """One number, then a matrix; the step is wide, so that difference and gradient differ."""
    sizes = ((1, 2, 3), (5, 3, 2))
    return [
        {
            "x": rng.standard_normal((N, D)),
            "W": rng.standard_normal((D, K)),
            "V": rng.standard_normal((D, K)),
            "e": 0.05,
        }
        for N, D, K in sizes
    ]


def along(x: Array, W: Array, V: Array, e: float) -> tuple[float, float]:
    """The slope twice: measured, and from the gradient."""
    above, below = np.sum(np.tanh(x @ (W + e * V))), np.sum(np.tanh(x @ (W - e * V)))
    dW = x.T @ (1 - np.tanh(x @ W) ** 2)
    return float(above - below) / (2 * e), float(np.sum(dW * V))


EXERCISES = [
    Reference("02/ex1", numeric, numeric_cases, ("gradient",)),
    Reference("02/ex2", relative_error, error_cases, ("error",)),
    Reference("02/ex3", along, along_cases, ("measured", "from_gradient")),
]
