"""Faster engines than array operations, compiled with Numba.

Importing this package imports Numba; ``scratchnet.engines`` does so only when it needs an engine of
it.

No cell's math is written here. The functions that a cell marks ``@elementwise`` are compiled as
they are: below, each is registered with Numba, and from then on compiled loops may call it.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from numba.extending import register_jitable

from scratchnet.arrays import Array, Step
from scratchnet.cells import CELLS
from scratchnet.cells.engine import CellEngine, Engine
from scratchnet.elementwise import ELEMENTWISE
from scratchnet.errors import UnavailableError
from scratchnet_kernels import sequence_cpu, step_cpu
from scratchnet_kernels.checks import require_cache
from scratchnet_kernels.sequence_cpu.engine import CpuSequence

for function in ELEMENTWISE:  # all of them: CELLS, imported above, has loaded every cell's file
    register_jitable(function)

Table = dict[tuple[str, str], ModuleType]

# Kernels for NumPy arrays: (engine, cell) -> the file with its loops.
# For CuPy arrays: ``cuda_kernels()``, which imports Numba's CUDA part when it is first needed.
KERNELS: Table = {("step", cell): file for cell, file in step_cpu.STEPS.items()}
KERNELS |= {("sequence", cell): file for cell, file in sequence_cpu.PASSES.items()}

# No entry means no kernel. Where there is a reason besides that nobody has written one:
WHY_NOT = {
    ("step", "lstm_norm"): "its step takes a mean over all units, and a loop is over single units",
    ("sequence", "lstm_norm"): "its step takes a mean over all units",
    ("sequence", "lstm_masked"): "its masks act between two steps, inside the loop over time",
    ("cuda", "gru_reset_before"): "its two products, one after the other, would both read W_h",
}

DTYPES = ("float32", "float64")


def cuda_kernels() -> Table:
    """Table of the kernels for CuPy arrays, as KERNELS; ImportError without numba-cuda."""
    from scratchnet_kernels import step_cuda

    table: Table = {("step", cell): file for cell, file in step_cuda.STEPS.items()}
    for cell in ("rnn", "lstm", "gru"):
        file = import_module(f"scratchnet_kernels.sequence_cuda.{cell}")
        table |= {("sequence", cell): file, ("sequence_tf32", cell): file}
    return table


def build(
    engine: str, cell_name: str, where: str, dtype: str, N: int, H: int, threads: int | None
) -> Engine:
    """The engine "step", "sequence" or "sequence_tf32" for one cell and one kind of array.

    Parameters
    ----------
    engine, cell_name : names
    where, dtype : "numpy" or "cupy", and the name of the floating type
    N, H : number of sequences and units, which decide what fits a GPU
    threads : maximum number of CPU threads of ``sequence`` (None: all available)

    Raises
    ------
    UnavailableError
        With the end of a sentence that begins with the engine's name.
    """
    if where not in ("numpy", "cupy"):
        raise UnavailableError(f"has kernels for NumPy and CuPy arrays, not for {where}")
    on_gpu = where == "cupy"
    if on_gpu and find_spec("numba_cuda") is None:
        raise UnavailableError(
            "needs numba-cuda for CuPy arrays, which is not installed: pip install numba-cuda[cu12]"
            " or numba-cuda[cu13]"
        )
    if engine == "sequence_tf32" and not on_gpu:
        raise UnavailableError(
            "computes with the tensor cores of a GPU, on CuPy arrays, and x is a NumPy array"
        )
    if dtype not in DTYPES:
        raise UnavailableError(f"computes in {' or '.join(DTYPES)}, not in {dtype}")
    table = cuda_kernels() if on_gpu else KERNELS
    if (engine, cell_name) not in table:
        key = (("cuda" if on_gpu else engine), cell_name)
        why_not = f": {WHY_NOT[key]}" if key in WHY_NOT else ""
        raise UnavailableError(f"has no kernel: none is registered for cell {cell_name!r}{why_not}")
    why = f"fused kernels of scratchnet_kernels for the {cell_name} cell"
    if engine == "step":
        return step_engine(CELLS[cell_name], table["step", cell_name], why)
    if not on_gpu:
        return CpuSequence(cell_name, threads, why)
    from scratchnet_kernels.sequence_cuda.engine import CudaSequence

    if engine == "sequence_tf32":
        why += ", its recurrent products in TF32"
    made = CudaSequence(cell_name, why, engine)
    _require_fit(made, dtype, N, H)
    return made


def _require_fit(engine: Any, dtype: str, N: int, H: int) -> None:
    from scratchnet_kernels.launch import device
    from scratchnet_kernels.sequence_cuda.cluster import require_clusters

    if dtype != "float32":
        raise UnavailableError(f"computes in float32 on a GPU, not in {dtype}")
    try:
        plan = engine.rule(len(engine.cell.GATES), H, N, device())
    except ValueError as error:
        raise UnavailableError(f"does not fit: {error}") from None
    if plan.forward.blocks > 1:  # where this raises, weights are read from memory in every step
        for use in plan:
            require_clusters(use)


def step_engine(cell: Any, file: ModuleType, why: str) -> CellEngine:
    """The cell's own loop over time, forward and backward, with the kernels of one time step."""
    backward = partial(_step_backward, cell.Cache, cell.backward, file.step_backward)
    return CellEngine("step", why, partial(cell.forward, step=file.step_forward), backward)


def _step_backward(
    made: type,
    backward: Callable[..., Any],
    step: Step,
    /,
    dy: Array,
    cache: Any,
    *d_last: Any,
    **named: Any,
) -> Any:
    require_cache(made, cache)
    return backward(dy, cache, *d_last, **named, step=step)
