"""CUDA kernels compile where NumPy has no row_stack, which NumPy 2.5 removed and numba-cuda reads (``launch.py``)."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHECK = """
import importlib.util as u, numpy, sys
new = tuple(map(int, numpy.__version__.split(".")[:2])) >= (2, 5)
sys.exit(not (new and u.find_spec("numba_cuda") and u.find_spec("matplotlib") and u.find_spec("tqdm")))
"""


def compile_one(python, first):
    """A kernel compiled by this Python, after importing ``first``."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels")))
    command = [str(python), str(ROOT / "tests" / "new_numpy.py"), first]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env=os.environ | {"PYTHONPATH": path}
    )
    if done.returncode and ("libnvvm" in done.stderr or "libnvrtc" in done.stderr or "NvvmSupportError" in done.stderr):
        pytest.skip("needs NVIDIA's compiler libraries: pip install -e '.[ptx]'")
    return done


def new_python():
    """The first Python on the path that has NumPy 2.5 or newer and numba-cuda; None where there is none."""
    for folder in map(Path, os.environ.get("PATH", "").split(os.pathsep)):
        for python in sorted(folder.glob("python3.1[2-9]")):
            asked = subprocess.run([python, "-c", CHECK], capture_output=True, check=False, timeout=60)
            if asked.returncode == 0:
                return python
    return None


@pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda: pip install numba-cuda")
@pytest.mark.parametrize("first", ["launch", "step_cuda", "update_cuda", "sequence_cuda.rnn"])
def test_a_kernel_compiles_without_row_stack(first):
    """Whichever module of the library is imported first."""
    done = compile_one(sys.executable, f"scratchnet_kernels.{first}")
    assert done.returncode == 0, done.stderr


def test_a_kernel_compiles_with_numpy_2_5():
    python = new_python()
    if python is None:
        pytest.skip("needs a Python 3.12 or newer on the path, with NumPy 2.5 or newer and numba-cuda")
    done = compile_one(python, "scratchnet_kernels.step_cuda")
    assert done.returncode == 0, done.stderr
    major, minor, *_ = done.stdout.split(".")
    assert (int(major), int(minor)) >= (2, 5)
