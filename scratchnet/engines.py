"""Which engine runs a cell over a sequence, and the only place that knows of the kernels package.

    array      the cell file itself: any array, the oracle for every other engine
    step       the same loop, its pointwise step replaced by one fused Numba loop or CUDA kernel
    sequence   the whole loop over time in one place: on a CPU a thread for each slice of the batch, on a GPU one kernel that
               keeps the recurrent weights beside it
    auto       on NumPy arrays ``sequence`` where Numba is installed, else ``array``

``step`` is for seeing what a kernel is. It saves passes over memory, but on a CPU it calls tanh for
one number at a time, where NumPy's tanh takes a vector: from 16 sequences on that costs more than
the passes saved, for a single sequence less (``benchmarks/results``). On CuPy arrays ``auto`` is
``array`` until the others have been measured on a GPU.

Engines are looked up when a layer runs, never at import, so a machine without Numba needs nothing
from here.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from scratchnet.arrays import Array, array_backend
from scratchnet.cells import CELLS, Cell
from scratchnet.errors import InvalidValueError, UnavailableError

ENGINES = ("auto", "array", "step", "sequence")

# Why auto passes over an engine that could run, by the kind of array.
NOT_SELECTED = {
    ("array", "numpy"): "auto does not take it: it is slower than 'sequence'",
    ("step", "numpy"): "auto does not take it: it is slower than 'array' from 16 sequences on",
    ("step", "cupy"): "auto does not take it: on a GPU it has not been measured",
    ("sequence", "cupy"): "auto does not take it: on a GPU it has not been measured",
}


class Choice(NamedTuple):
    """An engine for one cell and one array: its name, forward and backward with the cell's
    signatures, and why this one."""

    engine: str
    forward: Callable[..., Any]
    backward: Callable[..., Any]
    why: str
    # both, for several runs in one launch
    together: tuple[Callable[..., Any], Callable[..., Any]] | None = None

    def forward_many(self, calls: Sequence[Sequence[Any]], **options: Any) -> list[Any]:
        """``forward`` for each tuple of arguments, such as the two directions of a layer: at once
        where the engine can."""
        if self.together is not None:
            return list(self.together[0](calls, **options))
        return [self.forward(*call, **options) for call in calls]

    def backward_many(self, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """``backward`` for each tuple of arguments, as ``forward_many``."""
        if self.together is not None:
            return list(self.together[1](calls))
        return [self.backward(*call) for call in calls]


def check_engine(engine: str) -> str:
    """The name itself, if there is such an engine."""
    if engine not in ENGINES:
        raise InvalidValueError(f"engine is {engine!r}: expected one of {', '.join(ENGINES)}")
    return engine


@cache
def kernels() -> Any:
    """The kernels package, or None where Numba is not installed. Looked for once: a search that
    fails takes long."""
    try:
        return importlib.import_module("scratchnet_kernels")
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] in (
            "scratchnet_kernels",
            "numba",
            "scipy",
            "threadpoolctl",
        ):
            return None
        raise


def choose(
    cell: Cell, x: Array, H: int, engine: str = "auto", threads: int | None = None
) -> Choice:
    """The engine that runs ``cell`` with H units on x (T, N, D), on at most so many threads of the
    processor.

    On a GPU ``sequence`` computes in float32 and keeps W_h in one multiprocessor: for float64, or
    where W_h does not fit, it is ``step`` that runs, and ``why`` says so. Raises RuntimeError where
    the engine asked for is not installed or has no kernel for this cell, saying which it is;
    ``auto`` never raises.
    """
    if engine not in ENGINES:
        check_engine(engine)
    for name, known in CELLS.items():
        if known is cell:
            break
    else:
        name = repr(cell)
    if engine == "auto":
        fast = (
            array_backend(x) == "numpy"
            and kernels() is not None
            and kernels().missing("sequence", name, x, H) is None
        )
        engine = "sequence" if fast else "array"
    if engine == "array":
        return Choice("array", cell.forward, cell.backward, "NumPy and BLAS")
    package = kernels()
    if package is None:
        needed = "needs Numba and the kernels package, and one of them is not installed"
        raise UnavailableError(f"engine {engine!r} {needed}: pip install numba scipy threadpoolctl")
    reason, instead = package.missing(engine, name, x, H), ""
    if (
        reason
        and engine == "sequence"
        and array_backend(x) == "cupy"
        and not package.missing("step", name, x, H)
    ):
        engine, instead = "step", f", in place of 'sequence', which {reason}"
    elif reason:
        raise UnavailableError(f"engine {engine!r} {reason}; use 'auto' or 'array'")
    forward, backward = package.find(engine, name, x, H, threads)
    why = f"fused kernels of scratchnet_kernels for the {name} cell{instead}"
    return Choice(engine, forward, backward, why, package.find_together(engine, name, x, threads))


def explain(layer: Any, x: Array) -> str:
    """Which engine runs a recurrent layer on x, and of each other one why it does not: a line each.

    Raises RuntimeError, as the layer itself would, where the engine it was made with cannot run.
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
                continue
            asked = f"the layer was made with engine={layer.engine!r}"
            lines.append(
                f"{engine}: could, but"
                f" {NOT_SELECTED[engine, array_backend(x)] if layer.engine == 'auto' else asked}"
            )
    return "\n".join(lines)


# What can run an optimiser's rule and measure norms: as above, but there is no time to loop over.
UPDATE_ENGINES = ("auto", "array", "step")


def updates(arrays: Mapping[Any, Array], engine: str = "auto") -> Any:
    """The module with the fused kernels ``adam`` and ``squares`` for such arrays, or None for array
    operations.

    ``auto`` is None for now. On a CPU the loops are faster from some thousand elements on, and the
    update is the same to the last bit, but Numba takes one or two seconds to load and compile; on a
    GPU nothing has been measured. Raises ValueError for an unknown engine, RuntimeError where
    ``step`` is not installed or has no kernels for these arrays.
    """
    if engine not in UPDATE_ENGINES:
        raise InvalidValueError(
            f"engine is {engine!r}: expected one of {', '.join(UPDATE_ENGINES)}"
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
        needed = "needs Numba and the kernels package, and one of them is not installed"
        raise UnavailableError(f"engine 'step' {needed}: pip install numba scipy threadpoolctl")
    try:
        return importlib.import_module(f"scratchnet_kernels.{modules[where]}")
    except ImportError as error:
        needed = "needs numba-cuda for CuPy arrays, which is not installed"
        raise UnavailableError(
            f"engine 'step' {needed}: pip install numba-cuda[cu12] or numba-cuda[cu13]"
        ) from error
