"""Numbers at the edge: finite results or a clear error, in both types and every engine, against exact arithmetic."""

import math

import mpmath
import numpy as np
import pytest
from scratchnet import engines, losses
from scratchnet.cells import CELLS
from scratchnet.errors import NotFiniteError, ScratchnetError
from scratchnet.layers import GRU, LSTM, RNN, Linear, Sequential
from scratchnet.losses import mse
from scratchnet.training import fit
from scratchnet.training.clip import CLIPS
from scratchnet.training.optim import OPTIMIZERS, SGD, Adam, RMSprop

from calls import pair

mpmath.mp.dps = 60

EXACT = ("rnn", "lstm", "gru", "gru_reset_before")
ENGINES = [(engine, cell) for engine in engines.ENGINES[1:] if engine not in engines.ON_GPU_ONLY for cell in EXACT]
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


# ---- the cells in exact arithmetic ---------------------------------------------------------------------------------------


def sigmoid(a):
    return 1 / (1 + mpmath.exp(-a))


def tanh(a):
    e = mpmath.exp(-2 * abs(a))
    return mpmath.sign(a) * (1 - e) / (1 + e)


def product(v, W):
    return [mpmath.fsum(a * row[j] for a, row in zip(v, W)) for j in range(len(W[0]))]


def step(cell, x, h, c, p):
    """One step of a cell, from its equations alone: h, c."""
    H = len(h)
    ax = [a + b for a, b in zip(product(x, p["W_x"]), p["b"])]
    m = product(h, p["W_h"])
    if cell == "rnn":
        return [tanh(a + b) for a, b in zip(ax, m)], c
    if cell == "lstm":
        a = [u + v for u, v in zip(ax, m)]
        i, f, o = (list(map(sigmoid, a[k * H : (k + 1) * H])) for k in (0, 1, 3))
        g = list(map(tanh, a[2 * H : 3 * H]))
        c = [f[k] * c[k] + i[k] * g[k] for k in range(H)]
        return [o[k] * tanh(c[k]) for k in range(H)], c
    r, z = (list(map(sigmoid, [ax[k * H + j] + m[k * H + j] for j in range(H)])) for k in (0, 1))
    if cell == "gru":
        n = [tanh(ax[2 * H + j] + r[j] * (m[2 * H + j] + p["b_hn"][j])) for j in range(H)]
    else:
        s = product([r[j] * h[j] for j in range(H)], [row[2 * H :] for row in p["W_h"]])
        n = [tanh(ax[2 * H + j] + s[j]) for j in range(H)]
    return [(1 - z[j]) * n[j] + z[j] * h[j] for j in range(H)], c


def exact_loss(cell, arguments, dy):
    """sum(y dy) of a run over one sequence."""
    values = {key: np.vectorize(mpmath.mpf, otypes=[object])(a) for key, a in arguments.items()}
    p = {key: a.tolist() for key, a in values.items() if key[0] in "Wb"}
    h, c = values["h0"][0].tolist(), values["c0"][0].tolist() if "c0" in values else None
    total, ys = mpmath.mpf(0), []
    for x, d in zip(values["x"][:, 0].tolist(), dy[:, 0].tolist()):
        h, c = step(cell, x, h, c, p)
        total += mpmath.fsum(a * mpmath.mpf(b) for a, b in zip(h, d))
        ys.append([float(a) for a in h])
    return total, np.array(ys)[:, None]


def exact_gradient(cell, arguments, dy, key):
    """Central differences with 60 digits: exact to 20."""
    array, out = arguments[key], np.empty(arguments[key].shape)
    for place in np.ndindex(array.shape):
        size = mpmath.mpf(10) ** -20 * max(1, abs(mpmath.mpf(float(array[place]))))
        at = []
        for sign in (1, -1):
            moved = array.astype(object)
            moved[place] = mpmath.mpf(float(array[place])) + sign * size
            at.append(exact_loss(cell, {**arguments, key: moved}, dy)[0])
        out[place] = float((at[0] - at[1]) / (2 * size))
    return out


def arguments_of(cell, rng, scale_x, scale_w, T=3, D=2, H=2):
    shapes = {"x": (T, 1, D)} | {f"{s}0": (1, H) for s in CELLS[cell].STATES} | CELLS[cell].param_shapes(D, H)
    scale = {"x": scale_x, "W_x": scale_w, "W_h": scale_w}
    return {key: scale.get(key, 0.5) * rng.uniform(-1, 1, shape) for key, shape in shapes.items()}


@dtypes
@pytest.mark.underflows
@pytest.mark.parametrize(("engine", "cell"), ENGINES)
@pytest.mark.parametrize(("scale_x", "scale_w"), [(1, 1), (30, 1), (1e30, 1), (1e-40, 1), (0, 1), (1, 30), (1e5, 1e-5)])
def test_small_cases_are_those_of_exact_arithmetic(engine, cell, scale_x, scale_w, dtype, rng):
    """Outputs to a few eps of 1. A gradient to a few eps of the largest product that it is a sum of.

    d_sigmoid(s) = s (1 - s) and d_tanh(y) = 1 - y^2 are each exact to eps, absolutely; what they are multiplied with on
    the way back is at most |dy|, |W|, |x| and the states, T times.
    """
    arguments = {key: a.astype(dtype) for key, a in arguments_of(cell, rng, scale_x, scale_w).items()}
    dy = rng.uniform(-1, 1, (3, 1, 2)).astype(dtype)
    forward, backward = pair(cell, arguments["x"], 2, engine)
    y, cache = forward(*arguments.values())
    grads = backward(dy, cache)
    exact_y = exact_loss(cell, arguments, dy)[1]
    eps = np.finfo(dtype).eps
    inside = max(1.0, min(scale_x, 40.0)) * max(1.0, min(scale_w, 40.0))  # the size of a that still moves a gate
    np.testing.assert_allclose(y, exact_y, rtol=0, atol=20 * eps * inside)
    way = max(1.0, 2 * scale_w) ** 3
    for key in arguments:
        got = getattr(grads, f"d{key}")
        assert np.isfinite(got).all(), key
        factor = max(1.0, scale_x) if key == "W_x" else max(1.0, scale_w) if key == "x" else 1.0
        atol = 40 * eps * inside * way * factor
        np.testing.assert_allclose(got, exact_gradient(cell, arguments, dy, key), rtol=0, atol=atol, err_msg=key)


# ---- long, small, saturated, huge ----------------------------------------------------------------------------------------


@dtypes
@pytest.mark.underflows
@pytest.mark.parametrize("cell", CELLS)
def test_extreme_inputs_give_finite_numbers(cell, dtype, rng):
    largest = float(np.finfo(dtype).max)
    small = float(np.finfo(dtype).smallest_subnormal)
    for x in (0.0, 1.0, -1.0, 1e5, -1e5, 1e30, small, -small, float(np.finfo(dtype).tiny), largest**0.5):
        shapes = {"x": (4, 2, 3)} | {f"{s}0": (2, 4) for s in CELLS[cell].STATES} | CELLS[cell].param_shapes(3, 4)
        arguments = {key: rng.uniform(-1, 1, shape).astype(dtype) for key, shape in shapes.items()}
        arguments["x"][...] = x  # all equal: nothing to normalise by
        y, cache = CELLS[cell].forward(**arguments)
        grads = CELLS[cell].backward(np.ones_like(y), cache)
        assert np.isfinite(y).all()
        for name, grad in grads._asdict().items():
            assert np.isfinite(grad).all(), (name, x)


@dtypes
@pytest.mark.underflows
@pytest.mark.parametrize("engine", ["array", "step", "sequence"])
@pytest.mark.parametrize("make", [RNN, LSTM, GRU])
def test_ten_thousand_steps_of_saturated_gates(make, engine, dtype):
    """One unit, one sequence: shut gates stay shut, and a gradient that dies is 0 and not NaN."""
    layer = make(1, 1, rng=np.random.default_rng(0), engine=engine, dtype=dtype)
    for name, p in layer.params.items():
        p[...] = 0 if name.startswith("b") else 50
    for sign in (1, -1):
        x = np.full((10_000, 1, 1), sign, dtype)
        y, cache = layer.forward(x)
        dx = layer.backward(np.ones_like(y), cache)
        assert np.isfinite(y).all()
        assert np.isfinite(dx).all()
        assert all(np.isfinite(g).all() for g in layer.grads.values())


@pytest.mark.underflows
@pytest.mark.parametrize("make", [RNN, LSTM, GRU])
def test_a_hundred_thousand_steps(make, rng):
    """float32 against float64: errors do not grow with T where the cell forgets."""
    layer = make(2, 3, rng=np.random.default_rng(0), engine="sequence")
    x = rng.standard_normal((100_000, 1, 2))
    results = []
    for dtype in (np.float64, np.float32):
        layer.astype(dtype)
        layer.zero_grad()
        y, cache = layer.forward(x.astype(dtype))
        layer.backward(np.ones_like(y), cache)
        results.append((y, {name: g.copy() for name, g in layer.grads.items()}))
    (exact, grads), (y, rounded) = results
    np.testing.assert_allclose(y, exact, rtol=0, atol=1e-5)
    for name, grad in grads.items():  # sums of 1e5 terms: sqrt(n) eps of their size
        size = np.abs(grad).max() + math.sqrt(len(x))
        np.testing.assert_allclose(rounded[name], grad, rtol=0, atol=math.sqrt(len(x)) * 1.2e-7 * size)


@dtypes
@pytest.mark.underflows
@pytest.mark.parametrize("kind", CLIPS)
@pytest.mark.parametrize("engine", ["array", "step"])
def test_every_clip_meets_huge_tiny_and_broken_gradients(kind, engine, dtype):
    pytest.importorskip("numba")
    largest = float(np.finfo(dtype).max)
    for value in (
        1e38,
        largest,
        largest / 10,
        1e30,
        float(np.finfo(dtype).tiny),
        float(np.finfo(dtype).smallest_subnormal),
    ):
        grads = {"W": np.full((3, 2), value, dtype), "b": np.full(4, -value, dtype)}
        before = {name: g.copy() for name, g in grads.items()}
        try:
            CLIPS[kind](grads, 1.0, engine)
        except NotFiniteError:  # the norm of several of the largest numbers is beyond float64
            assert dtype is np.float64
            assert value > 1e300
            for name, g in grads.items():
                np.testing.assert_array_equal(g, before[name])
            continue
        limit = 1 + 1e-5
        assert all((np.abs(g) <= limit).all() and np.isfinite(g).all() for g in grads.values())
        assert all((np.sign(g) == np.sign(before[name])).all() for name, g in grads.items() if value > 1e-30)
    for broken in (np.nan, np.inf, -np.inf):
        grads = {"W": np.ones((3, 2), dtype), "b": np.ones(4, dtype)}
        grads["b"][2] = broken
        with pytest.raises(NotFiniteError, match="the gradient of b"):
            CLIPS[kind](grads, 1.0, engine)
        assert (grads["W"] == 1).all()


@dtypes
@pytest.mark.underflows
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_no_optimiser_writes_nan_into_a_parameter(name, dtype):
    """A gradient that is not finite is refused, before anything is changed; a huge or tiny one gives a finite step or an error."""
    largest = float(np.finfo(dtype).max)
    for value in (np.nan, np.inf, -np.inf, largest, 1e30, 1e20, 1e-20, 1e-40, 0.0):
        optimizer = OPTIMIZERS[name](lr=1e-3)
        params = {"v": np.ones(3, dtype), "W": np.ones((2, 2), dtype)}
        optimizer.step(params, {"v": np.ones(3, dtype), "W": np.ones((2, 2), dtype)})
        before = {key: p.copy() for key, p in params.items()}
        state = optimizer.state_dict()
        grads = {"v": np.ones(3, dtype), "W": np.full((2, 2), value, dtype)}
        try:
            optimizer.step(params, grads)
        except NotFiniteError:
            for key, p in params.items():
                np.testing.assert_array_equal(p, before[key])
            assert repr(optimizer.state_dict()) == repr(state)
            assert not abs(value) < 1e18
        else:
            assert np.isfinite(value)
            assert all(np.isfinite(p).all() for p in params.values())
            assert all(np.isfinite(s).all() for kind in optimizer.state.values() for s in kind.values())


@pytest.mark.parametrize("make", [SGD, RMSprop, Adam])
def test_a_read_only_array_is_refused_before_anything_is_changed(make):
    params = {"a": np.ones(2), "b": np.ones(2)}
    params["b"].flags.writeable = False
    with pytest.raises(ScratchnetError, match="b is read-only"):
        make(lr=0.1).step(params, {"a": np.ones(2), "b": np.ones(2)})
    assert (params["a"] == 1).all()
    grads = {"a": np.ones(2), "b": np.ones(2)}
    grads["b"].flags.writeable = False
    for clip in CLIPS.values():
        with pytest.raises(ScratchnetError, match="b is read-only"):
            clip(grads, 0.1)
        assert (grads["a"] == 1).all()


@pytest.mark.underflows
@pytest.mark.parametrize("name", losses.LOSSES)
@dtypes
def test_losses_of_huge_and_tiny_logits(name, dtype):
    """Finite, or infinite where the true value is beyond the type; never NaN for finite arguments."""
    loss = losses.LOSSES[name]
    for value in (1e4, 1e18, 1e-40, 0.0):
        y = np.array([[value, -value, 0.0]], dtype)
        target = np.array([1]) if name.startswith("softmax") else np.array([[0.0, 1.0, 0.5]], dtype)
        found, dy = loss(y, target)
        assert not math.isnan(found)
        assert np.isfinite(dy).all()


def test_training_says_when_numbers_leave_the_floats(rng):
    """A learning rate that is far too high ends in a sentence, not in NaN weights."""
    model = Sequential(RNN(1, 4, "relu", rng=rng, batch_first=True), Linear(4, 1, rng=rng))
    data = rng.standard_normal((8, 50, 1)), rng.standard_normal((8, 50, 1))
    with np.errstate(all="ignore"), pytest.raises(NotFiniteError):
        fit(model, data, SGD(1e10), epochs=50, loss=mse, rng=rng, progress=False)
