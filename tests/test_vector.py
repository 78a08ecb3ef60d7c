"""Vectors of compiled loops: their arithmetic, their tanh and exp, and the instructions that they become."""

import platform
import re

import llvmlite.binding
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numba import njit, types
from scratchnet.cells import gru, gru_reset_before, lstm, rnn
from scratchnet_kernels.sequence_cpu import vector_math
from scratchnet_kernels.sequence_cpu.vector import BYTES, lanes, load, store, zeros

from sequence_problems import EVERY_CELL, dtypes, needs_compiler, python

HALF, ONE = np.float32(0.5), np.float32(1)


@njit(error_model="numpy")
def tanh_of(x, out):
    for i in range(0, x.shape[1], 4):
        store(out, 0, i, 4, np.tanh(load(x, 0, i, 4)))


@njit(error_model="numpy")
def exp_of(x, out):
    for i in range(0, x.shape[1], 4):
        store(out, 0, i, 4, np.exp(load(x, 0, i, 4)))


def applied(loop, x):
    """The loop over all of x (n,), four numbers of a vector at a time."""
    padded = np.zeros((1, -(-len(x) // 4) * 4), x.dtype)
    padded[0, : len(x)] = x
    out = np.empty_like(padded)
    loop(padded, out)
    return out[0, : len(x)]


def tanh(x):
    return applied(tanh_of, x)


def exp(x):
    return applied(exp_of, x)


def claimed(name):
    """The numbers of vector_math.py's docstring: of tanh absolute and relative, in float32 and float64; of exp relative."""
    text = " ".join(vector_math.__doc__.split())
    if name == "tanh":
        pattern = r"tanh: (\S+) in float32 and (\S+) in float64, absolute; relative (\S+) and (\S+)\. "
    else:
        pattern = r"error of exp: (\S+) in float32 and (\S+) in float64;"
    return [float(number) for number in re.search(pattern, text).groups()]


# ---- numbers ------------------------------------------------------------------------------------------------------------


@dtypes
@given(count=st.integers(-3, 40), n=st.integers(0, 2), j=st.integers(0, 3), seed=st.integers(0, 99))
def test_load_and_store_touch_what_they_should(dtype, count, n, j, seed):
    a, width = np.random.default_rng(seed).standard_normal((3, 40)).astype(dtype), lanes(dtype)

    @njit
    def copy(a, out, n, j, count):
        store(out, 0, 0, 1000, load(a, n, j, count))

    out = np.full((1, width), np.nan, dtype)
    copy(a, out, n, j, min(count, 40 - j))
    inside = max(0, min(count, width, 40 - j))
    np.testing.assert_array_equal(out[0], [*a[n, j : j + inside], *[0] * (width - inside)])

    @njit
    def write(out, n, j, count):
        store(out, n, j, count, load(out, n, 0, 1000) * ZERO)

    before = a.copy()
    write(a, n, j, min(count, 40 - j))
    before[n, j : j + inside] = 0
    np.testing.assert_array_equal(a, before)


ZERO = np.float32(0)


@needs_compiler
@dtypes
def test_arithmetic_is_that_of_arrays(dtype, rng):
    """Between vectors, and with a constant on either side, which does not change the type."""

    @njit
    def loop(x, y, out):
        a, b = load(x, 0, 0, 99), load(y, 0, 0, 99)
        store(out, 0, 0, 99, a + b)
        store(out, 1, 0, 99, a - HALF)
        store(out, 2, 0, 99, HALF * a)
        store(out, 3, 0, 99, ONE / a)
        store(out, 4, 0, 99, np.minimum(a, HALF))
        store(out, 5, 0, 99, np.maximum(a, b))
        store(out, 6, 0, 99, np.greater(a, b))

    width = lanes(dtype)
    x, y = rng.standard_normal((2, 1, width)).astype(dtype)
    out = np.empty((7, width), dtype)
    loop(x, y, out)
    half, one = dtype_of(dtype)(0.5), dtype_of(dtype)(1)
    want = [x + y, x - half, half * x, one / x, np.minimum(x, half), np.maximum(x, y), np.greater(x, y) * one]
    np.testing.assert_array_equal(out, np.concatenate(want))


def dtype_of(name):
    return np.dtype(name).type


@needs_compiler
@dtypes
def test_a_nan_stays_a_nan(dtype):
    @njit
    def loop(x, out):
        a = load(x, 0, 0, 99)
        store(out, 0, 0, 99, np.minimum(a, HALF))
        store(out, 1, 0, 99, np.maximum(a, HALF))
        store(out, 2, 0, 99, np.tanh(a))
        store(out, 3, 0, 99, np.exp(a))

    x, out = np.full((1, lanes(dtype)), np.nan, dtype), np.zeros((4, lanes(dtype)), dtype)
    loop(x, out)
    assert np.isnan(out).all()


@needs_compiler
def test_what_vectors_cannot_do_is_refused():
    """When it is compiled: a cell's math with another of NumPy's functions is not computed one number at a time."""

    @njit
    def loop(x):
        store(x, 0, 0, 9, np.sin(load(x, 0, 0, 9)))

    with pytest.raises(numba.TypingError, match="sin"):
        loop(np.ones((1, 9), np.float32))

    @njit
    def mixed(x, y):
        store(x, 0, 0, 9, load(x, 0, 0, 9) + load(y, 0, 0, 9))

    with pytest.raises(numba.TypingError):
        mixed(np.ones((1, 9), np.float32), np.ones((1, 9), np.float64))


# ---- tanh and exp -------------------------------------------------------------------------------------------------------


@needs_compiler
def test_tanh_of_float32_over_its_whole_range():
    """One in 251 of all 2^32 bit patterns, and all of them close to where the exponent changes."""
    absolute, _, relative, _ = claimed("tanh")
    worst_absolute = worst_relative = 0.0
    every = np.arange(0, 2**32, 251, dtype=np.uint32)
    for bits in (*np.array_split(every, 16), np.float32(0.1).view(np.uint32) + np.arange(2**20, dtype=np.uint32)):
        x = bits.view(np.float32)
        got, nan = tanh(x), np.isnan(x)
        np.testing.assert_array_equal(np.isnan(got), nan)
        x, got = x[~nan].astype(np.float64), got[~nan]
        exact = np.tanh(x)
        error = np.abs(got - exact)
        normal = np.abs(x) > np.finfo(np.float32).tiny  # below, the last digit is worth more
        worst_absolute = max(worst_absolute, error.max(initial=0))
        worst_relative = max(worst_relative, (error[normal] / np.abs(exact[normal])).max(initial=0))
        assert (np.abs(got) <= 1).all()
        assert (error[~normal] <= np.finfo(np.float32).smallest_subnormal).all()
    assert absolute / 2 < worst_absolute <= absolute
    assert relative / 2 < worst_relative <= relative


@needs_compiler
@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="no wider type to compare with")
def test_tanh_of_float64(rng):
    _, absolute, _, relative = claimed("tanh")
    x = np.concatenate(
        [
            rng.integers(0, 2**63, 300_000).view(np.float64),
            rng.uniform(-25, 25, 300_000),
            10 ** rng.uniform(-300, 1, 200_000),
        ]
    )
    x = np.concatenate([x, -x, np.linspace(-1, 1, 300_000)])
    x = x[np.isfinite(x)]
    exact = np.tanh(x.astype(np.longdouble))
    error = np.abs(tanh(x) - exact)
    assert absolute / 3 < error.max() <= absolute
    normal = np.abs(x) > np.finfo(np.float64).tiny
    assert relative / 3 < (error[normal] / np.abs(exact[normal])).max() <= relative


@pytest.mark.underflows
@needs_compiler
@dtypes
def test_tanh_of_what_is_special(dtype):
    info = np.finfo(dtype)
    x = np.array([0.0, -0.0, np.inf, -np.inf, info.max, -info.max, 50, -50, np.nan, -np.nan], dtype)
    np.testing.assert_array_equal(tanh(x), np.array([0, 0, 1, -1, 1, -1, 1, -1, np.nan, np.nan], dtype))
    small = np.array([info.smallest_subnormal, info.tiny, info.tiny / 3, -info.tiny, 1e-20], dtype)
    np.testing.assert_allclose(tanh(small), small, rtol=1e-6, atol=0)


@needs_compiler
@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="no wider type to compare with")
@dtypes
def test_exp(dtype, rng):
    """Up to 40, where a sigmoid stops, and down to where it is no normal number."""
    allowed = dict(zip(("float32", "float64"), claimed("exp")))[dtype]
    lowest = np.log(np.finfo(dtype).tiny)
    x = np.concatenate([rng.uniform(lowest * 0.999, 40, 400_000), rng.uniform(-1, 1, 400_000)]).astype(dtype)
    exact = np.exp(x.astype(np.longdouble))
    error = (np.abs(exp(x) - exact) / exact).max()
    assert allowed / 2 < error <= allowed
    assert (exp(np.array([2 * lowest, -np.inf, -1e30], dtype)) == 0).all()


# ---- instructions -------------------------------------------------------------------------------------------------------

GATE_MATH = {
    "rnn tanh": (rnn.tanh_forward, 1, 1),
    "rnn relu": (rnn.relu_forward, 1, 1),
    "rnn tanh backward": (rnn.tanh_backward, 2, 1),
    "rnn relu backward": (rnn.relu_backward, 2, 1),
    "lstm": (lstm.gates_forward, 5, 6),
    "lstm backward": (lstm.gates_backward, 8, 5),
    "gru": (gru.gates_forward, 7, 4),
    "gru backward": (gru.gates_backward, 6, 5),
    "reset": (gru_reset_before.reset_forward, 3, 3),
    "update": (gru_reset_before.update_forward, 3, 2),
    "update backward": (gru_reset_before.update_backward, 4, 3),
    "reset backward": (gru_reset_before.reset_backward, 3, 2),
}


@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="widths are those of x86")
@pytest.mark.parametrize("dtype", [types.float32, types.float64], ids=str)
@pytest.mark.parametrize("name", GATE_MATH)
def test_a_cells_math_is_whole_registers(name, dtype):
    """All of its arithmetic, tanh's division included; and no float64 in float32."""
    function, takes, gives = GATE_MATH[name]
    arguments = ", ".join(f"load(x, {n}, 0, 99)" for n in range(takes))
    stores = "\n".join(f"    store(out, {n}, 0, 99, {'v' if gives == 1 else f'v[{n}]'})" for n in range(gives))
    names = {"f": function, "load": load, "store": store}
    exec(f"def loop(x, out):\n    v = f({arguments})\n{stores}\n", names)
    loop = njit(error_model="numpy")(names["loop"])
    matrix = types.Array(dtype, 2, "C")
    loop.compile((matrix, matrix))
    code = loop.inspect_llvm((matrix, matrix))
    element, other = ("float", "double") if dtype == types.float32 else ("double", "float")
    width = BYTES // (dtype.bitwidth // 8)
    arithmetic = re.findall(r"= (?:contract )?f(?:add|mul|sub|div) [^\n]*", code)
    assert all(f"<{width} x {element}>" in line for line in arithmetic)
    assert arithmetic or "relu" in name
    assert ("fdiv" in code) == (name in ("rnn tanh", "lstm", "lstm backward", "gru", "reset", "update"))
    assert not re.search(rf"\b{other}\b", code)
    assert not re.search(r"\b(tanhf?|expf?)\b", code)


@needs_compiler
def test_whole_vectors_are_moved_without_a_mask():
    """A mask is for the last vector of a row: with one, some processors neither read ahead nor forward a store."""

    @njit(error_model="numpy")
    def copy(a, out):
        for j in range(0, a.shape[1], 4):
            store(out, 0, j, a.shape[1] - j, load(a, 0, j, a.shape[1] - j))

    a = np.arange(99, dtype=np.float32)[None]
    out = np.zeros_like(a)
    copy(a, out)
    np.testing.assert_array_equal(out, a)
    (code,) = copy.inspect_llvm().values()
    vector = rf"<{lanes(np.float32)} x float>"
    assert re.search(rf"= load {vector}, ", code)
    assert re.search(rf"\bstore {vector} ", code)


@needs_compiler
def test_zeros_are_a_vector():
    @njit(error_model="numpy")
    def clear(a, out):
        store(out, 0, 0, 2, zeros(a))

    for dtype in (np.float32, np.float64):
        out = np.ones((1, 5), dtype)
        clear(out, out)
        assert out.tolist() == [[0, 0, 1, 1, 1]]
        out = np.ones((1, 5), dtype)
        clear.py_func(out, out)
        assert out.tolist() == [[0, 0, 1, 1, 1]]


def test_a_register_is_as_wide_as_this_processors():
    assert lanes(np.float32) == 2 * lanes(np.float64) == BYTES // 4
    if not (numba.config.CPU_NAME or numba.config.CPU_FEATURES):
        features = llvmlite.binding.get_host_cpu_features()
        assert (64 if features.get("avx512f") else 32 if features.get("avx2") else 16) == BYTES


@needs_compiler
@pytest.mark.parametrize(
    ("chosen", "width"),
    [({"NUMBA_CPU_NAME": "generic"}, 16), ({"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"}, 32)],
)
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="processors of x86")
def test_other_processors_compute_the_same(chosen, width, tmp_path):
    """With narrower registers, as an older processor has them: the LSTM, in both types."""
    lstm_only = EVERY_CELL.replace("case in CASES", "case in CASES if case.values[0] == 'lstm'")
    assert lstm_only != EVERY_CELL
    code = (
        f"from scratchnet_kernels.sequence_cpu import product, vector\nprint(vector.BYTES, product.ROWS)\n{lstm_only}"
    )
    printed, _ = python(code, NUMBA_CACHE_DIR=str(tmp_path), **chosen)
    assert printed.split() == [str(width), "3", "equal"]
