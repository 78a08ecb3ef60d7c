"""``scratchnet gradcheck``: gradients of cells and layers against central differences."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from scratchnet.cells import CELLS, variants
from scratchnet.commands.options import Commands
from scratchnet.errors import InvalidValueError
from scratchnet.gradcheck import CANNOT_SEE, GradientError, Report, check_cell, check_layer
from scratchnet.layers import LAYERS


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "gradcheck",
        help="gradients of cells and layers against central differences",
        description=(
            "Compare each gradient of a backward pass with central differences (L(p + e) - L(p -"
            " e)) / 2e, for every element p, in float64: of a cell over four steps, with random"
            " states and a random weight on every output and final state, and along a random"
            " direction over sixteen, also ragged; of a layer on each of its examples. The table"
            " has the largest relative error of each gradient, gate by gate. A right backward pass"
            " stays below the tolerance; a wrong one is marked WRONG, and the exit status is 1."
        ),
    )
    parser.add_argument(
        "name",
        nargs="?",
        default="all",
        help="a cell (rnn, lstm, ...), a layer (conv, attention, ...) or all (default); an unknown"
        " name lists them",
    )
    parser.add_argument(
        "--lengths",
        type=int,
        nargs="+",
        help="for cells: three sequence lengths from 1 to 4, a ragged batch",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the random inputs, states and parameters (default: 0)",
    )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print the report of each check; 1 if any gradient is wrong."""
    status = 0
    for label, check in checks(chosen.name, chosen.lengths, chosen.seed):
        print(label)
        try:
            report = check()
            right = f"the largest is {report.error:.1e}, the tolerance {report.tolerance:.0e}"
            print(report, f"right: {right}", sep="\n", end="\n\n")
        except GradientError as error:
            status = 1
            print(error.report, error, sep="\n\n", end="\n\n")
    print(CANNOT_SEE)
    return status


def checks(
    name: str, lengths: Sequence[int] | None, seed: int
) -> Iterator[tuple[str, Callable[[], Report]]]:
    """(label, check) of every variant of a cell and every example of a layer of this name."""
    if name not in ("all", *CELLS, *LAYERS):
        known = ", ".join([*CELLS, *LAYERS])
        raise InvalidValueError(
            f"there is no cell or layer {name!r}: expected all or one of {known}"
        )
    if seed < 0:
        raise InvalidValueError(f"seed is {seed}: expected at least 0")
    if lengths is not None and name != "all" and name not in CELLS:
        raise InvalidValueError(
            f"lengths are for cells, and {name} is a layer: the lengths are those of its examples"
        )
    for label, cell, options in variants():
        if name in ("all", label.split()[0]):
            yield label, partial(check_cell, cell, lengths=lengths, seed=seed, **options)
    for of, kind in LAYERS.items():
        if name in ("all", of):
            for label, layer, x, arguments in kind.examples(np.random.default_rng(seed)):
                check = partial(check_layer, layer, x, seed=seed, **arguments)
                yield f"{of} {label}".strip(), check
