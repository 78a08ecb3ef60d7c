"""Which engine runs a cell over a sequence, and the only place that knows of the kernels package.

    array      the cell file itself: any array, the oracle for every other engine
    step       the same loop, its pointwise step replaced by one fused Numba loop or CUDA kernel
    sequence   the whole loop over time in one place; no cell has it yet
    auto       ``array``, until another engine is faster

``step`` is for seeing what a kernel is.  It saves passes over memory, but on a CPU it calls tanh for one number at a time,
where NumPy's tanh takes a vector: from 16 sequences on that costs more than the passes saved, for a single sequence less
(``benchmarks/results``).  So ``auto`` leaves it alone.

Engines are looked up when a layer runs, never at import, so a machine without Numba needs nothing from here.
"""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

from scratchnet.arrays import Array
from scratchnet.cells import CELLS, Cell

ENGINES = ("auto", "array", "step", "sequence")

# Why auto passes over an engine that could run.
SLOWER = {
    "step": "auto does not take it: on a CPU it is slower from 16 sequences on, and on a GPU it has not been measured",
}


class Choice(NamedTuple):
    """An engine for one cell and one array: its name, forward and backward with the cell's signatures, and why this one."""

    engine: str
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    why: str


def check_engine(engine: str) -> str:
    """The name itself, if there is such an engine."""
    if engine not in ENGINES:
        raise ValueError(f"engine is {engine!r}: expected one of {', '.join(ENGINES)}")
    return engine


def kernels() -> Any:
    """The kernels package, or None where Numba is not installed."""
    try:
        return importlib.import_module("scratchnet_kernels")
    except ModuleNotFoundError as missing:
        if missing.name in ("scratchnet_kernels", "numba"):
            return None
        raise


def choose(cell: Cell, x: Array, engine: str = "auto") -> Choice:
    """The engine that runs ``cell`` on x (T, N, D).

    Raises RuntimeError where the engine asked for is not installed or has no kernel for this cell, saying which it is;
    ``auto`` never raises.
    """
    check_engine(engine)
    if engine in ("auto", "array"):
        return Choice("array", cell.forward, cell.backward, "NumPy and BLAS")
    package = kernels()
    if package is None:
        needed = "needs Numba and the kernels package, and one of them is not installed"
        raise RuntimeError(f"engine {engine!r} {needed}: pip install 'scratchnet[numba]'")
    name = next((name for name, known in CELLS.items() if known is cell), repr(cell))
    pair = package.find(engine, name, x)
    if pair is None:
        raise RuntimeError(f"engine {engine!r} {package.missing(engine, name, x)}; use 'auto' or 'array'")
    forward, backward = pair
    return Choice(engine, forward, backward, f"fused kernels of scratchnet_kernels for the {name} cell")


def explain(layer: Any, x: Array) -> str:
    """Which engine runs a recurrent layer on x, and of each other one why it does not: a line each.

    Raises RuntimeError, as the layer itself would, where the engine it was made with cannot run.
    """
    chosen = choose(layer.cell, x, layer.engine)
    lines = [f"{chosen.engine}: runs the {layer.cell_name} cell here, with {chosen.why}"]
    for engine in ENGINES[1:]:
        if engine == chosen.engine:
            continue
        try:
            choose(layer.cell, x, engine)
        except RuntimeError as error:
            lines.append(f"{engine}: not here: {error}")
        else:
            asked = f"the layer was made with engine={layer.engine!r}"
            lines.append(f"{engine}: could, but {SLOWER[engine] if layer.engine == 'auto' else asked}")
    return "\n".join(lines)
