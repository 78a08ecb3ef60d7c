"""What every forecaster of many steps is: fitted to rows, asked at origins, and never shown what
comes after one."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from scratchnet.arrays import Array
from scratchnet.data import require_series
from scratchnet.errors import InvalidValueError


class Forecaster:
    """Forecasts ``horizon`` rows of the ``targets`` columns (None: all) from the rows before an
    origin.

    ``needs``: how many rows before an origin it looks at. ``fit(values)`` learns from values (T,
    D), all of them past.
    """

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
        """Learn from values (T, D); returns itself.  What has nothing to learn only checks them."""
        check_values(values, self.needs + self.horizon, type(self).__name__)
        return self

    def predict(self, values: Array, at: Sequence[int] | Array) -> Array:
        """values (T, D) and origins (n,) to forecasts (n, horizon, K) of the rows at, at + 1, ...

        Only values[:origin] is looked at; an origin of T asks for what is not there yet.
        Raises ValueError where an origin has too few rows before it, or is beyond the end.
        """
        origins = np.asarray(at, dtype=np.int64)
        require_series("values", values)
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
        those that need all."""
        raise NotImplementedError(f"{type(self).__name__} has no forecast")

    def columns(self, D: int) -> list[int]:
        """The target columns of D, by index."""
        return list(range(D)) if self.targets is None else self.targets

    def chosen(self, x: Array) -> Array:
        """The target columns of x (..., D)."""
        return x if self.targets is None else x[..., self.targets]


def check_values(values: Array, least: int, who: str) -> None:
    """ValueError, with both numbers, where a series is shorter than what is to be learned from it,
    or is not (T, D)."""
    require_series("values", values)
    if len(values) < least:
        raise InvalidValueError(f"values has {len(values)} rows but {who} needs at least {least}")
