"""Forecast intervals, and their coverage: how often the truth was inside."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_count, require_same_dtype, require_shape
from scratchnet.errors import InvalidValueError
from scratchnet.forecasting import conformal
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
    """How much of truth (n, horizon, K) lies in [low, high], of the same shape; NaN in the truth,
    which was not measured, does not count.

    Raises ValueError where shapes differ or low is above high.
    """
    for name, bound in (("low", low), ("high", high)):
        require_shape(name, bound, truth.shape, f"truth is {tuple(truth.shape)}")
    require_same_dtype({"truth": truth, "low": low, "high": high})
    if not 0 < asked < 1:
        raise InvalidValueError(f"asked is {asked}: expected a share between 0 and 1")
    if bool((low > high).any()):
        raise InvalidValueError("low is above high somewhere: an interval goes from low to high")
    if np.isnan(truth).all(axis=(0, 2)).any():
        raise InvalidValueError("nothing was measured at one of the steps ahead")
    inside = np.where(np.isnan(truth), np.nan, (low <= truth) & (truth <= high))
    by_step = np.nanmean(inside, axis=(0, 2))
    return Coverage(asked, float(np.nanmean(inside)), by_step, float(np.mean(high - low)))


@checked
def pinball(forecast: Array, truth: Array, level: float) -> float:
    """The quantile loss of a forecast at one level, in the series' unit: lower is better, and both
    width and misses add to it. NaN in the truth, which was not measured, does not count.

    Raises ValueError where shapes differ, or the level is not between 0 and 1.
    """
    require_shape("forecast", forecast, truth.shape, f"truth is {tuple(truth.shape)}")
    require_same_dtype({"truth": truth, "forecast": forecast})
    if not 0 < level < 1:
        raise InvalidValueError(f"level is {level}: expected a number between 0 and 1")
    r = truth - forecast
    return float(np.nanmean(np.maximum(level * r, (level - 1) * r)))


@checked
def dropout_interval(
    forecaster: NetworkForecaster,
    values: Array,
    at: Sequence[int] | Array | None = None,
    *,
    asked: float = 0.9,
    samples: int = 100,
    noise: bool = True,
) -> tuple[Array, Array, Array]:
    """An interval from dropout that stays on while forecasting.

    Each sample runs the network with another mask; their spread is the uncertainty about the
    network. The noise of the series itself is added with ``noise``: the interval is widened, at
    each step ahead, until it holds the share ``asked`` of the validation rows (``conformal``).
    Without it the interval is far too narrow (measure it).

    Parameters
    ----------
    forecaster : fitted, with dropout
    values, at : see ``Forecaster.predict``
    asked : share of the truth that is to lie inside
    samples : forecasts with dropout
    noise : calibrate on the validation rows

    Returns
    -------
    low, median, high : (n, horizon, K) each

    Raises
    ------
    ValueError
        Where the network has no dropout, or no validation rows: a loaded forecaster has none.

    References
    ----------
    Gal and Ghahramani 2016, Dropout as a Bayesian approximation.
    """
    if forecaster.config.dropout == 0:
        raise InvalidValueError("the forecaster's dropout is 0: all samples would be the same")
    if not 0 < asked < 1:
        raise InvalidValueError(f"asked is {asked}: expected a share between 0 and 1")
    require_count("samples", samples, 2)
    levels = (1 - asked) / 2, 0.5, (1 + asked) / 2
    margin: Array = np.zeros(3)
    if noise and forecaster.model is not None:
        if forecaster.held is None:
            raise InvalidValueError(
                "the forecaster has no validation rows to calibrate the interval: give noise=False"
            )
        rows, origins, truth = forecaster.held
        held = _quantiles(forecaster, rows, origins, samples, levels)
        margin = conformal.margins(held, truth, levels)
    quantiles = np.sort(_quantiles(forecaster, values, at, samples, levels) + margin, axis=-1)
    return quantiles[..., 0], quantiles[..., 1], quantiles[..., 2]


def _quantiles(
    forecaster: NetworkForecaster, values: Array, at: Any, samples: int, levels: Sequence[float]
) -> Array:
    """Quantiles (n, horizon, K, Q) of forecasts with dropout."""
    forecaster.dropping = True
    try:
        drawn = np.stack([forecaster.predict(values, at) for _ in range(samples)])
    finally:
        forecaster.dropping = False
    return np.moveaxis(np.quantile(drawn, levels, axis=0), 0, -1)
