"""Metrics, and baselines that every forecast should beat: the last value, and an autoregression by
least squares.

Yearly sunspots (``datasets.load("sunspots")``), fitted up to 1920, one-step forecasts of 1921 to
1955:

                         MSE       MAE    relative variance
    last value          638.31    20.349       0.4268
    Autoregression(9)   189.19    10.382       0.1265

The relative variance here is the MSE over the variance of the whole series 1700 to 1979, 1495.59:
the span that the classical sunspot experiments had. Over the variance of the 35 targets themselves,
1673.73, the autoregression has 0.1130.
"""

from typing import Self

import numpy as np

from scratchnet.arrays import Array, require_count, require_floating, require_shape
from scratchnet.data import require_series, sliding_windows
from scratchnet.errors import InvalidValueError, UnavailableError


def mean_squared_error(prediction: Array, target: Array) -> float:
    """Mean squared error of two arrays of the same shape, in the target's unit squared."""
    return float(np.mean(_error(prediction, target) ** 2))


def mean_absolute_error(prediction: Array, target: Array) -> float:
    """Mean absolute error of two arrays of the same shape, in the target's unit."""
    return float(np.mean(np.abs(_error(prediction, target))))


def relative_variance(prediction: Array, target: Array, of: Array | None = None) -> float:
    """Mean squared error over a variance: 0 is perfect, 1 is no better than a constant; no unit.

    Numbers with different ``of`` cannot be compared: those for sunspots at the top of this file
    divide by the variance of the series 1700 to 1979, whichever years the errors come from.

    Parameters
    ----------
    prediction, target : (n, K)
    of : (M, K), the values whose variance divides, over M and about each column's mean (None: the
        targets, and the result is 1 - R^2)

    Raises
    ------
    ValueError
        Where shapes differ, n is 0, or the values do not vary.
    TypeError
        For anything but floating arrays.

    References
    ----------
    Weigend, Huberman and Rumelhart 1990, "average relative variance".

    Examples
    --------
    >>> target = np.array([[0.0], [2.0]])
    >>> relative_variance(target + 0.5, target)
    0.25
    """
    error = mean_squared_error(prediction, target)
    if of is None:
        of = target
    require_floating("of", of)
    rows = of.shape[0] if of.ndim else 0
    require_shape(
        "of",
        of,
        (rows, *target.shape[1:]),
        f"target is {tuple(target.shape)}, and may differ in rows only",
    )
    # Not by their computed variance: that of ten values of 0.1 is computed as 1e-34, not 0.
    if rows == 0 or bool((of == of[:1]).all()):
        raise InvalidValueError(f"the {rows} rows whose variance is to divide do not vary")
    return error / float(np.mean(np.var(of, axis=0, dtype=np.float64)))


def _error(prediction: Array, target: Array) -> Array:
    """prediction - target in float64; equal shapes, because (n, 1) - (n,) would silently be (n,
    n)."""
    require_floating("prediction", prediction)
    require_floating("target", target)
    require_shape("prediction", prediction, target.shape, f"target is {tuple(target.shape)}")
    if 0 in target.shape:
        raise InvalidValueError(f"target is {tuple(target.shape)}: there is nothing to average")
    return prediction.astype(np.float64) - target.astype(np.float64)


def last_value(x: Array, horizon: int = 1) -> Array:
    """The last row of each window, ``horizon`` times: windows x (n, width, D) to (n, horizon * D).

    Where only some columns are targets: ``last_value(x[:, :, targets], horizon)``. Raises
    ValueError or TypeError where x is not (n, width, D) or horizon is less than 1.
    """
    _check_windows(x, 1, horizon)
    return np.tile(x[:, -1], (1, horizon))


def seasonal_last_value(x: Array, horizon: int, season: int) -> Array:
    """The row one season before each step: windows x (n, width, D) to (n, horizon * D).

    Beyond one season the last one is repeated. Raises ValueError or TypeError where x is not
    (n, width, D), is shorter than a season, or horizon or season is less than 1.
    """
    require_count("season", season)
    _check_windows(x, season, horizon)
    steps = np.arange(horizon) % season
    last = x[:, x.shape[1] - season :]
    return last[:, np.asarray(steps, like=x)].reshape(len(x), -1)


class Autoregression:
    """row[t] = intercept + sum over lags k of row[t - k] A_k, fitted by least squares; for one
    column, the classical AR.

    ``intercept`` (D,), ``coefficients`` (order, D, D) with A_k at index k - 1, both float64 once
    ``fit`` has run.
    """

    def __init__(self, order: int) -> None:
        """Raises ValueError unless order is at least 1."""
        self.order = require_count("order", order)
        self.intercept: Array | None = None
        self.coefficients: Array | None = None

    def fit(self, values: Array, measured: Array | None = None) -> Self:
        """Fit to values (T, D), the training rows in order; returns itself.

        ``measured`` (T,): rows that are predicted from but not predicted are False.

        Computes in float64 whatever the type: neighbouring rows are nearly equal, and float32 loses
        their differences. Raises ValueError where there are fewer equations than unknowns, or
        values is not (T, D) and finite.
        """
        require_series("values", values)
        T, D = values.shape
        unknowns = 1 + self.order * D
        if T - self.order < unknowns:
            raise InvalidValueError(
                f"values has {T} rows but order {self.order} with D = {D} has {unknowns} unknowns"
                f" for each column: expected at least {self.order + unknowns} rows"
            )
        x, y, at = sliding_windows(values.astype(np.float64), self.order)
        if measured is not None and not measured.all():
            x, y = x[measured[at]], y[measured[at]]
            if len(x) < unknowns:
                raise InvalidValueError(
                    f"{len(x)} rows were measured but order {self.order} with D = {D} has"
                    f" {unknowns} unknowns for each column"
                )
        newest_first = x[:, ::-1].reshape(len(x), -1)
        rows = np.concatenate([np.ones_like(newest_first[:, :1]), newest_first], axis=1)
        solution = np.linalg.lstsq(rows, y, rcond=None)[0]
        self.intercept, self.coefficients = solution[0], solution[1:].reshape(self.order, D, D)
        return self

    def predict(self, x: Array, horizon: int = 1) -> Array:
        """Windows x (n, width, D) to the ``horizon`` rows after each, (n, horizon * D), of x's
        type.

        width may exceed the order; the older rows are not looked at. Beyond the first step,
        predictions are predicted from. Raises RuntimeError before ``fit``, ValueError where width
        is less than the order or D is not what was fitted.
        """
        if self.intercept is None or self.coefficients is None:
            raise UnavailableError(
                f"this Autoregression({self.order}) has not been fitted: call fit(values[train])"
                " first"
            )
        _check_windows(x, self.order, horizon)
        n, width, D = x.shape
        if len(self.intercept) != D:
            raise InvalidValueError(
                f"x has {D} columns but the autoregression was fitted to {len(self.intercept)}"
            )
        rows = np.empty_like(x, shape=(n, width + horizon, D), dtype=np.float64)
        rows[:, :width] = x
        for t in range(width, width + horizon):
            rows[:, t] = self.intercept + sum(
                rows[:, t - k] @ self.coefficients[k - 1] for k in range(1, self.order + 1)
            )
        return rows[:, width:].reshape(n, horizon * D).astype(x.dtype)


def _check_windows(x: Array, least: int, horizon: int) -> None:
    require_floating("x", x)
    if x.ndim != 3:
        raise InvalidValueError(f"x is {tuple(x.shape)}: expected windows (n, width, D)")
    if x.shape[1] < least:
        raise InvalidValueError(
            f"x has windows of {x.shape[1]} rows: expected at least {least} to predict from"
        )
    if horizon < 1:
        raise InvalidValueError(f"horizon is {horizon}: expected at least 1 step")
