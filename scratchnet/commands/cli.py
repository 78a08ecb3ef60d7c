"""The command line: ``scratchnet demo | gradcheck | train | forecast | plot | ...``, the same as
``python -m scratchnet``."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path

from scratchnet import __version__
from scratchnet.commands.options import add_options, config_of
from scratchnet.data.series import MISSING
from scratchnet.errors import InvalidValueError
from scratchnet.forecasting.many_steps import Task
from scratchnet.forecasting.many_steps import run as run_forecasts
from scratchnet.forecasting.network import Settings as MultistepSettings
from scratchnet.forecasting.one_step import Settings, load
from scratchnet.forecasting.one_step import run as run_forecasting

COURSE = (
    "the course is a separate distribution: pip install './course/student', in the project's folder"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 1 where the command found something wrong."""
    parser = argparse.ArgumentParser(
        prog="scratchnet",
        description="Recurrent networks written out by hand: train, check, look inside.",
    )
    parser.add_argument("--version", action="version", version=f"scratchnet {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser(
        "demo", help="check the gradients, forecast, remember, draw: a minute on two cores"
    )
    demo.add_argument(
        "--out", type=Path, default=Path("out"), help="folder for the pictures (default: out)"
    )
    demo.set_defaults(run=run_demo)

    check = commands.add_parser(
        "gradcheck",
        help="gradients of cells and layers against central differences",
        description=(
            "Compare each gradient of a backward pass with central differences (L(p + e) - L(p -"
            " e)) / 2e, for every element p, in float64: of a cell over four steps, with random"
            " states and a random weight on every output and final state; of a layer on each of its"
            " examples. The table has the largest relative error of each gradient, gate by gate. A"
            " right backward pass stays below the tolerance; a wrong one is marked WRONG, and the"
            " exit status is 1."
        ),
    )
    about = (
        "a cell (rnn, lstm, ...), a layer (conv, attention, ...) or all (default); an unknown name"
        " lists them"
    )
    check.add_argument("name", nargs="?", default="all", help=about)
    check.add_argument(
        "--lengths",
        type=int,
        nargs="+",
        help="for cells: three sequence lengths from 1 to 4, a ragged batch",
    )
    check.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the random inputs, states and parameters (default: 0)",
    )
    check.set_defaults(run=run_gradcheck)

    train = commands.add_parser(
        "train",
        help="fit a one-step forecaster to a CSV column or a bundled series",
        description=(
            "Fit a one-step forecaster to a series, oldest part first, and print its error beside"
            " two baselines."
        ),
    )
    add_data(train)
    add_options(train, Settings)
    train.add_argument(
        "--out",
        type=Path,
        default=Path("out", "train"),
        help="folder to write into (default: out/train)",
    )
    train.set_defaults(run=run_train)

    ahead = commands.add_parser(
        "forecast",
        help="many steps ahead: strategies beside baselines in a rolling backtest; intervals",
        description=(
            "Forecast a series many steps ahead by several strategies, beside the last value, the"
            " last season and an autoregression, from origins that roll through its last part; then"
            " what comes behind its last row, with an interval whose coverage was measured."
        ),
    )
    add_data(ahead)
    add_options(ahead, Task)
    add_options(ahead, MultistepSettings)
    ahead.add_argument(
        "--out",
        type=Path,
        default=Path("out", "forecast"),
        help="folder to write into (out/forecast)",
    )
    ahead.set_defaults(run=run_forecast)

    plot = commands.add_parser(
        "plot",
        help="figures of a saved trace",
        description=(
            "Draw a trace that was saved with scratchnet.trace(model, x, target).save('trace.npz')."
        ),
    )
    plot.add_argument("trace", type=Path, metavar="TRACE.npz")
    kinds = (
        "gates, saturation, gradients, per-loss, jacobians, weights, text, or all that the trace"
        " allows (default)"
    )
    plot.add_argument("--kind", default="all", help=kinds)
    plot.add_argument(
        "--run", dest="of_run", metavar="NAME", help="which run of the trace; by default the last"
    )
    plot.add_argument(
        "--sample", type=int, metavar="N", help="which sequence of the batch, counted from 0"
    )
    plot.add_argument(
        "--k1",
        type=int,
        help="per-loss: the steps from window to window of truncated BPTT, to draw them in",
    )
    plot.add_argument(
        "--k2", type=int, help="per-loss: how far each window goes back (default: k1)"
    )
    plot.add_argument(
        "--unit", type=int, metavar="N", help="text: which unit; by default the one that moves most"
    )
    plot.add_argument(
        "--out",
        type=Path,
        help="file (.png, .pdf, .svg), of all kinds the folder; default: the trace's name",
    )
    plot.set_defaults(run=run_plot)

    view = commands.add_parser(
        "view", help="a saved trace as a page that steps through it, forwards and backwards"
    )
    view.add_argument("trace", type=Path, help="a file written by trace.save()")
    view.add_argument("--compare", type=Path, help="a second trace, shown beside the first")
    view.add_argument("--names", nargs="+", default=[], help="what to call the trace, or the two")
    view.add_argument(
        "--sequence", type=int, default=0, help="which sequence of the batch (default: 0)"
    )
    view.add_argument(
        "--run", dest="runs", nargs="+", help="only these runs, such as lstm.l0 (default: all)"
    )
    view.add_argument(
        "--out", type=Path, help="the page to write (default: the trace's name with .html)"
    )
    view.set_defaults(run=run_view)

    for plugin in sorted(entry_points(group="scratchnet.commands"), key=lambda plugin: plugin.name):
        # other distributions, such as the course, bring commands of their own
        plugin.load()(commands)
    if "course" not in commands.choices:
        missing = commands.add_parser("course", help="not installed", description=COURSE)
        missing.add_argument("arguments", nargs=argparse.REMAINDER)
        missing.set_defaults(run=run_missing_course)

    doctor = commands.add_parser(
        "doctor", help="what is installed, what works here, what to install for the rest"
    )
    doctor.set_defaults(run=run_doctor)

    chosen = parser.parse_args(arguments)
    try:
        status: int = chosen.run(chosen)
    except BrokenPipeError:  # whoever reads our output, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, KeyError, OSError, FloatingPointError) as error:
        # What the user can mend is a sentence; anything else keeps its traceback.
        print(f"scratchnet: {sentence(error)}", file=sys.stderr)
        return 1
    return status


def sentence(error: Exception) -> str:
    """What an exception says, without what Python puts around it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error.args[0] if isinstance(error, KeyError) else error)


def add_data(parser: argparse.ArgumentParser) -> None:
    """The options that say which series, and how to read it."""
    parser.add_argument(
        "--data", default="sunspots", help="sunspots (default), co2, elnino, or the path of a CSV"
    )
    parser.add_argument("--column", help="the column to forecast, where the CSV has several")
    parser.add_argument(
        "--missing", choices=MISSING, help="what to do about gaps in the CSV (default: error)"
    )
    parser.add_argument(
        "--time",
        metavar="COLUMN",
        help="the CSV's column of times; '' for none (default: by its name)",
    )
    parser.add_argument(
        "--delimiter",
        metavar="CHARACTER",
        help="what stands between the CSV's fields (default: found out)",
    )


def run_demo(chosen: argparse.Namespace) -> int:
    """``scratchnet demo``."""
    from scratchnet.commands import demo

    demo.run(chosen.out)
    return 0


def run_gradcheck(chosen: argparse.Namespace) -> int:
    """``scratchnet gradcheck``: 1 if any gradient is wrong."""
    import numpy as np

    from scratchnet.cells import CELLS, variants
    from scratchnet.gradcheck import GradientError, Report, check_cell, check_layer
    from scratchnet.layers import LAYERS

    name = chosen.name
    if name not in ("all", *CELLS, *LAYERS):
        raise InvalidValueError(
            f"there is no cell or layer {name!r}: expected all or one of"
            f" {', '.join([*CELLS, *LAYERS])}"
        )
    if chosen.lengths is not None and name != "all" and name not in CELLS:
        raise InvalidValueError(
            f"--lengths is for cells, and {name} is a layer: its examples have lengths of their own"
        )
    checks: list[tuple[str, Callable[[], Report]]] = []
    for label, cell, options in variants():
        if name in ("all", label.split()[0]):
            checks.append(
                (
                    label,
                    partial(check_cell, cell, lengths=chosen.lengths, seed=chosen.seed, **options),
                )
            )
    for of, kind in LAYERS.items():
        if name in ("all", of):
            for label, layer, x, arguments in kind.examples(np.random.default_rng(chosen.seed)):
                checks.append(
                    (
                        f"{of} {label}".strip(),
                        partial(check_layer, layer, x, seed=chosen.seed, **arguments),
                    )
                )
    status = 0
    for label, check in checks:
        print(label)
        try:
            report = check()
            print(report)
            print(
                f"right: the largest is {report.error:.1e}, the tolerance {report.tolerance:.0e}",
                end="\n\n",
            )
        except GradientError as error:
            status = 1
            print(error.report, error, sep="\n\n", end="\n\n")
    return status


def run_train(chosen: argparse.Namespace) -> int:
    """``scratchnet train``."""
    settings = config_of(Settings, chosen).check()
    series = load(chosen.data, chosen.column, chosen.missing, chosen.time, chosen.delimiter)
    run_forecasting(series, settings, chosen.out)
    return 0


def run_forecast(chosen: argparse.Namespace) -> int:
    """``scratchnet forecast``."""
    task, settings = config_of(Task, chosen).check(), config_of(MultistepSettings, chosen).check()
    series = load(chosen.data, chosen.column, chosen.missing, chosen.time, chosen.delimiter)
    run_forecasts(series, task, settings, chosen.out)
    return 0


def run_plot(chosen: argparse.Namespace) -> int:
    """``scratchnet plot``."""
    from scratchnet.plots import kinds
    from scratchnet.tracing import load

    every = chosen.kind == "all"
    out = chosen.out or Path(chosen.trace.stem + ("" if every else f"-{chosen.kind}.png"))
    for line in kinds.write(
        load(chosen.trace),
        chosen.kind,
        out,
        run=chosen.of_run,
        sample=chosen.sample,
        k1=chosen.k1,
        k2=chosen.k2,
        unit=chosen.unit,
    ):
        print(line)
    return 0


def run_view(chosen: argparse.Namespace) -> int:
    """``scratchnet view``."""
    from scratchnet.tracing import load
    from scratchnet.view import to_html

    compare = None if chosen.compare is None else load(chosen.compare)
    out = chosen.out or chosen.trace.with_suffix(".html")
    print(
        to_html(
            load(chosen.trace),
            out,
            compare=compare,
            names=chosen.names,
            sequence=chosen.sequence,
            runs=chosen.runs,
        )
    )
    return 0


def run_missing_course(chosen: argparse.Namespace) -> int:
    """``scratchnet course``, where no distribution adds it."""
    raise InvalidValueError(COURSE)


def run_doctor(chosen: argparse.Namespace) -> int:
    """``scratchnet doctor``."""
    from scratchnet.commands import doctor

    print(doctor.report())
    return 0
