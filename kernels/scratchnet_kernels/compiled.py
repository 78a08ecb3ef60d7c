"""How this package compiles loops for the CPU: three decorators, all options in one place."""

import hashlib
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler import Compiler

from scratchnet import elementwise

F = TypeVar("F", bound=Callable[..., Any])


def compiled(loop: F) -> F:
    """Compile ``loop`` when it is first called, once for each combination of argument types.

    No ``fastmath``: it reorders sums and forgets NaN, and the array engine would no longer be an
    oracle. ``error_model="numpy"``: 1 / 0 is inf, as in an array, and the loop needs no test for
    it. Nothing is kept on disk: these loops are there to be read and changed, and compile in a
    second.

    With NUMBA_DISABLE_JIT=1 in the environment the loop stays the Python function it is, and a
    debugger can enter it.
    """
    return cast(F, njit(error_model="numpy")(loop))


def vector_loop(loop: F) -> F:
    """Compile an elementwise loop to vector instructions; no two of its arrays may overlap.

    ``contract`` allows a multiplication and an addition to become one instruction, rounded once;
    nothing is reordered, and NaN and infinity are what they are.
    """
    options = {
        "error_model": "numpy",
        "nogil": True,
        "fastmath": {"contract"},
        "pipeline_class": _NoOverlap,
    }
    return cast(F, _kept(njit(**options)(_named(loop))))


def time_loop(loop: F) -> F:
    """Compile a loop over time, which calls BLAS and vector loops, and releases the GIL."""
    return cast(F, _kept(njit(error_model="numpy", nogil=True)(_named(loop))))


class _NoOverlap(Compiler):  # type: ignore[misc]
    """Tells LLVM that arrays do not overlap, as Numba itself does in the body of a ``prange``."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True
        return super().define_pipelines()


class _Kept(FunctionCache):  # type: ignore[misc]
    """Machine code kept on disk until any file that it is compiled from changes.

    Numba itself checks only the *loop's* file. The math that the loop calls is in the cell's file:
    after a change there, Numba would go on running the old code without a message.
    """

    def __init__(self, loop: Callable[..., Any]) -> None:
        super().__init__(loop)
        self._cache_file = _File(self._cache_path, self._impl.filename_base, sources())

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple(), _made_of(self._py_func)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            found = super().load_overload(sig, target_context)
        except Exception:  # a damaged file raises whatever reading it comes to
            found = None
            with suppress(OSError):
                self._cache_file.flush()
        if found is None:
            name = f"{self._py_func.__module__.partition('.')[2]}.{self._py_func.__name__}"
            said = f"scratchnet: compiling {name}, and keeping it for the next time"
            print(said, file=sys.stderr, flush=True)
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        with suppress(OSError):  # go on without the cache when the disk is full
            super().save_overload(sig, data)


class _File(IndexDataCacheFile):  # type: ignore[misc]
    """Data files named after a hash of their key.

    Numba numbers them, and two processes may give one number to two loops.
    """

    def save(self, key: Any, data: Any) -> None:
        self._name = f"{self._index_name}-{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"
        super().save(key, data)

    def _data_name(self, number: int) -> str:
        return self._name


def _made_of(loop: Any) -> Any:
    """Names of a loop and of every function in its closure: a key that is equal in every process.

    Numba's own key is not.
    """
    function = getattr(loop, "py_func", loop)
    inside = [_made_of(cell.cell_contents) for cell in function.__closure__ or ()]
    return function.__qualname__, *inside


def _named(loop: F) -> F:
    """The loop, under a name that also says what its closure holds.

    Machine code is linked by name. Two loops of one name, such as those of the RNN's two
    nonlinearities, compiled by two processes, would be one as soon as a third loads both: the relu
    cell would compute tanh.
    """
    if loop.__closure__:
        digest = hashlib.sha256(repr(_made_of(loop)).encode()).hexdigest()
        loop.__qualname__ += f"_{digest[:12]}"
    return loop


def _kept(loop: Any) -> Any:
    if hasattr(loop, "py_func"):  # with NUMBA_DISABLE_JIT=1 it is the Python function
        with suppress(RuntimeError):  # no folder to write to: each process compiles for itself
            loop._cache = _Kept(loop.py_func)
    return loop


@cache
def sources() -> str:
    """Hash of the text of every file that compiled code is made of, when the first loop loads."""
    library, package = Path(elementwise.__file__).parent, Path(__file__).parent
    files = [library / "elementwise.py", *sorted((library / "cells").glob("*.py"))]
    files += sorted(package.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
