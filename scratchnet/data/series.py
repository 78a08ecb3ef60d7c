"""Reading a series from a CSV file: every doubtful cell is an error with line, column and text."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from math import isinf, isnan, nan
from os import PathLike
from pathlib import Path

import numpy as np

from scratchnet.arrays import Array, require_one_of
from scratchnet.errors import InvalidValueError, MissingFileError

MISSING = ("error", "interpolate", "drop")
MISSING_MARKS = ("", "nan", "na", "n/a", "null")
TIME_NAMES = ("date", "datetime", "time", "timestamp", "year")
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
ISO_TIME = re.compile(r"\d{4}(-\d\d(-\d\d([T ].*)?)?)?")


@dataclass(frozen=True, eq=False)
class Series:
    """One or more quantities measured at the same times, oldest row first."""

    name: str
    times: Array  # (T,) NumPy array of str, as the file has them
    values: Array  # (T, K) float64
    columns: tuple[str, ...]  # K names
    unit: str = ""
    source: str = ""
    licence: str = ""
    note: str = ""  # how reading changed the data: gaps filled, rows dropped, columns left out


def load_csv(
    path: str | PathLike[str],
    columns: str | Sequence[str] | None = None,
    time: str | None = None,
    missing: str = "error",
    delimiter: str | None = None,
) -> Series:
    """Read a CSV file with a header line into a Series with values (T, K) float64.

    Where all times are numbers, or ISO dates of one length, they must run from old to new, or a
    split by time would be meaningless; for other formats ``note`` says that the order was not
    checked.

    Parameters
    ----------
    path : UTF-8, with or without a byte order mark
    columns : names of the value columns, in the order of ``values``. None takes every column that
        holds a number; columns of text are left out, and ``note`` names them
    time : the column whose text becomes ``times``. None takes the first column called date,
        datetime, time, timestamp or year (in any case) that is not in ``columns``; "" takes none.
        Without one, rows are numbered "0", "1", ...
    missing : what happens at an empty cell, or one that says NaN, NA, N/A or null. "error" stops;
        "interpolate" fills it on the straight line between its neighbours *in the file* (as if rows
        were evenly spaced) and repeats the nearest value at the ends; "drop" leaves the row out,
        which leaves a jump in time. ``note`` counts what was filled or dropped. A gap at the end of
        the training part is filled from the row after it: check the gaps before you split there
    delimiter : one character; None detects a comma, a semicolon or a tab in the header

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        With the file, the line, the column and the text: an empty file, a header that is missing or
        names a column twice, an unknown or repeated column, a row of another length, a cell that is
        not a number or is infinite, a missing cell, a column without numbers, times that do not
        ascend or are not in the calendar.
    """
    path = Path(path)
    require_one_of("missing", missing, MISSING)
    header, rows = _read_rows(path, delimiter)
    asked = (columns,) if isinstance(columns, str) else None if columns is None else tuple(columns)
    time = _time_column(path, header, time, asked)
    notes = []
    if asked is None:
        asked, text = _numeric_columns(path, header, rows, time)
        notes += [f"left out, not a number: {', '.join(text)}"] if text else []
    _check_asked(path, header, asked, time)

    at = [header.index(name) for name in asked]
    values = np.array(
        [[_cell(path, line, header[j], row[j], missing) for j in at] for line, row in rows]
    )
    times = [str(i) for i in range(len(rows))]
    if time:
        times = [row[header.index(time)] for _, row in rows]
        unchecked = _check_times(path, time, times, [line for line, _ in rows])
        notes += [unchecked] if unchecked else []
    gaps = np.isnan(values)
    if missing == "drop" and gaps.any():
        keep = ~gaps.any(axis=1)
        if not keep.any():
            raise InvalidValueError(
                f"{path}: every one of the {len(rows)} rows has a missing value, dropping them"
                " leaves nothing"
            )
        values, times = values[keep], [t for t, kept in zip(times, keep) if kept]
        dropped = len(keep) - int(keep.sum())
        notes.append(f"{dropped} of {len(keep)} rows were dropped for a missing value")
    elif missing == "interpolate":
        for k, name in enumerate(asked):
            if gaps[:, k].any():
                _interpolate(path, name, values[:, k], gaps[:, k])
                missed = f"{int(gaps[:, k].sum())} of {len(gaps)} values of {name} were missing"
                notes.append(f"{missed}, filled by linear interpolation")
    note = "; ".join(notes)
    return Series(path.stem, np.array(times), values, asked, source=str(path), note=note)


def _read_rows(path: Path, delimiter: str | None) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row with its line number.

    Cells are stripped, blank lines left out, and all rows are as long as the header.
    """
    if path.is_dir():
        raise InvalidValueError(f"{path} is a folder: expected a CSV file")
    if not path.exists():
        raise MissingFileError(f"there is no file {path}")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValueError(
            f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8"
        ) from None
    if not text.strip():
        raise InvalidValueError(f"{path} is empty: expected a header line and rows")
    if delimiter is None:
        delimiter = _find_delimiter(path, text.lstrip("\r\n").splitlines()[0])
    elif len(delimiter) != 1:
        raise InvalidValueError(f"delimiter is {delimiter!r}: expected one character")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    records: list[tuple[int, list[str]]] = []
    line = 1
    try:
        for fields in reader:
            records.append((line, [field.strip() for field in fields]))
            line = reader.line_num + 1
    except csv.Error as error:
        raise InvalidValueError(f"{path}, line {line}: {error}") from None
    while not records[-1][1]:
        records.pop()
    first = next(i for i, (_, fields) in enumerate(records) if fields)
    header, rows = records[first][1], records[first + 1 :]
    for j, name in enumerate(header):
        if name and name in header[:j]:
            raise InvalidValueError(
                f"{path}: the header names {name!r} twice (columns {header.index(name) + 1} and"
                f" {j + 1})"
            )
    # In a file of one column a blank line is that column's cell, and it is empty.
    rows = [(line, fields or [""]) for line, fields in rows if fields or len(header) == 1]
    if not rows:
        raise InvalidValueError(f"{path} has a header ({', '.join(header)}) but no rows")
    for line, fields in rows:
        if len(fields) != len(header):
            raise InvalidValueError(
                f"{path}, line {line} has {len(fields)} fields but the header has {len(header)}"
            )
    return header, rows


def _find_delimiter(path: Path, header: str) -> str:
    """Comma, semicolon or tab: the one that splits the header line into the most fields."""
    fields = {d: len(next(csv.reader([header], delimiter=d))) for d in ",;\t"}
    best = [d for d in fields if fields[d] == max(fields.values())]
    if len(best) > 1 and max(fields.values()) > 1:
        raise InvalidValueError(
            f"{path}: the header {header!r} could be cut at {' or '.join(map(repr, best))}: give"
            " the delimiter"
        )
    return best[0]


def _time_column(
    path: Path, header: list[str], time: str | None, asked: tuple[str, ...] | None
) -> str:
    """The name of the time column, "" for none."""
    if time is None:
        free = (name for name in header if name not in (asked or ()))
        return next((name for name in free if name.lower() in TIME_NAMES), "")
    if time and time not in header:
        raise InvalidValueError(
            f"{path} has no column {time!r} for the time: its columns are {', '.join(header)}"
        )
    return time


def _numeric_columns(
    path: Path, header: list[str], rows: list[tuple[int, list[str]]], time: str
) -> tuple[tuple[str, ...], list[str]]:
    """The columns with at least one number (or only missing cells), and the columns of text.

    One number is enough, so that a stray word among numbers becomes an error, not a column that is
    silently left out. Numbers with a decimal comma count too, so that they become an error.
    """
    if all(_is_value(name) for name in header):
        raise InvalidValueError(
            f"{path}: the first line holds numbers ({', '.join(header)}), not names: add a header"
            " line"
        )
    numeric: list[str] = []
    text: list[str] = []
    for j, name in enumerate(header):
        if time and name == time:
            continue
        if not name:
            raise InvalidValueError(
                f"{path}: column {j + 1} of the header has no name: name it, or say which columns"
                " to read"
            )
        cells = [row[j] for _, row in rows]
        words = [cell for cell in cells if _number(cell) is None]
        decimal_commas = all(map(DECIMAL_COMMA.fullmatch, words))  # also where there are no words
        is_text = not decimal_commas and not any(map(_is_value, cells))
        (text if is_text else numeric).append(name)
    if not numeric:
        first = f"; {time!r} is the time"
        if text:
            first = f"; {text[0]!r} begins with {rows[0][1][header.index(text[0])]!r}"
        raise InvalidValueError(
            f"{path} has no column of numbers: its columns are {', '.join(header)}{first}"
        )
    return tuple(numeric), text


def _check_asked(path: Path, header: list[str], asked: tuple[str, ...], time: str) -> None:
    if not asked:
        raise InvalidValueError(f"columns is empty: expected some of {', '.join(header)}")
    for i, name in enumerate(asked):
        if name not in header:
            raise InvalidValueError(
                f"{path} has no column {name!r}: its columns are {', '.join(header)}"
            )
        if name in asked[:i]:
            raise InvalidValueError(f"columns asks for {name!r} twice")
        if name == time:
            raise InvalidValueError(f"{name!r} is both the time and a value column: choose one")


def _number(text: str) -> float | None:
    """The number in a cell; NaN for a missing one, None for other text."""
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
        hint = " (decimals are written with a point)" if DECIMAL_COMMA.fullmatch(text) else ""
        raise InvalidValueError(f"{where}: {text!r} is not a number{hint}")
    if isinf(number):
        raise InvalidValueError(f"{where}: {text!r} is infinite")
    if isnan(number) and missing == "error":
        what = f"says {text!r}" if text else "is empty"
        raise InvalidValueError(
            f"{where} {what}: missing='interpolate' fills it from its neighbours, missing='drop'"
            " drops the row"
        )
    return number


def _check_times(path: Path, column: str, times: list[str], lines: list[int]) -> str:
    """Check that no time is empty, and that numbers, or ISO dates, which sort as text, ascend.

    The order of other formats cannot be checked without guessing: returns a note that says so, or
    "".
    """
    if "" in times:
        raise InvalidValueError(
            f"{path}, line {lines[times.index('')]}: the time column {column!r} is empty"
        )
    if all(map(_is_value, times)):
        ascending = [float(old) < float(new) for old, new in pairwise(times)]
    elif len(set(map(len, times))) > 1 or not all(ISO_TIME.fullmatch(t) for t in times):
        return (
            f"order not checked: the times of {column}, such as {times[0]}, are neither ISO dates"
            " of one length nor numbers"
        )
    else:
        for t, line in zip(times, lines):
            _require_date(path, line, t)
        ascending = [old < new for old, new in pairwise(times)]
    for (before, after), ascends, line in zip(pairwise(times), ascending, lines[1:]):
        if not ascends:
            raise InvalidValueError(
                f"{path}, line {line}: {after} comes after {before}, but rows must run from old to"
                " new, each time once (time='' takes no column as the time)"
            )
    return ""


def _require_date(path: Path, line: int, text: str) -> None:
    """ValueError unless year, month and day, as far as they are given, are in the calendar."""
    try:
        date.fromisoformat((text + "-01-01")[:10])  # a year or a month begins with its first day
    except ValueError as error:
        raise InvalidValueError(f"{path}, line {line}: {text!r} is not a date: {error}") from None


def _interpolate(path: Path, column: str, values: Array, gaps: Array) -> None:
    """Fill values (T,) in place where gaps (T,) is True; the ends with the nearest value."""
    if gaps.all():
        raise InvalidValueError(
            f"{path}: column {column!r} has no value in any of its {len(gaps)} rows, nothing to"
            " interpolate from"
        )
    rows = np.arange(len(values))
    values[gaps] = np.interp(rows[gaps], rows[~gaps], values[~gaps])
