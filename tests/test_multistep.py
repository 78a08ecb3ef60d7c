"""Forecasts of many steps: strategies, classical ones, ensembles, backtests that cannot see the future, coverage."""

import csv

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from scratchnet import plots
from scratchnet.commands.cli import main
from scratchnet.data.series import load_csv
from scratchnet.forecasting import (
    STRATEGIES,
    AutoregressionForecaster,
    Direct,
    EncodeDecode,
    Ensemble,
    ForecastConfig,
    LastValue,
    Recursive,
    SeasonalLastValue,
    Smoothing,
    backtest,
    baselines,
    coverage,
    dropout_interval,
    load_forecaster,
    pinball,
)
from scratchnet.forecasting.network import RELATIVE_TO
from scratchnet.gradcheck import check_gradient
from scratchnet.losses import quantile

QUICK = ForecastConfig(window=8, units=8, epochs=8, patience=8)


def waves(T=240, noise=0.0, seed=0):
    """Two columns with a season of 12: a wave, and the same a quarter later."""
    rng = np.random.default_rng(seed)
    t = np.arange(T)
    values = np.stack([np.sin(2 * np.pi * t / 12), np.cos(2 * np.pi * t / 12)], axis=1) * 3 + 10
    return values + noise * rng.standard_normal(values.shape)


# ---- the quantile loss -------------------------------------------------------------------------------------------------


def test_quantile_loss_gradient_and_definition(rng):
    loss = quantile([0.1, 0.5, 0.9])
    y, target = rng.standard_normal((5, 2, 6)), rng.standard_normal((5, 2, 2))
    value, dy = loss(y, target)
    assert check_gradient(lambda: loss(y, target)[0], {"y": y}, {"y": dy}).error <= 1e-6
    own = torch.tensor(y.reshape(5, 2, 2, 3), requires_grad=True)
    r = torch.tensor(target)[..., None] - own
    q = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    total = torch.maximum(q * r, (q - 1) * r).mean()
    total.backward()
    assert value == pytest.approx(float(total.detach()), rel=1e-13)
    np.testing.assert_allclose(dy, own.grad.numpy().reshape(y.shape), rtol=0, atol=1e-15)
    mask = np.array([[True, False]] * 5)
    assert loss(y, target, mask=mask)[0] == pytest.approx(loss(y[:, :1], target[:, :1])[0])
    assert not loss(y, target, mask=mask)[1][:, 1].any()
    assert pinball(y[..., 2], target[..., 0], 0.9) == pytest.approx(quantile([0.9])(y[..., 2:3], target[..., :1])[0])


def test_quantile_loss_settles_at_the_quantile(rng):
    """Gradient descent on numbers drawn from a skewed distribution ends where the share below is the level."""
    target = rng.exponential(size=(4000, 1))
    levels = [0.05, 0.5, 0.95]
    y, loss = np.zeros(3), quantile(levels)
    for step in range(3000):
        _, dy = loss(np.tile(y, (4000, 1)), target)
        y -= 5.0 * dy.sum(axis=0) / (1 + step / 100)
    np.testing.assert_allclose([(target <= v).mean() for v in y], levels, atol=0.01)


# ---- strategies --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("relative_to", RELATIVE_TO)
def test_a_network_learns_a_wave_in_its_own_unit(name, relative_to):
    values = waves()
    config = QUICK.replace(epochs=40, units=16, lr=0.01, relative_to=relative_to)
    forecaster = STRATEGIES[name](config, 6).fit(values[:200])
    at = np.arange(200, 230)
    y = forecaster.predict(values, at)
    truth = values[at[:, None] + np.arange(6)]
    assert y.shape == truth.shape == (30, 6, 2)
    last = baselines.last_value(values[at[:, None] - 1], 6).reshape(truth.shape)
    assert np.sqrt(np.mean((y - truth) ** 2)) < 0.35 * np.sqrt(np.mean((last - truth) ** 2))
    assert len(forecaster.errors) == 30 - 6 + 1  # one for each origin of the validation rows


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_forecast_sees_only_what_is_past(name):
    """Whatever stands from the origin on, NaN-free but absurd, the forecast is the same."""
    values = waves()
    forecaster = STRATEGIES[name](QUICK, 4).fit(values[:200])
    y = forecaster.predict(values, [200])
    changed = values.copy()
    changed[200:] = 1e6
    np.testing.assert_array_equal(forecaster.predict(changed, [200]), y)
    np.testing.assert_array_equal(forecaster.predict(values[:200], [200]), y)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Direct(QUICK.replace(model="mlp", dropout=0.1), 3, targets=[1]),
        lambda: Direct(QUICK, 3, levels=(0.1, 0.5, 0.9)),
        lambda: Recursive(QUICK.replace(relative_to="previous"), 3),
        lambda: EncodeDecode(QUICK, 3, half_life=None),
    ],
    ids=["mlp", "levels", "recursive", "encoder-decoder"],
)
def test_what_is_saved_forecasts_the_same(make, tmp_path):
    values = waves()
    forecaster = make().fit(values[:200])
    forecaster.save(tmp_path)
    loaded = load_forecaster(tmp_path)
    assert type(loaded) is type(forecaster)
    np.testing.assert_array_equal(loaded.predict(values, [200, 240]), forecaster.predict(values, [200, 240]))
    np.testing.assert_array_equal(loaded.predict(values), forecaster.predict(values, [240]))


def test_targets_are_columns_in_the_order_asked():
    values = waves()
    values[:, 1] += 1000
    for forecaster in (
        Direct(QUICK, 3, targets=[1]),
        EncodeDecode(QUICK, 3, targets=[1]),
        LastValue(3, targets=[1]),
        AutoregressionForecaster(3, 4, targets=[1]),
    ):
        y = forecaster.fit(values[:200]).predict(values, [200, 210])
        assert y.shape == (2, 3, 1)
        assert (y > 900).all()
    both = Recursive(QUICK, 3, targets=[1, 0]).fit(values[:200]).predict(values, [200])
    assert (both[..., 0] > 900).all()
    assert (both[..., 1] < 100).all()


def test_a_network_that_sees_differences_follows_a_drift():
    """A line that leaves the range of its training rows: from the last row, forecasts go with it."""
    values = np.arange(300.0)[:, None] + 3 * np.sin(np.arange(300))[:, None]
    at = np.arange(290, 296)
    truth = values[at[:, None] + np.arange(4)]
    error = {}
    for relative_to in ("none", "last"):
        y = Direct(QUICK.replace(relative_to=relative_to, epochs=30), 4).fit(values[:150]).predict(values, at)
        error[relative_to] = float(np.abs(y - truth).mean())
    assert error["last"] < 5 < 30 < error["none"]


def test_the_seed_is_all_the_chance_there_is():
    values = waves(noise=0.5)
    first, again, other = (
        Direct(QUICK.replace(seed=seed), 3).fit(values[:200]).predict(values, [200]) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


# ---- classical ---------------------------------------------------------------------------------------------------------


def test_a_value_beyond_float32_is_not_taken_for_infinite():
    """The network would answer with finite numbers, as if nothing were wrong."""
    forecaster = Direct(QUICK.replace(epochs=1), 2).fit(waves(60))
    broken = waves(60)
    broken[-1, 0] = 1e99
    with pytest.raises(
        ValueError, match=r"a value of the series is \d\.\d+e\+9\d when it is scaled, beyond what float32"
    ):
        forecaster.predict(broken)
    with pytest.raises(ValueError, match="beyond what float32 holds"):  # scaled by rows in which it is not
        Direct(QUICK.replace(epochs=1), 2).fit(broken)


def test_a_short_series_still_has_an_origin_among_its_validation_rows():
    for kind in STRATEGIES.values():
        assert len(kind(QUICK.replace(epochs=1), 12).fit(waves(48)).errors) >= 1


def test_classical_forecasters():
    values = waves()
    at = [120, 131]
    truth = values[np.array(at)[:, None] + np.arange(15)]
    last = LastValue(15).fit(values[:120]).predict(values, at)
    np.testing.assert_array_equal(last, np.repeat(values[np.array(at) - 1][:, None], 15, axis=1))
    np.testing.assert_allclose(SeasonalLastValue(15, 12).fit(values[:120]).predict(values, at), truth, atol=1e-9)
    # a wave is an AR(2)
    np.testing.assert_allclose(AutoregressionForecaster(15, 4).fit(values[:120]).predict(values, at), truth, atol=1e-6)
    trending = values + 0.5 * np.arange(240)[:, None]
    truth = trending[np.array(at)[:, None] + np.arange(15)]
    np.testing.assert_allclose(
        AutoregressionForecaster(15, 2, season=12).fit(trending[:120]).predict(trending, at), truth, atol=1e-6
    )
    smooth = Smoothing(15, season=12).fit(trending[:120]).predict(trending, at)
    assert smooth.shape == (2, 15, 1)
    np.testing.assert_allclose(smooth, truth[..., :1], atol=0.05)


def test_seasonal_last_value_repeats_the_season():
    x = np.arange(10.0).reshape(1, 10, 1)
    np.testing.assert_array_equal(baselines.seasonal_last_value(x, 7, 3)[0], [7, 8, 9, 7, 8, 9, 7])
    with pytest.raises(ValueError, match="season is 0"):
        baselines.seasonal_last_value(x, 1, 0)


# ---- ensembles ---------------------------------------------------------------------------------------------------------


def test_an_ensemble_is_the_mean_and_can_be_weighted():
    values = waves(noise=0.3)
    members = {"last": LastValue(3), "season": SeasonalLastValue(3, 12)}
    a, b = (m.fit(values[:200]).predict(values, [200, 205]) for m in members.values())
    np.testing.assert_allclose(Ensemble(members).fit(values[:200]).predict(values, [200, 205]), (a + b) / 2)
    weighted = Ensemble(members, {"last": 1, "season": 3}).fit(values[:200]).predict(values, [200, 205])
    np.testing.assert_allclose(weighted, (a + 3 * b) / 4)
    learned = Ensemble(members, validation_rows=40).fit(values[:200])
    assert learned.weights["season"] > 10 * learned.weights["last"]
    truth = values[160:200]
    inverse = 1 / np.mean(
        [(members["last"].predict(values, [o])[0] - truth[o - 160 : o - 157]) ** 2 for o in range(160, 198)]
    )
    assert learned.weights["last"] == pytest.approx(inverse)


# ---- backtests ---------------------------------------------------------------------------------------------------------


def test_a_backtest_fits_on_the_past_alone_and_refits():
    values = waves(noise=0.1)
    seen = []

    class Spy(LastValue):
        def fit(self, given):
            seen.append(len(given))
            return super().fit(given)

        def predict(self, given, at):
            assert len(given) <= max(at) + 1
            return super().predict(given, at)

    result = backtest({"spy": lambda: Spy(5), "season": lambda: SeasonalLastValue(5, 12)}, values, 200, step=4, refit=3)
    np.testing.assert_array_equal(result.at, np.arange(200, 236, 4))
    assert seen == [200, 212, 224]
    np.testing.assert_array_equal(result.truth[2], values[208:213])
    np.testing.assert_allclose(
        result.rmse("spy"), np.sqrt(np.mean((result.forecasts["spy"] - result.truth) ** 2, axis=(0, 2)))
    )
    assert result.mase("spy") == pytest.approx(
        np.mean(np.abs(result.forecasts["spy"] - result.truth)) / np.mean(np.abs(np.diff(values[:200], axis=0)))
    )
    lines = result.table("m").splitlines()
    assert [line.split()[0] for line in lines] == ["9", "season", "spy"]  # best first
    assert "[m]" in lines[0]
    assert "RMSE at 3" in lines[0]


# ---- intervals ---------------------------------------------------------------------------------------------------------


def test_quantile_and_dropout_intervals_cover_what_they_say():
    """On noise of a known size: 80% intervals hold 80% of the truth, and are about as wide as they must be."""
    values = waves(900, noise=1.0)
    at = np.arange(700, 890)
    truth = values[at[:, None] + np.arange(3)]
    config = ForecastConfig(window=12, units=16, epochs=30, patience=30, dropout=0.1)
    best = 2 * 1.2816  # of a standard normal
    q = Direct(config, 3, levels=(0.1, 0.5, 0.9)).fit(values[:700]).predict(values, at)
    assert q.shape == (*truth.shape, 3)
    assert (np.diff(q, axis=-1) >= 0).all()
    found = coverage(q[..., 0], q[..., 2], truth, 0.8)
    assert found.inside == pytest.approx(0.8, abs=0.06)
    assert found.width == pytest.approx(best, rel=0.25)
    forecaster = Direct(config, 3).fit(values[:700])
    low, middle, high = dropout_interval(forecaster, values, at, asked=0.8)
    assert coverage(low, high, truth, 0.8).inside == pytest.approx(0.8, abs=0.06)
    assert ((low <= middle) & (middle <= high)).all()
    bare = dropout_interval(forecaster, values, at, asked=0.8, noise=False)
    assert coverage(bare[0], bare[2], truth, 0.8).inside < 0.5  # what the network does not know is not all there is
    assert not forecaster.dropping
    np.testing.assert_array_equal(forecaster.predict(values, at), forecaster.predict(values, at))
    assert "asked 80%, measured" in str(found)


def test_coverage_counts():
    truth = np.array([[[1.0], [2.0]], [[3.0], [9.0]]])
    found = coverage(truth * 0, truth * 0 + 3, truth, 0.9)
    assert found.inside == 0.75
    np.testing.assert_array_equal(found.by_step, [1.0, 0.5])
    assert found.width == 3


VALUES = waves(60)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Direct(QUICK, 4).fit(VALUES[:14]), "values has 14 rows but Direct with window 8 needs at least 16"),
        (lambda: Direct(QUICK, 0), "horizon is 0"),
        (lambda: Direct(QUICK.replace(model="gruu"), 2), "model is 'gruu': expected one of mlp, rnn, lstm, gru"),
        (lambda: Direct(QUICK.replace(relative_to="first"), 2), "relative_to is 'first': expected one of none, last"),
        (lambda: EncodeDecode(QUICK.replace(model="mlp"), 2), "model is 'mlp': an encoder-decoder expects a cell"),
        (lambda: Direct(QUICK.replace(window=0), 2), "window is 0"),
        (lambda: Direct(QUICK, 2).fit(np.ones((60, 1))), r"column 0 is 1\.0 in all 51 rows, no spread to scale by"),
        (lambda: Direct(QUICK, 2, levels=(0.9, 0.1)), r"levels are \[0\.9, 0\.1\]: expected ascending"),
        (
            lambda: Recursive(QUICK, 2, targets=[0]).fit(VALUES),
            "Recursive has 1 targets of 2 columns but feeds back all",
        ),
        (
            lambda: LastValue(2).fit(VALUES).predict(VALUES, [61]),
            "the origin 61 cannot be forecast from: values has 60 rows",
        ),
        (
            lambda: SeasonalLastValue(2, 12).predict(VALUES, [11]),
            "the origin 11 cannot be forecast from: .* needs 12 before",
        ),
        (lambda: SeasonalLastValue(2, 0), "season is 0"),
        (lambda: AutoregressionForecaster(2, 30).fit(VALUES), "order 30 with D = 2 has 61 unknowns"),
        (lambda: Smoothing(2, season=30).fit(VALUES), "values has 60 rows but Smoothing needs at least 65"),
        (lambda: Ensemble({}), "no members"),
        (
            lambda: Ensemble({"a": LastValue(2, [0]), "b": LastValue(2, [1])}).fit(VALUES),
            r"the members' columns are {'a': \[0\], 'b': \[1\]}",
        ),
        (lambda: Ensemble({"a": LastValue(1)}, {"a": float("nan")}), "weights are {'a': nan}"),
        (
            lambda: backtest({"a": lambda: LastValue(3, [0]), "b": lambda: LastValue(3, [1])}, VALUES, 30),
            "the forecasters' columns are",
        ),
        (lambda: Ensemble({"a": LastValue(1), "b": LastValue(2)}), "the members forecast {'a': 1, 'b': 2} steps"),
        (lambda: Ensemble({"a": LastValue(1)}, {"b": 1.0}), "weights are {'b': 1.0} for the members a"),
        (
            lambda: Ensemble({"a": LastValue(5)}, validation_rows=3).fit(VALUES),
            "validation_rows is 3 but the horizon 5",
        ),
        (lambda: backtest({}, VALUES, 30), "no forecasters"),
        (lambda: backtest({"a": lambda: LastValue(5)}, VALUES, 56), "no origin from row 56 on has 5 rows after it"),
        (lambda: backtest({"a": lambda: LastValue(5)}, VALUES, 30, step=0), "step is 0"),
        (
            lambda: backtest({"a": lambda: LastValue(5), "b": lambda: LastValue(4)}, VALUES, 30),
            "horizons are {'a': 5, 'b': 4}",
        ),
        (lambda: coverage(VALUES, VALUES[:3], VALUES, 0.9), r"high is \(3, 2\) but truth is \(60, 2\)"),
        (lambda: coverage(VALUES + 1, VALUES, VALUES, 0.9), "low is above high"),
        (lambda: dropout_interval(Direct(QUICK, 2), VALUES, [30]), "the forecaster's dropout is 0"),
        (
            lambda: quantile([0.5])(np.ones((2, 2)), np.ones((2, 1))),
            r"y is \(2, 2\) but target is \(2, 1\) and there are 1 levels",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_not_fitted_says_so():
    for forecaster in (Direct(QUICK, 2), Recursive(QUICK, 2), AutoregressionForecaster(2, 3), Smoothing(2)):
        with pytest.raises(RuntimeError, match="has not been fitted"):
            forecaster.predict(VALUES, [40])


# ---- the command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", ["quantile", "dropout", "none"])
def test_the_command_writes_what_it_says(interval, tmp_path, capsys):
    values = waves(150, noise=0.2)[:, 0]
    lines = ["date,load", *(f"{2000 + k // 12}-{k % 12 + 1:02d},{v:.4f}" for k, v in enumerate(values))]
    (tmp_path / "load.csv").write_text("\n".join(lines), encoding="utf-8")
    options = [
        "--horizon",
        "4",
        "--season",
        "12",
        "--window",
        "8",
        "--units",
        "6",
        "--epochs",
        "3",
        "--step",
        "5",
        "--ensemble",
    ]
    options += ["--smoothing", "--interval", interval, "--out", str(tmp_path / "out")]
    assert main(["forecast", "--data", str(tmp_path / "load.csv"), *options]) == 0
    said = capsys.readouterr().out
    for name in (
        "last value",
        "last season",
        "AR(8)",
        "smoothing",
        "direct",
        "recursive",
        "encoder-decoder",
        "ensemble",
    ):
        assert f"\n{name} " in said
    assert ("asked 90%, measured" in said) == (interval != "none")
    with (tmp_path / "out" / "backtest.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 4  # origins 120, 125, ..., 145, four steps each
    for row in rows:
        year, month = map(int, row["origin"].split("-"))
        assert float(row["truth"]) == pytest.approx(
            values[(year - 2000) * 12 + month - 1 + int(row["ahead"]) - 1], abs=1e-3
        )
    direct = np.sqrt(np.mean([(float(row["direct"]) - float(row["truth"])) ** 2 for row in rows]))
    (line,) = [line for line in said.splitlines() if line.startswith("direct ")]
    assert float(line.split()[1]) == pytest.approx(direct, rel=1e-3)
    with (tmp_path / "out" / "forecast.csv").open() as file:
        ahead = list(csv.DictReader(file))
    assert [row["ahead"] for row in ahead] == ["1", "2", "3", "4"]
    if interval != "none":
        assert all(float(row["low"]) < float(row["median"]) < float(row["high"]) for row in ahead)
    (best,) = set(ahead[0]) - {"ahead", "low", "median", "high"}
    assert f"The best network ({best})" in said
    data = load_csv(tmp_path / "load.csv")
    kind = STRATEGIES[best](ForecastConfig(window=8, units=6, epochs=3), 4)
    again = kind.fit(data.values).predict(data.values, [150])[0, :, 0]
    np.testing.assert_allclose([float(row[best]) for row in ahead], again, rtol=1e-4)
    for picture in ("errors.png", "forecast.png"):
        assert (tmp_path / "out" / picture).stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--horizon", "0"], "scratchnet: horizon is 0: expected at least 1"),
        (["--season", "1"], "scratchnet: season is 1: expected at least 2"),
        (["--strategy", "direkt"], "strategy is 'direkt': expected one of direct, recursive, encoder-decoder, all"),
        (["--interval", "wide"], "scratchnet: interval is 'wide': expected one of"),
        (["--test", "1.5"], "scratchnet: test is 1.5: expected more than 0 and less than 1"),
        (
            ["--horizon", "80"],
            "sunspots has 309 rows, 229 before its test part: window 24 and horizon 80 need at least 266",
        ),
    ],
)
def test_the_command_answers_bad_input(options, message, capsys):
    assert main(["forecast", *options]) == 1
    assert message in capsys.readouterr().err


def test_figures_of_many_steps(rng):
    figure = plots.errors_ahead({"direct": rng.random(6), "last value": rng.random(6)}, ylabel="RMSE [m]")
    assert isinstance(figure, Figure)
    (ax,) = figure.axes
    names = {text.get_text(): text.get_color() for text in ax.texts}
    assert names == {line.get_label(): line.get_color() for line in ax.lines}
    assert set(names) == {"direct", "last value"}
    assert ax.get_legend() is None
    styles = [(line.get_linestyle(), line.get_marker()) for line in ax.lines]
    assert styles[0] != styles[1]
    figure = plots.fan(rng.random(20), np.ones(4), np.zeros(4), np.full(4, 2.0), truth=np.ones(4), asked=0.8)
    assert "80% interval" in [text.get_text() for text in figure.axes[0].texts]
    with pytest.raises(ValueError, match="the horizons are"):
        plots.errors_ahead({"a": np.ones(3), "b": np.ones(4)})
    with pytest.raises(ValueError, match="low has 3 steps but the forecast has 4"):
        plots.fan(np.ones(5), np.ones(4), np.ones(3), np.ones(4))
