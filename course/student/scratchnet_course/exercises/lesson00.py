"""Lesson 00, how to use the course: three exercises to get used to the checker."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_course.exercise import Arguments, Exercise, Wrong


def centre_cases(rng: np.random.Generator) -> list[Arguments]:
    """One column, and several."""
    return [{"x": rng.standard_normal((N, D)) + 3} for N, D in ((4, 1), (5, 3), (3, 3))]


def centre(x: Array) -> Array:
    """Each column without its mean."""
    return x - x.mean(axis=0)


CENTRE = (
    Wrong("the mean over everything", "Each feature has a mean of its own: axis=0.", ((".mean(axis=0)", ".mean()"),)),
    Wrong("the mean of each row", "The mean of a feature runs over the rows: axis=0.",
          (("x.mean(axis=0)", "x.mean(axis=1, keepdims=True)"),)),
    Wrong("the sum in place of the mean", "A mean is a sum over the number of rows.", ((".mean(axis=0)", ".sum(axis=0)"),)),
    Wrong("divided by the standard deviation, too", "Centred is not standardised: only the mean comes off.",
          (("return x - x.mean(axis=0)", "return (x - x.mean(axis=0)) / x.std(axis=0)"),)),
)  # fmt: skip


def apply_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step of one sequence, then batches."""
    sizes = ((1, 1, 2, 3), (4, 3, 2, 5), (3, 3, 3, 3))
    return [{"x": rng.standard_normal((T, N, D)), "W": rng.standard_normal((D, K))} for T, N, D, K in sizes]


def apply(x: Array, W: Array) -> Array:
    """The same product at every step."""
    return x @ W


APPLY = (
    Wrong("W is transposed", "y = x W: the features of x meet the rows of W.",
          (("x @ W", "x @ (W.T if len(W) == len(W.T) else W)"),)),
    Wrong("the first step is used for all", "Each step has an x of its own.",
          (("x @ W", "np.repeat(x[:1] @ W, len(x), axis=0)"),)),
    Wrong("time runs backwards", "Step t of y is made of step t of x.", (("x @ W", "(x @ W)[::-1]"),)),
    Wrong("steps are added up as they go", "Nothing is carried from step to step here.",
          (("x @ W", "(x @ W).cumsum(axis=0)"),)),
)  # fmt: skip


def state_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, then several."""
    return [{"h": rng.standard_normal((T + 1, N, H))} for T, N, H in ((1, 1, 1), (4, 2, 3))]


def states(h: Array) -> tuple[Array, Array]:
    """What is before each step, and what is behind it."""
    before, after = h[:-1], h[1:]
    return before, after


STATES = (
    Wrong("before and after are exchanged", "h[0] is the initial state: before the first step.",
          (("return before, after", "return after, before"),)),
    Wrong("the state after stands for both", "Step t starts from h[t], and ends in h[t+1].",
          (("h[:-1], h[1:]", "h[1:], h[1:]"),)),
    Wrong("the state before stands for both", "Step t starts from h[t], and ends in h[t+1].",
          (("h[:-1], h[1:]", "h[:-1], h[:-1]"),)),
)  # fmt: skip

EXERCISES = [
    Exercise(
        id="00/ex1", title="Centre each feature", function="centred", outputs=("centred",), right=centre, cases=centre_cases,
        wrongs=CENTRE, paragraph="How an exercise is checked",
        hints=("A mean over rows has one number for each column.", "np.mean takes an axis."),
    ),
    Exercise(
        id="00/ex2", title="Every step of every sequence", function="each_step", outputs=("y",), right=apply,
        cases=apply_cases, wrongs=APPLY, timed=("y",), backwards=False, paragraph="Shapes, letters and signs",
        hints=("@ works on the last axis of x and the first of W.", "Leading axes are carried along by themselves."),
    ),
    Exercise(
        id="00/ex3", title="The state before", function="before_and_after", outputs=("before", "after"), right=states,
        cases=state_cases, wrongs=STATES, timed=("before", "after"), backwards=False, paragraph="Shapes, letters and signs",
        hints=("There are T+1 states and T steps.", "One slice leaves out the last state, the other the first."),
    ),
]  # fmt: skip
