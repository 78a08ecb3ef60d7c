"""Every engine of the kernels package against the cell file: the same numbers, the same types, a clear answer where it cannot."""

import re
import sys
from pathlib import Path
from types import ModuleType

import numba
import numpy as np
import pytest
import scratchnet_kernels
from hypothesis import example, given
from hypothesis import strategies as st
from numba.core.registry import CPUDispatcher
from numba.extending import register_jitable
from scratchnet import engines
from scratchnet.cells import CELLS, lstm, variants
from scratchnet.elementwise import HALF
from scratchnet.engines import Patience
from scratchnet.files import machine_code
from scratchnet.gradcheck import check_cell
from scratchnet.layers.recurrent import GRU, LSTM, RNN
from scratchnet.losses import mse
from scratchnet.training import Adam, Batches, TrainingCheckpoint, fit
from scratchnet_kernels import KERNELS, WHY_NOT, step_cpu, warm
from scratchnet_kernels.compiled import compiled

from calls import pair, python
from rounding import cell_tolerance

ROOT = Path(__file__).parents[1]
NAMES = {id(cell): name for name, cell in CELLS.items()}
ENGINES = [
    pytest.param(engine, cell, options, id=f"{engine} {label}")
    for label, cell, options in variants()
    for engine, name in KERNELS
    if name == NAMES[id(cell)]
]
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
needs_compiler = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="NUMBA_DISABLE_JIT is set: nothing is compiled"
)


def test_no_entry_means_no_kernel():
    assert KERNELS.keys() >= {(engine, cell) for engine in ("step", "sequence") for cell in ("rnn", "lstm", "gru")}
    assert {cell for _, cell in [*KERNELS, *WHY_NOT]} <= CELLS.keys()
    assert not KERNELS.keys() & WHY_NOT.keys(), "a kernel and a reason why there is none"
    for name in CELLS:
        for engine in ("step", "sequence"):
            if (engine, name) in KERNELS:
                assert engines.choose(name, np.zeros((2, 1, 1)), 3, engine).name == engine
            else:
                with pytest.raises(RuntimeError, match=f"none is registered for cell {name!r}"):
                    engines.choose(name, np.zeros((2, 1, 1)), 3, engine)
                assert engines.choose(name, np.zeros((2, 1, 1)), 3).name == "array"


def assert_same(got, want, tolerance):
    """Relative to the largest element, at least 1: where terms of order one cancel, rounding in any order of summation
    leaves an error of their size, not of the small result's. Both have rounding errors."""
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=0, atol=2 * tolerance * max(1, np.abs(want).max()))


@dtypes
@pytest.mark.parametrize(("engine", "cell", "options"), ENGINES)
@given(shape=st.tuples(*[st.integers(1, 5)] * 4), ragged=st.booleans(), seed=st.integers(0, 10**6))
@example(shape=(1, 1, 1, 1), ragged=False, seed=0)
@example(shape=(1, 1, 1, 1), ragged=True, seed=0)
def test_equals_array(engine, cell, options, dtype, shape, ragged, seed):
    """Outputs, every field of the cache, every gradient, with and without lengths; and the caller's arrays stay as they were."""
    T, N, D, H = shape
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, T + 1, N) if ragged else None

    def uniform(*shape):
        return rng.uniform(-1, 1, shape).astype(dtype)

    states = [uniform(N, H) for _ in cell.STATES]
    call = [uniform(T, N, D), *states, *(uniform(*s) * HALF for s in cell.param_shapes(D, H).values())]
    arriving = [uniform(T, N, H), *(uniform(N, H) for _ in states)]
    before = [a.copy() for a in call + arriving]
    forward, backward = pair(NAMES[id(cell)], call[0], H, engine)
    y, cache = forward(*call, **options, lengths=lengths)
    grads = backward(arriving[0], cache, *arriving[1:])
    for a, b in zip(call + arriving, before):
        np.testing.assert_array_equal(a, b)
    want_y, want_cache = cell.forward(*call, **options, lengths=lengths)
    want = cell.backward(arriving[0], want_cache, *arriving[1:])
    made, wanted = (c._replace(fingerprints=None) for c in (cache, want_cache))
    for got, expected in zip((y, *made, *grads), (want_y, *wanted, *want)):
        if isinstance(expected, np.ndarray) and expected.dtype == dtype:
            assert_same(got, expected, cell_tolerance(cell, dtype, *shape))
        else:
            assert np.all(got == expected)


@pytest.mark.parametrize(("engine", "cell", "options"), ENGINES)
def test_gradients(engine, cell, options):
    """Against central differences too: a mistake that an engine shared with the cell file would show here."""
    assert (
        check_cell(cell, *pair(NAMES[id(cell)], np.zeros((1, 1, 1)), 1, engine), lengths=[4, 2, 1], **options).error
        <= 1e-6
    )


@pytest.mark.parametrize(("engine", "cell", "options"), ENGINES)
def test_any_memory_order(engine, cell, options, rng):
    """Transposed and read-only arrays are as good as any: a cell takes them, so its kernels do."""
    T, N, D, H = 3, 2, 4, 3
    call = [rng.standard_normal((N, T, D)).swapaxes(0, 1)]
    call += [rng.standard_normal((H, N)).T for _ in cell.STATES]
    call += [np.asfortranarray(rng.standard_normal(s)) for s in cell.param_shapes(D, H).values()]
    arriving = [
        rng.standard_normal((H, N, T)).T,
        *(np.broadcast_to(rng.standard_normal(H), (N, H)) for _ in cell.STATES),
    ]
    for a in call + arriving:
        a.flags.writeable = False
    results = []
    for forward, backward in ((cell.forward, cell.backward), pair(NAMES[id(cell)], call[0], H, engine)):
        y, cache = forward(*call, **options)
        results.append([y, *backward(arriving[0], cache, *arriving[1:])])
    for want, got in zip(*results):
        assert_same(got, want, 1e-12)


@pytest.mark.parametrize(("engine", "cell", "options"), ENGINES)
def test_saturates_and_keeps_nan(engine, cell, options, rng):
    """Huge inputs give finite states; a NaN that comes in does not vanish."""
    x = np.full((2, 2, 1), 1e6)
    x[:, 1] = np.nan
    states = [np.zeros((2, 3)) for _ in cell.STATES]
    params = [rng.uniform(0.5, 1, s) for s in cell.param_shapes(1, 3).values()]
    y, _ = pair(NAMES[id(cell)], x, 3, engine)[0](x, *states, *params, **options)
    assert np.isfinite(y[:, 0]).all()
    assert np.isnan(y[:, 1]).all()


def compiled_loops():
    """Every compiled loop of the step engine, by name."""
    for name, steps in step_cpu.STEPS.items():
        found = {key: value for key, value in vars(steps).items() if isinstance(value, CPUDispatcher)}
        for option, loops in getattr(steps, "LOOPS", {}).items():
            found |= {f"{option} {loop.__name__}": loop for loop in loops}
        for key, loop in found.items():
            yield pytest.param(loop, id=f"{name} {key}")


def in_double_precision(loop, arrays):
    """Which variables of ``loop`` Numba holds as float64, and whether the code made of it and all it calls has a double."""
    argument_types = tuple(numba.typeof(a) for a in arrays)
    loop.compile(argument_types)
    types = loop.overloads[argument_types].type_annotation.typemap
    wide = sorted(name for name, type_ in types.items() if "float64" in str(type_))
    return wide, bool(re.search(r"\bdouble\b", loop.inspect_llvm(argument_types)))


@needs_compiler
@pytest.mark.parametrize("loop", list(compiled_loops()))
def test_float32_is_computed_in_float32(loop):
    arrays = [np.ones((2, 2), np.float32) for _ in range(loop.py_func.__code__.co_argcount)]
    assert in_double_precision(loop, arrays) == ([], False)
    returned = loop.overloads[tuple(numba.typeof(a) for a in arrays)].signature.return_type
    assert str(returned) in ("none", "array(float32, 2d, C)")


@needs_compiler
def test_double_precision_would_be_found():
    """What the test above looks for, made on purpose: a bare 1.0 in the loop, and in a function that it calls."""

    @register_jitable
    def wide_inside(y):
        return np.float32(1.0 - y * (1.0 + y))

    @compiled
    def calls(a, out):
        for n in range(len(a)):
            out[n, 0] = wide_inside(a[n, 0])

    @compiled
    def bare(a, out):
        for n in range(len(a)):
            d = 1.0 - a[n, 0]
            out[n, 0] = d

    arrays = [np.ones((2, 2), np.float32)] * 2
    assert in_double_precision(calls, arrays) == ([], True)
    assert "d" in in_double_precision(bare, arrays)[0]


@needs_compiler
def test_there_is_a_loop_for_each_cell():
    names = [param.id.split()[0] for param in compiled_loops()]
    assert {name: names.count(name) for name in names} == {
        "rnn": 4,
        "lstm": 2,
        "gru": 2,
        "gru_reset_before": 4,
        "lstm_masked": 2,
    }
    assert set(names) == {cell for engine, cell in KERNELS if engine == "step"}


@dtypes
@pytest.mark.parametrize(
    ("layer", "options"),
    [(RNN, {}), (RNN, {"nonlinearity": "relu"}), (LSTM, {}), (GRU, {}), (GRU, {"reset_after": False})],
)
def test_a_layer_takes_it_by_name(layer, options, dtype):
    """Two layers, both directions, batch first, ragged: every output and every parameter's gradient."""
    results = []
    for engine in ("array", "step"):
        rng = np.random.default_rng(3)
        model = layer(
            2, 3, rng=rng, num_layers=2, bidirectional=True, batch_first=True, engine=engine, dtype=dtype, **options
        )
        y, cache = model.forward(rng.uniform(-1, 1, (3, 4, 2)).astype(dtype), lengths=[4, 1, 3])
        dx = model.backward(rng.uniform(-1, 1, y.shape).astype(dtype), cache)
        results.append({"y": y, "dx": dx, **model.grads})
    array, step = results
    for name in array:
        # Two layers of both directions, one after the other: T = 4, N = 3, at most 6 inputs, H = 3.
        assert_same(step[name], array[name], 2 * cell_tolerance(model.cell, dtype, 4, 3, 6, 3))


def test_choose_says_which_engine_it_took():
    x = np.zeros((1, 1, 1))
    chosen = engines.choose("lstm", x, 1, "step")
    assert (chosen.name, chosen.forward_one.func) == ("step", lstm.forward)
    assert chosen.forward_one.keywords["step"] is step_cpu.lstm.step_forward
    assert engines.choose("lstm", x, 1, "auto").name == "sequence"
    assert engines.choose("lstm", x, 1, "array").forward_one is lstm.forward


def test_an_engine_is_resolved_once():
    """For a cell, a kind of array and a number of threads; not for each call, nor for another cell of the same name."""
    x = np.zeros((3, 2, 1))
    chosen = engines.choose("lstm", x, 4, "sequence")
    assert engines.choose("lstm", np.ones((9, 5, 7)), 4, "sequence") is chosen
    assert engines.choose("lstm", x.astype(np.float32), 4, "sequence") is not chosen
    assert engines.choose("lstm", x, 4, "sequence", 1) is not chosen


def test_a_cell_registered_again_is_the_new_one(monkeypatch):
    """As in a notebook whose cell is run a second time."""
    x = np.zeros((1, 1, 1))
    for _ in range(2):
        mine = ModuleType("mine")
        mine.__dict__.update(vars(lstm))
        monkeypatch.setitem(CELLS, "mine", mine)
        assert engines.choose("mine", x, 1).forward_one is mine.forward


class NotNumPy:
    """An array of another library, as far as ``choose`` looks."""

    dtype = np.dtype(np.float32)
    shape = (1, 1, 1)


@pytest.mark.parametrize("dtype", [np.float16, np.longdouble, ">f4", ">f8", np.int64])
def test_other_types_have_no_kernel(dtype):
    x = np.zeros((1, 1, 1), dtype)
    with pytest.raises(
        RuntimeError, match=rf"'step' computes in float32 or float64, not in {x.dtype}; use 'auto' or 'array'"
    ):
        engines.choose("lstm", x, 1, "step")


def test_other_arrays_have_no_kernel():
    with pytest.raises(
        RuntimeError, match=r"'step' has kernels for NumPy and CuPy arrays, not for test_engines\.NotNumPy"
    ):
        engines.choose("lstm", NotNumPy(), 1, "step")


def test_no_kernel_for_a_cell_of_your_own():
    with pytest.raises(ValueError, match=r"there is no cell 'mine': expected one of rnn, lstm"):
        engines.choose("mine", np.zeros((1, 1, 1)), 1, "step")


def test_no_numba(monkeypatch, rng):
    monkeypatch.setattr(engines, "kernels", lambda: None)
    with pytest.raises(RuntimeError, match=r"engine 'step' needs Numba.*pip install numba"):
        LSTM(2, 3, rng=rng, engine="step").forward(np.zeros((2, 1, 2)))
    LSTM(2, 3, rng=rng).forward(np.zeros((2, 1, 2)))


def test_kernels_is_none_without_numba_and_only_then(monkeypatch):
    assert engines.kernels() is scratchnet_kernels
    monkeypatch.setitem(sys.modules, "numba", None)  # as Python answers where it is not installed
    for name in [name for name in sys.modules if name.startswith("scratchnet_kernels")]:
        monkeypatch.delitem(sys.modules, name)
    engines.kernels.cache_clear()
    try:
        assert engines.kernels() is None
    finally:
        engines.kernels.cache_clear()


def test_numba_is_imported_only_when_asked_for():
    code = """
import sys
import numpy as np
import scratchnet
from scratchnet.layers.recurrent import LSTM
for engine, T in (("array", 2), ("auto", 2), ("auto", 20000), ("auto", 2)):
    _, cache = LSTM(2, 3, rng=np.random.default_rng(0), engine=engine).forward(np.zeros((T, 1, 2)))
    print(engine, T, cache.engines[0].name, "numba" in sys.modules, "scratchnet_kernels" in sys.modules)
"""
    for job in ("lstm", "updates"):  # where nothing has to be compiled any more
        marker = machine_code.cache_root() / "ready" / f"{machine_code.sources()}-{job}-float64"
        marker.parent.mkdir(parents=True, exist_ok=True)
        warm.main(job, "float64", str(marker))
    assert python(code).splitlines() == [
        "array 2 array False False",
        "auto 2 array False False",
        "auto 20000 array False False",  # and after this one a second's work is done
        "auto 2 sequence True True",
    ]


def test_patience_counts_work_by_a_formula(monkeypatch):
    """Not by a clock: the same program changes its engine at the same place in every run."""
    monkeypatch.setattr(Patience, "enough", 1.0)
    monkeypatch.setattr(Patience, "done", 0.0)
    seen = []
    x = np.zeros((1000, 1, 2))
    for _ in range(12):
        seen.append(Patience.engine("lstm", "auto", x, 3, 4))
    assert seen == ["array"] * 10 + ["auto"] * 2
    assert Patience.engine("lstm", "sequence", x, 3, 4) == "sequence"
    monkeypatch.setattr(Patience, "done", 0.0)
    Patience.engine("lstm", "auto", np.zeros((1, 256, 256)), 512, 4)  # one large step is a tenth of a second
    assert 0.05 < Patience.done < 0.5


def test_a_resumed_training_goes_on_with_its_engine(monkeypatch, tmp_path):
    """Its numbers are those of a training that was not interrupted: the work that was done is in the file."""
    monkeypatch.setattr(Patience, "enough", 0.05)
    data = Batches(*np.random.default_rng(0).standard_normal((2, 32, 20, 1)), batch_size=8)

    def train(epochs, done):
        monkeypatch.setattr(Patience, "done", done)
        rng = np.random.default_rng(1)
        layer = LSTM(1, 1, rng=rng, batch_first=True)
        checkpoint = TrainingCheckpoint(tmp_path / "training.npz", resume=True)
        fit(layer, data, Adam(0.01), epochs=epochs, rng=rng, loss=mse, callbacks=[checkpoint], progress=False)
        return {name: p.copy() for name, p in layer.params.items()}

    train(4, 0.0)
    assert Patience.done < Patience.enough
    resumed = train(12, 0.0)
    (tmp_path / "training.npz").unlink()
    whole = train(12, 0.0)
    assert Patience.done >= Patience.enough
    for name, p in whole.items():
        np.testing.assert_array_equal(resumed[name], p)


UNCOMPILED = """
import numpy as np
from scratchnet.cells import CELLS, variants
from scratchnet_kernels import KERNELS
from calls import pair
names = {id(cell): name for name, cell in CELLS.items()}
rng = np.random.default_rng(0)
for _, cell, options in variants():
    if ("step", names[id(cell)]) not in KERNELS:
        continue
    shapes = [(3, 2, 2), *[(2, 3)] * len(cell.STATES), *cell.param_shapes(2, 3).values()]
    call = [rng.standard_normal(shape) for shape in shapes]
    results = []
    for forward, backward in (pair(names[id(cell)], call[0], 3, "step"), (cell.forward, cell.backward)):
        y, cache = forward(*call, **options, lengths=[3, 2])
        results.append([y, *backward(y, cache)])
    for got, want in zip(*results):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-14 * np.abs(want).max())
    print(names[id(cell)])
"""


def test_every_kernel_is_the_python_function_too():
    """With NUMBA_DISABLE_JIT=1 Python itself runs every step, forward and backward, to the array engine's numbers."""
    entered = python(UNCOMPILED, NUMBA_DISABLE_JIT="1").split()
    assert {*entered} == {cell for engine, cell in engines.kernels().KERNELS if engine == "step"}


def test_a_debugger_can_enter_every_kernel():
    """With NUMBA_DISABLE_JIT=1 Python itself runs the loop and the gate math, line by line, to the same numbers."""
    code = """
import sys
import numpy as np
from scratchnet.cells import CELLS
from scratchnet_kernels import KERNELS
from calls import pair
entered = set()
def trace(frame, event, argument):
    entered.add(frame.f_code.co_qualname)
rng = np.random.default_rng(0)
for name, cell in CELLS.items():
    if ("step", name) not in KERNELS:
        continue
    x = rng.standard_normal((2, 3, 2)).astype(np.float32)
    rest = [rng.standard_normal((3, 4)).astype(np.float32) for _ in cell.STATES]
    rest += [rng.standard_normal(s).astype(np.float32) for s in cell.param_shapes(2, 4).values()]
    forward, backward = pair(name, x, 4, "step")
    sys.settrace(trace)
    y, cache = forward(x, *rest)
    grads = backward(y, cache)
    sys.settrace(None)
    want = cell.backward(y, cell.forward(x, *rest)[1])
    for a, b in zip(grads, want):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
        assert a.dtype == np.float32
print(*entered)
"""
    entered = set(python(code, NUMBA_DISABLE_JIT="1").split())
    math = {"tanh_forward", "tanh_backward", "gates_forward", "gates_backward", "reset_forward", "update_backward"}
    assert math | {"loops.<locals>.forward", "before_product", "step_backward"} <= entered


def test_the_readme_runs():
    """The example of kernels/README.md prints what its comments say."""
    (example,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "kernels" / "README.md").read_text(encoding="utf-8"), re.DOTALL
    )
    printed = python(example)
    assert np.array_equal(
        np.array(printed.replace("[", "").replace("]", "").split(), float), [0.5] * 6 + [0] * 3 + [0.5] * 6
    )


def test_explain_says_which_engine_and_why_no_other(monkeypatch):
    layer = LSTM(2, 3, rng=np.random.default_rng(0))
    x = np.zeros((4, 1, 2))
    lines = engines.explain(layer, x).splitlines()
    assert lines[0] == "sequence: runs the lstm cell here, with fused kernels of scratchnet_kernels for the lstm cell"
    passed = 'available, but not selected by "auto": it is slower than'
    assert lines[1] == f"array: {passed} 'sequence'"
    assert lines[2] == f"step: {passed} 'array' from 16 sequences on"
    elsewhere = (
        "sequence_tf32: not here: engine 'sequence_tf32' computes with the tensor cores of a GPU, on CuPy arrays"
    )
    assert lines[3:] == [f"{elsewhere}, and x is a NumPy array; use 'auto' or 'array'"]
    asked = LSTM(2, 3, rng=np.random.default_rng(0), engine="step")
    assert engines.explain(asked, x).startswith("step: runs the lstm cell here, with fused kernels")
    assert "array: available, but the layer has engine='step'" in engines.explain(asked, x)
    monkeypatch.setattr(engines, "kernels", lambda: None)
    lines = engines.explain(layer, x).splitlines()
    assert lines[0] == "array: runs the lstm cell here, with NumPy and BLAS"
    assert [line.partition(" needs")[0] for line in lines[1:]] == [
        f"{e}: not here: engine '{e}'" for e in ("step", "sequence", "sequence_tf32")
    ]
    with pytest.raises(RuntimeError, match="needs Numba"):
        engines.explain(asked, x)
