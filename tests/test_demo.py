"""The main job and the command line, run as a user runs them."""

import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from scratchnet import engines, plots
from scratchnet.commands import cli, demo, doctor
from scratchnet.commands.cli import main
from scratchnet.commands.options import load_series
from scratchnet.commands.train import train_and_write
from scratchnet.data import chronological_split, datasets
from scratchnet.errors import UnavailableError, UnknownNameError
from scratchnet.files import archives
from scratchnet.forecasting import Direct, load_forecaster, network
from scratchnet.forecasting.one_step import OneStepConfig, OneStepResult, train

ROOT = Path(__file__).parent.parent


def idle():
    """Whether nothing else was running: no other test process, and hardly anything in the last minute."""
    return "PYTEST_XDIST_WORKER" not in os.environ and hasattr(os, "getloadavg") and os.getloadavg()[0] < 0.5


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory):
    """One run of ``scratchnet demo`` in a process of its own: what it printed, its pictures, whether the machine was idle."""
    out = tmp_path_factory.mktemp("demo")
    alone = idle()
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    done = subprocess.run(
        [sys.executable, "-m", "scratchnet", "demo", "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, out, alone


def test_demo_checks_gradients(demo_run):
    text, _, _ = demo_run
    for label in ("rnn tanh", "rnn relu", "lstm", "gru", "gru_reset_before"):
        assert 0 < float(re.search(rf"^ +{label} +(\S+)$", text, re.M)[1]) <= 1e-6


def test_demo_checks_ragged_batches_too(monkeypatch):
    """And prints the larger error of the two."""
    errors = {None: 1e-9, (4, 1, 3): 3e-9}

    def check_cell(cell, lengths, **options):
        return type("Report", (), {"error": errors.pop(lengths, 0.0)})

    monkeypatch.setattr(demo, "check_cell", check_cell)
    assert next(iter(demo.check_gradients().values())) == 3e-9
    assert not errors


def test_demo_forecasts_beside_two_baselines(demo_run):
    text, _, _ = demo_run
    variance = {
        name: float(re.search(rf"^ +{re.escape(name)} +(\d\.\d+)", text, re.M)[1])
        for name in ("last value", "AR(9)", "MLP", "RNN", "LSTM", "GRU")
    }
    assert variance["AR(9)"] == pytest.approx(0.1265, abs=0.0006)
    assert variance["last value"] == pytest.approx(0.4268, abs=0.0006)
    for name in ("MLP", "RNN", "LSTM", "GRU"):
        assert variance[name] < 0.25, name


def test_demo_lstm_remembers_and_the_rnn_does_not(demo_run):
    text, _, _ = demo_run
    rnn, lstm = (re.search(rf"^ +{name} +(\S+) after (\d+) steps.* s +(.*)$", text, re.M) for name in ("RNN", "LSTM"))
    assert float(lstm[1]) < 0.01
    assert lstm[3] == "solved"
    assert float(rnn[1]) > 0.1
    assert rnn[3] == "not solved"
    assert int(rnn[2]) >= int(lstm[2])  # the RNN was given at least as many steps


def test_demo_says_what_the_spread_allows(demo_run):
    """The sentence below the table is computed from the table."""
    text, _, _ = demo_run
    rows = re.findall(r"^ +(MLP|RNN|LSTM|GRU) +(\d\.\d+) \+- (\d\.\d+)", text, re.M)
    best, mean, spread = min(rows, key=lambda row: float(row[1]))
    said = re.search(
        r"The best network, the (\w+), is (\S+) (above|below) the autoregression; its seeds spread by (\S+) ", text
    )
    assert (said[1], said[4]) == (best, spread)
    line = float(re.search(r"AR\(9\) +(\S+)", text)[1])
    assert float(said[2]) == pytest.approx(abs(float(mean) - line), abs=0.0011)
    assert "learn from 1700-1890,\n   and 1891-1920 say when to stop" in text


def test_demo_verdict_on_numbers_made_up():
    truth = np.array([[0.0], [2.0]])
    off = [np.full((2, 1), e) for e in (1.0, 2.0, 3.0)]
    result = demo.Forecasts(
        [1, 2],
        truth,
        {"RNN": np.stack([truth + off[1]] * 2), "GRU": np.stack([truth + off[0], truth + off[1]])},
        {"AR(9)": truth + off[2]},
        scale=np.array([[0.0], [20.0]]),
    )
    assert demo.relative_variances(result) == {"AR(9)": [0.09], "RNN": [0.04, 0.04], "GRU": [0.01, 0.04]}
    said = demo.sunspot_verdict(result)
    assert said.startswith(
        "The best network, the GRU, is 0.065 below the autoregression; its seeds spread by 0.021 (standard"
    )
    worse = demo.sunspot_verdict(result._replace(baselines={"AR(9)": truth}))
    assert "the GRU, is 0.025 above the autoregression" in worse


def test_demo_learns_nothing_from_the_test_years(monkeypatch):
    """With other years from 1921 on: the same numbers to fit and to stop by, the same forecast of 1921."""
    seen, results = [], []
    monkeypatch.setattr(demo, "SEEDS", 1)
    monkeypatch.setattr(
        demo, "fit", lambda model, data, *_, validation, **__: seen.append((data.x, data.y, *validation))
    )
    series = datasets.load("sunspots")
    late = np.array([int(t) > 1920 for t in series.times])[:, None]
    for values in (series.values, np.where(late, 7 * series.values + 50, series.values)):
        monkeypatch.setattr(demo.datasets, "load", lambda _, values=values: replace(series, values=values))
        results.append(demo.forecast_sunspots())
    assert len(seen) == 8
    for one, other in zip(seen[:4], seen[4:]):
        for a, b in zip(one, other):
            np.testing.assert_array_equal(a, b)
    assert len(seen[0][0]) == 191 - 9
    assert len(seen[0][2]) == 30
    for name in ("baselines", "networks"):
        for label, forecast in getattr(results[0], name).items():
            np.testing.assert_array_equal(forecast[..., 0, :], getattr(results[1], name)[label][..., 0, :])
            assert not np.array_equal(forecast[..., 1, :], getattr(results[1], name)[label][..., 1, :])


@pytest.fixture(scope="module")
def memories():
    """RNN and LSTM on the adding problem, untrained, and after two steps."""
    return {
        (name, steps): demo.adding_problem(name, steps, units=4, batch=4)
        for name in ("RNN", "LSTM")
        for steps in (0, 2)
    }


def test_demo_looks_before_and_after(memories):
    for name in ("RNN", "LSTM"):
        none, two = memories[name, 0], memories[name, 2]
        assert none.before.loss == none.after.loss == two.before.loss != two.after.loss
        assert len(two.losses) == 2


def test_demo_shares_are_of_the_last_step(memories):
    for gradient in ("dh", "dc"):
        d = memories["LSTM", 2].after.run[gradient]
        sizes = np.array([np.mean([np.sqrt(np.sum(d[t, n] ** 2)) for n in range(d.shape[1])]) for t in range(len(d))])
        share = demo.share_by_step(memories["LSTM", 2].after, gradient)
        np.testing.assert_allclose(share, sizes / sizes[-1], rtol=1e-5)
        assert share[-1] == 1


@pytest.mark.underflows
def test_demo_pictures_show_what_their_labels_say(memories, monkeypatch, tmp_path):
    drawn = {}

    def keep(name):
        real = getattr(plots, name)

        def draw(*arguments, **options):
            drawn[name] = real(*arguments, **options)
            return drawn[name]

        monkeypatch.setattr(plots, name, draw)

    for name in ("forecast", "learning_curves", "gradient_norms"):
        keep(name)
    rnn, lstm = (
        (memories[name, 2])._replace(losses=losses) for name, losses in (("RNN", [0.2] * 60), ("LSTM", [0.1] * 70))
    )
    truth = np.arange(3.0)[:, None]
    lines = {"last value": truth + 1, "AR(9)": truth - 1}
    result = demo.Forecasts([1921, 1922, 1923], truth, {"LSTM": np.stack([truth, truth + 2])}, lines, scale=truth)
    assert [path.name for path in demo.draw(result, rnn, lstm, tmp_path)] == [
        "forecast.png",
        "adding.png",
        "gates.png",
        "gradients.png",
    ]
    curves = {
        name: {
            line.get_label().split(" (zero at")[0]: np.nan_to_num(line.get_ydata())
            for line in figure.axes[0].get_lines()
        }
        for name, figure in drawn.items()
    }
    for label, memory in (("RNN", rnn), ("LSTM", lstm)):
        assert curves["learning_curves"][label][-1] == pytest.approx(memory.losses[0])
        for when, trace in (("trained", memory.after), ("before training", memory.before)):
            np.testing.assert_array_equal(curves["gradient_norms"][f"{label} {when}, dL/dh"], demo.share_by_step(trace))
    np.testing.assert_array_equal(curves["gradient_norms"]["LSTM trained, dL/dc"], demo.share_by_step(lstm.after, "dc"))
    means = {label.split(",")[0]: y for label, y in curves["forecast"].items()}
    np.testing.assert_array_equal(means["LSTM"], truth[:, 0] + 1)
    np.testing.assert_array_equal(means["AR(9)"], truth[:, 0] - 1)
    assert drawn["forecast"].axes[0].get_xlabel() == "year"


def test_demo_writes_its_pictures_in_time(demo_run):
    """Under 60 s where the machine has nothing else to do; beside other tests only 180 s are asked for."""
    text, out, alone = demo_run
    names = {path.name for path in out.iterdir()}
    assert names == {"forecast.png", "adding.png", "gates.png", "gradients.png", "river.html"}
    for name in names:
        assert str(out / name) in text
        assert (out / name).stat().st_size > 20_000
    assert int(re.search(r"^ +(\d+) s in all$", text, re.M)[1]) < (60 if alone else 180)


def test_gradcheck_command(capsys):
    assert main(["gradcheck", "gru", "--lengths", "4", "2", "1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("gru\n")
    for row in ("dx ", "dh0", "dW_x     r", "dW_h     n", "db_hn"):
        assert row in text
    assert all(float(e) <= 1e-6 for e in re.findall(r"\d\.\de-\d+", text))
    assert "gru_reset_before" not in text
    assert re.search(r"\nright: the largest is \d\.\de-\d+, the tolerance 1e-06\n", text)
    assert main(["gradcheck"]) == 0
    text = capsys.readouterr().out
    for label in ("rnn relu", "linear x (4,)", "conv causal, stride 1, dilation 1", "attention additive"):
        assert f"\n{label}\n" in text


def test_gradcheck_command_of_a_layer(capsys):
    """Each of its examples, and nothing else; a wrong one fails the command."""
    assert main(["gradcheck", "embedding", "--seed", "3"]) == 0
    text = capsys.readouterr().out
    assert re.findall(r"^embedding.*$", text, re.M) == ["embedding sequences", "embedding padding"]
    assert len(re.findall(r"^dW ", text, re.M)) == len(re.findall(r"^right: ", text, re.M)) == 2
    assert main(["gradcheck", "conv", "--lengths", "4", "2", "1"]) == 1
    assert "lengths are for cells, and conv is a layer" in capsys.readouterr().err
    assert main(["gradcheck", "conv", "--seed", "-1"]) == 1
    assert "seed is -1: expected at least 0" in capsys.readouterr().err


def test_a_wrong_layer_fails_the_command(capsys, monkeypatch):
    from scratchnet.layers import LAYERS
    from scratchnet_instructor import mistakes

    planted = mistakes.plant_layer(next(m for m in mistakes.load() if m.id == "embedding-padding-trained"))
    monkeypatch.setitem(LAYERS, "embedding", planted)
    assert main(["gradcheck", "embedding"]) == 1
    text = capsys.readouterr().out
    assert "dW is wrong: relative error" in text
    assert text.count("right: the largest") == 1  # of the example without padding


def test_a_wrong_gradient_fails_the_command(capsys, monkeypatch):
    from scratchnet.cells import lstm
    from scratchnet_instructor import mistakes

    planted = mistakes.plant(next(m for m in mistakes.load() if m.id == "lstm-sigmoid-missing-on-i"))
    monkeypatch.setattr(lstm, "backward", planted.backward)
    assert main(["gradcheck", "lstm"]) == 1
    text = capsys.readouterr().out
    assert "is wrong in gate i" in text
    assert "right: the largest" not in text


@pytest.mark.parametrize("command", ["gradcheck", "train"])
def test_help_explains_every_option(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    options = text.split("options:")[1]
    for option, about in re.findall(r"^  (?:-h, )?(--\w+)(.*\n(?: {10,}.*\n)*)", options, re.M):
        assert re.search(r"[a-z]{2,} [a-z]{1,}|at the most|the network", about), option
    if command == "gradcheck":
        assert "central differences (L(p + e) - L(p - e)) / 2e" in " ".join(text.split())
    else:
        for name, default in OneStepConfig().asdict().items():
            assert f"--{name.replace('_', '-')}" in options
            assert isinstance(default, bool) or f"(default: {default})" in " ".join(options.split())


@pytest.mark.parametrize("model", ["mlp", "rnn", "lstm", "gru"])
def test_train_command(model, tmp_path, capsys, monkeypatch):
    drawn = []
    real = plots.forecast
    monkeypatch.setattr(
        plots, "forecast", lambda *arguments, **options: drawn.append(real(*arguments, **options)) or drawn[0]
    )
    assert main(["train", "--model", model, "--epochs", "3", "--layers", "2", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "sunspots: 309 values of sunspot_number, 1700 to 2008" in text
    for row in ("last value", "AR(12)", model.upper()):
        assert row in text
    assert {p.name for p in tmp_path.iterdir()} == {"model.npz", "history.csv", "forecast.png", "run.json"}
    ax = drawn[0].axes[0]
    assert {line.get_label() for line in ax.get_lines()} == {"truth", "last value", "AR(12)", model.upper()}
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time", "sunspot_number [yearly mean]")


@pytest.mark.parametrize("relative_to", ["none", "previous"])
@pytest.mark.parametrize("model", ["mlp", "gru"])
def test_what_train_saves_can_forecast(model, relative_to, tmp_path):
    """The loaded forecaster is the trained one, from the series' own numbers to the series' own numbers."""
    series = load_series("elnino")
    settings = OneStepConfig(model=model, epochs=2, layers=2, window=5, units=3, seed=3, relative_to=relative_to)
    result = train_and_write(series, settings, tmp_path)
    loaded = load_forecaster(tmp_path)
    assert settings.asdict() == loaded.config.asdict()
    assert (loaded.names, loaded.unit) == (["sea_surface_temperature"], series.unit)
    first = len(series.values) - len(result.truth)
    forecast = result.forecasts[model.upper()]
    np.testing.assert_allclose(loaded.predict(series.values[:-1])[0], forecast[-1:], rtol=1e-6)
    np.testing.assert_allclose(loaded.predict(series.values, [first])[0], forecast[:1], rtol=1e-6)
    assert loaded.predict(series.values).shape == (1, 1, 1)
    needs = 5 + (relative_to == "previous")
    with pytest.raises(ValueError, match=rf"values has 3 rows and Direct needs {needs} before an origin"):
        loaded.predict(series.values[:3])
    with archives.opened(tmp_path / "model.npz", "a forecaster") as archive:
        about, arrays = archive.about, {name: archive[name] for name in archive.shapes}
    for wrong, said in (
        ({"scale": [0]}, "nothing can be scaled by"),
        ({"offset": [np.nan]}, "nothing can be"),
        ({"layers": 0}, "layers is 0"),
        ({"units": 10**7}, r"its settings need \d+ numbers or more, but the file holds \d+"),
        ({"window": "5"}, "is not of a saved forecaster"),
        ({"arguments": {"horizon": 10**12}}, "is not of a saved forecaster"),
        ({"arguments": {"horizon": "1"}}, "is not of a saved forecaster"),
        ({"offset": [[0]]}, "expected 1 numbers"),
    ):
        facts = about["forecaster"] | wrong
        archives.save(tmp_path / "model.npz", arrays, about | {"forecaster": facts})
        with pytest.raises(ValueError, match=said):
            load_forecaster(tmp_path)
    archives.save(tmp_path / "model.npz", arrays)  # as of old, when the settings were apart
    with pytest.raises(ValueError, match=r"there are no settings in it, and no .*settings\.json"):
        load_forecaster(tmp_path)
    for text in ("{", "{}", "[]", "[" * 100_000):
        (tmp_path / "settings.json").write_text(text)
        with pytest.raises(ValueError, match=r"settings\.json is not of a saved forecaster"):
            load_forecaster(tmp_path)


@pytest.mark.parametrize("difference", [False, True])
def test_what_the_first_edition_saved_is_loaded(difference, tmp_path):
    """A flat settings.json of one column, with a yes or no for differences."""
    values = load_series("elnino").values
    config = OneStepConfig(epochs=1, window=4, units=3, relative_to="previous" if difference else "none")
    forecaster = Direct(config, 1).fit(values)
    forecaster.save(tmp_path)
    with archives.opened(tmp_path / "model.npz", "a forecaster") as archive:
        facts = archive.about["forecaster"]
        archives.save(tmp_path / "model.npz", {name: archive[name] for name in archive.shapes})
    path = tmp_path / "settings.json"
    for name in ("strategy", "arguments", "names", "relative_to", "dropout", "validation"):
        del facts[name]
    first = {
        "column": "temperature",
        "difference": difference,
        "offset": facts["offset"][0],
        "scale": facts["scale"][0],
    }
    path.write_text(json.dumps(facts | first))
    loaded = load_forecaster(tmp_path)
    np.testing.assert_array_equal(loaded.predict(values), forecaster.predict(values))
    assert loaded.names == ["temperature"]


def test_train_table_by_hand(capsys):
    """Errors of 1 and 3 in a truth of -5 and 5; and a test part that does not vary has no R2."""
    truth = np.array([[-5.0], [5.0]])
    forecaster = Direct(OneStepConfig(), 1)
    forecaster.unit = "m3/s"
    result = OneStepResult(forecaster, [], truth, {"RNN": truth + np.array([[1.0], [3.0]])})
    assert result.table().splitlines() == [
        "test part         RMSE       MAE      R2 [m3/s]",
        "RNN              2.236         2   0.800",
    ]
    level = result._replace(truth=truth * 0, forecasts={"RNN": truth}).table()
    assert level.splitlines()[1:] == [
        "RNN                  5         5       -",
        "R2 has no value here: the test part does not vary",
    ]


def test_train_settings_are_heeded():
    series, small = load_series("elnino"), {"epochs": 1, "window": 4, "units": 3}
    for model, sizes in (("mlp", (19, 31)), ("gru", (52, 118))):
        found = [
            train(series, OneStepConfig(model=model, layers=layers, **small), progress=False).forecaster.model.size
            for layers in (1, 2)
        ]
        assert tuple(found) == sizes
    runs = [train(series, OneStepConfig(model="rnn", seed=seed, **small), progress=False) for seed in (0, 0, 1)]
    assert runs[0].forecaster.history.steps == runs[1].forecaster.history.steps != runs[2].forecaster.history.steps
    clipped = train(series, OneStepConfig(model="rnn", clip=1e-3, **small), progress=False).forecaster.history
    for norm, factor in zip(clipped.column("grad_norm"), clipped.column("clip_factor")):
        assert norm * factor == pytest.approx(1e-3, rel=2e-3)


@pytest.mark.parametrize("relative_to", ["none", "previous"])
def test_train_learns_nothing_from_the_test_part(relative_to):
    """Other numbers in the test part, and all that was fitted stays: scaler, weights, stopping, autoregression."""
    series = load_series("elnino")
    start = chronological_split(len(series.values))[2].start
    values = series.values.copy()
    values[start:] = 3 * values[start:] + 100
    settings = OneStepConfig(model="gru", window=4, units=4, epochs=4, patience=1, relative_to=relative_to)
    a, b = (train(s, settings, progress=False) for s in (series, replace(series, values=values)))
    assert a.forecaster.history.steps == b.forecaster.history.steps
    assert a.forecaster.history.column("val_loss") == b.forecaster.history.column("val_loss")
    np.testing.assert_array_equal(a.forecaster.scaler.offset, b.forecaster.scaler.offset)
    np.testing.assert_array_equal(a.forecaster.scaler.scale, b.forecaster.scaler.scale)
    for name, p in a.forecaster.model.params.items():
        np.testing.assert_array_equal(p, b.forecaster.model.params[name])
    for name, forecast in a.forecasts.items():
        assert forecast[0] == b.forecasts[name][0], name
        assert forecast[1] != b.forecasts[name][1], name


def test_changes_are_scaled_by_changes_that_happened():
    """The first row has none.  A series that climbs evenly has changes, but no spread in them."""
    series = load_series("elnino")
    past = series.values[: chronological_split(len(series.values))[0].stop]
    result = train(series, OneStepConfig(model="mlp", epochs=1, relative_to="previous"), progress=False)
    assert result.forecaster.scaler.offset[0] == pytest.approx(np.diff(past[:, 0]).mean(), rel=1e-12)
    assert result.forecaster.scaler.scale[0] == pytest.approx(np.diff(past[:, 0]).std(), rel=1e-12)
    even = replace(series, values=np.arange(100.0)[:, None], times=np.arange(100).astype(str))
    with pytest.raises(
        ValueError, match=r"column 0 \(sea_surface_temperature\) is 1.0 in all 69 rows, no spread to scale by"
    ):
        train(even, OneStepConfig(epochs=1, relative_to="previous"), progress=False)


def test_train_answers_before_it_trains(tmp_path, capsys, monkeypatch):
    """With the options' own names, and no minute lost."""
    monkeypatch.setattr(network, "fit", lambda *_, **__: pytest.fail("it trained"))
    taken = tmp_path / "file"
    taken.write_text("")
    cases = {
        ("--window", "0"): "scratchnet: window is 0: expected at least 1",
        (
            "--window",
            "150",
        ): "scratchnet: window is 150, and an autoregression over as many steps needs 301 rows to be fitted, but sunspots has 263 before",
        ("--units", "0"): "scratchnet: units is 0: expected at least 1",
        ("--layers", "0", "--model", "mlp"): "scratchnet: layers is 0: expected at least 1",
        ("--epochs", "0"): "scratchnet: epochs is 0: expected at least 1",
        ("--patience", "-1"): "scratchnet: patience is -1: expected at least 1",
        ("--seed", "-1"): "scratchnet: seed is -1: expected at least 0",
        ("--clip", "0"): "scratchnet: clip is 0.0: expected a positive number",
        ("--validation", "0.9"): "scratchnet: validation is 0.9: expected less than 0.85",
        ("--lr", "nan"): "scratchnet: lr is nan: expected 0 or a positive number",
        (
            "--column",
            "co2",
            "--missing",
            "drop",
        ): "sunspots comes with the library: column and missing can only say how to read a CSV",
        ("--time", "", "--delimiter", ";"): "sunspots comes with the library: time and delimiter can only",
        ("--out", str(taken)): f"scratchnet: {taken}: ",
    }
    for options, said in cases.items():
        monkeypatch.chdir(tmp_path)
        assert main(["train", *options]) == 1, options
        assert said in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"^model is 'lsmt': expected one of mlp, rnn, lstm, gru"):
        train(load_series("elnino"), OneStepConfig(model="lsmt"))


def test_pictures_of_two_commands_do_not_meet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--model", "mlp", "--epochs", "1"]) == 0
    assert [path.name for path in Path("out").iterdir()] == ["train"]


def test_a_test_part_that_does_not_vary_is_no_loss(tmp_path, capsys):
    table = tmp_path / "level.csv"
    table.write_text("q\n" + "".join(f"{np.sin(t) if t < 80 else 0}\n" for t in range(100)))
    assert main(["train", "--data", str(table), "--epochs", "1", "--window", "4", "--out", str(tmp_path / "o")]) == 0
    assert "R2 has no value here" in capsys.readouterr().out
    assert (tmp_path / "o" / "model.npz").exists()


def test_train_on_a_csv_of_ones_own(tmp_path, capsys):
    table = tmp_path / "mine.csv"
    t = np.arange(120)
    lines = [f"{i},{np.sin(i / 3):.6f},{i % 7}" for i in t]
    table.write_text("\n".join(["step,wave,saw", *lines]))
    assert main(["train", "--data", str(table), "--epochs", "2", "--out", str(tmp_path / "o")]) == 1
    assert "has the columns step, wave, saw: choose one as column" in capsys.readouterr().err
    assert main(["train", "--data", str(table), "--column", "wave", "--epochs", "2", "--out", str(tmp_path / "o")]) == 0
    assert main(["train", "--data", str(table), "--column", "tide"]) == 1
    assert "has no column 'tide': its columns are step, wave, saw" in capsys.readouterr().err
    table.write_text("step,wave\n1,2\n2,nan\n3,4\n")
    assert main(["train", "--data", str(table), "--column", "wave"]) == 1
    assert "line 3, column 'wave' says 'nan': missing='fill'" in capsys.readouterr().err
    assert (
        main(["train", "--data", str(table), "--column", "wave", "--missing", "drop", "--out", str(tmp_path / "o")])
        == 1
    )
    assert "2 rows" in capsys.readouterr().err  # they are read, and too few
    table.write_text("\n".join(["year|wave|time", *(f"{i}|{np.sin(i)}|{i % 7}" for i in t)]))
    train_this = [
        "train",
        "--data",
        str(table),
        "--delimiter",
        "|",
        "--column",
        "wave",
        "--epochs",
        "1",
        "--out",
        str(tmp_path / "o"),
    ]
    assert main([*train_this, "--time", "time"]) == 1
    assert "0 comes after 6, but rows must run from old to new, each time once (time=''" in capsys.readouterr().err
    assert main([*train_this, "--time", ""]) == 0
    assert "120 values of wave, 0 to 119" in capsys.readouterr().out
    assert main(["train", "--data", str(tmp_path / "none.csv")]) == 1
    assert "no such file or bundled series; those are sunspots, co2, elnino" in capsys.readouterr().err
    assert main(["gradcheck", "lsmt"]) == 1
    assert "there is no cell or layer 'lsmt': expected all or one of rnn, lstm, gru" in capsys.readouterr().err


def test_differences_help_where_a_series_drifts():
    """CO2 leaves the range it was trained on; a network on the values cannot follow, one on the changes can."""
    series = load_series("co2")
    errors = {}
    for relative_to in ("none", "previous"):
        result = train(series, OneStepConfig(model="gru", window=26, epochs=3, relative_to=relative_to), progress=False)
        name = "GRU"
        errors[relative_to] = float(np.mean((result.forecasts[name] - result.truth) ** 2))
        assert result.truth.shape == result.forecasts[name].shape
    last = float(np.mean((result.forecasts["last value"] - result.truth) ** 2))
    assert errors["previous"] < last < errors["none"]


def test_train_says_where_the_last_value_is_better(capsys, tmp_path):
    """After one epoch on a series that drifts; not where it is better, and not where changes were learned, however badly."""
    cases = {
        ("--lr", "0.005"): True,
        ("--relative-to", "previous", "--clip", "1"): False,
        ("--relative-to", "last", "--lr", "3"): False,
    }
    for options, advised in cases.items():
        assert (
            main(["train", "--data", "co2", "--model", "mlp", "--epochs", "1", "--out", str(tmp_path), *options]) == 0
        )
        text = capsys.readouterr().out
        assert (
            "The MLP is worse than the last value: if the series drifts, try --relative-to previous." in text
        ) == advised
        last, own = (float(re.search(rf"^{name} +(\S+)", text, re.M)[1]) for name in ("last value", "MLP"))
        assert (own > last) == ("--clip" not in options)


def test_doctor(capsys, monkeypatch):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"yes +required +arrays, figures, progress bars: numpy \d\S*, matplotlib \d\S*, tqdm \d", text)
    assert re.search(r"yes +NumPy +forward and backward of rnn, lstm, gru, gru_reset_before", text)
    assert re.search(r"yes +array +lstm", text)
    assert re.search(r"yes +sequence +gru_reset_before", text)
    assert re.search(r"yes +CPU +a step of the RNN compiled and ran in \d+\.\d s", text)
    monkeypatch.setattr(engines, "kernels", lambda: None)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    monkeypatch.setattr(doctor, "_version", lambda name: None)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"no +step +lstm +engine 'step' needs Numba .*pip install numba", text)
    assert re.search(r"no +CuPy +CuPy is not installed; with an NVIDIA GPU: pip install cupy-cuda12x", text)
    assert re.search(r"no +CPU +engine 'step' needs Numba .*pip install numba", text)
    assert re.search(r"no +CUDA +numba-cuda is not installed; with an NVIDIA GPU: pip install 'numba-cuda", text)
    assert re.search(r"no +numba +fused kernels on the CPU; to install: pip install numba\n", text)
    assert re.search(r"no +cuda13 .*: pip install cupy-cuda13x 'numba-cuda\[cu13\]'\n", text)
    assert re.search(r"no +all .*: pip install .*numba.* torch", text)


@pytest.mark.parametrize("installed", [True, False])
def test_doctor_knows_every_extra(installed, monkeypatch):
    """From the distribution's metadata, or from pyproject.toml where it is not installed."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert doctor.PURPOSES.keys() - {""} == extras.keys()

    def requires(name):
        if not installed:
            raise metadata.PackageNotFoundError
        lines = [
            f'{line}{" and" if ";" in line else ";"} extra == "{extra}"' for extra in extras for line in extras[extra]
        ]
        return ["numpy>=1.26", *lines]

    monkeypatch.setattr(metadata, "requires", requires)
    assert doctor.requirements().keys() == {"", *extras}
    assert {finding.what for finding in doctor.packages()} == {"required", *extras}


def test_a_sentence_for_the_librarys_errors_and_a_traceback_for_a_bug(monkeypatch, capsys, tmp_path):
    def raising(error):
        def run(chosen):
            raise error

        return run

    for error, said in (
        (UnavailableError("not here"), "scratchnet: not here\n"),
        (UnknownNameError("no such name"), "scratchnet: no such name\n"),
        (PermissionError(13, "Permission denied", "mine.csv"), "scratchnet: mine.csv: Permission denied\n"),
    ):
        monkeypatch.setattr(doctor, "run", raising(error))
        assert main(["doctor"]) == 1
        assert capsys.readouterr().err == said
    for bug in (ValueError("a bug"), KeyError("bug"), OSError("of no file")):
        monkeypatch.setattr(doctor, "run", raising(bug))
        with pytest.raises(type(bug)):
            main(["doctor"])


def test_every_command_is_a_file_that_owns_its_options():
    for command in cli.COMMANDS:
        assert command.add.__module__ == command.run.__module__ == command.__name__


def test_module_and_version():
    done = subprocess.run(
        [sys.executable, "-m", "scratchnet", "--version"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert re.fullmatch(r"scratchnet \d+\.\d+\.\d+\n", done.stdout)


def test_a_reader_that_has_seen_enough_is_no_error():
    """`scratchnet gradcheck | head -1`: no traceback, no message."""
    program = [sys.executable, "-m", "scratchnet", "gradcheck"]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]),
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        assert running.stdout.readline() == "rnn tanh\n"
        running.stdout.close()
        assert running.stderr.read() == ""
