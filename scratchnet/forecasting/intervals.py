"""Forecast intervals, and their coverage: how often the truth was inside."""

from typing import Any, NamedTuple

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_shape
from scratchnet.errors import InvalidValueError
from scratchnet.forecasting.network import NetworkForecaster


class Coverage(NamedTuple):
    """How much of the truth an interval held."""

    asked: float  # the share that was to lie inside
    inside: float  # the share that did
    by_step: Array  # (horizon,) the same for each step ahead
    # mean width, in the series' unit: a very wide interval covers everything
    width: float

    def __str__(self) -> str:
        ends = f"{self.by_step[0]:.0%} at the first step, {self.by_step[-1]:.0%} at the last"
        return (
            f"asked {self.asked:.0%}, measured {self.inside:.1%} ({ends}), mean width"
            f" {self.width:.4g}"
        )


@checked
def coverage(low: Array, high: Array, truth: Array, asked: float) -> Coverage:
    """How much of truth (n, horizon, K) lies in [low, high], of the same shape.

    Raises ValueError where shapes differ or low is above high.
    """
    for name, bound in (("low", low), ("high", high)):
        require_shape(name, bound, truth.shape, f"truth is {tuple(truth.shape)}")
    if not 0 < asked < 1:
        raise InvalidValueError(f"asked is {asked}: expected a share between 0 and 1")
    if bool((low > high).any()):
        raise InvalidValueError("low is above high somewhere: an interval goes from low to high")
    inside = (low <= truth) & (truth <= high)
    return Coverage(
        asked, float(inside.mean()), inside.mean(axis=(0, 2)), float(np.mean(high - low))
    )


@checked
def pinball(forecast: Array, truth: Array, level: float) -> float:
    """The quantile loss of a forecast at one level, in the series' unit: lower is better, and both
    width and misses add to it."""
    r = truth - forecast
    return float(np.mean(np.maximum(level * r, (level - 1) * r)))


@checked
def dropout_interval(
    forecaster: NetworkForecaster,
    values: Array,
    at: Any,
    *,
    asked: float = 0.9,
    samples: int = 100,
    noise: bool = True,
    seed: int = 0,
) -> tuple[Array, Array, Array]:
    """An interval from dropout that stays on while forecasting.

    Each sample runs the network with another mask; their spread is the uncertainty about the
    network. The noise of the series itself is added with ``noise``, as errors drawn from those of
    the validation rows, all steps of a forecast at a time. Without it the interval is far too
    narrow (measure it).

    Parameters
    ----------
    forecaster : fitted, with dropout
    values, at : see ``Forecaster.predict``
    asked : share of the truth that is to lie inside
    samples : forecasts with dropout
    noise : add errors of the validation rows
    seed : of the errors drawn

    Returns
    -------
    low, median, high : (n, horizon, K) each

    Raises
    ------
    ValueError
        Where the network has no dropout, or no errors to add: a loaded forecaster has none.

    References
    ----------
    Gal and Ghahramani 2016, Dropout as a Bayesian approximation.
    """
    if forecaster.config.dropout == 0:
        raise InvalidValueError("the forecaster's dropout is 0: all samples would be the same")
    if not 0 < asked < 1 or samples < 2:
        raise InvalidValueError(
            f"asked is {asked} and samples {samples}: expected a share between 0 and 1, and at"
            " least 2"
        )
    if noise and forecaster.model is not None and not len(forecaster.errors):
        raise InvalidValueError("the forecaster has no validation errors to add: give noise=False")
    rng = np.random.default_rng(seed)
    forecaster.dropping = True
    try:
        # (samples, n, horizon, K)
        drawn = np.stack([forecaster.predict(values, at) for _ in range(samples)])
    finally:
        forecaster.dropping = False
    if noise:
        drawn = drawn + forecaster.errors[rng.integers(0, len(forecaster.errors), drawn.shape[:2])]
    low, middle, high = np.quantile(drawn, [(1 - asked) / 2, 0.5, (1 + asked) / 2], axis=0)
    return low, middle, high
