"""The ``sequence`` engine around its loop: what comes before time and after it is the cell's own, one *run* after another.

A run is a cell applied once.  The two runs of a bidirectional layer read the same input and know nothing of each other, so a
loop is given both and does them side by side.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, read_only
from scratchnet.cells.checks import check_backward


class ForwardRun(NamedTuple):
    """What a loop forward in time is given: it fills the cache's states and gates."""

    a: Array  # (T, N, G)  x W_x + b
    cache: Any  # the cell's own, its h[0] (and c[0]) the initial state
    args: tuple[Array, ...]  # of the cell's forward


class BackwardRun(NamedTuple):
    """What a loop backward in time is given: it fills da, and d_states on the way from the last step to the first."""

    dy: Array  # (T, N, H)
    cache: Any
    d_states: tuple[Array, ...]  # (N, H) each: comes with the gradients of the final states, leaves with those of the initial
    da: tuple[Array, ...]  # (T, N, G), uninitialised; for the GRU also dm


class Loops(NamedTuple):
    """One cell's loops over time, each for a list of runs of one shape."""

    cell: Any
    forward: Callable[[Sequence[ForwardRun]], None]
    backward: Callable[[Sequence[BackwardRun]], None]
    parts: int = 1  # arrays of gradients of pre-activations that ``after_loop`` takes: da, and for the GRU dm


def forwards(loops: Loops, calls: Sequence[tuple[Array, ...]], **options: Any) -> list[tuple[Array, Any]]:
    """The cell's ``forward`` for each tuple of arguments; all calls have the same shapes."""
    prepared = [loops.cell.before_loop(*call, **options) for call in calls]
    loops.forward([ForwardRun(a, cache, call) for (a, cache), call in zip(prepared, calls)])
    return [(read_only(cache.h[1:]), cache) for _, cache in prepared]


def backwards(loops: Loops, calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """The cell's ``backward`` for each (dy, cache, gradients of the final states); all calls have the same shapes."""
    runs = []
    for dy, cache, *d_last in calls:
        given = dict(zip(loops.cell.STATES, [*d_last, None, None]))
        check_backward(dy, cache.h, **{f"d{name}_last": d for name, d in given.items()})
        d_states = tuple(np.zeros_like(cache.h[0]) if d is None else d.copy(order="C") for d in given.values())
        like = cache.h[1:] if len(loops.cell.GATES) == 1 else cache.gates
        runs.append(BackwardRun(dy, cache, d_states, tuple(np.empty_like(like) for _ in range(loops.parts))))
    loops.backward(runs)
    return [loops.cell.after_loop(run.cache, *run.da, *run.d_states) for run in runs]


def pair(loops: Loops) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Forward and backward of one run, with the cell's own signatures."""

    def forward(*args: Array, **options: Any) -> tuple[Array, Any]:
        return forwards(loops, [_positional(loops.cell, args, options)], **options)[0]

    def backward(dy: Array, cache: Any, *d_last: Array | None, **named: Array | None) -> Any:
        states = [f"d{name}_last" for name in loops.cell.STATES]
        last = dict(zip(states, d_last)) | named
        if unknown := set(last) - set(states):
            raise TypeError(f"backward takes {', '.join(states)}, not {', '.join(sorted(unknown))}")
        return backwards(loops, [(dy, cache, *map(last.get, states))])[0]

    return forward, backward


def together(loops: Loops) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Both, for several runs at once."""
    return partial(forwards, loops), partial(backwards, loops)


def _positional(cell: Any, args: tuple[Array, ...], options: dict[str, Any]) -> tuple[Array, ...]:
    """Arrays given by keyword, put in their place: a loop finds them by position."""
    names = ["x", *(f"{name}0" for name in cell.STATES), *cell.param_shapes(1, 1)]
    return (*args, *(options.pop(name) for name in names[len(args) :] if name in options))
