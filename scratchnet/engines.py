"""Choose the engine that runs a cell; the only module that knows of the kernels package.

array: the cell file itself, on any array; the oracle for every other engine.

step: the same loop with its pointwise step in one fused Numba loop or CUDA kernel.

sequence: the whole time loop in compiled code; on a CPU each thread takes some sequences, or some
units of all, on a GPU one kernel that keeps the recurrent weights in registers and shared memory.

sequence_tf32: on a GPU, ``sequence`` with the recurrent products on tensor cores, for H from 256 to
512. h, da and W_h are rounded to TF32, which has 11 significant bits, and the sums are float32: an
error of at most 2^-10 of each product, which is what PyTorch's cuDNN allows by default. It is never
chosen, only named.

auto: on NumPy arrays ``sequence`` where Numba is installed, else ``array``; in a layer, ``array``
until a process has done about a second of work and ``sequence`` is compiled (``Patience``). On CuPy
arrays it is ``array`` until the others have been measured on a GPU.

``step`` shows what a kernel is. It saves passes over memory, but on a CPU it computes tanh for one
number at a time, where NumPy's tanh takes a vector: from 16 sequences on that costs more than the
passes saved, for a single sequence less (``benchmarks/results``).

Engines are looked up when a layer runs, never at import, so a machine without Numba needs nothing
from here.
"""

import importlib
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from scratchnet.arrays import FLOATING, Array, array_backend, is_array
from scratchnet.cells import CELLS
from scratchnet.cells.engine import CellEngine, Engine
from scratchnet.errors import InvalidValueError, UnavailableError
from scratchnet.files import machine_code

ENGINES = ("auto", "array", "step", "sequence", "sequence_tf32")

# Why "auto" does not select an engine that is available, by engine and kind of array.
NOT_SELECTED = {
    ("array", "numpy"): "it is slower than 'sequence'",
    ("step", "numpy"): "it is slower than 'array' from 16 sequences on",
    ("step", "cupy"): "on a GPU it has not been measured",
    ("sequence", "cupy"): "on a GPU it has not been measured",
    ("sequence_tf32", "cupy"): "its products are of numbers rounded to 11 significant bits",
}
ON_GPU_ONLY = ("sequence_tf32",)
KERNEL_PACKAGES = ("scratchnet_kernels", "numba")
NO_KERNELS = (
    "needs Numba and the kernels package, and one of them is not installed: pip install numba"
)


class Patience:
    """When "auto" begins with compiled engines: after about a second of work, and without waiting.

    Numba takes time to load, and ten seconds to compile a cell the first time on a machine: a short
    job would wait longer for its engine than for its result. So a process begins with ``array``.
    Work is counted by a formula and not by a clock: the same program changes its engine at the same
    place in every run, and its numbers are the same to the last bit.

    Where the machine code of a cell is not on disk yet, another process compiles it. This one goes
    on with ``array`` and looks again when its work has doubled; so in the first run on a machine
    the place depends on how fast that is. A program that must not depend on it names its engine.
    """

    enough = 1.0  # seconds of work, about
    done = 0.0  # so far, by the formula
    again: ClassVar[dict[tuple[str, str], float]] = {}  # (job, dtype): work at which to look again
    alone = 20.0  # work after which this process compiles, where no other one can

    @classmethod
    def engine(cls, cell_name: str, engine: str, x: Array, H: int, gates: int) -> str:
        """Return "array" instead of "auto" while that is better, and count this pass.

        x (T, N, D), H units and ``gates`` blocks of them; other names are returned as they are.
        """
        if engine != "auto" or not isinstance(x, np.ndarray):
            return engine
        (T, N, D), G = x.shape, gates * H
        # forward and backward: Python for each step, multiply-adds, and passes over the gates
        seconds = T * 1e-4 + 3 * T * N * (D + H) * G / 2e10 + T * N * G * 1e-8
        return "array" if cls.lasts(seconds, cell_name, x.dtype) else "auto"

    @classmethod
    def lasts(cls, seconds: float, job: str, dtype: Any) -> bool:
        """Whether array operations do this work, of about so many seconds, too; if so, count it.

        job, dtype : what kernels would have to be compiled for; see ``machine_code.ready``
        """
        kind = job, str(dtype)
        if cls.done >= cls.again.get(kind, cls.enough):
            if machine_code.ready(*kind, alone=cls.done >= cls.alone):
                return False
            cls.again[kind] = 2 * cls.done
        cls.done += seconds
        return True


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
    cell_name: str, x: Array, H: int, engine: str = "auto", threads: int | None = None
) -> Engine:
    """Choose the engine that runs a cell on x.

    Parameters
    ----------
    cell_name : a name in ``CELLS``
    x : (T, N, D), or any array of its kind, dtype and number of sequences
    H : number of hidden units
    engine : one of ``ENGINES``; "auto" never raises
    threads : maximum number of CPU threads (None: all available)

    Raises
    ------
    ValueError
        For a cell or an engine that does not exist.
    RuntimeError
        Where the engine is not installed or has no kernel for this cell. For an x on a GPU that
        ``sequence`` cannot run (float64, or a W_h that does not fit its multiprocessors) ``step``
        is returned instead, and ``why`` says so.
    """
    if cell_name not in CELLS:
        raise InvalidValueError(
            f"there is no cell {cell_name!r}: expected one of {', '.join(CELLS)}"
        )
    if threads is not None and threads < 1:
        raise InvalidValueError(f"threads is {threads}: expected at least 1, or None for all")
    cell = CELLS[cell_name]
    array = CellEngine("array", "NumPy and BLAS", cell.forward, cell.backward)
    if engine == "array":
        return array
    check_engine(engine)
    where = array_backend(x) if is_array(x) else f"{type(x).__module__}.{type(x).__name__}"
    if engine == "auto" and where != "numpy":
        return array
    N = x.shape[1] if where == "cupy" else 0  # on a GPU it decides what fits
    # by the cell's identity, too: a notebook may register another one under its name
    kind = cell_name, id(cell), where, x.dtype, N, H
    return _with_kernels(kernels(), engine, *kind, threads) or array


@lru_cache(maxsize=1024)
def _with_kernels(
    package: Any,
    engine: str,
    cell_name: str,
    cell_id: int,
    where: str,
    dtype: Any,
    N: int,
    H: int,
    threads: int | None,
) -> Engine | None:
    """``choose`` among the compiled engines; None where "auto" finds none."""
    kind = cell_name, where, str(dtype), N, H, threads
    try:
        if package is None:
            raise UnavailableError(NO_KERNELS)
        found: Engine = package.build("sequence" if engine == "auto" else engine, *kind)
        return found
    except UnavailableError as why:
        if engine == "auto":
            return None
        if engine == "sequence" and where == "cupy":
            with suppress(UnavailableError):
                step = package.build("step", *kind)
                instead: Engine = step._replace(
                    why=f"{step.why}, in place of 'sequence', which {why}"
                )
                return instead
        advice = "" if package is None else "; use 'auto' or 'array'"
        raise UnavailableError(f"engine {engine!r} {why}{advice}") from None


def explain(layer: Any, x: Array) -> str:
    """Which engine runs a recurrent layer on x, and why each other one does not: a line each.

    Raises
    ------
    RuntimeError
        Where the layer's engine cannot run, as the layer itself does.
    """
    chosen = choose(layer.cell_name, x, layer.hidden_size, layer.engine)
    lines = [f"{chosen.name}: runs the {layer.cell_name} cell here, with {chosen.why}"]
    if layer.engine == "auto" and chosen.name != "array" and Patience.done < Patience.enough:
        lines[0] += "; 'array' does, until the process has done about a second of work"
    for engine in ENGINES[1:]:
        if engine == chosen.name:
            continue
        try:
            other = choose(layer.cell_name, x, layer.hidden_size, engine)
        except RuntimeError as error:
            lines.append(f"{engine}: not here: {error}")
        else:
            if other.name != engine:
                lines.append(f"{engine}: not here: {other.why.partition('which ')[2]}")
            elif layer.engine == "auto":
                reason = NOT_SELECTED[engine, array_backend(x)]
                lines.append(f'{engine}: available, but not selected by "auto": {reason}')
            else:
                lines.append(f"{engine}: available, but the layer has engine={layer.engine!r}")
    return "\n".join(lines)


# Engines of an optimiser's rule and of norms: as above, without a loop over time.
UPDATE_ENGINES = ("auto", "array", "step")
UPDATES = {"numpy": "update_cpu", "cupy": "update_cuda"}  # in the kernels package


def updates(arrays: Mapping[Any, Array], engine: str, passes: int) -> ModuleType | None:
    """The module with the fused kernels ``adam`` and ``squares``, or None for array operations.

    Parameters
    ----------
    arrays : parameters or gradients by name, all NumPy's or all CuPy's
    engine : "auto" is "step" on NumPy arrays where Numba is installed, once a process has done
        about a second of work (``Patience``); on a GPU nothing has been measured
    passes : how often array operations would go over the arrays, for ``Patience``

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
    if engine == "array" or not arrays:
        return None
    if engine == "auto":
        size = 0
        for a in arrays.values():
            if type(a) is not np.ndarray or a.dtype not in FLOATING:
                return None
            size += a.size
        seconds = passes * (len(arrays) * 1e-6 + size * 1e-9)
        if Patience.lasts(seconds, "updates", a.dtype) or kernels() is None:
            return None
    where = array_backend(next(iter(arrays.values())))
    if where not in UPDATES:
        raise UnavailableError(
            f"engine 'step' has kernels for NumPy and CuPy arrays, not for those of {where}"
        )
    if kernels() is None:
        raise UnavailableError(f"engine 'step' {NO_KERNELS}")
    try:
        return importlib.import_module(f"scratchnet_kernels.{UPDATES[where]}")
    except ImportError as error:
        raise UnavailableError(
            "engine 'step' needs numba-cuda for CuPy arrays, which is not installed:"
            " pip install numba-cuda[cu12] or numba-cuda[cu13]"
        ) from error
