"""Every cell: gradients against central differences, padding that changes nothing, and answers to bad input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scratchnet.cells import CELLS, gru, gru_reset_before, lstm, lstm_norm, register_cell, rnn
from scratchnet.cells.sequences import reverse, zero_padding
from scratchnet.gradcheck import check_cell

from conftest import VARIANTS


def random_call(cell, rng, T=5, N=3, D=2, H=4, dtype=np.float64):
    """Arguments for cell.forward: x, states, parameters."""
    states = [rng.standard_normal((N, H)) for _ in cell.STATES]
    params = [rng.standard_normal(s) / 2 for s in cell.param_shapes(D, H).values()]
    return [a.astype(dtype) for a in (rng.standard_normal((T, N, D)), *states, *params)]


@pytest.mark.parametrize(("cell", "options"), VARIANTS)
def test_gradients(cell, options):
    assert check_cell(cell, **options).error <= 1e-6


@pytest.mark.parametrize(("cell", "options"), VARIANTS)
@given(data=st.data())
def test_gradients_over_shapes(cell, options, data):
    small = st.integers(1, 4)
    T, N, D, H, seed = (data.draw(s) for s in (small, small, small, small, st.integers(0, 10**6)))
    lengths = data.draw(st.none() | st.lists(st.integers(1, T), min_size=N, max_size=N))
    assert check_cell(cell, T=T, N=N, D=D, H=H, lengths=lengths, seed=seed, **options).error <= 1e-6


@pytest.mark.parametrize(("cell", "options"), [v for v in VARIANTS if v.id != "rnn relu"])
def test_zero_states_and_zero_weights_too(cell, options, rng):
    """With everything at zero the gradients are still exact (relu is left out: it has no derivative there)."""
    x, *rest = random_call(cell, rng)
    rest = [np.zeros_like(a) for a in rest]
    w = rng.standard_normal((5, 3, 4))
    _, cache = cell.forward(x, *rest, **options)
    db = cell.backward(w, cache).db

    def loss(b):
        arguments = dict(zip([f"{s}0" for s in cell.STATES] + list(cell.param_shapes(2, 4)), rest)) | {"b": b}
        return np.sum(cell.forward(x, *arguments.values(), **options)[0] * w)

    for j in range(len(db)):
        e = np.zeros_like(db)
        e[j] = 1e-5
        assert db[j] == pytest.approx((loss(e) - loss(-e)) / 2e-5, abs=1e-9)


@pytest.mark.parametrize(("cell", "options"), VARIANTS)
def test_da_holds_every_step(cell, options, rng):
    """dW_x is the sum over steps of x[t]^T da[t], and db of da[t]: what a trace is made of."""
    call = random_call(cell, rng)
    _, cache = cell.forward(*call, **options)
    grads = cell.backward(rng.standard_normal((5, 3, 4)), cache)
    if cell is not lstm_norm:  # between its product and a stands the normalisation, with a gradient of its own
        by_step = np.einsum("tnd,tng->tdg", call[0], grads.da)
        np.testing.assert_allclose(by_step.sum(axis=0), grads.dW_x, rtol=1e-12)
    np.testing.assert_allclose(grads.da.sum(axis=(0, 1)), grads.db, rtol=1e-12)


@pytest.mark.parametrize(("cell", "options"), VARIANTS)
def test_padding_changes_nothing(cell, options, rng):
    """Each sequence of a ragged batch, run alone, gives the same outputs and gradients; the padding may even hold NaN."""
    lengths = [5, 2, 4]
    x, *rest = random_call(cell, rng)
    states, params = rest[: len(cell.STATES)], rest[len(cell.STATES) :]
    for n, length in enumerate(lengths):
        x[length:, n] = np.nan
    dy = rng.standard_normal((5, 3, 4))
    for n, length in enumerate(lengths):
        dy[length:, n] = np.nan
    d_last = [rng.standard_normal((3, 4)) for _ in states]
    _, cache = cell.forward(x, *states, *params, lengths=lengths, **options)
    grads = cell.backward(dy, cache, *d_last)
    summed = {f"d{name}": 0.0 for name in cell.param_shapes(2, 4)}
    for n, length in enumerate(lengths):
        one = slice(n, n + 1)
        y1, cache1 = cell.forward(x[:length, one], *(s[one] for s in states), *params, **options)
        g1 = cell.backward(dy[:length, one], cache1, *(d[one] for d in d_last))
        np.testing.assert_allclose(cache.h[1 : length + 1, one], y1, rtol=1e-12)
        for name in cell.STATES:
            np.testing.assert_allclose(getattr(cache, name)[-1][one], getattr(cache1, name)[-1], rtol=1e-12)
            np.testing.assert_allclose(
                getattr(grads, f"d{name}0")[one], getattr(g1, f"d{name}0"), rtol=1e-10, atol=1e-13
            )
        np.testing.assert_allclose(grads.dx[:length, one], g1.dx, rtol=1e-10, atol=1e-13)
        assert not grads.dx[length:, one].any()
        for name in summed:
            summed[name] = summed[name] + getattr(g1, name)
    for name, total in summed.items():
        np.testing.assert_allclose(getattr(grads, name), total, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("cell", "options"), VARIANTS)
def test_float32_stays_float32(cell, options, rng):
    call = random_call(cell, rng, dtype=np.float32)
    y, cache = cell.forward(*call, **options)
    grads = cell.backward(np.ones_like(y), cache)
    assert {a.dtype for a in (y, *grads)} == {np.dtype(np.float32)}
    exact, cache64 = cell.forward(*(a.astype(np.float64) for a in call), **options)
    np.testing.assert_allclose(y, exact, atol=1e-5)
    for name, right in cell.backward(np.ones_like(exact), cache64)._asdict().items():
        np.testing.assert_allclose(getattr(grads, name), right, atol=1e-4, err_msg=name)


@pytest.mark.parametrize(("cell", "options"), VARIANTS)
def test_can_be_applied_twice(cell, options, rng):
    """Two forward passes, then their backwards in any order: nothing is hidden in between."""
    a, b = random_call(cell, rng), random_call(cell, rng)
    w = rng.standard_normal((5, 3, 4))
    _, cache_a = cell.forward(*a, **options)
    alone = cell.backward(w, cache_a)
    _, cache_b = cell.forward(*b, **options)
    cell.backward(w, cache_b)
    for first, second in zip(alone, cell.backward(w, cache_a)):
        np.testing.assert_array_equal(first, second)


@pytest.mark.underflows
def test_large_inputs_saturate_without_overflow(rng):
    for name, cell in CELLS.items():
        x, *rest = random_call(cell, rng)
        y, _ = cell.forward(x * 1e6, *rest)
        assert np.isfinite(y).all(), name


@pytest.mark.parametrize("features", [(), (2,), (2, 3)])
def test_padding_is_zeroed_whatever_the_features(features):
    zeroed = zero_padding(np.full((3, 2, *features), np.nan), np.array([0, 0]))
    np.testing.assert_array_equal(zeroed, np.zeros((3, 2, *features)))
    kept = zero_padding(np.ones((3, 2, *features)), np.array([3, 1]))
    np.testing.assert_array_equal(kept.reshape(3, 2, -1)[..., 0], [[1, 1], [1, 0], [1, 0]])


def test_reverse_is_its_own_inverse(rng):
    x = rng.standard_normal((5, 3, 2))
    lengths = np.array([5, 1, 3])
    turned = reverse(x, lengths)
    np.testing.assert_array_equal(turned[:3, 2], x[2::-1, 2])
    np.testing.assert_array_equal(turned[3:, 2], x[3:, 2])
    np.testing.assert_array_equal(reverse(turned, lengths), x)


def test_reset_before_and_after_are_different_functions(rng):
    """A gradient check cannot see a wrong convention, so the two GRU forms are held against each other."""
    x, h0, W_x, W_h, b = random_call(gru_reset_before, rng)
    after, _ = gru.forward(x, h0, W_x, W_h, b, np.zeros(4))
    before, _ = gru_reset_before.forward(x, h0, W_x, W_h, b)
    assert np.max(np.abs(after - before)) > 1e-3
    opened = b.copy()
    opened[:4] = 50.0  # r = 1 everywhere: nothing is reset, and the two agree
    np.testing.assert_allclose(
        gru.forward(x, h0, W_x, W_h, opened, np.zeros(4))[0],
        gru_reset_before.forward(x, h0, W_x, W_h, opened)[0],
        rtol=1e-12,
    )


BAD = {
    "wrong rank": (
        lambda a: a.update(x=a["x"][0]),
        ValueError,
        r"x has 2 dimensions, shape \(3, 2\): expected \(T, N, D\)",
    ),
    "features": (
        lambda a: a.update(x=a["x"][:, :, :1]),
        ValueError,
        r"W_x is \(2, 16\) but x has 1 features .*expected \(1, 16\)",
    ),
    "empty batch": (lambda a: a.update(x=a["x"][:, :0]), ValueError, r"x is \(5, 0, 2\): it needs at least one"),
    "no steps": (lambda a: a.update(x=a["x"][:0]), ValueError, r"x is \(0, 3, 2\): it needs at least one"),
    "half precision": (
        lambda a: a.update(x=a["x"].astype(np.float16)),
        TypeError,
        "x is float16, but a network computes in float32 or float64",
    ),
    "b": (lambda a: a.update(b=a["b"][:12]), ValueError, r"b is \(12,\) but .*expected \(16,\)"),
    "a column b": (lambda a: a.update(b=a["b"][:1]), ValueError, r"b is \(1,\) but .*expected \(16,\)"),
    "integer x": (
        lambda a: a.update(x=a["x"].astype(int)),
        TypeError,
        "x is int64, but a network computes in float32 or float64",
    ),
    "a list": (lambda a: a.update(x=[[1.0]]), TypeError, "x is a builtins.list, not a NumPy or CuPy array"),
    "mixed types": (lambda a: a.update(b=a["b"].astype(np.float32)), TypeError, "b is float32 but x is float64"),
    "state rank": (lambda a: a.update(h0=a["h0"][0]), ValueError, r"h0 is \(4,\): expected \(N, H\)"),
    "state batch": (
        lambda a: a.update(c0=a["c0"][:2]),
        ValueError,
        r"c0 is \(2, 4\) but x has 3 sequences .*expected \(3, 4\)",
    ),
    "W_h": (lambda a: a.update(W_h=a["W_h"].T), ValueError, r"W_h is \(16, 4\) but .*expected \(4, 16\)"),
    "length 0": (
        lambda a: a.update(lengths=[5, 0, 2]),
        ValueError,
        r"lengths\[1\] is 0 but the sequences have 5 steps",
    ),
    "length > T": (
        lambda a: a.update(lengths=[5, 2, 6]),
        ValueError,
        r"lengths\[2\] is 6 but the sequences have 5 steps",
    ),
    "too few lengths": (
        lambda a: a.update(lengths=[5, 2]),
        ValueError,
        r"lengths has shape \(2,\) but the batch has 3",
    ),
    "real lengths": (lambda a: a.update(lengths=[5.0, 2.0, 1.0]), TypeError, "a length is a whole number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_answered_with_both_sides(case, rng):
    change, error, message = BAD[case]
    arguments = dict(zip(["x", "h0", "c0", "W_x", "W_h", "b"], random_call(lstm, rng)))
    change(arguments)
    with pytest.raises(error, match=message):
        lstm.forward(**arguments)


def test_bad_gradients_are_refused(rng):
    y, cache = lstm.forward(*random_call(lstm, rng))
    with pytest.raises(ValueError, match=r"dy is \(4, 3, 4\) but the forward pass made 5 steps .*expected \(5, 3, 4\)"):
        lstm.backward(y[:4], cache)
    with pytest.raises(ValueError, match=r"dc_last is \(3, 2\) but"):
        lstm.backward(y, cache, dc_last=y[0, :, :2])
    with pytest.raises(TypeError, match="dy is float32 but the forward pass computed in float64"):
        lstm.backward(y.astype(np.float32), cache)
    with pytest.raises(ValueError, match="nonlinearity is 'sigmoid': expected one of 'tanh', 'relu'"):
        rnn.forward(*random_call(rnn, rng), nonlinearity="sigmoid")


def test_a_name_belongs_to_one_cell():
    register_cell("lstm", lstm)  # the same again, as when a notebook's cell is run twice
    with pytest.raises(ValueError, match="there is a cell 'lstm' already: choose another name"):
        register_cell("lstm", rnn)
    assert CELLS["lstm"] is lstm
    with pytest.raises(TypeError, match=r"cell 'mine' lacks GATES, STATES.*: expected all that Cell defines"):
        register_cell("mine", object())
    assert "mine" not in CELLS


def test_what_is_no_cache_is_refused(rng):
    y, cache = lstm.forward(*random_call(lstm, rng))
    dy = np.ones_like(y)
    for wrong, says in (
        ({"x": 1}, "cache is a dict: expected what forward returned"),
        (cache._replace(x=cache.x[0]), r"the cache's x is \(3, 2\): expected three axes"),
        (cache._replace(gates=cache.gates[:, :1]), r"the cache's gates is \(5, 1, 16\)"),
        (cache._replace(c=cache.c.astype(np.float32)), "the cache's c is .*float32|float32.*the cache's c"),
    ):
        with pytest.raises((TypeError, ValueError), match=says):
            lstm.backward(dy, wrong)
