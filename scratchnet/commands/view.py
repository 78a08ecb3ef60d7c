"""``scratchnet view``: a saved trace as a page that steps through it, or as a film of the walk."""

import argparse
from pathlib import Path

from scratchnet.commands.options import Commands
from scratchnet.errors import InvalidValueError
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
    film = parser.add_argument_group("a film of the walk instead of the page")
    film.add_argument("--film", type=Path, metavar="FILE", help="write it: .gif, or .mp4 by ffmpeg")
    film.add_argument("--walk", choices=["backward", "forward"], help="(default: backward)")
    film.add_argument(
        "--steps", type=int, nargs=2, metavar=("FIRST", "LAST"), help="time steps (default: all)"
    )
    film.add_argument(
        "--unit", type=int, help="which unit (default: the one with the largest gradient)"
    )
    film.add_argument("--per-second", type=float, help="frames a second (default: 1)")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Write the page or the film, and print its path."""
    if chosen.film is not None:
        print(_film(chosen))
        return 0
    for name in ("walk", "steps", "unit", "per_second"):
        if getattr(chosen, name) is not None:
            option = name.replace("_", "-")
            raise InvalidValueError(
                f"--{option} is of a film: give --film FILE too, or leave it out"
            )
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


def _film(chosen: argparse.Namespace) -> Path:
    from scratchnet.plots import film

    pages = {"compare": "--compare", "names": "--names", "out": "--out"}
    for name, option in pages.items():
        if getattr(chosen, name):
            raise InvalidValueError(f"{option} is of the page: leave it out of a film")
    trace = load(chosen.trace)
    if chosen.runs and len(chosen.runs) > 1:
        raise InvalidValueError(f"a film shows one run: {' '.join(chosen.runs)} are several")
    options = {"walk": chosen.walk, "unit": chosen.unit, "per_second": chosen.per_second}
    given = {name: value for name, value in options.items() if value is not None}
    steps = None
    if chosen.steps is not None:
        first, last = chosen.steps
        if first > last:
            raise InvalidValueError(f"--steps is {first} to {last}: expected the first one first")
        steps = range(first, last + 1)
    return film(
        trace[chosen.runs[0]] if chosen.runs else trace,
        chosen.film,
        steps=steps,
        sample=chosen.sample,
        title=trace.title,
        **given,
    )
