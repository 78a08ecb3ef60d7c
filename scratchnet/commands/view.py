"""``scratchnet view``: a saved trace as a page that steps through it."""

import argparse
from pathlib import Path

from scratchnet.commands.options import Commands
from scratchnet.tracing import load
from scratchnet.view import to_html


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "view", help="a saved trace as a page that steps through it, forwards and backwards"
    )
    parser.add_argument("trace", type=Path, help="a file written by trace.save()")
    parser.add_argument(
        "--compare",
        type=Path,
        nargs="+",
        default=[],
        metavar="TRACE",
        help="other traces, shown next to the first on one scale",
    )
    parser.add_argument("--names", nargs="+", default=[], help="a name for each trace, in order")
    parser.add_argument(
        "--sample", type=int, default=0, help="which sequence of the batch (default: 0)"
    )
    parser.add_argument(
        "--run", dest="runs", nargs="+", help="only these runs, such as lstm.l0 (default: all)"
    )
    parser.add_argument(
        "--out", type=Path, help="the page to write (default: the trace's name with .html)"
    )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Write the page, and print its path."""
    page = to_html(
        load(chosen.trace),
        chosen.out or chosen.trace.with_suffix(".html"),
        compare=[load(path) for path in chosen.compare],
        names=chosen.names,
        sample=chosen.sample,
        runs=chosen.runs,
    )
    print(page)
    return 0
