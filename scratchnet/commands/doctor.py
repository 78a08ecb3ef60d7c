"""``scratchnet doctor``: what is installed, what works here, and what to install for the rest."""

import argparse
import os
import platform
import re
import shlex
import sys
import tomllib
from collections.abc import Callable
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scratchnet import __version__
from scratchnet import engines as library_engines
from scratchnet.arrays import Array
from scratchnet.cells import CELLS
from scratchnet.commands.options import Commands
from scratchnet.errors import MissingPackageError
from scratchnet.files.machine import blas_in_words

DISTRIBUTION = "scratchnet-rnn"
# extra -> what it is for; "" are the packages that are always installed
PURPOSES = {
    "": "arrays, figures, progress bars",
    "numba": "fused kernels on the CPU",
    "cuda12": "arrays and fused kernels on an NVIDIA GPU, CUDA 12",
    "cuda13": "arrays and fused kernels on an NVIDIA GPU, CUDA 13",
    "torch": "comparing with PyTorch",
    "sklearn": "the networks as scikit-learn estimators",
    "search": "hyperparameter search",
    "forecast": "exponential smoothing, a baseline of forecasts",
    "tensorboard": "training curves in TensorBoard",
    "heart": "heartbeat records of PhysioNet",
    "tutorials": "lessons as notebooks",
    "ptx": "compiling CUDA kernels without a GPU, on Linux",
    "test": "the test suite",
    "all": "everything for the lessons and recipes on a CPU",
}


class Finding(NamedTuple):
    """One line of the report."""

    what: str
    works: bool
    detail: str


def add(commands: Commands) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor", help="what is installed, what works here, what to install for the rest"
    )
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Print the report."""
    print(report())
    return 0


def requirements() -> dict[str, list[str]]:
    """Extra -> its requirements, such as "numba>=0.60"; "" has those that are always needed.

    From the installed distribution, or from pyproject.toml in a checkout that is not installed.
    """
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        text = Path(__file__).parents[2].joinpath("pyproject.toml").read_text(encoding="utf-8")
        project = tomllib.loads(text)["project"]
        return {"": project["dependencies"], **project["optional-dependencies"]}
    found: dict[str, list[str]] = {"": []}
    for line in lines:
        extra = re.search(r"""extra == ["'](\w+)["']""", line)
        found.setdefault(extra[1] if extra else "", []).append(line)
    return found


def packages() -> list[Finding]:
    """Each extra, with the versions of its packages or the command that installs them."""
    found, every = [], requirements()
    always = _names(every, "")
    for extra in every:
        missing, present = [], []
        for name in _names(every, extra):
            if extra and name in always:  # an extra may only narrow its versions, as numpy<2.5
                continue
            version = _version(name)
            if version is None:
                missing.append(name)
            else:
                present.append(f"{name.partition('[')[0]} {version}")
        detail = f"{PURPOSES.get(extra, '')}: {', '.join(present)}"
        if missing:
            detail = f"{PURPOSES.get(extra, '')}; to install: pip install {shlex.join(missing)}"
        found.append(Finding(extra or "required", not missing, detail))
    return found


def _names(every: dict[str, list[str]], extra: str) -> list[str]:
    """The packages of an extra, those of the extras that it names included."""
    names = []
    for line in every[extra]:
        name, inner = re.match(r"([\w.-]+)(?:\[([\w,]+)\])?", line).groups()  # type: ignore[union-attr]
        if name == DISTRIBUTION:
            names += [each for part in inner.split(",") for each in _names(every, part)]
        elif "'linux'" not in line.replace('"', "'") or sys.platform == "linux":
            names.append(f"{name}[{inner}]" if inner else name)
    return list(dict.fromkeys(names))


def _version(requirement: str) -> str | None:
    try:
        return metadata.version(requirement.partition("[")[0])
    except metadata.PackageNotFoundError:
        return None


def arrays() -> list[Finding]:
    """Which kinds of array a cell runs on here."""
    return [_try("NumPy", lambda: _run_cells(np)), _try("CuPy", _run_cupy)]


def engines() -> list[Finding]:
    """Which engine runs which cell, on NumPy arrays."""
    found = []
    for engine in library_engines.ENGINES[1:]:
        for name in CELLS:
            x = np.zeros((2, 1, 1), np.float32)
            found.append(_try(f"{engine:<9} {name}", partial(_why, name, x, engine)))
    return found


def report() -> str:
    """The whole report, as text."""
    lines = [
        (
            f"scratchnet {__version__}, Python {platform.python_version()}, {platform.system()}"
            f" {platform.machine()}, {os.cpu_count()} cores"
        ),
        f"  {sys.executable}",
        f"  BLAS: {blas_in_words()}",
    ]
    for title, findings in (
        ("packages, by extra", packages()),
        ("arrays", arrays()),
        ("engines, on NumPy arrays", engines()),
    ):
        lines += ["", title]
        width = max(len(finding.what) for finding in findings)
        for finding in findings:
            works = "yes" if finding.works else "no"
            lines.append(f"  {works:<3}  {finding.what:<{width}}  {finding.detail}")
    return "\n".join(lines)


def _why(cell_name: str, x: Array, engine: str) -> str:
    return library_engines.choose(cell_name, x, x.shape[2], engine).why


def _try(what: str, action: Callable[[], str]) -> Finding:
    try:
        return Finding(what, True, action())
    except Exception as error:  # the doctor reports every error and goes on
        return Finding(what, False, (str(error) or type(error).__name__).splitlines()[0])


def _run_cupy() -> str:
    if find_spec("cupy") is None:
        raise MissingPackageError(
            "not installed; with an NVIDIA GPU: pip install cupy-cuda12x 'numba-cuda[cu12]', or"
            " cupy-cuda13x 'numba-cuda[cu13]' for CUDA 13"
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
