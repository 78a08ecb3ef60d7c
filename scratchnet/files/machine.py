"""What results depend on besides the code and the seed: processor, BLAS, threads, versions.

On one machine, with the same versions and settings, the same seed gives the same bits: the order in
which BLAS adds up a product is fixed by its version, by the kernels that it has for the processor
(OPENBLAS_CORETYPE chooses others), and, for some sizes, by its threads. Another machine or another
BLAS adds up in another order, the last bits differ, and a long training can amplify that into
another score. So every results file says where it was made.
"""

import os
import platform
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("scratchnet-rnn", "numpy", "numba", "scipy", "scikit-learn", "torch", "cupy")
# What the environment can say to BLAS, OpenMP and Numba about kernels and threads.
VARIABLES = (
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "MKL_CBWR",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NUMBA_CPU_NAME",
    "NPY_DISABLE_CPU_FEATURES",
)


def describe() -> dict[str, Any]:
    """Processor, system, versions, BLAS and variables, as plain values for a results file."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "arch": platform.machine(),
        "python": platform.python_version(),
        "versions": {name: version for name in PACKAGES if (version := installed(name))},
        "blas": blas(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def blas() -> dict[str, Any]:
    """NumPy's BLAS: name, version, and the core type and threads that it runs with.

    The latter two need threadpoolctl, and are None without it, or where a BLAS does not tell.
    """
    built = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    found: dict[str, Any] = {"name": built["name"], "version": built["version"]}
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return {**found, "core": None, "threads": None}
    loaded = [each for each in threadpool_info() if each["user_api"] == "blas"]
    # SciPy may bring another one; NumPy's is in a separate folder
    own = [each for each in loaded if "numpy" in each["filepath"].lower()] or loaded
    told = own[0] if own else {}
    return {**found, "core": told.get("architecture"), "threads": told.get("num_threads")}


def blas_in_words() -> str:
    """Name, version, core and threads: "scipy-openblas 0.3.31, Haswell kernels, 2 threads"."""
    found = blas()
    core = f", {found['core']} kernels" if found["core"] else ""
    threads = f", {found['threads']} threads" if found["threads"] else ""
    return f"{found['name']} {found['version']}{core}{threads}"


def processor() -> str:
    """The processor's name where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def installed(package: str) -> str | None:
    """A package's version, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def why_no_gpu() -> str | None:
    """Why CuPy arrays cannot be used here, and what to install; None where CuPy finds a GPU.

    CuPy may be missing, or fail when it is imported, or find no driver, a driver that is too old,
    or no GPU: each is one sentence.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what CuPy warns about at import is not a reason
        try:
            import cupy
        except Exception as error:  # a broken installation raises more than ImportError
            if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
                return (
                    "CuPy is not installed; with an NVIDIA GPU: pip install cupy-cuda12x"
                    " 'numba-cuda[cu12]', or cupy-cuda13x 'numba-cuda[cu13]' for CUDA 13"
                )
            return f"CuPy cannot be imported ({in_short(error)}): install it again"
        try:
            count = cupy.cuda.runtime.getDeviceCount()
        except Exception as error:
            return (
                f"CuPy finds no NVIDIA GPU ({in_short(error)}): a GPU needs NVIDIA's driver, as"
                " new as CuPy's CUDA"
            )
    return None if count else "CuPy finds no NVIDIA GPU: a driver is installed, but no GPU is there"


def in_short(error: Exception) -> str:
    """An error's type and the first line of its message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" =\n")]
    return ": ".join([type(error).__name__, *lines[:1]])
