"""Lesson 02, checking gradients: differences, the relative error, and the check along a direction."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_course.exercise import Arguments, Exercise, Wrong


def numeric_cases(rng: np.random.Generator) -> list[Arguments]:
    """One number with a wide step, where the kinds of difference can be told apart, then several."""
    return [{"w": rng.uniform(0.3, 1, n), "coefficients": rng.uniform(0.5, 2, n), "e": 0.1} for n in (1, 5)]


def numeric(w: Array, coefficients: Array, e: float) -> Array:
    """Both sides, one element after the other."""
    slopes = np.empty(len(w))
    for k in range(len(w)):
        above, below = w.copy(), w.copy()
        above[k] += e
        below[k] -= e
        slopes[k] = np.sum(coefficients * (np.tanh(above) - np.tanh(below))) / (2 * e)
    return slopes


NUMERIC = (
    Wrong("a one-sided difference", "To both sides: its error falls with the square of the step.", (("        below[k] -= e\n", ""), ("/ (2 * e)", "/ e"))),
    Wrong("divided by e in place of 2 e", "The two points are 2 e apart.", (("/ (2 * e)", "/ e"),)),
    Wrong("all elements are moved at once", "One element at a time, or the slopes add up.", (("above[k] += e", "above += e"), ("below[k] -= e", "below -= e"))),
    Wrong("moved elements are not put back", "Each element starts from the same w.", (("    for k in range(len(w)):\n        above, below = w.copy(), w.copy()\n", "    above, below = w.copy(), w.copy()\n    for k in range(len(w)):\n"),)),
)  # fmt: skip


def error_cases(rng: np.random.Generator) -> list[Arguments]:
    """Large, small and zero gradients, of both signs."""
    ours = np.array([1.0, -2.0, 1e-9, 0.0, 3e4, -1e-3])
    return [
        {"ours": ours, "numeric": ours * (1 + 0.1 * rng.standard_normal(6)) + 1e-10, "floor": 1e-6},
        {"ours": rng.standard_normal((3, 2)), "numeric": rng.standard_normal((3, 2)), "floor": 0.5},
    ]  # fmt: skip


def relative_error(ours: Array, numeric: Array, floor: float) -> Array:
    """Against the larger of the two, and never against less than the floor."""
    size = np.maximum(np.maximum(np.abs(ours), np.abs(numeric)), floor)
    return np.abs(ours - numeric) / size


ERROR = (
    Wrong("divided by ours alone", "The larger of the two: else a gradient of zero divides by nothing.", (("np.maximum(np.abs(ours), np.abs(numeric))", "np.abs(ours)"),)),
    Wrong("the floor is added", "The floor takes the place of what is smaller; it is not added to what is larger.", (("np.maximum(np.maximum(np.abs(ours), np.abs(numeric)), floor)", "np.maximum(np.abs(ours), np.abs(numeric)) + floor"),)),
    Wrong("divided by the sum of both", "The larger of the two, not their sum.", (("np.maximum(np.abs(ours), np.abs(numeric))", "(np.abs(ours) + np.abs(numeric))"),)),
    Wrong("the difference has a sign", "An error is a size: take its absolute value.", (("np.abs(ours - numeric) / size", "(ours - numeric) / size"),)),
    Wrong("an absolute error", "Divide by the size of the gradient.", (("np.abs(ours - numeric) / size", "np.abs(ours - numeric)"),)),
)  # fmt: skip


def along_cases(rng: np.random.Generator) -> list[Arguments]:
    """One number, then a matrix; the step is wide, so that the difference is not the gradient to the last digit."""
    sizes = ((1, 1, 1), (4, 3, 2))
    return [
        {"x": rng.standard_normal((N, D)), "W": rng.standard_normal((D, K)), "V": rng.standard_normal((D, K)), "e": 0.05}
        for N, D, K in sizes
    ]  # fmt: skip


def along(x: Array, W: Array, V: Array, e: float) -> tuple[float, float]:
    """The slope twice: measured, and from the gradient."""
    above, below = np.sum(np.tanh(x @ (W + e * V))), np.sum(np.tanh(x @ (W - e * V)))
    dW = x.T @ (1 - np.tanh(x @ W) ** 2)
    return float(above - below) / (2 * e), float(np.sum(dW * V))


ALONG = (
    Wrong("the gradient's slope is not multiplied with V", "Along V the slope is the sum over dW V.", (("np.sum(dW * V)", "np.sum(dW)"),)),
    Wrong("tanh' is left out of dW", "L = sum tanh(a): from L to a goes 1 - tanh^2.", (("x.T @ (1 - np.tanh(x @ W) ** 2)", "x.T @ np.ones_like(x @ W)"),)),
    Wrong("divided by e in place of 2 e", "The two points are 2 e V apart.", (("/ (2 * e)", "/ e"),)),
    Wrong("V is made a unit vector", "The slope along V itself: twice the V, twice the slope.", (("    above, below", "    V = V / (2 * np.sqrt(np.sum(V * V)))\n    above, below"),)),
    Wrong("the difference is one-sided", "To both sides.", (("(W - e * V)", "W"), ("/ (2 * e)", "/ e"))),
)  # fmt: skip

EXERCISES = [
    Exercise(
        id="02/ex1", title="Central differences", function="numeric", outputs=("gradient",), right=numeric,
        cases=numeric_cases, wrongs=NUMERIC, paragraph="Two differences",
        hints=("Copy w before you move an element of it.", "Two values of f for each element, 2 e apart."),
    ),
    Exercise(
        id="02/ex2", title="The relative error", function="relative_error", outputs=("error",), right=relative_error,
        cases=error_cases, wrongs=ERROR, paragraph="The relative error",
        hints=("np.maximum works element by element.", "Three sizes compete for the place below the line."),
    ),
    Exercise(
        id="02/ex3", title="Along a direction", function="along", outputs=("measured", "from_gradient"), right=along,
        cases=along_cases, wrongs=ALONG, paragraph="Large tensors: along a direction",
        hints=("Move W by e V and by -e V.", "dW = x^T (1 - tanh^2), and its slope along V is the sum of dW V."),
    ),
]  # fmt: skip
