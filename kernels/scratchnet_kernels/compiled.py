"""How this package compiles loops for the CPU, and where it keeps their machine code."""

import hashlib
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache, wraps
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar, cast

import llvmlite.binding
import numba
from numba import njit

from scratchnet.arrays import Array
from scratchnet.files.machine_code import cache_root, source_files

F = TypeVar("F", bound=Callable[..., Any])

_lock = Lock()
UNUSED = 30 * 24 * 3600  # seconds after which the machine code of other sources is removed


def compiled(loop: F) -> F:
    """Compile ``loop`` when it is first called, once for each combination of argument types.

    No ``fastmath``: it reorders sums and forgets NaN, and the array engine would no longer be an
    oracle. ``error_model="numpy"``: 1 / 0 is inf, as in an array, and the loop needs no test for
    it. ``nogil``: other threads run meanwhile.

    With NUMBA_DISABLE_JIT=1 in the environment the loop stays the Python function it is, and a
    debugger can enter it.
    """
    return cast(F, njit(error_model="numpy", nogil=True)(loop))


def kept(loop: F) -> F:
    """As ``compiled``, with the machine code kept on disk; called with arrays of one float type.

    Each float type has a folder, and in a folder a loop has one file. (Numba numbers the files of a
    loop, and two processes that compile it for two types at once would give one number to both.)
    """
    sources()  # now: by the first call somebody may have edited a file, and Python has the old one
    loops: dict[Any, Callable[..., Any]] = {}
    compiling = Lock()

    @wraps(loop)
    def run(first: Array, *others: Any) -> Any:
        dtype = first.dtype
        if dtype in loops:
            return loops[dtype](first, *others)
        with compiling:  # one thread does; the others find it done
            if dtype not in loops:
                loops[dtype] = ready_loop(first, *others)
        return loops[dtype](first, *others)  # not inside: the threads of a pass wait for each other

    def ready_loop(*arguments: Any) -> Callable[..., Any]:
        """The loop, compiled for these arguments or read from disk."""
        for attempt in (_kept, _kept_anew, _not_kept):
            made = attempt(loop, arguments[0].dtype.name)
            try:
                if hasattr(made, "compile"):
                    made.compile(tuple(map(numba.typeof, arguments)))
                break
            except Exception:  # a damaged file raises whatever reading it comes to, a full disk too
                if attempt is _not_kept:
                    raise
        return made

    return cast(F, run)


def _kept(loop: F, dtype: str) -> F:
    with _folder(dtype) as folder:
        if folder is None or numba.config.DISABLE_JIT:
            return compiled(loop)
        if not any(folder.rglob(f"{_name(loop)}-*.nbi")):
            said = f"compiling {_name(loop)} for {dtype}, and keeping it for the next time"
            print(f"scratchnet: {said}", file=sys.stderr, flush=True)
        return cast(F, njit(error_model="numpy", nogil=True, cache=True)(loop))


def _kept_anew(loop: F, dtype: str) -> F:
    with _folder(dtype) as folder, suppress(OSError):
        for file in () if folder is None else list(folder.rglob(f"{_name(loop)}-*")):
            file.unlink()
    return _kept(loop, dtype)


def _not_kept(loop: F, dtype: str) -> F:
    return compiled(loop)


def _name(loop: Callable[..., Any]) -> str:
    """What Numba's names for its files begin with."""
    return f"{loop.__module__.rpartition('.')[2]}.{loop.__qualname__}"


@contextmanager
def _folder(dtype: str) -> Iterator[Path | None]:
    """Inside, Numba keeps machine code in this folder; None where none can be written to."""
    folder = cache_root() / sources() / dtype
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder.parent)  # in use
        if not os.access(folder, os.W_OK):
            raise PermissionError
    except OSError:
        yield None
        return
    with _lock:  # the setting is the whole process's
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, str(folder)
        try:
            yield folder
        finally:
            numba.config.CACHE_DIR = before


def processor() -> tuple[str, str]:
    """Name and features of the processor that Numba compiles for, as LLVM says them."""
    name, features = numba.config.CPU_NAME, numba.config.CPU_FEATURES
    if not name and features is None:
        features = llvmlite.binding.get_host_cpu_features().flatten()
    return name or llvmlite.binding.get_host_cpu_name(), features or ""


@cache
def sources() -> str:
    """Name of this code's folder: a hash of all that the machine code is made of.

    Numba itself looks at the file of the loop only. The math that a loop calls is in the cell's
    file: after a change there, Numba would go on running the old code without a message.
    """
    made_by = [platform.python_version(), numba.__version__, *processor()]
    said = [*made_by, *(file.read_text(encoding="utf-8") for file in source_files())]
    name = hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]
    _remove_others(cache_root(), name)
    return name


def _remove_others(root: Path, name: str) -> None:
    """Remove folders of other sources that no process has used for long."""
    with suppress(OSError):
        for folder in root.iterdir():
            if folder.name != name and time.time() - folder.stat().st_mtime > UNUSED:
                shutil.rmtree(folder, ignore_errors=True)
