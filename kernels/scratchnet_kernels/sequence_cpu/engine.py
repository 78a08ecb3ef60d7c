"""The ``sequence`` engine on NumPy arrays: the cells' passes, for several layer directions."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, read_only
from scratchnet.cells import CELLS
from scratchnet.cells.checks import check_backward
from scratchnet_kernels.checks import require_cache
from scratchnet_kernels.sequence_cpu import PASSES
from scratchnet_kernels.sequence_cpu.memory import empty
from scratchnet_kernels.sequence_cpu.passes import contiguous
from scratchnet_kernels.sequence_cpu.work import run_together


class CpuSequence(NamedTuple):
    """Runs a cell over all of time in compiled loops; an ``Engine`` of ``scratchnet.engines``."""

    cell_name: str
    threads: int | None
    why: str
    name: str = "sequence"

    @property
    def cell(self) -> Any:
        """The cell's module; looked up by name, so that an engine can be copied and pickled."""
        return CELLS[self.cell_name]

    def forward(self, calls: Sequence[Sequence[Array]], **options: Any) -> list[tuple[Array, Any]]:
        """(y, cache) of each layer direction, from the arguments of the cell's forward."""
        passes = PASSES[self.cell_name]
        caches = [self.cell.new_cache(*call, **options, empty=empty) for call in calls]
        first = 1 + len(self.cell.STATES)  # the parameters come after x and the states
        directions = [
            passes.forward(as_loops_take(cache, ("x",)), *map(contiguous, call[first:]))
            for cache, call in zip(caches, calls)
        ]
        run_together(directions, self.threads)
        return [(read_only(cache.h[1:]), cache) for cache in caches]

    def backward(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """The gradients of each layer direction, from the arguments of the cell's backward."""
        directions, passes = [], PASSES[self.cell_name]
        for dy, cache, *d_last in calls:
            upstream = dict(zip(self.cell.STATES, [*d_last, None, None]))
            named = {f"d{name}_last": d for name, d in upstream.items()}
            require_cache(self.cell.Cache, cache)
            check_backward(dy, cache, self.cell.Cache, **named)
            d_states = [
                np.zeros_like(cache.h[0]) if d is None else np.array(d, order="C")
                for d in upstream.values()
            ]
            arrays = as_loops_take(cache, self.cell.Cache._fields)
            directions.append(passes.backward(contiguous(dy), arrays, *d_states))
        return run_together(directions, self.threads)


def as_loops_take(cache: Any, names: Sequence[str]) -> Any:
    """The cache with these arrays contiguous and read-only."""
    arrays = {name: getattr(cache, name) for name in names if name != "lengths"}
    found = {name: contiguous(a) for name, a in arrays.items() if isinstance(a, np.ndarray)}
    return cache._replace(**found)
