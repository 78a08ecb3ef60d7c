"""Augmentation: each epoch sees a slightly different version of every training sequence.

    fit(..., augment=both(gaussian_noise(0.05), time_warp(0.2)))

An augmentation is a function (x, rng, lengths) -> x of a batch x (N, T, D), samples first; the
target stays. It tells the network what must not matter, which is only true where it does not: a
warped heartbeat is the same heartbeat, a warped price series has another volatility.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from scratchnet.arrays import Array, to_host

Augmentation = Callable[[Array, np.random.Generator, Any], Array]


def gaussian_noise(sigma: float) -> Augmentation:
    """x + sigma e, e standard normal, anew for each number. ``sigma`` in the units of x, so scale
    the data first.

    Source: Bishop 1995, Training with noise is equivalent to Tikhonov regularization.
    """
    require_positive("sigma", sigma)

    def noisy(x: Array, rng: np.random.Generator, lengths: Any = None) -> Array:
        require_sequences(x)
        return x + np.asarray(sigma * rng.standard_normal(x.shape), dtype=x.dtype, like=x)

    return noisy


def time_warp(strength: float, knots: int = 4) -> Augmentation:
    """Each sequence is read at another speed here and there, from its own first step to its own
    last.

    Between ``knots`` points in time the speed changes in lines, by a factor exp(strength e) at
    each, e standard normal; position is the running sum of speed, so time never runs backwards.
    Values between two steps lie on the line between them. With ``lengths`` a sequence is warped
    within its length and its padding is left alone. Source: Um et al. 2017, Data augmentation of
    wearable sensor data (there with a cubic spline).
    """
    require_positive("strength", strength)
    if knots < 2:
        raise ValueError(f"knots is {knots}: expected at least 2")

    def warped(x: Array, rng: np.random.Generator, lengths: Any = None) -> Array:
        require_sequences(x)
        N, T, _ = x.shape
        ends = np.full(N, T) if lengths is None else np.asarray(to_host(lengths))
        # (N, T) where each step is read, in steps
        at = np.tile(np.arange(T, dtype=np.float64), (N, 1))
        for n, length in enumerate(ends):
            speed = np.exp(strength * rng.standard_normal(knots))
            speed = np.interp(np.linspace(0, 1, int(length)), np.linspace(0, 1, knots), speed)
            position = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2)])
            at[n, :length] = position / (position[-1] or 1.0) * (length - 1)
        before = np.minimum(at.astype(np.int64), np.maximum(ends - 2, 0)[:, None])
        # padding is read where it stands
        before = np.where(np.arange(T) < ends[:, None], before, np.arange(T))
        # Behind a sequence's last step stands what is not its own: there both neighbours are the
        # same.
        after = np.where(
            np.arange(T) < ends[:, None], np.minimum(before + 1, ends[:, None] - 1), before
        )
        share = np.asarray(at - before, dtype=x.dtype, like=x)[:, :, None]
        rows = np.asarray(np.arange(N)[:, None], like=x)
        low, high = np.asarray(before, like=x), np.asarray(after, like=x)
        return (1 - share) * x[rows, low] + share * x[rows, high]

    return warped


def both(*augmentations: Augmentation) -> Augmentation:
    """One after the other."""

    def all_of_them(x: Array, rng: np.random.Generator, lengths: Any = None) -> Array:
        for augmentation in augmentations:
            x = augmentation(x, rng, lengths)
        return x

    return all_of_them


def require_positive(name: str, value: float) -> None:
    """ValueError unless the value is a positive number."""
    if not 0 < value < float("inf"):
        raise ValueError(f"{name} is {value}: expected a positive number")


def require_sequences(x: Array) -> None:
    """ValueError unless x is a batch of sequences, samples first."""
    if getattr(x, "ndim", 0) != 3:
        raise ValueError(
            f"x is {tuple(np.shape(x))}: expected (N, T, D), a batch of sequences, samples first"
        )
