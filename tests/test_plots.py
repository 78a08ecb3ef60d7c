"""Figures are compared by what they draw: the numbers in the axes."""

import inspect
import io
import subprocess
import sys
import time
from tempfile import TemporaryDirectory

import nbformat
import numpy as np
import pytest
import scratchnet
from matplotlib import colormaps
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from nbclient import NotebookClient
from scratchnet import plots
from scratchnet.cells import CELLS
from scratchnet.commands.cli import main
from scratchnet.layers import GRU, LSTM, RNN, Embedding, Linear, Recurrent, Sequential
from scratchnet.losses import mse
from scratchnet.models.language import Vocabulary
from scratchnet.plots import cliff
from scratchnet.plots.gates import clusters
from scratchnet.plots.kinds import KINDS, Wanted
from scratchnet.plots.river import _short
from scratchnet.plots.source import sequence
from scratchnet.plots.style import MAPS, curve_colours, one_line
from scratchnet.plots.text import layout, letter_colour, most_probable
from scratchnet.tracing import jacobian
from scratchnet.tracing.order import unit_order
from scratchnet.tracing.watch import Histogram, TraceWatch
from scratchnet.training import SGD, Adam, Batches, Callback, Clip, History, Trainer, fit, fit_stream

from figures import faults, texts_of

LAYERS = {"RNN": RNN, "LSTM": LSTM, "GRU": GRU}
TEXT = 'it is "so"\nyes'


def traced(name="LSTM", T=14, N=3, H=5, seed=0, backward=True, labels=(), **arguments):
    """A trace of an untrained network with a loss at every step."""
    rng = np.random.default_rng(seed)
    lengths = arguments.pop("lengths", None)
    layer = LAYERS[name](2, H, rng=rng, **arguments)
    model = Sequential(rec=layer, head=Linear(layer.output_size, 1, rng=rng))
    x = rng.standard_normal((T, N, 2)) * 2
    target = rng.standard_normal((N, 1) if not layer.return_sequences else (T, N, 1)) if backward else None
    return scratchnet.trace(model, x, target, lengths=lengths, labels=labels, title=name)


@pytest.fixture(scope="module")
def watched():
    """A short training with a watch: history and watch."""
    rng = np.random.default_rng(0)
    model = Sequential(rec=GRU(2, 4, return_sequences=False, batch_first=True, rng=rng), head=Linear(4, 1, rng=rng))
    x, y = rng.standard_normal((12, 6, 2)), 10 * rng.standard_normal((12, 1))
    watch = TraceWatch(every=2, probe=x[:3])
    history = fit(
        model,
        Batches(x, y, batch_size=4),
        SGD(0.1),
        epochs=3,
        rng=rng,
        validation=(x[:4], y[:4]),
        callbacks=[Clip(1.0), watch],
        progress=False,
    )
    return history, watch


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


# ---- forecasts and curves ------------------------------------------------------------------------------------------------


def test_forecast_draws_truth_and_predictions(rng):
    truth, guess = rng.standard_normal(20), rng.standard_normal(20)
    figure = plots.forecast(list(range(1900, 1920)), truth, {"LSTM, 0.1": guess, "last value": truth}, ylabel="y")
    drawn = lines(figure.axes[0])
    np.testing.assert_array_equal(drawn["truth"].get_ydata(), truth)
    np.testing.assert_array_equal(drawn["LSTM, 0.1"].get_ydata(), guess)
    assert drawn["LSTM, 0.1"].get_xdata()[0] == 1900
    assert drawn["LSTM, 0.1"].get_color() == plots.colour("lstm")
    assert drawn["last value"].get_color() == plots.colour("baseline")


def test_curves_have_their_models_colour_and_none_twice():
    tints = curve_colours(["LSTM, 0.1", "last value", "GRU, mixed", "GRU, float32", "mean of all", "AR(9)"])
    assert tints[:3] == [plots.colour(name) for name in ("lstm", "baseline", "gru")]
    assert tints[5] == plots.colour("ar")
    assert len(set(tints)) == 6
    assert len(curve_colours([str(k) for k in range(9)])) == 9


def test_forecast_with_dates_and_wrong_lengths():
    dates = [f"2001-{m:02}" for m in range(1, 13)]
    figure = plots.forecast(dates, np.arange(12.0), {})
    assert figure.axes[0].get_xticklabels()[0].get_text() == "2001-01"
    with pytest.raises(ValueError, match="the prediction 'x' has 3 values but truth has 12"):
        plots.forecast(dates, np.arange(12.0), {"x": np.arange(3)})


def test_learning_curves_are_running_means():
    figure = plots.learning_curves({"RNN": [1.0, 2.0, 3.0, 4.0]}, smooth=2, lines={"nothing": 0.5})
    ax = figure.axes[0]
    np.testing.assert_allclose(ax.get_lines()[0].get_ydata(), [1.5, 2.5, 3.5])
    assert ax.get_yscale() == "log"
    assert ax.get_lines()[1].get_ydata()[0] == 0.5


def test_training_curves_mark_the_best_epoch(watched):
    history, _ = watched
    ax = plots.training_curves(history).axes[0]
    np.testing.assert_array_equal(lines(ax)["training"].get_ydata(), history.column("train_loss"))
    np.testing.assert_array_equal(lines(ax)["validation"].get_ydata(), history.column("val_loss"))
    (best,) = [line for label, line in lines(ax).items() if label.startswith("best")]
    assert list(best.get_xdata()) == [history.best_epoch + 1]
    assert list(best.get_ydata()) == [min(history.column("val_loss"))]
    with pytest.raises(ValueError, match="no epochs"):
        plots.training_curves(History())
    with pytest.raises(TypeError, match=r"builtins\.dict was given: expected the History"):
        plots.training_curves({})


# ---- gates ---------------------------------------------------------------------------------------------------------------


def test_gates_draw_each_block_in_one_order_and_fixed_ranges(rng):
    gates = rng.uniform(0, 1, (7, 2, 12))
    order = np.array([2, 0, 1])
    figure = plots.gates(gates, "ifgo", sample=1, inputs=np.ones(7), marks=[3], order=order)
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 4
    for k, ax in enumerate(panels):
        np.testing.assert_array_equal(ax.images[0].get_array(), gates[:, 1, 3 * k : 3 * k + 3].T[order])
    assert [ax.images[0].get_clim() for ax in panels] == [(0, 1), (0, 1), (-1, 1), (0, 1)]


@pytest.mark.parametrize("name", LAYERS)
def test_gates_of_a_trace_are_its_gates(name):
    trace = traced(name)
    run = trace.run
    panels = [ax for ax in plots.gates(trace, sample=2).axes if ax.images]
    size = np.abs(run["dc" if name == "LSTM" else "dh"][0, 2])
    order = sorted(range(run.H), key=lambda unit: -size[unit])
    np.testing.assert_array_equal(unit_order(run, 2), order)
    expected = [run[letter][-run.T :, 2].T for letter in run.cell.GATES]  # of the RNN's h without the initial state
    if name == "LSTM":
        expected.append(np.tanh(run["c"][1:, 2].T))
    assert len(panels) == len(expected)
    for ax, values in zip(panels, expected):
        np.testing.assert_array_equal(ax.images[0].get_array(), values[order])
        assert ax.images[0].get_clim() in ((0, 1), (-1, 1))
        ticks = dict(zip(ax.get_yticks(), (t.get_text() for t in ax.get_yticklabels())))
        assert ticks == {row: str(order[int(row)]) for row in ticks}  # a row's number is its unit's
        assert ticks[0] == str(order[0])


def test_rows_without_a_backward_side_are_in_the_order_of_the_units():
    run = traced(backward=False).run
    np.testing.assert_array_equal(unit_order(run), range(5))
    (image,) = plots.gates(run, "f", sample=1).axes[0].images
    np.testing.assert_array_equal(image.get_array(), run["f"][:, 1].T)
    broken = traced(seed=3).run
    d = broken["dc"][0, 0]
    d[[1, 4]] = np.nan, np.inf
    assert (unit_order(broken)[0], unit_order(broken)[-1]) == (4, 1)
    with pytest.raises(IndexError, match="sample is 3"):
        unit_order(run, 3)


def test_one_gate_is_drawn_into_given_axes():
    trace = traced()
    ax = Figure().subplots()
    assert plots.gates(trace, "f", ax=ax) is ax
    np.testing.assert_array_equal(ax.images[0].get_array(), trace.run["f"][:, 0].T[unit_order(trace.run)])
    with pytest.raises(ValueError, match="ax is for one panel, but there are i, f, g, o, tanh c"):
        plots.gates(trace, ax=ax)
    with pytest.raises(ValueError, match="letters is 'z', but the gates of a lstm are ifgo"):
        plots.gates(trace, "z")


def test_gates_of_a_relu_network_say_their_range():
    trace = traced("RNN", nonlinearity="relu")
    (image,) = [ax.images[0] for ax in plots.gates(trace).axes if ax.images]
    assert image.get_clim() == (0, trace.run["h"][1:, 0].max())


def test_gates_of_a_ragged_reversed_run_end_with_the_sequence_and_turn_the_labels():
    trace = traced("GRU", lengths=[9, 14, 5], bidirectional=True, labels=tuple("abcdefghijklmn"))
    assert trace.run.reversed
    figure = plots.gates(trace, states=("h",))
    last = [ax for ax in figure.axes if ax.images][-1]
    assert last.images[0].get_array().shape == (5, 9)
    assert last.get_title("left").startswith("h")
    assert [t.get_text() for t in last.get_xticklabels()] == list("ihgfedcba")
    assert "0 is the sequence's last" in last.get_xlabel()
    # The labels are those of the first sequence; another one has none.
    other = [ax for ax in plots.gates(trace, sample=2).axes if ax.images][-1]
    assert "a" not in [t.get_text() for t in other.get_xticklabels()]
    assert plots.gates(trace["rec.l0"], sample=2).axes[0].images[0].get_array().shape == (5, 5)


def test_labels_are_thinned_where_there_is_no_room_and_are_no_mathematics():
    dates = tuple(f"{1700 + t} $x$" for t in range(200))
    axis = plots.gates(traced(T=200, labels=dates)).axes[2]
    written = [t.get_text() for t in axis.get_xticklabels()]
    assert written[0] == "1700 $x$"
    assert 10 < len(written) < 60
    assert not axis.get_xticklabels()[0].get_parse_math()
    letters = plots.gates(traced(T=200, labels=tuple("ab" * 100))).axes[2]  # every fourth letter of a text says nothing
    assert "a" not in [t.get_text() for t in letters.get_xticklabels()]


def test_gates_answer_what_does_not_fit():
    trace = traced()
    for arguments, message in (
        ({"sample": 3}, "sample is 3 but rec.l0 has 3 sequences: expected 0 to 2"),
        ({"sample": -1}, "sample is -1"),
        ({"states": ("s",)}, "lstm has no state 's': it has h, c"),
        ({"labels": ["a"]}, "there are 1 labels but rec.l0 has 14 steps"),
        ({"order": [0, 0, 1, 2, 3]}, "each of 0 to 4 once"),
        ({"inputs": np.ones(3)}, "inputs has 3 entries but the gates have 14 steps"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.gates(trace, **arguments)
    gates = trace.run.cache.gates
    with pytest.raises(ValueError, match="expected letters"):
        plots.gates(gates)
    with pytest.raises(ValueError, match="sample is 7 but gates has 3 sequences"):
        plots.gates(gates, "ifgo", sample=7)
    with pytest.raises(ValueError, match="expected name -> array"):
        plots.gates(gates, "ifgo", states=("c",))
    with pytest.raises(TypeError, match=r"a builtins.str is not a trace: expected the result of scratchnet.trace"):
        plots.gates("trace.npz")


def shares_of(values):
    return np.stack([(values < 0.1).mean(0), (values > 0.9).mean(0)], axis=1)


def test_marks_that_would_cover_each_other_are_joined(rng):
    points = rng.uniform(0, 1, (60, 2)).round(1)
    places, counts = clusters(points, 0.13)
    assert counts.sum() == 60
    np.testing.assert_allclose((places * counts[:, None]).sum(axis=0), points.sum(axis=0))
    away = np.linalg.norm(places[:, None] - places, axis=2) + np.eye(len(places))
    assert away.min() >= 0.13
    assert [c.tolist() for c in clusters(np.zeros((16, 2)), 0.1)] == [[[0.0, 0.0]], [16]]


def test_saturation_counts_real_steps_only():
    trace = traced("LSTM", lengths=[4, 14, 6])
    run = trace.run
    real = np.arange(14)[:, None] < [4, 14, 6]
    panels = plots.saturation(trace).axes
    assert [ax.get_title("left")[0] for ax in panels] == list("ifo")
    for letter, ax in zip("ifo", panels):
        shares = shares_of(run[letter][real])
        places, counts = clusters(shares, 0.13)
        drawn = np.concatenate([dots.get_offsets() for dots in ax.collections])
        np.testing.assert_allclose(sorted(map(tuple, drawn)), sorted(map(tuple, places)))
        numbers = [int(text.get_text()) for text in ax.texts]
        assert sorted(numbers) == sorted(counts[counts > 1])
        assert sum(numbers) + sum(counts == 1) == run.H  # no unit covers another
    one = plots.saturation(run, "f", sample=0, ax=Figure().subplots())
    assert {tuple(p) for dots in one.collections for p in dots.get_offsets()} == {
        tuple(p) for p in clusters(shares_of(run["f"][:4, 0]), 0.13)[0]
    }
    with pytest.raises(ValueError, match="ax is for one panel, but there are i, f, o"):
        plots.saturation(run, ax=one)
    with pytest.raises(ValueError, match="letters is 'g', but the gates between 0 and 1 of a lstm are ifo"):
        plots.saturation(run, "g")
    with pytest.raises(ValueError, match="rnn, which has no gates"):
        plots.saturation(traced("RNN"))


# ---- gradients -----------------------------------------------------------------------------------------------------------


def test_gradient_norms_say_where_they_are_zero():
    figure = plots.gradient_norms({"RNN": np.array([0.0, 0.0, 1e-8, 1.0])})
    line = figure.axes[0].get_lines()[0]
    assert line.get_label() == "RNN (zero at 2 steps)"
    np.testing.assert_array_equal(np.isnan(line.get_ydata()), [True, True, False, False])


def test_gradient_norms_of_several_traces():
    traces = {"LSTM": traced("LSTM"), "RNN": traced("RNN").run}
    ax = plots.gradient_norms(traces).axes[0]
    assert ax.get_yscale() == "log"
    drawn = lines(ax)
    assert list(drawn) == ["LSTM  dL/dh", "LSTM  dL/dc", "RNN  dL/dh"]
    for label, (name, term) in zip(drawn, (("LSTM", "dh"), ("LSTM", "dc"), ("RNN", "dh"))):
        run = traces[name].run if name == "LSTM" else traces[name]
        np.testing.assert_allclose(drawn[label].get_ydata(), np.linalg.norm(run[term], axis=(1, 2)))
    looks = {(line.get_linestyle(), line.get_marker()) for line in drawn.values()}
    assert len(looks) == 3  # apart in print, without colour
    one = plots.gradient_norms(traces["LSTM"], sample=1).axes[0]
    np.testing.assert_allclose(
        lines(one)["LSTM  dL/dc"].get_ydata(), np.linalg.norm(traces["LSTM"].run["dc"][:, 1], axis=1), rtol=1e-12
    )


@pytest.mark.parametrize("draw", [plots.gradient_norms, plots.per_loss_gradients, plots.weight_gradients])
def test_a_trace_without_gradients_says_how_to_get_them(draw):
    with pytest.raises(
        ValueError, match=r"made without a target: make it with a target, scratchnet\.trace\(model, x, target\)"
    ):
        draw(traced(backward=False))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("whole", [True, False], ids=["losses", "last loss only"])
def test_per_loss_draws_the_gradient_of_each_loss(name, whole):
    """Against one backward pass for each loss."""
    run = traced(name, lengths=[11, 14, 6], return_sequences=whole).run
    image = plots.per_loss_gradients(run, sample=0, decades=8).axes[0].images[0]
    cell, T = run.cell, 11
    taus = range(T) if whole else [T - 1]
    one = sequence(run, 0)
    expected = np.full((T, len(taus)), np.nan)
    for k, tau in enumerate(taus):
        dy = np.zeros_like(one.dy)
        dy[tau] = one.dy[tau]
        grads = cell.backward(dy, one.cache, *one.d_last.values())
        expected[: tau + 1, k] = np.linalg.norm(grads.da[: tau + 1, 0], axis=1)
    expected = np.maximum(expected / np.nanmax(expected), 1e-8)
    np.testing.assert_allclose(np.ma.filled(image.get_array(), np.nan), expected.T, rtol=1e-10)
    assert (image.norm.vmin, image.norm.vmax) == (1e-8, 1)
    own = plots.per_loss_gradients(run, sample=0).axes[0].images[0].norm.vmin  # as far as the entries reach
    least = np.nanmin(expected)
    assert own == pytest.approx(max(1e-8, 10.0 ** min(-1, np.floor(np.log10(least)))))
    with pytest.raises(ValueError, match="decades is 0"):
        plots.per_loss_gradients(run, decades=0)


def test_per_loss_says_how_many_losses_it_shows():
    run = traced("GRU", T=60).run
    figure = plots.per_loss_gradients(run, most=7, decades=8)
    assert figure.axes[0].get_ylabel() == "step τ of the loss,\n7 of 60 shown"
    image = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
    assert image.shape == (60, 60)
    whole = np.ma.filled(plots.per_loss_gradients(run, decades=8).axes[0].images[0].get_array(), np.nan)
    # the last loss is among the seven; the largest entry may not be
    last = (whole[-1] > 1e-7) & (image[-1] > 1e-7)
    assert last.sum() > 20
    np.testing.assert_allclose(image[-1, last] / image[-1, -1], whole[-1, last] / whole[-1, -1])


@pytest.mark.parametrize("whole", [True, False], ids=["losses", "last loss only"])
@pytest.mark.parametrize(("k1", "k2"), [(5, 5), (3, 8), (1, 1), (4, 13)])
@pytest.mark.parametrize("name", LAYERS)
def test_the_share_thrown_away(name, k1, k2, whole):
    """Against windows run by themselves, forwards and backwards, from the recorded states."""
    run = traced(name, lengths=[14, 11, 6], return_sequences=whole, T=14).run
    cell, T, n = run.cell, 11, slice(1, 2)
    kept = dict.fromkeys(run.params, 0.0)
    for new in range(0, T, k1):
        stop = min(new + k1, T)
        start = max(0, stop - k2)
        states = [run[s][start, n] for s in cell.STATES]
        _, cache = cell.forward(run["x"][start:stop, n], *states, *run.params.values())
        dy = np.array(run.dy[start:stop, n])
        dy[: new - start] = 0
        arriving = [d[n] * (stop == T) for d in run.d_last.values()]
        grads = cell.backward(dy, cache, *arriving)
        kept = {p: kept[p] + getattr(grads, f"d{p}") for p in kept}
    zeros = [np.zeros((1, run.H)) for _ in cell.STATES]
    _, cache = cell.forward(run["x"][:T, n], *zeros, *run.params.values())
    full = cell.backward(run.dy[:T, n], cache, *(d[n] for d in run.d_last.values()))
    lost = np.sqrt(sum(np.sum((getattr(full, f"d{p}") - kept[p]) ** 2) for p in kept))
    size = np.sqrt(sum(np.sum(getattr(full, f"d{p}") ** 2) for p in kept))
    share = plots.thrown_away(run, k1, k2, sample=1)
    assert share == pytest.approx(lost / size, rel=1e-9, abs=1e-12)
    assert (share > 1e-6) == (k2 < 11)


def test_per_loss_draws_the_windows_and_says_the_share():
    trace = traced("LSTM", T=20)
    share = plots.thrown_away(trace, 5, 8)
    ax = plots.per_loss_gradients(trace, k1=5, k2=8).axes[0]
    assert ax.get_title("left") == f"LSTM\nBPTT(5, 8) drops |dW lost| / |dW| = {100 * share:.2g}%"
    stairs = ax.patches[0].get_data()
    np.testing.assert_array_equal(stairs.values, np.array([0, 2, 7, 12]) - 0.5)
    np.testing.assert_array_equal(stairs.edges, np.array([0, 5, 10, 15, 20]) - 0.5)
    assert plots.thrown_away(trace, 20, 20) == 0
    with pytest.raises(ValueError, match="k2 is 4 but k1 is missing"):
        plots.per_loss_gradients(trace, k2=4)
    with pytest.raises(ValueError, match="k2 is 2 but k1 is 5"):
        plots.per_loss_gradients(trace, k1=5, k2=2)
    with pytest.raises(ValueError, match="no gradient reaches"):
        plots.per_loss_gradients(
            scratchnet.trace(LSTM(2, 3, rng=np.random.default_rng(0)), np.ones((4, 1, 2)), dy=np.zeros((4, 1, 3)))
        )


@pytest.mark.parametrize("name", LAYERS)
def test_jacobians_draw_singular_values(name):
    run = traced(name, T=9, H=3, backward=False, lengths=[9, 6, 9]).run
    figure = plots.jacobians(run, sample=1)
    J = jacobian.jacobians(run, 1)
    assert len(J) == 6
    for ax, of_product in zip(figure.axes, (False, True)):
        drawn, product = lines(ax), np.eye(J.shape[1])
        assert ax.get_yscale() == "log"
        for t in reversed(range(6)):
            product = product @ J[t] if of_product else J[t]
            values = np.linalg.svd(product, compute_uv=False)
            for label, k in (("largest", 0), ("median", len(values) // 2), ("smallest", -1)):
                shown = drawn[label].get_ydata()[t]
                if values[k] > 1e-12 * values[0]:
                    assert shown == pytest.approx(values[k], rel=1e-6)
    assert "below: rounding errors" in lines(figure.axes[1])


def test_jacobians_of_a_long_run_are_thinned_and_say_so():
    run = traced("GRU", T=100, N=1, H=3).run
    whole, thin = plots.jacobians(run), plots.jacobians(run, most=10)
    upper, lower = thin.axes
    assert upper.get_title("left") == "One step's Jacobian, every 10th of 100 steps"
    assert (
        lower.get_title("left").replace("\n", " ") == "Product of all steps from t to the last, t in the last 30 of 100"
    )
    for ax, full in zip(thin.axes, whole.axes):
        few, all_of_them = lines(ax)["largest"], lines(full)["largest"]
        t = few.get_xdata()
        assert len(t) == 10
        np.testing.assert_allclose(few.get_ydata(), all_of_them.get_ydata()[t], rtol=1e-9)
    assert lines(upper)["largest"].get_xdata()[-1] == 99
    with pytest.raises(ValueError, match="most is 1"):
        plots.jacobians(run, most=1)


def test_rounding_errors_are_not_drawn_as_singular_values():
    """A product of rank one: all but the largest singular value of a long product are zero, and come out as noise."""
    rng = np.random.default_rng(0)
    layer = RNN(1, 4, rng=rng)
    layer.params["W_h_l0"][...] = np.outer(rng.standard_normal(4), rng.standard_normal(4))
    ax = plots.jacobians(scratchnet.trace(layer, rng.standard_normal((12, 1, 1)) * 0.1)).axes[1]
    assert np.isfinite(lines(ax)["largest"].get_ydata()).all()
    assert np.isnan(lines(ax)["median"].get_ydata()).all()
    assert np.isnan(lines(ax)["smallest"].get_ydata()).all()


def test_weight_gradients_draw_each_step_and_say_the_sum():
    run = traced("GRU").run
    ax = plots.weight_gradients(run).axes[0]
    drawn, said = lines(ax), {text.get_text().split("\n")[0]: text.get_text() for text in ax.texts}
    assert sorted(said) == ["dW_h", "dW_x", "db", "db_hn"]
    for label, line in drawn.items():
        name = label.split()[0]
        norms = [np.linalg.norm(run.weight_gradients(t)[name]) for t in range(run.T)]
        np.testing.assert_allclose(np.nan_to_num(line.get_ydata()), norms, rtol=1e-10)
        expected = f"{name}\nnorm of the sum {np.linalg.norm(run.grads[name]):.3g}\nsum of norms {sum(norms):.3g}"
        zero = "\nzero at t = 0,\nwhere h0 = 0" if name == "dW_h" else ""
        assert said[name] == expected + zero


# ---- text ----------------------------------------------------------------------------------------------------------------


def test_text_is_coloured_by_the_cell_that_moves_most():
    trace = traced(T=len(TEXT), labels=tuple(TEXT))
    values = np.tanh(trace.run["c"][1:, 0])
    unit = int(values.std(axis=0).argmax())
    figure = plots.text(trace)
    ax = figure.axes[0]
    assert "".join(t.get_text() for t in ax.texts) == TEXT.replace("\n", "↵")
    boxes = ax.collections[0]
    tints = colormaps[MAPS["signed"]]
    np.testing.assert_allclose(boxes.get_facecolors(), tints((values[:, unit] + 1) / 2))
    assert figure.axes[1].get_xlabel() == f"tanh(c) of unit {unit} of rec.l0, the one that varies most"
    for letter, ground in zip(ax.texts, boxes.get_facecolors()):
        assert letter.get_color() == letter_colour(ground)
    chosen = plots.text(trace, unit=2, state="h", sample=1, labels=tuple(TEXT))
    np.testing.assert_allclose(
        chosen.axes[0].collections[0].get_facecolors(), tints((trace.run["h"][1:, 1, 2] + 1) / 2)
    )


def test_letters_can_be_read_on_every_ground():
    """At least 4.5 to 1, what the WCAG asks of text, on every colour of the map."""
    tints = colormaps[MAPS["signed"]](np.linspace(0, 1, 101))[:, :3]
    linear = np.where(tints <= 0.04045, tints / 12.92, ((tints + 0.055) / 1.055) ** 2.4)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    for ground, light in zip(tints, luminance):
        letter = 1.0 if letter_colour(ground) == "white" else 0.0
        high, low = max(letter, light) + 0.05, min(letter, light) + 0.05
        assert high / low >= 4.5


def test_text_wraps_and_ends_lines():
    places, width, rows = layout("abcdefg", 3)
    assert [(c, r) for c, r, _, _ in places] == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (0, 2)]
    assert (width, rows) == (3, 3)
    places, _, rows = layout("a\n\nb", 10)
    assert [(c, r) for c, r, _, _ in places] == [(0, 0), (1, 0), (0, 1), (0, 2)]
    words = ["the", "longest", "of", "all", "words"]
    places, width, _ = layout(words, 12)
    assert [(c, r) for c, r, _, _ in places] == [(0, 0), (4, 0), (0, 1), (3, 1), (7, 1)]
    assert width == 13  # "of all words", and the space behind the last word


def test_text_of_values_shows_any_sign(recwarn):
    labels = ["$a", "b$", "日", "", "\t", "_^"]
    figure = plots.text(np.linspace(-1, 1, 6), labels)
    figure.savefig(io.BytesIO())  # neither mathematics nor a missing letter
    assert [t.get_text() for t in figure.axes[0].texts] == ["$a", "b$", "□", "", "→", "_^"]
    assert not recwarn


@pytest.mark.parametrize("first", [False, True], ids=["time first", "batch first"])
def test_text_of_a_character_model_shows_what_it_expects(rng, first):
    vocabulary = Vocabulary.of(TEXT)
    model = Sequential(
        embedding=Embedding(len(vocabulary), 4, rng=rng),
        rec=LSTM(4, 5, rng=rng, batch_first=first),
        head=Linear(5, len(vocabulary), rng=rng),
    )
    tokens = vocabulary.encode(TEXT)
    x = np.stack([tokens, tokens[::-1]], axis=1)
    made = scratchnet.trace(model, x.T if first else x, labels=TEXT)
    y = made.y[0] if first else made.y[:, 0]
    expected = [vocabulary.characters[k] for k in y.argmax(axis=-1)]
    assert most_probable(made, TEXT, 0) == expected
    half = most_probable(made, TEXT[:4], 0)  # a character that the labels do not show is a dot
    assert half == [c if c in TEXT[:4] else "·" for c in expected[:4]]
    written = [text.get_text() for text in plots.text(made).axes[0].texts]
    assert written == [one_line(c) for c in (*TEXT, *expected)]
    assert len(plots.text(made, predicted=()).axes[0].texts) == len(TEXT)
    assert most_probable(TRACE, TEXT, 0) == []


def test_text_answers_what_does_not_fit():
    trace = traced(T=len(TEXT), labels=tuple(TEXT))
    for arguments, message in (
        ({"unit": 5}, "unit is 5 but rec.l0 has 5 units: expected 0 to 4"),
        ({"state": "g"}, "lstm has no state 'g'"),
        ({"sample": 1}, "there are no labels"),
        ({"columns": 0}, "columns is 0: expected 1 to 84"),
        ({"columns": 85}, "columns is 85: expected 1 to 84"),
        ({"predicted": "ab"}, "there are 2 predicted texts but 14 steps"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.text(trace, **arguments)
    with pytest.raises(ValueError, match="reach from 0 to 2: expected -1 to 1"):
        plots.text(np.array([0.0, 2.0]), "ab")
    with pytest.raises(ValueError, match="3 labels but 2 values"):
        plots.text(np.zeros(2), "abc")
    with pytest.raises(ValueError, match="2001 steps, more than the 2000"):
        plots.text(np.zeros(2001), "a" * 2001)
    with pytest.raises(ValueError, match=r"are \(2, 2\): expected \(T,\)"):
        plots.text(np.zeros((2, 2)), "ab")


# ---- the river -----------------------------------------------------------------------------------------------------------


def ribbons_of(ax):
    """The width of each ribbon at each step, from the top: c above h, in the order of the lanes."""
    found = []
    for ribbon in ax.collections:
        if ribbon.get_gid() == "ribbon":
            corners = ribbon.get_paths()[0].vertices
            by_x = {}
            for x, y in corners:
                by_x.setdefault(round(float(x), 9), []).append(y)
            found.append(np.array([max(by_x[x]) - min(by_x[x]) for x in sorted(by_x)])[1:-1])
    return found


def words_of(ax):
    return [text.get_text() for text in ax.texts]


def norms_of(run, states):
    return [np.linalg.norm(run[f"d{state}"][:, 0], axis=1) for state in states]


@pytest.mark.parametrize("size", ["slide", "paper"])
def test_the_river_is_as_wide_as_the_gradient(size):
    traces = {name: traced(name, T=20, return_sequences=False) for name in LAYERS}
    ax = plots.river(traces, size=size).axes[0]
    norms = [n for name, t in traces.items() for n in norms_of(t.run, "ch" if name == "LSTM" else "h")]
    largest = max(n.max() for n in norms)
    expected = [np.clip(1 + np.log10(n / largest) / 6, 0, 1) for n in norms]
    drawn = ribbons_of(ax)
    assert len(drawn) == 4
    widest = max(width.max() for width in drawn)
    for width, share in zip(drawn, expected):
        np.testing.assert_allclose(width, widest * share, atol=1e-9)
    for name, trace in traces.items():
        d = trace.run["dc" if name == "LSTM" else "dh"][:, 0]
        first, last = np.linalg.norm(d[0]), np.linalg.norm(d[-1])
        state = "c" if name == "LSTM" else "h"
        assert f"|d{state}|: {_short(first / last)} of it reaches step 0" in words_of(ax)
        assert f"× {_short((first / last) ** (1 / 19))} per step back" in words_of(ax)
    # One arrow a lane: the loss enters h at the last step only.
    arrows = [patch for patch in ax.patches if patch.get_gid() == "loss"]
    assert len(arrows) == 3
    assert {tuple(arrow.get_facecolor()) for arrow in arrows} == {to_rgba(plots.colour("from_loss"))}


def test_the_rivers_forget_gate_is_what_c_is_multiplied_by():
    run = traced("LSTM", T=9, N=1, return_sequences=False).run
    kept = [np.linalg.norm(run["f"][t] * run["dc"][t]) / np.linalg.norm(run["dc"][t]) for t in range(1, 9)]
    assert f"{_short(np.sqrt(np.mean(np.square(kept))))} on average" in words_of(plots.river(run).axes[0])
    for t in range(1, 9):  # what the gate multiplies is what the step before gets
        np.testing.assert_allclose(run["dc_prev"][t], run["f"][t] * run["dc"][t])


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("T", [1, 2, 41])
def test_every_cell_has_a_river(name, T, rng):
    layer = Recurrent(name, 2, 4, rng=rng)
    trace = scratchnet.trace(layer, rng.standard_normal((T, 2, 2)), dy=rng.standard_normal((T, 2, 4)))
    figure = plots.river(trace)
    assert len(ribbons_of(figure.axes[0])) == len(CELLS[name].STATES)
    assert faults(figure) == []


@pytest.mark.parametrize(
    "labels", [(), tuple("abcde" * 40), tuple(f"19{t:02}-07-28" for t in range(200))], ids=["none", "letters", "dates"]
)
@pytest.mark.parametrize("T", [5, 30, 200])
@pytest.mark.parametrize("lanes", [1, 2, 3, 4])
def test_rivers_of_all_lengths_can_be_read(T, lanes, labels):
    names = ("RNN", "LSTM", "GRU", "LSTM")[:lanes]
    traces = {f"{name} {k}": traced(name, T=T, N=1, seed=k, return_sequences=False) for k, name in enumerate(names)}
    figure = plots.river(traces, marks=[1, T - 2], labels=labels[:T], title="A title over all of it")
    assert faults(figure) == []
    # a slide's 16 to 9; only four lanes over dates that are turned, marks and a title are a little higher
    assert figure.get_figheight() <= (6.0 if lanes == 4 and "1900-07-28" in labels else 5.625)


def test_losses_join_the_river_on_their_way():
    trace = traced("LSTM", T=8)
    ax = plots.river(trace).axes[0]
    arrows = [patch for patch in ax.patches if patch.get_gid() == "loss"]
    assert len(arrows) == 8
    largest = max(n.max() for n in norms_of(trace.run, "ch"))
    sent = np.linalg.norm(trace.run["dy"][:, 0], axis=1)
    widest = max(width.max() for width in ribbons_of(ax))
    long = [np.ptp(arrow.get_xy()[:, 1]) for arrow in arrows]
    np.testing.assert_allclose(long, widest * np.clip(1 + np.log10(sent / largest) / 6, 0, 1))
    assert "a loss joins at 8 steps;" in words_of(ax)
    assert not any("per step back" in word for word in words_of(ax))


def test_the_river_ends_where_the_gradient_does_and_marks_what_is_no_number():
    trace = traced("RNN", T=30, N=1, return_sequences=False)
    run = trace.run
    dh = run.d_next["dh_next"]  # dy is zero: this is all of dh
    run.d_last["dh_last"][:] *= 1e-9
    dh[:] = 10.0 ** -np.arange(30)[::-1, None, None]
    ax = plots.river(run).axes[0]
    assert "under 1e-6 before step 24" in words_of(ax)
    assert (ribbons_of(ax)[0] > 0).sum() == 6  # at 1e-6 of the largest its width is 0
    assert "under 1e-9 before step 21" in words_of(plots.river(run, decades=9).axes[0])
    dh[:16] = 0
    said = words_of(plots.river(run, decades=25).axes[0])
    assert "zero before step 16" in said
    assert {"|dh|: nothing reaches step 0", "× 0.1 per step back"} <= {*said}
    dh[4:7] = np.nan
    ax = plots.river(run).axes[0]
    assert "NaN at 3 steps" in words_of(ax)
    (crosses,) = [line for line in ax.get_lines() if line.get_marker() == "x"]
    assert len(crosses.get_xdata()) == 3
    dh[4:7] = np.inf
    assert "infinite at 3 steps" in words_of(plots.river(run).axes[0])
    dh[0] = np.inf
    assert "|dh| is not finite at step 0" in words_of(plots.river(run).axes[0])
    dh[:] = 0
    ax = plots.river(run).axes[0]
    assert {"no gradient", "|dh| is 0 at the last step"} <= {*words_of(ax)}
    assert ribbons_of(ax)[0].max() == 0
    for figure in (plots.river(run), plots.river({"a": run, "b": traced("LSTM", T=30)})):
        assert faults(figure) == []


def test_the_river_answers_what_does_not_fit():
    trace = traced("LSTM", return_sequences=False)
    for arguments, message in (
        (({},), "numbers of steps are {}: expected at least one trace"),
        (({"a": trace, "b": traced(T=9)},), "numbers of steps are {'a': 14, 'b': 9}"),
        ((traced(backward=False),), "the river needs gradients"),
        (({"a": traced(bidirectional=True), "b": trace},), "no common axis"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.river(*arguments)
    for how, message in (
        ({"sample": 3}, "sample is 3"),
        ({"marks": [14]}, "marks has 14: expected steps from 0 to 13"),
        ({"decades": 0}, "decades is 0"),
        ({"labels": "ab"}, "there are 2 labels"),
    ):
        with pytest.raises(ValueError, match=message):
            plots.river(trace, **how)
    with pytest.raises(ValueError, match=r"ax is 0\.15 times as high as wide, but the river needs 0\.27"):
        plots.river(trace, ax=Figure(figsize=(10, 1.5)).add_axes((0, 0, 1, 1)))
    part = Figure(figsize=(12, 5)).subplots(1, 2)[0]  # all of it, smaller
    assert not [fault for fault in faults(plots.river(trace, ax=part).figure) if "points, expected" not in fault]
    ragged = traced("GRU", lengths=[9, 14, 5], bidirectional=True, labels=tuple("abcdefghijklmn"))
    said = words_of(plots.river(ragged).axes[0])
    assert "".join(word for word in said if len(word) == 1) == "h" + "ihgfedcba" + "1"  # state, labels, scale
    assert any(word.startswith("step of the reversed run") for word in said)


# ---- training ------------------------------------------------------------------------------------------------------------


def test_clipping_draws_the_norm_of_every_gate(watched):
    history, watch = watched
    assert watch.steps == [0, 2, 4, 6, 8]
    blocks = [("rec.W_x_l0", g) for g in "rzn"] + [("rec.W_h_l0", g) for g in "rzn"] + [("rec.b_l0", g) for g in "rzn"]
    blocks += [("rec.b_hn_l0", ""), ("head.W", ""), ("head.b", "")]
    assert list(watch.before) == blocks
    for k, step in enumerate(watch.steps):
        # All blocks together are the norm that the history has; clipping by the global norm is one factor for all.
        norm = np.sqrt(sum(watch.before[block][k] ** 2 for block in blocks))
        assert norm == pytest.approx(history.column("grad_norm")[step])
        for block in blocks:
            assert watch.after[block][k] == pytest.approx(watch.before[block][k] * history.column("clip_factor")[step])
    assert min(history.column("clip_factor")) < 1
    ax = plots.clipping(watch, step=4).axes[0]
    _, before, after = ax.collections
    np.testing.assert_allclose(before.get_offsets()[:, 1], [watch.before[block][2] for block in blocks])
    np.testing.assert_allclose(after.get_offsets()[:, 1], [watch.after[block][2] for block in blocks])
    assert [t.get_text().strip() for t in ax.get_xticklabels()] == [letter for _, letter in blocks]
    mean = plots.clipping(watch).axes[0].collections[1].get_offsets()[:, 1]
    np.testing.assert_allclose(mean, [np.mean(watch.before[block]) for block in blocks])
    with pytest.raises(ValueError, match="step 3 was not recorded: the watch has 0 to 8, every 2"):
        plots.clipping(watch, step=3)
    with pytest.raises(ValueError, match="recorded nothing"):
        plots.clipping(TraceWatch())
    with pytest.raises(TypeError, match=r"expected a scratchnet\.tracing\.TraceWatch"):
        plots.clipping(history)


def test_clip_factor_draws_norm_and_limit(watched):
    history, _ = watched
    (ax,) = plots.clip_factor(history, limit=1.0).axes
    norm, factor = np.array(history.column("grad_norm")), np.array(history.column("clip_factor"))
    np.testing.assert_array_equal(lines(ax)["before clipping"].get_ydata(), norm)
    np.testing.assert_array_equal(lines(ax)["after"].get_ydata(), norm * factor)
    assert lines(ax)["limit 1"].get_ydata()[0] == 1.0
    assert ax.get_title("left").startswith(f"Clipped at {np.mean(factor < 1):.0%} of the steps")
    with pytest.raises(ValueError, match="no steps"):
        plots.clip_factor(History())


def test_histograms_draw_the_shares(watched):
    _, watch = watched
    panels = plots.histograms(watch).axes[:-1]  # the last is the colour bar
    spread = {name: h for name, h in watch.parameters.items() if name != "head.b"}  # one number has no spread
    assert [ax.get_title("left") for ax in panels] == list(spread)
    for ax, histogram in zip(panels, spread.values()):
        drawn = ax.collections[0].get_array()
        shares = histogram.shares
        np.testing.assert_allclose(np.ma.filled(drawn, 0), shares.T)
        np.testing.assert_allclose(shares.sum(axis=1), 1)
        assert ax.collections[0].get_clim() == (1e-3, 1)
        seen = histogram.edges[:-1][shares.any(axis=0)]
        assert ax.get_ylim()[0] == seen[0]
        assert ax.get_ylabel() == "value"
    gates = plots.histograms(watch, "activations").axes
    assert [ax.get_title("left") for ax in gates[:3]] == [
        "rec.l0  r  reset gate",
        "rec.l0  z  update gate",
        "rec.l0  n  candidate",
    ]
    assert [ax.get_ylim() for ax in gates[:3]] == [(0, 1), (0, 1), (-1, 1)]
    one = plots.histograms(watch, "activations", names=["rec.l0 z"], ax=Figure().subplots())
    assert one.get_title("left") == "rec.l0  z  update gate"
    with pytest.raises(ValueError, match=r"ax is for one panel: choose one name of rec\.W_x_l0"):
        plots.histograms(watch, ax=one)
    with pytest.raises(ValueError, match=r"there is no 'l0': the watch has rec\.W_x_l0"):
        plots.histograms(watch, names=["l0"])
    with pytest.raises(ValueError, match="'parameters' or 'activations'"):
        plots.histograms(watch, "states")
    blind = TraceWatch()
    blind.steps, blind.parameters = [0], watch.parameters
    with pytest.raises(ValueError, match=r"TraceWatch\(probe=x\)"):
        plots.histograms(blind, "activations")


def test_a_histogram_widens_and_loses_nothing(rng):
    histogram = Histogram(8)
    rows = [rng.standard_normal(50) * size for size in (1e-4, 0.0, 3.0, 0.1, 40.0)]
    rows.insert(2, np.array([1.0, -1.0, 0.5]))  # on the edges of bins: a forget gate's bias starts there
    for row in rows:
        histogram.add(row)
    assert histogram.limit > max(np.abs(row).max() for row in rows) >= histogram.limit / 2
    for counts, row in zip(histogram.rows, rows):
        np.testing.assert_array_equal(counts, np.histogram(row, histogram.edges)[0])
    histogram.add(np.array([np.inf, np.nan, 1.0]))
    assert histogram.rows[-1].sum() == 1  # what is not finite has no bin
    for bins in (6, 0, -4):
        with pytest.raises(ValueError, match="multiple of 4"):
            Histogram(bins)
    assert (Histogram().bins, Histogram(4).bins) == (64, 4)


def test_a_watch_changes_nothing_and_sees_steps_as_they_begin(rng):
    def train(*callbacks):
        rng = np.random.default_rng(3)
        model = Sequential(rec=LSTM(1, 3, rng=rng), head=Linear(3, 1, rng=rng))
        first = {name: p.copy() for name, p in model.params.items()}
        x = np.sin(np.arange(40.0))[:, None, None]
        fit_stream(
            model, (x[:-1], x[1:]), Adam(0.1), epochs=2, k1=10, callbacks=[Clip(0.1), *callbacks], progress=False
        )
        return model, first

    watch, told = TraceWatch(every=3, probe=rng.standard_normal((5, 2, 1))), []
    (plain, _), (watched, first) = train(), train(watch)
    for name, p in plain.params.items():
        np.testing.assert_array_equal(p, watched.params[name])
    assert (watch.seen, watch.steps) == (8, [0, 3, 6])
    for name, p in first.items():
        begun = watch.parameters[name]
        np.testing.assert_array_equal(begun.rows[0], np.histogram(p, begun.edges)[0])
    assert set(watch.activations) == {("rec.l0", letter) for letter in "ifgo"}
    norms = []

    class Told(Callback):
        def on_gradients(self, trainer):
            told.append(("gradients", len(trainer.history.steps)))
            norms.append([np.linalg.norm(trainer.model.grads["head.W"])])

        def on_clipped(self, trainer):
            told.append(("clipped", len(trainer.history.steps)))
            norms[-1].append(np.linalg.norm(trainer.model.grads["head.W"]))

        def on_step(self, trainer):
            told.append(("step", len(trainer.history.steps)))

    train(Told())
    assert told[:4] == [("gradients", 0), ("clipped", 0), ("step", 1), ("gradients", 1)]
    seen = np.transpose([watch.before["head.W", ""], watch.after["head.W", ""]])
    np.testing.assert_allclose(seen, np.array(norms)[watch.steps], rtol=1e-12)
    with pytest.raises(ValueError, match="every is 0"):
        TraceWatch(every=0)


def test_a_saturated_gate_stays_in_its_range(rng):
    layer, watch = LSTM(1, 2, rng=rng, dtype=np.float32), TraceWatch(probe=np.ones((3, 1, 1), np.float32))
    layer.params["b_l0"][...] = 40  # sigmoid and tanh are exactly 1 in float32
    Trainer(layer, SGD(0.1), callbacks=[watch]).step(
        (np.ones((3, 1, 1), np.float32), np.ones((3, 1, 2), np.float32)), mse
    )
    histogram = watch.activations["l0", "f"]
    assert (histogram.limit, histogram.rows[0][-1]) == (1, 6)
    assert plots.histograms(watch, "activations").axes[0].get_ylim() == (0, 1)


def test_the_gate_of_a_cell_without_gates_is_its_output(rng):
    layer, probe = RNN(1, 2, rng=rng), rng.standard_normal((3, 4, 1))
    watch = TraceWatch(probe=probe)
    y, _ = layer.forward(probe)
    Trainer(layer, SGD(0.1), callbacks=[watch]).step((probe, y), mse)
    (histogram,) = watch.activations.values()
    np.testing.assert_array_equal(histogram.rows[0], np.histogram(y, histogram.edges)[0])
    assert histogram.rows[0].sum() == y.size


def test_a_watch_is_for_one_model(rng):
    x, watch = rng.standard_normal((4, 2, 3)), TraceWatch()
    Trainer(Linear(3, 2, rng=rng), SGD(0.1), callbacks=[watch]).step((x[0], x[0, :, :2]), mse)
    with pytest.raises(ValueError, match="another model"):
        Trainer(RNN(3, 2, rng=rng), SGD(0.1), callbacks=[watch]).step((x, x[..., :2]), mse)


# ---- the loss cliff ------------------------------------------------------------------------------------------------------


def test_the_cliff_is_that_of_the_sigmoid_unit():
    """Fifty steps of x = w sigmoid(x) + b, written out, and the gradient by central differences."""

    def loss(w, b):
        x = 0.5
        for _ in range(50):
            x = w / (1 + np.exp(-x)) + b
        return (1 / (1 + np.exp(-x)) - 0.7) ** 2

    w, b = np.linspace(1, 7, 5), np.linspace(-3, 1, 4)
    np.testing.assert_allclose(cliff.losses(w, b), [[loss(u, v) for u in w] for v in b], rtol=1e-9, atol=1e-14)
    for point in ((2.0, -0.5), (5.5, -2.6), (3.0, -1.4)):
        value, gradient = cliff.gradient(*point)
        assert value == pytest.approx(loss(*point))
        e = 1e-6
        numeric = [
            (loss(point[0] + e, point[1]) - loss(point[0] - e, point[1])) / (2 * e),
            (loss(point[0], point[1] + e) - loss(point[0], point[1] - e)) / (2 * e),
        ]
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6)


def test_the_cliff_throws_plain_descent_out_and_not_clipped_descent():
    figure = plots.loss_cliff(points=40)
    ax = figure.axes[0]
    clipped, plain = (line.get_xydata() for line in ax.get_lines()[:2])
    steps = np.linalg.norm(np.diff(clipped, axis=0), axis=1)
    assert steps.max() <= 0.5 * 0.1 * (1 + 1e-9)  # learning rate times limit
    assert np.linalg.norm(plain[-1] - plain[0]) > 10
    np.testing.assert_array_equal(plain[0], clipped[0])
    image = ax.collections[0]
    np.testing.assert_allclose(image.get_array(), cliff.losses(np.linspace(4.7, 5.9, 40), np.linspace(-3.1, -2.3, 40)))
    assert image.get_clim() == (0, 0.5)
    for arguments in ({"lr": 0}, {"limit": -1.0}, {"steps": 0}, {"points": 1}, {"w": (3.0, 3.0)}):
        with pytest.raises(ValueError, match="expected"):
            plots.loss_cliff(**arguments)


# ---- all figures ---------------------------------------------------------------------------------------------------------


TRACE = traced(T=len(TEXT), labels=tuple(TEXT))
WAVE = np.sin(np.arange(60) / 3)
ERRORS = {"LSTM": WAVE[:12] + 2, "AR(9)": WAVE[:12] + 2.01, "last value": WAVE[:12] + 3}
# Each figure on an axes of its own or, where it has one panel, on a given one.
ONE_PANEL = {
    "errors_ahead": lambda _, **how: plots.errors_ahead(ERRORS, title="Errors", **how),
    "fan": lambda _, **how: plots.fan(
        WAVE[:36], WAVE[36:48], WAVE[36:48] - 0.3, WAVE[36:48] + 0.3, truth=WAVE[36:48], title="A fan", **how
    ),
    "fan of dates": lambda _, **how: plots.fan(
        WAVE[:36], WAVE[36:48], times=[f"19{50 + t // 12}-{t % 12 + 1:02}" for t in range(48)], **how
    ),
    "forecast": lambda _, **how: plots.forecast(
        np.arange(60), WAVE, {"LSTM, 0.132": WAVE * 0.9, "AR(9), 0.126": WAVE + 0.1}, title="A forecast", **how
    ),
    "learning_curves": lambda _, **how: plots.learning_curves(
        {"LSTM": WAVE + 1.1, "RNN": WAVE[:30] + 1.2}, lines={"nothing learned: 1/6": 1 / 6}, **how
    ),
    "learning_curves of late steps": lambda _, **how: plots.learning_curves(
        {"LSTM": WAVE + 2}, smooth=50, lines={"nothing learned": 2.0}, **how
    ),
    "training_curves": lambda watched, **how: plots.training_curves(watched[0], title="Losses", **how),
    "gradient_norms": lambda _, **how: plots.gradient_norms({"LSTM": TRACE, "RNN": traced("RNN", T=15)}, **how),
    "saturation of one gate": lambda _, **how: plots.saturation(TRACE, "f", **how),
    "gates of one": lambda _, **how: plots.gates(TRACE, "f", marks=[3], **how),
    "jacobians of products": lambda _, **how: plots.jacobians(TRACE, of="products", **how),
    "per_loss_gradients": lambda _, **how: plots.per_loss_gradients(TRACE, k1=4, **how),
    "per_loss_gradients of one": lambda _, **how: plots.per_loss_gradients(
        traced("GRU", return_sequences=False, T=30), title="One loss", **how
    ),
    "weight_gradients": lambda _, **how: plots.weight_gradients(TRACE, **how),
    "text": lambda _, **how: plots.text(TRACE, **how),
    "text with predictions": lambda _, **how: plots.text(TRACE, predicted=TEXT[1:] + " ", **how),
    "clipping": lambda watched, **how: plots.clipping(watched[1], title="Clipping", **how),
    "clip_factor": lambda watched, **how: plots.clip_factor(watched[0], limit=1.0, **how),
    "histograms of one": lambda watched, **how: plots.histograms(watched[1], names=["rec.b_l0"], **how),
    "loss_cliff": lambda _, **how: plots.loss_cliff(points=20, title="A cliff", **how),
    "river": lambda _, **how: plots.river(TRACE, marks=[2, 9], **how),
    "cell": lambda _, **how: plots.cell(TRACE, 5, term="dc", title="A cell", **how),
    "cell of a GRU": lambda _, **how: plots.cell(traced("GRU"), walk="forward", **how),
    "river of three": lambda _, **how: plots.river(
        {name: traced(name, T=100, return_sequences=False) for name in LAYERS}, title="Three", marks=[4], **how
    ),
}
PANELS = {
    "gates": lambda _, **how: plots.gates(TRACE, inputs=np.ones(len(TEXT)), marks=[3], **how),
    "gates of a GRU": lambda _, **how: plots.gates(traced("GRU", H=32), **how),
    "saturation": lambda _, **how: plots.saturation(TRACE, **how),
    "jacobians": lambda _, **how: plots.jacobians(TRACE, **how),
    "histograms": lambda watched, **how: plots.histograms(watched[1], **how),
    "activations": lambda watched, **how: plots.histograms(watched[1], "activations", title="Gates", **how),
}
FIGURES = {**ONE_PANEL, **PANELS}


@pytest.mark.parametrize("name", ONE_PANEL)
def test_a_given_axes_is_drawn_into_and_returned(name, watched):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert ONE_PANEL[name](watched, ax=right) is right
    assert right.has_data()
    assert not left.has_data()


@pytest.mark.parametrize("size", ["slide", "paper"])
@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_read(name, size, watched):
    """On a slide and on paper: letters large enough, no text is cut off or covers another, drawn without a warning."""
    figure = FIGURES[name](watched, size=size)
    assert faults(figure, size) == []
    assert figure.get_figwidth() == {"slide": 10, "paper": 7}[size]
    assert len(texts_of(figure)) > 5
    assert figure.get_figheight() <= figure.get_figwidth() * 9 / 16 + 1e-9


def test_what_a_reader_would_complain_of_is_found():
    """The measure itself: small letters, a text that is cut off, and one that covers another."""
    figure = Figure(figsize=(10, 5))
    figure.text(0.5, 0.5, "small", fontsize=10)
    figure.text(0.5, 0.5, "covered", fontsize=20)
    figure.text(0.95, 0.1, "much too long", fontsize=20)
    said = " ".join(faults(figure))
    assert all(f in said for f in ("'small' has 10.0 points", "'small' covers 'covered'", "'much too long' is cut off"))
    assert faults(plots.errors_ahead(ERRORS, ax=Figure(figsize=(10, 5), layout="constrained").subplots()).figure) == []


def test_every_figure_function_is_measured_here():
    functions = {name: getattr(plots, name) for name in plots.__all__ if name not in ("PALETTE", "axes", "style")}
    draws = {name for name, f in functions.items() if "size" in inspect.signature(f).parameters}
    assert {name.split()[0] for name in FIGURES} - {"activations"} == draws


def test_a_size_that_does_not_exist():
    with pytest.raises(ValueError, match="size is 'poster': expected 'slide' or 'paper'"):
        plots.gates(TRACE, size="poster")


@pytest.mark.parametrize(
    "setup", ["", "%matplotlib inline", "import matplotlib.pyplot as plt"], ids=["plain", "inline", "pyplot"]
)
def test_a_notebook_shows_each_figure_once(setup):
    """Alone; on axes of pyplot, which shows its figures by itself; and on axes of a figure that is the cell's value."""
    sources = [
        f"{setup}\nimport numpy as np\nfrom matplotlib.figure import Figure\nfrom scratchnet import plots\nerrors = {{'a': np.ones(3)}}",
        "plots.errors_ahead(errors)",
        "import matplotlib.pyplot as plt\nplots.errors_ahead(errors, ax=plt.subplots()[1])",
        "figure, ax = plt.subplots()\nplots.errors_ahead(errors, ax=ax)\nfigure.savefig('x.png')",
        "plots.errors_ahead(errors, size='paper')",
        "ax = plots.axes()\nplots.errors_ahead(errors, ax=ax)\nax.figure",
        "kept = plots.errors_ahead(errors)",
    ]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    with TemporaryDirectory() as folder:
        NotebookClient(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    shown = [sum("image/png" in part.get("data", {}) for part in cell.outputs) for cell in book.cells]
    assert shown == [0, 1, 1, 1, 1, 1, 0]


def test_figures_leave_pyplot_alone():
    program = (
        "import sys, numpy as np; from scratchnet import plots;"
        "plots.gradient_norms({'a': np.ones(3)}); plots.loss_cliff(points=9, steps=3);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, capture_output=True, text=True)


def test_every_quantity_of_every_cell_has_a_colour():
    for cell in CELLS.values():
        for name in (*cell.GATES, *cell.STATES, *cell.param_shapes(1, 1)):
            assert plots.colour(name) != plots.colour("nothing known"), name


def test_a_long_and_wide_trace_is_drawn_in_seconds():
    """T = 1000, H = 256: each kind under 5 s of a processor's time; here the other tests run beside it."""
    rng = np.random.default_rng(0)
    T, H = 1000, 256
    run = scratchnet.trace(LSTM(4, H, rng=rng), rng.standard_normal((T, 1, 4)), dy=rng.standard_normal((T, 1, H))).run
    for kind, draw in KINDS.items():
        started = time.process_time()
        draw(run, Wanted(k1=50, labels=tuple("ab\n d" * 200))).savefig(io.BytesIO())
        assert time.process_time() - started < 10, kind


# ---- the command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """A trace in a file."""
    path = tmp_path / "t.npz"
    TRACE.save(path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_plot_command_draws_each_kind(saved, tmp_path, capsys, kind):
    out = tmp_path / "pictures" / "one.png"
    extra = {
        "per_loss_gradients": ["--k1", "4", "--k2", "6"],
        "text": ["--unit", "1"],
        "gates": ["--size", "paper"],
        "cell": ["--t", "3", "--unit", "1", "--term", "da_f"],
    }.get(kind, [])
    assert main(["plot", str(saved), "--kind", kind, "--out", str(out), *extra]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.read_bytes().startswith(b"\x89PNG")


def test_plot_command_draws_all_and_says_what_it_left_out(tmp_path, capsys, monkeypatch):
    path = tmp_path / "rnn.npz"
    traced("RNN", backward=False).save(path)
    monkeypatch.chdir(tmp_path)
    assert main(["plot", "rnn.npz"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert {p.name for p in (tmp_path / "rnn").iterdir()} == {"cell.png", "gates.png", "jacobians.png"}
    assert len(said) == len(KINDS)
    for kind, why in (
        ("saturation", "no gates"),
        ("gradient_norms", "without a target"),
        ("river", "without a target"),
        ("text", "no labels"),
    ):
        assert any(line.startswith(f"{kind} left out: ") and why in line for line in said)
    assert main(["plot", "rnn.npz", "--kind", "gates", "--sample", "2"]) == 0
    assert (tmp_path / "rnn-gates.png").exists()


def test_plot_command_answers_what_does_not_fit(saved, tmp_path, capsys):
    for arguments, message in (
        (["--kind", "violin"], "there is no kind 'violin': expected all or one of river, cell, gates, saturation"),
        (["--run", "l7"], "the trace has no run 'l7': it has rec.l0"),
        (["--sample", "3"], "sample is 3 but rec.l0 has 3 sequences"),
        (["--kind", "gates", "--out", "a.xyz"], "a.xyz ends in '.xyz': expected .eps,"),
        (["--kind", "gates", "--k1", "3"], "k1 is 3, but only per_loss_gradients has a use for it, not gates"),
        (["--kind", "gates", "--t", "3"], "t is 3, but only cell has a use for it, not gates"),
        (["--kind", "cell", "--t", "99"], "t is 99 but the sequence has"),
        (["--kind", "cell", "--term", "dq"], "no line of this walk computes 'dq': it has dh, "),
        (["--kind", "per_loss_gradients", "--k1", "5", "--k2", "2"], "k2 is 2 but k1 is 5"),
    ):
        assert main(["plot", str(saved), "--out", str(tmp_path / "x.png"), *arguments]) == 1
        assert message in capsys.readouterr().err
    assert main(["plot", str(tmp_path / "none.npz"), "--kind", "gates"]) == 1


def test_lstm_blocks_are_what_the_cell_says():
    """The figures cut gates with GATES; the cell with split."""
    run = TRACE.run
    for letter, block in zip("ifgo", np.split(run.cache.gates, 4, axis=-1)):
        np.testing.assert_array_equal(run[letter], block)
