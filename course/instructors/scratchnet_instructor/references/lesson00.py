"""Lesson 00, how to use the course: three exercises to get used to the checker."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_instructor.reference import Arguments, Reference


def centre_cases(rng: np.random.Generator) -> list[Arguments]:
    """One column, and several."""
    return [{"x": rng.standard_normal((N, D)) + 3} for N, D in ((3, 2), (7, 5), (3, 3))]


def centred(x: Array) -> Array:
    """Each column without its mean."""
    return x - x.mean(axis=0)


def apply_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step of one sequence, then batches."""
    sizes = ((1, 2, 3, 5), (5, 3, 2, 7), (3, 3, 3, 3))
    return [
        {"x": rng.standard_normal((T, N, D)), "W": rng.standard_normal((D, K))}
        for T, N, D, K in sizes
    ]


def each_step(x: Array, W: Array) -> Array:
    """The same product at every step."""
    return x @ W


def state_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, then several."""
    return [{"h": rng.standard_normal((T + 1, N, H))} for T, N, H in ((1, 2, 3), (5, 2, 3))]


def before_and_after(h: Array) -> tuple[Array, Array]:
    """The states before and after each step."""
    before, after = h[:-1], h[1:]
    return before, after


EXERCISES = [
    Reference("00/ex1", centred, centre_cases, ("centred",)),
    Reference("00/ex2", each_step, apply_cases, ("y",), timed=("y",), backwards=False),
    Reference(
        "00/ex3",
        before_and_after,
        state_cases,
        ("before", "after"),
        timed=("before", "after"),
        backwards=False,
    ),
]
