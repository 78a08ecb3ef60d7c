"""Lesson 04, vanishing and exploding: factors, spectral radius, Jacobians, clipping."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_instructor.reference import Arguments, Reference


def factor_cases(rng: np.random.Generator) -> list[Arguments]:
    """Halving and doubling, then factors near 1 on both sides."""
    slow = [
        rng.uniform(0.85, 0.98),
        rng.uniform(1.02, 1.15),
        rng.uniform(0.3, 0.7),
        rng.uniform(1.02, 1.15),
    ]
    known: list[Arguments] = [{"g": 0.5, "factor": 100.0}, {"g": 2.0, "factor": 100.0}]
    whole: list[Arguments] = [{"g": 2.0, "factor": 4.0}, {"g": 0.5, "factor": 16.0}]
    near = [{"g": float(g), "factor": float(rng.uniform(1.5, 5))} for g in slow]
    return [
        *known,
        *({"g": float(g), "factor": float(rng.uniform(50, 5000))} for g in slow),
        *near,
        *whole,
    ]


def steps_to_factor(g: float, factor: float) -> float:
    """n |log g| >= log factor."""
    return float(np.ceil(np.log(factor) / np.abs(np.log(g))))


def radius_cases(rng: np.random.Generator) -> list[Arguments]:
    """Negative eigenvalues, complex ones, then a random matrix."""
    turn = np.array([[0.0, -2.0], [0.5, 0.3]])
    negative = np.array([[-2.0, 1.0], [0.0, 0.5]])
    last = np.array([[0.3, 1.0], [0.0, -1.5]])  # LAPACK does not sort
    return [
        {"W": W, "radius": float(rng.uniform(0.5, 1.5))}
        for W in (negative, last, turn, rng.standard_normal((5, 5)))
    ]


def with_radius(W: Array, radius: float) -> Array:
    """Eigenvalues are multiplied as the matrix is."""
    values = np.linalg.eigvals(W)
    largest = np.abs(values).max()
    return W * (radius / largest)


def product_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit, one step, many steps."""
    sizes = ((1, 3), (2, 3), (7, 5))
    return [
        {"h": rng.uniform(-0.9, 0.9, (T, H)), "W_h": rng.standard_normal((H, H)) / np.sqrt(H)}
        for T, H in sizes
    ]


def whole_way(h: Array, W_h: Array) -> Array:
    """The last step's Jacobian is on the left."""
    product = np.eye(len(W_h))
    for state in h:
        J = (1 - state**2)[:, None] * W_h.T
        product = J @ product
    return product


def clip_cases(rng: np.random.Generator) -> list[Arguments]:
    """A short gradient, a long one, and one with a single large tensor."""
    found: list[Arguments] = []
    for D, H, most, large in ((2, 3, 50.0, 1.0), (2, 5, 2.0, 1.0), (3, 5, 5.0, 20.0)):
        grads = {
            "dW_x": rng.standard_normal((D, H)),
            "dW_h": large * rng.standard_normal((H, H)),
            "db": rng.standard_normal(H),
        }
        found.append({**{name: 2 * g + np.sign(g) for name, g in grads.items()}, "most": most})
    return found


def clip_together(
    dW_x: Array, dW_h: Array, db: Array, most: float
) -> tuple[Array, Array, Array, float]:
    """One factor for all."""
    norm = float(np.sqrt(sum(np.sum(g**2) for g in (dW_x, dW_h, db))))
    factor = min(1.0, most / norm)
    return dW_x * factor, dW_h * factor, db * factor, norm


EXERCISES = [
    Reference("04/ex1", steps_to_factor, factor_cases, ("n",)),
    Reference("04/ex2", with_radius, radius_cases, ("W",)),
    Reference("04/ex3", whole_way, product_cases, ("J",)),
    Reference("04/ex4", clip_together, clip_cases, ("dW_x", "dW_h", "db", "norm")),
]
