"""``scratchnet plot``: figures of a saved trace."""

import argparse
from pathlib import Path

from scratchnet.commands.options import Commands
from scratchnet.errors import InvalidValueError


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "plot",
        help="figures of a saved trace",
        description=(
            "Draw a trace that was saved with scratchnet.trace(model, x, target).save('trace.npz')."
        ),
    )
    parser.add_argument("trace", type=Path, metavar="TRACE.npz")
    parser.add_argument(
        "--kind",
        default="all",
        help="river, cell, gates, saturation, gradient_norms, per_loss_gradients, jacobians,"
        " weight_gradients, text, or all that the trace allows (default)",
    )
    parser.add_argument(
        "--run", dest="of_run", metavar="NAME", help="which run of the trace; by default the last"
    )
    parser.add_argument(
        "--sample", type=int, metavar="N", help="which sequence of the batch, counted from 0"
    )
    parser.add_argument(
        "--k1",
        type=int,
        help="per_loss_gradients: the steps from window to window of truncated BPTT",
    )
    parser.add_argument(
        "--k2", type=int, help="per_loss_gradients: how far each window goes back (default: k1)"
    )
    parser.add_argument(
        "--unit",
        type=int,
        metavar="N",
        help="cell, text: which unit (default: the one with the largest gradient; of a text"
        " the one that varies most)",
    )
    parser.add_argument("--t", type=int, help="cell: which time step (default: the last)")
    parser.add_argument("--term", help="cell: what the line computes, such as dc (default: dh)")
    parser.add_argument(
        "--size",
        choices=["slide", "paper"],
        default="slide",
        help="for a slide (default), or for paper: 7 inches wide, letters of 10 points",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="file (.png, .pdf, .svg), of all kinds the folder; default: the trace's name",
    )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Draw the trace, and print the files."""
    from matplotlib.backend_bases import FigureCanvasBase

    from scratchnet.plots import kinds
    from scratchnet.tracing import load

    every = chosen.kind == "all"
    out = chosen.out or Path(chosen.trace.stem + ("" if every else f"-{chosen.kind}.png"))
    known = FigureCanvasBase.get_supported_filetypes()
    if not every and out.suffix and out.suffix[1:].lower() not in known:
        raise InvalidValueError(f"{out} ends in {out.suffix!r}: expected .{', .'.join(known)}")
    for line in kinds.write(
        load(chosen.trace),
        chosen.kind,
        out,
        run=chosen.of_run,
        sample=chosen.sample,
        k1=chosen.k1,
        k2=chosen.k2,
        unit=chosen.unit,
        t=chosen.t,
        term=chosen.term,
        size=chosen.size,
    ):
        print(line)
    return 0
