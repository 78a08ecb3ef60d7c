"""The trace of a foreign backward: what it computed is shown, and the first number that is not the right one."""

import functools
import sys
import threading
import time
import tomllib
import traceback
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import scratchnet
from scratchnet.cells import CELLS, gru, lstm, rnn
from scratchnet.layers import LAYERS, LSTM, Linear, Recurrent, Sequential
from scratchnet.tracing import difference, differences, first_difference
from scratchnet.tracing.difference import inconsistent_weights
from scratchnet.tracing.observe import Observer
from scratchnet.tracing.run import custom_run, run_custom
from scratchnet_instructor import mistakes

CATALOGUE = [pytest.param(m, id=m.id) for m in mistakes.load() if m.cell and m.first_wrong]
ROOT = Path(__file__).parent.parent
T, N, D, H = 4, 3, 2, 5  # those of the gradient check, so that its steps are these


def problem(name, rng, options=None, T=T, final=False, lengths=None, dtype=np.float64, scale=1.0):
    """(cache, dy, d_last, params) of a cell at random numbers."""
    cell = CELLS[name]
    x = rng.standard_normal((T, N, D)).astype(dtype)
    states = [rng.standard_normal((N, H)).astype(dtype) for _ in cell.STATES]
    params = {key: rng.standard_normal(s).astype(dtype) * dtype(scale) for key, s in cell.param_shapes(D, H).items()}
    _, cache = cell.forward(x, *states, *params.values(), lengths=lengths, **(options or {}))
    d_last = [rng.standard_normal((N, H)).astype(dtype) * final for _ in cell.STATES]
    return cache, rng.standard_normal((T, N, H)).astype(dtype), d_last, params


def run_of(name, backward, cache, dy, d_last, params):
    """What ``trace`` makes of one layer direction, also with a gradient at every final state and with masks."""
    cell = CELLS[name]
    grads, seen = run_custom(backward, dy, cache, *d_last, cell=cell)
    last = {f"d{state}_last": d for state, d in zip(cell.STATES, d_last)}
    return custom_run("l0", name, params, cache, seen, dy=dy, d_last=last, grads=grads)


def plain(run, against=None):
    """The first difference, without names of mistakes."""
    return first_difference(run, against, known=lambda cell: ())


def far(wrong, right):
    """Where two arrays differ, by far more than rounding."""
    return ~(np.abs(wrong - right) <= 1e-9 * np.abs(right).max())


def gates_of(tensor, first_wrong, letters):
    """ "fo" of "dW_x:fo"; all gates of a tensor without them; none where it is right."""
    for entry in first_wrong:
        own, _, gates = entry.partition(":")
        if own == tensor:
            return set(gates or letters)
    return set()


@pytest.mark.parametrize("mistake", CATALOGUE)
def test_the_first_difference_is_where_the_gradient_check_finds_the_mistake(mistake, rng):
    """Its term, step and unit from da alone, compared with the right da; its gradients and gates from the table,
    which tests/test_gradcheck.py compares with the gradient check's report."""
    cell, planted = CELLS[mistake.cell], mistakes.plant(mistake)
    given = problem(mistake.cell, rng, mistake.options, final=mistake.at_final)
    cache, dy, d_last, params = given
    with np.errstate(all="ignore"):  # arctanh of what is not a hidden state
        run = run_of(mistake.cell, planted.backward, *given)
        right = cell.backward(dy, cache, *d_last)
        wrong = planted.backward(dy.copy(), cache, *d_last)
        first = plain(run)
    letters = cell.GATES
    off = far(wrong.da, right.da).reshape(T, N, len(letters), H)
    steps = np.flatnonzero(off.any(axis=(1, 2, 3)))
    da_from = steps.max(initial=-1)
    term, t = first.term, first.t
    if t is None:
        assert da_from == -1
        assert term in {entry.partition(":")[0] for entry in mistake.first_wrong}
        if f"{term}" in [f"d{p}" for p in params] and params[term[1:]].shape[-1] == len(letters) * H:
            wrong_gates = far(getattr(wrong, term), getattr(right, term)).reshape(-1, len(letters), H).any(axis=(0, 2))
            found = {letter for letter, is_wrong in zip(letters, wrong_gates) if is_wrong}
            assert found == gates_of(term, mistake.first_wrong, letters)
            assert first.gate in (found if len(letters) > 1 else {""})
        assert term in inconsistent_weights(run) or term not in run.weight_gradients(0)
    elif term == "dx":
        assert da_from == -1
        assert (mistake.first_wrong, t) == (("dx",), mistake.begins)
    elif first.term.endswith("_next"):  # what the step before it in this order, t + 1, did not hand on
        assert t == da_from
        assert off[t, first.sample, :, :].any()
        handed_on = t if mistake.at_final else t + 1  # by the step that was before, or by the caller
        assert handed_on == mistake.begins or mistake.id.endswith("forwards-in-time")
    elif da_from == t:  # wrong inside the step: in its da, at this unit
        assert off[t, first.sample, :, first.unit].any()
        assert t == mistake.begins
        wrong_gates = {letter for k, letter in enumerate(letters) if off[t, :, k].any()}
        assert wrong_gates == gates_of("db", mistake.first_wrong, letters)
        if term.startswith("da_"):
            k = letters.index(term[3:])
            assert first.value == wrong.da[t, first.sample, k * H + first.unit]
            assert first.right == pytest.approx(right.da[t, first.sample, k * H + first.unit], rel=1e-12)
    else:  # what the step sends back
        assert da_from == t - 1
        assert t == mistake.begins
        assert {entry[:3] for entry in mistake.first_wrong} <= {"dh0", "dc0", "dW_", "db_"}
        assert {"dh0", "dc0"} & {*mistake.first_wrong}
    if mistake.cell != "lstm_masked" and not mistake.at_final:
        layer = Recurrent(mistake.cell, D, H, rng=rng, options=mistake.options)
        for name, p in params.items():
            layer.params[f"{name}_l0"][...] = p
        state = tuple(getattr(cache, name)[0][None] for name in cell.STATES)
        with np.errstate(all="ignore"):
            traced = scratchnet.trace(layer, cache.x, dy=dy, state=state, backward=planted.backward)
            again = plain(traced.run)
        assert again[:4] == first[:4]
        assert again.value == pytest.approx(first.value, rel=1e-9)


@pytest.mark.parametrize("lengths", [None, [6, 1, 4]], ids=["full", "ragged"])
@pytest.mark.parametrize("name", CELLS)
def test_the_cells_own_backward_has_no_difference_and_all_its_terms(name, lengths, rng):
    cell = CELLS[name]
    run = run_of(name, lambda *given: cell.backward(*given), *problem(name, rng, T=6, final=True, lengths=lengths))
    assert run.custom_backward
    assert {"dh", "dh_next", "dh_prev"} <= {*run.names}
    assert plain(run) is None
    sizes = differences(run)
    assert {"dh", "dx", "dW_x"} <= {*sizes}
    for term, size in sizes.items():
        assert size.shape == run[term].shape
        assert not size.any()
    for term in run.d_next | run.observed:
        if term in run.right:
            np.testing.assert_allclose(run[term], run.right[term], rtol=1e-10, atol=1e-12)
    assert run.right.right is run.right
    assert run.right.custom_backward is False
    np.testing.assert_array_equal(run.right["da"], cell.backward(run.dy, run.cache, *run.d_last.values()).da)


# ---- backward passes of other people, each with one thing wrong ------------------------------------


def split(a):
    return np.split(a, 4, axis=-1)


def gathered(cache, da, dh0, dc0):
    """The gradients that follow from da, as a dict."""
    x, h = cache.x, cache.h
    return {
        "dx": da @ cache.W_x.T,
        "dh0": dh0,
        "dc0": dc0,
        "dW_x": np.einsum("tnd,tng->dg", x, da),
        "dW_h": np.einsum("tnh,tng->hg", h[:-1], da),
        "db": da.sum(axis=(0, 1)),
        "da": da,
    }


def slopes(gates):
    i, f, g, o = split(gates)
    return np.concatenate([i * (1 - i), f * (1 - f), 1 - g * g, o * (1 - o)], axis=-1)


def by_another_index(dy, cache, dh_last, dc_last):
    """k in place of t; the gradient of c from the future is forgotten."""
    da, dh_next = np.zeros_like(cache.gates), dh_last
    for k in range(len(dy) - 1, -1, -1):
        i, f, g, o = split(cache.gates[k])
        dh = dy[k] + dh_next
        dc = dh * o * (1 - np.tanh(cache.c[k + 1]) ** 2)
        parts = [dc * g, dc * cache.c[k], dc * i, dh * np.tanh(cache.c[k + 1])]
        da[k] = np.concatenate(parts, axis=1) * slopes(cache.gates[k])
        dh_next = da[k] @ cache.W_h.T
        dc_next = dc * f
    return gathered(cache, da, dh_next, dc_next)


def with_whole_arrays(dy, cache, dh_last, dc_last):
    """Arrays of all steps and no local t; the forget gate is forgotten on the carry path."""
    dh, dc, da = np.zeros_like(dy), np.zeros_like(dy), np.zeros_like(cache.gates)
    i, f, g, o = split(cache.gates)
    tanh_c, slope, last = np.tanh(cache.c[1:]), slopes(cache.gates), len(dy) - 1
    for m in range(last, -1, -1):
        dh[m] = dy[m] + (dh_last if m == last else da[m + 1] @ cache.W_h.T)
        dc[m] = dh[m] * o[m] * (1 - tanh_c[m] ** 2) + (dc_last if m == last else dc[m + 1])
        parts = [dc[m] * g[m], dc[m] * cache.c[m], dc[m] * i[m], dh[m] * tanh_c[m]]
        da[m] = np.concatenate(parts, axis=1) * slope[m]
    return gathered(cache, da, da[0] @ cache.W_h.T, dc[0] * f[0])


def with_while(dy, cache, dh_last, dc_last):
    """``while``; da_o with the wrong sign."""
    t, da, dh_next, dc_next = len(dy), np.zeros_like(cache.gates), dh_last, dc_last
    while t > 0:
        t -= 1
        i, f, g, o = split(cache.gates[t])
        dh = dy[t] + dh_next
        dc = dh * o * (1 - np.tanh(cache.c[t + 1]) ** 2) + dc_next
        parts = [dc * g, dc * cache.c[t], dc * i, -dh * np.tanh(cache.c[t + 1])]
        da[t] = np.concatenate(parts, axis=1) * slopes(cache.gates[t])
        dh_next, dc_next = da[t] @ cache.W_h.T, dc * f
    return gathered(cache, da, dh_next, dc_next)


def by_recursion(dy, cache, dh_last, dc_last):
    """One call inside the other; the step's own dy counts twice."""
    da = np.zeros_like(cache.gates)

    def back(t, dh_next, dc_next):
        if t < 0:
            return dh_next, dc_next
        i, f, g, o = split(cache.gates[t])
        dh = dy[t] + dy[t] + dh_next
        dc = dh * o * (1 - np.tanh(cache.c[t + 1]) ** 2) + dc_next
        parts = [dc * g, dc * cache.c[t], dc * i, dh * np.tanh(cache.c[t + 1])]
        da[t] = np.concatenate(parts, axis=1) * slopes(cache.gates[t])
        return back(t - 1, da[t] @ cache.W_h.T, dc * f)

    return gathered(cache, da, *back(len(dy) - 1, dh_last, dc_last))


def by_a_generator(dy, cache, dh_last, dc_last):
    """Steps from a generator; dh goes back to another sequence of the batch."""
    da = np.zeros_like(cache.gates)

    def steps(dh_next, dc_next):
        for t in reversed(range(len(dy))):
            i, f, g, o = split(cache.gates[t])
            dh = dy[t] + dh_next
            dc = dh * o * (1 - np.tanh(cache.c[t + 1]) ** 2) + dc_next
            parts = [dc * g, dc * cache.c[t], dc * i, dh * np.tanh(cache.c[t + 1])]
            da[t] = np.concatenate(parts, axis=1) * slopes(cache.gates[t])
            dh_next, dc_next = (da[t] @ cache.W_h.T)[::-1], dc * f
            yield dh_next, dc_next

    *_, (dh0, dc0) = steps(dh_last, dc_last)
    return gathered(cache, da, dh0, dc0)


class Backward:
    """State in attributes, which are no local variables; the forget gate's slope is missing."""

    def __call__(self, dy, cache, dh_last, dc_last):
        self.h_grad, self.c_grad, self.out = dh_last, dc_last, np.zeros_like(cache.gates)
        for step in reversed(range(len(dy))):
            self.one(step, dy[step], cache)
        return gathered(cache, self.out, self.h_grad, self.c_grad)

    def one(self, step, gradient, cache):
        i, f, g, o = split(cache.gates[step])
        total = gradient + self.h_grad
        tanh_c = np.tanh(cache.c[step + 1])
        memory = total * o * (1 - tanh_c**2) + self.c_grad
        slope = slopes(cache.gates[step])
        slope[:, H : 2 * H] = 1
        parts = [memory * g, memory * cache.c[step], memory * i, total * tanh_c]
        self.out[step] = np.concatenate(parts, axis=1) * slope
        self.h_grad, self.c_grad = self.out[step] @ cache.W_h.T, memory * f


def by_zip(dy, cache, dh_last, dc_last):
    """No index at all; tanh' of c is forgotten."""
    rows, dh_next, dc_next = [], dh_last, dc_last
    backwards = zip(dy[::-1], cache.gates[::-1], cache.c[:-1][::-1], np.tanh(cache.c[1:])[::-1])
    for gradient, gates, c_prev, tanh_c in backwards:
        i, f, g, o = split(gates)
        dh = gradient + dh_next
        dc = dh * o + dc_next
        rows.append(np.concatenate([dc * g, dc * c_prev, dc * i, dh * tanh_c], axis=1) * slopes(gates))
        dh_next, dc_next = rows[-1] @ cache.W_h.T, dc * f
    return gathered(cache, np.stack(rows[::-1]), dh_next, dc_next)


def into_buffers(dy, cache, dh_last, dc_last):
    """Buffers that are filled again at each step; dc misses what comes through h."""
    dh, dc, da = np.zeros_like(dh_last), np.zeros_like(dc_last), np.zeros_like(cache.gates)
    dh_next, dc_next = dh_last.copy(), dc_last.copy()
    for t in reversed(range(len(dy))):
        i, f, g, _ = split(cache.gates[t])
        np.add(dy[t], dh_next, out=dh)
        dc[...] = dc_next
        parts = [dc * g, dc * cache.c[t], dc * i, dh * np.tanh(cache.c[t + 1])]
        da[t] = np.concatenate(parts, axis=1) * slopes(cache.gates[t])
        dh_next[...], dc_next[...] = da[t] @ cache.W_h.T, dc * f
    return gathered(cache, da, dh_next, dc_next)


def stops_early(dy, cache, dh_last, dc_last):
    """The loop leaves out step 0."""
    da, dh_next, dc_next = np.zeros_like(cache.gates), dh_last, dc_last
    for t in range(len(dy) - 1, 0, -1):
        dh_next, dc_next = one_step(t, dy, cache, da, dh_next, dc_next)
    return gathered(cache, da, dh_next, dc_next)


def one_step(t, dy, cache, da, dh_next, dc_next):
    """A right step, as a function of this module."""
    i, f, g, o = split(cache.gates[t])
    dh = dy[t] + dh_next
    dc = dh * o * (1 - np.tanh(cache.c[t + 1]) ** 2) + dc_next
    parts = [dc * g, dc * cache.c[t], dc * i, dh * np.tanh(cache.c[t + 1])]
    da[t] = np.concatenate(parts, axis=1) * slopes(cache.gates[t])
    return da[t] @ cache.W_h.T, dc * f


def with_a_function_for_the_step(dy, cache, dh_last, dc_last, wrong=True):
    """Right steps; the weights of the recurrent product get the own hidden state."""
    da, dh_next, dc_next = np.zeros_like(cache.gates), dh_last, dc_last
    for t in reversed(range(len(dy))):
        dh_next, dc_next = one_step(t, dy, cache, da, dh_next, dc_next)
    grads = gathered(cache, da, dh_next, dc_next)
    return grads | ({"dW_h": np.einsum("tnh,tng->hg", cache.h[1:], da)} if wrong else {})


def under_other_names(dy, cache, dh_last, dc_last):
    """Right, but dc is what the library calls dc_prev at the end of a step; and db is halved."""
    da, dh, dc = np.zeros_like(cache.gates), dh_last.copy(), dc_last.copy()
    for t in reversed(range(len(dy))):
        i, f, g, o = split(cache.gates[t])
        dh = dh + dy[t]
        dc = dc + dh * o * (1 - np.tanh(cache.c[t + 1]) ** 2)
        parts = [dc * g, dc * cache.c[t], dc * i, dh * np.tanh(cache.c[t + 1])]
        da[t] = np.concatenate(parts, axis=1) * slopes(cache.gates[t])
        dh, dc = da[t] @ cache.W_h.T, dc * f
    grads = gathered(cache, da, dh, dc)
    return grads | {"db": grads["db"] / 2}


def not_a_number(dy, cache, dh_last, dc_last):
    """A NaN from step 1 on."""
    da, dh_next, dc_next = np.zeros_like(cache.gates), dh_last, dc_last
    for t in reversed(range(len(dy))):
        dh_next, dc_next = one_step(t, dy, cache, da, dh_next, dc_next)
        if t == 2:
            dc_next = dc_next * np.nan
    return gathered(cache, da, dh_next, dc_next)


# the backward pass, the first difference's term and step, and terms that are seen of it or not
FOREIGN = [
    (by_another_index, "dc", 4, {"dh", "dc", "dh_next"}),
    (with_whole_arrays, "dc", 4, {"dh", "dc"}),
    (with_while, "da_o", 5, {"dh", "dc", "dh_next", "dc_next"}),
    (by_recursion, "dh", 5, {"dh", "dc", "dh_next", "dc_next"}),
    (by_a_generator, "dh_next", 4, {"dh", "dc", "dh_next", "dc_next"}),
    (Backward(), "da_f", 5, set()),
    (by_zip, "dc", 5, {"dh", "dc", "dh_next", "dc_next"}),
    (into_buffers, "dc", 5, {"dh", "dc", "dh_next", "dc_next"}),
    (stops_early, "da_o", 0, {"da_i"}),
    (with_a_function_for_the_step, "dW_h", None, {"dh", "dc", "dh_next", "dc_next"}),
    (under_other_names, "db", None, {"dh", "dc"}),
    (not_a_number, "dc_next", 1, {"dh", "dc", "dh_next", "dc_next"}),
]


@pytest.mark.parametrize(("backward", "term", "t", "seen"), FOREIGN, ids=lambda v: getattr(v, "__name__", None))
def test_backward_passes_of_other_people(backward, term, t, seen, rng):
    cache, dy, d_last, _ = given = problem("lstm", rng, T=6)
    run = run_of("lstm", backward, *given)
    first = plain(run)
    assert (first.term, first.t) == (term, t), first
    gates = {"da_i", "da_f", "da_g", "da_o"}
    assert {*run.backward_terms, *run.d_next} - {"dc_prev", "dh_prev"} == seen | gates
    right = lstm.backward(dy, cache, *d_last)
    with np.errstate(all="ignore"):
        off = far(backward(dy, cache, *d_last)["da"], right.da).any(axis=(1, 2))
    assert np.flatnonzero(off).max(initial=-1) == (-1 if t is None else t)
    np.testing.assert_array_equal(run["da"], backward(dy, cache, *d_last)["da"])


def test_a_backward_that_returns_a_plain_tuple_and_no_da(rng):
    """The GRU under names that nobody else has: what it returned is there, and dx says which step."""

    def mine(dy, cache, last):
        total, rows = last, []
        for t in reversed(range(len(dy))):
            r, z, n = np.split(cache.gates[t], 3, axis=1)
            total = total + dy[t]
            cand = total * z * (1 - n * n)  # 1 - z in the right one
            update, reset = total * (cache.h[t] - n) * z * (1 - z), cand * cache.m_n[t] * r * (1 - r)
            rows.append((np.concatenate([reset, update, cand], 1), np.concatenate([reset, update, cand * r], 1)))
            total = rows[-1][1] @ cache.W_h.T + total * z
        a, m = (np.stack(part[::-1]) for part in zip(*rows))
        weights = np.einsum("tnd,tng->dg", cache.x, a), np.einsum("tnh,tng->hg", cache.h[:-1], m)
        return (a @ cache.W_x.T, total, *weights, a.sum((0, 1)), m[..., 2 * H :].sum((0, 1)))

    run = run_of("gru", mine, *problem("gru", rng, T=6))
    assert "da" not in run
    assert "dh" not in run
    first = plain(run)
    assert (first.term, first.t) == ("dx", 5)
    with pytest.raises(KeyError, match=r"no 'dh': no such variable was seen while the custom backward ran; run.right"):
        run["dh"]
    with pytest.raises(ValueError, match="no weight gradients of single steps: they follow from da"):
        run.weight_gradients(0)
    assert run.step_norms == {}
    assert "first differs: dx at t=5" in str(
        scratchnet.trace(Recurrent("gru", D, H, rng=rng), run.cache.x, dy=run.dy, backward=mine)
    )


@pytest.mark.parametrize(
    ("what", "term"), [("da is not zero", "da_"), ("dc is not carried", "dc_next"), ("dh is not carried", "dh_next")]
)
def test_mistakes_in_the_padding(what, term, rng):
    """Sequence 1 has two of six steps: what is wrong in its padding is found in it."""
    cache, dy, d_last, params = problem("lstm", rng, T=6, final=True, lengths=[6, 2, 6])

    def backward(dy, cache, dh_next, dc_next):
        da = np.zeros_like(cache.gates)
        for t in reversed(range(len(dy))):
            dh_prev, dc_prev = one_step(t, dy, cache, da, dh_next, dc_next)
            ended = (cache.lengths <= t)[:, None]
            if what != "da is not zero":
                da[t] = np.where(ended, 0, da[t])
            dh_next = dh_prev if what == "dh is not carried" else np.where(ended, dh_next, dh_prev)
            dc_next = dc_prev if what == "dc is not carried" else np.where(ended, dc_next, dc_prev)
        return gathered(cache, da, dh_next, dc_next)

    first = plain(run_of("lstm", backward, cache, dy, d_last, params))
    assert first.term.startswith(term)
    assert (first.t, first.sample) == (5 if term == "da_" else 4, 1)


# ---- what is not a difference --------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rounding_is_no_difference(dtype, rng):
    """The same products in another order, of short and long sequences, small and saturated gates."""
    for _ in range(25):
        steps, scale = int(rng.choice([1, 3, 20, 120])), float(rng.choice([0.2, 1, 3]))
        given = problem("lstm", rng, T=steps, final=bool(rng.integers(2)), dtype=dtype, scale=scale)
        with np.errstate(all="ignore"):
            run = run_of("lstm", functools.partial(with_a_function_for_the_step, wrong=False), *given)
            assert plain(run) is None
            wrong = {**run.grads, "dW_x": run.grads["dW_x"] * dtype(1 + 1e4 * np.finfo(dtype).eps)}
            assert plain(custom_run("l0", "lstm", run.params, run.cache, {}, dy=run.dy, d_last=run.d_last, grads=wrong))


def test_single_precision_in_double_precision_is_no_mistake(rng):
    def single(*given):
        return {name: grad.astype(np.float32) for name, grad in lstm.backward(*given)._asdict().items()}

    assert plain(run_of("lstm", single, *problem("lstm", rng))) is None


def test_a_pass_that_has_diverged_equals_itself(rng):
    cache, dy, d_last, params = problem("lstm", rng)
    dy[2, 1] = np.nan
    assert plain(run_of("lstm", lambda *given: lstm.backward(*given), cache, dy, d_last, params)) is None
    first = plain(
        run_of("lstm", lambda dy, *given: lstm.backward(np.nan_to_num(dy), *given), cache, dy, d_last, params)
    )
    assert (first.term, first.t, first.sample) == ("dh", 2, 1)


# ---- the observer --------------------------------------------------------------------------------


def test_what_is_seen_is_what_the_code_computed(rng):
    """Against the same loop with print statements in it, so to say."""
    cache, dy, d_last, params = problem("lstm", rng, T=6, final=True)
    noted = {name: np.zeros_like(dy) for name in ("dh", "dc", "dh_next", "dc_next", "dh_prev")}

    def backward(dy, cache, dh_next, dc_next):
        da = np.zeros_like(cache.gates)
        for t in reversed(range(len(dy))):
            noted["dh_next"][t], noted["dc_next"][t] = dh_next, dc_next
            i, f, g, o = split(cache.gates[t])
            dh = dy[t] + dh_next
            dc = dh * o * (1 - np.tanh(cache.c[t + 1]) ** 2) + dc_next
            dc *= 2  # in place
            noted["dh"][t], noted["dc"][t] = dh, dc
            parts = [dc * g, dc * cache.c[t], dc * i, dh * np.tanh(cache.c[t + 1])]
            da[t] = np.concatenate(parts, axis=1) * slopes(cache.gates[t])
            dh_prev = da[t] @ cache.W_h.T
            noted["dh_prev"][t] = dh_prev
            dh_next, dc_next = dh_prev, dc * f
        for t in range(len(dy)):  # a second loop over the steps, in which none of these changes
            da[t] += 0
        return gathered(cache, da, dh_next, dc_next)

    run = run_of("lstm", backward, cache, dy, d_last, params)
    for name, values in noted.items():
        np.testing.assert_array_equal(run[name], values, err_msg=name)


def test_an_exception_is_the_functions_own_and_the_tracer_is_gone(rng):
    def broken(dy, cache, *d_last):
        dh = dy[0]
        return dh["no such field"]

    cache, dy, d_last, params = problem("lstm", rng)
    before = sys.gettrace()
    with pytest.raises(IndexError) as caught:
        run_of("lstm", broken, cache, dy, d_last, params)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].line == 'return dh["no such field"]'
    assert sys.gettrace() is before


def test_a_debuggers_trace_function_is_put_back(rng):
    given, events = problem("lstm", rng), []

    def debugger(frame, event, arg):
        events.append(frame.f_code.co_name)

    before = sys.gettrace()
    sys.settrace(debugger)
    try:
        run = run_of("lstm", lambda *given: lstm.backward(*given), *given)
        assert sys.gettrace() is debugger
    finally:
        sys.settrace(before)
    assert "dh" in run
    assert events

    def starts_one(*given):
        sys.settrace(debugger)  # as breakpoint() does
        return lstm.backward(*given)

    try:
        run_of("lstm", starts_one, *given)
        assert sys.gettrace() is debugger
    finally:
        sys.settrace(before)


def test_threads_do_not_see_each_other(rng):
    problems = [problem("lstm", rng, T=20) for _ in range(4)]
    found = [None] * 4

    def work(k):
        found[k] = plain(run_of("lstm", by_another_index if k % 2 else with_while, *problems[k]))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(first.term, first.t) for first in found] == [("da_o", 19), ("dc", 18)] * 2


def test_what_is_compiled_or_elsewhere_is_absent(rng):
    """A function whose code the observer does not follow: its gradients alone."""
    code = compile("def passed(f, *given):\n    dh = f(*given)\n    return dh\n", "<elsewhere>", "exec")
    elsewhere = {}
    exec(code, elsewhere)
    cache, dy, d_last, params = problem("lstm", rng)
    observer = Observer(len, (T, N, H), "ifgo")
    assert observer.run([1, 2]) == 2
    assert observer.terms() == {}
    run = run_of("lstm", functools.partial(elsewhere["passed"], Backward()), cache, dy, d_last, params)
    assert {*run.backward_terms} == {"da_i", "da_f", "da_g", "da_o"}


def test_it_is_called_once_and_changes_nothing_of_the_trace(rng):
    """For each layer direction; it may write into all that it is given."""
    calls = []

    def careless(dy, cache, *d_last):
        calls.append(dy.shape)
        grads = lstm.backward(dy, cache, *d_last)
        for array in (dy, *d_last, cache.gates, cache.h, cache.W_h):
            array[...] = 7
        return lstm.Grads(*(np.broadcast_to(g, g.shape) for g in grads))  # read-only views

    layer = LSTM(D, H, num_layers=2, bidirectional=True, rng=rng)
    x, dy = rng.standard_normal((6, N, D)), rng.standard_normal((6, N, 2 * H))
    trace = scratchnet.trace(layer, x, dy=dy, backward=careless)
    assert calls == [(6, N, H)] * 4
    own = scratchnet.trace(layer, x, dy=dy)
    for name, run in trace.runs.items():
        assert plain(run) is None
        for term in own[name].forward_terms:
            np.testing.assert_array_equal(run[term], own[name][term])
        np.testing.assert_allclose(run["dy"], own[name]["dy"], rtol=1e-10, atol=1e-14)


def test_a_hundred_steps_are_traced_in_less_than_a_second(rng):
    layer = LSTM(8, 64, rng=rng)
    x, dy = rng.standard_normal((100, 4, 8)), rng.standard_normal((100, 4, 64))
    planted = mistakes.plant(next(m for m in mistakes.load() if m.id == "lstm-dc-next-forgotten"))
    seconds = []
    while len(seconds) < 3 and (not seconds or min(seconds) > 1):
        started = time.process_time()
        run = scratchnet.trace(layer, x, dy=dy, backward=planted.backward).run
        assert plain(run).t == 98
        seconds.append(time.process_time() - started)
    assert min(seconds) < 1


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        (lambda grads: None, TypeError, "backward returned a NoneType: expected the gradients dx, dh0, dc0, dW_x"),
        (lambda grads: grads | {"dW_h": None}, ValueError, "backward returned no dW_h: expected the gradients"),
        (lambda grads: tuple(grads.values())[:3], ValueError, "returned no dW_x, dW_h, db"),
        (lambda grads: grads | {"dW_h": grads["dW_h"].T}, ValueError, r"backward's dW_h is \(20, 5\)"),
        (lambda grads: grads | {"da": grads["da"][:1]}, ValueError, r"backward's da is \(1, 3, 20\)"),
        (lambda grads: grads | {"db": [0.0]}, TypeError, "backward returned db as list: expected an array of float64"),
        (lambda grads: grads | {"db": np.zeros(20, int)}, TypeError, "backward returned db as int64"),
    ],
)
def test_what_is_no_gradient_is_refused(returned, error, message, rng):
    with pytest.raises(error, match=message):
        run_of("lstm", lambda *given: returned(lstm.backward(*given)._asdict()), *problem("lstm", rng))


# ---- the trace -----------------------------------------------------------------------------------


def foreign_trace(rng, backward=by_another_index, lengths=None):
    model = Sequential(rec=LSTM(D, H, rng=rng), head=Linear(H, 1, rng=rng))
    x, target = rng.standard_normal((6, N, D)), rng.standard_normal((6, N, 1))
    return scratchnet.trace(model, x, target, lengths=lengths, backward=backward)


def test_a_foreign_trace_says_where_it_first_differs(rng):
    trace = foreign_trace(rng)
    first = plain(trace.run)
    assert (first.term, first.t) == ("dc", 4)
    sample = f"sample {first.sample}, " if first.sample else ""
    assert f"first differs: dc at t=4, {sample}unit {first.unit} (" in str(trace)
    assert f"{first.value:.2g} instead of {first.right:.2g}" in str(trace)
    same = foreign_trace(rng, lambda *given: lstm.backward(*given))
    assert "first differs: nothing, up to rounding" in str(same)
    assert "first differs" not in str(scratchnet.trace(LSTM(D, H, rng=rng), same.x, dy=np.ones((6, N, H))))


@pytest.mark.parametrize("lengths", [None, [6, 2, 5]], ids=["full", "ragged"])
@pytest.mark.parametrize("backward", [by_another_index, Backward()], ids=["seen", "unseen"])
def test_a_file_keeps_what_was_seen_and_the_right_side(backward, lengths, rng, tmp_path):
    trace = foreign_trace(rng, backward, lengths)
    trace.save(tmp_path / "t.npz")
    again = scratchnet.load_trace(tmp_path / "t.npz")
    assert str(again) == str(trace)
    assert again.run.names == trace.run.names
    for one, other in ((again.run, trace.run), (again.run.right, trace.run.right)):
        for name in other:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    assert plain(again.run) == plain(trace.run)
    np.testing.assert_array_equal(again.run.weight_gradients(2)["dW_h"], trace.run.weight_gradients(2)["dW_h"])


@pytest.mark.parametrize("name", CELLS)
def test_weight_gradients_of_a_step_are_those_of_its_own_da(name, rng):
    """They add up to what follows from its da; of the right backward they are the right ones."""
    cell = CELLS[name]
    given = problem(name, rng, T=6, final=True)
    run = run_of(name, lambda *given: cell.backward(*given), *given)
    steps = [run.weight_gradients(t) for t in range(6)]
    assert steps[0].keys() == {f"d{p}" for p in run.params}
    for weight in steps[0]:
        right = [run.right.weight_gradients(t)[weight] for t in range(6)]
        np.testing.assert_allclose([step[weight] for step in steps], right, rtol=1e-9, atol=1e-11)
        norms = [np.linalg.norm(step[weight]) for step in steps]
        np.testing.assert_allclose(run.step_norms[weight], norms, rtol=1e-12)
    assert inconsistent_weights(run) == []


def test_a_wrong_da_makes_its_own_weight_gradients(rng):
    cache, *_ = given = problem("lstm", rng, T=6)
    run = run_of("lstm", with_while, *given)
    own = np.einsum("nh,ng->hg", cache.h[2], run["da"][2])
    np.testing.assert_allclose(run.weight_gradients(2)["dW_h"], own, rtol=1e-12)
    assert not np.allclose(own, run.right.weight_gradients(2)["dW_h"], rtol=1e-3)
    assert inconsistent_weights(run) == []


def test_runs_of_different_models_or_inputs_are_not_compared(rng):
    one = scratchnet.trace(LSTM(D, H, rng=rng), np.ones((4, N, D)), dy=np.ones((4, N, H))).run
    layer = LSTM(D, H, rng=rng)
    other = scratchnet.trace(layer, np.ones((4, N, D)), dy=np.ones((4, N, H))).run
    assert first_difference(other) is None
    assert first_difference(other, scratchnet.trace(layer, np.ones((4, N, D)), dy=np.ones((4, N, H))).run) is None
    with pytest.raises(ValueError, match="cannot be compared: W_x differs, so they are of different models or inputs"):
        first_difference(one, other)
    shorter = scratchnet.trace(layer, np.ones((3, N, D)), dy=np.ones((3, N, H))).run
    with pytest.raises(ValueError, match="cannot be compared: x differs"):
        differences(other, shorter)
    unit = scratchnet.trace(Recurrent("gru", D, H, rng=rng), np.ones((4, N, D)), dy=np.ones((4, N, H))).run
    with pytest.raises(ValueError, match="l0 is of the cell lstm and l0 of the cell gru"):
        differences(other, unit)
    with pytest.raises(ValueError, match="expected traces with a target or dy"):
        differences(scratchnet.trace(layer, np.ones((4, N, D))).run)


def test_two_foreign_runs_are_compared_with_each_other(rng):
    given = problem("lstm", rng, T=6)
    right, wrong = (run_of("lstm", f, *given) for f in (lambda *given: lstm.backward(*given), with_while))
    assert plain(wrong, right)[:6] == plain(wrong)[:6]
    assert plain(right, wrong).value == pytest.approx(plain(wrong).right, rel=1e-12)


def test_a_mistake_is_called_by_its_name(rng, monkeypatch):
    """By the catalogue that is registered, or that is given; none is known to the library itself."""

    project = tomllib.loads((ROOT / "course/instructors/pyproject.toml").read_text(encoding="utf-8"))["project"]
    (entry,) = project["entry-points"][difference.MISTAKES].items()
    plugins = [EntryPoint(*entry, difference.MISTAKES)]
    trace = foreign_trace(rng)
    monkeypatch.setattr(difference, "entry_points", lambda group: [])
    assert first_difference(trace.run).mistake == ""
    monkeypatch.setattr(difference, "entry_points", lambda group: plugins if group == "scratchnet.mistakes" else [])
    assert first_difference(trace.run).mistake == "dc_next is not added"
    assert str(trace).rstrip().endswith("): dc_next is not added")
    assert first_difference(foreign_trace(rng, with_while).run).mistake == ""
    mine = first_difference(trace.run, known=lambda cell: [("mine", by_another_index), ("other", with_while)])
    assert mine.mistake == "mine"


@pytest.mark.parametrize("mistake", [m for m in CATALOGUE if m.values[0].cell in ("rnn", "lstm", "gru")])
def test_each_mistake_of_the_catalogue_is_recognised(mistake, rng):
    """No two of a cell give the same numbers, so each has its own name."""
    given = problem(mistake.cell, rng, mistake.options, final=mistake.at_final)
    with np.errstate(all="ignore"):
        run = run_of(mistake.cell, mistakes.plant(mistake).backward, *given)
        assert first_difference(run, known=mistakes.backwards).mistake == mistake.name


def test_a_mistake_in_a_layer_above_is_not_in_the_cell(rng):
    """It changes the dy that arrives, which is the same on both sides; with the right model's trace it is refused."""
    row = next(m for m in mistakes.load() if m.id == "layer_norm-gain-forgotten")
    x, target = rng.standard_normal((6, N, D)), rng.standard_normal((6, N, H))
    lower = LSTM(D, H, rng=rng)
    runs = []
    for norm in (LAYERS["layer_norm"](H), mistakes.plant_layer(row)(H)):
        norm.params["gain"][...] = 2.0
        model = Sequential(rec=lower, norm=norm)
        runs.append(scratchnet.trace(model, x, target, backward=lambda *given: lstm.backward(*given)).run)
    right, wrong = runs
    assert plain(wrong) is None
    assert not np.allclose(wrong["dy"], right["dy"])
    with pytest.raises(ValueError, match="cannot be compared: dy differs"):
        differences(wrong, right)


def test_lower_layers_get_what_the_foreign_backward_sends_them(rng):
    layer = LSTM(D, H, num_layers=2, rng=rng)
    x, dy = rng.standard_normal((6, N, D)), rng.standard_normal((6, N, H))
    trace = scratchnet.trace(layer, x, dy=dy, backward=with_while)
    np.testing.assert_array_equal(trace["l0"]["dy"], trace["l1"]["dx"])
    np.testing.assert_array_equal(trace["l0"].right["dy"], trace["l0"]["dy"])
    assert [plain(run).term for run in trace.runs.values()] == ["da_o", "da_o"]


def test_other_cells_of_other_people(rng):
    """A GRU and an RNN with t and the library's names, each with one mistake."""

    def mine(dy, cache, dh_next):
        da = np.zeros_like(cache.gates)
        dm = np.zeros_like(da)
        for t in reversed(range(len(dy))):
            r, z, n = np.split(cache.gates[t], 3, axis=1)
            dh = dy[t] + dh_next
            dn, dz = dh * (1 - z), dh * (cache.h[t] - n)
            da_n = dn * (1 - n * n)
            dr = da_n * cache.h[t]  # m_n in the right one
            da[t] = np.concatenate([dr * r * (1 - r), dz * z * (1 - z), da_n], axis=1)
            dm[t] = np.concatenate([da[t, :, : 2 * H], da_n * r], axis=1)
            dh_next = dm[t] @ cache.W_h.T
            dh_next += dh * z
        weights = np.einsum("tnd,tng->dg", cache.x, da), np.einsum("tnh,tng->hg", cache.h[:-1], dm)
        return da @ cache.W_x.T, dh_next, *weights, da.sum((0, 1)), dm[..., 2 * H :].sum((0, 1)), da

    run = run_of("gru", mine, *problem("gru", rng, T=6, final=True))
    first = plain(run)
    assert (first.term, first.t) == ("dr", 5)
    assert {"dn", "dz", "dr", "dm_n", "dh_next"} <= {*run.names}
    assert run.weight_gradients(1).keys() == {"dW_x", "dW_h", "db", "db_hn"}

    def simple(dy, cache, dh_next):
        da = np.zeros_like(dy)
        for t in reversed(range(len(dy))):
            dh = dy[t] + dh_next
            da[t] = dh * (1 - cache.h[t] ** 2)  # h[t + 1] in the right one
            dh_next = da[t] @ cache.W_h.T
        weights = np.einsum("tnd,tng->dg", cache.x, da), np.einsum("tnh,tng->hg", cache.h[:-1], da)
        return rnn.Grads(da @ cache.W_x.T, dh_next, *weights, da.sum((0, 1)), da)

    first = plain(run_of("rnn", simple, *problem("rnn", rng, T=6, final=True)))
    assert (first.term, first.t) == ("da_h", 5)
    assert gru.GATES == "rzn"
