"""Lesson 12, ragged batches and attention: reversing, a masked loss, pooling, a softmax."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_instructor.reference import Arguments, Reference


def turn_cases(rng: np.random.Generator) -> list[Arguments]:
    """A full sequence, then a ragged batch with something in its padding."""
    shapes = ((5, 1, 2, [5]), (7, 3, 2, [7, 2, 3]), (5, 3, 2, [1, 4, 2]))
    return [
        {"x": rng.standard_normal((T, N, D)), "lengths": np.array(lengths)}
        for T, N, D, lengths in shapes
    ]


def turn_around(x: Array, lengths: Array) -> Array:
    """The row from which each row comes, then one look-up."""
    T, N, _ = x.shape
    t = np.arange(T)[:, None]
    source = np.where(t < lengths, lengths - 1 - t, t)
    return x[source, np.arange(N)]


def ragged(rng: np.random.Generator, T: int, N: int) -> Array:
    """Lengths of which one is T and one is shorter, where there are two."""
    lengths = rng.integers(1, T + 1, N)
    lengths[-1] = max(1, T - 2)
    lengths[0] = T
    return lengths


def masked_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, and ragged batches with numbers in the padding, one or several outputs a step."""
    found = []
    for T, N, K in ((1, 2, 3), (5, 2, 1), (7, 3, 2)):
        y, target = rng.standard_normal((2, T, N, K))
        found.append({"y": y, "target": target, "lengths": ragged(rng, T, N)})
    return found


def masked_mse(y: Array, target: Array, lengths: Array) -> tuple[float, Array]:
    """Multiply by a mask, divide by what it keeps."""
    K = y.shape[2]
    mask = (np.arange(len(y))[:, None] < lengths)[:, :, None]
    n = mask.sum() * K
    r = (y - target) * mask
    dy = 2 * r / n
    return float(np.sum(r * r)) / n, dy


def pool_cases(rng: np.random.Generator) -> list[Arguments]:
    """One sequence, and ragged batches with numbers in the padding."""
    found = []
    for T, N, D, U in ((3, 1, 2, 5), (5, 2, 3, 7), (7, 3, 2, 5)):
        W, b, v = rng.standard_normal((D, U)), rng.standard_normal(U), 2 * rng.standard_normal(U)
        found.append(
            {
                "x": rng.standard_normal((T, N, D)),
                "lengths": ragged(rng, T, N),
                "W": W,
                "b": b,
                "v": v,
            }
        )
    return found


def pool(x: Array, lengths: Array, W: Array, b: Array, v: Array) -> tuple[Array, Array]:
    """Scores, minus infinity in the padding, softmax over time, a weighted mean."""
    scores = np.tanh(x @ W + b) @ v
    t = np.arange(len(x))[:, None]
    scores = np.where(t < lengths, scores, -np.inf)
    raised = np.exp(scores - scores.max(axis=0))
    weights = raised / raised.sum(axis=0)
    return (weights[:, :, None] * x).sum(axis=0), weights


def back_cases(rng: np.random.Generator) -> list[Arguments]:
    """One sequence, then batches; the weights sum to one over time."""
    found = []
    for T, N, D in ((2, 1, 3), (5, 3, 2), (5, 2, 3)):
        raised = rng.uniform(0.1, 1, (T, N))
        found.append(
            {
                "dy": rng.standard_normal((N, D)),
                "weights": raised / raised.sum(axis=0),
                "x": rng.standard_normal((T, N, D)),
            }
        )
    return found


def pool_backward(dy: Array, weights: Array, x: Array) -> tuple[Array, Array]:
    """To the weights, through the softmax; and to x."""
    dx = weights[:, :, None] * dy
    dweights = (dy * x).sum(axis=2)
    average = (weights * dweights).sum(axis=0)
    dscores = weights * (dweights - average)
    return dscores, dx


EXERCISES = [
    Reference("12/ex1", turn_around, turn_cases, ("turned",), timed=("turned",), backwards=False),
    Reference("12/ex2", masked_mse, masked_cases, ("loss", "dy"), timed=("dy",)),
    Reference("12/ex3", pool, pool_cases, ("y", "weights"), timed=("weights",), backwards=False),
    Reference("12/ex4", pool_backward, back_cases, ("dscores", "dx"), timed=("dscores", "dx")),
]
