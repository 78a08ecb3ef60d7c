"""Engines that are faster than arrays, compiled with Numba.  Importing this package imports Numba; ``scratchnet`` does so
only when an engine of it is asked for (``scratchnet/fused.py``).

Nothing of a cell's math is written here.  The functions that a cell marks ``@elementwise`` are compiled as they stand: below
each is handed to Numba, and from then on compiled loops may call it.
"""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numba.extending import register_jitable

from scratchnet.arrays import Array, is_array, kind
from scratchnet.cells import CELLS
from scratchnet.elementwise import ELEMENTWISE
from scratchnet_kernels import step_cpu

for function in ELEMENTWISE:  # all of them: CELLS, imported above, has loaded every cell's file
    register_jitable(function)

Pair = tuple[Callable[..., Any], Callable[..., Any]]

# What exists for NumPy arrays: (engine, cell) -> forward and backward with the cell's own signatures.  For CuPy arrays it
# is ``cuda_kernels()``, which imports Numba's CUDA part when it is first needed.
KERNELS: dict[tuple[str, str], Pair] = {("step", cell): pair for cell, pair in step_cpu.PAIRS.items()}

# What does not, and why.  Every engine and every cell stand in one of the two tables.
HOLES: dict[tuple[str, str], str] = {("sequence", cell): "not written yet" for cell in CELLS}

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def cuda_kernels() -> dict[tuple[str, str], Pair]:
    """What exists for CuPy arrays, as KERNELS.  Raises ImportError where Numba's CUDA part is not installed."""
    from scratchnet_kernels import step_cuda

    return {("step", cell): pair for cell, pair in step_cuda.PAIRS.items()}


def _table(x: Array) -> dict[tuple[str, str], Pair]:
    return cuda_kernels() if kind(x) == "cupy" else KERNELS


def missing(engine: str, cell_name: str, x: Array) -> str | None:
    """Why ``engine`` cannot run this cell on x, as the end of a sentence that begins with its name; None if it can."""
    if kind(x) not in ("numpy", "cupy") or not is_array(x):
        return f"has kernels for NumPy and CuPy arrays, not for {type(x).__module__}.{type(x).__name__}"
    if kind(x) == "cupy" and find_spec("numba_cuda") is None:
        return "needs numba-cuda for CuPy arrays, which is not installed: pip install 'scratchnet[cuda12]' or '[cuda13]'"
    if x.dtype not in DTYPES:
        return f"computes in {' or '.join(map(str, DTYPES))}, not in {x.dtype}"
    if (engine, cell_name) not in _table(x):
        return f"has no kernel for the {cell_name} cell: {HOLES.get((engine, cell_name), 'not one of the library')}"
    return None


def find(engine: str, cell_name: str, x: Array) -> Pair | None:
    """Forward and backward, with the cell's own signatures, that run it on x (T, N, D); None where ``missing`` says why."""
    return None if missing(engine, cell_name, x) else _table(x)[engine, cell_name]
