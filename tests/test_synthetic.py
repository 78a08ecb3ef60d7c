"""Made-up data is made as it says, and the loaders read what they say: heartbeats, load, price, machines, and two file formats."""

import importlib
import sys

import numpy as np
import pytest
from scratchnet.data import tasks
from scratchnet.data.datasets import ecg, load

own_warnings = pytest.mark.filterwarnings("ignore:The inplace keyword")  # wfdb's, about pandas
files = importlib.import_module("scratchnet.data.datasets.files")


def correlation(x, lag):
    """Of a series with itself, ``lag`` steps on."""
    return float(np.corrcoef(x[:-lag], x[lag:])[0, 1])


# ---- heartbeats --------------------------------------------------------------------------------------------------------


@pytest.mark.underflows
def test_times_between_beats_have_their_two_rhythms(rng):
    """Peaks at 0.1 and 0.25 Hz, hardly anything elsewhere, and half as much power in the low one."""
    times = ecg.intervals(rng, 4096, mean=1.0, spread=0.05)
    assert times.mean() == pytest.approx(1.0)
    assert times.std() == pytest.approx(0.05)
    power = np.abs(np.fft.rfft((times - times.mean()) * np.hanning(4096))) ** 2
    f = np.fft.rfftfreq(4096, d=1.0)
    low, high = (power[np.abs(f - centre) < 0.04].sum() for centre in (0.1, 0.25))
    assert (low + high) / power.sum() > 0.98
    assert 0.4 < low / high < 0.6
    for centre in (0.1, 0.25):
        near = np.abs(f - centre) < 0.07
        assert np.average(f[near], weights=power[near]) == pytest.approx(centre, abs=0.01)


@pytest.mark.underflows
def test_r_peaks_stand_where_it_says(rng):
    """The highest sample within a quarter of a second of each is at most two samples away, but the ends of the signal."""
    trace, peaks = ecg.signal(rng, np.zeros(20, dtype=int), rate=128, noise=0.0)
    assert len(peaks) == 20
    assert np.all(np.diff(peaks) > 0)
    for peak in peaks[1:-1]:
        assert abs(int(np.argmax(trace[peak - 32 : peak + 32])) - 32) <= 2
    assert 0.5 < np.median(trace[peaks]) < 2.0  # millivolts


@pytest.mark.underflows
def test_noise_is_as_large_as_asked():
    kinds = np.zeros(10, dtype=int)
    quiet, loud = (ecg.signal(np.random.default_rng(3), kinds, noise=noise)[0] for noise in (0.0, 0.2))
    assert np.std(loud - quiet) == pytest.approx(0.2, rel=0.1)


@pytest.mark.underflows
def test_beats_are_balanced_scaled_and_seeded():
    x, kind = ecg.beats(np.random.default_rng(1), 41, T=96)
    assert x.shape == (41, 96, 1)
    assert x.dtype == np.float32
    assert sorted(np.bincount(kind).tolist()) == [10, 10, 10, 11]
    np.testing.assert_allclose(x.mean(axis=1), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=1), 1, atol=1e-5)
    again, other = (ecg.beats(np.random.default_rng(seed), 41, T=96) for seed in (1, 2))
    np.testing.assert_array_equal(x, again.x)
    assert not np.array_equal(x, other.x)


@pytest.mark.underflows
def test_kinds_of_beats_differ():
    """The mean beats of any two kinds are further apart than two means of the same kind; each has what its name says."""
    x, kind = ecg.beats(np.random.default_rng(0), 400, T=128, noise=0.02)
    of = {name: x[kind == k, :, 0] for k, name in enumerate(ecg.KINDS)}
    means = {name: beats.mean(axis=0) for name, beats in of.items()}
    within = max(np.abs(b[::2].mean(axis=0) - b[1::2].mean(axis=0)).mean() for b in of.values())
    names = list(means)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert np.abs(means[one] - means[other]).mean() > 2 * within, (one, other)
    t_wave = slice(64 + 20, 64 + 50)
    before = slice(64 - 45, 64 - 30)
    assert means["normal"][t_wave].mean() > means["normal"][before].mean()
    for turned in ("ventricular", "ischaemic"):
        assert means[turned][t_wave].mean() < means[turned][before].mean()
    width = {name: int(np.sum(mean > 0.5 * mean.max())) for name, mean in means.items()}
    assert width["ventricular"] > 1.5 * width["normal"]
    assert width["blocked"] > width["normal"]  # its second bump


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda rng: ecg.signal(rng, np.array([0, 4])),
            r"kinds of shape \(2,\) hold \[0, 4\]: expected one for each beat, 0 to 3",
        ),
        (lambda rng: ecg.signal(rng, np.array([], dtype=int)), r"kinds of shape \(0,\)"),
        (lambda rng: ecg.signal(rng, np.array([0]), rate=16), "rate is 16"),
        (lambda rng: ecg.signal(rng, np.array([0]), spread=0.5), "expected a rate of at least 32 and mean > 4 spread"),
        (lambda rng: ecg.beats(rng, 0), "n is 0 and T 96"),
        (lambda rng: ecg.beats(rng, 4, T=4), "n is 4 and T 4"),
    ],
)
def test_bad_heartbeats(rng, call, message):
    with pytest.raises(ValueError, match=message):
        call(rng)


# ---- load, price, machines ---------------------------------------------------------------------------------------------


def test_load_has_a_day_and_a_week(rng):
    series = tasks.load_like(rng, days=364)
    load, temperature, holiday = series.values.T
    assert series.columns == ("load", "temperature", "holiday")
    # The day: a day back is more alike than half a day back.  The week: seven days back more than six or eight.
    assert correlation(load, 24) > correlation(load, 12) + 0.3
    days = load.reshape(-1, 24)[:, 8:11].mean(axis=1)  # the morning, which weekends lack
    days = days - np.convolve(days, np.ones(7) / 7, mode="same")  # without the year
    assert correlation(days[7:-7], 7) > max(correlation(days[7:-7], 6), correlation(days[7:-7], 8)) + 0.3
    weekday = np.arange(364) % 7
    assert days[weekday < 5].mean() > days[weekday >= 5].mean() + 5
    assert set(holiday.tolist()) <= {0.0, 1.0}
    assert np.all(holiday.reshape(-1, 24).std(axis=1) == 0)  # a whole day or none of it
    assert (
        temperature.reshape(-1, 24).mean(axis=1)[180:210].mean()
        > temperature.reshape(-1, 24).mean(axis=1)[5:35].mean() + 10
    )


def test_a_weekend_begins_where_it_is_told(rng):
    load = tasks.load_like(rng, days=364, start_weekday=3).values[:, 0].reshape(-1, 24)[:, 8:11].mean(axis=1)
    of = [load[day::7].mean() for day in range(7)]
    assert max(of[2], of[3]) < min(of[day] for day in (0, 1, 4, 5, 6)) - 5  # day 0 is a Thursday


def test_price_changes_cannot_be_forecast_but_their_size_can():
    """Over ten series: lag-1 correlation of changes about zero, that of their squares clearly positive."""
    plain, squared = [], []
    for seed in range(10):
        price, volume = tasks.price_like(np.random.default_rng(seed), days=4000).values.T
        change = np.diff(np.log(price))
        plain.append(correlation(change, 1))
        squared.append(correlation(change**2, 1))
        assert np.all(price > 0)
        assert np.corrcoef(np.log(volume[1:]), np.abs(change))[0, 1] > 0.2
    assert abs(np.mean(plain)) < 0.02
    assert np.mean(squared) > 0.05


def test_sensors_of_machines_follow_their_wear(rng):
    """With the setting's share taken out, each sensor moves towards the end of life, in the direction of its curve."""
    machines = tasks.turbofans(rng, 40)
    assert len(machines.sensors) == 40
    assert machines.lives.min() > 30
    assert machines.lives.std() > 10
    swing = np.array([0.5, 0.3, 0.2, -0.4, 0.6])
    shifts = []
    for rows in machines.sensors:
        assert rows.shape[1] == 6 == len(machines.names)
        own = rows[:, :5] - swing * rows[:, 5:]
        shifts.append(
            [own[-10:].mean(axis=0) - own[:10].mean(axis=0), own[-20:-10].mean(axis=0) - own[:10].mean(axis=0)]
        )
    late, earlier = np.mean(shifts, axis=0)
    np.testing.assert_array_equal(np.sign(late), [1, -1, 1, -1, 1])
    assert np.all(np.abs(late) > np.abs(earlier))  # wear grows to the last


def test_windows_of_machines_are_labelled_by_what_is_left():
    """Counted by hand: lives of 5 and 4 cycles, windows of 3, failure within 2."""
    rows = [np.arange(10.0).reshape(5, 2), np.arange(8.0).reshape(4, 2)]
    x, y, of = tasks.Turbofans(rows, ("a", "b")).windows(3, within=2)
    assert x.shape == (5, 3, 2)
    assert of.tolist() == [0, 0, 0, 1, 1]
    assert y.tolist() == [0, 1, 1, 1, 1]  # left after the window: 2, 1, 0 and 1, 0
    np.testing.assert_array_equal(x[1], rows[0][1:4])
    every_other = tasks.Turbofans(rows, ("a", "b")).windows(3, within=2, stride=2)
    assert every_other[2].tolist() == [0, 0, 1]
    assert every_other[1].tolist() == [0, 1, 1]
    with pytest.raises(ValueError, match="the longest life is 5 cycles but a window has 6"):
        tasks.Turbofans(rows, ("a", "b")).windows(6, within=2)


@pytest.mark.parametrize(
    "make",
    [
        lambda rng: tasks.load_like(rng, 10).values,
        lambda rng: tasks.price_like(rng, 60).values,
        lambda rng: np.concatenate(tasks.turbofans(rng, 3).sensors),
        lambda rng: tasks.persistent(rng, 30, 0.9, 1.0),
    ],
)
def test_a_seed_makes_the_same_again(make):
    one, same, other = (make(np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert one.shape != other.shape or not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: tasks.load_like(rng, 6), "days is 6: expected at least 7"),
        (lambda rng: tasks.price_like(rng, 49), "days is 49: expected at least 50"),
        (lambda rng: tasks.turbofans(rng, 1), "machines is 1: expected at least 2"),
    ],
)
def test_too_little_of_made_up_series(rng, call, message):
    with pytest.raises(ValueError, match=message):
        call(rng)


# ---- files that the user has -------------------------------------------------------------------------------------------


def turbofan_rows(lives, rng):
    """Rows as C-MAPSS has them: engine, cycle, 3 settings, 21 sensors, of which the second never changes."""
    rows = []
    for number, life in enumerate(lives, start=1):
        for cycle in range(1, life + 1):
            sensors = 500 + rng.standard_normal(21)
            sensors[1] = 14.62
            rows.append([number, cycle, *rng.random(3), *sensors])
    return np.array(rows)


def test_turbofan_reads_engines_and_leaves_out_what_never_changes(tmp_path, rng):
    rows = turbofan_rows([7, 5], rng)
    path = tmp_path / "train_FD001.txt"
    path.write_text(
        "\n".join("  ".join(f"{v:.4f}" if k > 1 else str(int(v)) for k, v in enumerate(row)) + "  " for row in rows)
    )
    machines = files.load_turbofans(path)
    assert machines.lives.tolist() == [7, 5]
    assert len(machines.names) == 23
    assert "sensor2" not in machines.names
    assert machines.names[:4] == ("setting1", "setting2", "setting3", "sensor1")
    np.testing.assert_allclose(machines.sensors[1][:, 4], rows[7:, 7], atol=1e-4)  # sensor3 of the second engine
    x, y, _ = machines.windows(4, within=2)
    assert x.shape == (6, 4, 23)
    assert y.tolist() == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 1 0.5\n1 2 0.5\n", "has 3 columns: expected 26"),
        ("one two three\n", "is not a table of numbers as C-MAPSS has them"),
        ("\n".join("1 " + str(cycle) + " 0.5" * 24 for cycle in (1, 3)), "the cycles of engine 1 are not 1, 2, 3"),
    ],
)
def test_a_file_that_is_no_turbofan(tmp_path, text, message):
    path = tmp_path / "bad.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        files.load_turbofans(path)


def test_series_still_load_when_the_loaders_module_is_there():
    """datasets/__init__.py must not keep a name ``files`` of its own: importing datasets/files.py replaces it."""
    assert len(load("sunspots").values) == 309


def test_turbofan_names_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing"):
        files.load_turbofans(tmp_path / "nothing.txt")


@pytest.fixture
def record(tmp_path):
    """A record of six annotated beats in two leads, written by wfdb: the second lead is twice the first, upside down."""
    wfdb = pytest.importorskip("wfdb")
    trace, peaks = ecg.signal(np.random.default_rng(0), np.array([0, 0, 1, 0, 3, 0]), rate=360)
    both = np.stack([trace, -2 * trace], axis=1)
    wfdb.wrsamp(
        "100",
        fs=360,
        units=["mV", "mV"],
        sig_name=["MLII", "V5"],
        p_signal=both,
        fmt=["16", "16"],
        write_dir=str(tmp_path),
    )
    symbols = ["N", "+", "V", "A", "/", "N"]  # "+" is a change of rhythm and no beat
    wfdb.wrann("100", "atr", sample=peaks.astype(int), symbol=symbols, write_dir=str(tmp_path))
    return tmp_path / "100", trace, peaks


@pytest.mark.underflows
@own_warnings
def test_arrhythmia_reads_beats_in_the_classes_of_the_standard(record):
    path, trace, peaks = record
    found = files.load_heartbeats(path, T=180)
    assert found.leads == ("MLII",)
    assert [files.CLASSES[k] for k in found.kind] == ["N", "V", "S", "Q", "N"]
    assert found.x.shape == (5, 180, 1)
    assert found.x.dtype == np.float32
    cut = trace[peaks[2] - 90 : peaks[2] + 90]
    np.testing.assert_allclose(found.x[1, :, 0], (cut - cut.mean()) / cut.std(), atol=0.02)  # 16 bits
    both = files.load_heartbeats(path, leads=2)
    np.testing.assert_allclose(both.x[:, :, 1], -both.x[:, :, 0], atol=0.02)


@pytest.mark.underflows
@own_warnings
def test_arrhythmia_leaves_out_beats_at_the_ends(record):
    path, trace, peaks = record
    T = 2 * int(peaks[0]) + 20  # reaches ten samples beyond the start
    assert len(files.load_heartbeats(path, T=T).x) < 5
    with pytest.raises(ValueError, match=f"has no annotated beat with {2 * len(trace)} samples around it"):
        files.load_heartbeats(path, T=2 * len(trace))


@pytest.mark.underflows
@own_warnings
def test_arrhythmia_says_what_is_wrong(record, tmp_path):
    path, *_ = record
    with pytest.raises(ValueError, match=r"leads is 3 but .* has 2"):
        files.load_heartbeats(path, leads=3)
    (tmp_path / "100.atr").unlink()
    with pytest.raises(FileNotFoundError, match=r"100.atr is not there: a record has a .hea, a .dat and an .atr file"):
        files.load_heartbeats(path)


def test_arrhythmia_without_wfdb(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wfdb", None)
    with pytest.raises(ImportError, match=r"pip install wfdb"):
        files.load_heartbeats(tmp_path / "100")
