"""Machine code of the kernels on disk, and another process that makes it.

Numba compiles a cell for ten seconds, the first time on a machine. ``scratchnet_kernels.compiled``
keeps what it makes; here is asked whether it is there, without loading Numba, and if it is not,
``scratchnet_kernels.warm`` is begun in the background.
"""

import hashlib
import os
import platform
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

COMPILING = 300.0  # seconds after which another process is given up

_found: set[tuple[str, str]] = set()
_tried: set[Path] = set()


def ready(job: str, dtype: str, alone: bool) -> bool:
    """Whether kernels can begin: compiled before, or by this process, ``alone``, if need be.

    Where they are not compiled, another process begins to do so. ``job`` is a cell's name, or
    "updates" for an optimiser's rule and norms.
    """
    if (job, dtype) in _found:
        return True
    if find_spec("numba") is None or find_spec("scratchnet_kernels") is None:
        return True  # there is nothing to wait for
    try:
        marker = cache_root() / "ready" / f"{sources()}-{job}-{dtype}"
    except (
        OSError,
        metadata.PackageNotFoundError,
    ):  # sources in an archive, Numba without a version
        return alone
    compiled = os.environ.get("NUMBA_DISABLE_JIT", "0") != "0" or marker.exists()
    if compiled or (not _begun(marker, job, dtype) and alone):
        _found.add((job, dtype))
        return True
    return False


def _begun(marker: Path, job: str, dtype: str) -> bool:
    """Whether another process compiles, begun now or before."""
    note = marker.with_suffix(".begun")
    with suppress(OSError):
        if time.time() - note.stat().st_mtime < COMPILING:
            return True
    if getattr(sys, "frozen", False) or not sys.executable:
        return False  # a program that contains Python: what would begin is that program again
    if marker in _tried:
        return False  # it never came to an end
    _tried.add(marker)
    # -P: the folder that the user is in may hold a random.py
    command = [sys.executable, "-P", "-m", "scratchnet_kernels.warm", job, dtype, str(marker)]
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        note.touch()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=marker.parent,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is not meant for it: the next program will need it too
        )
    except OSError:
        return False
    process.returncode = 0  # nobody waits for it, and that needs no warning
    return True


def cache_root() -> Path:
    """Where machine code is kept: NUMBA_CACHE_DIR, or the user's folder for caches."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen) / "scratchnet"
    system = {"win32": "LOCALAPPDATA", "linux": "XDG_CACHE_HOME"}.get(sys.platform, "")
    if folder := os.environ.get(system):
        return Path(folder) / "scratchnet"
    with suppress(RuntimeError):  # no home
        return Path.home().joinpath(
            *{"darwin": ("Library", "Caches")}.get(sys.platform, (".cache",)), "scratchnet"
        )
    return Path(os.devnull)  # a folder that cannot be made


@cache
def sources() -> str:
    """A hash of all that the machine code is made of, as far as it is known without Numba."""
    made_by = [platform.python_version(), metadata.version("numba"), platform.machine()]
    made_by += [platform.node(), os.environ.get("NUMBA_CPU_NAME", "")]
    said = [*made_by, *(file.read_text(encoding="utf-8") for file in source_files())]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


def source_files() -> list[Path]:
    """The files whose math is compiled, and those that compile it."""
    library, found = Path(__file__).parents[1], find_spec("scratchnet_kernels")
    package = Path(str(found.origin)).parent if found else library
    files = [library / "elementwise.py", library / "adam.py"]
    return [*files, *sorted((library / "cells").glob("*.py")), *sorted(package.rglob("*.py"))]
