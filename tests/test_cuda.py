"""CUDA kernels on a machine without a GPU: simulated against the array engine, compiled for three architectures, assembled.

With a GPU, the tests marked ``gpu`` run the real thing.
"""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from conftest import VARIANTS

ROOT = Path(__file__).parent.parent
needs_numba_cuda = pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda: pip install numba-cuda")


def run(script, **environment):
    """A script of this folder in a process of its own: what it printed."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", ROOT / "tests")))
    return subprocess.run(
        [sys.executable, str(ROOT / "tests" / script)], capture_output=True, text=True, check=False, timeout=600,
        env=os.environ | {"PYTHONPATH": path, **environment},
    )  # fmt: skip


@needs_numba_cuda
def test_kernels_in_the_simulator_equal_the_array_engine():
    """Every cell, option and type, forward and all gradients, ragged lengths, sizes that fill no block."""
    done = run("cuda_simulated.py", NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} == {v.id for v in VARIANTS}
    for label, dtype, name, error in rows:
        assert float(error) <= (1e-6 if dtype == "float32" else 1e-12), (label, dtype, name)


@needs_numba_cuda
def test_kernels_compile_for_three_architectures():
    """No double precision in a float32 kernel; no stack and no spills where ptxas is at hand."""
    done = run("cuda_compiled.py")
    if done.returncode and ("libnvvm" in done.stderr or "libnvrtc" in done.stderr or "NvvmSupportError" in done.stderr):
        pytest.skip("needs NVIDIA's compiler libraries: pip install 'scratchnet[ptx]'")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len({row["kernel"] for row in rows}) >= 12
    assert {tuple(row["cc"]) for row in rows} == {(7, 5), (8, 0), (9, 0)}
    for row in rows:
        assert row["f64"] == (row["type"] == "float64"), row
        if "registers" in row:
            assert row["stack"] == row["stores"] == row["loads"] == 0, row
            assert row["registers"] <= 64, row


@needs_numba_cuda
def test_a_wrong_launch_is_answered_before_it(monkeypatch):
    """Host arrays, another type, strided rows: a sentence, and no launch."""
    code = """
import numpy as np
from scratchnet_kernels.launch import require_launchable
from scratchnet_kernels.step_cuda import lstm
f, d = np.zeros((2, 4), np.float32), np.zeros((2, 4))
cases = [
    (dict(a=f, b=d), "b is float64 but a is float32: expected one type"),
    (dict(a=f, b=f[:, ::2]), "b (2, 2) is not contiguous"),
    (dict(a=f.astype(np.float16)), "a is float16"),
]
for arrays, message in cases:
    try:
        require_launchable(**arrays)
    except (TypeError, ValueError) as error:
        assert message in str(error), error
    else:
        raise SystemExit(f"not refused: {message}")
"""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels")))
    environment = os.environ | {"PYTHONPATH": path, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    host = code.split("cases =")[0] + """
try:
    require_launchable(a=f)
except TypeError as error:
    assert "a is an array of numpy, but a CUDA kernel takes those of cupy" in str(error), error
else:
    raise SystemExit("not refused")
"""
    del environment["NUMBA_ENABLE_CUDASIM"]
    done = subprocess.run([sys.executable, "-c", host], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("cell", "options"), VARIANTS)
def test_step_engine_on_the_gpu(cell, options, dtype, rng):
    """The real kernels on CuPy arrays against the array engine on the host."""
    cupy = pytest.importorskip("cupy")
    from scratchnet import fused

    T, N, D, H = 7, 5, 3, 40
    shapes = [(T, N, D)] + [(N, H)] * len(cell.STATES) + list(cell.param_shapes(D, H).values())
    call = [rng.standard_normal(s).astype(dtype) / 4 for s in shapes]
    dy = rng.standard_normal((T, N, H)).astype(dtype)
    last = [rng.standard_normal((N, H)).astype(dtype) for _ in cell.STATES]
    y, cache = cell.forward(*call, lengths=[7, 1, 3, 7, 5], **options)
    grads = cell.backward(dy, cache, *last)
    device = [cupy.asarray(a) for a in call]
    chosen = fused.choose(cell, device[0], "step")
    device_y, device_cache = chosen.forward(*device, lengths=[7, 1, 3, 7, 5], **options)
    device_grads = chosen.backward(cupy.asarray(dy), device_cache, *map(cupy.asarray, last))
    for ours, oracle in zip((device_y, *device_grads), (y, *grads)):
        scale = max(1.0, float(np.max(np.abs(oracle))))
        np.testing.assert_allclose(ours.get(), oracle, rtol=0, atol=scale * (2e-5 if dtype == np.float32 else 1e-11))
