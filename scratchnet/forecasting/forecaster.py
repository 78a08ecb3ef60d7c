"""What every forecaster is: fitted to rows, then given origins, without the rows after each."""

import sys
from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from scratchnet.arguments import checked, checked_methods
from scratchnet.arrays import Array, require_count
from scratchnet.data import require_series
from scratchnet.data.missing import fill_from_past
from scratchnet.data.windows import target_columns
from scratchnet.errors import InvalidValueError


class Forecaster:
    """Forecasts of ``horizon`` rows from the rows before an origin; one row is the one-step case.

    A NaN in the values of ``fit`` and ``predict`` is a missing value (``Series.measured``): among
    the rows that are looked at the last value before takes its place, and it is never a target.

    Parameters
    ----------
    horizon : steps to forecast
    targets : indices of the columns to forecast, in this order (None: all)

    Raises
    ------
    ValueError
        For a horizon below 1, a negative index, or one that is there twice.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        checked_methods(cls, "__init__")

    @checked
    def __init__(self, horizon: int, targets: Sequence[int] | None = None) -> None:
        self.horizon = require_count("horizon", horizon)
        # how many columns there are is known when it is fitted
        self.targets = None if targets is None else target_columns(targets, sys.maxsize)

    @property
    def needs(self) -> int:
        """Rows before an origin that a forecast looks at."""
        return 1

    def fit(self, values: Array) -> Self:
        """Learn from values (T, D); returns itself. The base class only checks them."""
        check_values(values, self.needs + self.horizon, type(self).__name__)
        self.columns(values.shape[1])
        return self

    def predict(self, values: Array, at: Sequence[int] | Array | None = None) -> Array:
        """Forecast the rows origin, origin + 1, ... from the rows before each origin alone.

        Parameters
        ----------
        values : (T, D)
        at : origins (n,); T forecasts the rows after the last one, as None does

        Returns
        -------
        (n, horizon, K), K the number of targets, in the series' unit; (n, horizon, K, Q) where Q
        quantiles are forecast

        Raises
        ------
        ValueError
            Where an origin has fewer than ``needs`` rows before it, or is beyond the end.
        """
        require_series("values", values, missing=True)
        values = fill_from_past(values)
        origins = np.asarray([len(values)] if at is None else at, dtype=np.int64)
        for origin in origins:
            if not self.needs <= origin <= len(values):
                have = (
                    f"values has {len(values)} rows and {type(self).__name__} needs {self.needs}"
                    " before an origin"
                )
                raise InvalidValueError(f"the origin {origin} cannot be forecast from: {have}")
        rows = origins[:, None] + np.arange(-self.needs, 0)
        return self.forecast(values[rows].astype(np.float64), values, origins)

    def forecast(self, x: Array, values: Array, at: Any) -> Array:
        """The rows x (n, needs, D) before each origin to (n, horizon, K); ``values`` and ``at`` for
        forecasters that need all rows."""
        raise NotImplementedError(f"{type(self).__name__} has no forecast")

    def middle(self, forecast: Array) -> Array:
        """One number of each step, where a forecast has several."""
        return forecast

    def columns(self, D: int) -> list[int]:
        """The target columns of D, by index; ValueError where D has not all of them."""
        return target_columns(self.targets, D)

    def chosen(self, x: Array) -> Array:
        """The target columns of x (..., D)."""
        return x if self.targets is None else x[..., self.targets]


def check_values(values: Array, least: int, name: str) -> None:
    """ValueError where a series is not (T, D) or has fewer rows than ``name`` needs."""
    require_series("values", values, missing=True)
    if len(values) < least:
        raise InvalidValueError(f"values has {len(values)} rows but {name} needs at least {least}")
