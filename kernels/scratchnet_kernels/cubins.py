"""Where the machine code of CUDA kernels, their cubins, is kept: compiling one takes seconds.

Numba can keep kernels, too (``cache=True``), and it does tell closures with other values apart. But
it looks at the kernel's own file only, and the math is in the cell's; it does not look at the
launch bounds; it numbers the files of a kernel, so that two processes that compile it for two sizes
at once may both take one number; and a damaged file is an error. So this class takes the place of
Numba's. A kernel is kept in one file, in the folder of ``compiled.sources``, which is named after a
hash of all sources. The file's name says what else decides the code: the values that the kernel
closes over (sizes, device functions), its options and argument types, and what Numba compiles for,
which are the version of the CUDA libraries and the compute capability. A GPU's other properties,
such as its number of multiprocessors, are not in a cubin.
"""

import hashlib
import os
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba_cuda
from numba.cuda.core.caching import NullCache
from numba.cuda.serialize import dumps

from scratchnet.files.machine_code import cache_root
from scratchnet.files.writing import replace
from scratchnet_kernels.compiled import sources

HASH_BYTES = hashlib.sha256().digest_size


def keep(compiled: Any) -> None:
    """Let a kernel of this package be kept on disk; another package's sources are not hashed."""
    if compiled.py_func.__module__.startswith("scratchnet_kernels."):
        compiled._cache = Cubins(compiled.py_func, compiled.targetoptions)


class Cubins(NullCache):  # type: ignore[misc]
    """The machine code of one kernel, for each combination of argument types and GPU.

    Where a file is missing or damaged the kernel is compiled; where none can be written, each
    process compiles for itself.
    """

    def __init__(self, function: Callable[..., None], options: dict[str, Any]) -> None:
        self.function, self.options = function, options
        self.folder = cache_root() / sources() / "cuda"  # now: a file may be edited later

    def load_overload(self, argument_types: Any, target_context: Any) -> Any:
        """The kernel, or None where it has to be compiled."""
        target_context.refresh()  # the first kernel of a process: the compiler is loaded here
        path = self._path(argument_types, target_context.codegen())
        try:
            content = path.read_bytes()
            if hashlib.sha256(content[HASH_BYTES:]).digest() == content[:HASH_BYTES]:
                return pickle.loads(content[HASH_BYTES:])
        except Exception:  # no such file, or one of another version of a package
            pass
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            os.utime(self.folder.parent)  # in use
            if os.access(self.folder, os.W_OK):
                said = f"compiling {self._name()}, and keeping it for the next time"
                print(f"scratchnet: {said}", file=sys.stderr, flush=True)
        return None

    def save_overload(self, argument_types: Any, kernel: Any) -> None:
        """Write the kernel, as a whole or not at all."""
        with suppress(Exception):  # a full disk, or a kernel that cannot be pickled: not kept
            content = pickle.dumps(kernel)
            with replace(self._path(argument_types, kernel.codegen)) as file:
                file.write(hashlib.sha256(content).digest() + content)

    def _name(self) -> str:
        module = self.function.__module__.partition(".")[2]
        return f"{module}.{self.function.__qualname__.replace('.<locals>', '')}"

    def _path(self, argument_types: Any, codegen: Any) -> Path:
        closed_over = dumps([cell.cell_contents for cell in self.function.__closure__ or ()])
        options = sorted((name, str(value)) for name, value in self.options.items())
        said = [numba_cuda.__version__, codegen.magic_tuple(), options, str(argument_types)]
        digest = hashlib.sha256(closed_over + repr(said).encode()).hexdigest()[:16]
        return self.folder / f"{self._name()}-{digest}.kernel"
