"""A trace's numbers: against the backward pass, against central differences, and against PyTorch, step by step."""

import json
import time
import zipfile
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import scratchnet
import torch
from scratchnet.cells import CELLS, lstm
from scratchnet.convert.torch import from_torch
from scratchnet.gradcheck import numeric_gradient
from scratchnet.layers import GRU, LSTM, RNN, Composite, Dropout, Linear, Recurrent, Sequential, Tanh
from scratchnet.losses import mse, softmax_cross_entropy
from scratchnet.tracing import Trace
from scratchnet.tracing.jacobian import jacobians, per_loss_gradients, singular_values
from scratchnet.tracing.run import upstream_gradients
from scratchnet.tracing.trace import FORMAT
from scratchnet.tracing.watch import gradient_blocks

from conftest import RECURRENT


def random_model(kind, rng, **options):
    model = Sequential(
        rec=RECURRENT[kind](2, 4, rng=rng, **options), head=Linear(8 if options.get("bidirectional") else 4, 1, rng=rng)
    )
    for p in model.params.values():
        p += 0.3 * rng.standard_normal(p.shape)
    return model


def random_trace(kind, rng, lengths=None, T=6, N=3, **options):
    model = random_model(kind, rng, **options)
    x = rng.standard_normal((T, N, 2))
    return model, scratchnet.trace(model, x, rng.standard_normal((T, N, 1)), lengths=lengths)


@pytest.mark.parametrize("lengths", [None, [6, 1, 4]], ids=["full", "ragged"])
@pytest.mark.parametrize("kind", RECURRENT)
def test_terms_add_up_to_what_backward_made(kind, lengths, rng):
    """da by gate is da; what a step sends back is what the step before receives; gates follow from pre-activations."""
    _, trace = random_trace(kind, rng, lengths, num_layers=2, bidirectional=True)
    assert list(trace.runs) == ["rec.l0", "rec.l0_reverse", "rec.l1", "rec.l1_reverse"]
    for run in trace.runs.values():
        alive = np.arange(run.T)[:, None, None] < run.lengths[:, None]
        by_gate = np.concatenate([run[f"da_{g}"] for g in run.cell.GATES], axis=2)
        np.testing.assert_allclose(by_gate, run["da"], atol=1e-14)
        np.testing.assert_allclose(run["dh"], np.where(alive, run["dy"] + run["dh_next"], 0), atol=1e-15)
        for state in run.cell.STATES:
            if f"d{state}_prev" in run:
                arrived = np.where(alive[1:], run[f"d{state}_prev"][1:], run[f"d{state}_next"][1:])
                np.testing.assert_allclose(run[f"d{state}_next"][:-1], arrived, atol=1e-14)
                np.testing.assert_allclose(run[f"d{state}0"], run[f"d{state}_prev"][0], atol=1e-14)
            np.testing.assert_array_equal(run[f"d{state}_next"][-1], run[f"d{state}_last"])
        for letter in run.cell.GATES:
            a = run[f"a_{letter}"]
            if f"m_{letter}" in run:  # the GRU's recurrent projection has a name of its own
                a = a + (run["r"] if letter == "n" else 1) * run[f"m_{letter}"]
            gate = run["h"][1:] if letter == "h" else run[letter]
            squash = {"h": np.tanh, "g": np.tanh, "n": np.tanh}.get(letter, lambda a: 1 / (1 + np.exp(-a)))
            if kind == "rnn relu":
                squash = partial(np.maximum, 0)
            np.testing.assert_allclose(np.where(alive, gate, 0), np.where(alive, squash(a), 0), atol=1e-13)


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("lengths", [None, [5, 1, 3]], ids=["full", "ragged"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_is_traced(cell, lengths, return_sequences, rng):
    """Also one whose terms nobody has written down: the gates, dh, da by gate, and the parts of sums."""
    layer = Recurrent(cell, 2, 4, return_sequences=return_sequences, rng=rng)
    x, dy = rng.standard_normal((5, 3, 2)), rng.standard_normal((5, 3, 4))
    run = scratchnet.trace(layer, x, dy=dy if return_sequences else dy[0], lengths=lengths).run
    alive = np.arange(run.T)[:, None, None] < run.lengths[:, None]
    np.testing.assert_array_equal(run["dh"], np.where(alive, run["dy"] + run["dh_next"], 0))
    by_gate = np.concatenate([run[f"da_{g}"] for g in run.cell.GATES], axis=2)
    np.testing.assert_allclose(by_gate, run["da"], atol=1e-14)
    if "gates" in run.cache._fields:
        np.testing.assert_array_equal(np.concatenate([run[g] for g in run.cell.GATES], axis=2), run.cache.gates)
    for state in run.cell.STATES:
        if f"d{state}_prev" in run:
            arrived = np.where(alive[1:], run[f"d{state}_prev"][1:], run[f"d{state}_next"][1:])
            np.testing.assert_allclose(run[f"d{state}_next"][:-1], arrived, atol=1e-14)
    sums = {("kept", "written"): "c" if "c" in run.cell.STATES else "h", ("shown", "past"): "h"}
    for (one, other), state in sums.items():
        if {one, other} <= {*run.names}:
            found = np.where(alive, run[one] + run[other], 0)
            np.testing.assert_allclose(found, np.where(alive, run[state][1:], 0), atol=1e-14)
    if "tanh_c" in run and "o" in run:
        np.testing.assert_allclose(
            np.where(alive, run["o"] * run["tanh_c"], 0), np.where(alive, run["h"][1:], 0), atol=1e-14
        )


@pytest.mark.parametrize("kind", ["lstm", "gru", "gru before"])
def test_sums_of_the_forward_pass(kind, rng):
    _, trace = random_trace(kind, rng)
    run = trace.run
    if kind == "lstm":
        np.testing.assert_allclose(run["kept"] + run["written"], run["c"][1:], rtol=1e-13)
        np.testing.assert_allclose(run["o"] * run["tanh_c"], run["h"][1:], rtol=1e-13)
    else:
        np.testing.assert_allclose(run["written"] + run["kept"], run["h"][1:], rtol=1e-13)


@pytest.mark.parametrize("lengths", [None, [6, 1, 4]], ids=["full", "ragged"])
@pytest.mark.parametrize("kind", RECURRENT)
def test_the_steps_weight_gradients_add_up_to_the_whole(kind, lengths, rng):
    model, trace = random_trace(kind, rng, lengths, num_layers=2, bidirectional=True)
    model.zero_grad()
    y, cache = model.forward(trace.x, lengths=lengths)
    model.backward(mse(y, trace.target, trace.mask)[1], cache)
    for name, run in trace.runs.items():
        steps = [run.weight_gradients(t) for t in range(run.T)]
        for d in steps[0]:
            total = sum(step[d] for step in steps)
            whole = model.grads[f"rec.{d[1:]}_{name.removeprefix('rec.')}"]
            assert np.linalg.norm(total - whole) <= 1e-12 * max(1, np.linalg.norm(whole))
            np.testing.assert_allclose([np.linalg.norm(step[d]) for step in steps], run.step_norms[d], rtol=1e-12)


def test_the_assertion_on_the_sum_can_fail(rng, monkeypatch):
    """A backward pass whose weight gradient forgets a step is found out."""
    from scratchnet.tracing import run as module

    _, trace = random_trace("lstm", rng)
    run = trace.run
    wrong = {**run.grads, "dW_h": run.grads["dW_h"] * 1.001}
    with pytest.raises(ArithmeticError, match="the steps' dW_h differ from the whole"):
        module.upstream_gradients(run.cell, run.cache, run.dy, run.d_last, wrong)


@pytest.mark.parametrize("kind", RECURRENT)
def test_what_comes_from_the_future_is_the_numeric_gradient(kind, rng):
    """The gradient of the state after step t, of the loss of all later steps, by central differences."""
    model, trace = random_trace(kind, rng, T=5, N=2)
    layer, run = model.layers["rec"], trace.run
    for t in range(4):
        state = tuple(getattr(run.cache, name)[t + 1][None].copy() for name in run.cell.STATES)

        def loss(t=t, state=state):
            y, _ = layer.forward(trace.x[t + 1 :], state=state)
            return float(np.sum(y * run["dy"][t + 1 :]))

        for name, s in zip(run.cell.STATES, state):
            np.testing.assert_allclose(run[f"d{name}_next"][t], numeric_gradient(loss, s)[0], atol=1e-8)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_torch_module_is_traced_with_its_own_numbers(kind, num_layers, bidirectional):
    torch.manual_seed(0)
    extra = {"nonlinearity": "relu"} if kind == "RNN" and num_layers == 2 else {}
    module = getattr(torch.nn, kind)(
        3, 5, num_layers=num_layers, bidirectional=bidirectional, batch_first=True, dtype=torch.float64, **extra
    )
    x = torch.randn(2, 7, 3, dtype=torch.float64, requires_grad=True)
    target = torch.randn(2, 7, 10 if bidirectional else 5, dtype=torch.float64)
    y, last = module(x)
    loss = torch.nn.functional.mse_loss(y, target)
    loss.backward()
    trace = scratchnet.trace(module, x, target)
    assert trace.loss == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(trace.y, y.detach().numpy(), atol=1e-10)
    final = last[0] if kind == "LSTM" else last
    for number, run in enumerate(trace.runs.values()):
        np.testing.assert_allclose(run["h"][-1], final[number].detach().numpy(), atol=1e-10)
        end = run.name
        np.testing.assert_allclose(run["dW_x"], getattr(module, f"weight_ih_{end}").grad.numpy().T, atol=1e-10)
        np.testing.assert_allclose(run["dW_h"], getattr(module, f"weight_hh_{end}").grad.numpy().T, atol=1e-10)
        np.testing.assert_allclose(run["db"], getattr(module, f"bias_ih_{end}").grad.numpy(), atol=1e-10)
        assert np.linalg.norm(sum(run.weight_gradients(t)["dW_h"] for t in range(7)) - run["dW_h"]) < 1e-12
    first = [run for run in trace.runs.values() if run.name.startswith("l0")]
    dx = first[0]["dx"] + (first[1]["dx"][::-1] if bidirectional else 0)
    np.testing.assert_allclose(dx, x.grad.numpy().swapaxes(0, 1), atol=1e-10)


def test_every_step_equals_a_loop_of_lstm_cells():
    """c at each step, and the gradients of h and c at each step, which nn.LSTM does not give: from an LSTMCell loop."""
    torch.manual_seed(1)
    module = torch.nn.LSTM(2, 4, dtype=torch.float64)
    cell = torch.nn.LSTMCell(2, 4, dtype=torch.float64)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        getattr(cell, name).data.copy_(getattr(module, f"{name}_l0").data)
    x, target = torch.randn(6, 3, 2, dtype=torch.float64), torch.randn(6, 3, 4, dtype=torch.float64)
    h, c = torch.zeros(3, 4, dtype=torch.float64), torch.zeros(3, 4, dtype=torch.float64)
    hs, cs = [], []
    for t in range(6):
        h, c = cell(x[t], (h, c))
        h.retain_grad(), c.retain_grad()
        hs.append(h), cs.append(c)
    torch.nn.functional.mse_loss(torch.stack(hs), target).backward()
    run = scratchnet.trace(module, x, target).run
    for t in range(6):
        np.testing.assert_allclose(run["c"][t + 1], cs[t].detach().numpy(), atol=1e-10)
        np.testing.assert_allclose(run["dh"][t], hs[t].grad.numpy(), atol=1e-10)
        np.testing.assert_allclose(run["dc"][t], cs[t].grad.numpy(), atol=1e-10)


def test_torch_modules_that_cannot_be_converted(rng):
    with pytest.raises(TypeError, match=r"torch.nn.modules.linear.Linear cannot be converted: expected torch.nn.RNN"):
        from_torch(torch.nn.Linear(2, 3))
    with pytest.raises(ValueError, match="proj_size=2"):
        from_torch(torch.nn.LSTM(3, 4, proj_size=2))

    class Own(torch.nn.LSTM):
        """A user's subclass is still an LSTM."""

    assert from_torch(Own(2, 3)).cell_name == "lstm"
    state = torch.ones(1, 1, 3, dtype=torch.float64)
    module, numbers = torch.nn.GRU(2, 3, dtype=torch.float64), torch.zeros(4, 1, 2, dtype=torch.float64)
    np.testing.assert_allclose(
        scratchnet.trace(module, numbers, state=state).y, module(numbers, state)[0].detach().numpy(), atol=1e-12
    )
    no_bias = torch.nn.GRU(2, 3, bias=False, dtype=torch.float64)
    x = rng.standard_normal((4, 1, 2))
    np.testing.assert_allclose(
        from_torch(no_bias).forward(x)[0], no_bias(torch.from_numpy(x))[0].detach().numpy(), atol=1e-12
    )


def test_without_a_target_the_forward_side_is_there(rng):
    model = random_model("lstm", rng)
    trace = scratchnet.trace(model, rng.standard_normal((5, 1, 2)))
    assert not trace.has_backward
    assert trace.run["f"].shape == (5, 1, 4)
    assert "no target was given: the forward side is here, all gradients are missing" in str(trace)
    with pytest.raises(KeyError, match="no 'dh_next': the trace was made without a target"):
        trace.run["dh_next"]
    with pytest.raises(ValueError, match="no weight gradients: the trace was made without a target"):
        trace.run.weight_gradients(0)
    with pytest.raises(ValueError, match="no per-loss gradients"):
        per_loss_gradients(trace.run)
    with pytest.raises(KeyError, match="has no 'q': it has x, h, c"):
        trace.run["q"]
    with pytest.raises(KeyError, match=r"the trace has no run 'l7': it has rec\.l0"):
        trace["l7"]


def test_dy_in_place_of_a_loss(rng):
    layer = GRU(2, 3, rng=rng)
    x, dy = rng.standard_normal((5, 2, 2)), rng.standard_normal((5, 2, 3))
    trace = scratchnet.trace(layer, x, dy=dy)
    np.testing.assert_array_equal(trace.run["dy"], dy)
    assert trace.loss is None
    assert list(trace.runs) == ["l0"]


def test_losses_by_target_by_name_and_by_function(rng):
    model = Sequential(rec=RNN(2, 3, return_sequences=False, rng=rng), head=Linear(3, 4, rng=rng))
    x, labels = rng.standard_normal((5, 2, 2)), np.array([1, 3])
    trace = scratchnet.trace(model, x, labels)
    assert trace.loss_name == "softmax_cross_entropy"
    assert trace.loss == softmax_cross_entropy(trace.y, labels)[0]
    assert not trace.run["dy"].any()  # all of the gradient arrives at the final state
    assert trace.run["dh_last"].any()
    target = rng.standard_normal((2, 4))
    assert scratchnet.trace(model, x, target, "mae").loss_name == "mae"
    assert scratchnet.trace(model, x, target, lambda y, t: mse(y, t)).loss == mse(trace.y, target)[0]
    with pytest.raises(ValueError, match="there is no loss 'msa': expected one of mse, mae"):
        scratchnet.trace(model, x, target, "msa")


def test_a_trace_is_of_its_moment(rng):
    """The model's gradients are left alone; training that goes on, or a buffer used again, does not change the trace."""
    model = random_model("gru", rng)
    for g in model.grads.values():
        g[...] = 7
    x, target = rng.standard_normal((5, 1, 2)), rng.standard_normal((5, 1, 1))
    trace, untouched = scratchnet.trace(model, x, target), scratchnet.trace(model, x.copy(), target.copy())
    assert all((g == 7).all() for g in model.grads.values())
    expected = {name: untouched.run[name].copy() for name in untouched.run.names}
    third_step = untouched.run.weight_gradients(2)["dW_h"]
    for p in model.params.values():
        p += 1
    x[...], target[...] = 0, 0
    for name, array in expected.items():  # nothing of this trace has been asked for before
        np.testing.assert_array_equal(trace.run[name], array, err_msg=name)
    np.testing.assert_array_equal(trace.run.weight_gradients(2)["dW_h"], third_step)
    np.testing.assert_array_equal(trace.target, untouched.target)


def test_a_pass_that_has_diverged_can_be_looked_at(rng):
    """NaN in x: the trace is made, and shows where the NaN begins."""
    x = rng.standard_normal((5, 1, 2))
    x[2, 0, 0] = np.nan
    trace = scratchnet.trace(random_model("lstm", rng), x, rng.standard_normal((5, 1, 1)))
    assert np.isfinite(trace.run["h"][:3]).all()
    assert np.isnan(trace.run["h"][3]).all()
    assert "mse nan" in str(trace)
    assert "the loss is nan" in trace._repr_html_()


def test_padding_is_not_counted_in_the_summary(rng):
    layer = LSTM(1, 2, rng=rng)
    x = np.ones((50, 2, 1))
    ragged, alone = scratchnet.trace(layer, x, lengths=[50, 1]), scratchnet.trace(layer, x[:, :1])
    mean = next(float(line.split()[2]) for line in str(ragged).splitlines() if line.startswith("    i"))
    both = np.concatenate([alone.run["i"][:, 0], alone.run["i"][:1, 0]])
    assert mean == pytest.approx(both.mean(), abs=6e-4)


def test_dy_in_the_padding_is_not_looked_at(rng):
    layer, dy = GRU(2, 3, rng=rng), rng.standard_normal((5, 2, 3))
    x = rng.standard_normal((5, 2, 2))
    runs = []
    for filler in (0.0, np.nan):
        dy[2:, 1] = filler
        runs.append(scratchnet.trace(layer, x, dy=dy, lengths=[5, 2]).run)
    for name in runs[0].names:
        np.testing.assert_array_equal(runs[0][name], runs[1][name], err_msg=name)


def test_many_chunks_are_one_answer(rng, monkeypatch):
    """Jacobians and per-loss gradients are computed in chunks of the made-up batch: any size gives the same."""
    from scratchnet.tracing import jacobian

    run = random_trace("lstm", rng, T=7)[1].run
    whole = jacobians(run, 1), per_loss_gradients(run, 1).size
    monkeypatch.setattr(jacobian, "CHUNK", 8 * 4 * 4 * 2)
    np.testing.assert_allclose(jacobians(run, 1), whole[0], rtol=1e-13)
    np.testing.assert_allclose(per_loss_gradients(run, 1).size, whole[1], rtol=1e-13)


def test_what_arrives_at_the_final_state_counts_as_the_last_steps_loss(rng):
    run = scratchnet.trace(
        GRU(2, 3, return_sequences=False, rng=rng), rng.standard_normal((5, 1, 2)), dy=rng.standard_normal((1, 3))
    ).run
    matrix = per_loss_gradients(run)
    assert list(matrix.losses) == [4]
    np.testing.assert_allclose(matrix.size[:, 0], np.linalg.norm(run["da"][:, 0], axis=1), rtol=1e-12)


def test_nested_models_and_two_recurrent_layers(rng):
    model = Sequential(
        enc=Sequential(a=LSTM(2, 3, rng=rng), drop=Dropout(0.5, rng=rng)),
        b=GRU(3, 4, rng=rng),
        act=Tanh(),
        head=Linear(4, 1, rng=rng),
    )
    x, target = rng.standard_normal((5, 2, 2)), rng.standard_normal((5, 2, 1))
    trace = scratchnet.trace(model, x, target)
    assert list(trace.runs) == ["enc.a.l0", "b.l0"]
    model.zero_grad()
    y, cache = model.forward(x)
    model.backward(mse(y, target)[1], cache)
    np.testing.assert_allclose(trace["enc.a.l0"]["dW_h"], model.grads["enc.a.W_h_l0"], rtol=1e-12)
    np.testing.assert_allclose(trace["b.l0"]["dW_h"], model.grads["b.W_h_l0"], rtol=1e-12)


@pytest.mark.parametrize("kind", RECURRENT)
def test_saved_and_loaded_it_is_the_same(kind, rng, tmp_path):
    _, trace = random_trace(kind, rng, [6, 2, 4], num_layers=2, bidirectional=True)
    trace.save(tmp_path / "t.npz")
    again = scratchnet.load_trace(tmp_path / "t.npz")
    assert str(again) == str(trace)
    np.testing.assert_array_equal(again.mask, trace.mask)
    assert again.mask.sum() == 12
    assert again.modules[1]["kind"] == "linear"
    np.testing.assert_array_equal(again.modules[1]["params"]["W"], trace.modules[1]["params"]["W"])
    for name, run in trace.runs.items():
        other = again[name]
        assert other.names == run.names
        for array in run:
            np.testing.assert_array_equal(other[array], run[array])
        np.testing.assert_array_equal(other.weight_gradients(1)["dW_x"], run.weight_gradients(1)["dW_x"])
        assert other.step_norms.keys() == run.step_norms.keys()


def test_files_that_are_no_traces(rng, tmp_path):
    _, trace = random_trace("lstm", rng)
    good = tmp_path / "good.npz"
    trace.save(good)
    broken = tmp_path / "broken.npz"
    broken.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"broken.npz is not a trace: expected a complete .npz file"):
        scratchnet.load_trace(broken)
    broken.write_bytes(b"not a zip at all")
    with pytest.raises(ValueError, match=r"broken.npz is"):
        scratchnet.load_trace(broken)
    broken.write_bytes(b"")
    with pytest.raises(ValueError, match=r"broken.npz is not a trace: expected a complete"):
        scratchnet.load_trace(broken)
    np.savez(broken, a=np.ones(3))
    with pytest.raises(ValueError, match=r"is not a trace: it is an \.npz file, but has no 'about'"):
        scratchnet.load_trace(broken)
    with np.load(good) as file:
        arrays = dict(file)
    for newer in (FORMAT + 1, 99):
        about = json.loads(str(arrays["about"])) | {"format": newer}
        np.savez(broken, **(arrays | {"about": np.array(json.dumps(about))}))
        message = f"is a trace of format {newer}, but this version reads up to {FORMAT}: update scratchnet"
        with pytest.raises(ValueError, match=message):
            scratchnet.load_trace(broken)
    for about in ("{}", "hi", "[]", '{"format": "1"}', "[" * 100_000):
        np.savez(broken, about=np.array(about))
        with pytest.raises(
            ValueError, match=r"is not a trace: (its 'about' is not one of a trace|expected an .npz file)"
        ):
            scratchnet.load_trace(broken)
    np.savez(broken, **{name: value for name, value in arrays.items() if "gates" not in name and name != "y"})
    with pytest.raises(ValueError, match="is not a trace: it is damaged, a part is missing or wrong"):
        scratchnet.load_trace(broken)
    np.save(tmp_path / "plain.npy", np.ones(3))
    with pytest.raises(ValueError, match=r"is not a trace: expected a complete \.npz file"):
        scratchnet.load_trace(tmp_path / "plain.npy")
    whole = good.read_bytes()
    for position in range(40, len(whole), len(whole) // 40):  # one byte changed anywhere: a sentence, or the same trace
        broken.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        with suppress(ValueError):
            scratchnet.load_trace(broken)
    with pytest.raises(FileNotFoundError):
        scratchnet.load_trace(tmp_path / "none.npz")
    with pytest.raises(ValueError, match=r"expected a name that ends in .npz"):
        trace.save(tmp_path / "t.bin")


class Holder(Composite):
    """A model of the caller's own that says nothing of time."""

    recurrent = False

    def __init__(self, **layers):
        super().__init__(layers)


def test_what_cannot_be_traced(rng):
    x, target = rng.standard_normal((4, 1, 2)), rng.standard_normal((4, 1, 3))
    with pytest.raises(
        TypeError, match=r"scratchnet.layers.linear.Linear is not recurrent: expected a recurrent layer"
    ):
        scratchnet.trace(Linear(2, 3, rng=rng), x)
    for model, end in (
        (Sequential(head=Linear(2, 3, rng=rng)), r"or GRU; scratchnet.layers_to_html.* without one$"),
        (Holder(rec=LSTM(2, 3, rng=rng), head=Linear(3, 1, rng=rng)), r"or GRU; it has layers\['rec'\]$"),
    ):
        with pytest.raises(TypeError, match=f"is not recurrent: expected .*{end}"):
            scratchnet.trace(model, x)
    with pytest.raises(TypeError, match=r"builtins\.dict is not recurrent"):
        scratchnet.trace({}, x)
    with pytest.raises(TypeError, match=r"torch.nn.modules.linear.Linear has no recurrent part: expected"):
        scratchnet.trace(torch.nn.Linear(2, 3), x)
    layer = LSTM(2, 3, rng=rng)
    for call, message in [
        (lambda: scratchnet.trace(layer, x, [[1.0]]), "target is a builtins.list, not an array or a torch tensor"),
        (lambda: scratchnet.trace(layer, x, target, torch.nn.MSELoss()), "the loss is torch's MSELoss: give a name"),
        (
            lambda: scratchnet.trace(layer, x, target, lambda y, t: 1.0),
            "<lambda> returned a float: a loss returns the number and dy",
        ),
        (
            lambda: scratchnet.trace(torch.nn.LSTM(2, 3).half(), x),
            r"the module is float16, but a trace computes in float32 or float64: module.double\(\)",
        ),
        (
            lambda: scratchnet.trace(torch.nn.LSTM(2, 3), torch.zeros(4, 1, 2, dtype=torch.bfloat16)),
            "torch's Tensor torch.bfloat16 cannot be converted",
        ),
    ]:
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(ValueError, match="a backward was given but no target"):
        scratchnet.trace(layer, x, backward=layer.cell.backward)
    with pytest.raises(IndexError, match="sample is 1 but l0 has 1 sequences: expected 0 to 0"):
        jacobians(scratchnet.trace(layer, x, target).run, 1)
    with pytest.raises(IndexError, match="sample is -1"):
        per_loss_gradients(scratchnet.trace(layer, x, target).run, -1)
    with pytest.raises(ValueError, match="both a target and dy were given"):
        scratchnet.trace(layer, x, target, dy=target)
    with pytest.raises(ValueError, match="a loss, mask or weights were given but no target"):
        scratchnet.trace(layer, x, loss="mse")
    with pytest.raises(ValueError, match="there are 3 labels but x has 4 steps"):
        scratchnet.trace(layer, x, labels="abc")
    with pytest.raises(IndexError, match="t is 4 but the run has 4 steps: expected 0 to 3"):
        scratchnet.trace(layer, x, target).run.weight_gradients(4)


def test_a_large_trace_is_quick(rng):
    """T=1000, H=256 builds its arrays in under 2 s of a processor's time (others may be on the cores)."""
    layer = LSTM(16, 256, rng=rng, dtype=np.float32)
    x, dy = (
        rng.standard_normal((1000, 1, 16)).astype(np.float32),
        rng.standard_normal((1000, 1, 256)).astype(np.float32),
    )
    seconds = []
    while len(seconds) < 3 and (not seconds or min(seconds) > 2):
        started = time.process_time()  # with one BLAS thread (conftest.py), what the clock says on an idle machine
        run = scratchnet.trace(layer, x, dy=dy).run
        assert len([run[name] for name in run.names]) > 30
        seconds.append(time.process_time() - started)
    assert min(seconds) < 2


@pytest.mark.parametrize("kind", RECURRENT)
def test_jacobians_are_the_numeric_ones(kind, rng):
    model, trace = random_trace(kind, rng, T=4, N=2)
    layer, run = model.layers["rec"], trace.run
    J = jacobians(run, sample=1)
    states = run.cell.STATES
    for t in range(4):
        for k in range(len(states)):
            for unit in range(4):
                ends = []
                for sign in (1, -1):
                    state = [getattr(run.cache, name)[t][None, 1:2].copy() for name in states]
                    state[k][0, 0, unit] += sign * 1e-6
                    _, cache = layer.forward(trace.x[t : t + 1, 1:2], state=state)
                    ends.append(np.concatenate([s[0, 0] for s in cache.state_last]))
                np.testing.assert_allclose(J[t][:, k * 4 + unit], (ends[0] - ends[1]) / 2e-6, atol=1e-8)


def test_the_product_of_jacobians_is_how_the_gradient_travels(rng):
    """dL/dstate_0 = (J_T ... J_1)^T dL/dstate_T for a loss on the final state; singular values by plain multiplication."""
    layer = LSTM(2, 3, return_sequences=False, rng=rng)
    run = scratchnet.trace(layer, rng.standard_normal((5, 1, 2)), dy=rng.standard_normal((1, 3))).run
    J = jacobians(run)
    product = np.linalg.multi_dot(J[::-1])
    last = np.concatenate([run["dh_last"][0], run["dc_last"][0]])
    np.testing.assert_allclose(product.T @ last, np.concatenate([run["dh0"][0], run["dc0"][0]]), atol=1e-14)
    values = singular_values(J)
    np.testing.assert_allclose(values.of_products[0], np.linalg.svd(product, compute_uv=False), rtol=1e-8, atol=1e-15)
    np.testing.assert_allclose(values.of_steps[2], np.linalg.svd(J[2], compute_uv=False), rtol=1e-12)
    tiny = singular_values(np.tile(1e-30 * np.eye(2), (9, 1, 1))).of_products[:, 0]
    np.testing.assert_allclose(
        tiny[-9:], [1e-270, 1e-240, 1e-210, 1e-180, 1e-150, 1e-120, 1e-90, 1e-60, 1e-30], rtol=1e-9
    )


@pytest.mark.parametrize("kind", RECURRENT)
def test_per_loss_gradients_are_those_of_each_loss_alone(kind, rng):
    _, trace = random_trace(kind, rng, [6, 3, 5])
    run = trace.run
    for sample, length in enumerate([6, 3, 5]):
        matrix = per_loss_gradients(run, sample)
        assert list(matrix.losses) == list(range(length))
        for k, tau in enumerate(matrix.losses):
            alone = np.zeros_like(run.dy)
            alone[tau, sample] = run.dy[tau, sample]
            da = run.cell.backward(alone, run.cache).da
            np.testing.assert_allclose(matrix.size[:, k], np.linalg.norm(da[:length, sample], axis=1), atol=1e-14)
            assert not matrix.size[tau + 1 :, k].any()


def test_of_many_losses_a_hundred_are_shown(rng):
    run = random_trace("gru", rng, T=101)[1].run
    assert list(per_loss_gradients(run, most=101).losses) == [*range(101)]
    shown = per_loss_gradients(run)
    assert len(shown.losses) == 100
    assert (shown.losses[0], shown.losses[-1]) == (0, 100)
    np.testing.assert_array_equal(shown.size, per_loss_gradients(run, 0).size)


def test_summary_counts_saturated_gates(rng):
    layer = LSTM(1, 2, rng=rng)
    for p in layer.params.values():
        p[...] = 0
    layer.params["b_l0"][...] = [9, -9, 9, 9, 0, 0, 9, -9]  # i: open, shut; f: open, open; g: 0; o: open, shut
    text = str(scratchnet.trace(layer, np.zeros((3, 1, 1)), dy=np.ones((3, 1, 2))))
    assert text.splitlines()[0] == "trace of LSTM(1, 2): 3 steps, 1 sequence"
    assert "i   mean  0.500   below 0.1:  50%   above 0.9:  50%" in text
    assert "f   mean  1.000   below 0.1:   0%   above 0.9: 100%" in text
    assert "|dc|" in text
    assert isinstance(scratchnet.trace(layer, np.zeros((3, 1, 1))), Trace)


@pytest.mark.parametrize(("dtype", "small"), [(np.float64, 1e-9), (np.float32, 1e-2)])
def test_the_sum_of_the_steps_is_compared_to_the_types_digits(dtype, small, rng):
    """Rounding is no mistake in either type; a thousandth of what float32 resolves is one in float64."""
    layer = LSTM(2, 4, rng=rng, dtype=dtype)
    x = rng.standard_normal((30, 3, 2)).astype(dtype)
    run = scratchnet.trace(layer, x, dy=rng.standard_normal((30, 3, 4)).astype(dtype)).run
    upstream_gradients(run.cell, run.cache, run.dy, run.d_last, run.grads)
    wrong = {**run.grads, "dW_h": run.grads["dW_h"] * dtype(1 + small)}
    size = float(np.sum(run.step_norms["dW_h"]))
    assert np.linalg.norm(wrong["dW_h"] - run.grads["dW_h"]) > (1e-11 if dtype == np.float64 else 1e-3) * size
    with pytest.raises(ArithmeticError, match="the steps' dW_h differ from the whole"):
        upstream_gradients(run.cell, run.cache, run.dy, run.d_last, wrong)


def test_each_run_of_a_custom_backward_says_so(rng):
    """Also in a stack; its steps' weight gradients are those of its own da. More: tests/test_foreign.py."""
    layer = LSTM(2, 4, rng=rng)

    def doubled(dy, cache, *d_last):
        return lstm.backward(2 * dy, cache, *d_last)

    x, dy = rng.standard_normal((5, 3, 2)), rng.standard_normal((5, 3, 4))
    trace = scratchnet.trace(layer, x, dy=dy, backward=doubled)
    deep = scratchnet.trace(LSTM(2, 4, num_layers=2, rng=rng), x, dy=dy, backward=doubled)
    assert [run.custom_backward for run in deep.runs.values()] == [True, True]
    own = scratchnet.trace(layer, x, dy=2 * dy).run
    assert not own.custom_backward
    np.testing.assert_allclose(trace.run.weight_gradients(4)["dW_x"], own.weight_gradients(4)["dW_x"], rtol=1e-12)


@pytest.mark.parametrize(("layers", "title"), [(1, "LSTM(2, 4)"), (2, "LSTM(2, 4) x 2")])
def test_the_title_says_how_deep(layers, title, rng):
    layer = LSTM(2, 4, num_layers=layers, rng=rng)
    assert scratchnet.trace(layer, rng.standard_normal((5, 3, 2))).title == title


def test_a_watch_measures_each_gate(rng):
    """The squares of the gates' norms add up to the whole's; a parameter without gates is one block."""
    model = Sequential(rec=GRU(2, 4, rng=rng), head=Linear(4, 12, rng=rng))
    for grad in model.grads.values():
        grad[...] = rng.standard_normal(grad.shape)
    found = list(gradient_blocks(model))
    for name, grad in model.grads.items():
        gates = {gate: block for owner, gate, block in found if owner == name}
        assert list(gates) == (list("rzn") if name in ("rec.W_x_l0", "rec.W_h_l0", "rec.b_l0") else [""])
        total = sum(float(np.sum(block**2)) for block in gates.values())
        assert total == pytest.approx(float(np.sum(grad**2)), rel=1e-12)


@pytest.mark.parametrize("batch_first", [False, True])
def test_weights_of_the_sequences_are_those_of_their_steps(batch_first, rng):
    model = Sequential(rec=LSTM(2, 4, batch_first=batch_first, rng=rng), head=Linear(4, 1, rng=rng))
    x, target = rng.standard_normal((5, 3, 2)), rng.standard_normal((5, 3, 1))
    of_each = np.array([0.5, 2.0, 1.0])
    of_steps = np.tile(of_each, (5, 1))
    if batch_first:
        x, target, of_steps = (np.swapaxes(a, 0, 1) for a in (x, target, of_steps))
    trace = scratchnet.trace(model, x, target, weights=of_each)
    same = scratchnet.trace(model, x, target, weights=of_steps)
    even = scratchnet.trace(model, x, target)
    assert trace.loss == pytest.approx(same.loss, rel=1e-14) != pytest.approx(even.loss, rel=1e-3)
    np.testing.assert_allclose(trace.run.grads["dW_x"], same.run.grads["dW_x"], rtol=1e-12)


def test_a_jacobian_is_of_the_first_sequence_unless_another_is_named(rng):
    _, trace = random_trace("lstm", rng)
    np.testing.assert_array_equal(jacobians(trace.run), jacobians(trace.run, 0))
    assert not np.array_equal(jacobians(trace.run), jacobians(trace.run, 1))


def test_where_nothing_passes_the_product_is_zero():
    found = singular_values(np.stack([np.eye(2), np.zeros((2, 2)), np.eye(2)]))
    np.testing.assert_array_equal(found.of_products, [[0, 0], [0, 0], [1, 1]])


@pytest.mark.underflows
def test_a_product_that_vanishes_and_grows_again():
    """0.1^400 is beyond float64, 0.1^400 10^200 is not."""
    sizes = np.array([10.0] * 200 + [0.1] * 400)  # the last step's is multiplied first
    vanished, back = singular_values(sizes[:, None, None] * np.eye(2)).of_products[[200, 0]]
    np.testing.assert_array_equal(vanished, 0)
    np.testing.assert_allclose(back, 1e-200, rtol=600 * np.finfo(float).eps * abs(np.log(1e-200)))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("x", lambda a: a[:, :2], r"x is \(6, 2, 2\) of 3 sequences"),
        ("x", lambda a: a[0, 0, 0], r"x is \(\) of 3 sequences"),
        ("y", lambda a: a[:, :2], r"y is \(6, 2, 1\) of 3 sequences"),
        ("target", lambda a: a[:, :2], r"target is \(6, 2, 1\) of 3 sequences"),
        ("target", lambda a: a[0, 0, 0], "target is one number"),
        ("x", lambda a: a.astype(complex), "x is of type complex128"),
        ("0/cache/gates", lambda a: a[:4], r"gates is \(4, 3, 16\)"),
        ("0/cache/gates", lambda a: a[:, :2], r"gates is \(6, 2, 16\)"),
        ("0/cache/gates", lambda a: a[0], r"gates is \(3, 16\)"),
        ("0/cache/h", lambda a: a[:-1], r"h is \(6, 3, 4\), expected \(7, 3, 4\)"),
    ],
)
def test_arrays_that_are_not_of_one_trace(name, change, message, rng, tmp_path):
    random_trace("lstm", rng)[1].save(tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz") as file:
        arrays = dict(file)
    np.savez(tmp_path / "other.npz", **(arrays | {name: change(arrays[name])}))
    with pytest.raises(ValueError, match=f"it is damaged, a part is missing or wrong.*{message}"):
        scratchnet.load_trace(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("path", "to", "message"),
    [
        ((), None, None),
        (("runs",), {}, "runs is a dict"),
        (("title",), 3, "title is a int"),
        (("labels",), [1, 2, 3], "a label is not a text"),
        (("labels",), ["a"], "there are 1 labels for 3 steps"),
        (("runs", 0, "custom_backward"), 1, "custom_backward is not yes or no"),
        (("runs", 0, "options"), {"engine": None}, r"the options of rec.l0 are \{'engine': None\}"),
        (("runs", 0, "options"), {"h": "relu"}, r"the options of rec.l0 are \{'h': 'relu'\}"),
        (("runs", 0, "name"), "rec.l1", "the modules have the runs"),
        (("runs",), [], "the modules have the runs"),
        (("modules", 1, "name"), 3, "a module's name is not a text"),
        (("modules", 0, "options"), {"engine": "array"}, "the options of rec are not its cell's"),
        (("modules", 0, "options"), {"nonlinearity": "cos"}, "the options of rec are not its cell's"),
        (("modules", 0, "batch_first"), 0, "the options of rec are not its cell's"),
        (("modules", 1, "params"), ["W"], r"unknown \['module1/b'\]"),
    ],
)
def test_facts_that_are_not_of_one_trace(path, to, message, rng, tmp_path):
    """The facts with another value at a path; without any, the trace is loaded."""
    random_trace("rnn relu", rng, batch_first=True)[1].save(tmp_path / "t.npz")
    with np.load(tmp_path / "t.npz") as file:
        arrays = dict(file)
    place = about = json.loads(str(arrays["about"]))
    for key in path[:-1]:
        place = place[key]
    if path:
        place[path[-1]] = to
    np.savez(tmp_path / "other.npz", **(arrays | {"about": np.array(json.dumps(about))}))
    if message is None:
        np.testing.assert_array_equal(scratchnet.load_trace(tmp_path / "other.npz").x, arrays["x"])
        return
    with pytest.raises(ValueError, match=f"it is damaged, a part is missing or wrong.*{message}"):
        scratchnet.load_trace(tmp_path / "other.npz")


def test_what_the_archive_says_of_itself_is_kept(rng, tmp_path):
    """A large member that does not have its checksum is the archive's own sentence, not a part that is missing."""
    random_trace("rnn tanh", rng, T=1000, N=10)[1].save(tmp_path / "t.npz")
    whole = (tmp_path / "t.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "t.npz") as archive:
        member = archive.getinfo("x.npy")
    at = member.header_offset + member.compress_size  # in its last numbers: before them is a header
    (tmp_path / "t.npz").write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(
        ValueError, match=r"t\.npz is not a trace: expected an \.npz file of plain arrays, but "
    ) as caught:
        scratchnet.load_trace(tmp_path / "t.npz")
    assert "a part is missing" not in str(caught.value)


def test_a_trace_is_saved_as_npz(rng, tmp_path):
    with pytest.raises(ValueError, match=r"t\.txt"):
        random_trace("lstm", rng)[1].save(tmp_path / "t.txt")
    assert not list(tmp_path.iterdir())
