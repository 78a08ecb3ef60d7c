"""How a CUDA kernel is compiled and launched: the only file with streams, grids and the driver.

A wrong launch would give wrong numbers or a crash, so arguments are checked here first, with an
error that says what is wrong.
"""

import ctypes
import math
import os
import warnings
from collections.abc import Callable, Sequence
from functools import cache, cached_property, lru_cache
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
    from cuda import core

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
        self._configs: dict[tuple[int, int], Any] = {}

    @property
    def signature(self) -> Any:
        """For the compiler."""
        arrays = (types.CPointer(types.float32),) * self.pointers
        run = types.Tuple((*arrays, types.CPointer(types.intp)))
        return types.void(run, run, types.int32, types.int32, types.int32)

    @cached_property
    def dispatcher(self) -> Compiled:
        """Numba's, compiled for the GPU at hand; it also keeps the machine code loaded."""
        return kernel(self.function, self.signature, self.use.threads)

    @cached_property
    def compiled(self) -> Compiled:
        """What is launched, allowed the shared memory and the cluster that it needs."""
        if SIMULATED:
            return self.dispatcher
        (loaded,) = self.dispatcher.overloads.values()
        made = loaded._codelibrary.get_cufunc().kernel
        allow(made, self.use)
        return made

    def launch(
        self,
        clusters: int,
        runs: Sequence[tuple[Array, ...]],
        lengths: Sequence[Array | None],
        T: int,
        N: int,
    ) -> None:
        """One launch: so many clusters for each of one or two runs, on CuPy's current stream."""
        use, ragged = self.use, int(lengths[0] is not None)
        both = [
            tuple(map(_address, (*run, run[0] if n is None else n)))
            for run, n in zip(runs, lengths)
        ]
        if SIMULATED:  # the blocks of a cluster are groups of threads of one block
            threads, shared_bytes = use.blocks * use.threads, use.blocks * use.shared_bytes
            self.compiled[(clusters, len(runs)), threads, 0, shared_bytes](
                both[0], both[-1], T, N, ragged
            )
            return
        # A tuple is passed to a kernel as its members. Numba's own launch would look at each.
        numbers = map(ctypes.c_int32, (T, N, ragged))
        config = self._config(clusters, len(runs))
        core.launch(_core_stream(_stream()), config, self.compiled, *both[0], *both[-1], *numbers)

    def _config(self, clusters: int, runs: int) -> Any:
        """Of a launch; kept, since it takes as long to make as to launch."""
        if (clusters, runs) not in self._configs:
            use = self.use
            cluster = {"cluster": (use.blocks, 1, 1)} if use.blocks > 1 else {}
            self._configs[clusters, runs] = core.LaunchConfig(
                grid=(clusters, runs, 1),  # of clusters, where there are any
                block=(use.threads, 1, 1),
                shmem_size=use.shared_bytes,
                **cluster,
            )
        return self._configs[clusters, runs]


def allow(kernel: Compiled, use: Resources) -> None:
    """Ask the driver for what it does not give by itself, and Numba does not ask for.

    More than 48 KB of shared memory, and clusters of more than 8 blocks.
    """
    from cuda.bindings import driver

    attributes = driver.CUfunction_attribute
    wanted = {attributes.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: use.shared_bytes}
    if use.blocks > 8:
        wanted[attributes.CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED] = 1
    handle = driver.CUkernel(int(kernel.handle))
    here = driver.CUdevice(cuda.get_current_device().id)
    for attribute, value in wanted.items():
        (status,) = driver.cuKernelSetAttribute(attribute, value, handle, here)
        if status != driver.CUresult.CUDA_SUCCESS:
            raise UnavailableError(
                f"the driver does not allow a kernel {use.shared_bytes} bytes of shared memory and"
                f" clusters of {use.blocks} blocks: {status.name}"
            )


def device() -> Device:
    """The GPU at hand; in the simulator, one as large as an H200."""
    if SIMULATED:
        return Device(multiprocessors=132, shared_bytes=227 * 1024, cluster=16)
    return _device(cuda.get_current_device().id)


@cache
def _device(number: int) -> Device:
    found = cuda.gpus[number]
    return Device(
        found.MULTIPROCESSOR_COUNT,
        found.MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
        # 8 blocks are a cluster on every GPU that has them, 16 on Hopper and Blackwell's large ones
        1 if found.compute_capability < (9, 0) else 16 if found.compute_capability < (11, 0) else 8,
    )


@lru_cache(maxsize=64)
def _core_stream(handle: int) -> Any:
    return core.Stream.from_handle(handle)


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


def _configured(compiled: Compiled, grid: Block, block: Block, stream: int) -> Compiled:
    """A kernel ready to be launched."""
    if SIMULATED:
        return compiled[grid, block, stream]
    return _launcher(compiled, grid, block, stream)


@lru_cache(maxsize=256)  # Numba takes longer to make one than to launch it
def _launcher(compiled: Compiled, grid: Block, block: Block, stream: int) -> Compiled:
    # Numba does not take CuPy's stream objects, only the handle inside.
    where = cuda.external_stream(stream) if stream else 0
    with warnings.catch_warnings():
        # few blocks: a small model has no more work than that
        warnings.filterwarnings("ignore", "Grid size")
        return compiled[grid, block, where]


def _stream() -> int:
    """The handle of CuPy's current stream; 0 is the default one."""
    if SIMULATED:
        return 0
    import cupy

    return int(cupy.cuda.get_current_stream().ptr)
