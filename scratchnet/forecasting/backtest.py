"""A backtest: forecasts from origins that roll through time, each from the rows before it.

One split into past and future is one sample. Rolling origins give many, and an error for each step
ahead.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_count
from scratchnet.data import require_series
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.forecasting.forecaster import Forecaster


class Backtest(NamedTuple):
    """Forecasts of several forecasters from the same origins, and the truth, in the series'
    unit. What was not measured, NaN in the truth, counts in no error."""

    at: Any  # (n,) the origins: the first row of each forecast
    truth: Array  # (n, horizon, K)
    forecasts: dict[str, Array]  # name -> (n, horizon, K)
    # mean absolute change from row to row before the first origin, the divisor of MASE
    scale: float

    def rmse(self, name: str) -> Array:
        """(horizon,) root mean squared error of each step ahead."""
        return np.sqrt(np.nanmean((self.forecasts[name] - self.truth) ** 2, axis=(0, 2)))

    def mae(self, name: str) -> Array:
        """(horizon,) mean absolute error of each step ahead."""
        return np.nanmean(np.abs(self.forecasts[name] - self.truth), axis=(0, 2))

    def mase(self, name: str) -> float:
        """Mean absolute error over that of a one-step last value before the first origin. (Hyndman
        and Koehler 2006.)"""
        return float(np.mean(self.mae(name)) / self.scale)

    def table(self, unit: str = "") -> str:
        """Each forecaster's errors over all steps and at the first, middle and last one, best
        first."""
        horizon = self.truth.shape[1]
        steps = sorted({1, (horizon + 1) // 2, horizon})
        width = max(12, *(len(name) for name in self.forecasts)) + 2
        head = "".join(f"{f'RMSE at {s}':>12}" for s in steps)
        head += f"  [{unit}]" if unit else ""
        lines = [f"{f'{len(self.at)} origins':<{width}}{'RMSE':>10}{'MAE':>10}{'MASE':>8}{head}"]
        for name in sorted(self.forecasts, key=self.total):
            by_step = "".join(f"{self.rmse(name)[s - 1]:>12.4g}" for s in steps)
            mae = float(np.mean(self.mae(name)))
            lines.append(
                f"{name:<{width}}{self.total(name):>10.4g}{mae:>10.4g}{self.mase(name):>8.3f}{by_step}"
            )
        return "\n".join(lines)

    def total(self, name: str) -> float:
        """Root mean squared error over all steps."""
        return float(np.sqrt(np.nanmean((self.forecasts[name] - self.truth) ** 2)))


@checked
def backtest(
    makers: Mapping[str, Callable[[], Forecaster]],
    values: Array,
    first: int,
    *,
    step: int = 1,
    refit: int | None = None,
) -> Backtest:
    """Forecast from rolling origins; no forecaster ever sees a row from its origin on.

    Parameters
    ----------
    makers : name -> a function that makes an unfitted forecaster, which is fitted to values[:first]
    values : (T, D); NaN where one is missing, as ``Series.measured``
    first, step : the origins are first, first + step, ... while the whole horizon is in values
    refit : origins after which a new forecaster is fitted, to all rows before (None: never)

    Raises
    ------
    ValueError
        Where no origin fits, horizons or columns differ, there are no makers, or nothing was
        measured at one of the steps ahead.

    Examples
    --------
    >>> from scratchnet.forecasting.classical import LastValue
    >>> values = np.arange(20.0)[:, None]
    >>> backtest({"last value": lambda: LastValue(2)}, values, first=10).rmse("last value")
    array([1., 2.])
    """
    require_series("values", values, missing=True)
    if not makers:
        raise InvalidValueError(
            "there are no forecasters: expected name -> a function that makes one"
        )
    require_count("first", first, 0)
    require_count("step", step)
    if refit is not None:
        require_count("refit", refit)
    made: dict[str, Any] = {name: make() for name, make in makers.items()}
    for name, forecaster in made.items():
        if not isinstance(forecaster, Forecaster):
            kind = type(forecaster).__name__
            raise InvalidTypeError(f"makers[{name!r}] made a {kind}: expected a Forecaster")
    horizons = {name: forecaster.horizon for name, forecaster in made.items()}
    horizon = next(iter(horizons.values()))
    if len(set(horizons.values())) > 1:
        raise InvalidValueError(
            f"the forecasters' horizons are {horizons}: expected the same of all"
        )
    columns = {name: forecaster.columns(values.shape[1]) for name, forecaster in made.items()}
    if any(chosen != next(iter(columns.values())) for chosen in columns.values()):
        raise InvalidValueError(
            f"the forecasters' columns are {columns}: expected the same of all, or they cannot be"
            " compared"
        )
    at = np.arange(first, len(values) - horizon + 1, step)
    if first < 2 or not len(at):
        raise InvalidValueError(
            f"values has {len(values)} rows: no origin from row {first} on has {horizon} rows"
            " after it"
        )
    groups = [at] if refit is None else [at[i : i + refit] for i in range(0, len(at), refit)]
    forecasts: dict[str, Array] = {}
    for name, make in makers.items():
        forecaster, parts = made[name], []
        for number, group in enumerate(groups):
            if number:
                forecaster = make()
            forecaster.fit(values[: group[0]])
            parts.append(forecaster.predict(values[: group[-1] + 1], group))
        forecasts[name] = np.concatenate(parts)
    truth = next(iter(made.values())).chosen(values[at[:, None] + np.arange(horizon)])
    if np.isnan(truth).all(axis=(0, 2)).any():
        raise InvalidValueError("nothing was measured at one of the steps ahead of the origins")
    for name, forecast in forecasts.items():
        if forecast.shape != truth.shape:
            raise InvalidValueError(
                f"{name} forecasts {forecast.shape[1:]} but the truth is {truth.shape[1:]}:"
                " (horizon, columns)"
            )
    changes = np.abs(np.diff(made[name].chosen(values[:first]), axis=0))
    scale = 0.0 if np.isnan(changes).all() else float(np.nanmean(changes))
    return Backtest(at, truth, forecasts, scale or 1.0)
