"""How a CUDA kernel is compiled and launched: the only file with streams, grids and the driver.

A wrong launch would give wrong numbers or a crash, so arguments are checked here first, with an
error that says what is wrong.
"""

import math
import os
import warnings
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np
from numba import cuda, types

from scratchnet.arrays import Array, array_backend
from scratchnet.errors import InvalidTypeError, InvalidValueError, UnavailableError
from scratchnet_kernels.sequence_cuda.resources import Device, Resources

Compiled: TypeAlias = Any  # a CUDA function of Numba, which has no types
Pointers: TypeAlias = Any  # addresses of one run's arrays, in a kernel
Block = int | tuple[int, int]

# NumPy 2.5 removed row_stack, the old name of vstack. numba-cuda up to 0.30.4 still reads it when
# it compiles its first kernel, and would stop there. pyproject.toml keeps the two apart (numpy<2.5
# beside numba-cuda); this line is for environments that have both.
np.__dict__.setdefault("row_stack", np.vstack)

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
# threads: x runs along the units, so that a warp reads 128 bytes in one piece; y along the
# sequences
BLOCK = (32, 8)
# alignment of shared memory in bytes, so that it can be read 16 at a time
ALIGNED = None if SIMULATED else 16


def _teach(numpys: np.ufunc, own: Callable[[float], float]) -> None:
    """Let kernels call a function of NumPy: for CUDA Numba has that of ``math`` only."""
    from numba.cuda.mathimpl import get_unary_impl_for_fn_and_ty
    from numba.cuda.ufuncs import ufunc_db

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lower = get_unary_impl_for_fn_and_ty(own, signature.args[0])
        return lower(context, builder, signature, args)

    ufunc_db().setdefault(numpys, {"f->f": generate, "d->d": generate})


if not SIMULATED:
    _teach(np.exp, math.exp)  # of the sigmoid
    _teach(np.sqrt, math.sqrt)  # of Adam's rule


def kernel(
    function: Callable[..., None], signature: Any = None, launch_bounds: int | None = None
) -> Compiled:
    """A CUDA kernel of ``function``, compiled at its first launch for the types of its arguments.

    With a ``signature`` it is compiled now, for those types alone. ``launch_bounds``: threads of a
    block, at most, which tells the compiler how many registers each may have. Machine code is kept
    on disk (``cubins.py``).

    No ``fastmath``: it turns tanh into the hardware's approximation, which is off by 5e-4.
    """
    if SIMULATED:
        return cuda.jit(function)
    from scratchnet_kernels.cubins import keep

    made = cuda.jit(launch_bounds=launch_bounds)(function)
    keep(made)
    if signature is not None:
        made.compile(signature.args)
        made._specialized = True  # as in cuda.jit(signature), which cannot be told where to keep it
        made.disable_compile()
    return made


def device_function(function: Callable[..., Any]) -> Compiled:
    """A function that kernels call, compiled into each of them."""
    return cuda.jit(device=True)(function)


class Persistent:
    """A kernel that runs for a whole sequence, compiled at its first launch, for float32.

    Its arguments are two layer directions, each a tuple of ``pointers`` float32 arrays and the
    lengths, then T, N and whether there are lengths. It takes bare addresses: a Numba array would
    pass shape and strides too, seven numbers for each.
    """

    def __init__(self, function: Callable[..., None], pointers: int, use: Resources) -> None:
        self.function, self.pointers, self.use = function, pointers, use

    @property
    def signature(self) -> Any:
        """For the compiler."""
        arrays = (types.CPointer(types.float32),) * self.pointers
        run = types.Tuple((*arrays, types.CPointer(types.intp)))
        return types.void(run, run, types.int32, types.int32, types.int32)

    @cached_property
    def compiled(self) -> Compiled:
        """Compiled for the GPU at hand, and allowed the shared memory it needs."""
        compiled = kernel(self.function, self.signature, self.use.threads)
        if not SIMULATED:
            allow_shared(compiled, self.use.shared_bytes)
        return compiled

    def launch(
        self,
        blocks: int,
        runs: list[tuple[Array, ...]],
        lengths: list[Array | None],
        T: int,
        N: int,
    ) -> None:
        """One launch: so many blocks for each of one or two runs, on CuPy's current stream."""
        with_lengths = [(*run, run[0] if n is None else n) for run, n in zip(runs, lengths)]
        both = [tuple(map(_address, run)) for run in with_lengths]
        grid, ragged, use = (blocks, len(runs)), int(lengths[0] is not None), self.use
        ready = _configured(self.compiled, grid, use.threads, _stream(), use.shared_bytes)
        ready(both[0], both[-1], T, N, ragged)


def allow_shared(compiled: Compiled, shared_bytes: int) -> None:
    """Ask the driver for more than 48 KB of shared memory for a kernel: Numba does not ask."""
    from cuda.bindings import driver

    (loaded,) = compiled.overloads.values()
    attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    handle = driver.CUkernel(int(loaded._codelibrary.get_cufunc().handle))
    (status,) = driver.cuKernelSetAttribute(
        attribute, shared_bytes, handle, driver.CUdevice(cuda.get_current_device().id)
    )
    if status != driver.CUresult.CUDA_SUCCESS:
        refused = f"the driver does not allow a kernel {shared_bytes} bytes of shared memory"
        raise UnavailableError(f"{refused}: {status.name}")


def device() -> Device:
    """The GPU at hand; in the simulator, one as large as an H200."""
    if SIMULATED:
        return Device(multiprocessors=132, shared_bytes=227 * 1024)
    found = cuda.get_current_device()
    return Device(found.MULTIPROCESSOR_COUNT, found.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)


def _address(array: Array) -> Any:
    """Where an array begins; in the simulator, the array as one row of numbers."""
    return array.reshape(-1) if SIMULATED else array.data.ptr  # type: ignore[attr-defined]


def require_launchable(**arrays: Array) -> None:
    """Raise unless all arrays are on the GPU, contiguous, and of one floating type.

    TypeError or ValueError, before the launch. In the simulator the arrays are NumPy's.
    """
    expected = "numpy" if SIMULATED else "cupy"
    first = next(iter(arrays))
    for name, array in arrays.items():
        if array_backend(array) != expected:
            given = f"{name} is an array of {array_backend(array)}"
            raise InvalidTypeError(f"{given}, but a CUDA kernel takes those of {expected}")
        if array.dtype not in (np.float32, np.float64) or array.dtype != arrays[first].dtype:
            both = f"{name} is {array.dtype} but {first} is {arrays[first].dtype}"
            raise InvalidTypeError(f"{both}: expected one type, float32 or float64")
        if not array.flags.c_contiguous:
            given = f"{name} {tuple(array.shape)} is not contiguous"
            raise InvalidValueError(f"{given}: the kernel reads its rows one after the other")


def launch(compiled: Compiled, N: int, H: int, *arrays: Any) -> None:
    """Run a kernel, one thread for each of N sequences and H units, on CuPy's current stream."""
    grid = (-(-H // BLOCK[0]), -(-N // BLOCK[1]))
    _configured(compiled, grid, BLOCK, _stream())(*arrays)


def _configured(
    compiled: Compiled, grid: Block, block: Block, stream: int, shared_bytes: int = 0
) -> Compiled:
    """A kernel ready to be launched."""
    if SIMULATED:
        return compiled[grid, block, stream, shared_bytes]
    return _launcher(compiled, grid, block, stream, shared_bytes)


@lru_cache(maxsize=256)  # Numba takes longer to make one than to launch it
def _launcher(
    compiled: Compiled, grid: Block, block: Block, stream: int, shared_bytes: int
) -> Compiled:
    # Numba does not take CuPy's stream objects, only the handle inside.
    where = cuda.external_stream(stream) if stream else 0
    with warnings.catch_warnings():
        # few blocks: a small model has no more work than that
        warnings.filterwarnings("ignore", "Grid size")
        return compiled[grid, block, where, shared_bytes]


def _stream() -> int:
    """The handle of CuPy's current stream; 0 is the default one."""
    if SIMULATED:
        return 0
    import cupy

    return int(cupy.cuda.get_current_stream().ptr)
