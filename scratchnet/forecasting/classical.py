"""Classical forecasts that a network must beat: the last value, the last season, an autoregression,
and exponential smoothing by statsmodels."""

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from scratchnet.arrays import Array, require_count
from scratchnet.data.missing import fill_from_past
from scratchnet.errors import MissingPackageError, UnavailableError
from scratchnet.forecasting import baselines
from scratchnet.forecasting.forecaster import Forecaster, check_values


class LastValue(Forecaster):
    """Every step is the last row."""

    def forecast(self, x: Array, values: Array, at: Any) -> Array:
        return baselines.last_value(self.chosen(x), self.horizon).reshape(len(x), self.horizon, -1)


class SeasonalLastValue(Forecaster):
    """Every step is the row one ``season`` of rows before it."""

    def __init__(self, horizon: int, season: int, targets: Sequence[int] | None = None) -> None:
        super().__init__(horizon, targets)
        self.season = require_count("season", season)

    @property
    def needs(self) -> int:
        return self.season

    def forecast(self, x: Array, values: Array, at: Any) -> Array:
        y = baselines.seasonal_last_value(self.chosen(x), self.horizon, self.season)
        return y.reshape(len(x), self.horizon, -1)


class AutoregressionForecaster(Forecaster):
    """An autoregression of all columns on their last rows, by least squares, step after step.

    Parameters
    ----------
    horizon, targets : see ``Forecaster``
    order : rows to predict from
    season : predict the differences from the row one season before, which removes a yearly or daily
        shape (None: predict the values)

    Examples
    --------
    >>> values = np.sin(np.arange(60.0))[:, None]  # a sine is an autoregression of order 2
    >>> forecaster = AutoregressionForecaster(horizon=3, order=2).fit(values[:50])
    >>> np.allclose(forecaster.predict(values, [50])[0], values[50:53])
    True
    """

    def __init__(
        self,
        horizon: int,
        order: int,
        targets: Sequence[int] | None = None,
        season: int | None = None,
    ) -> None:
        super().__init__(horizon, targets)
        self.model = baselines.Autoregression(order)
        self.order = order
        self.season = None if season is None else require_count("season", season)

    @property
    def needs(self) -> int:
        return self.order + (self.season or 0)

    def fit(self, values: Array) -> Self:
        check_values(values, self.needs + self.horizon, f"an autoregression of order {self.order}")
        self.columns(values.shape[1])
        s, known = self.season, fill_from_past(values)
        # a target must be measured, all of its row; the rows that it is predicted from need not
        measured: Array = np.asarray(~np.isnan(values).any(axis=1))
        if s is None:
            self.model.fit(known, measured)
        else:
            self.model.fit(known[s:] - known[:-s], measured[s:])
        return self

    def forecast(self, x: Array, values: Array, at: Any) -> Array:
        n, width, D = x.shape
        if self.season is None:
            return self.chosen(self.model.predict(x, self.horizon).reshape(n, self.horizon, D))
        s = self.season
        changes = self.model.predict(x[:, s:] - x[:, :-s], self.horizon).reshape(n, self.horizon, D)
        rows = np.concatenate([x, changes], axis=1)
        for t in range(width, width + self.horizon):  # undoes  x[:, s:] - x[:, :-s]
            rows[:, t] += rows[:, t - s]
        return self.chosen(rows[:, width:])


class Smoothing(Forecaster):
    """Exponential smoothing of one column (Holt and Winters): level, trend and season.

    Parameters are fitted once, by statsmodels; for each origin the states are run over all rows
    before it. statsmodels knows no mask: a missing value counts in the fit as the last one before.

    Parameters
    ----------
    horizon : steps to forecast
    season : rows of a season (None: no season)
    trend : "add" or "mul" (None: no trend)
    column : which column to forecast

    Raises
    ------
    ImportError
        Where statsmodels is not installed.
    ValueError
        For fewer than two seasons of rows.
    """

    def __init__(
        self, horizon: int, season: int | None = None, trend: str | None = "add", column: int = 0
    ) -> None:
        super().__init__(horizon, [column])
        self.season, self.trend, self.column = season, trend, column
        self.params: dict[str, Any] | None = None

    @property
    def needs(self) -> int:
        return max(10, 2 * (self.season or 1) + 3)  # the fewest rows that statsmodels fits

    def fit(self, values: Array) -> Self:
        check_values(values, self.needs + self.horizon, "Smoothing")
        self.columns(values.shape[1])
        found = self._model(fill_from_past(values)).fit().params
        self.params = {
            name: found[name]
            for name in ("smoothing_level", "smoothing_trend", "smoothing_seasonal")
        }
        return self

    def forecast(self, x: Array, values: Array, at: Any) -> Array:
        if self.params is None:
            raise UnavailableError(
                "this Smoothing has not been fitted: call fit(values[train]) first"
            )
        given = {name: value for name, value in self.params.items() if np.isfinite(value)}
        rows = []
        for origin in at:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # statsmodels warns where it is told the parameters
                rows.append(
                    self._model(values[:origin])
                    .fit(optimized=False, **given)
                    .forecast(self.horizon)
                )
        return np.stack(rows)[:, :, None]

    def _model(self, values: Array) -> Any:
        try:
            from statsmodels.tsa.holtwinters import ExponentialSmoothing
        except ImportError:
            raise MissingPackageError(
                "statsmodels is not installed: pip install statsmodels"
            ) from None
        seasonal = None if self.season is None else "add"
        column = np.asarray(values[:, self.column], dtype=np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ExponentialSmoothing(
                column,
                trend=self.trend,
                seasonal=seasonal,
                seasonal_periods=self.season,
                initialization_method="heuristic",
            )
