"""How a CUDA kernel is compiled and launched: the only file that knows of streams, grids and the driver.

Everything that a wrong launch would answer with garbage or a crash is checked here first, and answered with a sentence.
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from scratchnet.arrays import Array, kind

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
BLOCK = (32, 8)  # threads: x runs along the units, so that a warp reads 128 bytes in one piece; y along the sequences


def kernel(function: Callable[..., None]) -> Any:
    """A CUDA kernel of ``function``, compiled when it is first launched, for the types it is launched with.

    No ``fastmath``: it turns tanh into the hardware's approximation, which is off by 5e-4.
    """
    return cuda.jit(function)


def require_launchable(**arrays: Array) -> None:
    """TypeError or ValueError, before the launch, unless all arrays are on the GPU, contiguous, and of one floating type.

    In the simulator the arrays are NumPy's.
    """
    expected = "numpy" if SIMULATED else "cupy"
    first = next(iter(arrays))
    for name, array in arrays.items():
        if kind(array) != expected:
            raise TypeError(f"{name} is an array of {kind(array)}, but a CUDA kernel takes those of {expected}")
        if array.dtype not in (np.float32, np.float64) or array.dtype != arrays[first].dtype:
            both = f"{name} is {array.dtype} but {first} is {arrays[first].dtype}"
            raise TypeError(f"{both}: expected one type, float32 or float64")
        if not array.flags.c_contiguous:
            raise ValueError(f"{name} {tuple(array.shape)} is not contiguous: the kernel reads its rows one after the other")


def launch(compiled: Any, N: int, H: int, *arrays: Array) -> None:
    """Run a kernel with one thread for each of N sequences and H units, on CuPy's current stream."""
    grid = (-(-H // BLOCK[0]), -(-N // BLOCK[1]))
    compiled[grid, BLOCK, _stream()](*arrays)


def _stream() -> Any:
    if SIMULATED:
        return 0
    import cupy

    # Numba does not take CuPy's stream objects, only the handle inside.
    return cuda.external_stream(cupy.cuda.get_current_stream().ptr)
