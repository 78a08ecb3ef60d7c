"""``scratchnet forecast``: strategies and baselines in a rolling backtest, an interval and its
coverage, what comes next."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array
from scratchnet.data.series import Series
from scratchnet.errors import InvalidValueError
from scratchnet.forecasting.backtest import Backtest, backtest
from scratchnet.forecasting.classical import LastValue, Linear, SeasonalLastValue, Smoothing
from scratchnet.forecasting.ensemble import Ensemble
from scratchnet.forecasting.forecaster import Forecaster
from scratchnet.forecasting.intervals import Coverage, coverage, dropout_interval
from scratchnet.forecasting.network import STRATEGIES, Direct, Network, Settings
from scratchnet.training.config import Config, option

INTERVALS = ("quantile", "dropout", "none")
PICTURES = ("errors.png", "forecast.png")


@dataclass(frozen=True, kw_only=True)
class Task(Config):
    """What is to be forecast, and how it is tested."""

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
    coverage: float = option(0.9, "share that the interval is to hold", above=0, below=1)
    ensemble: bool = option(False, "also the average of the networks and a classical forecast")
    smoothing: bool = option(False, "also exponential smoothing; needs statsmodels")

    @property
    def strategies(self) -> tuple[str, ...]:
        """The names of the strategies."""
        return tuple(STRATEGIES) if "all" in self.strategy else self.strategy


class Result(NamedTuple):
    """A backtest, the best network fitted to all rows, and its forecast of what is not there
    yet."""

    backtest: Backtest
    best: str
    ahead: Array  # (horizon,) behind the last row, by the best network
    # low, median, high (horizon,), by the interval's own network
    interval: tuple[Array, Array, Array] | None
    coverage: Coverage | None  # measured in the backtest


def makers(task: Task, settings: Settings, past: int) -> dict[str, Callable[[], Forecaster]]:
    """Name -> what makes each forecaster: the baselines, the strategies, and the ensemble if asked
    for."""
    h, season = task.horizon, task.season
    made: dict[str, Callable[[], Forecaster]] = {"last value": lambda: LastValue(h)}
    if season is not None:
        made["last season"] = lambda: SeasonalLastValue(h, season)
    order = max(1, min(settings.window, past // 3))
    made[f"AR({order})"] = lambda: Linear(h, order)
    if task.smoothing:
        made["smoothing"] = lambda: Smoothing(h, season)
    networks = {name: lambda kind=STRATEGIES[name]: kind(settings, h) for name in task.strategies}
    made |= networks
    if task.ensemble:
        classical = [made["smoothing"]] if task.smoothing else [made[f"AR({order})"]]
        members = [*networks.values(), *classical]
        made["ensemble"] = lambda: Ensemble({str(k): make() for k, make in enumerate(members)})
    return made


def forecast(series: Series, task: Task, settings: Settings) -> Result:
    """Backtest every forecaster, measure the interval's coverage on the same origins, and forecast
    behind the last row.

    The network is the best strategy of the backtest, fitted to all rows.
    Raises ValueError where an option makes no sense or the series is too short for it.
    """
    task.check()
    values = series.values
    if values.shape[1] != 1:
        raise InvalidValueError(f"{series.name} has {values.shape[1]} columns: choose one")
    first = len(values) - max(round(len(values) * task.test), task.horizon)
    least = settings.window + 3 * task.horizon + 2
    if first < least:
        raise InvalidValueError(
            f"{series.name} has {len(values)} rows, {first} before its test part: window"
            f" {settings.window} and horizon {task.horizon} need at least {least} there"
        )
    tested = backtest(
        makers(task, settings, first), values, first, step=task.step, refit=task.refit
    )
    best = min(task.strategies, key=tested.total)
    measured = None
    if task.interval != "none":
        low, _, high = _interval(task, settings, best, values[:first], values, tested.at)
        measured = coverage(low, high, tested.truth, task.coverage)
    ahead = (
        STRATEGIES[best](settings, task.horizon).fit(values).predict(values, [len(values)])[0, :, 0]
    )
    interval = None
    if task.interval != "none":
        low, median, high = _interval(task, settings, best, values, values, [len(values)])
        interval = low[0, :, 0], median[0, :, 0], high[0, :, 0]
    return Result(tested, best, ahead, interval, measured)


def _interval(
    task: Task, settings: Settings, best: str, past: Array, values: Array, at: Any
) -> tuple[Array, Array, Array]:
    """low, middle and high (n, horizon, 1) from what was fitted to ``past``."""
    low, high = (1 - task.coverage) / 2, (1 + task.coverage) / 2
    if task.interval == "quantile":
        y = Direct(settings, task.horizon, levels=(low, 0.5, high)).fit(past).predict(values, at)
        return y[..., 0], y[..., 1], y[..., 2]
    dropping = settings.replace(dropout=settings.dropout or 0.2)
    if best == "encoder-decoder" and settings.layers == 1:
        best = "direct"  # there is no place for dropout between the layers of one
    network: Network = STRATEGIES[best](dropping, task.horizon)
    return dropout_interval(network.fit(past), values, at, asked=task.coverage, seed=settings.seed)


def run(series: Series, task: Task, settings: Settings, out: Path) -> Result:
    """Forecast, print, and write ``backtest.csv``, ``forecast.csv``, ``errors.png`` and
    ``forecast.png`` into ``out``."""
    from scratchnet import plots

    out.mkdir(parents=True, exist_ok=True)
    unit, column = series.unit, series.columns[0]
    print(
        f"{series.name}: {len(series.values)} values of {column}, {series.times[0]} to"
        f" {series.times[-1]}"
    )
    if series.note:
        print(f"  {series.note}")
    result = forecast(series, task, settings)
    tested = result.backtest
    span = f"{series.times[tested.at[0]]} to {series.times[tested.at[-1]]}"
    print(f"{task.horizon} steps ahead from {len(tested.at)} origins, {span}\n")
    print(tested.table(unit), end="\n\n")
    if result.coverage is not None:
        print(f"{task.coverage:.0%} interval ({task.interval}): {result.coverage}\n")
    baseline = min(
        (name for name in tested.forecasts if name not in (*STRATEGIES, "ensemble")),
        key=tested.total,
    )
    ratio = tested.total(result.best) / tested.total(baseline)
    verdict = "better" if ratio < 1 else "no better"
    print(
        f"The best network ({result.best}) is {verdict} than the best baseline ({baseline}): RMSE"
        f" ratio {ratio:.2f}."
    )
    print("Both were chosen by these same origins, which flatters them a little.\n")
    _write(
        out / "backtest.csv",
        ["origin", "ahead", "truth", *tested.forecasts],
        _backtest_rows(series, tested),
    )
    bounds = dict(zip(("low", "median", "high"), result.interval or ()))
    _write(
        out / "forecast.csv",
        ["ahead", result.best, *bounds],
        [[k + 1, y, *(b[k] for b in bounds.values())] for k, y in enumerate(result.ahead)],
    )
    label = f"{column} [{unit}]" if unit else column
    plots.errors_ahead(
        {name: tested.rmse(name) for name in sorted(tested.forecasts, key=tested.total)},
        ylabel=f"RMSE [{unit}]" if unit else "RMSE",
        title=f"{series.name}: error by steps ahead, {len(tested.at)} origins",
    ).savefig(out / "errors.png")
    shown = min(len(series.values), max(4 * task.horizon, 2 * settings.window))
    plots.fan(
        series.values[-shown:, 0],
        result.ahead,
        bounds.get("low"),
        bounds.get("high"),
        asked=task.coverage,
        times=[str(t) for t in series.times[-shown:]],
        label=result.best,
        ylabel=label,
        title=f"{series.name}: {task.horizon} steps behind the last row",
    ).savefig(out / "forecast.png")
    for file in ("backtest.csv", "forecast.csv", *PICTURES):
        print(out / file)
    return result


def _backtest_rows(series: Series, tested: Backtest) -> list[list[Any]]:
    rows = []
    for n, origin in enumerate(tested.at):
        for k in range(tested.truth.shape[1]):
            rows.append(
                [
                    series.times[origin],
                    k + 1,
                    tested.truth[n, k, 0],
                    *(f[n, k, 0] for f in tested.forecasts.values()),
                ]
            )
    return rows


def _write(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(
            [
                [f"{v:.6g}" if isinstance(v, (float, np.floating)) else v for v in row]
                for row in rows
            ]
        )
