"""``scratchnet doctor``: what is installed, what works here, and what to install for the rest."""

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
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
from scratchnet.errors import ScratchnetError, UnavailableError
from scratchnet.files.machine import blas_in_words, in_short, why_no_gpu

DISTRIBUTION = "scratchnet-rnn"
CHECK_SECONDS = 60.0  # after which the check of CUDA is ended: a broken driver can block
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
        for name in CELLS if engine not in library_engines.ON_GPU_ONLY else ():
            x = np.zeros((2, 1, 1), np.float32)
            found.append(_try(f"{engine:<9} {name}", partial(_why, name, x, engine)))
    return found


def kernels() -> list[Finding]:
    """Whether kernels compile and run here: one for the CPU, then what CUDA needs, part by part."""
    return [_try("CPU", _run_cpu_kernel), *_cuda()]


def _run_cpu_kernel() -> str:
    """Compile the step kernel of the RNN, run it, and compare it with the cell's file."""
    cell, x = CELLS["rnn"], np.full((1, 2, 3), 0.5, np.float32)
    shapes = [(2, 4), *cell.param_shapes(3, 4).values()]
    call = [x, *(np.full(shape, 0.1, np.float32) for shape in shapes)]
    engine = library_engines.choose("rnn", x, 4, "step")
    started = time.perf_counter()
    [(y, _)] = engine.forward([call])
    seconds = time.perf_counter() - started
    if not np.allclose(y, cell.forward(*call)[0], rtol=0, atol=1e-6):
        raise UnavailableError("a kernel ran, and its result is not that of the cell's file")
    return f"a step of the RNN compiled and ran in {seconds:.1f} s"


def _cuda() -> list[Finding]:
    """What ``scratchnet_kernels/check_cuda.py`` finds; it runs in a process that may crash."""
    if find_spec("numba_cuda") is None:
        remedy = "pip install 'numba-cuda[cu12]', or 'numba-cuda[cu13]' for CUDA 13"
        return [
            Finding("CUDA", False, f"numba-cuda is not installed; with an NVIDIA GPU: {remedy}")
        ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    environment.pop("NUMBA_ENABLE_CUDASIM", None)  # the simulator needs none of it
    command = [sys.executable, "-m", "scratchnet_kernels.check_cuda"]
    try:
        done = subprocess.run(
            command, capture_output=True, check=False, timeout=CHECK_SECONDS, env=environment
        )
        output, ended = done.stdout, f"ended with exit code {done.returncode}"
        if lines := done.stderr.decode(errors="replace").splitlines():
            ended += f": {lines[-1]}"
    except subprocess.TimeoutExpired as error:
        output, ended = error.stdout or b"", f"did not end in {CHECK_SECONDS:g} s"
    found: dict[str, Finding] = {}
    for line in output.decode(errors="replace").splitlines():
        with suppress(ValueError):  # another library may print
            what, works, detail = json.loads(line)
            found[what] = Finding(what, works, detail)
    return list(found.values()) or [Finding("CUDA", False, f"the check {ended}")]


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
        ("kernels, compiled and run now", kernels()),
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
        return Finding(
            what, False, str(error) if isinstance(error, ScratchnetError) else in_short(error)
        )


def _run_cupy() -> str:
    if reason := why_no_gpu():
        raise UnavailableError(reason)
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
