"""The ``sequence`` engine on the CPU, beyond what every engine is asked in test_engines.py: sizes that reach each way of cutting
a batch and a product, threads, memory, machine code and the tanh.
"""

import copy
import itertools
import os
import pickle
import platform
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numba
import numpy as np
import pytest
import scratchnet
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numba import njit, types
from scratchnet import engines
from scratchnet.cells import CELLS, sequences, variants
from scratchnet.layers import GRU, LSTM, RNN, Linear, Sequential
from scratchnet.losses import mse
from scratchnet.training import bptt
from scratchnet_kernels import KERNELS, compiled, find, find_together, sequence_cpu
from scratchnet_kernels.sequence_cpu import blocks, gru, gru_reset_before, lstm, memory, rnn, slices, split, vector

from rounding import cell_tolerance

ROOT = Path(__file__).parents[1]
NAMES = {id(cell): name for name, cell in CELLS.items()}
CASES = [
    pytest.param(NAMES[id(cell)], options, id=label)
    for label, cell, options in variants()
    if ("sequence", NAMES[id(cell)]) in KERNELS
]
LAYERS = {
    "rnn tanh": RNN,
    "rnn relu": partial(RNN, nonlinearity="relu"),
    "lstm": LSTM,
    "gru": GRU,
    "gru_reset_before": partial(GRU, reset_after=False),
}
cells = pytest.mark.parametrize(("name", "options"), CASES)
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])
needs_compiler = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="NUMBA_DISABLE_JIT is set: nothing is compiled"
)
needs_blas = pytest.mark.skipif(not slices._blas(), reason="no BLAS whose threads can be set")

# Constants that make small shapes take the ways of large ones: slices of 1 to 16 rows, blocks, every cut of a product, threads.
SMALL = {
    "few": [(blocks, "WITHOUT_COPY", 4000), (blocks, "WIDEST", 8), (blocks, "NARROWEST", 2)],
    "parts": [(split, "PART", 300), (split, "WIDE", 4), (split, "LONG", 3), (split, "ELEMENT", 40)],
    "threads": [(slices, "WORTH_A_THREAD", 1)],
}


@contextmanager
def constants(*names):
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in itertools.chain(*(SMALL[name] for name in names)):
            patch.setattr(module, name, value)
        yield


def problem(name, dtype, T, N, D, H, ragged=False, seed=0):
    """(forward arguments, what arrives at backward, lengths): weights of a size at which nothing saturates or explodes."""
    cell, rng = CELLS[name], np.random.default_rng(seed)

    def uniform(*shape, size=1.0):
        return (size * rng.uniform(-1, 1, shape)).astype(dtype)

    states = [uniform(N, H) for _ in cell.STATES]
    params = [uniform(*s, size=s[0] ** -0.5) for s in cell.param_shapes(D, H).values()]
    arriving = [uniform(T, N, H), *(uniform(N, H) for _ in states)]
    return [uniform(T, N, D), *states, *params], arriving, rng.integers(1, T + 1, N) if ragged else None


def run(forward, backward, call, arriving, lengths, options):
    y, cache = forward(*call, **options, lengths=lengths)
    grads = backward(arriving[0], cache, *arriving[1:])
    named = {"y": y, **{f"cache.{k}": v for k, v in cache._asdict().items()}, **grads._asdict()}
    return {key: value for key, value in named.items() if isinstance(value, np.ndarray)}


def assert_close(got, want, tolerance, dtype=None):
    """Relative to the largest of each array: where large terms cancel, what is left has their rounding error."""
    assert got.keys() == want.keys()
    for key in want:
        expected = dtype if dtype and want[key].dtype.kind == "f" else want[key].dtype
        assert (got[key].dtype, got[key].shape) == (expected, want[key].shape), key
        assert type(got[key]) is np.ndarray, key
        np.testing.assert_allclose(
            got[key], want[key], rtol=0, atol=tolerance * max(1.0, np.abs(want[key]).max()), err_msg=key
        )


def assert_identical(got, want):
    for key in want:
        np.testing.assert_array_equal(got[key], want[key], err_msg=key)


def python(code, tree=ROOT, **environment):
    """Run ``code`` in a new Python; returns what it printed, and what it wrote to stderr."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tree), str(tree / "kernels")])} | environment
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=env, capture_output=True, text=True, timeout=200, cwd=tree
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


# ---- the same numbers as arrays -----------------------------------------------------------------------------------------


@dtypes
@cells
@settings(max_examples=10)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 20), st.integers(1, 40)),
    ragged=st.booleans(),
    patched=st.sets(st.sampled_from(list(SMALL))),
    threads=st.sampled_from([None, 1, 3]),
    seed=st.integers(0, 99),
)
@example(shape=(3, 35, 4, 96), ragged=True, patched=set(), threads=None, seed=0)  # three slices, the last not full
@example(shape=(2, 18, 200, 130), ragged=False, patched=set(), threads=2, seed=0)  # five blocks of 26
@example(shape=(2, 17, 3, 97), ragged=True, patched={"parts"}, threads=2, seed=0)  # a prime: one block, however wide
# x W_x cut into rows, dW into sums
@example(shape=(70, 17, 130, 128), ragged=False, patched={"threads"}, threads=2, seed=0)
@example(shape=(1, 40, 2, 600), ragged=True, patched=set(), threads=2, seed=0)  # G so large that a slice has 8 rows
def test_equals_array(name, options, dtype, shape, ragged, patched, threads, seed):
    call, arriving, lengths = problem(name, dtype, *shape, ragged, seed)
    before = [a.copy() for a in call + arriving]
    with constants(*patched):
        got = run(*find("sequence", name, call[0], shape[3], threads), call, arriving, lengths, options)
    for a, b in zip(call + arriving, before):
        np.testing.assert_array_equal(a, b)
    call, arriving = ([a.astype(np.float64) for a in arrays] for arrays in (call, arriving))
    want = run(CELLS[name].forward, CELLS[name].backward, call, arriving, lengths, options)
    allowed = cell_tolerance(CELLS[name], dtype, *shape)
    # In float64 the reference has rounding errors, too.
    assert_close(got, want, allowed if dtype == "float32" else 2 * allowed, dtype)


def test_the_shapes_above_reach_every_way():
    """What the examples' comments say of them is so."""
    assert slices.cut(35, blocks.rows_of_slice(4 * 96)) == [(0, 16), (16, 32), (32, 35)]
    assert [blocks.width(H, H, 16) for H in (96, 97, 128, 130)] == [48, 97, 64, 26]
    assert blocks.rows_of_slice(4 * 600) < 16
    assert blocks.rows_of_slice(10**7) == 1
    for H in (1, 5, 16, 97, 130, 512):
        for rows in (1, 16):
            assert H % blocks.width(H, H, rows) == 0


@given(columns=st.integers(1, 400), K=st.integers(1, 9000), rows=st.sampled_from([1, 2, 4, 8, 16]))
@example(columns=blocks.WIDEST, K=blocks.WITHOUT_COPY // blocks.WIDEST, rows=1)  # exactly at the limit
@example(columns=2 * blocks.NARROWEST, K=blocks.WITHOUT_COPY // blocks.NARROWEST, rows=1)
@example(columns=24, K=blocks.WITHOUT_COPY // 12, rows=1)  # halves need no copy, but are too narrow
def test_a_block_is_the_widest_that_needs_no_copy(columns, K, rows):
    fit = [
        w
        for w in range(blocks.NARROWEST, blocks.WIDEST + 1)
        if columns % w == 0 and rows * K * w <= blocks.WITHOUT_COPY
    ]
    assert blocks.width(columns, K, rows) == max(fit, default=columns)


@given(G=st.integers(1, 10**6))
@example(G=2 * blocks.WITHOUT_COPY // (blocks.ROWS * blocks.WIDEST))  # exactly at the limit
def test_a_slice_has_the_most_rows_that_need_no_copy(G):
    """Of sixteen and its halves, for blocks half as wide as the widest; at least one."""
    rows = [blocks.ROWS >> k for k in range(blocks.ROWS.bit_length())]
    fit = [r for r in rows if r * G * blocks.WIDEST // 2 <= blocks.WITHOUT_COPY]
    assert blocks.rows_of_slice(G) == max(fit, default=1)


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
        assert cache.engines[0].engine == engine
        dx, dstate = layer.backward_state(rng.standard_normal(y.shape), cache, arriving)
        states = {f"state {i}": s for i, s in enumerate((*cache.state_last, *dstate))}
        results.append({"y": y, "dx": dx, **states, **layer.grads})
    assert_close(results[1], results[0], 1e-12)


@cells
def test_lengths_and_options_by_position(name, options):
    """Whatever way the cell takes its arguments, the engine takes them; by position, lengths were once taken for b_hn."""
    call, arriving, lengths = problem(name, "float64", 3, 4, 2, 20, ragged=True)
    forward, backward = find("sequence", name, call[0], 20)
    given = [*call, *options.values(), lengths]
    want_y, want = CELLS[name].forward(*given)
    y, cache = forward(*given)
    np.testing.assert_allclose(y, want_y, rtol=1e-12, atol=1e-12)
    names = ["x", *(f"{s}0" for s in CELLS[name].STATES), *CELLS[name].param_shapes(1, 1)]
    y, _ = forward(call[0], **dict(list(zip(names, call))[:0:-1]), **options, lengths=lengths)
    np.testing.assert_allclose(y, want_y, rtol=1e-12, atol=1e-12)
    last = {f"d{s}_last": d for s, d in zip(CELLS[name].STATES, arriving[1:])}
    got, want = backward(arriving[0], cache, **last), CELLS[name].backward(arriving[0], want, **last)
    assert_close(got._asdict(), want._asdict(), 1e-12)
    with pytest.raises(TypeError, match=r"backward takes dh_last.*, not dq_last"):
        backward(arriving[0], cache, dq_last=arriving[1])


@cells
def test_refuses_what_arrays_refuse(name, options):
    """With the same sentence, and before anything is computed."""
    call, arriving, _ = problem(name, "float64", 3, 4, 2, 5)
    forward, backward = find("sequence", name, call[0], 5)
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


@needs_compiler
def test_read_only_arrays_compile_nothing_new():
    """A loop is compiled for the types of its arrays, and read only is another type."""
    call, arriving, _ = problem("rnn", "float64", 3, 4, 2, 5)  # so small that W_h is one block
    pair = find("sequence", "rnn", call[0], 5)
    run(*pair, call, arriving, None, {})
    before = [len(loop.signatures) for loop in rnn.SLICES["tanh"]]
    for order in "CF":
        locked = [np.asarray(a, order=order).view() for a in call + arriving]
        for a in locked:
            a.flags.writeable = False
        run(*pair, locked[: len(call)], locked[len(call) :], None, {})
    assert [len(loop.signatures) for loop in rnn.SLICES["tanh"]] == before


# ---- products in parts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("M", "K", "C", "kind"),
    [(40, 8, 6, "rows"), (5, 6, 64, "columns"), (5, 90, 6, "sum"), (1, 1, 1, "sum"), (3, 2, 9, "sum")],
)
def test_each_way_to_cut_a_product(M, K, C, kind, rng, monkeypatch):
    tasks, works = [], []

    def spy(given, work):
        tasks.extend(given)
        works.append(work)
        slices.run_all(given, work)

    monkeypatch.setattr(split, "run_all", spy)
    left, right = rng.standard_normal((K, M)).T, rng.standard_normal((C, K)).T
    with constants("parts"):
        np.testing.assert_allclose(split.product(left, right), left @ right, rtol=0, atol=1e-13)
    assert works == [M * K * C]  # multiply-adds, which say whether threads are worth their start
    (m, k), c = tasks[0].args[0].shape, tasks[0].args[1].shape[1]
    expected = {"rows": m < M, "columns": c < C, "sum": (m, c) == (M, C)}
    assert expected[kind], (m, k, c)
    assert len(tasks) == 1 or (m < M) + (k < K) + (c < C) == 1
    assert (len(tasks) > 1) == (M * K * C > 600)


def test_a_sum_keeps_no_more_memory_than_its_array(rng):
    """The gradient of a weight may be kept for long; the parts that it was added up from are not kept with it."""
    left, right = rng.standard_normal((100, 8000)), rng.standard_normal((8000, 100))
    found = split.plain(split.product(left, right))
    whole = found
    while isinstance(whole.base, np.ndarray):
        whole = whole.base
    assert whole.nbytes == found.nbytes


def test_a_split_array_is_an_array(rng):
    """In every place that is not cut up, too: sums over other axes, added arrays of other shapes, transposed ones."""
    a, b = rng.standard_normal((30, 20)), rng.standard_normal((30, 20))
    with constants("parts", "threads"):
        s = split.split(a.copy())
        np.testing.assert_allclose(s.sum(axis=0), a.sum(axis=0), rtol=1e-13)
        np.testing.assert_allclose(s.sum(axis=1), a.sum(axis=1), rtol=1e-13)
        np.testing.assert_allclose(s.sum(axis=0, keepdims=True), a.sum(axis=0, keepdims=True), rtol=1e-13)
        s += b
        np.testing.assert_array_equal(s, a + b)
        s += b[0]
        np.testing.assert_array_equal(s, a + b + b[0])
        columns = split.split(np.zeros((30, 20)))[:, ::2]
        columns += b[0, ::2]
        np.testing.assert_array_equal(columns, np.broadcast_to(b[0, ::2], (30, 10)))
    made = np.empty_like(split.split(a), dtype=np.float32, shape=(2, 3))
    assert (made.dtype, made.shape) == (np.float32, (2, 3))


# ---- threads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("N", [1, 3, 70])
@cells
def test_the_same_bits_for_any_number_of_threads(name, options, N):
    """Fewer threads than slices, as many, more; and fewer sequences than threads."""
    call, arriving, lengths = problem(name, "float32", 4, N, 40, 48, ragged=True)
    results = []
    with constants("threads", "parts"):
        for threads in (1, 2, 3, 50, None):
            results.append(run(*find("sequence", name, call[0], 48, threads), call, arriving, lengths, options))
    for result in results[1:]:
        assert_identical(result, results[0])


def test_the_same_bits_with_the_constants_as_they_are():
    call, arriving, _ = problem("lstm", "float32", 30, 60, 100, 128)
    results = [run(*find("sequence", "lstm", call[0], 128, n), call, arriving, None, {}) for n in (1, 2, 3)]
    assert_identical(results[1], results[0])
    assert_identical(results[2], results[0])


def test_tasks_run_side_by_side_and_no_more_than_allowed():
    meet = threading.Barrier(2)  # passes only if two tasks are there at once
    with slices.one_blas_thread(2):
        slices.run_all([lambda: meet.wait(20)] * 2, 1e12)
    for threads, work, most in ((1, 1e12, 1), (2, 1e12, 2), (None, 1, 1)):
        seen = set()
        with slices.one_blas_thread(threads):
            slices.run_all([lambda seen=seen: seen.add(threading.get_ident())] * 20, work)
        assert len(seen) <= most
        assert threading.get_ident() in seen


def test_an_exception_in_a_worker_reaches_the_caller_when_all_have_ended():
    done = []
    meet = threading.Barrier(2)

    def fail():
        meet.wait(20)
        raise ArithmeticError("of a task")

    def slow():
        meet.wait(20)
        threading.Event().wait(0.05)
        done.append(True)

    for tasks in ([fail, slow], [slow, fail]):
        done.clear()
        with slices.one_blas_thread(2), pytest.raises(ArithmeticError, match="of a task"):
            slices.run_all(tasks, 1e12)
        assert done == [True]
    test_tasks_run_side_by_side_and_no_more_than_allowed()


@contextmanager
def blas_of_two():
    """Every BLAS set to two threads; yields a function that says how many each has now."""
    found = [(library, library.num_threads) for library in slices._blas()]
    for library, _ in found:
        slices._set(library, 2)
        library.set_num_threads(2)  # threadpoolctl now lets no other thread set it
    try:
        yield lambda: {library.num_threads for library, _ in found}
    finally:
        for library, count in found:
            slices._set(library, count)


@needs_blas
def test_blas_is_given_back_its_threads(monkeypatch):
    call, arriving, _ = problem("rnn", "float64", 3, 40, 2, 5)
    forward, backward = find("sequence", "rnn", call[0], 5, 2)
    inside = []
    kept = rnn.SLICES["tanh"]

    def spy(*arguments):
        inside.append(now())
        kept.forward(*arguments)

    def broken(*arguments):
        inside.append(now())
        raise ArithmeticError("inside a loop")

    with blas_of_two() as now, constants("threads"):
        assert now() == {2}
        monkeypatch.setitem(rnn.SLICES, "tanh", rnn.Slices(spy, broken))
        _, cache = forward(*call)
        assert now() == {2}
        with pytest.raises(ArithmeticError, match="inside a loop"):
            backward(arriving[0], cache)
        assert now() == {2}
        monkeypatch.setitem(rnn.SLICES, "tanh", kept)
        with pytest.raises(ValueError, match="x is"):
            forward(call[0][:0], *call[1:])
        backward(arriving[0], cache)
        assert now() == {2}
    assert set().union(*inside) == {1}


@needs_blas
def test_two_threads_of_the_caller_and_one_inside_another():
    inside, leave = threading.Event(), threading.Event()

    def other():
        with slices.one_blas_thread():
            inside.set()
            leave.wait(20)

    with blas_of_two() as now:
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(20)
        with slices.one_blas_thread(1):
            with slices.one_blas_thread(3):
                assert slices._limit.get() == 3
            assert (slices._limit.get(), now()) == (1, {1})
        assert now() == {1}  # the other is still inside
        leave.set()
        thread.join()
        assert now() == {2}
        with slices.one_blas_thread():
            pass
        thread = threading.Thread(target=lambda: [library.set_num_threads(1) for library in slices._blas()])
        thread.start()
        thread.join()
        assert now() == {1}  # the engine does not keep others from setting it
    assert slices._limit.get() is None


@needs_blas
def test_without_threadpoolctl_it_says_so_each_time(monkeypatch):
    """And counts nobody as inside."""

    def missing():
        raise ImportError("no threadpoolctl")

    with monkeypatch.context() as patch:
        patch.setattr(slices, "_blas", missing)
        for _ in range(2):
            with pytest.raises(ImportError), slices.one_blas_thread():
                pass
    assert slices._inside == 0
    with blas_of_two() as now, slices.one_blas_thread():
        assert now() == {1}


def test_callers_in_many_threads_get_their_own_numbers():
    problems = [problem("lstm", "float64", 4, 33, 6, 40, seed=seed) for seed in range(6)]
    wanted = [run(CELLS["lstm"].forward, CELLS["lstm"].backward, *p, {}) for p in problems]
    failures = []

    def work(index):
        try:
            for _ in range(4):
                call, arriving, lengths = problems[index]
                assert_close(
                    run(*find("sequence", "lstm", call[0], 40, 2), call, arriving, lengths, {}), wanted[index], 1e-12
                )
        except BaseException as error:
            failures.append(error)

    with constants("threads", "parts"):
        threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


@pytest.mark.parametrize("threads", [0, -1])
def test_no_threads_is_refused_wherever_it_is_given(threads):
    sentence = f"threads is {threads}: expected at least 1"
    for layer in LAYERS.values():
        with pytest.raises(ValueError, match=sentence):
            layer(2, 3, rng=np.random.default_rng(0), threads=threads)
    call, arriving, _ = problem("gru", "float64", 2, 3, 2, 4)
    _, cache = find("sequence", "gru", call[0], 4)[0](*call)
    forward, backward = find("sequence", "gru", call[0], 4, threads)
    both = find_together("sequence", "gru", call[0], threads)
    chosen = engines.choose(CELLS["gru"], call[0], 4, "sequence", threads)
    for attempt in (
        lambda: forward(*call),
        lambda: backward(arriving[0], cache),
        lambda: both[0]([call]),
        lambda: both[1]([(arriving[0], cache)]),
        lambda: chosen.forward_many([call]),
    ):
        with pytest.raises(ValueError, match=sentence):
            attempt()


FORK = """
import os, threading
import numpy as np
from scratchnet.layers import LSTM
from scratchnet_kernels.sequence_cpu import slices
slices.WORTH_A_THREAD = 1
layer = LSTM(3, 20, rng=np.random.default_rng(0), engine="sequence", threads=2)
x = np.random.default_rng(1).standard_normal((5, 40, 3))
y, cache = layer.forward(x)
libraries = slices._blas()
for library in libraries:
    slices._set(library, 2)
inside, leave = threading.Event(), threading.Event()
def other():
    with slices.one_blas_thread(), slices._lock:
        inside.set()
        leave.wait(60)
threading.Thread(target=other).start()
inside.wait(60)
child = os.fork()
if child == 0:
    try:
        again, cache = layer.forward(x)
        layer.backward(np.ones_like(again), cache)
        fine = np.array_equal(y, again) and all(library.num_threads == 2 for library in libraries)
        os._exit(0 if fine else 3)
    finally:
        os._exit(4)
import time
for _ in range(600):
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        break
    time.sleep(0.05)
else:
    os.kill(child, 9)
    status = "the child hangs"
leave.set()
print(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_can_run_it():
    """The parent's threads are not there any more, nor is the one that was inside, with the lock in its hand, to leave."""
    assert python(FORK.replace('"""', ""), PYTHONWARNINGS="ignore")[0] == "0\n"


def test_a_librarys_threads_are_set_from_any_thread():
    """By force, before: another thread may have been the last to set them. And after, for the next one."""
    calls = []

    class Library:
        def clear_controlling_thread(self, force):
            calls.append(force)

        def set_num_threads(self, count):
            calls.append(count)

    slices._set(Library(), 2)
    assert calls == [True, 2, True]


def test_what_a_loop_is_given_cannot_be_written():
    whole = np.arange(6.0).reshape(2, 3)
    for array in (whole, whole.T, whole[:, 1:]):
        given = slices.as_contiguous_readonly(array)
        assert (given.flags.c_contiguous, given.flags.writeable) == (True, False)
        np.testing.assert_array_equal(given, array)
    assert np.shares_memory(slices.as_contiguous_readonly(whole), whole)
    assert whole.flags.writeable


@needs_blas
def test_after_a_fork_nobody_else_is_inside():
    """What a child runs first: of the threads that were inside, only the one that forked is left, and it is not."""
    with blas_of_two() as now:
        with slices.one_blas_thread(), slices.one_blas_thread():
            assert now() == {1}
            slices._forked()
            assert (slices._inside, now()) == (0, {2})
            slices._enter()
            slices._enter()  # for the two that leave now
        slices._forked()
        assert (slices._inside, now()) == (0, {2})


@needs_compiler
def test_what_is_compiled_runs_beside_other_threads():
    for decorator in (compiled.time_loop, compiled.vector_loop):

        @decorator
        def loop(x):
            return x

        assert loop.targetoptions["nogil"] is True


# ---- memory -------------------------------------------------------------------------------------------------------------


def address(array):
    return array.__array_interface__["data"][0]


@pytest.fixture
def empty_store(monkeypatch):
    monkeypatch.setattr(memory, "_kept", 0)
    memory._free.clear()
    yield
    memory._free.clear()


@pytest.mark.usefixtures("empty_store")
def test_memory_is_used_again_when_no_view_is_left():
    n = memory.SMALL // 8
    a = memory.empty((2, n), np.float64)
    where, view = address(a), a[1:, 3:].T
    view[...] = 7.0
    del a
    b = memory.empty((2, n), np.float64)
    assert address(b) != where
    b[...] = 0.0
    assert (view == 7.0).all()
    del view
    c = memory.empty((n, 2, 2), np.float32)  # the same number of bytes
    assert address(c) == where
    assert c.flags.c_contiguous
    assert c.flags.writeable


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=60))
def test_living_arrays_share_no_memory(steps):
    """Arrays of a few sizes come and go in any order, each holding a number of its own."""
    living = {}
    for number, (make, which) in enumerate(steps):
        if make or not living:
            a = memory.empty((memory.SMALL // 8 * (1 + which % 3),), np.float64)
            a[...] = number
            living[number] = a[1:] if which % 2 else a
        else:
            del living[sorted(living)[which % len(living)]]
    for number, a in living.items():
        assert (a == number).all()
    spans = sorted((address(a), address(a) + a.nbytes) for a in living.values())
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


def test_living_arrays_share_no_memory_in_threads():
    failures = []

    def work(number):
        for k in range(300):
            a = memory.empty((memory.SMALL // 8 * (1 + k % 2),), np.float64)
            a[...] = number
            b = memory.empty((memory.SMALL // 8,), np.float64)
            b[...] = -number
            if not ((a == number).all() and (b == -number).all()):
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.usefixtures("empty_store")
def test_no_more_is_kept_than_allowed(monkeypatch):
    size = memory.SMALL * 2
    monkeypatch.setattr(memory, "KEPT", 3 * size)
    several = [memory.empty((size,), np.uint8) for _ in range(5)]
    assert memory._kept == 0
    del several
    assert memory._kept == sum(m.nbytes for kept in memory._free.values() for m in kept) == 2 * size  # three, none, two
    a = memory.empty((size,), np.uint8)
    assert memory._kept == size
    del a
    assert memory._kept == 2 * size
    del [memory.empty((10 * size,), np.uint8)][:]  # larger than all that may be kept
    assert memory._kept == 2 * size
    del [memory.empty((2 * size,), np.uint8)][:]  # of another size: it takes the room of those that nobody asks for
    assert memory._kept == sum(m.nbytes for kept in memory._free.values() for m in kept) == 2 * size
    assert [m.nbytes for kept in memory._free.values() for m in kept] == [2 * size]


@pytest.mark.usefixtures("empty_store")
def test_a_training_step_makes_its_arrays_in_the_memory_of_the_last(monkeypatch):
    layer = LSTM(16, 64, rng=np.random.default_rng(0), engine="sequence", dtype=np.float32)
    x = np.ones((20, 32, 16), np.float32)
    made = []
    with monkeypatch.context() as patch:
        patch.setattr(memory, "np", NumPyThatCounts(made))
        for _ in range(5):
            y, cache = layer.forward(x)
            layer.backward(np.ones_like(y), cache)
            del y, cache
            made.append("step")
    steps = [len(list(group)) for key, group in itertools.groupby(made, lambda m: m == "step") if not key]
    assert len(steps) == 1, steps  # only the first step had to ask for memory
    assert made[0] != "step"


class NumPyThatCounts:
    """NumPy for ``memory.py``, writing down the large arrays it makes."""

    def __init__(self, made):
        self.made = made

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype):
        if dtype is np.uint8:
            self.made.append(shape)
        return np.empty(shape, dtype)


@cells
def test_outputs_and_caches_keep_their_values(name, options):
    call, arriving, _ = problem(name, "float32", 12, 40, 8, 64)
    forward, backward = find("sequence", name, call[0], 64)
    y, cache = forward(*call, **options)
    assert not y.flags.writeable
    assert y.nbytes >= memory.SMALL
    grads = backward(arriving[0], cache)
    kept = [a for a in (y, *cache, *grads) if isinstance(a, np.ndarray)]
    copies = [a.copy() for a in kept]
    for seed in (1, 2, 3):
        other, arriving_other, _ = problem(name, "float32", 12, 40, 8, 64, seed=seed)
        backward(arriving_other[0], forward(*other, **options)[1])
    for a, b in zip(kept, copies):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("label", LAYERS)
def test_a_cache_can_be_pickled_and_copied(label):
    """As that of the array engine can; and its backward still runs, on the copy."""
    layer = LAYERS[label](6, 40, rng=np.random.default_rng(0), engine="sequence", threads=2)
    x = np.random.default_rng(1).standard_normal((12, 40, 6))
    y, cache = layer.forward(x)
    want = layer.backward(np.ones_like(y), cache)
    for copied in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert copied.engines[0].engine == "sequence"
        assert not np.shares_memory(copied.cell_caches[0].h, cache.cell_caches[0].h)
        np.testing.assert_array_equal(layer.backward(np.ones_like(y), copied), want)


def test_an_array_may_outlive_the_program():
    """At the end of a process modules are taken apart before the last arrays are gone."""
    code = """
import sys
import numpy as np
from scratchnet.layers import LSTM
y, cache = LSTM(3, 64, rng=np.random.default_rng(0), engine="sequence").forward(np.ones((40, 32, 3)))
class Ring: pass
ring = Ring(); ring.itself, ring.y = ring, y
sys.kept = cache
"""
    python(code)  # compiles where nothing is kept yet
    assert python(code) == ("", "")


# ---- the tanh -----------------------------------------------------------------------------------------------------------


@njit(error_model="numpy", fastmath={"contract"})
def tanh_of(x, out):
    for i in range(len(x)):
        out[i] = vector.tanh(x[i])


def tanh(x):
    out = np.empty_like(x)
    tanh_of(x, out)
    return out


def claimed():
    """The four numbers of vector.py's docstring: absolute in float32, in float64, relative in each."""
    text = " ".join(vector.__doc__.split())
    found = re.search(r"tanh: (\S+) in float32 and (\S+) in float64, absolute; relative (\S+) and (\S+)\.", text)
    return [float(number) for number in found.groups()]


@needs_compiler
def test_tanh_of_float32_over_its_whole_range():
    """One in 251 of all 2^32 bit patterns, and all of them close to where the exponent changes."""
    absolute, _, relative, _ = claimed()
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
    _, absolute, _, relative = claimed()
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
def test_only_what_a_vector_loop_has_is_in_a_cells_math():
    """A function with any other of NumPy's is refused when it is compiled, not computed one number at a time."""
    assert {name for name in vars(vector.MATH) if not name.startswith("__")} == {
        "tanh",
        "exp",
        "minimum",
        "maximum",
        "greater",
    }
    assert vector.vector(lstm.lstm.gates_forward) is lstm.gates_forward  # once for each function
    inner = lstm.gates_forward.__globals__["sigmoid"]
    assert inner.__globals__["np"] is vector.MATH
    assert lstm.lstm.gates_forward.__globals__["np"] is np  # the cell's own stays as it was


# ---- machine code -------------------------------------------------------------------------------------------------------


def vector_loops():
    """Every vector loop, also those that stand inside a function, by name."""
    for module in (blocks, lstm, gru, gru_reset_before, rnn):
        found = {
            name: value for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
        }
        for kind, both in getattr(module, "SLICES", {}).items():
            for loop in both:
                inside = inspect_closure(loop)
                found |= {f"{kind} {name}": inner for name, inner in inside.items()}
        for name, loop in found.items():
            if getattr(getattr(loop, "_compiler", None), "pipeline_class", None) is compiled._NoOverlap:
                yield pytest.param(loop, id=f"{module.__name__.rpartition('.')[2]} {name}")


def inspect_closure(loop):
    function = getattr(loop, "py_func", loop)
    return dict(zip(function.__code__.co_freevars, (cell.cell_contents for cell in function.__closure__)))


def machine_code(loop, dtype, monkeypatch):
    """LLVM's optimised code of a vector loop, compiled now: what comes from disk cannot be looked at."""
    function = loop.py_func
    strided = ("z", "n") if loop is gru_reset_before.update_step else ()

    def type_of(name):
        if name == "t":
            return types.intp
        if name == "lengths":
            return types.Array(types.intp, 1, "C")
        dimensions = {"m": 3, "parts": 3, "ds": 3, "b_hn": 1}.get(name, 2)
        return types.Array(dtype, dimensions, "A" if name in strided else "C", readonly=name in ("dy", "b_hn"))

    monkeypatch.setattr(compiled, "_kept", lambda loop: loop)
    signature = tuple(map(type_of, function.__code__.co_varnames[: function.__code__.co_argcount]))
    again = compiled.vector_loop(function)
    again.compile(signature)
    return again.inspect_llvm(signature)


@needs_compiler
def test_there_is_a_vector_loop_for_each_cell_and_direction():
    found = [param.id.split()[0] for param in vector_loops()]
    assert {name: found.count(name) for name in set(found)} == {
        "blocks": 1,
        "lstm": 2,
        "gru": 2,
        "gru_reset_before": 4,
        "rnn": 4,
    }


@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="widths are those of x86")
@pytest.mark.parametrize("dtype", [types.float32, types.float64], ids=str)
@pytest.mark.parametrize("loop", list(vector_loops()))
def test_a_vector_loop_is_vector_instructions(loop, dtype, monkeypatch):
    """All of its arithmetic, tanh's division and its conversion to bits included; and no float64 in float32."""
    code = machine_code(loop, dtype, monkeypatch)
    letters, least = {"float32": ("float", 4), "float64": ("double", 2)}[str(dtype)]
    scalar, wide = (
        re.findall(rf"= (f(?:add|mul|sub|div|ptosi)) [^\n]*?{what}", code)
        for what in (rf"\b{letters} %", rf"<\d+ x {letters}>")
    )
    sse2 = numba.config.CPU_NAME == "generic"  # its registers hold two float64
    if sse2 and dtype == types.float64 and not wide and {*scalar} <= {"fadd", "fmul"}:
        pytest.skip("LLVM leaves a loop of one product and one sum scalar, two at a time gain nothing")
    assert set(scalar) <= set(wide)
    assert wide
    assert all(int(n) >= least for n in re.findall(rf"<(\d+) x {letters}>", code) if n != "1")
    has_tanh = "rnn" not in loop.py_func.__module__ and loop.py_func.__name__ in (
        "forward_step",
        "reset_step",
        "update_step",
    )
    assert not has_tanh or {"fdiv", "fptosi"} <= set(wide)
    assert not re.search(r"\btanhf?\b", code)
    assert "alias.scope" not in code  # nor does it ask at run time whether arrays overlap
    assert dtype == types.float64 or not re.search(r"\bdouble\b", code)


RNN_STEP = """
import numpy as np
from scratchnet.layers import RNN
for kind in ("tanh", "relu"):
    layer = RNN(1, 1, kind, rng=np.random.default_rng(0), engine="sequence", dtype=np.float32)
    for p in layer.params.values():
        p[...] = 1
    print(layer.forward(np.full((1, 1, 1), -0.5, np.float32))[0].item())
"""


@needs_compiler
def test_machine_code_is_kept_until_the_math_changes(tmp_path):
    """Compiled once, said so, found again by another process; and never used for another text of the cell's file."""
    shutil.copytree(ROOT / "scratchnet", tmp_path / "scratchnet", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    run_it = partial(python, RNN_STEP, tmp_path, NUMBA_CACHE_DIR=str(tmp_path / "cache"))
    first, said = run_it(PYTHONHASHSEED="1")
    assert np.allclose([float(v) for v in first.split()], [np.tanh(0.5), 0.5])  # -0.5 + 1
    lines = said.splitlines()
    assert len(lines) == 5  # a loop over time and a vector loop for each of the two, one multiplication for both
    assert all(
        re.fullmatch(r"scratchnet: compiling sequence_cpu\.\w+\.\w+, and keeping it for the next time", line)
        for line in lines
    )
    kept = sorted((tmp_path / "cache").rglob("*.nb*"))
    assert run_it(PYTHONHASHSEED="2") == (first, "")
    cell = tmp_path / "scratchnet" / "cells" / "rnn.py"
    text = cell.read_text(encoding="utf-8")
    assert text.count("return np.tanh(a)") == 1
    cell.write_text(text.replace("return np.tanh(a)", "return np.tanh(a + a)"), encoding="utf-8")
    edited, said = run_it()
    assert np.allclose([float(v) for v in edited.split()], [np.tanh(1.0), 0.5])
    assert said.splitlines() == lines
    assert sorted((tmp_path / "cache").rglob("*.nb*")) == kept  # the old code is not left behind
    assert run_it() == (edited, "")


ONE_STEP = RNN_STEP.replace('("tanh", "relu")', "KINDS")


def merge_caches(source, target):
    """What two processes leave that write to one cache: all machine code, and indexes with the entries of both."""
    for file in sorted(path for path in source.rglob("*.nb*") if path.is_file()):
        there = target / file.relative_to(source)
        there.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".nbc" or not there.exists():
            shutil.copy(file, there)
            continue
        parts = []
        for path in (there, file):  # Numba's version, then, pickled by itself, the sources' stamp and the entries
            with path.open("rb") as index:
                parts.append((pickle.load(index), *pickle.loads(index.read())))
        version, stamp, entries = parts[0]
        there.write_bytes(pickle.dumps(version) + pickle.dumps((stamp, parts[1][2] | entries)))


@needs_compiler
@pytest.mark.parametrize("order", [("tanh", "relu"), ("relu", "tanh")])
def test_two_processes_compile_loops_that_a_third_does_not_confuse(tmp_path, order):
    """Machine code is linked by name. Both had compiled their loop as the first one, under one name, and relu was tanh."""
    caches = {kind: tmp_path / kind for kind in order}
    for kind, cache in caches.items():
        python(ONE_STEP.replace("KINDS", repr((kind,))), NUMBA_CACHE_DIR=str(cache))
    together = tmp_path / "together"
    for cache in caches.values():
        merge_caches(cache, together)
    printed, _ = python(ONE_STEP.replace("KINDS", repr(order)), NUMBA_CACHE_DIR=str(together))
    expected = {"tanh": np.tanh(0.5), "relu": 0.5}
    assert np.allclose([float(v) for v in printed.split()], [expected[kind] for kind in order])


@needs_compiler
@pytest.mark.parametrize("damage", [b"", b"\x80\x04", b"not a pickle"])
@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_damaged_machine_code_is_compiled_again(tmp_path, kind, damage):
    """A file cut short, by a full disk or a kill, failed every forward pass from then on."""
    run_it = partial(python, ONE_STEP.replace("KINDS", "('tanh',)"), NUMBA_CACHE_DIR=str(tmp_path))
    right, _ = run_it()
    for file in tmp_path.rglob(f"*.{kind}"):
        file.write_bytes(damage)
    again, said = run_it()
    assert again == right
    assert said.count("compiling") == 3
    assert run_it() == (right, "")


EVERY_CELL = """
import numpy as np
from scratchnet.cells import CELLS, variants
from scratchnet_kernels import KERNELS, find
rng = np.random.default_rng(0)
names = {id(cell): name for name, cell in CELLS.items()}
for dtype in (np.float32, np.float64):
    for _, cell, options in variants():
        if ("sequence", names[id(cell)]) not in KERNELS:
            continue
        shapes = [(3, 18, 2), *[(18, 20)] * len(cell.STATES), *cell.param_shapes(2, 20).values()]
        call = [rng.uniform(-1, 1, s).astype(dtype) for s in shapes]
        results = []
        for forward, backward in (find("sequence", names[id(cell)], call[0], 20), (cell.forward, cell.backward)):
            y, cache = forward(*call, **options, lengths=[3, 2, 1] * 6)
            results.append([y, *backward(y, cache)])
        for got, want in zip(*results):
            assert got.dtype == want.dtype == dtype
            np.testing.assert_allclose(got, want, rtol=0, atol=np.abs(want).max() * (2e-6 if dtype == np.float32 else 1e-12))
print("equal")
"""


@needs_compiler
def test_a_second_process_compiles_nothing():
    """Of any cell, in either type, where Numba keeps code by itself: beside the package."""
    assert python(EVERY_CELL)[0] == "equal\n"
    assert python(EVERY_CELL, PYTHONHASHSEED="3") == ("equal\n", "")


def test_a_debugger_can_enter():
    """With NUMBA_DISABLE_JIT=1 Python runs the loops themselves; nothing is compiled, nothing said."""
    assert python(EVERY_CELL, NUMBA_DISABLE_JIT="1") == ("equal\n", "")


@needs_compiler
def test_code_that_cannot_be_kept_runs_all_the_same(monkeypatch, capfd):
    """No folder that can be written to, or a disk that is full: each process compiles for itself."""

    def add_one(a):
        for i in range(len(a)):
            a[i] += 1

    def full(*_):
        raise OSError("no space left on device")

    def nowhere(loop):
        raise RuntimeError("cannot cache function: no locator available")

    a = np.zeros(3)
    with monkeypatch.context() as patch:
        patch.setattr(compiled._File, "save", full)
        compiled.vector_loop(add_one)(a)
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "_Kept", nowhere)
        compiled.time_loop(add_one)(a)
    assert a.tolist() == [2, 2, 2]


@needs_compiler
def test_what_is_compiled_is_known_by_the_text_that_was_loaded():
    """Not by the file as it is when a loop is first called: by then somebody may have edited it, and Python has the old one."""
    code = """
from scratchnet_kernels import compiled, find
print(compiled.sources.cache_info().currsize)
"""
    assert python(code)[0] == "1\n"


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
        found[engine] |= {f"window {k}": v for k, v in cache.engines[0].backward(dy[2:6], window)._asdict().items()}
        assert cache.engines[0].engine == engine
    assert_close(found["sequence"], found["array"], 1e-12)
    assert ("sequence", name) in KERNELS
    assert name in sequence_cpu.LOOPS
    losses = {}
    for engine in ("array", "sequence"):
        layer = LAYERS[label](3, 24, rng=np.random.default_rng(3), engine=engine)
        losses[engine] = []
        for streamed in bptt.stream(layer, x, np.zeros((9, 20, 24)), mse, k1=2, k2=4):
            losses[engine].append(streamed.loss)
            for p, g in zip(layer.params.values(), layer.grads.values()):
                p -= 0.1 * g
    np.testing.assert_allclose(losses["sequence"], losses["array"], rtol=1e-10)


def test_compiled_code_is_made_again_when_a_file_of_it_changes(tmp_path, monkeypatch):
    """Every cell, the elementwise functions they share, and the kernels: a stale loop would go on with the old math."""
    from scratchnet import elementwise
    from scratchnet_kernels import compiled

    library = shutil.copytree(Path(elementwise.__file__).parent, tmp_path / "scratchnet")
    package = shutil.copytree(Path(compiled.__file__).parent, tmp_path / "scratchnet_kernels")
    monkeypatch.setattr(elementwise, "__file__", str(library / "elementwise.py"))
    monkeypatch.setattr(compiled, "__file__", str(package / "compiled.py"))
    key = compiled.sources.__wrapped__  # without the answer that is kept for the process
    files = [library / "elementwise.py", *(library / "cells").glob("*.py"), *package.rglob("*.py")]
    assert len({file.name for file in files}) > 12
    seen = {key()}
    for file in files:
        file.write_text(file.read_text() + "\n")
        assert key() not in seen, file
        seen.add(key())
    (library / "losses.py").write_text("")
    assert key() in seen


@cells
def test_nothing_is_read_before_it_is_written(name, options, monkeypatch):
    """Memory that is used again holds anything: NaN in it reaches no result, of padding neither."""

    class Poisoned(list):
        def pop(self):
            return np.full(self.size, 255, np.uint8)  # a NaN in either type

    class Free(dict):
        def __missing__(self, size):
            found = self[size] = Poisoned()
            found.size = size
            return found

    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "_kept", 0)
    monkeypatch.setattr(memory, "_free", Free())
    assert np.isnan(memory.empty((2, 3), np.dtype(np.float32))).all()
    call, arriving, lengths = problem(name, "float64", 5, 4, 3, 6, True, 0)
    got = run(*find("sequence", name, call[0], 6), call, arriving, lengths, options)
    want = run(CELLS[name].forward, CELLS[name].backward, call, arriving, lengths, options)
    assert_close(got, want, 2 * cell_tolerance(CELLS[name], "float64", 5, 4, 3, 6))


@cells
def test_the_work_of_a_pass_is_that_of_its_recurrent_products(name, options, monkeypatch):
    """T N multiply-adds for each recurrent weight, of both directions together: it says how many threads share them."""
    works = []

    def spy(tasks, work):
        works.append(work)
        for task in tasks:
            task()

    monkeypatch.setattr(slices, "run_all", spy)
    call, arriving, _ = problem(name, "float64", 5, 4, 3, 6, False, 0)
    forward, backward = find_together("sequence", name, call[0])
    (_, one), (_, other) = forward([call, call], **options)
    backward([(arriving[0], one, *arriving[1:]), (arriving[0], other, *arriving[1:])])
    assert works == [2 * 5 * 4 * one.W_h.size] * 2


def test_processors_are_counted_where_affinity_is_not_known(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for counted, expected in ((5, 5), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda counted=counted: counted)
        assert slices.available() == expected
        # the thread that hands out the work takes a share of it
        assert slices._pool.__wrapped__(0)._max_workers == max(1, expected - 1)
