"""Choose the engine that runs a cell; the only module that knows of the kernels package.

array: the cell file itself, on any array; the oracle for every other engine.

step: the same loop with its pointwise step in one fused Numba loop or CUDA kernel.

sequence: the whole time loop in compiled code; on a CPU a thread for each slice of the batch, on a
GPU one kernel that keeps the recurrent weights in a multiprocessor.

auto: on NumPy arrays ``sequence`` where Numba is installed, else ``array``. On CuPy arrays it is
``array`` until the others have been measured on a GPU.

``step`` shows what a kernel is. It saves passes over memory, but on a CPU it computes tanh for one
number at a time, where NumPy's tanh takes a vector: from 16 sequences on that costs more than the
passes saved, for a single sequence less (``benchmarks/results``).

Engines are looked up when a layer runs, never at import, so a machine without Numba needs nothing
from here.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

from scratchnet.arrays import Array, array_backend
from scratchnet.cells import CELLS, Cell
from scratchnet.errors import InvalidValueError, UnavailableError

ENGINES = ("auto", "array", "step", "sequence")

# Why "auto" does not select an engine that is available, by engine and kind of array.
NOT_SELECTED = {
    ("array", "numpy"): "it is slower than 'sequence'",
    ("step", "numpy"): "it is slower than 'array' from 16 sequences on",
    ("step", "cupy"): "on a GPU it has not been measured",
    ("sequence", "cupy"): "on a GPU it has not been measured",
}
KERNEL_PACKAGES = ("scratchnet_kernels", "numba", "scipy", "threadpoolctl")
NO_KERNELS = (
    "needs Numba and the kernels package, and one of them is not installed:"
    " pip install numba scipy threadpoolctl"
)

Pass: TypeAlias = Callable[..., Any]  # a cell's forward or backward


class ChosenEngine(NamedTuple):
    """An engine for one cell and one array, with forward and backward of the cell's signatures."""

    engine: str
    forward: Pass
    backward: Pass
    why: str  # this engine
    together: tuple[Pass, Pass] | None = None  # for several calls

    def forward_many(self, calls: Sequence[Sequence[Any]], **options: Any) -> list[Any]:
        """``forward`` of each tuple of arguments, such as a layer's two directions.

        All at once where the engine can.
        """
        if self.together is not None:
            return list(self.together[0](calls, **options))
        return [self.forward(*call, **options) for call in calls]

    def backward_many(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """``backward`` of each tuple of arguments, as ``forward_many``."""
        if self.together is not None:
            return list(self.together[1](calls))
        return [self.backward(*call) for call in calls]


def check_engine(engine: str) -> str:
    """The name itself, if there is such an engine."""
    if not isinstance(engine, str) or engine not in ENGINES:
        raise InvalidValueError(f"engine is {engine!r}: expected one of {', '.join(ENGINES)}")
    return engine


@cache
def kernels() -> ModuleType | None:
    """The kernels package, or None where one of its packages is missing.

    Cached: an import that fails takes long.
    """
    try:
        return importlib.import_module("scratchnet_kernels")
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in KERNEL_PACKAGES:
            return None
        raise


def choose(
    cell: Cell, x: Array, H: int, engine: str = "auto", threads: int | None = None
) -> ChosenEngine:
    """Choose the engine that runs ``cell`` on x.

    Parameters
    ----------
    cell : one of ``CELLS``
    x : (T, N, D), or any array of its kind and dtype
    H : number of hidden units
    engine : one of ``ENGINES``; "auto" never raises
    threads : maximum number of CPU threads (None: all available)

    Raises
    ------
    RuntimeError
        Where the engine is not installed or has no kernel for this cell. For an x on a GPU that
        ``sequence`` cannot run (float64, or a W_h that does not fit one multiprocessor) ``step``
        is returned instead, and ``why`` says so.
    """
    if not isinstance(engine, str) or engine not in ENGINES:
        check_engine(engine)
    for registered, known in CELLS.items():
        if known is cell:
            name = registered
            break
    else:
        name = repr(cell)
    if engine == "auto":
        package = kernels() if array_backend(x) == "numpy" else None
        fast = package is not None and package.missing("sequence", name, x, H) is None
        engine = "sequence" if fast else "array"
    if engine == "array":
        return ChosenEngine("array", cell.forward, cell.backward, "NumPy and BLAS")
    package = kernels()
    if package is None:
        raise UnavailableError(f"engine {engine!r} {NO_KERNELS}")
    reason, instead = package.missing(engine, name, x, H), ""
    on_gpu = engine == "sequence" and array_backend(x) == "cupy"
    if reason and on_gpu and not package.missing("step", name, x, H):
        engine, instead = "step", f", in place of 'sequence', which {reason}"
    elif reason:
        raise UnavailableError(f"engine {engine!r} {reason}; use 'auto' or 'array'")
    forward, backward = package.find(engine, name, x, H, threads)
    why = f"fused kernels of scratchnet_kernels for the {name} cell{instead}"
    many = package.find_together(engine, name, x, threads)
    return ChosenEngine(engine, forward, backward, why, many)


def explain(layer: Any, x: Array) -> str:
    """Which engine runs a recurrent layer on x, and why each other one does not: a line each.

    Raises
    ------
    RuntimeError
        Where the layer's engine cannot run, as the layer itself does.
    """
    chosen = choose(layer.cell, x, layer.hidden_size, layer.engine)
    lines = [f"{chosen.engine}: runs the {layer.cell_name} cell here, with {chosen.why}"]
    for engine in ENGINES[1:]:
        if engine == chosen.engine:
            continue
        try:
            other = choose(layer.cell, x, layer.hidden_size, engine)
        except RuntimeError as error:
            lines.append(f"{engine}: not here: {error}")
        else:
            if other.engine != engine:
                lines.append(f"{engine}: not here: {other.why.partition('which ')[2]}")
            elif layer.engine == "auto":
                reason = NOT_SELECTED[engine, array_backend(x)]
                lines.append(f'{engine}: available, but not selected by "auto": {reason}')
            else:
                lines.append(f"{engine}: available, but the layer has engine={layer.engine!r}")
    return "\n".join(lines)


# Engines of an optimiser's rule and of norms: as above, without a loop over time.
UPDATE_ENGINES = ("auto", "array", "step")


def updates(arrays: Mapping[Any, Array], engine: str = "auto") -> ModuleType | None:
    """The module with the fused kernels ``adam`` and ``squares``, or None for array operations.

    Parameters
    ----------
    arrays : parameters or gradients by name, all NumPy's or all CuPy's
    engine : "auto" is None for now. On a CPU the loops are faster from some thousand elements on,
        with the same bits, but Numba takes one or two seconds to load and compile; on a GPU
        nothing has been measured

    Raises
    ------
    ValueError
        For an unknown engine.
    RuntimeError
        Where ``step`` is not installed or has no kernels for these arrays.
    """
    if not isinstance(engine, str) or engine not in UPDATE_ENGINES:
        raise InvalidValueError(
            f"engine is {engine!r:.80}: expected one of {', '.join(UPDATE_ENGINES)}"
        )
    if engine != "step" or not arrays:
        return None
    where = array_backend(next(iter(arrays.values())))
    modules = {"numpy": "update_cpu", "cupy": "update_cuda"}
    if where not in modules:
        raise UnavailableError(
            f"engine 'step' has kernels for NumPy and CuPy arrays, not for those of {where}"
        )
    if kernels() is None:
        raise UnavailableError(f"engine 'step' {NO_KERNELS}")
    try:
        return importlib.import_module(f"scratchnet_kernels.{modules[where]}")
    except ImportError as error:
        raise UnavailableError(
            "engine 'step' needs numba-cuda for CuPy arrays, which is not installed:"
            " pip install numba-cuda[cu12] or numba-cuda[cu13]"
        ) from error
