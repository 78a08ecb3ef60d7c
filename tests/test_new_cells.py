"""The cells that PyTorch has no layer for: each built once more from torch tensors, operation by operation, and its limits."""

import json
import re

import numpy as np
import pytest
import scratchnet
import torch
from scratchnet.arrays import to_host
from scratchnet.cells import (
    CELLS,
    lstm,
    lstm_coupled,
    lstm_masked,
    lstm_no_forget,
    lstm_norm,
    lstm_peephole,
    mingru,
    normalise,
    sru,
)
from scratchnet.gradcheck import check_cell
from scratchnet.layers import LSTM, Linear, MaskedLSTM, Recurrent, Sequential
from scratchnet.plots import gates, kinds
from scratchnet.tracing import jacobians
from scratchnet.training import bptt, checkpoint
from scratchnet_instructor import mistakes

NEW = ("lstm_peephole", "lstm_coupled", "lstm_no_forget", "lstm_norm", "lstm_masked", "sru", "mingru")
sigmoid, tanh = torch.sigmoid, torch.tanh


# ---- one step of each cell in torch: (x, states, parameters, t) -> new states ---------------------------------------------


def peephole(x, s, p, t):
    h, c = s
    i, f, g, o = (x @ p["W_x"] + h @ p["W_h"] + p["b"]).chunk(4, dim=-1)
    new = sigmoid(f + p["p_f"] * c) * c + sigmoid(i + p["p_i"] * c) * tanh(g)
    return sigmoid(o + p["p_o"] * new) * tanh(new), new


def coupled(x, s, p, t):
    h, c = s
    i, g, o = (x @ p["W_x"] + h @ p["W_h"] + p["b"]).chunk(3, dim=-1)
    new = c + sigmoid(i) * (tanh(g) - c)
    return sigmoid(o) * tanh(new), new


def no_forget(x, s, p, t):
    h, c = s
    i, g, o = (x @ p["W_x"] + h @ p["W_h"] + p["b"]).chunk(3, dim=-1)
    new = c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(new), new


def norm(x, s, p, t):
    h, c = s
    normal = torch.nn.functional.layer_norm
    products = ((x @ p["W_x"], p["gain_x"]), (h @ p["W_h"], p["gain_h"]))
    a = sum(normal(m, m.shape[-1:], weight=gain) for m, gain in products) + p["b"]
    i, f, g, o = a.chunk(4, dim=-1)
    new = sigmoid(f) * c + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(normal(new, new.shape[-1:], p["gain_c"], p["b_c"])), new


def masked(x, s, p, t, drop=None, keep_h=None, keep_c=None):
    h, c = s
    seen = h if drop is None else h * drop
    i, f, g, o = (x @ p["W_x"] + seen @ p["W_h"] + p["b"]).chunk(4, dim=-1)
    new_c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    new_h = sigmoid(o) * tanh(new_c)
    if keep_h is not None:
        new_h = torch.lerp(new_h, h, keep_h[t])
    if keep_c is not None:
        new_c = torch.lerp(new_c, c, keep_c[t])
    return new_h, new_c


def simple(x, s, p, t):
    _, c = s
    u, f, r, skip = (x @ p["W_x"] + p["b"]).chunk(4, dim=-1)
    f, r = sigmoid(f + p["v_f"] * c), sigmoid(r + p["v_r"] * c)
    new = torch.lerp(u, c, f)
    return torch.lerp(skip, new, r), new


def minimal(x, s, p, t):
    z, n = (x @ p["W_x"] + p["b"]).chunk(2, dim=-1)
    return (torch.lerp(s[0], n, sigmoid(z)),)


STEPS = dict(zip(NEW, (peephole, coupled, no_forget, norm, masked, simple, minimal)))


def random_call(name, rng, T=7, N=4, D=3, H=6, dtype=np.float64):
    """x, states by name, parameters by name, dy, and the gradients at the final states."""
    cell = CELLS[name]
    states = {f"{s}0": rng.standard_normal((N, H)).astype(dtype) for s in cell.STATES}
    params = {
        p: (rng.standard_normal(s) / 2 + p.startswith("gain")).astype(dtype) for p, s in cell.param_shapes(D, H).items()
    }
    arriving = [
        rng.standard_normal((T, N, H)).astype(dtype),
        *(rng.standard_normal((N, H)).astype(dtype) for _ in states),
    ]
    return rng.standard_normal((T, N, D)).astype(dtype), states, params, arriving


def in_torch(name, x, states, params, arriving, lengths, **masks):
    """y and every gradient by name, by torch's autograd through the cell's equations."""
    leaves = {key: torch.tensor(value, requires_grad=True) for key, value in {"x": x, **states, **params}.items()}
    masks = {key: torch.as_tensor(value) for key, value in masks.items()}
    s, outputs = tuple(leaves[key] for key in states), []
    dy, *d_last = map(torch.tensor, arriving)
    alive = torch.ones(x.shape[:2], dtype=torch.bool)
    if lengths is not None:
        alive = torch.arange(len(x))[:, None] < torch.tensor(lengths)
    for t in range(len(x)):
        new = STEPS[name](leaves["x"][t], s, leaves, t, **masks)
        s = tuple(torch.where(alive[t][:, None], a, b) for a, b in zip(new, s))
        outputs.append(s[0])
    y = torch.stack(outputs)
    loss = (y * dy * alive[..., None]).sum() + sum((a * d).sum() for a, d in zip(s, d_last))
    loss.backward()
    found = {key: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for key, leaf in leaves.items()}
    return y.detach().numpy(), {f"d{key}": grad.numpy() for key, grad in found.items()}


def random_masks(rng, T=7, N=4, H=6, dtype=np.float64):
    return {
        "drop": ((rng.random((N, H)) < 0.6) / 0.6).astype(dtype),
        "keep_h": (rng.random((T, N, H)) < 0.4).astype(dtype),
        "keep_c": (rng.random((T, N, H)) < 0.5).astype(dtype),
    }


def assert_as_torch(name, call, lengths, tolerance, **masks):
    x, states, params, arriving = call
    y, cache = CELLS[name].forward(x, *states.values(), *params.values(), lengths=lengths, **masks)
    grads = CELLS[name].backward(arriving[0], cache, *arriving[1:])
    want_y, want = in_torch(name, *call, lengths, **masks)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(y, want_y, rtol=0, atol=tolerance)
    for key, right in want.items():
        got = getattr(grads, key)
        assert got.dtype == x.dtype, key
        np.testing.assert_allclose(got, right, rtol=0, atol=tolerance * max(1, np.abs(right).max()), err_msg=key)


ragged = pytest.mark.parametrize("lengths", [None, [7, 1, 4, 6]], ids=["full", "ragged"])
types = pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-10), (np.float32, 1e-5)])


@types
@ragged
@pytest.mark.parametrize("name", NEW)
def test_the_cell_built_from_torch_tensors(name, lengths, dtype, tolerance, rng):
    assert_as_torch(name, random_call(name, rng, dtype=dtype), lengths, tolerance)


def test_a_share_of_zero_keeps_nothing(rng):
    h = rng.standard_normal((4, 2, 3))
    np.testing.assert_array_equal(lstm_masked.mask("keep_h", 0.0, h), np.zeros((3, 2, 3)))
    for name, given in (("keep_h", -0.1), ("keep_c", 1.1), ("drop", -1)):
        with pytest.raises(ValueError, match=f"{name} is {given}"):
            lstm_masked.mask(name, given, h)


@types
@ragged
@pytest.mark.parametrize("which", [("drop",), ("keep_h",), ("keep_c",), ("drop", "keep_h", "keep_c")], ids="+".join)
def test_masks_in_torch(which, lengths, dtype, tolerance, rng):
    masks = {key: value for key, value in random_masks(rng, dtype=dtype).items() if key in which}
    assert_as_torch("lstm_masked", random_call("lstm_masked", rng, dtype=dtype), lengths, tolerance, **masks)


def test_layer_normalisation_is_torchs(rng):
    x, dn = rng.standard_normal((5, 3, 8)), rng.standard_normal((5, 3, 8))
    leaf = torch.tensor(x, requires_grad=True)
    want = torch.nn.functional.layer_norm(leaf, (8,))
    want.backward(torch.tensor(dn))
    n, scale = normalise.forward(x)
    np.testing.assert_allclose(n, want.detach().numpy(), atol=1e-13)
    np.testing.assert_allclose(normalise.backward(dn, n, scale), leaf.grad.numpy(), atol=1e-13)
    same = np.full((1, 4), 3.0)  # no variance: eps keeps it finite
    n, scale = normalise.forward(same)
    assert not n.any()
    np.testing.assert_allclose(scale, 1 / np.sqrt(normalise.EPS))


@ragged
def test_gradients_with_masks(lengths, rng):
    """Against central differences: the masks of one sequence at a time, and zoneout's expectation, one number."""
    T, N, H = 1, 4, 6
    masks = random_masks(rng, T, N, H)
    assert check_cell(lstm_masked, T=1, N=N, H=H, **masks).error <= 1e-6
    few = None if lengths is None else [4, 1, 2]
    assert check_cell(lstm_masked, lengths=few, drop=0.8, keep_h=0.3, keep_c=0.4).error <= 1e-6


# ---- limits: where one cell is another ------------------------------------------------------------------------------------


def results(cell, x, states, params, arriving, **options):
    y, cache = cell.forward(x, *states, *params, **options)
    return {"y": y, **cell.backward(arriving[0], cache, *arriving[1:])._asdict()}


def test_peepholes_at_zero_are_the_lstm(rng):
    x, states, params, arriving = random_call("lstm_peephole", rng)
    for p in ("p_i", "p_f", "p_o"):
        params[p][:] = 0
    got = results(lstm_peephole, x, states.values(), params.values(), arriving)
    want = results(lstm, x, states.values(), [params[p] for p in ("W_x", "W_h", "b")], arriving)
    for key, right in want.items():
        np.testing.assert_allclose(got[key], right, atol=1e-14, err_msg=key)
    assert np.abs(got["dp_o"]).min() > 0  # the gradient of a peephole at zero is not zero


def test_coupled_is_an_lstm_with_f_from_i(rng):
    """1 - sigmoid(a) = sigmoid(-a): the LSTM whose a_f is minus its a_i."""
    x, states, params, arriving = random_call("lstm_coupled", rng)

    def widened(p):
        i, g, o = np.split(p, 3, axis=-1)
        return np.concatenate([i, -i, g, o], axis=-1)

    def folded(d):
        i, f, g, o = np.split(d, 4, axis=-1)
        return np.concatenate([i - f, g, o], axis=-1)

    got = results(lstm_coupled, x, states.values(), params.values(), arriving)
    want = results(lstm, x, states.values(), map(widened, params.values()), arriving)
    for key, right in want.items():
        narrow = folded(right) if key in ("dW_x", "dW_h", "db", "da") else right
        np.testing.assert_allclose(got[key], narrow, atol=1e-12, err_msg=key)


def test_no_forget_is_an_lstm_with_f_open(rng):
    x, states, params, arriving = random_call("lstm_no_forget", rng)

    def widened(p, f):
        i, *rest = np.split(p, 3, axis=-1)
        return np.concatenate([i, np.full_like(i, f), *rest], axis=-1)

    wide = [widened(params["W_x"], 0), widened(params["W_h"], 0), widened(params["b"], 100)]
    got = results(lstm_no_forget, x, states.values(), params.values(), arriving)
    want = results(lstm, x, states.values(), wide, arriving)
    for key in ("y", "dx", "dh0", "dc0"):
        np.testing.assert_allclose(got[key], want[key], atol=1e-12, err_msg=key)


def test_the_constant_error_carousel(rng):
    """With shut gates what arrives at the cell state leaves it unchanged a thousand steps earlier."""
    x, states, params, _ = random_call("lstm_no_forget", rng, T=1000)
    params["b"][:6] = params["b"][12:] = -200
    d = rng.standard_normal((4, 6))
    _, cache = lstm_no_forget.forward(x, *states.values(), *params.values())
    np.testing.assert_array_equal(lstm_no_forget.backward(np.zeros((1000, 4, 6)), cache, dc_last=d).dc0, d)


def test_without_masks_it_is_the_lstm_bit_by_bit(rng):
    x, states, params, arriving = random_call("lstm_masked", rng, dtype=np.float32)
    for lengths in (None, [7, 1, 4, 6]):
        got = results(lstm_masked, x, states.values(), params.values(), arriving, lengths=lengths)
        want = results(lstm, x, states.values(), params.values(), arriving, lengths=lengths)
        for key, right in want.items():
            np.testing.assert_array_equal(got[key], right, err_msg=key)


def test_zoneout_that_keeps_all_keeps_the_state(rng):
    x, states, params, arriving = random_call("lstm_masked", rng)
    got = results(lstm_masked, x, states.values(), params.values(), arriving, keep_h=1.0, keep_c=1)
    np.testing.assert_array_equal(got["y"], np.broadcast_to(states["h0"], got["y"].shape))
    np.testing.assert_allclose(got["dh0"], arriving[0].sum(axis=0) + arriving[1], rtol=1e-13)
    np.testing.assert_array_equal(got["dc0"], arriving[2])
    assert not got["dW_x"].any()


def test_size_of_the_weights_does_not_matter_to_the_normalised_lstm(rng):
    """What LN is for: W_x and W_h a hundred times as large give the same outputs, up to eps."""
    x, states, params, _ = random_call("lstm_norm", rng)
    y, _ = lstm_norm.forward(x, *states.values(), *params.values())
    params["W_x"] *= 100
    params["W_h"] *= 100
    np.testing.assert_allclose(lstm_norm.forward(x, *states.values(), *params.values())[0], y, atol=1e-3)


def test_sru_reads_no_h0_and_shows_its_input_through_a_shut_gate(rng):
    x, states, params, arriving = random_call("sru", rng)
    y, cache = sru.forward(x, *states.values(), *params.values())
    np.testing.assert_array_equal(sru.forward(x, states["h0"] + 1, states["c0"], *params.values())[0], y)
    assert not sru.backward(arriving[0], cache, *arriving[1:]).dh0.any()
    params["b"][12:18] = -100  # r = 0
    y, _ = sru.forward(x, *states.values(), *params.values())
    np.testing.assert_allclose(y, x @ params["W_x"][:, 18:] + params["b"][18:], atol=1e-12)


def test_mingru_with_z_shut_remembers_and_open_forgets(rng):
    x, states, params, _ = random_call("mingru", rng)
    params["W_x"][:, :6] = 0
    params["b"][:6] = -100
    y, _ = mingru.forward(x, *states.values(), *params.values())
    np.testing.assert_allclose(y, np.broadcast_to(states["h0"], y.shape), rtol=1e-12)
    params["b"][:6] = 100
    y, _ = mingru.forward(x, *states.values(), *params.values())
    np.testing.assert_allclose(y, x @ params["W_x"][:, 6:] + params["b"][6:], rtol=1e-9)


# ---- the masked layer -------------------------------------------------------------------------------------------------------


def test_masks_are_drawn_as_the_papers_say(rng):
    layer = MaskedLSTM(3, 50, 0.25, 0.1, 0.4, input_dropout=0.5, num_layers=2, dropout=0.3, rng=rng, dtype=np.float32)
    x = rng.standard_normal((40, 20, 3)).astype(np.float32)
    y, cache = layer.forward(x, training=True)
    assert y.dtype == np.float32
    for run in cache.cell_caches:
        np.testing.assert_array_equal(run.drop, np.broadcast_to(run.drop[0], run.drop.shape))  # one mask for all steps
        assert set(np.unique(run.drop)) == {np.float32(0), np.float32(1 / 0.75)}
        assert np.mean(run.drop[0] == 0) == pytest.approx(0.25, abs=0.05)
        for keep, p in ((run.keep_h, 0.1), (run.keep_c, 0.4)):
            assert set(np.unique(keep)) == {0.0, 1.0}
            assert np.mean(keep) == pytest.approx(p, abs=0.01)
            assert (keep[0] != keep[1]).any()  # anew at every step
        kept = run.keep_h == 1
        np.testing.assert_array_equal(run.h[1:][kept], run.h[:-1][kept])
        kept = run.keep_c == 1
        np.testing.assert_array_equal(run.c[1:][kept], run.c[:-1][kept])
    assert (cache.cell_caches[0].drop != cache.cell_caches[1].drop).any()
    between, _, of_x = cache.masks
    assert between.shape == (1, 20, 50)
    assert of_x.shape == (1, 20, 3)
    np.testing.assert_array_equal(cache.cell_caches[0].x, x * of_x)
    assert np.mean(between == 0) == pytest.approx(0.3, abs=0.05)
    again, _ = layer.forward(x, training=True)
    assert (again != y).any()
    assert {g.dtype for g in (layer.backward(np.ones_like(y), cache), *layer.grads.values())} == {np.dtype(np.float32)}


def test_prediction_is_deterministic_and_takes_the_expectation(rng):
    layer = MaskedLSTM(3, 5, 0.25, 0.1, 0.4, input_dropout=0.5, rng=rng)
    x = rng.standard_normal((6, 2, 3))
    before = rng.bit_generator.state
    y, cache = layer.forward(x)
    np.testing.assert_array_equal(layer.forward(x)[0], y)
    assert rng.bit_generator.state == before
    assert cache.cell_caches[0].drop is None
    assert cache.masks[-1] is None
    zeros = np.zeros((2, 5))
    want, _ = lstm_masked.forward(x, zeros, zeros, *layer.params.values(), keep_h=0.1, keep_c=0.4)
    np.testing.assert_array_equal(y, want)


def test_without_noise_the_layer_is_the_lstm(rng):
    x = rng.standard_normal((2, 6, 3))
    same = [
        make(3, 5, rng=np.random.default_rng(1), num_layers=2, bidirectional=True, batch_first=True, engine="array")
        for make in (LSTM, MaskedLSTM)
    ]
    ys = [layer.forward(x, training=True, lengths=[6, 3])[0] for layer in same]
    np.testing.assert_array_equal(*ys)


def test_the_step_engine_takes_masks_too(rng):
    made = []
    for engine in ("array", "step"):
        layer = MaskedLSTM(3, 5, 0.25, 0.1, 0.4, rng=np.random.default_rng(1), bidirectional=True, engine=engine)
        x = np.random.default_rng(2).standard_normal((6, 2, 3))
        y, cache = layer.forward(x, training=True, lengths=[6, 3])
        made.append([y, layer.backward(y, cache), *layer.grads.values()])
    for array, step in zip(*made):
        np.testing.assert_allclose(step, array, atol=1e-13)


# ---- answers ------------------------------------------------------------------------------------------------------------------


def test_bad_masks_and_shapes_are_answered_with_both_sides(rng):
    x, states, params, _ = random_call("lstm_masked", rng)
    given = [x, *states.values(), *params.values()]
    with pytest.raises(
        ValueError, match=r"drop is \(7, 4, 6\) but x and h0 make \(7, 4, 6\): expected a number or \(4, 6\)"
    ):
        lstm_masked.forward(*given, drop=np.ones((7, 4, 6)))
    with pytest.raises(
        ValueError, match=r"keep_h is \(4, 6\) but x and h0 make \(7, 4, 6\): expected a number or \(7, 4, 6\)"
    ):
        lstm_masked.forward(*given, keep_h=np.ones((4, 6)))
    with pytest.raises(ValueError, match=r"keep_c is 1\.5: expected a share, from 0 to 1"):
        lstm_masked.forward(*given, keep_c=1.5)
    with pytest.raises(TypeError, match="keep_c is float32 but x is float64"):
        lstm_masked.forward(*given, keep_c=np.ones((7, 4, 6), np.float32))
    with pytest.raises(ValueError, match=r"dropout probability is 1\.0: expected 0 <= p < 1"):
        MaskedLSTM(2, 3, zoneout_h=1.0, rng=rng)


@pytest.mark.parametrize("name", NEW)
def test_every_parameter_of_another_shape_is_refused(name, rng):
    x, states, params, _ = random_call(name, rng)
    for wrong in params:
        changed = {**params, wrong: params[wrong][..., :-1]}
        with pytest.raises(ValueError, match=rf"{wrong} is \(.* but x has 3 features and h0 has 6 units: expected \("):
            CELLS[name].forward(x, *states.values(), *changed.values())
    changed = {**params, wrong: params[wrong].astype(np.float32)}
    with pytest.raises(TypeError, match=f"{wrong} is float32 but x is float64"):
        CELLS[name].forward(x, *states.values(), *changed.values())


@pytest.mark.parametrize("name", NEW)
def test_initial_values(name, rng):
    """Gains at one, a forget gate's bias at forget_bias, every other vector at zero; W_h orthogonal gate by gate."""
    cell, layer = CELLS[name], Recurrent(name, 3, 6, rng=rng, forget_bias=1.5)
    for key in cell.param_shapes(3, 6):
        value = layer.params[f"{key}_l0"]
        if key.startswith("gain"):
            np.testing.assert_array_equal(value, 1)
        elif key == "b":
            for letter, block in zip(cell.GATES, np.split(value, len(cell.GATES))):
                np.testing.assert_array_equal(block, 1.5 if letter == "f" else 0)
        elif key == "W_h":
            for block in np.split(value, len(cell.GATES), axis=1):
                np.testing.assert_allclose(block.T @ block, np.eye(6), atol=1e-12)
        else:
            assert bool(np.any(value)) == (key == "W_x"), key


# ---- looking ------------------------------------------------------------------------------------------------------------------


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


@pytest.mark.parametrize("name", NEW)
def test_everything_that_looks_at_a_run_takes_it(name, rng, tmp_path):
    """Trace, weight gradients, truncated BPTT, figures, checkpoint, page: stacked, both ways, ragged."""
    model = Sequential(rec=Recurrent(name, 2, 4, num_layers=2, bidirectional=True, rng=rng), head=Linear(8, 1, rng=rng))
    for p in model.params.values():
        p += 0.2 * rng.standard_normal(p.shape)
    x, target = rng.standard_normal((6, 3, 2)), rng.standard_normal((6, 3, 1))
    trace = scratchnet.trace(model, x, target, lengths=[6, 1, 4])
    alive = np.arange(6)[:, None, None] < np.array([6, 1, 4])[:, None]
    for run in trace.runs.values():
        np.testing.assert_allclose(
            np.concatenate([run[f"da_{g}"] for g in run.cell.GATES], axis=2), run["da"], atol=1e-14
        )
        np.testing.assert_allclose(run["dh"], np.where(alive, run["dy"] + run["dh_next"], 0), atol=1e-15)
        for key in run.params:
            np.testing.assert_allclose(
                sum(run.weight_gradients(t)[f"d{key}"] for t in range(6)), run[f"d{key}"], atol=1e-12
            )
        whole = bptt.truncated(run.cell, to_host(run.dy), run.cache, 6, 6)
        plain = run.cell.backward(run.dy, run.cache)
        np.testing.assert_array_equal(whole.dx, plain.dx)
        assert np.isfinite(jacobians(run, 0)).all()
    trace.save(tmp_path / "t.npz")
    again = scratchnet.load_trace(tmp_path / "t.npz")
    for key in trace.run:
        np.testing.assert_array_equal(again.run[key], trace.run[key])
    written = list(kinds.write(again, "all", tmp_path / "figures"))
    assert len(list((tmp_path / "figures").glob("*.png"))) >= 6, written
    checkpoint.save(model, tmp_path / "m.npz")
    checkpoint.load(model, tmp_path / "m.npz")
    page = data_of(scratchnet.to_html(trace, tmp_path / "t.html").read_text(encoding="utf-8"))
    assert page["traces"][0]["model"]["editable"]
    assert page["traces"][0]["runs"][0]["letters"] == CELLS[name].GATES
    assert page["programs"][0]["walk"]["backward"]
    assert page["programs"][0]["drawing"]["nodes"]


@pytest.mark.parametrize("lengths", [None, [6, 1, 4]], ids=["full", "ragged"])
@pytest.mark.parametrize("name", NEW)
def test_terms_are_the_cells_own(name, lengths, rng):
    """Gates follow from pre-activations, sums from their parts; what a step sends back is what the step before receives."""
    layer = Recurrent(name, 2, 4, rng=rng)
    for p in layer.params.values():
        p += 0.3 * rng.standard_normal(p.shape)
    x, dy = rng.standard_normal((6, 3, 2)), rng.standard_normal((6, 3, 4))
    run = scratchnet.trace(layer, x, dy=dy, lengths=lengths).run
    alive = np.arange(6)[:, None, None] < run.lengths[:, None]
    linear = {"sru": "us", "mingru": "n"}.get(name, "")
    c, p = run["c" if "c" in run else "h"], run.params  # what peepholes and SRU's gates also read
    also = {"lstm_peephole": {"i": c[:-1], "f": c[:-1], "o": c[1:]}, "sru": {"f": c[:-1], "r": c[:-1]}}.get(name, {})
    for letter in run.cell.GATES:
        squash = (lambda a: a) if letter in linear else np.tanh if letter in "gn" else (lambda a: 1 / (1 + np.exp(-a)))
        a = run[f"a_{letter}"]
        if letter in also:
            a = a + p[f"p_{letter}" if name == "lstm_peephole" else f"v_{letter}"] * also[letter]
        np.testing.assert_allclose(np.where(alive, run[letter], 0), np.where(alive, squash(a), 0), atol=1e-13)
    kept = run["kept"] if "kept" in run else c[:-1]  # of lstm_no_forget it is c' itself
    parts = {"h" if name == "mingru" else "c": kept + run["written"]}
    for state, total in parts.items():
        np.testing.assert_allclose(np.where(alive, run[state][1:], 0), np.where(alive, total, 0), atol=1e-14)
    for s in run.cell.STATES:
        arrived = np.where(alive[1:], run[f"d{s}_prev"][1:], run[f"d{s}_next"][1:])
        np.testing.assert_allclose(run[f"d{s}_next"][:-1], arrived, atol=1e-14)
        np.testing.assert_allclose(run[f"d{s}0"], run[f"d{s}_prev"][0], atol=1e-14)


@pytest.mark.parametrize("name", ["lstm_masked", "sru"])
def test_jacobians_are_the_numeric_ones(name, rng):
    """Of the run with its noise in it; of the SRU, whose h goes nowhere, the columns of h are zero."""
    H, T = 4, 3
    x, states, params, _ = random_call(name, rng, T=T, N=2, H=H)
    masks = random_masks(rng, T, 2, H) if name == "lstm_masked" else {}
    _, cache = CELLS[name].forward(x, *states.values(), *params.values(), **masks)
    run = scratchnet.tracing.run.RunTrace("l0", name, params, cache)
    J = jacobians(run, 1)
    for t in range(T):
        at_t = {k: (v if k == "drop" else v[t : t + 1]) for k, v in masks.items()}
        for k, unit in [(k, unit) for k in range(2) for unit in range(H)]:
            ends = []
            for sign in (1, -1):
                state = [getattr(cache, s)[t].copy() for s in ("h", "c")]
                state[k][1, unit] += sign * 1e-6
                _, moved = CELLS[name].forward(x[t : t + 1], *state, *params.values(), **at_t)
                ends.append(np.concatenate([moved.h[-1, 1], moved.c[-1, 1]]))
            np.testing.assert_allclose(J[t][:, k * H + unit], (ends[0] - ends[1]) / 2e-6, atol=1e-8)
    assert (name == "sru") == (not J[:, :, :H].any())


def test_colours_of_what_has_no_bounds_reach_as_far_as_it_does(rng):
    """The candidates of SRU and minGRU have no tanh: beyond 1 the colour bar follows, the same to both sides."""
    layer = Recurrent("mingru", 2, 4, rng=rng)
    run = scratchnet.trace(layer, 30 * rng.standard_normal((6, 1, 2))).run
    z, n = (ax for ax in gates(run).axes if ax.images)
    largest = np.abs(run["n"]).max()
    assert largest > 1
    assert z.images[0].get_clim() == (0, 1)
    assert n.images[0].get_clim() == (-largest, largest)


def test_every_cell_has_its_planted_mistakes():
    """Three at least, and four where there is more to get wrong; test_gradcheck.py holds that each is caught."""
    counts = {name: sum(m.cell == name for m in mistakes.load()) for name in NEW}
    assert all(count >= (4 if name in ("lstm_norm", "lstm_masked", "sru") else 3) for name, count in counts.items()), (
        counts
    )
