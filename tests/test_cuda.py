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
from scratchnet.cells import CELLS, gru_reset_before, lstm_masked
from scratchnet_kernels import KERNELS

from conftest import VARIANTS

NAMES = {id(cell): name for name, cell in CELLS.items()}

ROOT = Path(__file__).parent.parent
needs_numba_cuda = pytest.mark.skipif(
    find_spec("numba_cuda") is None, reason="needs numba-cuda: pip install numba-cuda"
)


def run(script, **environment):
    """A script of this folder in a process of its own: what it printed."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", ROOT / "tests")))
    return subprocess.run(
        [sys.executable, str(ROOT / "tests" / script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=os.environ | {"PYTHONPATH": path, **environment},
    )


@needs_numba_cuda
def test_kernels_in_the_simulator_equal_the_array_engine():
    """Every cell, option and type, forward and all gradients, ragged lengths, sizes that fill no block."""
    done = run("cuda_simulated.py", NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} == {v.id for v in VARIANTS if ("step", v.id.split()[0]) in KERNELS}
    for label, dtype, name, error in rows:
        assert float(error) <= (1e-6 if dtype == "float32" else 1e-12), (label, dtype, name)


@needs_numba_cuda
def test_kernels_compile_for_three_architectures():
    """No double precision in a float32 kernel; no stack and no spills where ptxas is at hand."""
    done = run("cuda_compiled.py")
    if done.returncode and ("libnvvm" in done.stderr or "libnvrtc" in done.stderr or "NvvmSupportError" in done.stderr):
        pytest.skip("needs NVIDIA's compiler libraries: pip install -e '.[ptx]'")
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
def test_persistent_kernels_in_the_simulator_equal_the_array_engine():
    """Forward, cache and all gradients; ragged; weights in shared memory; two runs and two rows; one launch each way."""
    done = run("sequence_simulated.py", NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} == {"rnn tanh", "rnn relu", "lstm", "gru"}
    assert {"y", "cache h", "dx", "dh0", "dW_x", "dW_h", "db", "da", "dc0", "cache c", "db_hn", "cache m_n"} <= {
        row[3] for row in rows
    }
    for row in rows:
        assert float(row[4]) <= 1e-6, row
        assert row[5] == "2", "a launch forward and a launch backward, for both runs together"


@pytest.mark.slow
@needs_numba_cuda
def test_persistent_kernels_compile():
    """No double precision; where ptxas is at hand no stack, no spills, and no more registers than a block of them has."""
    done = run("sequence_compiled.py")
    if done.returncode and ("libnvvm" in done.stderr or "libnvrtc" in done.stderr or "NvvmSupportError" in done.stderr):
        pytest.skip("needs NVIDIA's compiler libraries: pip install -e '.[ptx]'")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["kernel"] for row in rows} == {
        f"{cell} {way}" for cell in ("lstm", "gru", "rnn tanh", "rnn relu") for way in ("forward", "backward")
    }
    assert {tuple(row["cc"]) for row in rows} == {(7, 5), (8, 0), (9, 0)}
    assert {row["rows"] for row in rows} == {1, 2}
    for row in rows:
        assert not row["f64"], row
        assert row["wide_reads"] or row["H"] % 4, row  # 16 bytes of shared memory at a time
        if "registers" in row:
            assert row["stack"] == row["stores"] == row["loads"] == 0, row
            assert row["registers"] * row["threads"] <= 65536, row


@needs_numba_cuda
def test_the_rule_for_what_a_kernel_takes():
    """The largest H, the room it needs, and the answer where there is none."""
    from scratchnet_kernels.sequence_cuda.resources import Device, largest, resources

    h200, turing = Device(132, 227 * 1024), Device(40, 64 * 1024)
    assert [largest(gates, h200) for gates in (1, 3, 4)] == [312, 170, 145]
    for gates, H in ((4, 128), (3, 128), (1, 256)):
        assert resources(gates, H, 64, h200).shared_bytes <= h200.shared_bytes
    assert resources(4, 128, 64, h200)[:3] == (512, 1, 64)
    assert resources(4, 128, 133, h200).rows == 2  # more sequences than multiprocessors
    assert resources(4, 32, 133, h200).rows == 1  # of such small blocks several fit one
    assert resources(4, 145, 1000, h200).rows == 1  # two would not fit
    with pytest.raises(
        ValueError,
        match=r"W_h \(H, 4 H\) with H = 128 does not fit one multiprocessor: .* 132 KB of shared memory, and there are 64",
    ):
        resources(4, 128, 1, turing)
    with pytest.raises(ValueError, match="4 gates of H = 512 units are 2048 threads, but a block has at most 1024"):
        resources(4, 512, 1, h200)


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

from scratchnet.cells import CELLS
from scratchnet_kernels.sequence_cuda.engine import CudaSequence
for dtype, H, message in ((np.float64, 2, "compute in float32, and h is float64"), (np.float32, 300, "does not fit one")):
    for name in ("rnn", "lstm", "gru"):
        cell = CELLS[name]
        H = 2 if H == 2 else 400 if name == "rnn" else 200
        shapes = [(1, 1, 1)] + [(1, H)] * len(cell.STATES) + [*cell.param_shapes(1, H).values()]
        try:
            CudaSequence(name, "").forward([[np.zeros(s, dtype) for s in shapes]])
        except (TypeError, ValueError) as error:
            assert message in str(error), error
        else:
            raise SystemExit(f"{name}: not refused: {message}")
"""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels")))
    environment = os.environ | {"PYTHONPATH": path, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    host = (
        code.split("cases =")[0]
        + """
try:
    require_launchable(a=f)
except TypeError as error:
    assert "a is an array of numpy, but a CUDA kernel takes those of cupy" in str(error), error
else:
    raise SystemExit("not refused")
"""
    )
    del environment["NUMBA_ENABLE_CUDASIM"]
    done = subprocess.run([sys.executable, "-c", host], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("T", "N", "H"), [(7, 5, 40), (3, 150, 33), (20, 3, 128)])  # 150: two sequences a block
@pytest.mark.parametrize("engine", ["step", "sequence"])
@pytest.mark.parametrize(("cell", "options"), [v for v in VARIANTS if ("step", v.id.split()[0]) in KERNELS])
def test_engines_on_the_gpu(cell, options, engine, T, N, H, dtype, rng):
    """The real kernels on CuPy arrays against the array engine on the host, ragged, and bit for bit the same again."""
    cupy = pytest.importorskip("cupy")
    from scratchnet import engines

    D, lengths = 3, rng.integers(1, T + 1, N)
    shapes = [(T, N, D)] + [(N, H)] * len(cell.STATES) + list(cell.param_shapes(D, H).values())
    call = [rng.standard_normal(s).astype(dtype) / H**0.5 for s in shapes]
    dy = rng.standard_normal((T, N, H)).astype(dtype)
    last = [rng.standard_normal((N, H)).astype(dtype) for _ in cell.STATES]
    y, cache = cell.forward(*call, lengths=lengths, **options)
    grads = cell.backward(dy, cache, *last)
    device = [cupy.asarray(a) for a in call]
    chosen = engines.choose(NAMES[id(cell)], device[0], H, engine)
    assert chosen.name == ("step" if dtype == np.float64 or cell in (gru_reset_before, lstm_masked) else engine), (
        chosen.why
    )
    runs = []
    for _ in range(2):
        [(device_y, device_cache)] = chosen.forward([device], lengths=lengths, **options)
        [grads] = chosen.backward([(cupy.asarray(dy), device_cache, *map(cupy.asarray, last))])
        runs.append([device_y, *grads])
    for ours, again, oracle in zip(*runs, (y, *grads)):
        assert (ours == again).all(), "the same twice"
        scale = max(1.0, float(np.max(np.abs(oracle))))
        np.testing.assert_allclose(ours.get(), oracle, rtol=0, atol=scale * (2e-5 if dtype == np.float32 else 1e-11))


@pytest.mark.gpu
def test_a_matrix_too_large_falls_back_to_step():
    cupy = pytest.importorskip("cupy")
    from scratchnet import engines
    from scratchnet.layers import LSTM

    layer = LSTM(2, 512, rng=np.random.default_rng(0), engine="sequence", dtype=np.float32).to("cupy")
    lines = engines.explain(layer, cupy.zeros((3, 2, 2), np.float32)).splitlines()
    assert lines[0].startswith("step: runs the lstm cell here")
    assert "in place of 'sequence', which does not fit" in lines[0]
