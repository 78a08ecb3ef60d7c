"""Faster engines than array operations, compiled with Numba.

Importing this package imports Numba; ``scratchnet.engines`` does so only when it needs an engine of
it.

No cell's math is written here. The functions that a cell marks ``@elementwise`` are compiled as
they are: below, each is registered with Numba, and from then on compiled loops may call it.
"""

from importlib.util import find_spec

import numpy as np
from numba.extending import register_jitable

from scratchnet.arrays import Array, array_backend, is_array
from scratchnet.cells import CELLS
from scratchnet.elementwise import ELEMENTWISE
from scratchnet_kernels import sequence, sequence_cpu, step_cpu
from scratchnet_kernels.sequence import Pair

for function in ELEMENTWISE:  # all of them: CELLS, imported above, has loaded every cell's file
    register_jitable(function)

Table = dict[tuple[str, str], Pair]

# Kernels for NumPy arrays: (engine, cell) -> forward and backward with the cell's own signatures.
# For CuPy arrays: ``cuda_kernels()``, which imports Numba's CUDA part when it is first needed.
KERNELS: Table = {("step", cell): pair for cell, pair in step_cpu.PAIRS.items()}
KERNELS |= {("sequence", cell): sequence.pair(loops) for cell, loops in sequence_cpu.LOOPS.items()}

# No entry means no kernel. Where there is a reason besides that nobody has written one:
WHY_NOT = {
    ("step", "lstm_norm"): "its step takes a mean over all units, and a loop is over single units",
    ("sequence", "lstm_norm"): "its step takes a mean over all units",
    ("sequence", "lstm_masked"): "its masks act between two steps, inside the loop over time",
    ("cuda", "gru_reset_before"): "its two products, one after the other, would both read W_h",
}

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def cuda_kernels() -> Table:
    """Table of the kernels for CuPy arrays, as KERNELS; ImportError without numba-cuda."""
    from scratchnet_kernels import step_cuda

    steps = {("step", cell): pair for cell, pair in step_cuda.PAIRS.items()}
    loops = cuda_loops().items()
    return steps | {("sequence", cell): sequence.pair(loop) for cell, loop in loops}


def cuda_loops() -> dict[str, sequence.Loops]:
    """The loops over time for CuPy arrays, by cell."""
    from scratchnet_kernels.sequence_cuda import gru, lstm, rnn

    return {"rnn": rnn.LOOPS, "lstm": lstm.LOOPS, "gru": gru.LOOPS}


def missing(engine: str, cell_name: str, x: Array, H: int) -> str | None:
    """Why ``engine`` cannot run this cell with H units on x, or None.

    The reason is the end of a sentence that begins with the engine's name.
    """
    if array_backend(x) not in ("numpy", "cupy") or not is_array(x):
        kind = f"{type(x).__module__}.{type(x).__name__}"
        return f"has kernels for NumPy and CuPy arrays, not for {kind}"
    on_gpu = array_backend(x) == "cupy"
    if on_gpu and find_spec("numba_cuda") is None:
        return (
            "needs numba-cuda for CuPy arrays, which is not installed: pip install numba-cuda[cu12]"
            " or numba-cuda[cu13]"
        )
    if x.dtype not in DTYPES:
        return f"computes in {' or '.join(map(str, DTYPES))}, not in {x.dtype}"
    if (engine, cell_name) not in (cuda_kernels() if on_gpu else KERNELS):
        key = (("cuda" if on_gpu else engine), cell_name)
        why = f": {WHY_NOT[key]}" if key in WHY_NOT else ""
        return f"has no kernel: none is registered for cell {cell_name!r}{why}"
    return _does_not_fit(cell_name, x, H) if on_gpu and engine == "sequence" else None


def _does_not_fit(cell_name: str, x: Array, H: int) -> str | None:
    from scratchnet_kernels.launch import device
    from scratchnet_kernels.sequence_cuda.resources import resources

    if x.dtype != np.float32:
        return f"computes in float32 on a GPU, not in {x.dtype}"
    try:
        resources(len(CELLS[cell_name].GATES), H, x.shape[1], device())
    except ValueError as error:
        return f"does not fit: {error}"
    return None


def find(engine: str, cell_name: str, x: Array, H: int, threads: int | None = None) -> Pair | None:
    """Forward and backward that run this cell on x (T, N, D); None where ``missing`` says why.

    Both have the cell's own signatures. ``threads``: maximum number of CPU threads of ``sequence``
    (None: all available).
    """
    if missing(engine, cell_name, x, H):
        return None
    if engine == "sequence":
        return sequence.pair(_loops(cell_name, x), threads)
    return (cuda_kernels() if array_backend(x) == "cupy" else KERNELS)[engine, cell_name]


def find_together(engine: str, cell_name: str, x: Array, threads: int | None = None) -> Pair | None:
    """Forward and backward of several calls at once, or None where an engine has neither."""
    if engine != "sequence":
        return None
    return sequence.together(_loops(cell_name, x), threads)


def _loops(cell_name: str, x: Array) -> sequence.Loops:
    return (cuda_loops() if array_backend(x) == "cupy" else sequence_cpu.LOOPS)[cell_name]
