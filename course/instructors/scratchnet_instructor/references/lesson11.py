"""Lesson 11, characters: bits, temperature, streams, and the k likeliest."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_instructor.reference import Arguments, Reference


def bits_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, then streams; logits of which exp overflows."""
    found = []
    for T, N, K, size in ((1, 2, 3, 1.0), (5, 2, 3, 2.0), (3, 5, 7, 1.0)):
        found.append(
            {"logits": size * rng.standard_normal((T, N, K)), "target": rng.integers(0, K, (T, N))}
        )
    large = found[-1]["logits"] + 2000
    return [*found, {"logits": large, "target": found[-1]["target"]}]


def bits_per_character(logits: Array, target: Array) -> float:
    """Log softmax of the right ones, in bits."""
    a = logits - logits.max(axis=-1, keepdims=True)
    log_p = a - np.log(np.exp(a).sum(axis=-1, keepdims=True))
    right = np.take_along_axis(log_p, target[..., None], axis=-1)
    return -float(np.mean(right)) / float(np.log(2))


def heated_cases(rng: np.random.Generator) -> list[Arguments]:
    """Cold, as it is, and hot."""
    return [
        {"logits": 2 * rng.standard_normal((N, K)), "temperature": t}
        for N, K, t in ((1, 3, 0.5), (2, 5, 0.8), (3, 7, 2.0))
    ]


def heated(logits: Array, temperature: float) -> tuple[Array, Array]:
    """Divide, softmax, entropy."""
    z = logits / temperature
    e = np.exp(z - z.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    entropy = -(p * np.log2(p)).sum(axis=1)
    return p, entropy


def cut_cases(rng: np.random.Generator) -> list[Arguments]:
    """One stream, then several: with something left over, and with nothing."""
    return [
        {"tokens": rng.permutation(M), "count": n} for M, n in ((5, 1), (20, 3), (13, 4), (12, 4))
    ]


def cut(tokens: Array, count: int) -> tuple[Array, Array]:
    """Rows of the text become columns."""
    T = (len(tokens) - 1) // count
    end = T * count
    x = tokens[:end].reshape(count, T).T
    target = tokens[1 : end + 1].reshape(count, T).T
    return x, target


def top_cases(rng: np.random.Generator) -> list[Arguments]:
    """One row, then several; all that there are."""
    return [
        {"logits": 1.5 * rng.standard_normal((N, K)) - 1, "k": k}
        for N, K, k in ((1, 5, 2), (3, 7, 3), (2, 5, 1), (3, 5, 5))
    ]


def top_k(logits: Array, k: int) -> Array:
    """Minus infinity for the others, then a softmax."""
    least = np.sort(logits, axis=1)[:, -k][:, None]
    z = np.where(logits >= least, logits, -np.inf)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


EXERCISES = [
    Reference("11/ex1", bits_per_character, bits_cases, ("bits",)),
    Reference("11/ex2", heated, heated_cases, ("p", "entropy")),
    Reference("11/ex3", cut, cut_cases, ("x", "target"), timed=("x", "target"), backwards=False),
    Reference("11/ex4", top_k, top_cases, ("p",)),
]
