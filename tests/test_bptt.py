"""Full, truncated and stateful BPTT: equal, window by window and term by term, to autograd with the same detaches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scratchnet.cells import gru
from scratchnet.layers import GRU, LSTM, RNN, Dropout, Linear, Sequential
from scratchnet.losses import mse
from scratchnet.training import bptt

from conftest import VARIANTS
from test_parity import torch_twin, twin_grads


@given(T=st.integers(1, 30), k1=st.integers(1, 12), extra=st.integers(0, 12))
def test_every_step_is_new_in_exactly_one_window(T, k1, extra):
    k2 = k1 + extra
    cuts = bptt.windows(T, k1, k2)
    assert [t for w in cuts for t in range(w.new, w.stop)] == list(range(T))
    for w in cuts:
        assert 0 <= w.start <= w.new < w.stop <= T
        assert w.stop - w.start <= k2
        assert w.start == 0 or w.stop - w.start == k2  # as far back as k2 allows
        assert w.stop - w.new == k1 or w.stop == T


RAGGED = pytest.mark.parametrize("lengths", [None, [9, 4]], ids=["equal", "ragged"])


def random_pass(cell, options, rng, lengths=None, T=9, N=2, D=3, H=4):
    states = [rng.standard_normal((N, H)) for _ in cell.STATES]
    params = [rng.standard_normal(s) / 2 for s in cell.param_shapes(D, H).values()]
    _, cache = cell.forward(rng.standard_normal((T, N, D)), *states, *params, **options, lengths=lengths)
    return rng.standard_normal((T, N, H)), cache  # dy in the padding must not matter


@RAGGED
@pytest.mark.parametrize(("cell", "options"), VARIANTS)
def test_k2_of_the_whole_sequence_is_full_bptt(cell, options, lengths, rng):
    """Also in small steps k1: a sum over losses may be taken in any order."""
    dy, cache = random_pass(cell, options, rng, lengths)
    full = cell.backward(dy, cache)
    for k1 in (1, 4, 9):
        for name, whole, ours in zip(full._fields, full, bptt.truncated(cell, dy, cache, k1, 9)):
            np.testing.assert_allclose(ours, whole, rtol=1e-9, atol=1e-12, err_msg=f"{name}, k1={k1}")


@RAGGED
@pytest.mark.parametrize(("cell", "options"), VARIANTS)
def test_what_is_thrown_away_is_the_distant_terms(cell, options, lengths, rng):
    """The full gradient is a sum over (loss step, step gone back to); BPTT(1, k2) keeps those less than k2 apart."""
    dy, cache = random_pass(cell, options, rng, lengths)
    T, k2 = len(dy), 3
    kept = np.zeros_like(bptt.truncated(cell, dy, cache, 1, k2).da)
    for tau in range(T):  # one loss at a time, through everything
        only = np.zeros_like(dy)
        only[tau] = dy[tau]
        da = cell.backward(only, cache).da
        kept[max(0, tau - k2 + 1) : tau + 1] += da[max(0, tau - k2 + 1) : tau + 1]
    np.testing.assert_allclose(bptt.truncated(cell, dy, cache, 1, k2).da, kept, rtol=1e-10, atol=1e-13)


def test_windows_are_those_of_the_picture():
    """The picture at the top of bptt.py."""
    assert bptt.windows(9, 3, 5) == [(0, 0, 3), (1, 3, 6), (4, 6, 9)]


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (1, 4), (3, 3), (3, 5), (2, 7), (10, 10), (4, 20)])
@pytest.mark.parametrize("make", [RNN, LSTM, GRU])
def test_windows_equal_autograd_with_the_same_detaches(make, k1, k2):
    rng = np.random.default_rng(0)
    layer = make(3, 4, rng=rng)
    for p in layer.params.values():
        p += 0.3 * rng.standard_normal(p.shape)
    twin = torch_twin(layer)
    T, N = 10, 2
    x, dy = rng.standard_normal((T, N, 3)), rng.standard_normal((T, N, 4))
    state = [rng.standard_normal((1, N, 4)) for _ in layer.cell.STATES]
    _, cache = layer.forward(x, state=state)
    run = cache.cell_caches[0]
    total = {}
    for (start, new, stop), grads in bptt.truncated_terms(layer.cell, dy, run, k1, k2):
        # torch: the state reached at `start`, as a constant; the losses from `new` on
        twin.zero_grad()
        initial = [torch.from_numpy(s).requires_grad_(True) for s in state]
        tstate = tuple(initial) if len(initial) > 1 else initial[0]
        if start:
            with torch.no_grad():
                _, tstate = twin(torch.from_numpy(x[:start]), tstate)
        tx = torch.from_numpy(x[start:stop]).requires_grad_(True)
        ty, _ = twin(tx, tstate)
        (ty[new - start :] * torch.from_numpy(dy[new:stop])).sum().backward()
        np.testing.assert_allclose(grads.dx, tx.grad.numpy(), rtol=0, atol=1e-10)
        if start == 0:  # only windows that reach the initial state give it a gradient
            for name, s in zip(layer.cell.STATES, initial):
                np.testing.assert_allclose(getattr(grads, f"d{name}0"), s.grad[0].numpy(), rtol=0, atol=1e-10)
                total[f"{name}0"] = total.get(f"{name}0", 0) + s.grad[0].numpy()
        for name, theirs in twin_grads(layer, twin).items():
            ours = getattr(grads, f"d{name.removesuffix('_l0')}")
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10, err_msg=f"{name} of window {start}:{stop}")
            total[name] = total.get(name, 0) + theirs
    summed = bptt.truncated(layer.cell, dy, run, k1, k2)
    for name, theirs in total.items():
        np.testing.assert_allclose(getattr(summed, f"d{name.removesuffix('_l0')}"), theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("k1", "k2"), [(4, None), (3, 7)])
def test_stream_trains_as_torch_does_with_detached_states(k1, k2):
    """Weights change after every window; the state goes on, the gradient does not."""
    rng = np.random.default_rng(0)
    model = Sequential(rec=LSTM(2, 5, num_layers=2, rng=rng), head=Linear(5, 1, rng=rng))
    twin = torch_twin(model.layers["rec"])
    W, b = (torch.from_numpy(model.params[f"head.{p}"].copy()).requires_grad_(True) for p in "Wb")
    trained = [p for name, p in twin.named_parameters() if not name.startswith("bias_hh")] + [W, b]
    x, target = rng.standard_normal((14, 3, 2)), rng.standard_normal((14, 3, 1))
    state = tuple(torch.zeros(2, 3, 5, dtype=torch.float64) for _ in "hc")
    cuts = bptt.windows(14, k1, k2 or k1)
    for number, part in enumerate(bptt.stream(model, x, target, mse, k1, k2)):
        start, new, stop = cuts[number]
        assert part.window == (start, new, stop)
        for p in trained:
            p.grad = None
        ty, _ = twin(torch.from_numpy(x[start:stop]), state)
        tloss = torch.nn.functional.mse_loss(ty[new - start :] @ W + b, torch.from_numpy(target[new:stop]))
        tloss.backward()
        assert part.loss == pytest.approx(tloss.item(), abs=1e-12)
        for name, theirs in twin_grads(model.layers["rec"], twin).items():
            np.testing.assert_allclose(model.grads[f"rec.{name}"], theirs, rtol=0, atol=1e-10)
        with torch.no_grad():
            if number + 1 < len(cuts):
                _, state = (
                    twin(torch.from_numpy(x[start : cuts[number + 1].start]), state)
                    if cuts[number + 1].start > start
                    else (0, state)
                )
            for p in trained:
                p -= 0.1 * p.grad
        for name, p in model.params.items():
            p -= 0.1 * model.grads[name]


def test_full_is_one_window(rng):
    model = Sequential(rec=GRU(2, 3, rng=rng), head=Linear(3, 1, rng=rng))
    x, target = rng.standard_normal((6, 2, 2)), rng.standard_normal((6, 2, 1))
    model.zero_grad()
    loss = bptt.full(model, x, target, mse)
    grads = {name: g.copy() for name, g in model.grads.items()}
    (only,) = bptt.stream(model, x, target, mse, k1=6)
    assert only.loss == loss
    for name, g in model.grads.items():
        np.testing.assert_array_equal(g, grads[name])


def test_stream_hands_its_state_on(rng):
    model = Sequential(rec=LSTM(2, 3, rng=rng))
    x, target = rng.standard_normal((8, 1, 2)), rng.standard_normal((8, 1, 3))
    whole = [part.loss for part in bptt.stream(model, x, target, mse, k1=2)]
    first = list(bptt.stream(model, x[:4], target[:4], mse, k1=2))
    rest = bptt.stream(model, x[4:], target[4:], mse, k1=2, state=first[-1].state)
    np.testing.assert_allclose([part.loss for part in (*first, *rest)], whole, rtol=1e-12)


def test_bad_input(rng):
    with pytest.raises(
        ValueError, match="k2 is 2 but k1 is 5: with k2 < k1 the losses of 3 in 5 steps are never counted"
    ):
        bptt.windows(10, 5, 2)
    with pytest.raises(ValueError, match="T is 0 and k1 is 2: expected at least 1"):
        bptt.windows(0, 2, 2)
    with pytest.raises(TypeError, match=r"k2 is 3\.0: expected a whole number"):
        bptt.windows(10, 2, 3.0)
    dy, cache = random_pass(gru, {}, rng)
    for wrong in (dy[:5], np.concatenate([dy, dy])):
        with pytest.raises(ValueError, match=r"dy is .* but the forward pass made 9 steps"):
            bptt.truncated(gru, wrong, cache, 2, 4)
    with pytest.raises(TypeError, match=r"dy is a builtins\.list"):
        bptt.truncated(gru, dy.tolist(), cache, 2, 4)
    with pytest.raises(ValueError, match="T is 10 and k1 is 0: expected at least 1"):
        bptt.windows(10, 0, 2)
    x, target = rng.standard_normal((6, 2, 2)), rng.standard_normal((6, 2, 3))
    for model, message in [
        (Linear(2, 3, rng=rng), "Linear has no recurrent layer"),
        (Sequential(a=LSTM(2, 3, bidirectional=True, rng=rng)), "a is bidirectional"),
        (GRU(2, 3, batch_first=True, rng=rng), "the layer is batch_first"),
        (
            Sequential(a=Sequential(b=RNN(2, 3, return_sequences=False, rng=rng))),
            "b is made with return_sequences=False",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            bptt.stream(model, x, target, mse, k1=2)
    with pytest.raises(ValueError, match="x has 6 steps but target has 5"):
        bptt.stream(RNN(2, 3, rng=rng), x, target[:5], mse, k1=2)


def test_full_trains(rng):
    """Dropout is on: the loss is that of a forward pass while training, with the same masks."""
    model = Sequential(rec=GRU(2, 3, rng=rng), drop=Dropout(0.5, rng=np.random.default_rng(1)))
    x, target = rng.standard_normal((6, 2, 2)), rng.standard_normal((6, 2, 3))
    loss = bptt.full(model, x, target, mse)
    model.layers["drop"].rng = np.random.default_rng(1)
    assert loss == mse(model.forward(x, training=True)[0], target)[0]
    assert loss != mse(model.forward(x)[0], target)[0]


def test_a_nan_is_counted_in_its_own_window_only(rng):
    """0 times NaN is NaN: the losses of earlier windows must be left out, not multiplied by 0."""
    dy, cache = random_pass(gru, {}, rng)
    dy[0] = np.nan
    finite = [np.isfinite(grads.dW_h).all() for _, grads in bptt.truncated_terms(gru, dy, cache, 1, 3)]
    assert finite == [False] + [True] * 8


@pytest.mark.parametrize("options", [{}, {"training": True}, {"training": False}])
def test_a_stream_trains_unless_told_otherwise(options, rng):
    model = Sequential(rec=GRU(2, 3, rng=rng), drop=Dropout(0.5, rng=np.random.default_rng(1)))
    x, target = rng.standard_normal((6, 2, 2)), rng.standard_normal((6, 2, 3))
    (part,) = bptt.stream(model, x, target, mse, k1=6, **options)
    model.layers["drop"].rng = np.random.default_rng(1)
    assert part.loss == mse(model.forward(x, training=options.get("training", True))[0], target)[0]


def test_windows_are_bounded(monkeypatch):
    monkeypatch.setattr(bptt, "MOST_WINDOWS", 5)
    assert len(bptt.windows(11, 2, 2)) == 6  # the last is not a whole one
    with pytest.raises(ValueError, match="T is 12 and k1 is 2: expected at most 5 windows"):
        bptt.windows(12, 2, 2)


def test_windows_are_counted_before_they_are_made(rng):
    """A hundred thousand are no reason to refuse; more than anyone waits for are."""
    assert len(bptt.windows(100_000, 1, 1)) == 100_000
    with pytest.raises(ValueError, match=r"T is 1000000000 and k1 is 1: expected at most 10000000 windows"):
        bptt.windows(10**9, 1, 1)
