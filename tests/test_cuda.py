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


def run(script, *arguments, **environment):
    """A script of this folder in a process of its own: what it printed."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", ROOT / "tests")))
    return subprocess.run(
        [sys.executable, str(ROOT / "tests" / script), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env=os.environ | {"PYTHONPATH": path, **environment},
    )


def run_code(code, **environment):
    """Some lines in a process of their own."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels")))
    return subprocess.run(
        [sys.executable, "-c", code],
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
@pytest.mark.parametrize(("where", "clusters"), [("blocks", {"1"}), ("clusters", {"2", "4", "8", "16"})])
def test_persistent_kernels_in_the_simulator_equal_the_array_engine(where, clusters):
    """Forward, cache and all gradients; ragged; weights in shared memory; two runs and several rows; one launch each way."""
    done = run("sequence_simulated.py", where, NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 0, done.stderr
    rows = [line.split("|") for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} >= {"rnn tanh", "lstm", "gru"}
    assert {row[2] for row in rows} == clusters
    assert {row[3] for row in rows} >= {"1", "2", "4"}, "sequences of a cluster"
    assert {"y", "cache h", "dx", "dh0", "dW_x", "dW_h", "db", "da", "dc0", "cache c", "db_hn", "cache m_n"} <= {
        row[5] for row in rows
    }
    for row in rows:
        assert float(row[6]) <= 1e-6, row
        assert row[7] == "2", "a launch forward and a launch backward, for both runs together"


# Instructions of a time step that are not the product: the most of any size, and a tenth more.
BESIDES = {"lstm": 440, "gru": 360, "rnn tanh": 270, "rnn relu": 270}


@pytest.mark.slow
@needs_numba_cuda
@pytest.mark.parametrize("cell", BESIDES)
def test_persistent_kernels_compile(cell):
    """No double precision, no stack, no spills, no more registers than there are, and few instructions for each weight.

    By the assembler and, for a Hopper GPU, as Numba links there.  A step has at most five instructions for each multiply-add of
    a thread.  With less than 96 of them there are more, since the rest of a step (tanh, addresses, barriers) is as long as in a
    large size; so in every size the rest is bounded, too, beside a product of 1.6 instructions for each multiply-add.
    """
    done = run("sequence_compiled.py", cell)
    if done.returncode and ("libnvvm" in done.stderr or "libnvrtc" in done.stderr or "NvvmSupportError" in done.stderr):
        pytest.skip("needs NVIDIA's compiler libraries: pip install -e '.[ptx]'")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["kernel"] for row in rows} == {f"{cell} forward", f"{cell} backward"}
    assert {tuple(row["cc"]) for row in rows} == {(7, 5), (8, 0), (9, 0)}
    assert {row["blocks"] for row in rows} >= ({1, 2, 4} if "rnn" in cell else {1, 2, 4, 8, 16})
    assert {row["rows"] for row in rows} >= ({1, 2} if "rnn" in cell else {1, 2, 4})
    linked = [row for row in rows if "linked" in row]
    assert len(linked) >= 40
    for row in rows:
        assert not row["f64"], row
        assert row["wide_reads"], row  # 16 bytes of shared memory at a time
        # all threads of a warp have to meet in the same barrier, so the compiler must not have copied one
        barriers = 0 if row["blocks"] == 1 else 3 if row["kernel"].endswith("forward") else 2
        assert row["cluster_barriers"] == [barriers] * 2, row
        if "registers" in row:
            assert row["stack"] == row["stores"] == row["loads"] == 0, row
            assert row["registers"] * row["threads"] <= 65536, row
    for row in linked:
        if "instructions" in row:
            weights = row["terms"] * row["rows"]
            assert row["instructions"] <= 5 * weights or weights < 96, row
            assert row["instructions"] <= 1.6 * weights + BESIDES[cell], row
    for tool, counted in (("ptxas", "registers"), ("nvdisasm", "instructions")):
        if not any(counted in row for row in rows):
            pytest.skip(f"{counted} were not counted: {tool} is missing; pip install -e '.[ptx]'")


@needs_numba_cuda
def test_the_rule_for_what_a_kernel_takes():
    """The largest H, the room it needs, and the answer where there is none."""
    from scratchnet_kernels.sequence_cuda.resources import Device, largest, resources

    h200, before_clusters = Device(132, 227 * 1024, cluster=16), Device(132, 227 * 1024)
    turing = Device(40, 64 * 1024)
    assert [largest(gates, before_clusters) for gates in (1, 3, 4)] == [296, 168, 128]
    assert [largest(gates, h200) for gates in (1, 3, 4)] == [512] * 3
    for gates in (1, 3, 4):
        for H in range(1, 513, 7):
            for use in resources(gates, H, 64, h200):
                assert use.shared_bytes <= h200.shared_bytes
                assert use.blocks * use.units >= H  # every unit is somewhere, and no block is larger than needed
                assert use.units < H / use.blocks + 4
                assert use.rows * use.units <= use.threads <= 1024  # a thread for each state
    use = resources(4, 128, 64, h200).forward
    assert (use.blocks, use.rows, use.threads, use.in_registers) == (1, 1, 512, 64)
    assert resources(4, 128, 133, h200).forward.rows == 2  # more sequences than multiprocessors
    assert resources(4, 32, 133, h200).forward.rows == 1  # of such small blocks several fit one
    assert [resources(4, H, 1, h200).forward.blocks for H in (129, 256, 300, 512)] == [2, 4, 8, 16]
    assert [resources(4, 256, N, h200).forward.rows for N in (33, 34, 67, 1000)] == [1, 2, 4, 4]
    with pytest.raises(
        ValueError,
        match=r"W_h \(H, 4 H\) with H = 128 does not fit one multiprocessor: .* 131 KB of shared memory, and there are 64",
    ):
        resources(4, 128, 1, turing)
    with pytest.raises(ValueError, match="does not fit one multiprocessor: 2048 threads, but a block has at most 1024"):
        resources(4, 512, 1, before_clusters)
    with pytest.raises(ValueError, match="H = 513 does not fit a cluster of 16: the largest H is 512"):
        resources(4, 513, 1, h200)


@needs_numba_cuda
def test_a_cluster_that_does_not_work_is_answered_before_it_is_used():
    """Tried when an engine is chosen: one that runs, one that the driver refuses, one whose numbers do not arrive."""
    code = """
import numpy as np
from scratchnet.errors import UnavailableError
from scratchnet_kernels import build, launch
from scratchnet_kernels.sequence_cuda import cluster

assert build("sequence", "rnn", "cupy", "float32", 1, 300, None).name == "sequence"  # two blocks, which exchange
assert cluster.require_clusters.cache_info().misses == 2  # forward and backward
working = launch.Persistent.launch

def refused(*arguments):
    raise RuntimeError("CUDA_ERROR_INVALID_CLUSTER_SIZE")

for instead, message in (
    (refused, "cannot launch clusters of 2 blocks: RuntimeError: CUDA_ERROR_INVALID_CLUSTER_SIZE"),
    (lambda *arguments: None, "cannot exchange numbers in clusters of 2 blocks"),
):
    cluster.require_clusters.cache_clear()
    launch.Persistent.launch = instead
    try:
        build("sequence", "rnn", "cupy", "float32", 1, 300, None)
    except UnavailableError as error:
        assert message in str(error), error
    else:
        raise SystemExit(f"not refused: {message}")
"""
    done = run_code(code, NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 0, done.stderr


@needs_numba_cuda
def test_a_wrong_launch_is_answered_before_it():
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
for dtype, H, message in ((np.float64, 2, "compute in float32, and h is float64"), (np.float32, 600, "does not fit a cluster")):
    for name in ("rnn", "lstm", "gru"):
        cell = CELLS[name]
        shapes = [(1, 1, 1)] + [(1, H)] * len(cell.STATES) + [*cell.param_shapes(1, H).values()]
        try:
            CudaSequence(name, "").forward([[np.zeros(s, dtype) for s in shapes]])
        except (TypeError, ValueError) as error:
            assert message in str(error), error
        else:
            raise SystemExit(f"{name}: not refused: {message}")
"""
    done = run_code(code, NUMBA_ENABLE_CUDASIM="1")
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
    done = run_code(host)
    assert done.returncode == 0, done.stderr


@needs_numba_cuda
def test_what_a_launch_is_given():
    """Without a GPU, the launch replaced: clusters and rows, shared memory, and a flat list of as many arguments as the kernel has."""
    code = """
import ctypes
import sys
import numpy as np
sys.path.insert(0, "benchmarks")
from host_time import without_a_gpu
from numba import types
launches = without_a_gpu()
from scratchnet import layers
from scratchnet_kernels.launch import Persistent

made = []
begun = Persistent.__init__
Persistent.__init__ = lambda self, *given, **named: (begun(self, *given, **named), made.append(self))[0]
np.seterr(all="ignore")
for name in ("RNN", "LSTM", "GRU"):
    for engine, H, both in (("sequence", 5, False), ("sequence", 300, True), ("sequence_tf32", 300, True)):
        layer = getattr(layers, name)(2, H, rng=np.random.default_rng(0), engine=engine, dtype=np.float32, bidirectional=both)
        x = np.zeros((4, 70, 2), np.float32)
        for lengths in (None, np.arange(70) % 4 + 1):
            launches.clear()
            layer.backward(*layer.forward(x, lengths=lengths))
            assert len(launches) == 2, launches
            for (stream, config, kernel, *given), persistent in zip(launches, made[-2:]):
                use = persistent.use
                assert config.grid == (-(-70 // use.rows), 1 + both, 1), config
                assert getattr(config, "cluster", None) == ((use.blocks, 1, 1) if use.blocks > 1 else None), config
                assert (config.block, config.shmem_size) == ((use.threads, 1, 1), use.shared_bytes), config
                one, other, *numbers = persistent.signature.args
                assert len(given) == len(one) + len(other) + len(numbers)
                *addresses, T, N, ragged = given
                assert all(type(a) is int for a in addresses)
                assert (T.value, N.value, ragged.value) == (4, 70, lengths is not None)
                assert all(type(number) is ctypes.c_int32 for number in (T, N, ragged))
                assert (addresses[: len(one)] == addresses[len(one) :]) == (not both), "the same run twice, or two runs"
        print(name, H, use.blocks, use.rows)
"""
    done = run_code(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:9] == [
        "RNN 5 1 1",
        "RNN 300 2 2",
        "RNN 300 8 8",
        "LSTM 5 1 1",
        "LSTM 300 8 4",
        "LSTM 300 8 8",
        "GRU 5 1 1",
        "GRU 300 8 4",
        "GRU 300 8 8",
    ]


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

    layer = LSTM(2, 600, rng=np.random.default_rng(0), engine="sequence", dtype=np.float32).to(
        "cupy"
    )  # more than a cluster
    lines = engines.explain(layer, cupy.zeros((3, 2, 2), np.float32)).splitlines()
    assert lines[0].startswith("step: runs the lstm cell here")
    assert "in place of 'sequence', which does not fit" in lines[0]
