"""Figures are compared by what they draw: the numbers in the axes."""

import io
import subprocess
import sys
import time

import numpy as np
import pytest
import scratchnet
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.text import Text
from scratchnet import plots
from scratchnet.cells import CELLS
from scratchnet.commands.cli import main
from scratchnet.layers import GRU, LSTM, RNN, Linear, Sequential
from scratchnet.losses import mse
from scratchnet.plots import cliff
from scratchnet.plots.kinds import KINDS, Wanted
from scratchnet.plots.source import sequence
from scratchnet.plots.text import layout, letter_colour
from scratchnet.tracing import jacobian
from scratchnet.tracing.watch import Histogram, TraceWatch
from scratchnet.training import SGD, Adam, Batches, Callback, Clip, History, Trainer, fit, fit_stream

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
    first = run[run.cell.GATES[0]][-run.T :, 2].T
    order = np.argsort(np.abs(first - first.mean(axis=1, keepdims=True)).argmax(axis=1), kind="stable")
    expected = [run[letter][-run.T :, 2].T for letter in run.cell.GATES]  # of the RNN's h without the initial state
    if name == "LSTM":
        expected.append(np.tanh(run["c"][1:, 2].T))
    assert len(panels) == len(expected)
    for ax, values in zip(panels, expected):
        np.testing.assert_array_equal(ax.images[0].get_array(), values[order])
        assert ax.images[0].get_clim() in ((0, 1), (-1, 1))


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
    assert last.get_ylabel().startswith("h")
    assert [t.get_text() for t in last.get_xticklabels()] == list("ihgfedcba")
    assert "0 is the sequence's last" in last.get_xlabel()
    # The labels are those of the first sequence; another one has none.
    other = [ax for ax in plots.gates(trace, sample=2).axes if ax.images][-1]
    assert "a" not in [t.get_text() for t in other.get_xticklabels()]
    assert plots.gates(trace["rec.l0"], sample=2).axes[0].images[0].get_array().shape == (5, 5)


def test_labels_are_thinned_where_there_is_no_room_and_are_no_mathematics():
    dates = tuple(f"{1700 + t} $x$" for t in range(200))
    axis = plots.gates(traced(T=200, labels=dates)).axes[4]
    written = [t.get_text() for t in axis.get_xticklabels()]
    assert written[0] == "1700 $x$"
    assert 10 < len(written) < 60
    assert not axis.get_xticklabels()[0].get_parse_math()
    letters = plots.gates(traced(T=200, labels=tuple("ab" * 100))).axes[4]  # every fourth letter of a text says nothing
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


def test_saturation_counts_real_steps_only():
    trace = traced("LSTM", lengths=[4, 14, 6])
    run = trace.run
    collections = plots.saturation(trace).axes[0].collections
    assert len(collections) == 3
    real = np.arange(14)[:, None] < [4, 14, 6]
    for letter, dots in zip("ifo", collections):
        values = run[letter][real]
        np.testing.assert_allclose(
            dots.get_offsets(), np.stack([(values < 0.1).mean(0), (values > 0.9).mean(0)], axis=1)
        )
    one = plots.saturation(run, sample=0).axes[0].collections[1].get_offsets()
    np.testing.assert_allclose(one[:, 1], (run["f"][:4, 0] > 0.9).mean(0))
    assert len({c.get_paths()[0].vertices.shape for c in collections}) > 1  # markers differ, not only colours
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
    image = plots.per_loss_gradients(run, sample=0).axes[0].images[0]
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
    np.testing.assert_allclose(np.ma.filled(image.get_array(), np.nan), expected, rtol=1e-10)
    assert (image.norm.vmin, image.norm.vmax) == (1e-8, 1)


def test_per_loss_says_how_many_losses_it_shows():
    run = traced("GRU", T=60).run
    figure = plots.per_loss_gradients(run, most=7)
    assert figure.axes[0].get_xlabel() == "step τ of the loss, 7 of 60 shown"
    image = np.ma.filled(figure.axes[0].images[0].get_array(), np.nan)
    assert image.shape == (60, 60)
    whole = np.ma.filled(plots.per_loss_gradients(run).axes[0].images[0].get_array(), np.nan)
    # the last loss is among the seven; the largest entry may not be
    last = (whole[:, -1] > 1e-7) & (image[:, -1] > 1e-7)
    assert last.sum() > 20
    np.testing.assert_allclose(image[last, -1] / image[-1, -1], whole[last, -1] / whole[-1, -1])


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
    assert ax.get_title() == f"LSTM\nBPTT(5, 8) throws away |dW lost| / |dW| = {100 * share:.2g}%"
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
    assert upper.get_title("left") == "of the step's Jacobian, every 10th of 100 steps"
    assert lower.get_title("left") == "of the product of all steps from t to the last, t in the last 30 of 100"
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
    drawn = lines(plots.weight_gradients(run).axes[0])
    assert len(drawn) == 4
    for (label, line), name in zip(drawn.items(), ("dW_x", "dW_h", "db", "db_hn")):
        norms = [np.linalg.norm(run.weight_gradients(t)[name]) for t in range(run.T)]
        shown = line.get_ydata()
        np.testing.assert_allclose(np.nan_to_num(shown), norms, rtol=1e-10)
        said = f"{name}:  norm of the sum {np.linalg.norm(run.grads[name]):.3g}, sum of norms {sum(norms):.3g}"
        assert label == said + (" (zero at 1 step)" if name == "dW_h" else "")  # W_h meets the initial state, zero


# ---- text ----------------------------------------------------------------------------------------------------------------


def test_text_is_coloured_by_the_cell_that_moves_most():
    trace = traced(T=len(TEXT), labels=tuple(TEXT))
    values = np.tanh(trace.run["c"][1:, 0])
    unit = int(values.std(axis=0).argmax())
    figure = plots.text(trace)
    ax = figure.axes[0]
    assert "".join(t.get_text() for t in ax.texts) == TEXT.replace("\n", "↵")
    boxes = ax.collections[0]
    tints = colormaps["RdBu_r"]
    np.testing.assert_allclose(boxes.get_facecolors(), tints((values[:, unit] + 1) / 2))
    assert figure.axes[1].get_xlabel() == f"tanh(c) of unit {unit} of rec.l0,\nthe one that moves most"
    for letter, ground in zip(ax.texts, boxes.get_facecolors()):
        assert letter.get_color() == letter_colour(ground)
    chosen = plots.text(trace, unit=2, state="h", sample=1, labels=tuple(TEXT))
    np.testing.assert_allclose(
        chosen.axes[0].collections[0].get_facecolors(), tints((trace.run["h"][1:, 1, 2] + 1) / 2)
    )


def test_letters_can_be_read_on_every_ground():
    """At least 4.5 to 1, what the WCAG asks of text, on every colour of the map."""
    tints = colormaps["RdBu_r"](np.linspace(0, 1, 101))[:, :3]
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


def test_text_answers_what_does_not_fit():
    trace = traced(T=len(TEXT), labels=tuple(TEXT))
    for arguments, message in (
        ({"unit": 5}, "unit is 5 but rec.l0 has 5 units: expected 0 to 4"),
        ({"state": "g"}, "lstm has no state 'g'"),
        ({"sample": 1}, "there are no labels"),
        ({"columns": 0}, "columns is 0"),
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
    before, after = ([bar.get_height() for bar in bars] for bars in ax.containers)
    np.testing.assert_allclose(before, [watch.before[block][2] for block in blocks])
    np.testing.assert_allclose(after, [watch.after[block][2] for block in blocks])
    assert [t.get_text().strip() for t in ax.get_xticklabels()] == [letter for _, letter in blocks]
    mean = [bar.get_height() for bar in plots.clipping(watch).axes[0].containers[0]]
    np.testing.assert_allclose(mean, [np.mean(watch.before[block]) for block in blocks])
    with pytest.raises(ValueError, match="step 3 was not recorded: the watch has 0 to 8, every 2"):
        plots.clipping(watch, step=3)
    with pytest.raises(ValueError, match="recorded nothing"):
        plots.clipping(TraceWatch())
    with pytest.raises(TypeError, match=r"expected a scratchnet\.tracing\.TraceWatch"):
        plots.clipping(history)


def test_clip_factor_draws_norm_limit_and_factor(watched):
    history, _ = watched
    upper, lower = plots.clip_factor(history, limit=1.0).axes
    norm, factor = np.array(history.column("grad_norm")), np.array(history.column("clip_factor"))
    np.testing.assert_array_equal(lines(upper)["before clipping"].get_ydata(), norm)
    np.testing.assert_array_equal(lines(upper)["after"].get_ydata(), norm * factor)
    assert lines(upper)["limit 1"].get_ydata()[0] == 1.0
    np.testing.assert_array_equal(lower.get_lines()[0].get_ydata(), factor)
    assert lower.get_title().startswith(f"clipped at {np.mean(factor < 1):.0%} of the steps")
    with pytest.raises(ValueError, match="no steps"):
        plots.clip_factor(History())


def test_histograms_draw_the_shares(watched):
    _, watch = watched
    panels = plots.histograms(watch).axes
    for ax, (name, histogram) in zip(panels, watch.parameters.items()):
        assert ax.get_title() == name
        drawn = ax.collections[0].get_array()
        shares = histogram.shares
        np.testing.assert_allclose(np.ma.filled(drawn, 0), shares.T)
        np.testing.assert_allclose(shares.sum(axis=1), 1)
        assert ax.collections[0].get_clim() == (1e-3, 1)
        seen = histogram.edges[:-1][shares.any(axis=0)]
        assert ax.get_ylim()[0] == seen[0]
    gates = plots.histograms(watch, "activations").axes
    assert [ax.get_title() for ax in gates[:3]] == [
        "rec.l0  r  reset gate",
        "rec.l0  z  update gate",
        "rec.l0  n  candidate",
    ]
    assert [ax.get_ylim() for ax in gates[:3]] == [(0, 1), (0, 1), (-1, 1)]
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
ON_AXES = {
    "forecast": lambda ax, _: plots.forecast([1, 2], np.ones(2), {}, ax=ax),
    "learning_curves": lambda ax, _: plots.learning_curves({"a": [1.0]}, ax=ax),
    "training_curves": lambda ax, watched: plots.training_curves(watched[0], ax=ax),
    "gradient_norms": lambda ax, _: plots.gradient_norms({"a": np.ones(3)}, ax=ax),
    "saturation": lambda ax, _: plots.saturation(TRACE, ax=ax),
    "per-loss": lambda ax, _: plots.per_loss_gradients(TRACE, k1=4, ax=ax),
    "weight_gradients": lambda ax, _: plots.weight_gradients(TRACE, ax=ax),
    "text": lambda ax, _: plots.text(TRACE, ax=ax),
    "clipping": lambda ax, watched: plots.clipping(watched[1], ax=ax),
    "loss_cliff": lambda ax, _: plots.loss_cliff(points=20, steps=5, ax=ax),
}
OF_PANELS = {
    "gates": lambda _: plots.gates(TRACE),
    "jacobians": lambda _: plots.jacobians(TRACE),
    "clip_factor": lambda watched: plots.clip_factor(watched[0], limit=1.0),
    "histograms": lambda watched: plots.histograms(watched[1]),
    "activations": lambda watched: plots.histograms(watched[1], "activations"),
}


@pytest.mark.parametrize("name", ON_AXES)
def test_a_given_axes_is_drawn_into(name, watched):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert ON_AXES[name](right, watched) is figure
    assert right.has_data()
    assert not left.has_data()


@pytest.mark.parametrize("name", [*ON_AXES, *OF_PANELS])
def test_every_figure_can_be_read_when_projected(name, watched):
    """It is drawn without a warning (which would be an error), and no letter is smaller than 9 points at its own size."""
    figure = ON_AXES[name](None, watched) if name in ON_AXES else OF_PANELS[name](watched)
    figure.savefig(io.BytesIO(), dpi=50)
    written = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    assert written
    assert min(text.get_fontsize() for text in written) >= 9
    assert figure.get_figwidth() <= 9.5


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
    extra = {"per-loss": ["--k1", "4", "--k2", "6"], "text": ["--unit", "1"]}.get(kind, [])
    assert main(["plot", str(saved), "--kind", kind, "--out", str(out), *extra]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    assert out.read_bytes().startswith(b"\x89PNG")


def test_plot_command_draws_all_and_says_what_it_left_out(tmp_path, capsys, monkeypatch):
    path = tmp_path / "rnn.npz"
    traced("RNN", backward=False).save(path)
    monkeypatch.chdir(tmp_path)
    assert main(["plot", "rnn.npz"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert {p.name for p in (tmp_path / "rnn").iterdir()} == {"gates.png", "jacobians.png"}
    assert len(said) == len(KINDS)
    for kind, why in (("saturation", "no gates"), ("gradients", "without a target"), ("text", "no labels")):
        assert any(line.startswith(f"{kind} left out: ") and why in line for line in said)
    assert main(["plot", "rnn.npz", "--kind", "gates", "--sample", "2"]) == 0
    assert (tmp_path / "rnn-gates.png").exists()


def test_plot_command_answers_what_does_not_fit(saved, tmp_path, capsys):
    for arguments, message in (
        (["--kind", "violin"], "there is no kind 'violin': expected all or one of gates, saturation"),
        (["--run", "l7"], "the trace has no run 'l7': it has rec.l0"),
        (["--sample", "3"], "sample is 3 but the trace has 3 sequences"),
        (["--kind", "gates", "--out", "a.xyz"], "a.xyz ends in '.xyz': expected .eps,"),
        (["--kind", "gates", "--k1", "3"], "k1 is 3, but only per-loss has a use for it, not gates"),
        (["--kind", "per-loss", "--k1", "5", "--k2", "2"], "k2 is 2 but k1 is 5"),
    ):
        assert main(["plot", str(saved), "--out", str(tmp_path / "x.png"), *arguments]) == 1
        assert message in capsys.readouterr().err
    assert main(["plot", str(tmp_path / "none.npz"), "--kind", "gates"]) == 1


def test_lstm_blocks_are_what_the_cell_says():
    """The figures cut gates with GATES; the cell with split."""
    run = TRACE.run
    for letter, block in zip("ifgo", np.split(run.cache.gates, 4, axis=-1)):
        np.testing.assert_array_equal(run[letter], block)
