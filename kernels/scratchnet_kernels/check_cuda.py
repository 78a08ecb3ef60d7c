"""What a CUDA kernel needs, checked part by part: libraries, driver, compiler, a launch.

``scratchnet doctor`` runs this file in a new process, since a broken driver can end or block the
process that calls it. Each line of output is JSON: what was checked, whether it works, and a
sentence. The line for a check is printed twice, before it and after it, so that the first remains
where the process ends in between.
"""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import metadata

import numpy as np

from scratchnet.errors import UnavailableError
from scratchnet.files.machine import in_short, why_no_gpu

LIBRARIES = "pip install 'numba-cuda[cu12]', or 'numba-cuda[cu13]' for CUDA 13"
DRIVER = "a GPU needs NVIDIA's driver, from nvidia.com or the system's packages"
COMPILED_FOR = (7, 5)  # the oldest architecture that CUDA 13 compiles for


def numba_cuda() -> str:
    """The version of the compiler."""
    return metadata.version("numba-cuda")


def nvvm() -> str:
    """Where the library that turns LLVM's code into PTX is, and the math functions it needs."""
    from cuda.pathfinder import load_nvidia_dynamic_lib
    from numba.cuda.cuda_paths import get_cuda_paths

    found = load_nvidia_dynamic_lib("nvvm").abs_path
    libdevice = get_cuda_paths()["libdevice"]
    if not libdevice or not libdevice.info:
        raise UnavailableError("NVVM is there, but libdevice, its math functions, is not")
    return str(found)


def nvjitlink() -> str:
    """Where the library that turns PTX into machine code is."""
    from cuda.pathfinder import load_nvidia_dynamic_lib

    return str(load_nvidia_dynamic_lib("nvJitLink").abs_path)


def driver() -> str:
    """The CUDA version of the driver, and the number of GPUs."""
    from cuda.bindings import driver, nvrtc

    (status,) = driver.cuInit(0)
    if status != driver.CUresult.CUDA_SUCCESS:
        raise UnavailableError(f"the driver does not start: {status.name}")
    (_, version), (_, count) = driver.cuDriverGetVersion(), driver.cuDeviceGetCount()
    compiler = 0
    with suppress(Exception):  # a missing compiler is the finding of another check
        compiler = nvrtc.nvrtcVersion()[1]
    require_driver(version, compiler)
    return f"for CUDA {version // 1000}.{version % 1000 // 10}, {count} GPU{'s' * (count != 1)}"


def require_driver(version: int, compiler: int) -> None:
    """Raise UnavailableError where the compiler is of a newer CUDA, 13, than the driver, 12040."""
    if version // 1000 < compiler:
        older = f"pip install 'numba-cuda[cu{version // 1000}]'"
        raise UnavailableError(
            f"the driver is for CUDA {version // 1000}.{version % 1000 // 10}, and the compiler is"
            f" of CUDA {compiler}: {older}, or install a newer driver"
        )


def compiles() -> str:
    """Compile a kernel of three lines to PTX, which needs no GPU."""
    from numba import cuda, float32

    from scratchnet_kernels.launch import kernel

    @kernel
    def double(a, out):  # type: ignore[no-untyped-def]
        k = cuda.grid(1)
        if k < a.size:
            out[k] = a[k] + a[k]

    started = time.perf_counter()
    ptx, _ = cuda.compile_ptx(double.py_func, (float32[::1],) * 2, cc=COMPILED_FOR)
    seconds = time.perf_counter() - started
    return f"a kernel compiled to {len(ptx.splitlines())} lines of PTX in {seconds:.1f} s"


def launches() -> str:
    """Run a kernel of this library on CuPy arrays, and compare its result."""
    if reason := why_no_gpu():
        raise UnavailableError(f"left out. {reason}")
    import cupy

    from scratchnet_kernels.step_cuda import rnn

    started = time.perf_counter()
    a = cupy.linspace(-3, 3, 300, dtype=np.float32).reshape(4, 75)
    h = cupy.full_like(a, np.nan)
    rnn.step_forward(a, h, "tanh")
    difference = float(np.abs(h - np.tanh(a)).max())
    if not difference < 1e-6:
        raise UnavailableError(f"a kernel ran, and its result is {difference} away from CuPy's")
    return f"a step of the RNN compiled and ran in {time.perf_counter() - started:.1f} s"


# what is checked, how, and what to do where it fails
CHECKS: tuple[tuple[str, Callable[[], str], str], ...] = (
    ("numba-cuda", numba_cuda, LIBRARIES),
    ("NVVM", nvvm, LIBRARIES),
    ("nvJitLink", nvjitlink, LIBRARIES),
    ("driver", driver, DRIVER),
    ("compiling", compiles, LIBRARIES),
    ("launching", launches, "see the lines above"),
)


def main() -> None:
    """Print the two lines of every check."""
    for what, check, remedy in CHECKS:
        say(what, False, "the check did not end: a library crashed or blocked")
        try:
            say(what, True, check())
        except UnavailableError as error:  # its sentence says what to do
            say(what, False, str(error))
        except Exception as error:  # any other error, with what to do
            say(what, False, f"{remedy} ({in_short(error)})")


def say(what: str, works: bool, detail: str) -> None:
    """One line of output, written at once."""
    print(json.dumps([what, works, detail]), flush=True)


if __name__ == "__main__":
    main()
