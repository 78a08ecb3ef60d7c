"""What every forecaster is: fitted to rows, then given origins, without the rows after each."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from scratchnet.arguments import checked, checked_methods
from scratchnet.arrays import Array
from scratchnet.data import require_series
from scratchnet.errors import InvalidValueError


class Forecaster:
    """Forecasts of ``horizon`` rows from the rows before an origin; one row is the one-step case.

    Parameters
    ----------
    horizon : steps to forecast
    targets : indices of the columns to forecast, in this order (None: all)

    Raises
    ------
    ValueError
        For a horizon below 1.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        checked_methods(cls, "__init__")

    @checked
    def __init__(self, horizon: int, targets: Sequence[int] | None = None) -> None:
        if horizon < 1:
            raise InvalidValueError(f"horizon is {horizon}: expected at least 1 step")
        self.horizon = horizon
        self.targets = None if targets is None else list(targets)

    @property
    def needs(self) -> int:
        """Rows before an origin that a forecast looks at."""
        return 1

    def fit(self, values: Array) -> Self:
        """Learn from values (T, D); returns itself. The base class only checks them."""
        check_values(values, self.needs + self.horizon, type(self).__name__)
        return self

    def predict(self, values: Array, at: Sequence[int] | Array | None = None) -> Array:
        """Forecast the rows origin, origin + 1, ... from the rows before each origin alone.

        Parameters
        ----------
        values : (T, D)
        at : origins (n,); T forecasts the rows after the last one, as None does

        Returns
        -------
        (n, horizon, K), K the number of targets, in the series' unit

        Raises
        ------
        ValueError
            Where an origin has fewer than ``needs`` rows before it, or is beyond the end.
        """
        require_series("values", values)
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

    def columns(self, D: int) -> list[int]:
        """The target columns of D, by index."""
        return list(range(D)) if self.targets is None else self.targets

    def chosen(self, x: Array) -> Array:
        """The target columns of x (..., D)."""
        return x if self.targets is None else x[..., self.targets]


def check_values(values: Array, least: int, name: str) -> None:
    """ValueError where a series is not (T, D) or has fewer rows than ``name`` needs."""
    require_series("values", values)
    if len(values) < least:
        raise InvalidValueError(f"values has {len(values)} rows but {name} needs at least {least}")
