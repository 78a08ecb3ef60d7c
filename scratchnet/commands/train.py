"""``scratchnet train``: a one-step forecaster of one column, fitted, measured, saved and drawn."""

import argparse
from pathlib import Path

from scratchnet.commands.options import (
    Commands,
    add_options,
    add_series,
    config_of,
    introduce,
    label_of,
    series_of,
)
from scratchnet.data.series import Series
from scratchnet.errors import UnavailableError
from scratchnet.forecasting.one_step import OneStepConfig, OneStepResult, train

FILES = ("model.npz", "history.csv", "forecast.png")


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "train",
        help="fit a one-step forecaster to a CSV column or a bundled series",
        description=(
            "Fit a one-step forecaster to a series, oldest part first, and print its error and"
            " those of two baselines."
        ),
    )
    add_series(parser)
    add_options(parser, OneStepConfig)
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out", "train"),
        help="folder to write into (default: out/train)",
    )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Train, print the errors, and write ``FILES`` into the folder."""
    config = config_of(OneStepConfig, chosen).check()
    train_and_write(series_of(chosen), config, chosen.out)
    return 0


def train_and_write(series: Series, config: OneStepConfig, out: Path) -> OneStepResult:
    """Train, print, and write ``FILES`` into ``out``."""
    out.mkdir(parents=True, exist_ok=True)  # first: where that fails, no training is lost
    introduce(series)
    result = train(series, config)
    forecaster, name = result.forecaster, config.model.upper()
    history = forecaster.history
    if history is None:
        raise UnavailableError("the forecaster has no history: it was loaded, not trained")
    forecaster.save(out)
    history.to_csv(out / "history.csv")
    best, seconds = (history.best_epoch or 0) + 1, sum(history.column("seconds"))
    print(
        f"{name}: {forecaster.model.size} parameters, {len(history.epochs)} epochs, best after"
        f" {best}, {seconds:.1f} s\n"
    )
    print(result.table(), end="\n\n")
    if result.rmse(name) > result.rmse("last value") and config.relative_to == "none":
        print(
            f"The {name} is worse than the last value: if the series drifts, try --relative-to"
            " previous.\n"
        )
    draw(series, result, out / "forecast.png")
    for file in FILES:
        print(out / file)
    return result


def draw(series: Series, result: OneStepResult, path: Path) -> None:
    """Draw the truth and the forecasts of the test part."""
    from scratchnet import plots

    plots.forecast(
        result.times,
        result.truth[:, 0],
        {label: values[:, 0] for label, values in result.forecasts.items()},
        ylabel=label_of(series),
        title=f"{series.name}, one step ahead, test part",
    ).savefig(path)
