"""Run by test_cuda.py in a process of its own: every CUDA kernel compiled to PTX, without a GPU, and assembled by ptxas.

Prints a line of JSON for each kernel, type and architecture: whether .f64 stands in it, registers, stack, spills.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from numba import cuda, float32, float64
from numba.cuda import dispatcher
from scratchnet_kernels import step_cuda

ARCHITECTURES = ((7, 5), (8, 0), (9, 0))


class _SomeGpu:
    """Numba asks which GPU is there even when it only compiles; there is none."""

    compute_capability = ARCHITECTURES[-1]


dispatcher.get_current_device = lambda: _SomeGpu


def kernels():
    """(name, kernel) of all that is launched."""
    for cell, module in step_cuda.STEPS.items():
        found = {name: value for name, value in vars(module).items() if hasattr(value, "py_func")}
        for table in ("FORWARD", "BACKWARD"):
            found |= {f"{table}[{key}]": value for key, value in getattr(module, table, {}).items()}
        for name, value in found.items():
            yield f"{cell}.{name}", value


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
    for name, compiled in kernels():
        count = compiled.py_func.__code__.co_argcount
        for real in (float32, float64):
            for cc in ARCHITECTURES:
                ptx, _ = cuda.compile_ptx(compiled.py_func, (real[:, ::1],) * count, cc=cc)
                row = {"kernel": name, "type": str(real), "cc": cc, "f64": ".f64" in ptx}
                row |= assembled(ptx, cc, ptxas, name) if ptxas else {}
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
