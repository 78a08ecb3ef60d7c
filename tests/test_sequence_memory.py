"""Memory of the ``sequence`` engine on the CPU: large arrays whose memory is used again, and no array that shares one."""

import copy
import itertools
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scratchnet.layers import LSTM
from scratchnet_kernels.sequence_cpu import memory

from calls import pair
from sequence_problems import LAYERS, cells, problem, python


def empty(shape, dtype):
    return memory.empty(np.empty(0, dtype), shape)


def address(array):
    return array.__array_interface__["data"][0]


@pytest.fixture
def empty_store(monkeypatch):
    found = memory._Store()
    monkeypatch.setattr(memory, "store", found)
    return found


@pytest.mark.usefixtures("empty_store")
def test_memory_is_used_again_when_no_view_is_left():
    n = memory.SMALL // 8
    a = empty((2, n), np.float64)
    where, view = address(a), a[1:, 3:].T
    view[...] = 7.0
    del a
    b = empty((2, n), np.float64)
    assert address(b) != where
    b[...] = 0.0
    assert (view == 7.0).all()
    del view
    c = empty((n, 2, 2), np.float32)  # the same number of bytes
    assert address(c) == where
    assert c.flags.c_contiguous
    assert c.flags.writeable


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40)), max_size=60))
def test_living_arrays_share_no_memory(steps):
    """Arrays of a few sizes come and go in any order, each holding another number."""
    living = {}
    for number, (make, which) in enumerate(steps):
        if make or not living:
            a = empty((memory.SMALL // 8 * (1 + which % 3),), np.float64)
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
            a = empty((memory.SMALL // 8 * (1 + k % 2),), np.float64)
            a[...] = number
            b = empty((memory.SMALL // 8,), np.float64)
            b[...] = -number
            if not ((a == number).all() and (b == -number).all()):
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def kept(store):
    """The sizes of what is kept; the count of bytes is right."""
    sizes = sorted(m.nbytes for m in store.free)
    assert sum(sizes) == store.kept
    return sizes


def test_no_more_is_kept_than_allowed(empty_store, monkeypatch):
    size = memory.SMALL * 2
    monkeypatch.setattr(memory, "KEPT", 3 * size)
    several = [empty((size,), np.uint8) for _ in range(5)]
    assert kept(empty_store) == []
    del several
    assert kept(empty_store) == [size] * 3
    a = empty((size,), np.uint8)
    assert kept(empty_store) == [size] * 2
    del a
    assert kept(empty_store) == [size] * 3
    del [empty((10 * size,), np.uint8)][:]  # larger than all that may be kept
    assert kept(empty_store) == [size] * 3
    del [empty((2 * size,), np.uint8)][:]  # of another size: it takes the room of those that nobody asks for
    assert kept(empty_store) == [size, 2 * size]


@pytest.mark.usefixtures("empty_store")
def test_memory_that_is_not_in_use_at_one_time(monkeypatch):
    """An array of the way forward, which is gone before the others are there, does not cost those their memory."""
    made = []
    monkeypatch.setattr(memory, "np", NumPyThatCounts(made))
    sizes = [(memory.SMALL + n,) for n in range(4)]
    for _ in range(3):
        del [empty(sizes[0], np.uint8)][:]
        others = [empty(size, np.uint8) for size in sizes[1:]]
        del others
    assert made == [size for (size,) in sizes]


def test_there_is_no_more_than_twice_what_was_in_use(empty_store):
    """Batches of many lengths: a process needs no more than twice what it would need without a store."""
    assert 10**8 < memory.KEPT == memory.eighth_of_memory()
    for n in range(50):
        both = [empty((memory.SMALL + n,), np.uint8) for _ in range(2)]
        assert empty_store.used == empty_store.most_used == 2 * (memory.SMALL + n)
        assert sum(kept(empty_store)) <= empty_store.most_used
        del both
        assert sum(kept(empty_store)) <= 2 * empty_store.most_used
    assert empty_store.used == 0


@pytest.mark.usefixtures("empty_store")
@pytest.mark.parametrize(("D", "H"), [(16, 64), (64, 128)])
def test_a_training_step_makes_its_arrays_in_the_memory_of_the_last(D, H, monkeypatch):
    layer = LSTM(D, H, rng=np.random.default_rng(0), engine="sequence", dtype=np.float32)
    x = np.ones((20, 32, D), np.float32)
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
    forward, backward = pair(name, call[0], 64, "sequence")
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
        assert copied.engines[0].name == "sequence"
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
