"""The cells, one a file, each with its equations, gate math, forward and backward pass.

``CELLS`` is the table that everything else walks: the gradient check, the comparison with PyTorch,
layers, plots, engines and benchmarks. A new cell is one file of the same shape and one line here.
"""

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any, Protocol

from scratchnet.cells import (
    gru,
    gru_reset_before,
    lstm,
    lstm_coupled,
    lstm_masked,
    lstm_no_forget,
    lstm_norm,
    lstm_peephole,
    mingru,
    rnn,
    sru,
)
from scratchnet.errors import InvalidTypeError, InvalidValueError


class Cell(Protocol):
    """What every cell module defines.

    ``forward(x, *states, *params, **options, lengths=None) -> (y, cache)`` and
    ``backward(dy, cache, *d_last) -> grads``, with states, params and d_last in the order of STATES
    and ``param_shapes``.
    """

    GATES: str  # the blocks of the last axis of the pre-activations, one letter each
    STATES: tuple[str, ...]  # what is carried from step to step; the first one is the output
    OPTIONS: dict[str, tuple[str, ...]]  # keyword of forward -> its allowed values, default first
    Cache: type[Any]  # the NamedTuple that ``forward`` returns beside y and ``backward`` reads
    Grads: type[Any]  # the NamedTuple that ``backward`` returns: d and each argument's name, and da
    forward: Callable[..., Any]  # the forward pass over a sequence
    backward: Callable[..., Any]  # backpropagation through time

    def param_shapes(self, D: int, H: int) -> dict[str, tuple[int, ...]]:
        """Shape of each parameter, in the order in which ``forward`` takes them."""
        ...


CELLS: dict[str, Cell] = {
    "rnn": rnn,
    "lstm": lstm,
    "gru": gru,
    "gru_reset_before": gru_reset_before,
    "lstm_peephole": lstm_peephole,
    "lstm_coupled": lstm_coupled,
    "lstm_no_forget": lstm_no_forget,
    "lstm_norm": lstm_norm,
    "lstm_masked": lstm_masked,
    "sru": sru,
    "mingru": mingru,
}


def register_cell(name: str, cell: Cell) -> None:
    """Add a cell of your own to ``CELLS``: layers, checks and traces then take it by its name.

    Parameters
    ----------
    name : how ``Recurrent(name, ...)`` and ``scratchnet gradcheck`` refer to it
    cell : a module, or any object, with all that ``Cell`` defines

    Raises
    ------
    ValueError, TypeError
        Where the name is taken by another cell, or the cell lacks something.
    """
    missing = [part for part in (*Cell.__annotations__, "param_shapes") if not hasattr(cell, part)]
    if missing:
        raise InvalidTypeError(
            f"cell {name!r} lacks {', '.join(missing)}: expected all that Cell defines"
        )
    if CELLS.setdefault(name, cell) is not cell:
        raise InvalidValueError(f"there is a cell {name!r} already: choose another name")


def variants() -> Iterator[tuple[str, Cell, dict[str, Any]]]:
    """Every cell with every combination of its options: ("rnn relu", rnn, {...}), for example."""
    for name, cell in CELLS.items():
        for values in product(*cell.OPTIONS.values()):
            options: dict[str, Any] = dict(zip(cell.OPTIONS, values))
            yield " ".join([name, *values]), cell, options
