"""Lesson 09, long memory: a task's target, trivial baselines, time constants, a count of pairs."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_instructor.reference import Arguments, Reference


def target_cases(rng: np.random.Generator) -> list[Arguments]:
    """Two steps, then sequences with two marks each, and one with three."""
    found = []
    for T, N, marks in ((3, 2, 2), (7, 3, 2), (7, 5, 3)):
        x = np.zeros((T, N, 2))
        x[:, :, 0] = rng.uniform(-1, 2, (T, N))
        for n in range(N):
            x[rng.permutation(T)[:marks], n, 1] = 1
        found.append({"x": x})
    return found


def target(x: Array) -> Array:
    """Number times mark, over time."""
    numbers, marks = x[:, :, :1], x[:, :, 1:]
    return np.sum(numbers * marks, axis=0)


def lines_cases(rng: np.random.Generator) -> list[Arguments]:
    """The papers' numbers, then others."""
    return [
        {
            "low": float(rng.uniform(-2, 0)),
            "high": float(rng.uniform(0.5, 2)),
            "S": S,
            "L": L,
            "T": T,
        }
        for S, L, T in ((8, 10, 100), (4, 3, 20), (5, 7, 12))
    ]


def lines(low: float, high: float, S: int, L: int, T: int) -> tuple[float, float]:
    """A variance, and L guesses among S in T + 2 L steps."""
    variance = (high - low) ** 2 / 12
    adding = 2 * variance
    copying = L * np.log(S) / (T + 2 * L)
    return adding, float(copying)


def memory_cases(rng: np.random.Generator) -> list[Arguments]:
    """Two steps of one unit, then runs."""
    return [{"f": rng.uniform(0.3, 0.99, shape)} for shape in ((3, 1, 2), (7, 1, 3), (5, 3, 2))]


def memory(f: Array) -> tuple[Array, Array]:
    """Products of what comes after, and a mean of logarithms."""
    log_f = np.log(f)
    after = np.zeros_like(f)
    after[:-1] = np.cumsum(log_f[:0:-1], axis=0)[::-1]
    tau = -1 / log_f.mean(axis=(0, 1))
    return np.exp(after), tau


def symbol_cases(rng: np.random.Generator) -> list[Arguments]:
    """Two symbols, then more, with pairs that never come."""
    found = []
    for K, M in ((2, 6), (3, 40), (5, 30)):
        x = rng.integers(0, K, M)
        y = (x + rng.integers(0, 2, M) * rng.integers(0, K, M)) % K
        y[x == 0] = rng.integers(0, K, int(np.sum(x == 0)))
        x[:2], y[:2] = 0, (0, 1)
        y[(x == K - 1) & (y == K - 1)] = 0
        if K > 2:  # one symbol comes once
            x[x == 1], x[5] = 2, 1
        found.append({"x": x, "y": y, "K": K})
    return found


def one_symbol(x: Array, y: Array, K: int) -> float:
    """Count pairs, divide by how often the first came."""
    pairs = np.bincount(x * K + y, minlength=K * K).reshape(K, K)
    seen = pairs.sum(axis=1, keepdims=True)
    p = pairs / np.maximum(seen, 1)
    used = p[x, y]
    return -float(np.mean(np.log(used)))


EXERCISES = [
    Reference("09/ex1", target, target_cases, ("y",)),
    Reference("09/ex2", lines, lines_cases, ("adding", "copying")),
    Reference("09/ex3", memory, memory_cases, ("left", "tau"), timed=("left",)),
    Reference("09/ex4", one_symbol, symbol_cases, ("cross_entropy",)),
]
