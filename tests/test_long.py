"""Long sequences: forward in chunks, and full BPTT that keeps the states of every k-th step only."""

import tracemalloc

import numpy as np
import pytest
from scratchnet.cells import CELLS
from scratchnet.errors import InvalidValueError
from scratchnet.layers import (
    GRU,
    LSTM,
    RNN,
    BatchNorm1d,
    Conv1d,
    Dropout,
    Linear,
    MaskedLSTM,
    Recurrent,
    Sequential,
    Tanh,
    VariationalDropout,
)
from scratchnet.losses import huber, mse
from scratchnet.training.bptt import full, stream
from scratchnet.training.long import forward_chunks, full_recomputed

T, N, D, H, K = 23, 3, 2, 4, 2


def model_of(cell, seed=0, **options):
    rng = np.random.default_rng(seed)
    recurrent = Recurrent(cell, D, H, rng=rng, num_layers=2, **options)
    return Sequential(rec=recurrent, tanh=Tanh(), drop=Dropout(0.3, rng=rng), head=Linear(H, K, rng=rng))


def segments_kept(model, x, target, loss, k):
    """The same segments, with the cache of each kept: what full_recomputed is equal to, to the bit."""
    caches, outputs, state, dstate = [], [], None, None
    for start in range(0, len(x), k):
        y, cache = model.forward(x[start : start + k], training=True, state=state)
        caches.append(cache)
        outputs.append(y)
        state = cache.state_last
    value, dy = loss(np.concatenate(outputs), target)
    for start, cache in reversed([*zip(range(0, len(x), k), caches)]):
        _, dstate = model.backward_state(dy[start : start + k], cache, dstate)
    return value


@pytest.mark.parametrize("k", [1, 2, 5, 22, 23, 100, None])
@pytest.mark.parametrize("cell", [name for name in CELLS if name != "lstm_masked"])
def test_recomputed_gradients_are_those_of_kept_caches_to_the_bit(cell, k, rng):
    x, target = rng.standard_normal((T, N, D)), rng.standard_normal((T, N, K))
    ours, kept, whole = model_of(cell), model_of(cell), model_of(cell)
    value = full_recomputed(ours, x, target, huber, every=k)
    assert value == segments_kept(kept, x, target, huber, 5 if k is None else k)
    for name, grad in kept.grads.items():
        np.testing.assert_array_equal(ours.grads[name], grad, err_msg=name)
    assert ours.layers["rec"].rng.random() == kept.layers["rec"].rng.random()  # as many draws
    # one pass over all of T draws its dropout masks in another order: compare without
    for model in (ours, whole):
        model.zero_grad()
        model.layers["drop"].p = 0.0
    value = full_recomputed(ours, x, target, huber, every=k)
    assert value == pytest.approx(full(whole, x, target, huber), rel=1e-14)
    for name, grad in whole.grads.items():
        np.testing.assert_allclose(ours.grads[name], grad, rtol=1e-12, atol=1e-14, err_msg=name)


@pytest.mark.parametrize("engine", ["array", "step", "sequence"])
@pytest.mark.parametrize("make", [RNN, LSTM, GRU])
def test_every_engine_and_an_initial_state(make, engine, rng):
    pytest.importorskip("numba")
    layers = [make(D, H, rng=np.random.default_rng(1), engine=engine) for _ in range(2)]
    x, target = rng.standard_normal((T, N, D)), rng.standard_normal((T, N, H))
    state = tuple(rng.standard_normal((1, N, H)) for _ in layers[0].cell.STATES)
    value = full_recomputed(layers[0], x, target, mse, every=4, state=state)
    y, cache = layers[1].forward(x, state=state)
    expected, dy = mse(y, target)
    layers[1].backward(dy, cache)
    assert value == pytest.approx(expected, rel=1e-14)
    for name, grad in layers[1].grads.items():
        np.testing.assert_allclose(layers[0].grads[name], grad, rtol=1e-12, atol=1e-14, err_msg=name)


def test_memory_is_bounded(rng):
    """The peak of one pass grows with T; that of sqrt(T) steps at a time by the outputs alone."""
    peaks = {}
    for T in (400, 6400):
        model = Sequential(LSTM(2, 16, rng=np.random.default_rng(0), engine="array"), Linear(16, 1, rng=rng))
        x, target = rng.standard_normal((T, 2, 2)), rng.standard_normal((T, 2, 1))
        for run in (full, full_recomputed):
            tracemalloc.start()
            run(model, x, target, mse)
            peaks[run, T] = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    assert peaks[full, 6400] > 12 * peaks[full, 400]
    assert peaks[full_recomputed, 6400] < 6 * peaks[full_recomputed, 400]  # 4 times sqrt(T), and y, dy
    assert peaks[full_recomputed, 6400] < peaks[full, 6400] / 10


@pytest.mark.slow
def test_a_million_steps(rng):
    """One pass would keep 1.9 GB; here the peak stays below 120 MB, of which y, dy and the states are 24."""
    model = Sequential(LSTM(1, 32, rng=np.random.default_rng(0), engine="array"), Linear(32, 1, rng=rng))
    x = rng.standard_normal((10**6, 1, 1))
    tracemalloc.start()
    value = full_recomputed(model, x, np.zeros_like(x), mse)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() and g.any() for g in model.grads.values())
    assert peak < 120e6


@pytest.mark.parametrize("cell", CELLS)
def test_forward_in_chunks_is_forward(cell, rng):
    model, x = model_of(cell), rng.standard_normal((T, N, D))
    expected = model.forward(x)[0]
    for cuts in ([], [1], [22], [3, 4, 19], range(1, T)):
        chunks = [*forward_chunks(model, iter(np.split(x, cuts)))]
        np.testing.assert_allclose(np.concatenate([c.y for c in chunks]), expected, rtol=1e-13, atol=1e-15)
    again = [*forward_chunks(model, [x[:5]], chunks[-1].state)]
    whole = model.forward(np.concatenate([x, x[:5]]))[0]
    np.testing.assert_allclose(again[0].y, whole[T:], rtol=1e-13, atol=1e-15)


def test_chunks_take_the_memory_of_one(rng):
    layer = LSTM(2, 16, rng=rng, engine="array")

    def peak(count):
        tracemalloc.start()
        for _ in forward_chunks(layer, (np.ones((100, 4, 2)) for _ in range(count))):
            pass
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    peak(2)
    assert peak(60) < 1.05 * peak(3)


def test_models_that_cannot_be_cut_in_time(rng):
    x = rng.standard_normal((T, N, D))
    cases = {
        "bidirectional": LSTM(D, H, rng=rng, bidirectional=True),
        "batch_first": LSTM(D, H, rng=rng, batch_first=True),
        "return_sequences": LSTM(D, H, rng=rng, return_sequences=False),
        "looks at several steps": Sequential(conv=Conv1d(D, D, 3, rng=rng), rec=LSTM(D, H, rng=rng)),
        "has no recurrent layer": Linear(D, H, rng=rng),
    }
    for words, model in cases.items():
        with pytest.raises(InvalidValueError, match=words):
            full_recomputed(model, x, x, mse)
        with pytest.raises(InvalidValueError, match=words):
            forward_chunks(model, [x])
        with pytest.raises(InvalidValueError, match=words):
            stream(model, x, x, mse, 5)
    for layer in (BatchNorm1d(D), VariationalDropout(0.5, rng=rng)):
        with pytest.raises(InvalidValueError, match="cannot be had in segments"):
            full_recomputed(Sequential(layer, LSTM(D, H, rng=rng)), x, np.zeros((T, N, H)), mse)
    with pytest.raises(InvalidValueError, match="cannot be had in segments"):
        full_recomputed(MaskedLSTM(D, H, rng=rng), x, np.zeros((T, N, H)), mse)
    with pytest.raises(InvalidValueError, match="one target for each step"):
        full_recomputed(LSTM(D, H, rng=rng), x, x[1:], mse)
    with pytest.raises(InvalidValueError, match="every is 0"):
        full_recomputed(LSTM(D, H, rng=rng), x, x, mse, every=0)
