"""The ``sequence`` engine on CuPy arrays: one kernel for all of time, and cuBLAS outside the loop.

A *run* is one layer direction: a cell applied once. The two runs of a bidirectional layer read the
same input and are independent, so one launch computes them side by side.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from scratchnet.arrays import Array, read_only
from scratchnet.cells import CELLS
from scratchnet.cells.checks import check_backward
from scratchnet.errors import InvalidTypeError
from scratchnet_kernels import launch
from scratchnet_kernels.checks import require_cache
from scratchnet_kernels.launch import Persistent, require_launchable
from scratchnet_kernels.sequence_cuda.resources import Device, Plan, Resources, resources
from scratchnet_kernels.sequence_cuda.resources_tf32 import resources_tf32

Kernel = Callable[[int, Resources], Persistent]
Rule = Callable[[int, int, int, Device], Plan]  # from gates, H, N and a GPU


class ForwardRun(NamedTuple):
    """Arguments of a loop forward in time, which fills the cache's states and gates."""

    a_x: Array  # (T, N, G)  x W_x; the kernel adds b where it reads this
    cache: Any  # the cell's own, its h[0] (and c[0]) the initial state
    params: dict[str, Array]


class BackwardRun(NamedTuple):
    """Arguments of a loop backward in time, which fills da and d_states."""

    dy: Array  # (T, N, H)
    cache: Any
    # (N, H) each: comes with the gradients of the final states, leaves with those of the initial
    d_states: tuple[Array, ...]
    da: tuple[Array, ...]  # (T, N, G), uninitialised; for the GRU also dm
    db: tuple[Array, ...]  # (N, G), uninitialised: of each sequence; for the GRU also db_hn (N, H)


class CudaSequence(NamedTuple):
    """Runs a cell over all of time in one kernel; an ``Engine`` of ``scratchnet.engines``.

    Its name says how the recurrent product is computed: "sequence" in float32, "sequence_tf32" on
    tensor cores, from h, da and W_h rounded to TF32. Everything else is float32 in both.
    """

    cell_name: str
    why: str
    name: str = "sequence"

    @property
    def cell(self) -> Any:
        """The cell's module; looked up by name, so that an engine can be copied and pickled."""
        return CELLS[self.cell_name]

    @property
    def loops(self) -> ModuleType:
        """This folder's file of the cell's name."""
        return _file_of(self.cell_name)

    @property
    def rule(self) -> Rule:
        """What a launch takes of a GPU."""
        return resources_tf32 if self.name == "sequence_tf32" else resources

    def forward(self, calls: Sequence[Sequence[Array]], **options: Any) -> list[tuple[Array, Any]]:
        """(y, cache) of each layer direction, from the arguments of the cell's forward."""
        first, runs = 1 + len(self.cell.STATES), []
        for call in calls:
            cache = self.cell.new_cache(*call, **options)
            params = dict(zip(self.cell.param_shapes(1, 1), call[first:]))
            T, N, D = cache.x.shape
            a_x = (cache.x.reshape(T * N, D) @ params["W_x"]).reshape(T, N, -1)
            runs.append(ForwardRun(a_x, cache, params))
        self.loops.loop_forward(runs, self.rule)
        return [(read_only(run.cache.h[1:]), run.cache) for run in runs]

    def backward(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """The gradients of each layer direction, from the arguments of the cell's backward."""
        runs = []
        for dy, cache, *d_last in calls:
            upstream = dict(zip(self.cell.STATES, [*d_last, None, None]))
            named = {f"d{name}_last": d for name, d in upstream.items()}
            require_cache(self.cell.Cache, cache)
            check_backward(dy, cache, self.cell.Cache, **named)
            d_states = tuple(
                np.zeros_like(cache.h[0]) if d is None else d.copy(order="C")
                for d in upstream.values()
            )
            like = getattr(cache, "gates", cache.h[1:])
            da = tuple(np.empty_like(like) for _ in range(self.loops.GRADIENTS))
            N, H = cache.h.shape[1:]
            biases = [s for s in self.cell.param_shapes(1, H).values() if len(s) == 1]
            db = tuple(np.empty((N, *shape), like.dtype, like=like) for shape in biases)
            runs.append(BackwardRun(dy, cache, d_states, da, db))
        self.loops.loop_backward(runs, self.rule)
        return [
            # db is a sum over sequences, always in the same order
            self.cell.parameter_gradients(
                run.cache, *run.da, *run.d_states, *(db.sum(axis=0) for db in run.db)
            )
            for run in runs
        ]


@lru_cache
def _file_of(cell_name: str) -> ModuleType:
    return import_module(f"scratchnet_kernels.sequence_cuda.{cell_name}")


def launch_runs(
    way: str,
    kernel: Kernel,
    rule: Rule,
    cell: Any,
    caches: Sequence[Any],
    read: Sequence[dict[str, Array]],
    filled: Sequence[dict[str, Array]],
) -> None:
    """Launch the "forward" or "backward" kernel for one or two runs: what to read, what to fill.

    Arrays that are only read may have any memory order. Raises TypeError unless all are float32 on
    the GPU, ValueError where W_h does not fit: before the launch.
    """
    T, N, H = caches[0].h[1:].shape
    if caches[0].h.dtype != np.float32:
        raise InvalidTypeError(
            f"the sequence kernels compute in float32, and h is {caches[0].h.dtype}: engine 'step'"
            " takes both"
        )
    use = getattr(rule(len(cell.GATES), H, N * len(caches), launch.device()), way)
    runs = []
    for inputs, outputs in zip(read, filled, strict=True):
        arrays = {name: np.ascontiguousarray(a, like=a) for name, a in inputs.items()} | outputs
        require_launchable(**arrays)
        runs.append(tuple(arrays.values()))
    kernel(H, use).launch(-(-N // use.rows), runs, [cache.lengths for cache in caches], T, N)
