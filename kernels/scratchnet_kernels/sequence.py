"""The ``sequence`` engine outside its loop: the cell's own functions, for several calls in turn.

A *run* is one layer direction: a cell applied once. The two runs of a bidirectional layer read the
same input and are independent, so a loop takes both and computes them side by side.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib import import_module
from inspect import signature
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, Checked, Lengths, read_only
from scratchnet.cells.checks import check_backward, check_forward
from scratchnet.errors import InvalidTypeError

Pair = tuple[Callable[..., Any], Callable[..., Any]]  # forward and backward


def _unchanged(array: Any) -> Any:
    return array


class ForwardRun(NamedTuple):
    """Arguments of a loop forward in time, which fills the cache's states and gates."""

    a: Array  # (T, N, G)  x W_x + b
    cache: Any  # the cell's own, its h[0] (and c[0]) the initial state
    args: Sequence[Array]  # of the cell's forward


class BackwardRun(NamedTuple):
    """Arguments of a loop backward in time, which fills da and d_states."""

    dy: Array  # (T, N, H)
    cache: Any
    # (N, H) each: comes with the gradients of the final states, leaves with those of the initial
    d_states: tuple[Array, ...]
    da: tuple[Array, ...]  # (T, N, G), uninitialised; for the GRU also dm


class Loops(NamedTuple):
    """One cell's loops over time, for lists of runs of one shape, and an engine's special parts."""

    cell: Any
    forward: Callable[[Sequence[ForwardRun]], None]
    backward: Callable[[Sequence[BackwardRun]], None]
    parts: int = 1  # gradients that ``parameter_gradients`` takes: da, and for the GRU dm
    split: Callable[[Any], Any] = _unchanged  # to an array with the engine's products
    plain: Callable[[Any], Any] = _unchanged  # and back
    # context of a whole pass; takes the number of threads
    session: Callable[[int | None], AbstractContextManager[Any]] = nullcontext

    def __reduce__(self) -> Any:  # a module cannot be pickled or copied, but imported again
        return _loops_of, (self.forward.__module__,)


def _loops_of(module: str) -> Loops:
    found: Loops = import_module(module).LOOPS
    return found


def forward_many(
    loops: Loops, calls: Sequence[Sequence[Array]], threads: int | None = None, **options: Any
) -> list[tuple[Array, Any]]:
    """The cell's ``forward`` for each tuple of arguments; all calls have the same shapes."""
    runs = []
    options["lengths"] = _checked(loops.cell, calls, options.get("lengths"))
    W_x = 1 + len(loops.cell.STATES)  # its place: x and the states come before it
    with loops.session(threads):
        for call in calls:
            x, states, W = loops.split(call[0]), call[1:W_x], loops.split(call[W_x])
            a, cache = loops.cell.input_projection(x, *states, W, *call[W_x + 1 :], **options)
            cache = type(cache)(*map(loops.plain, cache))
            runs.append(ForwardRun(loops.plain(a), cache, call))
        loops.forward(runs)
    return [(read_only(run.cache.h[1:]), run.cache) for run in runs]


def _checked(cell: Any, calls: Sequence[Sequence[Array]], lengths: Lengths) -> Checked:
    """The lengths of the calls, all of whose arguments are checked, before any is split."""
    if not isinstance(lengths, Checked):
        for x, *others in calls:
            arguments = dict(zip(_names(cell), others))
            checked = check_forward(cell.param_shapes, lengths, x, **arguments)
        lengths = Checked(checked)
    return lengths


def backward_many(
    loops: Loops, calls: Sequence[Sequence[Any]], threads: int | None = None
) -> list[Any]:
    """The cell's ``backward`` for each (dy, cache, gradients of the final states).

    All calls have the same shapes.
    """
    runs = []
    for dy, cache, *d_last in calls:
        upstream = dict(zip(loops.cell.STATES, [*d_last, None, None]))
        require_cache(loops.cell.Cache, cache)
        check_backward(dy, cache, **{f"d{name}_last": d for name, d in upstream.items()})
        d_states = tuple(
            np.zeros_like(cache.h[0]) if d is None else d.copy(order="C") for d in upstream.values()
        )
        like = cache.h[1:] if len(loops.cell.GATES) == 1 else cache.gates
        da = tuple(loops.plain(np.empty_like(loops.split(like))) for _ in range(loops.parts))
        runs.append(BackwardRun(dy, cache, d_states, da))
    with loops.session(threads):
        loops.backward(runs)
        found = [
            loops.cell.parameter_gradients(run.cache, *map(loops.split, run.da), *run.d_states)
            for run in runs
        ]
    return [type(grads)(*map(loops.plain, grads)) for grads in found]


def pair(loops: Loops, threads: int | None = None) -> Pair:
    """Forward and backward of one run, with the cell's own signatures.

    ``threads``: maximum number of CPU threads (None: all available).
    """
    return partial(_forward, loops, threads), partial(_backward, loops, threads)


def _forward(loops: Loops, threads: int | None, /, *args: Any, **options: Any) -> tuple[Array, Any]:
    call, options = _sorted(loops.cell, args, options)
    return forward_many(loops, [call], threads, **options)[0]


def _backward(
    loops: Loops,
    threads: int | None,
    /,
    dy: Array,
    cache: Any,
    *d_last: Array | None,
    **named: Array | None,
) -> Any:
    states = [f"d{name}_last" for name in loops.cell.STATES]
    last = dict(zip(states, d_last)) | named
    if unknown := set(last) - set(states):
        raise InvalidTypeError(
            f"backward takes {', '.join(states)}, not {', '.join(sorted(unknown))}"
        )
    return backward_many(loops, [(dy, cache, *map(last.get, states))], threads)[0]


def step_pair(cell: Any, steps: Any) -> Pair:
    """The cell's own loop over time, forward and backward, with the kernels of one time step."""
    backward = partial(_step_backward, cell.Cache, cell.backward, step=steps.step_backward)
    return partial(cell.forward, step=steps.step_forward), backward


def _step_backward(
    made: type, backward: Callable[..., Any], /, dy: Array, cache: Any, *d_last: Any, **named: Any
) -> Any:
    require_cache(made, cache)
    return backward(dy, cache, *d_last, **named)


def together(loops: Loops, threads: int | None = None) -> Pair:
    """``forward_many`` and ``backward_many`` of these loops."""
    both = forward_many, backward_many
    return partial(both[0], loops, threads=threads), partial(both[1], loops, threads=threads)


def _sorted(
    cell: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> tuple[tuple[Array, ...], dict[str, Any]]:
    """The arrays in the order of ``input_projection``, and all other arguments by name."""
    bound = signature(cell.input_projection).bind(*args, **options).arguments
    return tuple(bound.pop(name) for name in ["x", *_names(cell)]), bound


def _names(cell: Any) -> list[str]:
    """The arrays that ``forward`` takes after x."""
    return [*(f"{name}0" for name in cell.STATES), *cell.param_shapes(1, 1)]


def require_cache(made: type, cache: Any) -> None:
    """TypeError unless the cache is of this cell's type: a kernel reads it by the cell's gates."""
    if type(cache) is not made:
        given = type(cache)
        raise InvalidTypeError(
            f"cache is a {given.__module__}.{given.__qualname__}: expected what forward returned, a"
            f" {made.__module__}.{made.__qualname__}"
        )
