"""Series, and how an honest experiment cuts them up: read a CSV, split by time, scale by the training part, cut windows.

Three rules run through this file.  A series is never shuffled before it is split, or the test set would lie between training
rows.  A scaler learns from the training rows alone.  A window's targets come after its last input row, always.

    series = load_csv("mine.csv", columns=["flow"])
    train, test = split_at(series.times, "1920")                  # slices: up to and including 1920, and the rest
    scaler = Standardizer().fit(series.values[train])
    z = scaler.transform(series.values)
    x, y, at = windows(z, width=9, part=test)                     # targets in the test rows, inputs may reach back
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isinf, isnan, nan
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from scratchnet.arrays import Array, require_floating

MISSING = ("error", "interpolate", "drop")
MISSING_MARKS = ("", "nan", "na", "n/a", "null")
TIME_NAMES = ("date", "datetime", "time", "timestamp", "year")
ISO_TIME = re.compile(r"\d{4}(-\d\d(-\d\d([T ].*)?)?)?")


@dataclass(frozen=True, eq=False)
class Series:
    """One or more quantities measured at the same times, oldest row first."""

    name: str
    times: Any  # (T,) NumPy array of str, as the file has them
    values: Array  # (T, K) float64
    columns: tuple[str, ...]  # K names
    unit: str = ""
    source: str = ""
    licence: str = ""
    note: str = ""  # what was done to the data on the way in: gaps filled, rows dropped, columns left out


# ---- reading -------------------------------------------------------------------------------------------------------------


def load_csv(
    path: str | PathLike[str],
    columns: str | Sequence[str] | None = None,
    time: str | None = None,
    missing: str = "error",
    delimiter: str | None = None,
) -> Series:
    """Read a CSV file with a header line (UTF-8, with or without a byte order mark) into a Series with values (T, K) float64.

    ``columns``: the value columns by name, in the order wanted.  None takes every column that holds a number; columns of text
    are left out, and ``note`` names them.
    ``time``: the column whose text becomes ``times``.  None takes the first column called date, datetime, time, timestamp or
    year (in any case) unless ``columns`` asks for it as a value; "" takes none.  Without one, rows are numbered "0", "1", ...
    Where all times are ISO dates they must run from old to new: a split by time is meaningless otherwise.
    ``missing``: what an empty cell, or one that says NaN, NA, N/A or null, does.  "error" stops; "interpolate" fills it on the
    straight line between its neighbours *in the file* (which takes rows to be evenly spaced) and holds the nearest value at
    the ends; "drop" leaves the row out, which leaves a jump in time.  ``note`` counts what was filled or dropped.  A gap that
    ends the training part is filled with the help of the row after it: look where your gaps lie before you split there.
    ``delimiter``: None finds out from the header whether it is a comma, a semicolon or a tab.

    Raises FileNotFoundError, or ValueError with the file, the line, the column and the text: an empty file, a header that is
    missing or names a column twice, an unknown column or one asked for twice, a row of another length, a cell that is not a
    number or is infinite, a missing cell, a column with no number.
    """
    path = Path(path)
    if missing not in MISSING:
        raise ValueError(f"missing is {missing!r}: expected one of {', '.join(map(repr, MISSING))}")
    header, rows = _read_rows(path, delimiter)
    asked = (columns,) if isinstance(columns, str) else None if columns is None else tuple(columns)
    time = _time_column(path, header, time, asked)
    notes = []
    if asked is None:
        asked, text = _numeric_columns(path, header, rows, time)
        notes += [f"left out, not a number: {', '.join(text)}"] if text else []
    _check_asked(path, header, asked, time)

    at = [header.index(name) for name in asked]
    values = np.array([[_cell(path, line, header[j], row[j], missing) for j in at] for line, row in rows])
    times = [str(i) for i in range(len(rows))]
    if time:
        times = [row[header.index(time)] for _, row in rows]
        _check_times(path, time, times, [line for line, _ in rows])
    gaps = np.isnan(values)
    if missing == "drop" and gaps.any():
        keep = ~gaps.any(axis=1)
        if not keep.any():
            raise ValueError(f"{path}: every one of the {len(rows)} rows has a missing value, dropping them leaves nothing")
        values, times = values[keep], [t for t, kept in zip(times, keep) if kept]
        notes.append(f"{len(keep) - int(keep.sum())} of {len(keep)} rows were dropped for a missing value")
    elif missing == "interpolate":
        for k, name in enumerate(asked):
            if gaps[:, k].any():
                filled = _interpolate(path, name, values[:, k], gaps[:, k])
                notes.append(f"{filled} of {len(gaps)} values of {name} were missing, filled by linear interpolation")
    return Series(path.stem, np.array(times), values, asked, source=str(path), note="; ".join(notes))


def _read_rows(path: Path, delimiter: str | None) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row with its line number: cells stripped, blank lines left out, all as long as the header."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder: expected a CSV file")
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    if not text.strip():
        raise ValueError(f"{path} is empty: expected a header line and rows")
    if delimiter is None:
        delimiter = _find_delimiter(path, text.lstrip("\r\n").splitlines()[0])
    elif len(delimiter) != 1:
        raise ValueError(f"delimiter is {delimiter!r}: expected one character")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for fields in reader:
            records.append((line, [field.strip() for field in fields]))
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"{path}, line {line}: {error}") from None
    while not records[-1][1]:
        records.pop()
    first = next(i for i, (_, fields) in enumerate(records) if fields)
    header, rows = records[first][1], records[first + 1 :]
    for j, name in enumerate(header):
        if name and name in header[:j]:
            raise ValueError(f"{path}: the header names {name!r} twice (columns {header.index(name) + 1} and {j + 1})")
    # In a file of one column a blank line is that column's cell, and it is empty.
    rows = [(line, fields or [""]) for line, fields in rows if fields or len(header) == 1]
    if not rows:
        raise ValueError(f"{path} has a header ({', '.join(header)}) but no rows")
    for line, fields in rows:
        if len(fields) != len(header):
            raise ValueError(f"{path}, line {line} has {len(fields)} fields but the header has {len(header)}")
    return header, rows


def _find_delimiter(path: Path, header: str) -> str:
    """The one of comma, semicolon and tab that cuts the header line into most fields."""
    fields = {d: len(next(csv.reader([header], delimiter=d))) for d in ",;\t"}
    best = [d for d in fields if fields[d] == max(fields.values())]
    if len(best) > 1 and max(fields.values()) > 1:
        raise ValueError(f"{path}: the header {header!r} could be cut at {' or '.join(map(repr, best))}: give the delimiter")
    return best[0]


def _time_column(path: Path, header: list[str], time: str | None, asked: tuple[str, ...] | None) -> str:
    """The name of the time column, "" for none."""
    if time is None:
        likely = [name for name in header if name.lower() in TIME_NAMES and name not in (asked or ())]
        return likely[0] if likely else ""
    if time and time not in header:
        raise ValueError(f"{path} has no column {time!r} for the time: its columns are {', '.join(header)}")
    return time


def _numeric_columns(
    path: Path, header: list[str], rows: list[tuple[int, list[str]]], time: str
) -> tuple[tuple[str, ...], list[str]]:
    """The columns in which at least one cell is a number (or all are missing), and the others; the time column in neither.

    One number is enough, so that a stray word in a column of numbers is an error later and not a column that vanishes.
    """
    if all(_is_value(name) for name in header):
        raise ValueError(f"{path}: the first line holds numbers ({', '.join(header)}), not names: add a header line")
    numeric: list[str] = []
    text: list[str] = []
    for j, name in enumerate(header):
        if time and name == time:
            continue
        if not name:
            raise ValueError(f"{path}: column {j + 1} of the header has no name: name it, or say which columns to read")
        cells = [row[j] for _, row in rows]
        is_text = not any(map(_is_value, cells)) and any(_number(cell) is None for cell in cells)
        (text if is_text else numeric).append(name)
    if not numeric:
        raise ValueError(f"{path} has no column of numbers: its columns are {', '.join(header)}")
    return tuple(numeric), text


def _check_asked(path: Path, header: list[str], asked: tuple[str, ...], time: str) -> None:
    if not asked:
        raise ValueError(f"columns is empty: expected some of {', '.join(header)}")
    for i, name in enumerate(asked):
        if name not in header:
            raise ValueError(f"{path} has no column {name!r}: its columns are {', '.join(header)}")
        if name in asked[:i]:
            raise ValueError(f"columns asks for {name!r} twice")
        if name == time:
            raise ValueError(f"{name!r} is asked for as the time and as a value: choose one")


def _number(text: str) -> float | None:
    """The number a cell says, NaN for a missing one, None for what is not a number."""
    if text.lower() in MISSING_MARKS:
        return nan
    try:
        return None if "_" in text else float(text)  # Python would read 1_0 as ten
    except ValueError:
        return None


def _is_value(text: str) -> bool:
    number = _number(text)
    return number is not None and not isnan(number)


def _cell(path: Path, line: int, column: str, text: str, missing: str) -> float:
    where = f"{path}, line {line}, column {column!r}"
    number = _number(text)
    if number is None:
        hint = " (decimals are written with a point)" if re.fullmatch(r"[-+]?\d+,\d+", text) else ""
        raise ValueError(f"{where}: {text!r} is not a number{hint}")
    if isinf(number):
        raise ValueError(f"{where}: {text!r} is infinite")
    if isnan(number) and missing == "error":
        what = f"says {text!r}" if text else "is empty"
        raise ValueError(f"{where} {what}: missing='interpolate' fills it from its neighbours, missing='drop' drops the row")
    return number


def _check_times(path: Path, column: str, times: list[str], lines: list[int]) -> None:
    """No time may be empty; ISO times, which sort as text, must ascend.  Other ways to write a time are left alone."""
    if "" in times:
        raise ValueError(f"{path}, line {lines[times.index('')]}: the time column {column!r} is empty")
    if len(set(map(len, times))) > 1 or not all(ISO_TIME.fullmatch(t) for t in times):
        return
    for (before, after), line in zip(pairwise(times), lines[1:]):
        if after <= before:
            raise ValueError(
                f"{path}, line {line}: {after} comes after {before}, but rows must run from old to new, each time once "
                f"(time='' takes no column as the time)"
            )


def _interpolate(path: Path, column: str, values: Array, gaps: Array) -> int:
    """Fill values (T,) in place where gaps (T,) is True, the ends with the nearest value; returns how many those are."""
    if gaps.all():
        raise ValueError(f"{path}: column {column!r} has no value in any of its {len(gaps)} rows, nothing to interpolate from")
    rows = np.arange(len(values))
    values[gaps] = np.interp(rows[gaps], rows[~gaps], values[~gaps])
    return int(gaps.sum())


# ---- splitting -----------------------------------------------------------------------------------------------------------


def chronological_split(n: int, parts: Sequence[float] = (0.7, 0.15, 0.15)) -> tuple[slice, ...]:
    """Cut n rows into consecutive parts, oldest first: (train, validation, test), or (train, test).  Never shuffled.

    ``parts``: fractions that sum to 1 (floats), or numbers of rows that sum to n (ints).
    Raises ValueError where they do not sum up or a part would be empty, TypeError where the two kinds are mixed.
    """
    n = _count("n", n)
    if len(parts) < 2:
        raise ValueError(f"parts is {tuple(parts)}: expected at least two, a training part and a test part")
    if all(isinstance(p, (int, np.integer)) for p in parts):
        ends = np.cumsum(parts)
        if ends[-1] != n:
            raise ValueError(f"parts {tuple(parts)} sum to {ends[-1]} rows but there are {n}")
    elif all(isinstance(p, (float, np.floating)) for p in parts):
        total = float(np.sum(parts))
        if not abs(total - 1) < 1e-9:
            raise ValueError(f"parts {tuple(parts)} sum to {total:g}: fractions sum to 1")
        ends = np.rint(np.cumsum(parts) * n).astype(int)
    else:
        raise TypeError(f"parts {tuple(parts)} mix whole numbers and fractions: expected all of one kind")
    return _slices([0, *map(int, ends)], f"{n} rows cut into {tuple(parts)}")


def split_at(times: Any, *boundaries: str | int) -> tuple[slice, ...]:
    """Cut a series by time: each boundary is the *last* time of its part, so split_at(times, 1920) trains up to and with 1920.

    times (T,) ISO dates as text, ascending: "1920", "1920-05", "1920-05-31" or "1920-05-31 12:00".  A boundary may be coarser:
    the boundary "1920" takes all of 1920's months.  One slice more comes back than there are boundaries.
    Raises ValueError where times are not ISO dates in order, a boundary is finer than the times, or a part would be empty.
    """
    texts = [str(t) for t in times]
    if not boundaries:
        raise ValueError("split_at needs at least one boundary: the last time of the training part")
    if not texts:
        raise ValueError("times is empty: there is nothing to split")
    for t in texts:
        if not ISO_TIME.fullmatch(t) or len(t) != len(texts[0]):
            raise ValueError(f"times has {texts[0]!r} and {t!r}: expected ISO dates of one length, such as 1920 or 1920-05-31")
    if any(after <= before for before, after in pairwise(texts)):
        raise ValueError("times do not ascend: sort the rows from old to new first")
    ends = [0]
    for b in map(str, boundaries):
        if not ISO_TIME.fullmatch(b):
            raise ValueError(f"the boundary {b!r} is not an ISO date, such as 1920 or 1920-05-31")
        if len(b) > len(texts[0]):
            raise ValueError(f"the boundary {b!r} is finer than the times, such as {texts[0]!r}")
        ends.append(sum(t[: len(b)] <= b for t in texts))
    cut = f"times {texts[0]} to {texts[-1]} cut at {', '.join(map(str, boundaries))}"
    return _slices([*ends, len(texts)], cut)


def _slices(ends: list[int], what: str) -> tuple[slice, ...]:
    for i, (start, stop) in enumerate(pairwise(ends)):
        if stop <= start:
            raise ValueError(f"{what}: part {i + 1} of {len(ends) - 1} would be empty")
    return tuple(slice(start, stop) for start, stop in pairwise(ends))


# ---- windows -------------------------------------------------------------------------------------------------------------


class Windows(NamedTuple):
    """Inputs, their targets, and the row at which each window's first target stands."""

    x: Array  # (n, width, D)     rows at - width ... at - 1;  x.swapaxes(0, 1) is the (T, N, D) that cells and layers take
    y: Array  # (n, horizon * K)  rows at ... at + horizon - 1;  y.reshape(n, horizon, K) has step and column apart
    at: Any  # (n,)               NumPy integers; series.times[at] is when the (first) target was measured


def windows(
    values: Array,
    width: int,
    horizon: int = 1,
    targets: Sequence[int] | None = None,
    stride: int = 1,
    part: slice | None = None,
) -> Windows:
    """Cut values (T, D) into every window of ``width`` input rows and the ``horizon`` target rows right after them.

        row        0  1  2  3  4  5  6          width 3, horizon 2
        window 0  [x  x  x] y  y                at 3
        window 1     [x  x  x] y  y             at 4
        window 2        [x  x  x] y  y          at 5

    ``targets``: the K columns to be predicted, by index; None for all D.
    ``stride``: rows from one window to the next.
    ``part``: keep the windows *all of whose targets* lie in these rows; their inputs may reach back before it.  This is how a
    one-step forecast is tested honestly: the first test year is predicted from the last training years, which were known
    by then.  ``windows(values[part], ...)`` would start with no past and lose the part's first ``width`` rows as targets.

    x and y are copies, of values' type.  Raises ValueError, with both numbers, where no window fits, and where values is not
    (T, D) or holds a NaN or an infinity; TypeError where it is not of a floating type.
    """
    require_series("values", values)
    T, D = values.shape
    width, horizon, stride = (_count(n, v) for n, v in (("width", width), ("horizon", horizon), ("stride", stride)))
    if width + horizon > T:
        raise ValueError(f"values has {T} rows but a window needs width {width} + horizon {horizon} = {width + horizon}")
    start, stop = (0, T) if part is None else _rows_of(part, T)
    at = np.arange(max(start, width), stop - horizon + 1, stride)
    if not len(at):
        raise ValueError(
            f"no window has all its targets in rows {start} to {stop - 1}: the first row with {width} rows before it is row "
            f"{width}, and horizon {horizon} needs {horizon} target rows"
        )
    chosen = _target_columns(targets, D)
    # All indices at once: row r of window i is at[i] - width + r.  Nothing from row at[i] on is among them.
    inputs = np.asarray(at[:, None] + np.arange(-width, 0), like=values)
    outputs = np.asarray(at[:, None] + np.arange(horizon), like=values)
    return Windows(values[inputs], values[outputs][:, :, chosen].reshape(len(at), horizon * len(chosen)), at)


def require_series(name: str, values: Array) -> None:
    """ValueError or TypeError unless values is (T, D), of a floating type and finite."""
    require_floating(name, values)
    if values.ndim != 2:
        hint = f": {name}[:, None] has one column" if values.ndim == 1 else ""
        raise ValueError(f"{name} is {tuple(values.shape)}: expected (T, D), a row for each time{hint}")
    if 0 in values.shape:
        raise ValueError(f"{name} is {tuple(values.shape)}: it needs at least one row and one column")
    finite = np.isfinite(values)
    if not finite.all():
        row, column = divmod(int(np.argmin(finite)), values.shape[1])
        raise ValueError(f"{name} has a {float(values[row, column])} in row {row}, column {column}: expected finite numbers")


def _count(name: str, value: int, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{name} is {value!r}: expected a whole number")
    if value < least:
        raise ValueError(f"{name} is {value}: expected at least {least}")
    return int(value)


def _rows_of(part: slice, T: int) -> tuple[int, int]:
    """First row and end of a slice that lies inside T rows; slicing itself would clip one that does not without a word."""
    if part.step not in (None, 1):
        raise ValueError(f"part is {part}: expected consecutive rows, no step")
    if max(part.start or 0, part.stop or 0) > T:
        raise ValueError(f"part is {part} but values has {T} rows: was it cut for another series?")
    start, stop, _ = part.indices(T)
    return start, stop


def _target_columns(targets: Sequence[int] | None, D: int) -> list[int]:
    if targets is None:
        return list(range(D))
    if isinstance(targets, (int, np.integer)):
        raise TypeError(f"targets is {targets}: expected a list of column indices, [{targets}]")
    chosen = [_count("targets", column, least=0) for column in targets]
    if not chosen or max(chosen) >= D or len(set(chosen)) < len(chosen):
        raise ValueError(f"targets is {chosen} but values has {D} columns: expected some of 0 to {D - 1}, each once")
    return chosen


# ---- scaling -------------------------------------------------------------------------------------------------------------


class Scaler:
    """z = (x - offset) / scale with one offset and one scale a column, both learned from the *training* rows alone.

    ``offset``, ``scale`` (D,) float64 once ``fit`` has run, whatever the type of the data: long sums need the digits.
    Predictions of some columns go back through a scaler fitted to those alone: ``Standardizer().fit(values[train][:, [2]])``.
    """

    offset: Array | None = None
    scale: Array | None = None

    def fit(self, values: Array, columns: Sequence[str] | None = None) -> Self:
        """Learn from values (T, D), the training part; ``columns``, D names, are for messages.  Returns itself.

        Raises ValueError where a column is constant (nothing to divide by) or values is not (T, D) and finite.
        """
        require_series("values", values)
        D = values.shape[1]
        if columns is not None and len(columns) != D:
            raise ValueError(f"columns has {len(columns)} names but values has {D} columns")
        low, high = values.min(axis=0), values.max(axis=0)
        offset, scale = self._learn(values.astype(np.float64), low.astype(np.float64), high.astype(np.float64))
        for j in range(D):
            name = f"column {j}" if columns is None else f"column {j} ({columns[j]})"
            if low[j] == high[j]:
                raise ValueError(f"{name} is {float(low[j])} in all {len(values)} rows, no spread to scale by: leave it out")
            if not 0 < float(scale[j]) < np.inf:
                spread = f"from {float(low[j])} to {float(high[j])}"
                raise ValueError(f"{name} runs {spread}, a spread that float64 cannot scale by")
        self.offset, self.scale = offset, scale
        return self

    def _learn(self, values: Array, low: Array, high: Array) -> tuple[Array, Array]:
        """values (T, D) and its extremes (D,), all float64, to offset and scale (D,)."""
        raise NotImplementedError

    def transform(self, x: Array) -> Array:
        """x (..., D) in its own unit to z (..., D), of x's type.  Raises RuntimeError before ``fit``."""
        offset, scale = self._learned("x", x)
        return (x - offset) / scale

    def inverse_transform(self, z: Array) -> Array:
        """z (..., D) back to x (..., D) in its own unit, of z's type.  Raises RuntimeError before ``fit``."""
        offset, scale = self._learned("z", z)
        return z * scale + offset

    def _learned(self, name: str, x: Array) -> tuple[Array, Array]:
        """offset and scale in x's type and beside x."""
        if self.offset is None or self.scale is None:
            raise RuntimeError(f"this {type(self).__name__} has not been fitted: call fit(values[train]) first")
        require_floating(name, x)
        D = len(self.offset)
        if not x.ndim or x.shape[-1] != D:
            raise ValueError(f"{name} is {tuple(x.shape)} but the scaler was fitted to {D} columns: expected (..., {D})")
        return np.asarray(self.offset, dtype=x.dtype, like=x), np.asarray(self.scale, dtype=x.dtype, like=x)


class Standardizer(Scaler):
    """Each column to mean 0 and standard deviation 1 (over T, not T - 1) on the training rows."""

    def _learn(self, values: Array, low: Array, high: Array) -> tuple[Array, Array]:
        # A deviation that overflows is told by fit in a sentence.
        with np.errstate(over="ignore", invalid="ignore"):
            return values.mean(axis=0), values.std(axis=0)


class MinMaxScaler(Scaler):
    """Each column to ``feature_range``, (0, 1) unless given, on the training rows; later rows may well lie outside it."""

    def __init__(self, feature_range: tuple[float, float] = (0.0, 1.0)) -> None:
        """Raises ValueError unless the range ascends."""
        if not -np.inf < feature_range[0] < feature_range[1] < np.inf:
            raise ValueError(f"feature_range is {feature_range}: expected a lower and a higher finite number")
        self.feature_range = feature_range

    def _learn(self, values: Array, low: Array, high: Array) -> tuple[Array, Array]:
        bottom, top = self.feature_range
        with np.errstate(over="ignore", invalid="ignore"):
            scale = (high - low) / (top - bottom)
            return low - bottom * scale, scale  # so that low goes to bottom and high to top


# ---- minibatches ---------------------------------------------------------------------------------------------------------


def minibatches(n: int, batch_size: int, rng: np.random.Generator | None = None) -> Iterator[Any]:
    """Index arrays (batch_size,) that go once through n samples, the last one shorter where n is no multiple.

    Shuffled by ``rng`` where one is given, else in order.  Shuffling *windows* is harmless: each keeps its own inner order,
    and which of them train was settled before.
    Raises ValueError or TypeError at the call, not at the first batch.
    """
    n, batch_size = _count("n", n), _count("batch_size", batch_size)
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng is a {type(rng).__name__}: expected a numpy.random.Generator, numpy.random.default_rng(seed)")
    order = np.arange(n) if rng is None else rng.permutation(n)
    return (order[start : start + batch_size] for start in range(0, n, batch_size))
