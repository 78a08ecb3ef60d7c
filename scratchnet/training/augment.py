"""Augmentation: each epoch sees a slightly different version of every training sequence.

    fit(model, Batches(x, y, augment=both(gaussian_noise(0.05), time_warp(0.2))), ...)

An augmentation is a function (x, rng, lengths) -> x of a batch x (N, T, D), samples first; the
target stays. It tells the network what must not matter, which is only true where it does not: a
warped heartbeat is the same heartbeat, a warped price series has another volatility.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, as_lengths, require_count, require_floating, to_host
from scratchnet.errors import InvalidValueError
from scratchnet.training.checks import require_positive

Augmentation = Callable[[Array, np.random.Generator, Any], Array]


@checked
def gaussian_noise(sigma: float) -> Augmentation:
    """x + sigma e, with e standard normal for each number.

    Parameters
    ----------
    sigma : in the units of x, so scale the data first.

    References
    ----------
    Bishop 1995, Training with noise is equivalent to Tikhonov regularization.
    """
    require_positive("sigma", sigma)

    def noisy(x: Array, rng: np.random.Generator, lengths: Any = None) -> Array:
        _require_batch(x, rng)
        return x + np.asarray(sigma * rng.standard_normal(x.shape), dtype=x.dtype, like=x)

    return noisy


@checked
def time_warp(strength: float, knots: int = 4) -> Augmentation:
    """Each sequence is read at a changing speed, from its first step to its last.

    The position is the running sum of the speed, so time never runs backwards. Values between two
    steps lie on the line between them. With ``lengths`` a sequence is warped within its length and
    its padding is left alone.

    Parameters
    ----------
    strength : the speed at each knot is exp(strength e), e standard normal.
    knots : points in time, at least 2; between them the speed changes linearly.

    References
    ----------
    Um et al. 2017, Data augmentation of wearable sensor data (there with a cubic spline).
    """
    require_positive("strength", strength)
    require_count("knots", knots, 2, most=10_000)

    def warped(x: Array, rng: np.random.Generator, lengths: Any = None) -> Array:
        _require_batch(x, rng)
        N, T, _ = x.shape
        checked = None if lengths is None else as_lengths(to_host(lengths), T, N, like=np.empty(0))
        ends = np.full(N, T) if checked is None else checked
        # (N, T) where each step is read, in steps
        at = np.tile(np.arange(T, dtype=np.float64), (N, 1))
        for n, length in enumerate(ends):
            speed = np.exp(strength * rng.standard_normal(knots))
            speed = np.interp(np.linspace(0, 1, int(length)), np.linspace(0, 1, knots), speed)
            position = np.concatenate([[0.0], np.cumsum((speed[1:] + speed[:-1]) / 2)])
            at[n, :length] = position / (position[-1] or 1.0) * (length - 1)
        before = np.minimum(at.astype(np.int64), np.maximum(ends - 2, 0)[:, None])
        # padding stays where it is
        before = np.where(np.arange(T) < ends[:, None], before, np.arange(T))
        # After a sequence's last step comes padding: there both neighbours are the last step.
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


@checked
def _require_batch(x: Array, rng: np.random.Generator) -> None:
    """TypeError or ValueError unless x is a batch of sequences, samples first."""
    require_floating("x", x)
    if x.ndim != 3:
        raise InvalidValueError(
            f"x is {tuple(np.shape(x))}: expected (N, T, D), a batch of sequences, samples first"
        )
