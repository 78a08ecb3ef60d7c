"""Engine ``sequence_tf32``: recurrent products on tensor cores, emulated in the simulator, compiled for a Hopper GPU, counted.

How far a result may be off is derived, operation by operation, in ``tf32_oracle.py``.  With a GPU, the tests marked ``gpu`` run
the real thing.
"""

import json
from importlib.util import find_spec

import numpy as np
import pytest
from scratchnet.cells import CELLS

from test_cuda import needs_numba_cuda, run, run_code
from tf32_oracle import distance, offs, to_tf32

SIZES = (256, 300, 320, 384, 401, 512)


@needs_numba_cuda
def test_rounding_to_tf32(rng):
    """To 11 significant bits, to nearest, halves away from zero; infinities and NaN stay."""
    from scratchnet_kernels.sequence_cuda.tensor_core import rounded

    step, last = 2.0**-10, 2.0**-23  # of TF32 and of float32, above 1
    for number, expected in (
        (1 + step / 2, 1 + step),
        (-1 - step / 2, -1 - step),
        (1 + step / 2 - last, 1),
        (1 + 3 * step / 2, 1 + 2 * step),
        (2 - last, 2),
        (0, 0),
        (np.inf, np.inf),
        (np.finfo(np.float32).max, np.inf),
    ):
        assert rounded(np.float32(number)) == np.float32(expected), number
    assert np.isnan(rounded(np.array([np.nan], np.float32))).all()
    many = (rng.standard_normal(10000) * 2.0 ** rng.integers(-30, 30, 10000)).astype(np.float32)
    np.testing.assert_array_equal(rounded(many), to_tf32(many))
    assert (np.abs(rounded(many) - np.float64(many)) <= 2.0**-11 * np.abs(many)).all()


@needs_numba_cuda
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_emulated_tensor_cores_are_within_the_derived_bound(cell):
    """Of the same rounded operands by float32's rounding, of exact operands by TF32's; and both engines can be told apart."""
    done = run("tf32_simulated.py", cell, NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    ours = [row for row in rows if row["engine"] == "sequence_tf32"]
    gates = CELLS[cell].GATES
    expected = {"y", "dh0", *(f"da {g}" for g in gates), *(f"db {g}" for g in gates)}
    expected |= {"lstm": {"c", "dc0"}, "gru": {"m_n", "db_hn"}, "rnn": set()}[cell]
    assert all(row["same"].keys() >= expected for row in rows)
    assert {row["ragged"] for row in ours} == {True, False}
    assert any(row["repeated"] for row in ours)
    assert any(max(row["parts"]) > 1 for row in ours)
    if cell != "rnn":
        assert any(row["in_shared"] for row in ours)
        assert any(max(row["tiles"]) > 2 for row in ours)
    for row in ours:
        assert max(row["same"].values()) <= 1, row
        assert max(row["exact"].values()) <= 1, row
        assert max(row["float32"].values()) > 10, "the operands were not rounded"
        assert row["launches"] == 2, "a launch forward and a launch backward, for both runs together"
        assert row["dtypes"] == ["float32"]
        assert row.get("dW_h", 0) <= 1, row
    exact = [row for row in rows if row["engine"] == "sequence"]
    assert exact
    for row in exact:
        assert max(row["float32"].values()) <= 1, row
        assert max(row["same"].values()) > 10, "float32 would pass for TF32"


# Instructions of a time step that are not the product: the most of any size, and a tenth more.
BESIDES = {"lstm": 400, "gru": 410, "rnn tanh": 290}


@pytest.mark.slow
@needs_numba_cuda
@pytest.mark.parametrize("cell", BESIDES)
def test_kernels_on_tensor_cores_compile(cell):
    """The instruction is there, as often as the product needs it; no stack, no spills, few other instructions.

    By the assembler and as Numba links on a Hopper GPU.  A step has, besides what it has in every size, at most four
    instructions for each of the tensor core: half a read of the vector, often a read of weights, and the loop.
    """
    done = run("sequence_compiled.py", f"{cell} in tf32")
    if done.returncode and ("libnvvm" in done.stderr or "libnvrtc" in done.stderr or "NvvmSupportError" in done.stderr):
        pytest.skip("needs NVIDIA's compiler libraries: pip install -e '.[ptx]'")
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["kernel"] for row in rows} == {f"{cell} forward", f"{cell} backward"}
    assert {row["H"] for row in rows} == {*SIZES}
    linked = [row for row in rows if "linked" in row]
    assert len(linked) >= 2 * len(SIZES)
    for row in rows:
        assert not row["f64"], row
        assert row["mma"] >= row["in_registers"] // 4, row
        assert row["wide_reads"], row
        assert row["cluster_barriers"] == [3 if row["kernel"].endswith("forward") else 2] * 2, row
        assert row["rows"] == 8, row
        assert row["shared_bytes"] <= 227 * 1024, row
        if "registers" in row:
            assert row["stack"] == row["stores"] == row["loads"] == 0, row
            assert row["registers"] * row["threads"] <= 65536, row
    for row in linked:
        if "instructions" in row:
            assert row["products"] == row["weights"] // 4, row
            assert row["instructions"] <= 4 * row["products"] + BESIDES[cell], row
    for tool, counted in (("ptxas", "registers"), ("nvdisasm", "instructions")):
        if not any(counted in row for row in rows):
            pytest.skip(f"{counted} were not counted: {tool} is missing; pip install -e '.[ptx]'")


@needs_numba_cuda
def test_what_a_kernel_on_tensor_cores_takes():
    """Every size from 256 to 512 units fits, every weight is somewhere, and more multiprocessors are used where there are."""
    from scratchnet_kernels.sequence_cuda.resources import Device
    from scratchnet_kernels.sequence_cuda.resources_tf32 import resources_tf32

    h200 = Device(132, 227 * 1024, cluster=16)
    for gates in (1, 3, 4):
        for H in range(256, 513):
            for N in (1, 64, 1000):
                for use, outputs, inputs in zip(
                    resources_tf32(gates, H, N, h200), ("columns", "units"), ("units", "columns"), strict=True
                ):
                    number = {"columns": gates * use.units, "units": use.blocks * use.units}
                    assert use.shared_bytes <= h200.shared_bytes
                    assert use.rows * use.units <= use.threads <= 1024  # a thread for each state
                    assert use.blocks * use.units >= H
                    assert use.blocks * use.units % 16 == 0  # no unit beyond those of the blocks is sent
                    assert use.parts * use.terms >= number[inputs]
                    assert use.stride >= use.parts * use.terms
                    assert use.stride % 32 == 16  # banks of shared memory
                    groups = use.across // (16 * use.tiles)
                    assert 16 * use.tiles * groups >= number[outputs]
                    assert 16 * use.tiles * groups <= use.across
                    assert groups * use.parts <= use.threads // 32  # jobs and warps
    plans = [resources_tf32(4, 320, N, h200).forward for N in (64, 1000)]
    assert [(use.blocks, use.in_registers == use.weights) for use in plans] == [(16, True), (8, False)]
    for H in (255, 513):
        with pytest.raises(ValueError, match=f"H is {H}, and the kernels for TF32 are for H from 256 to 512"):
            resources_tf32(4, H, 1, h200)
    with pytest.raises(ValueError, match="needs a cluster of more than 1 blocks"):
        resources_tf32(4, 256, 1, Device(108, 163 * 1024))


@needs_numba_cuda
def test_who_cannot_have_it_is_told_why():
    """Another kind of array, type, size or cell: the library's error, and no other engine in its place."""
    code = """
import numpy as np
from scratchnet import engines
from scratchnet.errors import UnavailableError
from scratchnet_kernels import build, launch

def refused(message, *kind):
    try:
        build("sequence_tf32", *kind)
    except UnavailableError as error:
        assert message in str(error), error
    else:
        raise SystemExit(f"not refused: {message}")

refused("on CuPy arrays, and x is a NumPy array", "lstm", "numpy", "float32", 8, 256, None)
refused("computes in float32 on a GPU, not in float64", "lstm", "cupy", "float64", 8, 256, None)
refused("does not fit: H is 128, and the kernels for TF32 are for H from 256 to 512", "gru", "cupy", "float32", 8, 128, None)
refused("none is registered for cell 'lstm_norm'", "lstm_norm", "cupy", "float32", 8, 256, None)
made = build("sequence_tf32", "rnn", "cupy", "float32", 8, 256, None)
assert (made.name, made.why) == (
    "sequence_tf32", "fused kernels of scratchnet_kernels for the rnn cell, its recurrent products in TF32"
)
launch.device = lambda: launch.Device(108, 163 * 1024)
refused("needs a cluster of more than 1 blocks", "lstm", "cupy", "float32", 8, 256, None)
assert build("sequence", "rnn", "cupy", "float32", 8, 256, None).name == "sequence"
try:
    engines.choose("lstm", np.zeros((2, 2, 2), np.float32), 256, "sequence_tf32")
except RuntimeError as error:
    assert str(error).endswith("use 'auto' or 'array'"), error
else:
    raise SystemExit("not refused")
"""
    done = run_code(code, NUMBA_ENABLE_CUDASIM="1")
    assert done.returncode == 0, done.stderr


# ---- on a GPU ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clusters():
    """CuPy, where the GPU has clusters of 16 blocks."""
    cupy = pytest.importorskip("cupy")
    if find_spec("numba_cuda") is None:
        pytest.skip("needs numba-cuda")
    from scratchnet_kernels import launch

    if launch.device().cluster < 16:
        pytest.skip("this GPU has no clusters of 16 blocks")
    return cupy


@pytest.mark.gpu
@pytest.mark.parametrize(("N", "ragged"), [(5, True), (300, False)])  # a cluster that is not full; the fewest blocks
@pytest.mark.parametrize("H", [256, 300, 512])
@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_tensor_cores_are_within_the_derived_bound(clusters, name, H, N, ragged):
    """Two runs in one launch, on outputs full of NaN, and the same bits again."""
    from scratchnet import engines

    cupy, cell, rng, T, D = clusters, CELLS[name], np.random.default_rng(H), 4, 3
    lengths = rng.integers(1, T + 1, N) if ragged else None

    def draw(*shape, size=1.0):
        return (size * rng.uniform(-1, 1, shape)).astype(np.float32)

    # a sum over |W_h| is about 2: with more, the bound would grow from step to step
    params = [draw(*s, size=4 / H if s[0] == H else 1) for s in cell.param_shapes(D, H).values()]
    calls = [[draw(T, N, D), *(draw(N, H) for _ in cell.STATES), *params] for _ in range(2)]
    upstream = [[draw(T, N, H), *(draw(N, H) for _ in cell.STATES)] for _ in range(2)]
    there = [list(map(cupy.asarray, call)) for call in calls]
    chosen = engines.choose(name, there[0][0], H, "sequence_tf32")
    assert chosen.name == "sequence_tf32"
    results = []
    for _ in range(2):
        spoil = cupy.full(50_000_000, np.nan, np.float32)  # the pool hands it out again
        del spoil
        made = chosen.forward(there, lengths=lengths)
        grads = chosen.backward(
            [(*map(cupy.asarray, d[:1]), c, *map(cupy.asarray, d[1:])) for d, (_, c) in zip(upstream, made)]
        )
        results.append([a for (y, _), found in zip(made, grads) for a in (y, *found)])
    assert all(bool((a == b).all()) for a, b in zip(*results)), "the same twice"
    for call, arriving, (y, cache), found in zip(calls, upstream, made, grads):
        on_host = [type(record)(*(a.get() if hasattr(a, "get") else a for a in record)) for record in (cache, found)]
        for form in ("same", "exact"):
            off = offs(form, name, call, arriving, lengths, y.get(), *on_host)
            assert max(off.values()) <= 1, (form, off)
        apart = [distance(form, name, call, lengths, y.get()) for form in ("same", "exact")]
        assert 10 * apart[0] < apart[1], "the operands were not rounded"


@pytest.mark.gpu
def test_a_layer_trains_on_tensor_cores(clusters):
    """Two layers, both directions: near float32's result, and not the same."""
    from scratchnet.layers import LSTM

    cupy, results = clusters, {}
    x = cupy.asarray(np.random.default_rng(0).standard_normal((6, 9, 4)).astype(np.float32))
    for engine in ("array", "sequence_tf32"):
        layer = LSTM(
            4, 256, num_layers=2, bidirectional=True, rng=np.random.default_rng(1), engine=engine, dtype=np.float32
        ).to("cupy")
        y, cache = layer.forward(x, lengths=[6, 1, 3, 6, 2, 5, 4, 6, 1])
        results[engine] = [y, layer.backward(y, cache), *layer.grads.values()]
    for ours, right in zip(results["sequence_tf32"], results["array"], strict=True):
        error = float(cupy.abs(ours - right).max() / cupy.abs(right).max())
        assert error <= 5e-3  # what benchmarks/gpu.py allows TF32, its own and PyTorch's
    assert float(cupy.abs(results["sequence_tf32"][0] - results["array"][0]).max()) > 1e-6
