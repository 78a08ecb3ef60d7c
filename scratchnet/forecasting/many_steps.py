"""The many-step experiment: strategies and baselines in a rolling backtest, an interval and its
coverage, and a forecast of the rows after the last one. ``scratchnet forecast`` runs it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from scratchnet.arrays import Array
from scratchnet.data.series import Series
from scratchnet.errors import InvalidValueError
from scratchnet.forecasting.backtest import Backtest, backtest
from scratchnet.forecasting.classical import (
    AutoregressionForecaster,
    LastValue,
    SeasonalLastValue,
    Smoothing,
)
from scratchnet.forecasting.ensemble import Ensemble
from scratchnet.forecasting.forecaster import Forecaster
from scratchnet.forecasting.intervals import Coverage, coverage, dropout_interval
from scratchnet.forecasting.network import STRATEGIES, Direct, ForecastConfig
from scratchnet.training.config import Config, option

INTERVALS = ("quantile", "dropout", "none")


@dataclass(frozen=True, kw_only=True)
class BacktestConfig(Config):
    """The options of the many-step experiment: what is forecast, and how it is tested."""

    horizon: int = option(12, "steps to forecast", least=1)
    season: int | None = option(
        None,
        "rows of a season, 12 for months of a year; adds last season's value to the baselines",
        least=2,
    )
    strategy: tuple[str, ...] = option(
        ("all",), f"some of {', '.join(STRATEGIES)}, or all", choices=(*STRATEGIES, "all")
    )
    test: float = option(
        0.2, "share of the rows, the last ones, that is forecast in the backtest", above=0, below=1
    )
    step: int = option(1, "rows from origin to origin", least=1)
    refit: int | None = option(None, "origins after which everything is fitted again", least=1)
    interval: str = option("quantile", f"one of {', '.join(INTERVALS)}", choices=INTERVALS)
    coverage: float = option(
        0.9, "share of the truth that the interval is to hold", above=0, below=1
    )
    ensemble: bool = option(False, "also the average of the networks and a classical forecast")
    smoothing: bool = option(False, "also exponential smoothing; needs statsmodels")

    @property
    def strategies(self) -> tuple[str, ...]:
        """The names of the strategies."""
        return tuple(STRATEGIES) if "all" in self.strategy else self.strategy


class ManyStepResult(NamedTuple):
    """A backtest, and the forecast of its best network, fitted to all rows."""

    backtest: Backtest
    best: str
    ahead: Array  # (horizon,) after the last row, by the best network
    # low, median, high (horizon,), by the interval's network
    interval: tuple[Array, Array, Array] | None
    coverage: Coverage | None  # measured in the backtest


def makers(
    task: BacktestConfig, config: ForecastConfig, past: int
) -> dict[str, Callable[[], Forecaster]]:
    """Name -> a function that makes each forecaster: baselines, strategies, the ensemble."""
    h, season = task.horizon, task.season
    made: dict[str, Callable[[], Forecaster]] = {"last value": lambda: LastValue(h)}
    if season is not None:
        made["last season"] = lambda: SeasonalLastValue(h, season)
    order = max(1, min(config.window, past // 3))
    made[f"AR({order})"] = lambda: AutoregressionForecaster(h, order)
    if task.smoothing:
        made["smoothing"] = lambda: Smoothing(h, season)
    networks = {name: lambda kind=STRATEGIES[name]: kind(config, h) for name in task.strategies}
    made |= networks
    if task.ensemble:
        classical = [made["smoothing"]] if task.smoothing else [made[f"AR({order})"]]
        members = [*networks.values(), *classical]
        made["ensemble"] = lambda: Ensemble({str(k): make() for k, make in enumerate(members)})
    return made


def forecast(series: Series, task: BacktestConfig, config: ForecastConfig) -> ManyStepResult:
    """Backtest every forecaster, measure the interval's coverage on the same origins, and forecast
    the rows after the last one by the best strategy of the backtest, fitted to all rows.

    Raises ValueError for an option out of range, or a series that is too short for it.
    """
    task.check()
    values = series.measured
    if values.shape[1] != 1:
        raise InvalidValueError(f"{series.name} has {values.shape[1]} columns: choose one")
    first = len(values) - max(round(len(values) * task.test), task.horizon)
    least = config.window + 3 * task.horizon + 2
    if first < least:
        raise InvalidValueError(
            f"{series.name} has {len(values)} rows, {first} before its test part: window"
            f" {config.window} and horizon {task.horizon} need at least {least} there"
        )
    tested = backtest(makers(task, config, first), values, first, step=task.step, refit=task.refit)
    best = min(task.strategies, key=tested.total)
    measured = None
    if task.interval != "none":
        low, _, high = _interval(task, config, best, values[:first], values, tested.at)
        measured = coverage(low, high, tested.truth, task.coverage)
    ahead = STRATEGIES[best](config, task.horizon).fit(values).predict(values)[0, :, 0]
    interval = None
    if task.interval != "none":
        low, median, high = _interval(task, config, best, values, values, [len(values)])
        interval = low[0, :, 0], median[0, :, 0], high[0, :, 0]
    return ManyStepResult(tested, best, ahead, interval, measured)


def _interval(
    task: BacktestConfig, config: ForecastConfig, best: str, past: Array, values: Array, at: Any
) -> tuple[Array, Array, Array]:
    """low, median and high (n, horizon, 1) by a network that is fitted to ``past``."""
    low, high = (1 - task.coverage) / 2, (1 + task.coverage) / 2
    if task.interval == "quantile":
        y = Direct(config, task.horizon, levels=(low, 0.5, high)).fit(past).predict(values, at)
        return y[..., 0], y[..., 1], y[..., 2]
    dropping = config.replace(dropout=config.dropout or 0.2)
    if best == "encoder-decoder" and config.layers == 1:
        best = "direct"  # an encoder-decoder has dropout between layers only
    network = STRATEGIES[best](dropping, task.horizon)
    return dropout_interval(network.fit(past), values, at, asked=task.coverage)
