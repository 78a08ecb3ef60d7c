"""What is installed here, what works, and what to install for the rest. Tried out, not guessed from
version numbers."""

import os
import platform
import sys
from collections.abc import Callable
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from scratchnet import __version__
from scratchnet import engines as library_engines
from scratchnet.arrays import Array
from scratchnet.cells import CELLS, Cell
from scratchnet.errors import UnavailableError

# distribution, import name, what it is for, the extra that brings it (None: always installed)
PACKAGES = (
    ("numpy", "numpy", "arrays", None),
    ("matplotlib", "matplotlib", "figures", None),
    ("tqdm", "tqdm", "progress bars", None),
    ("numba", "numba", "fused kernels on the CPU", "numba"),
    ("cupy", "cupy", "arrays on an NVIDIA GPU", "cuda12"),
    ("numba-cuda", "numba_cuda", "fused kernels on the GPU", "cuda12"),
    ("torch", "torch", "comparing with PyTorch", "torch"),
    ("tensorboardX", "tensorboardX", "logging for TensorBoard", "tensorboard"),
    ("jupytext", "jupytext", "lessons as notebooks", "tutorials"),
    ("pytest", "pytest", "the test suite", "test"),
)


class Finding(NamedTuple):
    """One line of the report."""

    what: str
    works: bool | None  # None: there is nothing to install, it is not written yet
    detail: str


WORDS = {True: "yes", False: "no", None: "-"}


def packages() -> list[Finding]:
    """Each package the library can use, its version, or the command that installs it."""
    found = []
    for distribution, module, purpose, extra in PACKAGES:
        if find_spec(module) is None:
            choice = (
                "'scratchnet[cuda12]' or 'scratchnet[cuda13]'"
                if extra == "cuda12"
                else f"'scratchnet[{extra}]'"
            )
            found.append(
                Finding(distribution, False, f"{purpose}; to install: pip install {choice}")
            )
        else:
            found.append(Finding(distribution, True, f"{_version(distribution)}, {purpose}"))
    return found


def arrays() -> list[Finding]:
    """Which kinds of array a cell runs on here."""
    return [_try("NumPy", lambda: _run_cells(np)), _try("CuPy", _run_cupy)]


def engines() -> list[Finding]:
    """Which engine runs which cell, on each kind of array that works here."""
    found = []
    for engine in library_engines.ENGINES[1:]:
        for name, cell in CELLS.items():
            x = np.zeros((2, 1, 1), np.float32)
            found.append(_try(f"{engine:<9} {name}", partial(_why, cell, x, engine)))
    return found


def report() -> str:
    """The whole report, as text."""
    lines = [
        (
            f"scratchnet {__version__}, Python {platform.python_version()}, {platform.system()}"
            f" {platform.machine()}, {os.cpu_count()} cores"
        ),
        f"  {sys.executable}",
    ]
    for title, findings in (
        ("packages", packages()),
        ("arrays", arrays()),
        ("engines, on NumPy arrays", engines()),
    ):
        lines += ["", title]
        width = max(len(finding.what) for finding in findings)
        lines += [f"  {WORDS[f.works]:<3}  {f.what:<{width}}  {f.detail}" for f in findings]
    return "\n".join(lines)


def _why(cell: Cell, x: Array, engine: str) -> str:
    return library_engines.choose(cell, x, x.shape[2], engine).why


def _version(distribution: str) -> str:
    for name in (distribution, f"{distribution}-cuda12x", f"{distribution}-cuda13x"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "version unknown"


def _try(what: str, action: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, action())
    except Exception as error:  # whatever it is, the doctor reports it and goes on
        return Finding(
            what, False, str(error).splitlines()[0] if str(error) else type(error).__name__
        )


def _run_cupy() -> str:
    if find_spec("cupy") is None:
        raise UnavailableError(
            "not installed; with an NVIDIA GPU: pip install 'scratchnet[cuda12]' or"
            " 'scratchnet[cuda13]'"
        )
    import cupy

    return _run_cells(cupy)


def _run_cells(module: Any) -> str:
    """A forward and backward pass of every cell on the module's arrays."""
    for cell in CELLS.values():
        params = [module.ones(shape) for shape in cell.param_shapes(2, 3).values()]
        y, cache = cell.forward(
            module.ones((2, 1, 2)), *(module.ones((1, 3)) for _ in cell.STATES), *params
        )
        cell.backward(y, cache)
    return f"forward and backward of {', '.join(CELLS)}"
