"""``scratchnet forecast``: many steps ahead, in a rolling backtest, with an interval."""

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scratchnet.commands.options import (
    Commands,
    add_options,
    add_series,
    config_of,
    introduce,
    label_of,
    series_of,
    write_run,
)
from scratchnet.data.series import Series
from scratchnet.files import make_folder, replace, save_figure
from scratchnet.forecasting.backtest import Backtest
from scratchnet.forecasting.many_steps import BacktestConfig, ManyStepResult, forecast
from scratchnet.forecasting.network import STRATEGIES, ForecastConfig

FILES = ("backtest.csv", "forecast.csv", "errors.png", "forecast.png", "run.json")


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "forecast",
        help="many steps ahead: strategies and baselines in a rolling backtest; intervals",
        description=(
            "Forecast a series many steps ahead by several strategies, by the last value, the last"
            " season and an autoregression, from origins that roll through its last part; then the"
            " rows after its last one, with an interval whose coverage was measured."
        ),
    )
    add_series(parser)
    add_options(parser, BacktestConfig)
    add_options(parser, ForecastConfig)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out", "forecast"),
        help="folder to write into (out/forecast)",
    )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Forecast, print the errors, and write ``FILES`` into the folder."""
    task = config_of(BacktestConfig, chosen).check()
    config = config_of(ForecastConfig, chosen).check()
    series = series_of(chosen)
    make_folder(chosen.out)  # first: where that fails, no training is lost
    introduce(series)
    result = forecast(series, task, config)
    print_errors(series, task, result)
    write_tables(series, result, chosen.out)
    draw(series, task, config, result, chosen.out)
    write_run(chosen.out / "run.json", vars(chosen))
    for file in FILES:
        print(chosen.out / file)
    return 0


def print_errors(series: Series, task: BacktestConfig, result: ManyStepResult) -> None:
    """The table of the backtest, the interval's coverage, and the best network and baseline."""
    tested = result.backtest
    span = f"{series.times[tested.at[0]]} to {series.times[tested.at[-1]]}"
    print(f"{task.horizon} steps ahead from {len(tested.at)} origins, {span}\n")
    print(tested.table(series.unit), end="\n\n")
    if result.coverage is not None:
        print(f"{task.coverage:.0%} interval ({task.interval}): {result.coverage}\n")
    simple = [name for name in tested.forecasts if name not in (*STRATEGIES, "ensemble")]
    baseline = min(simple, key=tested.total)
    ratio = tested.total(result.best) / tested.total(baseline)
    verdict = "better" if ratio < 1 else "no better"
    print(
        f"The best network ({result.best}) is {verdict} than the best baseline ({baseline}): RMSE"
        f" ratio {ratio:.2f}."
    )
    print("Both were chosen by these same origins, which flatters them a little.\n")


def write_tables(series: Series, result: ManyStepResult, out: Path) -> None:
    """Every forecast of the backtest, and the forecast of the rows after the last one."""
    tested, bounds = result.backtest, _bounds(result)
    header = ["origin", "ahead", "truth", *tested.forecasts]
    _write(out / "backtest.csv", header, _backtest_rows(series, tested))
    ahead = ([k + 1, y, *(b[k] for b in bounds.values())] for k, y in enumerate(result.ahead))
    _write(out / "forecast.csv", ["ahead", result.best, *bounds], ahead)


def draw(
    series: Series, task: BacktestConfig, config: ForecastConfig, result: ManyStepResult, out: Path
) -> None:
    """The errors by steps ahead, and the forecast after the series' last rows."""
    from scratchnet import plots

    tested, bounds = result.backtest, _bounds(result)
    errors = plots.errors_ahead(
        {name: tested.rmse(name) for name in sorted(tested.forecasts, key=tested.total)},
        ylabel=f"RMSE [{series.unit}]" if series.unit else "RMSE",
        title=f"{series.name}: error by steps ahead, {len(tested.at)} origins",
    )
    save_figure(errors, out / "errors.png")
    shown = min(len(series.values), max(4 * task.horizon, 2 * config.window))
    fan = plots.fan(
        series.values[-shown:, 0],
        result.ahead,
        bounds.get("low"),
        bounds.get("high"),
        asked=task.coverage,
        times=[str(t) for t in series.times[-shown:]],
        label=result.best,
        ylabel=label_of(series),
        title=f"{series.name}: {task.horizon} steps after the last row",
    )
    save_figure(fan, out / "forecast.png")


def _bounds(result: ManyStepResult) -> dict[str, Any]:
    return dict(zip(("low", "median", "high"), result.interval or ()))


def _backtest_rows(series: Series, tested: Backtest) -> Iterator[list[Any]]:
    for n, origin in enumerate(tested.at):
        for k in range(tested.truth.shape[1]):
            forecasts = (f[n, k, 0] for f in tested.forecasts.values())
            yield [series.times[origin], k + 1, tested.truth[n, k, 0], *forecasts]


def _write(path: Path, header: Sequence[str], rows: Iterator[list[Any]]) -> None:
    with replace(path, text=True) as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row in rows:
            writer.writerow([f"{v:.6g}" if isinstance(v, (float, np.floating)) else v for v in row])
