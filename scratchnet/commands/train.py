"""``scratchnet train``: a one-step forecaster of one column, fitted, measured, saved and drawn."""

import argparse
import os
import shlex
import signal
import sys
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
from scratchnet.data import datasets
from scratchnet.data.series import Series
from scratchnet.errors import InvalidValueError, MissingFileError, UnavailableError
from scratchnet.files import make_folder, save_figure
from scratchnet.forecasting.network import MODEL, Direct
from scratchnet.forecasting.one_step import OneStepConfig, OneStepResult, train
from scratchnet.training import Callback, TrainingCheckpoint
from scratchnet.training.config import options
from scratchnet.training.resume import facts_in

FILES = (MODEL, "history.csv", "forecast.png", "run.json")
STATE = "training.npz"  # while training, and after an interruption
SAVE_EVERY = 5.0  # seconds: what a crash may cost
SERIES = ("data", "column", "missing", "time", "delimiter")
# what --resume takes from the state
KEPT = {*SERIES, *options(OneStepConfig), "checksum"}


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
    parser.add_argument(
        "--resume",
        type=Path,
        metavar="FOLDER",
        help=f"go on with the training that was interrupted, whose state is in FOLDER/{STATE}:"
        " with its options, into the same folder",
    )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Train, print the errors, and write ``FILES`` into the folder; 128 and the signal's number
    where one has ended the training."""
    resume = chosen.resume is not None
    if resume:
        chosen = options_of(chosen, chosen.resume)
    config = config_of(OneStepConfig, chosen).check()
    series = series_of(chosen)
    facts = {name: getattr(chosen, name) for name in (*SERIES, *options(OneStepConfig))}
    if chosen.data not in datasets.NAMES:  # also from another folder
        facts["data"] = str(Path(chosen.data).resolve())
    facts["checksum"] = zlib.crc32(series.values.tobytes())
    if resume and facts["checksum"] != chosen.checksum:
        raise InvalidValueError(
            f"{chosen.data} has changed since the training was interrupted: start again"
        )
    try:
        train_and_write(series, config, chosen.out, facts, resume)
    except Interrupted as error:
        print(f"scratchnet: {error}", file=sys.stderr)
        return error.status
    return 0


class Interrupted(Exception):
    """A signal has ended the training: in the command's words, and its exit status."""

    def __init__(self, words: str, status: int) -> None:
        super().__init__(words)
        self.status = status


def options_of(chosen: argparse.Namespace, folder: Path) -> argparse.Namespace:
    """The options of the training that was interrupted in the folder.  ValueError where its state
    is damaged; FileNotFoundError where there is none."""
    path = folder / STATE
    if not os.path.exists(path):
        raise MissingFileError(
            f"{path}: there is no such file: no training was interrupted in {folder}"
        )
    facts = facts_in(path)
    if facts.keys() != KEPT:
        raise InvalidValueError(f"{path} is of another program: it keeps {', '.join(facts)}")
    for name in SERIES:
        if not isinstance(facts[name], (str, type(None))):
            raise InvalidValueError(f"{path}: {name} is {facts[name]!r}: expected a text")
    return argparse.Namespace(**{**vars(chosen), **facts, "out": folder})


def train_and_write(
    series: Series,
    config: OneStepConfig,
    out: Path,
    facts: Mapping[str, Any] | None = None,
    resume: bool = False,
) -> OneStepResult:
    """Train, print, and write ``FILES`` into ``out``.

    ``facts`` are kept with the state, for ``--resume``. Raises Interrupted where a signal has ended
    the training.
    """
    make_folder(out)  # first: where that fails, no training is lost
    introduce(series)
    state, started = TrainingCheckpoint(out / STATE, resume, SAVE_EVERY, facts), list[Direct]()

    def callbacks(forecaster: Direct) -> list[Callback]:
        started.append(forecaster)
        return [state]

    try:
        result = train(series, config, callbacks=callbacks)
    except (KeyboardInterrupt, SystemExit) as error:
        if not state.interrupted:  # before the training, or by a second signal
            raise
        started[0].save(out)
        number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
        raise Interrupted(
            f"training was ended by {number.name}; its best weights so far are in"
            f" {out / MODEL}. Go on with:  scratchnet train --resume {shlex.quote(str(out))}",
            128 + number,
        ) from None
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
    given = {name: getattr(config, name) for name in options(OneStepConfig)}
    write_run(out / "run.json", given | dict(facts or {}))
    state.path.unlink(missing_ok=True)  # nothing is left to go on with
    for file in FILES:
        print(out / file)
    return result


def draw(series: Series, result: OneStepResult, path: Path) -> None:
    """Draw the truth and the forecasts of the test part."""
    from scratchnet import plots

    figure = plots.forecast(
        result.times,
        result.truth[:, 0],
        {label: values[:, 0] for label, values in result.forecasts.items()},
        ylabel=label_of(series),
        title=f"{series.name}, one step ahead, test part",
    )
    save_figure(figure, path)
