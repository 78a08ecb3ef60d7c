"""The command line: ``scratchnet demo | gradcheck | train | plot | doctor``, the same as ``python -m scratchnet``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scratchnet import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, or 1 where the command found something wrong."""
    parser = argparse.ArgumentParser(
        prog="scratchnet", description="Recurrent networks written out by hand: train, check, look inside."
    )
    parser.add_argument("--version", action="version", version=f"scratchnet {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="check the gradients, forecast, remember, draw: a minute on two cores")
    demo.add_argument("--out", type=Path, default=Path("out"), help="folder for the pictures (default: out)")
    demo.set_defaults(run=run_demo)

    check = commands.add_parser("gradcheck", help="a cell's gradients against central differences")
    check.add_argument("cell", nargs="?", default="all", help="rnn, lstm, gru, gru_before or all (default)")
    check.add_argument("--lengths", type=int, nargs="+", help="three sequence lengths from 1 to 4, for a ragged batch")
    check.add_argument("--seed", type=int, default=0)
    check.set_defaults(run=run_gradcheck)

    train = commands.add_parser(
        "train", help="fit a one-step forecaster to a CSV column or a bundled series",
        description="Fit a one-step forecaster to a series, oldest part first, and print its error beside two baselines.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )  # fmt: skip
    train.add_argument("--data", default="sunspots", help="sunspots, co2, elnino, or the path of a CSV")
    train.add_argument("--column", help="the column to forecast, where the CSV has several")
    train.add_argument("--missing", choices=["error", "interpolate", "drop"], default="error", help="what to do about gaps")
    train.add_argument("--model", choices=["mlp", "rnn", "lstm", "gru"], default="lstm")
    train.add_argument("--window", type=int, default=12, help="steps of input")
    train.add_argument("--units", type=int, default=16, help="hidden units")
    train.add_argument("--layers", type=int, default=1, help="hidden or recurrent layers")
    train.add_argument("--epochs", type=int, default=200, help="at the most")
    train.add_argument("--patience", type=int, default=20, help="epochs without a better one before stopping")
    train.add_argument("--lr", type=float, default=0.005, help="learning rate")
    train.add_argument("--clip", type=float, default=1.0, help="limit of the global gradient norm")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--difference", action="store_true", help="learn the change from step to step, for series that drift")
    train.add_argument("--out", type=Path, default=Path("out"), help="folder for weights, history and picture")
    train.set_defaults(run=run_train)

    plot = commands.add_parser(
        "plot", help="figures of a saved trace",
        description="Draw a trace that was saved with scratchnet.trace(model, x, target).save('trace.npz').",
    )  # fmt: skip
    plot.add_argument("trace", type=Path, metavar="TRACE.npz")
    kinds = "gates, saturation, gradients, itemised, jacobians, weights, text, or all that the trace allows (default)"
    plot.add_argument("--kind", default="all", help=kinds)
    plot.add_argument("--run", dest="of_run", metavar="NAME", help="which run of the trace; by default the last")
    plot.add_argument("--sample", type=int, metavar="N", help="which sequence of the batch, counted from 0")
    plot.add_argument("--k1", type=int, help="itemised: the steps from window to window of truncated BPTT, to draw them in")
    plot.add_argument("--k2", type=int, help="itemised: how far each window goes back (default: k1)")
    plot.add_argument("--unit", type=int, metavar="N", help="text: which unit; by default the one that moves most")
    plot.add_argument("--out", type=Path, help="file (.png, .pdf, .svg), of all kinds the folder; default: the trace's name")
    plot.set_defaults(run=run_plot)

    view = commands.add_parser("view", help="a saved trace as a page that steps through it, forwards and backwards")
    view.add_argument("trace", type=Path, help="a file written by trace.save()")
    view.add_argument("--compare", type=Path, help="a second trace, shown beside the first")
    view.add_argument("--names", nargs="+", default=[], help="what to call the trace, or the two")
    view.add_argument("--sequence", type=int, default=0, help="which sequence of the batch (default: 0)")
    view.add_argument("--run", dest="runs", nargs="+", help="only these runs, such as lstm.l0 (default: all)")
    view.add_argument("--out", type=Path, help="the page to write (default: the trace's name with .html)")
    view.set_defaults(run=run_view)

    doctor = commands.add_parser("doctor", help="what is installed, what works here, what to install for the rest")
    doctor.set_defaults(run=run_doctor)

    chosen = parser.parse_args(arguments)
    try:
        status: int = chosen.run(chosen)
    except (ValueError, KeyError, FileNotFoundError, FloatingPointError) as error:
        # What the user can mend is a sentence; anything else keeps its traceback.
        print(f"scratchnet: {error.args[0] if isinstance(error, KeyError) else error}", file=sys.stderr)
        return 1
    return status


def run_demo(chosen: argparse.Namespace) -> int:
    """``scratchnet demo``."""
    from scratchnet import demo

    demo.run(chosen.out)
    return 0


def run_gradcheck(chosen: argparse.Namespace) -> int:
    """``scratchnet gradcheck``: 1 if any gradient is wrong."""
    from scratchnet.cells import CELLS, variants
    from scratchnet.gradcheck import GradientError, check_cell

    if chosen.cell not in ("all", *CELLS):
        raise ValueError(f"there is no cell {chosen.cell!r}: expected all or one of {', '.join(CELLS)}")
    status = 0
    for label, cell, options in variants():
        if chosen.cell not in ("all", label.split()[0]):
            continue
        print(label)
        try:
            print(check_cell(cell, lengths=chosen.lengths, seed=chosen.seed, **options), end="\n\n")
        except GradientError as error:
            status = 1
            print(error.report, error, sep="\n\n", end="\n\n")
    return status


def run_train(chosen: argparse.Namespace) -> int:
    """``scratchnet train``."""
    from scratchnet.forecasting import Settings, run

    settings = Settings(**{name: getattr(chosen, name) for name in Settings._fields})
    run(chosen.data, chosen.column, chosen.missing, settings, chosen.out)
    return 0


def run_plot(chosen: argparse.Namespace) -> int:
    """``scratchnet plot``."""
    from scratchnet.plots import kinds
    from scratchnet.tracing import load

    every = chosen.kind == "all"
    out = chosen.out or Path(chosen.trace.stem + ("" if every else f"-{chosen.kind}.png"))
    for line in kinds.write(
        load(chosen.trace), chosen.kind, out, run=chosen.of_run, sample=chosen.sample, k1=chosen.k1, k2=chosen.k2,
        unit=chosen.unit,
    ):  # fmt: skip
        print(line)
    return 0


def run_view(chosen: argparse.Namespace) -> int:
    """``scratchnet view``."""
    from scratchnet.tracing import load

    compare = None if chosen.compare is None else load(chosen.compare)
    out = chosen.out or chosen.trace.with_suffix(".html")
    print(load(chosen.trace).to_html(out, compare=compare, names=chosen.names, sequence=chosen.sequence, runs=chosen.runs))
    return 0


def run_doctor(chosen: argparse.Namespace) -> int:
    """``scratchnet doctor``."""
    from scratchnet import doctor

    print(doctor.report())
    return 0
