"""Baselines: known coefficients are found again, and the sunspot numbers are those that the documentation prints."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scratchnet.data import datasets, sliding_windows, split_at
from scratchnet.forecasting import baselines
from scratchnet.forecasting.baselines import (
    Autoregression,
    last_value,
    mean_absolute_error,
    mean_squared_error,
    relative_variance,
)


def column(*numbers, dtype=np.float64):
    return np.array(numbers, dtype)[:, None]


# ---- metrics -------------------------------------------------------------------------------------------------------------


def test_metrics_on_numbers_done_by_hand():
    prediction, target = column(1, 2, 6), column(1, 4, 1)
    assert mean_squared_error(prediction, target) == pytest.approx((0 + 4 + 25) / 3)
    assert mean_absolute_error(prediction, target) == pytest.approx((0 + 2 + 5) / 3)
    assert relative_variance(prediction, target) == pytest.approx((29 / 3) / 2)  # mean 2, variance (1 + 4 + 1) / 3
    assert relative_variance(prediction, target, of=column(0, 10)) == pytest.approx((29 / 3) / 25)


@settings(deadline=None)
@given(target=arrays(np.float64, (8, 2), elements=st.integers(-9, 9).map(float)))
def test_relative_variance_of_each_columns_mean_is_one(target):
    target[0] = target[1] + 1
    assert relative_variance(np.broadcast_to(target.mean(axis=0), target.shape), target) == pytest.approx(1)
    assert relative_variance(target, target) == 0


def test_metrics_of_float32_are_computed_in_float64():
    target = np.full((3, 1), 1e-30, np.float32)
    assert mean_squared_error(np.zeros_like(target), target) == pytest.approx(1e-60)  # in float32 it would be 0


@pytest.mark.parametrize(
    ("prediction", "target", "error", "sentence"),
    [
        (np.zeros(3), np.zeros((3, 1)), ValueError, "prediction is (3,) but target is (3, 1): expected (3, 1)"),
        (np.zeros((0, 1)), np.zeros((0, 1)), ValueError, "target is (0, 1): there is nothing to average"),
        ([1.0], np.zeros(1), TypeError, "prediction is a builtins.list"),
        (np.zeros(1), np.zeros(1, int), TypeError, "target is int64"),
    ],
)
@pytest.mark.parametrize("metric", [mean_squared_error, mean_absolute_error, relative_variance])
def test_metrics_refuse_what_would_broadcast(metric, prediction, target, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        metric(prediction, target)


@pytest.mark.parametrize("of", [np.full((10, 1), 0.1), np.zeros((0, 1))])
def test_relative_variance_of_what_does_not_vary(of):
    with pytest.raises(ValueError, match=f"the {len(of)} rows whose variance is to divide do not vary"):
        relative_variance(column(1, 2), column(1, 3), of=of)


def test_relative_variance_of_other_columns():
    sentence = "of is (4, 2) but target is (2, 1), and may differ in rows only: expected (4, 1)"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        relative_variance(column(1, 2), column(1, 3), of=np.ones((4, 2)))


# ---- last value ----------------------------------------------------------------------------------------------------------


def test_last_value_is_the_newest_row_for_every_step():
    x = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    np.testing.assert_array_equal(last_value(x), [[4, 5], [10, 11]])
    np.testing.assert_array_equal(last_value(x, horizon=2), [[4, 5, 4, 5], [10, 11, 10, 11]])
    assert last_value(x).dtype == np.float32


@pytest.mark.parametrize(
    ("x", "horizon", "error", "sentence"),
    [
        (np.zeros((3, 2)), 1, ValueError, "x is (3, 2): expected windows (n, width, D)"),
        (np.zeros((3, 0, 2)), 1, ValueError, "x has windows of 0 rows: expected at least 1 to predict from"),
        (np.zeros((3, 1, 2)), 0, ValueError, "horizon is 0: expected at least 1 step"),
        (np.zeros((3, 1, 2), int), 1, TypeError, "x is int64"),
    ],
)
def test_last_value_bad_input(x, horizon, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        last_value(x, horizon)


# ---- autoregression ------------------------------------------------------------------------------------------------------


def test_autoregression_finds_the_coefficients_again():
    z = np.zeros((60, 1))
    z[:2, 0] = 1, -2
    for t in range(2, 60):
        z[t] = 3 + 1.6 * z[t - 1] - 0.97 * z[t - 2]  # a slowly decaying oscillation
    model = Autoregression(2).fit(z[:40])
    np.testing.assert_allclose(model.intercept, [3], atol=1e-9)
    np.testing.assert_allclose(model.coefficients[:, 0, 0], [1.6, -0.97], atol=1e-9)
    x, y, _ = sliding_windows(
        z, width=5, horizon=4, part=slice(40, 60)
    )  # width beyond the order, steps beyond the first
    np.testing.assert_allclose(model.predict(x, horizon=4), y, atol=1e-7)


def test_autoregression_of_two_columns_that_drive_each_other():
    rng = np.random.default_rng(0)
    A1, A2, b = 0.4 * rng.normal(size=(2, 2)), 0.2 * rng.normal(size=(2, 2)), np.array([1.0, -1.0])
    z = rng.normal(size=(30, 2))
    for t in range(2, 30):
        z[t] = b + z[t - 1] @ A1 + z[t - 2] @ A2
    model = Autoregression(2).fit(z[:12])  # before the transient, all there is to learn from, has died away
    np.testing.assert_allclose(model.coefficients, [A1, A2], atol=1e-8)
    x, y, _ = sliding_windows(z, width=2, horizon=3)
    np.testing.assert_allclose(model.predict(x, horizon=3), y, atol=1e-8)


@settings(deadline=None, max_examples=20)
@given(order=st.integers(1, 5), seed=st.integers(0, 99))
def test_autoregression_is_least_squares(order, seed):
    """The residuals of a least-squares fit are orthogonal to a constant and to every lag."""
    z = np.random.default_rng(seed).normal(size=(40, 1))
    x, y, _ = sliding_windows(z, order)
    residual = y - Autoregression(order).fit(z).predict(x)
    assert abs(residual.sum()) < 1e-10
    np.testing.assert_allclose(x[:, :, 0].T @ residual, 0, atol=1e-10)


def test_autoregression_of_float32_fits_in_float64_and_answers_in_float32():
    co2 = datasets.load("co2").values  # 316 to 371 with neighbours 0.1 apart: hard on float32
    x, _, _ = sliding_windows(co2, 52, part=slice(2000, 2284))
    exact = Autoregression(52).fit(co2[:2000]).predict(x)
    single = Autoregression(52).fit(co2[:2000].astype(np.float32)).predict(x.astype(np.float32))
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, exact, rtol=1e-6)


def test_autoregression_does_not_write_into_its_windows():
    z = np.random.default_rng(0).normal(size=(30, 1))
    x = sliding_windows(z, 4).x
    before = x.copy()
    Autoregression(3).fit(z).predict(x, horizon=5)
    np.testing.assert_array_equal(x, before)


def test_autoregression_bad_input():
    z = np.random.default_rng(0).normal(size=(30, 1))
    with pytest.raises(ValueError, match="order is 0: expected at least 1"):
        Autoregression(0)
    with pytest.raises(
        ValueError, match=r"values has 18 rows but order 9 with D = 1 has 10 unknowns.*at least 19 rows"
    ):
        Autoregression(9).fit(z[:18])
    Autoregression(9).fit(z[:19])
    with pytest.raises(ValueError, match=re.escape("values is (30,): expected (T, D)")):
        Autoregression(9).fit(z[:, 0])
    with pytest.raises(RuntimeError, match=re.escape("this Autoregression(9) has not been fitted")):
        Autoregression(9).predict(np.zeros((1, 9, 1)))
    model = Autoregression(3).fit(z)
    with pytest.raises(ValueError, match="x has windows of 2 rows: expected at least 3"):
        model.predict(np.zeros((1, 2, 1)))
    with pytest.raises(ValueError, match="x has 2 columns but the autoregression was fitted to 1"):
        model.predict(np.zeros((1, 3, 2)))
    with pytest.raises(ValueError, match="horizon is 0"):
        model.predict(np.zeros((1, 3, 1)), horizon=0)


# ---- sunspots ------------------------------------------------------------------------------------------------------------


def sunspots():
    """Training values up to 1920, windows whose targets are 1921 to 1955, and the whole series 1700 to 1979."""
    s = datasets.load("sunspots")
    train, test, _ = split_at(s.times, 1920, 1955)
    w = sliding_windows(s.values, width=9, part=test)
    assert (s.times[w.at[0]], s.times[w.at[-1]], len(w.at)) == ("1921", "1955", 35)
    return s.values[train], w, s.values[split_at(s.times, 1979)[0]]


def test_sunspots_autoregression_of_order_9():
    train, w, whole = sunspots()
    prediction = Autoregression(9).fit(train).predict(w.x)
    assert relative_variance(prediction, w.y, of=whole) == pytest.approx(0.126, abs=0.001)
    # The other variances that one might divide by are not what the number means.
    assert relative_variance(prediction, w.y) == pytest.approx(0.1130, abs=5e-5)
    assert relative_variance(prediction, w.y, of=train) == pytest.approx(0.1619, abs=5e-5)
    assert relative_variance(prediction, w.y, of=datasets.load("sunspots").values) == pytest.approx(0.1160, abs=5e-5)


def test_sunspot_numbers_are_those_the_module_prints():
    train, w, whole = sunspots()
    rows = {"last value": last_value(w.x), "Autoregression(9)": Autoregression(9).fit(train).predict(w.x)}
    for name, p in rows.items():
        printed = re.search(re.escape(name) + r"\s+([\d.]+)\s+([\d.]+)\s+([\d.]+)", baselines.__doc__)
        computed = (
            f"{mean_squared_error(p, w.y):.2f}",
            f"{mean_absolute_error(p, w.y):.3f}",
            f"{relative_variance(p, w.y, of=whole):.4f}",
        )
        assert printed.groups() == computed
    assert f"{whole.var():.2f}" in baselines.__doc__
    assert f"{w.y.var():.2f}" in baselines.__doc__


def test_sunspots_beat_the_last_value():
    train, w, _ = sunspots()
    assert (
        mean_squared_error(Autoregression(9).fit(train).predict(w.x), w.y)
        < mean_squared_error(last_value(w.x), w.y) / 3
    )
