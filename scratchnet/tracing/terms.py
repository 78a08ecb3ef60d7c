"""Every term of a cell's forward and backward pass by name, for all steps at once.

``backward`` keeps only da. A term is computed here on access, from da and the cache, by the
operations of the cell's own code (program.py); tests compare the two. A cell that cannot be watched
can be traced all the same: gates, states, dy, d_next, da and weight gradients need no program.
"""

import inspect
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from scratchnet.arrays import Array
from scratchnet.cells import Cell
from scratchnet.errors import ScratchnetError
from scratchnet.tracing.evaluate import evaluate
from scratchnet.tracing.program import Program, program_of

Terms = dict[str, Array]
CellCache: TypeAlias = Any  # the NamedTuple that a cell's forward returns: each has its fields


def blocks(array: Array, letters: str, prefix: str = "") -> Terms:
    """The gate blocks of a (..., G*H) array by letter, as views."""
    H = array.shape[-1] // len(letters)
    names = [f"{prefix}{letter}" for letter in letters]
    return {name: array[..., k * H : (k + 1) * H] for k, name in enumerate(names)}


def program_for(cell: Cell, cache: CellCache) -> Program | None:
    """The program of the cell with the options and masks of this cache; None if it has none."""
    options = tuple((name, getattr(cache, name)) for name in cell.OPTIONS)
    known = {*cell.param_shapes(1, 1), *cell.OPTIONS, *cell.STATES, "x", "lengths"}
    masks = [n for n in inspect.signature(cell.forward).parameters if n in cache._fields]
    extra = tuple(n for n in masks if n not in known and getattr(cache, n) is not None)
    return program_or_none(cell, options, extra)


def program_or_none(
    cell: Cell, options: tuple[tuple[str, str], ...], extra: tuple[str, ...] = ()
) -> Program | None:
    """The program of the cell with these options and masks; None for a cell without one."""
    try:
        return program_of(cell, options, extra)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, ScratchnetError):
            raise
        return None


def forward_terms(cell: Cell, cache: CellCache, params: Terms) -> Terms:
    """Pre-activations, gates and every other named quantity of the forward pass, (T, N, H)."""
    gates = getattr(cache, "gates", None)
    made = {} if gates is None else blocks(gates, cell.GATES)
    program = program_for(cell, cache)
    if program is None:
        return made
    stored = _stored(program, cell, cache)
    given = given_of(cell, cache, params)
    names = {n: at for n, at in program.forward.items() if n not in cell.STATES}
    return _values(program, names, stored, given)


def backward_terms(
    cell: Cell, cache: CellCache, params: Terms, upstream: Mapping[str, Array], da: Array
) -> Terms:
    """dh, dc, every term of their sums, and da by gate, (T, N, H)."""
    made, program = blocks(da, cell.GATES, "da_"), program_for(cell, cache)
    if program is None:
        return {"dh": upstream["dy"] + upstream["dh_next"], **made}
    stored = _stored(program, cell, cache)
    stored |= {program.backward[name]: block for name, block in made.items()}
    given = given_of(cell, cache, params) | {"upstream": upstream}
    names = {n: at for n, at in program.backward.items() if n != "dx"}
    return _values(program, names, stored, given)


def _values(
    program: Program, names: dict[str, int], stored: dict[int, Array], given: dict[str, Any]
) -> Terms:
    with np.errstate(all="ignore"):  # a pass that has diverged can be looked at too
        found = {name: evaluate(program.ops, at, stored, given) for name, at in names.items()}
    whole = given["state"]["h"]  # SRU's dh_prev is one 0
    return {n: np.full_like(whole, v) if np.ndim(v) == 0 else v for n, v in found.items()}


def _stored(program: Program, cell: Cell, cache: CellCache) -> dict[int, Array]:
    """What the cache keeps of the program's values: it is not computed again."""
    found = blocks(cache.gates, cell.GATES) if "gates" in cache._fields else {}
    found |= {name: getattr(cache, name) for name in program.forward if name in cache._fields}
    found |= {name: getattr(cache, name)[1:] for name in cell.STATES}
    return {at: found[name] for name, at in program.forward.items() if name in found}


def given_of(cell: Cell, cache: CellCache, params: Terms) -> dict[str, Any]:
    """What a step of the cell is given, at all steps, as ``evaluate`` takes it."""
    return {
        "x": cache.x,
        "H": cache.h.shape[-1],
        "state": {name: getattr(cache, name)[:-1] for name in cell.STATES},
        "parameter": params,
        "extra": cache._asdict(),
    }
