"""Run by test_new_numpy.py in a process without np.row_stack, as with NumPy 2.5: a kernel compiles to PTX.

The argument is the module of this library that is imported first. Prints NumPy's version.
"""

import sys
from importlib import import_module

import numpy as np
from numba import cuda, float32
from numba.cuda import dispatcher


def main() -> None:
    np.__dict__.pop("row_stack", None)
    if hasattr(np, "row_stack"):
        sys.exit("np.row_stack is still there, so this run shows nothing")
    dispatcher.get_current_device = lambda: type("SomeGpu", (), {"compute_capability": (9, 0)})
    import_module(sys.argv[1])
    from scratchnet_kernels.step_cuda.lstm import forward_kernel

    ptx, _ = cuda.compile_ptx(forward_kernel.py_func, (float32[:, ::1],) * 5, cc=(9, 0))
    assert ".entry" in ptx
    print(np.__version__)


if __name__ == "__main__":
    main()
