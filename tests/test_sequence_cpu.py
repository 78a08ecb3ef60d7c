"""The ``sequence`` engine on the CPU, beyond what every engine is asked in test_engines.py: sizes that reach each kind of tile,
products by themselves, and what else reads a layer.
"""

import numpy as np
import pytest
import scratchnet
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scratchnet.cells import CELLS, sequences
from scratchnet.layers import Linear, Sequential
from scratchnet.losses import mse
from scratchnet.training import bptt
from scratchnet_kernels import KERNELS, sequence_cpu
from scratchnet_kernels.sequence_cpu import memory, passes, product, team, work
from scratchnet_kernels.sequence_cpu.vector import BYTES, lanes

from calls import pair
from rounding import cell_tolerance
from sequence_problems import LAYERS, any_work_is_worth_a_thread, assert_close, cells, dtypes, problem, run

# ---- the same numbers as arrays -----------------------------------------------------------------------------------------


@dtypes
@cells
@settings(max_examples=15)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 20), st.integers(1, 40)),
    ragged=st.booleans(),
    threads=st.sampled_from([None, 1, 3]),
    seed=st.integers(0, 99),
)
@example(shape=(3, 35, 4, 96), ragged=True, threads=None, seed=0)  # five tiles of 6 rows and one of 5
@example(shape=(2, 18, 200, 130), ragged=False, threads=2, seed=0)  # the last vector has two units
@example(shape=(2, 17, 3, 97), ragged=True, threads=2, seed=0)
@example(shape=(70, 17, 130, 128), ragged=False, threads=2, seed=0)  # sums over more terms than are packed at once
@example(shape=(1, 70, 2, 600), ragged=True, threads=2, seed=0)  # more rows than are computed in one call
@example(shape=(40, 1, 3, 5), ragged=False, threads=2, seed=0)  # a second thread has no row
def test_equals_array(name, options, dtype, shape, ragged, threads, seed):
    call, arriving, lengths = problem(name, dtype, *shape, ragged, seed)
    before = [a.copy() for a in call + arriving]
    with any_work_is_worth_a_thread():
        got = run(*pair(name, call[0], shape[3], "sequence", threads), call, arriving, lengths, options)
    for a, b in zip(call + arriving, before):
        np.testing.assert_array_equal(a, b)
    call, arriving = ([a.astype(np.float64) for a in arrays] for arrays in (call, arriving))
    want = run(CELLS[name].forward, CELLS[name].backward, call, arriving, lengths, options)
    allowed = cell_tolerance(CELLS[name], dtype, *shape)
    # In float64 the reference has rounding errors, too.
    assert_close(got, want, allowed if dtype == "float32" else 2 * allowed, dtype)


def test_the_shapes_above_reach_every_way():
    """What the examples' comments say of them is so."""
    assert product.ROWS == 6 or BYTES < 64
    assert product.TERMS < 70 * 17
    assert 70 > passes.rows_at_once(4 * 600) >= 16
    assert 130 % lanes(np.float32) == 2 or BYTES < 64


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("label", LAYERS)
def test_layers_both_directions_side_by_side(label, batch_first):
    """Two layers, both directions, ragged, from a state, with a gradient arriving at the final state."""
    results = []
    for engine in ("array", "sequence"):
        rng = np.random.default_rng(1)
        layer = LAYERS[label](5, 33, rng=rng, num_layers=2, bidirectional=True, batch_first=batch_first, engine=engine)
        x = rng.standard_normal((4, 19, 5))
        N = x.shape[0 if batch_first else 1]
        state, arriving = ([rng.standard_normal((4, N, 33)) for _ in layer.cell.STATES] for _ in range(2))
        lengths = rng.integers(1, x.shape[1 if batch_first else 0] + 1, N)
        y, cache = layer.forward(x, state=state, lengths=lengths)
        assert cache.engines[0].name == engine
        dx, dstate = layer.backward_state(rng.standard_normal(y.shape), cache, arriving)
        states = {f"state {i}": s for i, s in enumerate((*cache.state_last, *dstate))}
        results.append({"y": y, "dx": dx, **states, **layer.grads})
    assert_close(results[1], results[0], 1e-12)


@cells
def test_refuses_what_arrays_refuse(name, options):
    """With the same sentence, and before anything is computed."""
    call, arriving, _ = problem(name, "float64", 3, 4, 2, 5)
    forward, backward = pair(name, call[0], 5, "sequence")
    _, cache = forward(*call, **options)
    _, want_cache = CELLS[name].forward(*call, **options)

    def but(index, value):
        return [*call[:index], value, *call[index + 1 :]]

    W_x = 1 + len(CELLS[name].STATES)
    bad = [
        but(0, call[0].astype(np.float16)),
        but(0, call[0].tolist()),
        but(0, call[0][:0]),
        but(0, call[0][:, 0]),
        but(1, call[1][:2]),
    ]
    bad += [
        but(W_x, call[W_x].tolist()),
        but(W_x, call[W_x].astype(np.float32)),
        but(W_x, call[W_x][:1]),
        but(W_x, None),
    ]
    for arguments in bad:
        messages = []
        for f in (forward, CELLS[name].forward):
            with pytest.raises((TypeError, ValueError)) as error:
                f(*arguments, **options)
            messages.append(str(error.value))
        assert messages[0] == messages[1]
    for dy in (arriving[0][:1], arriving[0].astype(np.float32), arriving[0].tolist(), None):
        messages = []
        for b, c in ((backward, cache), (CELLS[name].backward, want_cache)):
            with pytest.raises((TypeError, ValueError, AttributeError)) as error:
                b(dy, c)
            messages.append(str(error.value))
        assert messages[0] == messages[1]


# ---- products -----------------------------------------------------------------------------------------------------------


@dtypes
@given(M=st.integers(1, 20), K=st.integers(1, 40), C=st.integers(1, 150), add=st.booleans(), seed=st.integers(0, 99))
def test_a_product(dtype, M, K, C, add, seed):
    """Every number of rows and vectors of a tile; nothing beside the result is written."""
    rng = np.random.default_rng(seed)
    left, W = rng.standard_normal((M, K)).astype(dtype), rng.standard_normal((K, C)).astype(dtype)
    whole = rng.standard_normal((M + 2, C + 40)).astype(dtype)
    want, out = whole.copy(), whole[1:-1, 20:-20]
    want[1:-1, 20:-20] = left.astype(np.float64) @ W + (out if add else 0)
    turned = np.ascontiguousarray(W.T)
    packed, again = product.room(W, 1), product.room_transposed(turned)
    product.pack(W, packed)
    product.pack_transposed(turned, again)
    np.testing.assert_array_equal(packed, again)
    product.multiply(left, packed, out, int(add))
    np.testing.assert_allclose(whole, want, rtol=0, atol=8 * K * np.finfo(dtype).eps * (1 + np.abs(want).max()))
    np.testing.assert_array_equal(whole[:, :20], want[:, :20])
    np.testing.assert_array_equal(whole[[0, -1]], want[[0, -1]])


@dtypes
@given(M=st.integers(1, 300), D=st.integers(0, 8), H=st.integers(0, 20), G=st.integers(1, 90), seed=st.integers(0, 99))
def test_gradients_in_parts(dtype, M, D, H, G, seed):
    """In any two parts of the columns: the same bits as in one."""
    rng = np.random.default_rng(seed)
    x, h, da = (rng.standard_normal((M, n)).astype(dtype) for n in (D, H, G))
    ones = np.ones((product.TERMS, 1), dtype)
    results = []
    for cut in (G, int(rng.integers(0, G + 1))):
        made = [np.full(shape, np.nan, dtype) for shape in ((D, G), (H, G), (1, G))]
        for first, last in ((0, cut), (cut, G)):
            if first < last:
                for k in range(3):
                    product.gradients(x, h, ones, da, *made, first, last, team.new_team(3, False), k, 3)
        results.append(made)
    for got, again, left in zip(*results, (x, h, np.ones((M, 1)))):
        np.testing.assert_array_equal(got, again)
        want = left.T.astype(np.float64) @ da
        np.testing.assert_allclose(got, want, rtol=0, atol=8 * M * np.finfo(dtype).eps)


def test_memory_of_other_processes_is_not_read():
    """A tile at the end of an array reads nothing behind it: memory there need not exist."""
    import mmap

    size = mmap.PAGESIZE
    for dtype in (np.float32, np.float64):
        rows = 3
        columns = size // (np.dtype(dtype).itemsize * rows)
        whole = np.frombuffer(mmap.mmap(-1, size), dtype)
        W = whole[len(whole) - rows * columns :].reshape(rows, columns)
        W[...] = 1
        packed, turned, out = product.room(W, 1), product.room_transposed(W), np.zeros((2, columns), dtype)
        product.pack(W, packed)
        product.pack_transposed(W, turned)
        product.multiply(np.ones((2, rows), dtype), packed, out, 0)
        assert (out == rows).all()
        assert (turned.sum(), packed.sum()) == (rows * columns,) * 2


# ---- what else reads a layer --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [None, [5, 1, 3]], ids=["full", "ragged"])
@pytest.mark.parametrize("label", LAYERS)
def test_a_trace_shows_the_same_numbers(label, lengths):
    traces = []
    for engine in ("array", "sequence"):
        rng = np.random.default_rng(2)
        model = Sequential(
            rec=LAYERS[label](2, 20, rng=rng, num_layers=2, bidirectional=True, engine=engine),
            head=Linear(40, 1, rng=rng),
        )
        traces.append(
            scratchnet.trace(model, rng.standard_normal((5, 3, 2)), rng.standard_normal((5, 3, 1)), lengths=lengths)
        )
    for (name, want), got in zip(traces[0].runs.items(), traces[1].runs.values()):
        assert_close({n: got[n] for n in got.names}, {n: want[n] for n in want.names}, 1e-12)
        for t in (0, 4):
            assert_close(got.weight_gradients(t), want.weight_gradients(t), 1e-12)
        assert name.startswith("rec.l")


@pytest.mark.parametrize("label", LAYERS)
def test_truncated_backpropagation(label):
    """Windows of a cache, gone back through by the cell and by the engine itself; and a stream that trains."""
    name = label.split()[0]
    x, dy = (np.random.default_rng(seed).standard_normal((9, 20, n)) for seed, n in ((0, 3), (1, 24)))
    lengths = np.random.default_rng(2).integers(1, 10, 20)
    found = {}
    for engine in ("array", "sequence"):
        layer = LAYERS[label](3, 24, rng=np.random.default_rng(3), engine=engine)
        _, cache = layer.forward(x, lengths=lengths)
        found[engine] = bptt.truncated(layer.cell, dy, cache.cell_caches[0], 3, 5)._asdict()
        window = sequences.window(layer.cell, cache.cell_caches[0], 2, 6)
        [grads] = cache.engines[0].backward([(dy[2:6], window)])
        found[engine] |= {f"window {k}": v for k, v in grads._asdict().items()}
        assert cache.engines[0].name == engine
    assert_close(found["sequence"], found["array"], 1e-12)
    assert ("sequence", name) in KERNELS
    assert name in sequence_cpu.PASSES
    losses = {}
    for engine in ("array", "sequence"):
        layer = LAYERS[label](3, 24, rng=np.random.default_rng(3), engine=engine)
        losses[engine] = []
        for streamed in bptt.stream(layer, x, np.zeros((9, 20, 24)), mse, k1=2, k2=4):
            losses[engine].append(streamed.loss)
            for p, g in zip(layer.params.values(), layer.grads.values()):
                p -= 0.1 * g
    np.testing.assert_allclose(losses["sequence"], losses["array"], rtol=1e-10)


@cells
def test_nothing_is_read_before_it_is_written(name, options, monkeypatch):
    """Memory that is used again holds anything: NaN in it reaches no result, of padding neither."""
    nans = lambda store, size: np.full(size, 255, np.uint8)  # of either type  # noqa: E731
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory._Store, "take", nans)
    assert np.isnan(memory.empty(np.ones(1, np.float32), (2, 3))).all()
    call, arriving, lengths = problem(name, "float64", 5, 4, 3, 6, True, 0)
    got = run(*pair(name, call[0], 6, "sequence"), call, arriving, lengths, options)
    want = run(CELLS[name].forward, CELLS[name].backward, call, arriving, lengths, options)
    assert_close(got, want, 2 * cell_tolerance(CELLS[name], "float64", 5, 4, 3, 6))


@cells
def test_the_cost_of_a_pass_is_its_multiply_adds(name, options, monkeypatch):
    """T N of them for each weight, of both directions together: it says how many threads share them."""
    costs = []
    ordinary = work.run

    def spy(step, threads):
        costs.append(sum(one.cost for one in step))
        ordinary(step, threads)

    monkeypatch.setattr(work, "run", spy)
    call, arriving, _ = problem(name, "float64", 5, 4, 3, 6, False, 0)
    engine = scratchnet.engines.choose(name, call[0], 6, "sequence")
    (_, one), (_, other) = engine.forward([call, call], **options)
    engine.backward([(arriving[0], one, *arriving[1:]), (arriving[0], other, *arriving[1:])])
    weights = one.W_x.size + one.W_h.size
    assert costs == [2 * 5 * 4 * weights] * 3
