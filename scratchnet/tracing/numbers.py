"""The number on every wire: any operation of a run's program, at any step, for any unit."""

from typing import Any

import numpy as np

from scratchnet.arrays import Array
from scratchnet.errors import InvalidValueError
from scratchnet.tracing.evaluate import evaluate
from scratchnet.tracing.program import Program, operands
from scratchnet.tracing.run import RunTrace
from scratchnet.tracing.terms import given_of, program_for


class Numbers:
    """The values of a program's operations in one sequence of a run.

    What the run has by name is taken from it; the rest is computed from that, once. Of a custom
    backward a named term that was not seen has no number, and nothing that follows from it has.

    Parameters
    ----------
    run : a run on the host
    sample : which sequence of the batch

    Raises
    ------
    IndexError
        Where there is no such sequence.
    ValueError
        For a cell whose code cannot be watched: it has no program.
    """

    def __init__(self, run: RunTrace, sample: int = 0) -> None:
        run.require_sample(sample)
        program = program_for(run.cell, run.cache)
        if program is None:
            raise InvalidValueError(
                f"{run.name} has no drawing: the code of its cell, {run.cell_name}, is not a list"
                " of operations on vectors"
            )
        self.run, self.program, self.sample = run, program, sample
        self.names = names_of(program)
        self._given: dict[str, Any] = given_of(run.cell, run.cache, run.params)
        sent = {"dy": run.dy, **run.d_next}
        self._given["upstream"] = {name: d for name, d in sent.items() if d is not None}
        self._known: dict[int, Array] = {}
        for name, at in [*program.backward.items(), *program.forward.items()]:
            if name in run:
                self._known[at] = run[name][1:] if name in run.cell.STATES else run[name]
        self._ready: dict[int, bool] = {}

    def __call__(self, at: int | None, t: int, unit: int) -> float | None:
        """The value of an operation; None where it is not known."""
        if at is None or not self._is_ready(at):
            return None
        row = self.row(at, t)
        return float(row[min(unit, len(row) - 1)])

    def row(self, at: int, t: int) -> Array:
        """The values of an operation for all units at a step."""
        with np.errstate(all="ignore"):  # a pass that has diverged can be looked at too
            value = np.asarray(evaluate(self.program.ops, at, self._known, self._given))
        whole = (self.run.T, self.run.N, value.shape[-1] if value.ndim else 1)
        return np.broadcast_to(value, whole)[t, self.sample]

    def _is_ready(self, at: int) -> bool:
        if at not in self._ready:
            kind, *args = self.program.ops[at]
            unseen = self.run.custom_backward and self.names.get(at) in self.program.backward
            there = kind != "upstream" or args[0] in self._given["upstream"]
            parts = operands(self.program.ops[at])
            self._ready[at] = at in self._known or (
                there and not unseen and all(self._is_ready(k) for k in parts)
            )
        return self._ready[at]


def names_of(program: Program) -> dict[int, str]:
    """A name for each operation that has one: of leaves "x", "c_prev", "dy"; then of the forward
    and of the backward pass, the first that the code uses."""
    names = {}
    for name, at in reversed([*program.forward.items(), *program.backward.items()]):
        names[at] = name
    for at, (kind, *args) in enumerate(program.ops):
        if kind in ("x", "state", "upstream", "extra"):
            names[at] = {"x": "x", "state": f"{(args or [''])[0]}_prev"}.get(kind) or args[0]
    return names
