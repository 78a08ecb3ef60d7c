"""Run by test_cuda.py in a process of its own: every CUDA kernel compiled to PTX, without a GPU, and assembled by ptxas.

Prints a line of JSON for each kernel, type that it computes in, and architecture: whether .f64 stands in it, registers,
stack, spills.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from numba import cuda, float32, float64, int64, types
from numba.cuda import dispatcher
from scratchnet_kernels import step_cuda
from scratchnet_kernels.update_cpu import Rates
from scratchnet_kernels.update_cuda.norm import squares_kernel
from scratchnet_kernels.update_cuda.update import adam_kernel

ARCHITECTURES = ((7, 5), (8, 0), (9, 0))


class _SomeGpu:
    """Numba asks which GPU is there even when it only compiles; there is none."""

    compute_capability = ARCHITECTURES[-1]


dispatcher.get_current_device = lambda: _SomeGpu


def kernels():
    """(name, type it computes in, kernel, types of its arguments) of all that is launched."""
    for cell, module in step_cuda.STEPS.items():
        found = {name: value for name, value in vars(module).items() if hasattr(value, "py_func")}
        for table in ("FORWARD", "BACKWARD"):
            found |= {f"{table}[{key}]": value for key, value in getattr(module, table, {}).items()}
        for name, value in found.items():
            for real in (float32, float64):
                yield f"{cell}.{name}", real, value, (real[:, ::1],) * value.py_func.__code__.co_argcount
    for real in (float32, float64):
        yield "adam_kernel", real, adam_kernel, (int64[:, ::1], types.NamedUniTuple(real, len(Rates._fields), Rates))
        # The one exception to float32 in float32: squares of either type are added in float64, for the reasons in norm.py.
        yield f"squares_kernel of {real}", float64, squares_kernel, (int64[:, ::1], real, float64[::1])


def find_ptxas():
    """The assembler beside the NVVM in use (the wheel's), else the system's: a newer PTX than it knows is refused."""
    for folder in sys.path:
        for own in Path(folder).glob("nvidia/*/bin/ptxas"):
            return str(own)
    return shutil.which("ptxas")


def assembled(ptx, cc, ptxas, name):
    """What ptxas says of a kernel: registers, and bytes of stack, of spill stores and of spill loads."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "k.ptx")
        source.write_text(ptx)
        command = [ptxas, "-v", f"-arch=sm_{cc[0]}{cc[1]}", str(source), "-o", str(Path(folder, "k.cubin"))]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"ptxas refused {name}: {done.stderr}")
    said = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", done.stderr)
    registers = int(re.search(r"Used (\d+) registers", done.stderr)[1])
    return {"registers": registers} | dict(zip(("stack", "stores", "loads"), map(int, said.groups())))


def main():
    ptxas = find_ptxas()
    for name, real, compiled, arguments in kernels():
        for cc in ARCHITECTURES:
            ptx, _ = cuda.compile_ptx(compiled.py_func, arguments, cc=cc)
            row = {"kernel": name, "type": str(real), "cc": cc, "f64": ".f64" in ptx}
            row |= assembled(ptx, cc, ptxas, name) if ptxas else {}
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
