"""Figures are compared by what they draw: the numbers in the axes."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from scratchnet import plots


def test_forecast_draws_truth_and_predictions(rng):
    truth, guess = rng.standard_normal(20), rng.standard_normal(20)
    figure = plots.forecast(list(range(1900, 1920)), truth, {"LSTM, 0.1": guess, "last value": truth}, ylabel="y")
    drawn = {line.get_label(): line for line in figure.axes[0].get_lines()}
    np.testing.assert_array_equal(drawn["truth"].get_ydata(), truth)
    np.testing.assert_array_equal(drawn["LSTM, 0.1"].get_ydata(), guess)
    assert drawn["LSTM, 0.1"].get_xdata()[0] == 1900
    assert drawn["LSTM, 0.1"].get_color() == plots.colour("lstm")
    assert drawn["last value"].get_color() == plots.colour("baseline")


def test_forecast_with_dates_and_wrong_lengths(rng):
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


def test_gradient_norms_say_where_they_are_zero():
    figure = plots.gradient_norms({"RNN": np.array([0.0, 0.0, 1e-8, 1.0])})
    line = figure.axes[0].get_lines()[0]
    assert line.get_label() == "RNN (zero at 2 steps)"
    np.testing.assert_array_equal(np.isnan(line.get_ydata()), [True, True, False, False])


def test_gates_draw_each_block_in_one_order_and_fixed_ranges(rng):
    gates = rng.uniform(0, 1, (7, 2, 12))
    order = np.array([2, 0, 1])
    figure = plots.gates(gates, "ifgo", sample=1, inputs=np.ones(7), marks=[3], order=order)
    panels = [ax for ax in figure.axes if ax.images]
    assert len(panels) == 4
    for k, ax in enumerate(panels):
        np.testing.assert_array_equal(ax.images[0].get_array(), gates[:, 1, 3 * k : 3 * k + 3].T[order])
    assert [ax.images[0].get_clim() for ax in panels] == [(0, 1), (0, 1), (-1, 1), (0, 1)]


def test_a_given_axes_is_drawn_into():
    ax = Figure().add_subplot()
    assert plots.gradient_norms({"a": np.ones(3)}, ax=ax) is ax.get_figure()
    assert plots.learning_curves({"a": [1.0]}, ax=ax) is ax.get_figure()


def test_every_quantity_of_every_cell_has_a_colour():
    from scratchnet.cells import CELLS

    for cell in CELLS.values():
        for letter in (*cell.GATES, *cell.STATES):
            assert plots.colour(letter) != plots.colour("nothing known"), letter
