"""Lesson 08, truncated and stateful BPTT: windows, the share lost, carrying the state."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import rnn
from scratchnet_instructor.reference import Arguments, Reference


def window_cases(rng: np.random.Generator) -> list[Arguments]:
    """Chunks that fit, then overlapping windows, and a rest at the end."""
    found: list[Arguments] = [{"T": 8, "k1": 4, "k2": 4}, {"T": 12, "k1": 3, "k2": 5}]
    for _ in range(3):
        k1, whole = int(rng.integers(3, 6)), int(rng.integers(3, 6))
        found.append(
            {
                "T": k1 * whole + int(rng.integers(1, k1)),
                "k1": k1,
                "k2": k1 + int(rng.integers(2, 2 * k1)),
            }
        )
    return found


def windows(T: int, k1: int, k2: int) -> Array:
    """Every k1 steps one."""
    found = []
    for new in range(0, T, k1):
        stop = min(new + k1, T)
        found.append((max(0, stop - k2), new, stop))
    return np.array(found)


def share_cases(rng: np.random.Generator) -> list[Arguments]:
    """Ones at every step, then random gradients; a rest at the end."""
    found: list[Arguments] = []
    for T, k in ((4, 2), (12, 4), (17, 5), (4, 2), (4, 2)):
        dy = rng.uniform(0.2, 1.5, T)
        found.append({"u": float(rng.uniform(0.6, 0.99)), "dy": dy, "k": k})
    found[-2]["dy"][:2] -= 5  # the whole is negative, and what is lost is not
    found[-1]["dy"][2:] *= -0.1  # and the other way round
    return found


def share_lost(u: float, dy: Array, k: int) -> tuple[float, float, float]:
    """Pair by pair."""
    kept, whole = 0.0, 0.0
    for tau in range(len(dy)):
        for t in range(tau + 1):
            term = dy[tau] * u ** (tau - t)
            whole += term
            if t >= tau - tau % k:
                kept += term
    return kept, whole, abs(whole - kept) / abs(whole)


def stateful_cases(rng: np.random.Generator) -> list[Arguments]:
    """Two chunks of one unit, then three of several."""
    found: list[Arguments] = []
    for T, N, D, H, k in ((4, 2, 3, 5, 2), (9, 1, 2, 5, 3), (10, 3, 2, 7, 5)):
        params = {
            name: rng.standard_normal(shape) / np.sqrt(H)
            for name, shape in rnn.param_shapes(D, H).items()
        }
        arrays = {
            "x": rng.standard_normal((T, N, D)),
            "dy": rng.standard_normal((T, N, H)),
            "h0": rng.standard_normal((N, H)),
        }
        found.append({**arrays, **params, "k": k})
    return found


def stateful(
    x: Array, dy: Array, h0: Array, W_x: Array, W_h: Array, b: Array, k: int
) -> tuple[Array, Array]:
    """Chunk after chunk: forward from the state carried, back to the chunk's first step."""
    y, dW_h, state = np.zeros_like(dy), np.zeros_like(W_h), h0
    for start in range(0, len(x), k):
        h = [state]
        for t in range(start, start + k):
            h.append(np.tanh(x[t] @ W_x + h[-1] @ W_h + b))
            y[t] = h[-1]
        dh_next = np.zeros_like(h0)
        for t in reversed(range(k)):
            da = (dy[start + t] + dh_next) * (1 - h[t + 1] ** 2)
            dW_h += h[t].T @ da
            dh_next = da @ W_h.T
        state = h[-1]
    return y, dW_h


def truncated_cases(rng: np.random.Generator) -> list[Arguments]:
    """One unit in two windows, then overlapping windows with a rest at the end."""
    found: list[Arguments] = []
    for T, N, D, H, k1, k2 in ((4, 2, 3, 5, 2, 3), (9, 1, 2, 5, 3, 5), (11, 3, 2, 7, 3, 7)):
        params = [
            rng.standard_normal(shape) / np.sqrt(H) for shape in rnn.param_shapes(D, H).values()
        ]
        x = rng.standard_normal((T, N, D))
        _, cache = rnn.forward(x, rng.standard_normal((N, H)), *params)
        found.append(
            {
                "dy": rng.standard_normal((T, N, H)),
                "x": x,
                "h": cache.h,
                "W_h": params[1],
                "k1": k1,
                "k2": k2,
            }
        )
    return found


def truncated(
    dy: Array, x: Array, h: Array, W_h: Array, k1: int, k2: int
) -> tuple[Array, Array, Array]:
    """Window by window."""
    T, N, D = x.shape
    dW_x, dW_h, db = np.zeros((D, len(W_h))), np.zeros_like(W_h), np.zeros(len(W_h))
    for new in range(0, T, k1):
        stop = min(new + k1, T)
        start = max(0, stop - k2)
        dh_next = np.zeros((N, len(W_h)))
        for t in reversed(range(start, stop)):
            dh = dh_next + (dy[t] if t >= new else 0)
            da = dh * (1 - h[t + 1] ** 2)
            dW_x += x[t].T @ da
            dW_h += h[t].T @ da
            db += da.sum(axis=0)
            dh_next = da @ W_h.T
    return dW_x, dW_h, db


EXERCISES = [
    Reference("08/ex1", windows, window_cases, ("windows",)),
    Reference("08/ex2", share_lost, share_cases, ("kept", "whole", "share")),
    Reference("08/ex3", stateful, stateful_cases, ("y", "dW_h"), timed=("y",), backwards=False),
    Reference("08/ex4", truncated, truncated_cases, ("dW_x", "dW_h", "db")),
]
