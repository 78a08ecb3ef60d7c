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
        cell, passes, caches, directions = self.cell, PASSES[self.cell_name], [], []
        first = 1 + len(cell.STATES)  # the parameters come after x and the states
        for call in calls:
            cache = cell.new_cache(*call, **options, empty=empty)
            caches.append(cache)
            arrays = as_loops_take(cache, ("x",))
            directions.append(passes.forward(arrays, *map(contiguous, call[first:])))
        run_together(directions, self.threads)
        return [(read_only(cache.h[1:]), cache) for cache in caches]

    def backward(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """The gradients of each layer direction, from the arguments of the cell's backward."""
        cell, passes, directions = self.cell, PASSES[self.cell_name], []
        for dy, cache, *d_last in calls:
            names = [f"d{name}_last" for name in cell.STATES]
            named = dict(zip(names, [*d_last, None, None]))
            require_cache(cell.Cache, cache)
            check_backward(dy, cache, cell.Cache, **named)
            d_states = [
                np.zeros_like(cache.h[0]) if d is None else np.array(d, order="C")
                for d in named.values()
            ]
            arrays = as_loops_take(cache, cell.Cache._fields)
            directions.append(passes.backward(contiguous(dy), arrays, *d_states))
        return run_together(directions, self.threads)


def as_loops_take(cache: Any, names: Sequence[str]) -> Any:
    """The cache with these arrays contiguous and read-only."""
    found = {}
    for name in names:
        array = getattr(cache, name)
        if isinstance(array, np.ndarray) and name != "lengths":
            found[name] = contiguous(array)
    return cache._replace(**found)
