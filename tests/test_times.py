"""Times of a CSV: ascending, at even distances, in the calendar; what is doubtful in a table is refused or noted."""

import os
import tracemalloc
from datetime import date, datetime, timedelta

import numpy as np
import pytest
from scratchnet.data import load_csv
from scratchnet.errors import InvalidValueError


@pytest.fixture
def read(tmp_path):
    def of(times, missing="error", column="date", cells=None):
        path = tmp_path / "series.csv"
        cells = range(len(times)) if cells is None else cells
        path.write_text(f"{column},x\n" + "".join(f"{t},{v}\n" for t, v in zip(times, cells)), encoding="utf-8")
        return load_csv(path, missing=missing)

    return of


START = datetime(2024, 1, 31, 12, 30)


def month_ends(n):
    return [(date(2020 + (k + 1) // 12, (k + 1) % 12 + 1, 1) - timedelta(days=1)).isoformat() for k in range(n)]


EVEN = {
    "years": [str(1700 + k) for k in range(12)],
    "every tenth year": [str(1700 + 10 * k) for k in range(12)],
    "months": [f"{2020 + k // 12}-{k % 12 + 1:02d}" for k in range(30)],
    "first days of months": [f"{2020 + k // 12}-{k % 12 + 1:02d}-01" for k in range(30)],
    "ends of months": month_ends(30),
    "ends of quarters": month_ends(30)[2::3],
    "days": [(START + timedelta(days=k)).date().isoformat() for k in range(40)],
    "weeks": [(START + timedelta(weeks=k)).date().isoformat() for k in range(40)],
    "hours": [(START + timedelta(hours=k)).isoformat(" ")[:16] for k in range(40)],
    "quarters of an hour": [(START + timedelta(minutes=15 * k)).isoformat() for k in range(40)],
    "half seconds": [(START + timedelta(seconds=k / 2)).isoformat(timespec="milliseconds") for k in range(40)],
    "hours in summer time": [f"2024-03-31T{h + (h > 1):02d}:00+0{1 + (h > 1)}:00" for h in range(12)],
    "hours in UTC": [f"2024-03-31T{h:02d}:00Z" for h in range(12)],
    "whole numbers": [str(7 * k) for k in range(20)],
    "decimals": [f"{0.1 * k:.1f}" for k in range(20)],
    "rounded thirds": [f"{k / 3:.4f}" for k in range(20)],
}


@pytest.mark.parametrize("name", EVEN)
def test_even_times_are_taken_and_absent_rows_are_found(name, read):
    """As they are; with rows taken out, which is an error that names the gap, or is filled with the same times."""
    times = EVEN[name]
    assert read(times).note == ""
    gone = {3, len(times) - 3} if len(times) < 20 else {3, 4, len(times) - 3}
    kept = [t for k, t in enumerate(times) if k not in gone]
    after = kept[min(gone)]
    with pytest.raises(InvalidValueError, match=f"line {min(gone) + 2}: {after[:4].replace('+', '.')}.* in all"):
        read(kept)
    filled = read(kept, "fill")
    assert len(filled.times) == len(times)
    if name not in ("hours in summer time", "hours in UTC", "rounded thirds"):  # written in another way
        assert list(filled.times) == times
    assert set(np.flatnonzero(filled.filled[:, 0])) == gone
    assert f"{len(gone)} rows were absent from the file, the first at" in filled.note
    dropped = read(kept, "drop")
    assert list(dropped.times) == kept
    assert "the times jump 2 times, first from" in dropped.note


def test_fifty_missing_hours_do_not_pass_in_silence(read):
    times = [(START + timedelta(hours=k)).isoformat(" ")[:16] for k in range(200)]
    with pytest.raises(InvalidValueError, match=r"02-04 22:30 comes after 2024-02-02 19:30, .* 1:00:00 apart: 50 rows"):
        read(times[:56] + times[106:])


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (
            ["2020-01-01", "2020-01-02", "Total"],
            "line 4: 'Total' is not an ISO date, as '2020-01-01' is: is it a total",
        ),
        (["1", "2", "sum"], "line 4: 'sum' is not a number, as '1' is"),
        (["2020-01-01 24:00", "2020-01-01 25:99"], "is not a date: "),
        (["2020-01-01T00:00", "2020-01-01T25:99"], "'2020-01-01T25:99' is not a date: "),
        (["2020-01-01T00:00Z", "2020-01-01T01:00"], "one has an offset from UTC and one has none"),
        (["2020-01-01T00:00+00:00", "2020-01-01T01:00+02:00"], "line 3: .* comes after .*, but rows must run from old"),
        (["0", "1", "2", "3.5", "4.5"], "line 5: 3.5 comes after 2, .* the times are not evenly spaced"),
        (["0", "1", "2", "9" * 9], r"999999996 rows are absent between them, 999999996 in all|are absent"),
        (["2020-01-01", "2020-01-02", "2020-01-03", "2020-02-01"], "28 rows are absent between them"),
    ],
)
def test_times_that_are_refused(times, message, read):
    with pytest.raises(InvalidValueError, match=message):
        read(times)


def test_gaps_that_cannot_be_filled(read):
    with pytest.raises(InvalidValueError, match=r"3\.5 comes after 2, .* not evenly spaced"):
        read(["0", "1", "2", "3.5", "4.5"], "fill")
    with pytest.raises(InvalidValueError, match="999999996 rows are absent between the 4 that are there"):
        read(["0", "1", "2", "9" * 9], "fill")


def test_two_rows_and_one_have_no_other_distance(read):
    assert read(["2020-01-01", "2024-01-01"]).note == ""
    assert read(["7"]).note == ""


def test_marks_and_thousands_are_noted(tmp_path, rng):
    path = tmp_path / "doubtful.csv"
    values = [*rng.normal(10, 2, 50), -999.0, -999.0]
    path.write_text("x\n" + "".join(f"{v}\n" for v in values))
    assert "x is -999 2 times, far from all other values" in load_csv(path).note
    path.write_text("x\n" + "".join(f"{v}\n" for v in [*rng.normal(-900, 60, 50), -999.0]))
    assert load_csv(path).note == ""
    for cells, doubted in ((["1.234", "12.500"], True), (["1.234", "12.5"], False), (["0.123", "0.456"], False)):
        path.write_text("a;x\n" + "".join(f"1;{cell}\n" for cell in cells))
        assert ("every point in x has three digits after it" in load_csv(path).note) == doubted
        path.write_text("a,x\n" + "".join(f"1,{cell}\n" for cell in cells))
        assert load_csv(path).note == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x\n١٢\n1\n", "line 2, column 'x': '١٢' is not a number"),
        ("x\n1\n１\n", "line 3, column 'x': '１' is not a number"),
        ("x\0y\n1\n", "line 1 holds a NUL byte"),
        ("x\n1\n2\0\n", "line 3 holds a NUL byte"),
        ("x" * 5_000_000 + "\n1\n", "line 1 is longer than 1048576 characters"),
        ("x,y\n" + "1" * 200_000 + ",2\n", "line 2: field larger than field limit"),
        ("x" * 200_000 + "\n1\n", "line 1: field larger than field limit"),
    ],
)
def test_what_is_no_table(content, message, tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidValueError, match=message):
        load_csv(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InvalidValueError, match="is a pipe or a device: expected a CSV file"):
        load_csv(tmp_path / "pipe.csv")


def test_reading_keeps_numbers_and_not_cells(tmp_path):
    """At most ten times the file, where cells as text took 34 times."""
    path = tmp_path / "long.csv"
    start = datetime(2000, 1, 1)
    with path.open("w") as file:
        file.write("time,x\n")
        for k in range(20_000):
            file.write(f"{(start + timedelta(hours=k)).isoformat(' ')[:16]},{k / 7:.4f}\n")
    tracemalloc.start()
    series = load_csv(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(series.values) == 20_000
    assert peak < 12 * path.stat().st_size, peak / path.stat().st_size
