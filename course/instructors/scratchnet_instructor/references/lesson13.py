"""Lesson 13, forecasting honestly: a baseline, windows, the quantile loss, and coverage."""

import numpy as np

from scratchnet.arrays import Array
from scratchnet_instructor.reference import Arguments, Reference


def seasonal_cases(rng: np.random.Generator) -> list[Arguments]:
    """Less than a season ahead, and more than one."""
    return [
        {"past": rng.standard_normal(m), "horizon": h, "season": s}
        for m, h, s in ((5, 2, 3), (11, 8, 3), (13, 9, 4))
    ]


def seasonal(past: Array, horizon: int, season: int) -> Array:
    """The last season, again and again."""
    last = past[len(past) - season :]
    return last[np.arange(horizon) % season]


def window_cases(rng: np.random.Generator) -> list[Arguments]:
    """A start that leaves room before it, and one that does not."""
    return [
        {"values": rng.standard_normal(T), "width": w, "start": s}
        for T, w, s in ((8, 2, 4), (12, 3, 7), (9, 4, 2))
    ]


def test_windows(values: Array, width: int, start: int) -> tuple[Array, Array]:
    """Every row from start on that has width rows before it."""
    at = np.arange(max(start, width), len(values))
    x = values[at[:, None] + np.arange(-width, 0)]
    return x, values[at]


def quantile_cases(rng: np.random.Generator) -> list[Arguments]:
    """A high level and a low one."""
    found: list[Arguments] = []
    for n, q in ((5, 0.9), (7, 0.05), (5, 0.3)):
        y, truth = rng.standard_normal((2, n))
        truth[:1] = y[:1] if found else truth[:1]  # one is exactly right
        found.append({"y": y, "truth": truth, "q": q})
    return found


def quantile_loss(y: Array, truth: Array, q: float) -> tuple[float, Array]:
    """Pinball."""
    r = truth - y
    loss = np.mean(np.maximum(q * r, (q - 1) * r))
    dy = np.where(r > 0, -q, 1 - q) / len(y)
    return float(loss), dy


def coverage_cases(rng: np.random.Generator) -> list[Arguments]:
    """One step, and several; some of the truth is exactly on an end."""
    found = []
    for n, horizon in ((5, 2), (7, 3)):
        low = rng.standard_normal((n, horizon))
        high = low + rng.uniform(0.5, 2, (n, horizon))
        truth = low + rng.uniform(-0.8, 2.2, (n, horizon))
        truth[0, 0], truth[1, 0] = high[0, 0], low[1, 0]
        found.append({"low": low, "high": high, "truth": truth})
    return found


def covered(low: Array, high: Array, truth: Array) -> tuple[float, float]:
    """How often, and how wide."""
    inside = (low <= truth) & (truth <= high)
    return float(inside.mean()), float((high - low).mean())


EXERCISES = [
    Reference(
        "13/ex1", seasonal, seasonal_cases, ("forecast",), timed=("forecast",), backwards=False
    ),
    Reference("13/ex2", test_windows, window_cases, ("x", "y")),
    Reference("13/ex3", quantile_loss, quantile_cases, ("loss", "dy")),
    Reference("13/ex4", covered, coverage_cases, ("inside", "width")),
]
