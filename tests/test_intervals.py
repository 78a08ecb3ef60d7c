"""Quantiles and intervals: conformal calibration holds what it says, and every consumer of quantiles knows them."""

import numpy as np
import pytest
from scratchnet.data.windows import target_columns
from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet.forecasting import (
    AutoregressionForecaster,
    Direct,
    Ensemble,
    ForecastConfig,
    LastValue,
    Recursive,
    SeasonalLastValue,
    Smoothing,
    backtest,
    coverage,
    load_forecaster,
    pinball,
)
from scratchnet.forecasting.conformal import margins, middle, smallest_that_holds

QUICK = ForecastConfig(window=4, units=4, epochs=3, patience=3)


def noise(T=200, D=1, seed=0):
    return np.random.default_rng(seed).standard_normal((T, D))


# ---- conformal calibration ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("n", [1, 4, 9, 10, 19, 20, 99])
def test_a_new_score_is_held_with_exactly_the_share_that_its_place_has(n, share, rng):
    """Of n + 1 scores each could be the new one: ceil((n + 1) share) of them are held by the others."""
    scores = rng.standard_normal(n + 1)
    held = sum(scores[i] <= smallest_that_holds(np.delete(scores, i), share) for i in range(n + 1))
    expected = np.ceil(np.round((n + 1) * share, 9))
    if expected > n:  # too few scores for such a share: the largest is taken, which all but one hold
        expected = n
    assert held == expected


def test_scores_of_values_that_are_missing_do_not_count(rng):
    scores = rng.standard_normal((30, 2, 1))
    with_gaps = np.concatenate([scores, np.full((9, 2, 1), np.nan)])
    np.testing.assert_array_equal(smallest_that_holds(with_gaps, 0.8), smallest_that_holds(scores, 0.8))
    np.testing.assert_array_equal(smallest_that_holds(np.full((3, 2, 1), np.nan), 0.8), np.zeros((2, 1)))


@pytest.mark.parametrize("levels", [(0.05, 0.95), (0.05, 0.5, 0.95), (0.1, 0.25, 0.5, 0.75, 0.9), (0.9,), (0.2,)])
def test_calibrated_quantiles_cover_what_they_say(levels):
    """Quantiles that are far too narrow, and far too wide, on data whose order means nothing."""
    rng, n = np.random.default_rng(1), 99
    for width in (0.3, 3.0):
        forecast = np.tile(width * (np.array(levels) - 0.5), (n + 4000, 2, 1, 1))
        truth = rng.standard_normal((n + 4000, 2, 1)) * [[1.0], [5.0]]
        inside: dict[str, list[float]] = {}
        for trial in range(40):
            rows = np.random.default_rng(trial).permutation(len(truth))
            margin = margins(forecast[rows[:n]], truth[rows[:n]], levels)
            new, y = forecast[rows[n:]] + margin, truth[rows[n:]]
            for k, level in enumerate(levels):
                pair = [j for j, q in enumerate(levels) if abs(q + level - 1) < 1e-9]
                if level > 0.5 and pair:
                    held = (new[..., pair[0]] <= y) & (y <= new[..., k])
                    inside.setdefault(f"{2 * level - 1:.2f}", []).append(held.mean())
                elif level == 0.5:
                    assert (margin[..., k] == 0).all()
                elif not pair:
                    held = y <= new[..., k] if level > 0.5 else y >= new[..., k]
                    inside.setdefault(f"{max(level, 1 - level):.2f}", []).append(held.mean())
        for share, held in inside.items():
            # the mean over trials is share to within 1 / (n + 1), and three standard errors
            error = 3 * np.std(held) / np.sqrt(len(held))
            assert float(share) - error <= np.mean(held) <= float(share) + 1 / (n + 1) + error


def test_the_middle_is_the_quantile_at_one_half():
    """Not the one in the middle of the list: with two levels that was the upper end."""
    forecast = np.array([1.0, 5.0, 9.0])
    assert middle(forecast, (0.05, 0.5, 0.95)) == 5
    assert middle(forecast[:2], (0.05, 0.95)) == pytest.approx(3, rel=1e-15)
    assert middle(forecast, (0.5, 0.9, 0.95)) == 1
    assert middle(forecast, (0.1, 0.3, 0.7)) == pytest.approx(7, rel=1e-15)
    assert np.isnan(middle(forecast, (0.6, 0.7, 0.8)))
    assert np.isnan(middle(forecast[:1], (0.2,)))


@pytest.mark.parametrize("levels", [(0.05, 0.95), (0.25, 0.5, 0.9)])
def test_errors_of_quantiles_are_about_the_middle(levels):
    values = noise()
    forecaster = Direct(QUICK, 2, levels=levels).fit(values)
    at = np.arange(170, 199)
    truth = values[at[:, None] + np.arange(2)]
    np.testing.assert_allclose(forecaster.errors, truth - middle(forecaster.predict(values, at), levels), atol=1e-12)
    assert abs(np.mean(forecaster.errors)) < 0.8  # the upper end of 90% would be 1.6 away


def test_quantiles_of_one_side_have_no_errors():
    assert np.isnan(Direct(QUICK, 2, levels=(0.9, 0.95)).fit(noise()).errors).all()


def test_calibration_moves_the_ends_and_is_saved(tmp_path):
    values = noise()
    forecaster = Direct(QUICK, 2, levels=(0.05, 0.5, 0.95)).fit(values[:150])
    assert forecaster.margin.shape == (2, 1, 3)
    assert (forecaster.margin[..., 0] == -forecaster.margin[..., 2]).all()
    assert (forecaster.margin[..., 0] != 0).all()
    forecaster.save(tmp_path)
    again = load_forecaster(tmp_path)
    np.testing.assert_array_equal(again.margin, forecaster.margin)
    np.testing.assert_array_equal(again.predict(values, [160]), forecaster.predict(values, [160]))
    rows, origins, truth = forecaster.held
    held = forecaster.predict(rows, origins)
    inside = coverage(held[..., 0], held[..., 2], truth, 0.9).inside
    assert inside >= np.ceil((len(origins) + 1) * 0.9) / len(origins) - 1e-9 or len(origins) < 9
    assert np.array_equal(forecaster.fit(values[:150]).predict(values, [160]), again.predict(values, [160]))


def test_without_calibration_the_quantiles_are_the_networks_own(tmp_path):
    values = noise()
    plain = Direct(QUICK, 2, levels=(0.1, 0.9), calibrated=False).fit(values)
    moved = Direct(QUICK, 2, levels=(0.1, 0.9)).fit(values)
    assert not plain.margin.any()
    np.testing.assert_allclose(
        moved.predict(values, [180]), np.sort(plain.predict(values, [180]) + moved.margin, axis=-1), rtol=1e-12
    )
    plain.save(tmp_path)
    assert not load_forecaster(tmp_path).calibrated


# ---- ensembles and backtests of quantiles ------------------------------------------------------------------------------


def test_an_ensemble_of_quantiles_is_their_mean():
    values, levels = noise(), (0.1, 0.5, 0.9)
    members = {str(seed): Direct(QUICK.replace(seed=seed), 2, levels=levels) for seed in range(2)}
    ensemble = Ensemble(members, validation_rows=20).fit(values[:150])
    a, b = (member.predict(values, [160, 170]) for member in members.values())
    w = np.array([*ensemble.weights.values()]) / sum(ensemble.weights.values())
    np.testing.assert_allclose(ensemble.predict(values, [160, 170]), w[0] * a + w[1] * b, rtol=1e-12)
    assert ensemble.predict(values, [160]).shape == (1, 2, 1, 3)
    assert ensemble.levels == levels
    np.testing.assert_array_equal(ensemble.middle(a), a[..., 1])


def test_quantiles_and_means_do_not_mix():
    quantiles = Direct(QUICK, 2, levels=(0.1, 0.9))
    with pytest.raises(InvalidValueError, match=r"the members forecast the quantiles {'a': \(0\.1, 0\.9\), 'b': None}"):
        Ensemble({"a": quantiles, "b": LastValue(2)})
    with pytest.raises(InvalidValueError, match=r"a forecasts \(2, 1, 2\) but the truth is \(2, 1\)"):
        backtest({"a": lambda: quantiles}, noise(), 150)
    one_sided = Ensemble({"a": Direct(QUICK, 2, levels=(0.8, 0.9))}, validation_rows=20)
    with pytest.raises(InvalidValueError, match="the quantiles have no middle: give the weights"):
        one_sided.fit(noise())


@pytest.mark.parametrize(
    "make",
    [
        lambda targets: LastValue(1, targets),
        lambda targets: SeasonalLastValue(1, 2, targets),
        lambda targets: AutoregressionForecaster(1, 2, targets),
        lambda targets: Direct(QUICK, 1, targets),
        lambda targets: Recursive(QUICK, 1, targets),
        lambda targets: Smoothing(1, column=targets[0]),
    ],
    ids=["last", "season", "autoregression", "direct", "recursive", "smoothing"],
)
def test_targets_are_columns_that_there_are(make):
    """-1 was the last column for the truth and another one for a network's scale."""
    with pytest.raises(InvalidValueError, match="targets is -1: expected at least 0"):
        make([-1])
    with pytest.raises(InvalidValueError, match="values has 2 columns: expected some of 0 to 1"):
        make([2]).fit(noise(D=2))
    for wrong in (0.5, True):
        with pytest.raises(InvalidTypeError, match=rf"(targets|column) is \[?{wrong}\]?: expected"):
            make([wrong])


def test_targets_are_there_once():
    with pytest.raises(InvalidValueError, match="each once"):
        LastValue(1, [0, 0])
    with pytest.raises(InvalidTypeError, match="targets is 0: expected"):
        LastValue(1, 0)
    assert target_columns([1, 0], 2) == [1, 0]


def test_pinball_broadcasts_nothing_and_has_a_level():
    truth = noise(10)[:, None]
    for level in (7, 0.0, 1.0, float("nan")):
        with pytest.raises(InvalidValueError, match="level is"):
            pinball(truth, truth, level)
    with pytest.raises(InvalidValueError, match=r"forecast is \(1, 1, 1\) but truth is \(10, 1, 1\)"):
        pinball(truth[:1], truth, 0.5)
