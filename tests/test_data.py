"""Reading, splitting, cutting and scaling series: the numbers, and a sentence for everything that can be wrong."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scratchnet.data import (
    MinMaxScaler,
    Standardizer,
    buckets,
    chronological_split,
    datasets,
    load_csv,
    minibatches,
    sliding_windows,
    split_at,
)


@pytest.fixture
def csv(tmp_path):
    """Write text (or bytes) to a file and give its path."""

    def write(content, name="mine.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def says(sentence):
    """A pattern for a sentence as it stands, not as a regular expression."""
    return re.escape(sentence)


# ---- load_csv ------------------------------------------------------------------------------------------------------------

GOOD = "date,flow,station,level\n2020-01,1.5,A,10\n2020-02,-2,A,1e1\n2020-03,3,B,12\n"


def test_csv_every_numeric_column_but_the_time(csv):
    s = load_csv(csv(GOOD))
    assert s.name == "mine"
    assert s.columns == ("flow", "level")
    assert list(s.times) == ["2020-01", "2020-02", "2020-03"]
    assert s.values.dtype == np.float64
    np.testing.assert_array_equal(s.values, [[1.5, 10], [-2, 10], [3, 12]])
    assert s.note == "left out, not a number: station"


def test_csv_columns_in_the_order_asked_for(csv):
    s = load_csv(csv(GOOD), columns=["level", "flow"])
    assert s.columns == ("level", "flow")
    np.testing.assert_array_equal(s.values, [[10, 1.5], [10, -2], [12, 3]])
    assert s.note == ""


def test_csv_one_column_as_a_string_is_not_its_letters(csv):
    assert load_csv(csv(GOOD), columns="flow").columns == ("flow",)


def test_csv_time_column_by_name_by_guess_and_none(csv):
    path = csv("year,flow,t\n1700,5,a\n1701,6,b\n")
    assert list(load_csv(path).times) == ["1700", "1701"]
    assert load_csv(path).columns == ("flow",)
    assert list(load_csv(path, time="t").times) == ["a", "b"]
    assert load_csv(path, time="t").columns == ("year", "flow")
    assert list(load_csv(path, time="").times) == ["0", "1"]
    assert load_csv(path, columns=["year"]).columns == ("year",)
    assert list(load_csv(path, columns=["year"]).times) == ["0", "1"]


@pytest.mark.parametrize("d", [",", ";", "\t"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv_delimiters_bom_and_line_ends(csv, d, bom, newline):
    text = newline.join([f"date{d}flow", f"2020{d}1", "", f"2021{d} 2 ", ""])
    s = load_csv(csv(bom + text.encode()))
    assert list(s.times) == ["2020", "2021"]
    np.testing.assert_array_equal(s.values, [[1], [2]])


def test_csv_delimiter_given_and_quoted_names(csv):
    np.testing.assert_array_equal(load_csv(csv("a|b\n1|2\n"), delimiter="|").values, [[1, 2]])
    assert load_csv(csv('"flow, m3/s";b\n1;2\n')).columns == ("flow, m3/s", "b")


def test_csv_one_column_has_a_blank_line_as_a_missing_cell(csv):
    path = csv("\nflow\n1\n\n3\n\n\n")
    with pytest.raises(ValueError, match="line 4, column 'flow' is empty"):
        load_csv(path)
    np.testing.assert_array_equal(load_csv(path, missing="fill").values, [[1], [1], [3]])


def test_csv_fills_from_the_past_alone(csv):
    """The last value before a gap; rows before a column's first value, which nothing can fill, are left out."""
    s = load_csv(csv("t,a,b\n0,,1\n1,2,1\n2,NaN,1\n3,n/a,4\n4,8,\n"), columns=["a", "b"], time="t", missing="fill")
    np.testing.assert_array_equal(s.values, [[2, 1], [2, 1], [2, 4], [8, 4]])
    np.testing.assert_array_equal(s.filled, [[0, 0], [1, 0], [1, 0], [0, 1]])
    np.testing.assert_array_equal(s.measured, [[2, 1], [np.nan, 1], [np.nan, 4], [8, np.nan]])
    assert list(s.times) == ["1", "2", "3", "4"]
    assert "3 of 5 values of a were missing, filled with the last value before" in s.note
    assert "1 of 5 values of b were missing" in s.note
    assert "the first 1 rows were left out: nothing before them fills their gaps" in s.note


def test_csv_drops_rows_with_their_times(csv):
    s = load_csv(csv("date,a,b\n2020,1,1\n2021,,1\n2022,3,1\n2023,4,\n"), missing="drop")
    assert list(s.times) == ["2020", "2022"]
    np.testing.assert_array_equal(s.values, [[1, 1], [3, 1]])
    assert s.note == "2 of 4 rows were dropped for a missing value"


def test_csv_without_gaps_has_nothing_to_note(csv):
    for missing in ("error", "fill", "drop"):
        assert load_csv(csv("a\n1\n2\n"), missing=missing).note == ""


@pytest.mark.parametrize(
    ("content", "options", "sentence"),
    [
        ("", {}, "mine.csv is empty: expected a header line and rows"),
        (" \n\n", {}, "mine.csv is empty: expected a header line and rows"),
        ("a,b\n", {}, "mine.csv has a header (a, b) but no rows"),
        ("a,b,a\n1,2,3\n", {}, "the header names 'a' twice (columns 1 and 3)"),
        ("1700,5\n1701,11\n", {}, "the first line holds numbers (1700, 5), not names: add a header line"),
        (",a\n0,1\n", {}, "column 1 of the header has no name"),
        ("a,b\n1,2\n", {"columns": ["c"]}, "has no column 'c': its columns are a, b"),
        ("a,b\n1,2\n", {"columns": ["a", "a"]}, "columns asks for 'a' twice"),
        ("a,b\n1,2\n", {"columns": []}, "columns is empty: expected some of a, b"),
        ("a,b\n1,2\n", {"time": "c"}, "has no column 'c' for the time: its columns are a, b"),
        ("a,b\n1,2\n", {"columns": ["a"], "time": "a"}, "'a' is both the time and a value column"),
        ("a,b\nx,y\n", {}, "has no column of numbers: its columns are a, b; 'a' begins with 'x'"),
        ("date\n2020\n", {}, "has no column of numbers: its columns are date; 'date' is the time"),
        ("a;b\n1,5;x\n2,5;y\n", {}, "line 2, column 'a': '1,5' is not a number (decimals are written with a point)"),
        ("a;b\n1;1,5\n2;\n", {}, "line 2, column 'b': '1,5' is not a number (decimals are written with a point)"),
        ("time,a\n0.1,1\n0.2,2\n0.15,3\n", {}, "line 4: 0.15 comes after 0.2, but rows must run from old to new"),
        (
            "time,a\n9,1\n10,2\n10.0,3\n",
            {},
            "line 4: 10.0 comes after 10, but rows must run from old to new, each time once",
        ),
        ("year,a\n1701,1\n1700,2\n", {}, "line 3: 1700 comes after 1701, but rows must run"),
        ("date,a\n2001-12-01,1\n2001-13-45,2\n", {}, "line 3: '2001-13-45' is not a date: "),
        ("date,a\n2001-13,1\n2001-14,2\n", {}, "line 2: '2001-13' is not a date: "),
        ("date,a\n2001-02-30 10:00,1\n", {}, "line 2: '2001-02-30 10:00' is not a date: "),
        ("a,b\n1,2\n3\n", {}, "line 3 has 1 fields but the header has 2"),
        ("a,b\n1,2\n\n3,4,5\n", {}, "line 4 has 3 fields but the header has 2"),
        ("a,b\n1,2\n3,four\n", {}, "line 3, column 'b': 'four' is not a number"),
        ("a,b\nfour,2\n3,4\n", {}, "line 2, column 'a': 'four' is not a number"),
        ("a\n1\n1_0\n", {}, "line 3, column 'a': '1_0' is not a number"),
        ("a;b\n1;2\n3;4,5\n", {}, "line 3, column 'b': '4,5' is not a number (decimals are written with a point)"),
        ("a,b\n1,-inf\n", {}, "line 2, column 'b': '-inf' is infinite"),
        ("a,b\n1,1e999\n", {"missing": "drop"}, "line 2, column 'b': '1e999' is infinite"),
        ("a,b\n1,2\n3,\n", {}, "line 3, column 'b' is empty: missing='fill' takes"),
        ("a,b\n1,2\n3,nan\n", {}, "line 3, column 'b' says 'nan': missing='fill' takes"),
        ("a,b\n1,\n3,\n", {"missing": "fill"}, "column 'b' has no value in any of its 2 rows"),
        ("a,b\n1,\n,3\n", {"missing": "drop"}, "every one of the 2 rows has a missing value"),
        ("a\n1\n", {"missing": "ignore"}, "missing is 'ignore': expected one of 'error', 'fill', 'drop'"),
        ("a;b,c\n1;2,3\n", {}, "could be cut at ',' or ';': give the delimiter"),
        ("a\n1\n", {"delimiter": "::"}, "delimiter is '::': expected one character"),
        ('a,b\n1,"2\n3,4\n', {}, "line 2: unexpected end of data"),
        ("date,a\n2020,1\n,2\n", {}, "line 3: the time column 'date' is empty"),
        (
            "date,a\n2021-01-01,1\n2020-01-01,2\n",
            {},
            "line 3: 2020-01-01 comes after 2021-01-01, but rows must run from old",
        ),
        (
            "date,a\n2020-01,1\n2020-01,2\n",
            {},
            "line 3: 2020-01 comes after 2020-01, but rows must run from old to new, each",
        ),
        (b"a\n\xff\n", {}, "is not UTF-8 (byte 2): save it as UTF-8"),
    ],
)
def test_csv_bad_files_are_answered_with_a_sentence(csv, content, options, sentence):
    with pytest.raises(ValueError, match=says(sentence)):
        load_csv(csv(content), **options)


@pytest.mark.parametrize(
    ("first", "second", "checked"),
    [
        ("12/31/2001", "06/01/2001", False),  # from new to old, but who can tell: elsewhere it is the 6th of January
        ("Jan 2001", "Feb 2001", False),
        ("2001-01-01", "2001-01-02T10:00", True),
        ("2001-01-01 09:00", "2001-01-01 10:00", True),
        ("2001", "2002", True),
        ("9", "10", True),  # as text they would descend
        ("-0.5", "1e1", True),
    ],
)
def test_csv_says_where_the_order_of_times_was_not_checked(csv, first, second, checked):
    note = load_csv(csv(f"date,a\n{first},1\n{second},2\n")).note
    assert note == (
        "" if checked else f"order and spacing not checked: times such as {first} are neither ISO dates nor numbers"
    )


def test_csv_words_with_a_comma_are_words(csv):
    s = load_csv(csv('a,b\n1,"3,4"\n2,x\n'))
    assert (s.columns, s.note) == (("a",), "left out, not a number: b")


def test_csv_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=says(f"there is no file {tmp_path / 'no.csv'}")):
        load_csv(tmp_path / "no.csv")
    with pytest.raises(ValueError, match="is a folder: expected a CSV file"):
        load_csv(tmp_path)


def test_csv_line_numbers_count_the_lines_of_a_quoted_cell(csv):
    with pytest.raises(ValueError, match="line 4, column 'b': 'x' is not a number"):
        load_csv(csv('a,b\n"two\nlines",1\nmore,x\n'), columns=["b"])


@settings(deadline=None, max_examples=30)
@given(values=arrays(np.float64, (7, 2), elements=st.floats(allow_nan=False, allow_infinity=False)))
def test_csv_reads_back_every_float_exactly(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    path.write_text("a;b\n" + "".join(f"{float(a)!r};{float(b)!r}\n" for a, b in values))
    np.testing.assert_array_equal(load_csv(path).values, values)


# ---- the datasets that come along ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "rows", "first", "last", "mean", "unit"),
    [
        ("sunspots", 309, ("1700", 5.0), ("2008", 2.9), 49.752103559870555, "yearly mean"),
        ("co2", 2284, ("1958-03-29", 316.1), ("2001-12-29", 371.5), 340.1422471910109, "ppmv"),
        ("elnino", 732, ("1950-01", 23.11), ("2010-12", 22.07), 23.09262295081967, "degrees Celsius"),
    ],
)
def test_dataset(name, rows, first, last, mean, unit):
    s = datasets.load(name)
    assert s.name == name
    assert s.values.shape == (rows, 1)
    assert s.values.dtype == np.float64
    assert s.times.shape == (rows,)
    assert (s.times[0], s.values[0, 0]) == first
    assert (s.times[-1], s.values[-1, 0]) == last
    assert np.nanmean(s.measured) == pytest.approx(mean, rel=1e-12)
    assert s.unit == unit
    assert len(s.columns) == 1
    assert s.licence.startswith("public domain")
    assert "statsmodels" in s.source


def test_dataset_names_are_all_there_is():
    assert datasets.NAMES == ("sunspots", "co2", "elnino")
    with pytest.raises(ValueError, match="no dataset 'sunspot': expected one of sunspots, co2, elnino"):
        datasets.load("sunspot")


def test_co2_gaps_are_filled_from_the_week_before_and_counted():
    s = datasets.load("co2")
    assert s.note == "59 of 2284 values of co2 were missing, filled with the last value before"
    assert s.filled.sum() == np.isnan(s.measured).sum() == 59
    at = list(s.times).index("1958-05-10")  # the first gap, one week between 316.9 and 317.5 in the file
    assert s.values[at, 0] == s.values[at - 1, 0] == 316.9
    assert datasets.load("sunspots").note == datasets.load("elnino").note == ""
    assert datasets.load("sunspots").filled is None


def test_co2_is_weekly_and_elnino_monthly_without_a_hole():
    weeks = datasets.load("co2").times.astype("datetime64[D]")
    assert set(np.diff(weeks).astype(int)) == {7}
    months = datasets.load("elnino").times.astype("datetime64[M]")
    assert set(np.diff(months).astype(int)) == {1}


# ---- splitting -----------------------------------------------------------------------------------------------------------


def test_split_by_fractions_and_by_sizes():
    assert chronological_split(100) == (slice(0, 70), slice(70, 85), slice(85, 100))
    assert chronological_split(10, (0.8, 0.2)) == (slice(0, 8), slice(8, 10))
    assert chronological_split(309, (221, 35, 53)) == (slice(0, 221), slice(221, 256), slice(256, 309))


@settings(deadline=None)
@given(n=st.integers(20, 5000), shares=st.lists(st.floats(1, 4), min_size=2, max_size=4))
def test_split_parts_follow_each_other_and_leave_nothing_out(n, shares):
    parts = chronological_split(n, [s / sum(shares) for s in shares])
    assert np.concatenate([np.arange(n)[p] for p in parts]).tolist() == list(range(n))
    for part, share in zip(parts, shares):
        assert abs((part.stop - part.start) - n * share / sum(shares)) <= 1


@pytest.mark.parametrize(
    ("n", "parts", "error", "sentence"),
    [
        (100, (0.5, 0.4), ValueError, "parts (0.5, 0.4) sum to 0.9: fractions sum to 1"),
        (100, (50, 40), ValueError, "parts (50, 40) sum to 90 rows but there are 100"),
        (100, (110, -10), ValueError, "100 rows cut into (110, -10): part 2 of 2 would be empty"),
        (3, (0.9, 0.1), ValueError, "3 rows cut into (0.9, 0.1): part 2 of 2 would be empty"),
        (100, (100,), ValueError, "expected at least two, a training part and a test part"),
        (100, (50, 0.5), TypeError, "mix whole numbers and fractions"),
        (0, (0.5, 0.5), ValueError, "n is 0: expected at least 1"),
        (9.0, (0.5, 0.5), TypeError, "n is 9.0: expected a whole number"),
    ],
)
def test_split_that_does_not_add_up(n, parts, error, sentence):
    with pytest.raises(error, match=says(sentence)):
        chronological_split(n, parts)


def test_split_at_takes_the_boundary_into_the_earlier_part():
    times = datasets.load("sunspots").times
    train, test, rest = split_at(times, "1920", 1955)
    assert (times[train][0], times[train][-1]) == ("1700", "1920")
    assert (times[test][0], times[test][-1]) == ("1921", "1955")
    assert (times[rest][0], times[rest][-1]) == ("1956", "2008")


def test_split_at_a_year_takes_all_its_months():
    times = datasets.load("elnino").times
    train, test = split_at(times, "1999")
    assert (times[train][-1], times[test][0]) == ("1999-12", "2000-01")
    assert split_at(times, "1999-06")[0] == slice(0, 594)
    assert split_at(datasets.load("co2").times, "1990-03")[0].stop == 1671


@pytest.mark.parametrize(
    ("times", "boundaries", "sentence"),
    [
        (["1700", "1701"], (), "needs at least one boundary"),
        ([], ("1700",), "times is empty"),
        (["0", "1"], ("0",), "times has '0' and '0': expected ISO dates of one length"),
        (["2020", "2020-02"], ("2020",), "times has '2020' and '2020-02': expected ISO dates of one length"),
        (["1701", "1700"], ("1700",), "times do not ascend"),
        (["1700", "1700"], ("1700",), "times do not ascend"),
        (["1700", "1701"], ("May",), "the boundary 'May' is not an ISO date"),
        (["1700", "1701"], ("1700-06",), "the boundary '1700-06' is finer than the times, such as '1700'"),
        (["1700", "1701"], ("1699",), "times 1700 to 1701 cut at 1699: part 1 of 2 would be empty"),
        (["1700", "1701"], ("1701",), "part 2 of 2 would be empty"),
        (["1700", "1701", "1702"], ("1701", "1700"), "part 2 of 3 would be empty"),
    ],
)
def test_split_at_what_cannot_be_cut(times, boundaries, sentence):
    with pytest.raises(ValueError, match=says(sentence)):
        split_at(np.array(times, dtype=str), *boundaries)


# ---- windows -------------------------------------------------------------------------------------------------------------


def numbered(T, D=1, dtype=np.float64):
    """values[t, d] = 100 d + t: every number says where it came from."""
    return (100 * np.arange(D) + np.arange(T)[:, None]).astype(dtype)


def test_windows_as_drawn_in_the_docstring():
    x, y, at = sliding_windows(numbered(7), width=3, horizon=2)
    np.testing.assert_array_equal(x[:, :, 0], [[0, 1, 2], [1, 2, 3], [2, 3, 4]])
    np.testing.assert_array_equal(y, [[3, 4], [4, 5], [5, 6]])
    np.testing.assert_array_equal(at, [3, 4, 5])


def test_windows_of_several_columns_with_chosen_targets():
    x, y, _ = sliding_windows(numbered(6, 3), width=2, horizon=2, targets=[2, 0])
    assert x.shape == (3, 2, 3)
    np.testing.assert_array_equal(y[0], [202, 2, 203, 3])  # step by step, and within a step the columns as asked for
    np.testing.assert_array_equal(y.reshape(3, 2, 2)[0], [[202, 2], [203, 3]])


def test_windows_of_a_part_reach_back_but_their_targets_do_not():
    values, train, test = numbered(20), slice(0, 12), slice(12, 20)
    x, y, at = sliding_windows(values, width=5, part=test)
    assert y[:, 0].tolist() == at.tolist() == list(range(12, 20))  # all rows of the part, the first one too
    assert x[0, :, 0].tolist() == [7, 8, 9, 10, 11]
    assert sliding_windows(values, width=5, horizon=3, part=test).at.tolist() == list(range(12, 18))
    assert sliding_windows(values, width=5, part=train).at.tolist() == list(range(5, 12))
    assert sliding_windows(values, width=5, part=slice(-2, None)).at.tolist() == [18, 19]


@settings(deadline=None)
@given(
    T=st.integers(2, 40),
    width=st.integers(1, 10),
    horizon=st.integers(1, 5),
    stride=st.integers(1, 4),
    bounds=st.tuples(st.integers(0, 40), st.integers(0, 40)),
)
def test_windows_never_see_their_targets_and_miss_none(T, width, horizon, stride, bounds):
    start, stop = sorted(min(b, T) for b in bounds)
    fits = [t for t in range(T) if t >= width and t >= start and t + horizon <= stop]
    if not fits:
        with pytest.raises(ValueError, match=r"no window has all its targets|a window needs width"):
            sliding_windows(numbered(T), width, horizon, stride=stride, part=slice(start, stop))
        return
    x, y, at = sliding_windows(numbered(T), width, horizon, stride=stride, part=slice(start, stop))
    assert at.tolist() == fits[::stride]
    for x_i, y_i, t in zip(x, y, at):
        assert x_i[:, 0].tolist() == list(range(t - width, t))
        assert y_i.tolist() == list(range(t, t + horizon))


def test_windows_are_copies_of_the_same_type():
    values = numbered(6, dtype=np.float32)
    x, y, _ = sliding_windows(values, 2)
    assert x.dtype == y.dtype == np.float32
    x[:] = y[:] = -1
    np.testing.assert_array_equal(values, numbered(6, dtype=np.float32))


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ({"width": 4, "horizon": 2}, ValueError, "values has 5 rows but a window needs width 4 + horizon 2 = 6"),
        (
            {"width": 3, "part": slice(0, 3)},
            ValueError,
            "no window has all its targets in rows 0 to 2: the first row with 3",
        ),
        ({"width": 1, "horizon": 2, "part": slice(4, 5)}, ValueError, "and horizon 2 needs 2 target rows"),
        ({"width": 1, "part": slice(0, 6)}, ValueError, "part is slice(0, 6, None) but values has 5 rows"),
        ({"width": 1, "part": slice(0, 4, 2)}, ValueError, "expected consecutive rows, no step"),
        ({"width": 0}, ValueError, "width is 0: expected at least 1"),
        ({"width": 2.0}, TypeError, "width is 2.0: expected a whole number"),
        ({"width": 1, "horizon": 0}, ValueError, "horizon is 0: expected at least 1"),
        ({"width": 1, "stride": 0}, ValueError, "stride is 0: expected at least 1"),
        (
            {"width": 1, "targets": [2]},
            ValueError,
            "targets is [2] but values has 2 columns: expected some of 0 to 1, each",
        ),
        ({"width": 1, "targets": [1, 1]}, ValueError, "targets is [1, 1] but values has 2 columns"),
        ({"width": 1, "targets": []}, ValueError, "targets is [] but values has 2 columns"),
        ({"width": 1, "targets": [-1]}, ValueError, "targets is -1: expected at least 0"),
        ({"width": 1, "targets": 1}, TypeError, "targets is 1: expected a sequence, each a whole number"),
    ],
)
def test_windows_that_cannot_be_cut(arguments, error, sentence):
    with pytest.raises(error, match=says(sentence)):
        sliding_windows(numbered(5, 2), **arguments)


@pytest.mark.parametrize(
    ("values", "error", "sentence"),
    [
        (
            np.zeros(5),
            ValueError,
            "values is (5,): expected (T, D), a row for each time: values[:, None] has one column",
        ),
        (np.zeros((5, 1, 1)), ValueError, "values is (5, 1, 1): expected (T, D)"),
        (np.zeros((5, 0)), ValueError, "values is (5, 0): it needs at least one row and one column"),
        (np.zeros((5, 1), int), TypeError, "values is int64, but a network computes in float32 or float64"),
        ([[1.0]], TypeError, "values is a builtins.list, not a NumPy or CuPy array"),
        (np.array([[1.0, 2], [3, np.nan]]), ValueError, "values has a nan in row 1, column 1: expected finite numbers"),
        (np.array([[1.0, -np.inf], [3, np.nan]]), ValueError, "values has a -inf in row 0, column 1"),
    ],
)
def test_series_that_are_no_series(values, error, sentence):
    with pytest.raises(error, match=says(sentence)):
        sliding_windows(values, 1)
    if "nan" not in sentence:  # which is a missing value there
        with pytest.raises(error, match=says(sentence)):
            Standardizer().fit(values)


# ---- scaling -------------------------------------------------------------------------------------------------------------

SCALERS = [Standardizer, MinMaxScaler, lambda: MinMaxScaler((-0.9, 0.9))]


def test_standardizer_on_numbers_done_by_hand():
    values = np.array([[1.0, 10], [3, 30], [5, 50]])
    s = Standardizer().fit(values)
    np.testing.assert_allclose(s.offset, [3, 30])
    np.testing.assert_allclose(s.scale, [np.sqrt(8 / 3), np.sqrt(800 / 3)])
    np.testing.assert_allclose(s.transform(values)[:, 0], np.array([-2, 0, 2]) / np.sqrt(8 / 3))


def test_min_max_on_numbers_done_by_hand():
    values = np.array([[1.0], [2], [5]])
    np.testing.assert_allclose(MinMaxScaler().fit(values).transform(values)[:, 0], [0, 0.25, 1])
    np.testing.assert_allclose(MinMaxScaler((-1, 3)).fit(values).transform(values)[:, 0], [-1, 0, 3])
    # later rows may lie outside
    np.testing.assert_allclose(MinMaxScaler().fit(values).transform(np.array([[9.0]])), [[2]])


@pytest.mark.parametrize("make", SCALERS)
def test_scaler_learns_from_the_rows_it_is_given_only(make):
    values = np.vstack([numbered(10, 2), 1e6 * np.ones((5, 2))])
    a, b = make().fit(values[:10]), make().fit(values)
    assert np.all(a.offset < 1000)
    assert np.all(b.scale > 10 * a.scale)


@pytest.mark.underflows
@pytest.mark.parametrize("make", SCALERS)
@settings(deadline=None)
@given(
    fitted=arrays(np.float64, (6, 2), elements=st.floats(-1e3, 1e3), unique=True),
    x=arrays(np.float64, (3, 4, 2), elements=st.floats(-1e3, 1e3)),
)
def test_inverse_undoes_transform(make, fitted, x):
    fitted[0] = [-1e3, 1e3]
    fitted[1] = [1e3, -1e3]  # a spread of 2000, so that 1e-12 of it is what rounding may cost
    s = make().fit(fitted)
    np.testing.assert_allclose(s.inverse_transform(s.transform(x)), x, rtol=1e-12, atol=1e-12 * 2000)


@pytest.mark.parametrize("make", SCALERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scaler_keeps_the_type_it_is_given(make, dtype):
    s = make().fit(numbered(5, 2))
    z = s.transform(numbered(5, 2, dtype))
    assert z.dtype == s.inverse_transform(z).dtype == dtype


def test_float32_is_summed_in_float64():
    values = np.repeat((370 + np.arange(100_000)[:, None] % 2).astype(np.float32), 2, axis=1)  # the sum needs 26 bits
    s = Standardizer().fit(values)
    assert s.offset.dtype == s.scale.dtype == np.float64
    np.testing.assert_array_equal(s.offset, [370.5, 370.5])
    np.testing.assert_array_equal(s.scale, [0.5, 0.5])


@pytest.mark.parametrize("make", SCALERS)
def test_scaler_refuses_what_it_cannot_scale(make):
    tenths = np.full((10, 2), 0.1)
    tenths[:, 0] = np.arange(10)  # the computed deviation of ten tenths is not 0
    with pytest.raises(ValueError, match=says("column 1 is 0.1 in all 10 rows, no spread to scale by: leave it out")):
        make().fit(tenths)
    with pytest.raises(ValueError, match=says("column 1 (level) is 0.1 in all 10 rows")):
        make().fit(tenths, columns=["flow", "level"])
    with pytest.raises(ValueError, match="columns has 1 names but values has 2 columns"):
        make().fit(tenths, columns=["flow"])
    with pytest.raises(
        ValueError, match=says("column 0 runs from -1.7e+308 to 1.7e+308, a spread that float64 cannot")
    ):
        make().fit(np.array([[-1.7e308], [1.7e308]]))
    with pytest.raises(RuntimeError, match=says("has not been fitted: call fit(values[train]) first")):
        make().transform(numbered(3))
    with pytest.raises(RuntimeError, match="has not been fitted"):
        make().inverse_transform(numbered(3))
    fitted = make().fit(numbered(5, 2))
    with pytest.raises(ValueError, match=says("x is (5, 3) but the scaler was fitted to 2 columns: expected (..., 2)")):
        fitted.transform(numbered(5, 3))
    with pytest.raises(ValueError, match=says("z is (5, 1) but the scaler was fitted to 2 columns")):
        fitted.inverse_transform(numbered(5, 1))
    with pytest.raises(TypeError, match="x is int64"):
        fitted.transform(np.zeros((5, 2), int))


def test_a_failed_fit_leaves_the_scaler_as_it_was():
    s = Standardizer().fit(numbered(5))
    with pytest.raises(ValueError, match="no spread"):
        s.fit(np.ones((5, 1)))
    np.testing.assert_array_equal(s.offset, [2])


@pytest.mark.parametrize("feature_range", [(1, 0), (1, 1), (0, np.inf), (np.nan, 1)])
def test_min_max_range_must_ascend(feature_range):
    with pytest.raises(ValueError, match="expected a lower and a higher finite number"):
        MinMaxScaler(feature_range)


# ---- minibatches ---------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(n=st.integers(1, 60), size=st.integers(1, 70), seed=st.none() | st.integers(0, 9))
def test_minibatches_visit_everything_once(n, size, seed):
    batches = list(minibatches(n, size, None if seed is None else np.random.default_rng(seed)))
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    assert all(len(b) == size for b in batches[:-1])
    assert 1 <= len(batches[-1]) <= size


def test_minibatches_are_in_order_or_shuffled_by_the_generator():
    assert [b.tolist() for b in minibatches(5, 2)] == [[0, 1], [2, 3], [4]]
    rng = np.random.default_rng(0)
    first, second = (np.concatenate(list(minibatches(50, 8, rng))).tolist() for _ in range(2))
    assert first != list(range(50))
    assert first != second
    assert first == np.concatenate(list(minibatches(50, 8, np.random.default_rng(0)))).tolist()


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ((0, 2), ValueError, "n is 0: expected at least 1"),
        ((5, 0), ValueError, "batch_size is 0: expected at least 1"),
        ((5, 2.5), TypeError, "batch_size is 2.5: expected a whole number"),
        ((5, True), TypeError, "batch_size is True: expected a whole number"),
        ((5, 2, 7), TypeError, "rng is a int: expected a numpy.random.Generator"),
    ],
)
def test_minibatches_complain_at_the_call(arguments, error, sentence):
    with pytest.raises(error, match=says(sentence)):
        minibatches(*arguments)


@pytest.mark.parametrize("n", [7, 50])
def test_buckets_go_from_short_to_long_within_a_pool(n, rng):
    """Every sequence once; without a generator each pool begins with its shortest, so its longest batch comes last."""
    lengths = rng.integers(1, 30, n)
    batches = list(buckets(lengths, 3, pool=4))
    assert sorted(np.concatenate(batches)) == list(range(n))
    for start in range(0, len(batches), 4):
        pool = lengths[np.concatenate(batches[start : start + 4])]
        assert (np.diff(pool) >= 0).all()
    assert min(map(len, batches)) >= 1
    assert all(len(batch) == 3 for batch in batches[:-1])
