"""The main job and the command line, run as a user runs them."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from scratchnet import datasets
from scratchnet.cli import main
from scratchnet.forecasting import Settings, load, train

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def demo_run(tmp_path_factory):
    """One run of ``scratchnet demo`` in a process of its own: what it printed, its pictures, its seconds."""
    out = tmp_path_factory.mktemp("demo")
    started = time.perf_counter()
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    done = subprocess.run(
        [sys.executable, "-m", "scratchnet", "demo", "--out", str(out)],
        capture_output=True, text=True, check=False, timeout=300, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, out, time.perf_counter() - started


def test_demo_checks_gradients(demo_run):
    text, _, _ = demo_run
    for label in ("rnn tanh", "rnn relu", "lstm", "gru", "gru_before"):
        assert float(re.search(rf"^ +{label} +(\S+)$", text, re.M)[1]) <= 1e-6


def test_demo_forecasts_beside_two_baselines(demo_run):
    text, _, _ = demo_run
    variance = {name: float(re.search(rf"^ +{re.escape(name)} +(\d\.\d+)", text, re.M)[1]) for name in ("last value", "AR(9)", "MLP", "RNN", "LSTM", "GRU")}
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


def test_demo_writes_its_pictures_in_time(demo_run):
    text, out, seconds = demo_run
    names = {path.name for path in out.iterdir()}
    assert names == {"forecast.png", "adding.png", "gates.png", "gradients.png", "lstm.html"}
    for name in names:
        assert str(out / name) in text
        assert (out / name).stat().st_size > 20_000
    assert seconds < 60 * 3  # 60 s on an idle machine; here the other tests run beside it


def test_gradcheck_command(capsys):
    assert main(["gradcheck", "gru", "--lengths", "4", "2", "1"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("gru\n")
    for row in ("dx ", "dh0", "dW_x     r", "dW_h     n", "db_hn"):
        assert row in text
    assert all(float(e) <= 1e-6 for e in re.findall(r"\d\.\de-\d+", text))
    assert "gru_before" not in text
    assert main(["gradcheck"]) == 0
    assert "rnn relu" in capsys.readouterr().out


def test_a_wrong_gradient_fails_the_command(capsys, monkeypatch):
    from scratchnet.cells import lstm
    from scratchnet.course import mistakes

    planted = mistakes.plant(next(m for m in mistakes.load() if m.id == "lstm-sigmoid-missing-on-i"))
    monkeypatch.setattr(lstm, "backward", planted.backward)
    assert main(["gradcheck", "lstm"]) == 1
    assert "is wrong in gate i" in capsys.readouterr().out


@pytest.mark.parametrize("model", ["mlp", "rnn", "lstm", "gru"])
def test_train_command(model, tmp_path, capsys):
    assert main(["train", "--model", model, "--epochs", "3", "--layers", "2", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "sunspots: 309 values of sunspot_number, 1700 to 2008" in text
    for row in ("last value", "AR(12)", model.upper()):
        assert row in text
    assert {p.name for p in tmp_path.iterdir()} == {"model.npz", "history.csv", "forecast.png"}


def test_train_on_a_csv_of_ones_own(tmp_path, capsys):
    table = tmp_path / "mine.csv"
    t = np.arange(120)
    lines = [f"{i},{np.sin(i / 3):.6f},{i % 7}" for i in t]
    table.write_text("\n".join(["step,wave,saw", *lines]))
    assert main(["train", "--data", str(table), "--epochs", "2", "--out", str(tmp_path / "o")]) == 1
    assert "has the columns step, wave, saw: choose one with --column" in capsys.readouterr().err
    assert main(["train", "--data", str(table), "--column", "wave", "--epochs", "2", "--out", str(tmp_path / "o")]) == 0
    assert main(["train", "--data", str(table), "--column", "tide"]) == 1
    assert "has no column 'tide': its columns are step, wave, saw" in capsys.readouterr().err
    table.write_text("step,wave\n1,2\n2,nan\n3,4\n")
    assert main(["train", "--data", str(table), "--column", "wave"]) == 1
    assert "line 3, column 'wave' says 'nan': missing='interpolate'" in capsys.readouterr().err
    assert main(["train", "--data", str(tmp_path / "none.csv")]) == 1
    assert "is no file, and no bundled series: those are sunspots, co2, elnino" in capsys.readouterr().err
    assert main(["gradcheck", "lsmt"]) == 1
    assert "there is no cell 'lsmt': expected all or one of rnn, lstm, gru" in capsys.readouterr().err


def test_differences_help_where_a_series_drifts():
    """CO2 leaves the range it was trained on; a network on the values cannot follow, one on the changes can."""
    series = load("co2")
    errors = {}
    for difference in (False, True):
        result = train(series, Settings(model="gru", window=26, epochs=3, difference=difference), progress=False)
        name = "GRU"
        errors[difference] = float(np.mean((result.forecasts[name] - result.truth) ** 2))
        assert result.truth.shape == result.forecasts[name].shape
    last = float(np.mean((result.forecasts["last value"] - result.truth) ** 2))
    assert errors[True] < last < errors[False]


def test_scaling_is_learned_from_the_training_part_alone():
    """Another future changes nothing of what was learned from the past."""
    series = datasets.load("sunspots")
    changed = series.values.copy(); changed[250:] *= 10
    settings = Settings(epochs=2, model="rnn")
    a = train(series, settings, progress=False)
    from dataclasses import replace

    b = train(replace(series, values=changed), settings, progress=False)
    assert a.history.column("train_loss")[0] == b.history.column("train_loss")[0]


def test_doctor(capsys, monkeypatch):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"yes +numpy +\d", text)
    assert re.search(r"yes +NumPy +forward and backward of rnn, lstm, gru, gru_before", text)
    assert re.search(r"yes +array +lstm", text)
    from scratchnet import doctor, fused

    monkeypatch.setattr(fused, "kernels", lambda: None)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"no +step +lstm +engine 'step' needs Numba .*pip install 'scratchnet\[numba\]'", text)
    assert re.search(r"no +CuPy +not installed; with an NVIDIA GPU: pip install 'scratchnet\[cuda12\]'", text)
    assert re.search(r"no +torch +comparing with PyTorch; to install: pip install 'scratchnet\[torch\]'", text)


def test_module_and_version():
    done = subprocess.run([sys.executable, "-m", "scratchnet", "--version"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert re.fullmatch(r"scratchnet \d+\.\d+\.\d+\n", done.stdout)
