"""The kernels that lesson 14 writes run in Numba's simulator, and compute what they say."""

import ast
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from scratchnet.cells import lstm, rnn

ROOT = Path(__file__).parent.parent
LESSON = ast.parse((ROOT / "tutorials" / "14_from_numpy_to_the_gpu.py").read_text(encoding="utf-8"))
SOURCES = {
    node.targets[0].id: ast.literal_eval(node.value)
    for node in LESSON.body
    if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("KERNEL", "BLOCK_SUM", "WALK")
}
pytestmark = pytest.mark.skipif(find_spec("numba_cuda") is None, reason="needs numba-cuda: pip install numba-cuda")


def simulate(source, folder, **arrays):
    """What a program prints in the simulator, with these arrays in its folder."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels")))
    done = subprocess.run(
        [sys.executable, "-c", source],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "NUMBA_ENABLE_CUDASIM": "1"},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("shape", [(3, 5), (1, 1), (2, 9)])
def test_a_kernel_in_strides_of_the_grid(shape, tmp_path, rng):
    N, H = shape
    a, c_prev = rng.standard_normal((N, 4 * H)), rng.standard_normal((N, H))
    simulate(SOURCES["KERNEL"], tmp_path, a=a, c_prev=c_prev)
    expected = lstm.gates_forward(*np.split(a, 4, axis=-1), c_prev)[-1]
    np.testing.assert_allclose(np.load(tmp_path / "h.npy"), expected, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 7, 8, 24, 25, 1000])
def test_a_block_sum(n, tmp_path, rng):
    x = rng.integers(0, 100, n).astype(float)
    sums = [float(word) for word in simulate(SOURCES["BLOCK_SUM"], tmp_path, x=x).split()]
    blocks = [sum(x[k] for k in range(n) if k // 8 % 3 == block) for block in range(3)]
    assert sums == blocks


def test_the_persistent_kernel_prints_each_thread_of_each_step(tmp_path, rng):
    T, N, D, H = 3, 1, 2, 4
    shapes = {"x": (T, N, D), "h0": (N, H), "W_x": (D, H), "W_h": (H, H), "b": (H,)}
    call = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    lines = simulate(SOURCES["WALK"], tmp_path, **call).splitlines()
    y, _ = rnn.forward(**call)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), y, rtol=1e-5, atol=1e-6)
    said = [sorted(line.split() for line in lines[t * H : (t + 1) * H]) for t in range(T)]
    assert [[f"{float(words[-1]):.3f}" for words in step] for step in said] == [
        [f"{h:.3f}" for h in step] for step in y[:, 0]
    ]
    assert [[words[1] for words in step] for step in said] == [[f"{j}:" for j in range(H)]] * T
