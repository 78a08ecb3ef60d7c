"""Reading a series from any CSV file: every doubt about a cell is an error with its line, its
column and its text."""

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
from typing import Any

import numpy as np

from scratchnet.arrays import Array

MISSING = ("error", "interpolate", "drop")
MISSING_MARKS = ("", "nan", "na", "n/a", "null")
TIME_NAMES = ("date", "datetime", "time", "timestamp", "year")
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
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
    # what was done to the data on the way in: gaps filled, rows dropped, columns left out
    note: str = ""


def load_csv(
    path: str | PathLike[str],
    columns: str | Sequence[str] | None = None,
    time: str | None = None,
    missing: str = "error",
    delimiter: str | None = None,
) -> Series:
    """Read a CSV file with a header line (UTF-8, with or without a byte order mark) into a Series
    with values (T, K) float64.

    ``columns``: the value columns by name, in the order wanted. None takes every column that holds
    a number; columns of text are left out, and ``note`` names them. ``time``: the column whose text
    becomes ``times``. None takes the first column called date, datetime, time, timestamp or year
    (in any case) unless ``columns`` asks for it as a value; "" takes none. Without one, rows are
    numbered "0", "1", ... Where all times are numbers, or ISO dates of one length, they must run
    from old to new, or a split by time is meaningless; of other ways to write a time ``note`` says
    that nobody has looked. ``missing``: what an empty cell, or one that says NaN, NA, N/A or null,
    does. "error" stops; "interpolate" fills it on the straight line between its neighbours *in the
    file* (which takes rows to be evenly spaced) and holds the nearest value at the ends; "drop"
    leaves the row out, which leaves a jump in time. ``note`` counts what was filled or dropped. A
    gap that ends the training part is filled with the help of the row after it: look where your
    gaps lie before you split there. ``delimiter``: None finds out from the header whether it is a
    comma, a semicolon or a tab.

    Raises FileNotFoundError, or ValueError with the file, the line, the column and the text: an
    empty file, a header that is missing or names a column twice, an unknown column or one asked for
    twice, a row of another length, a cell that is not a number or is infinite, a missing cell, a
    column with no number, times that do not ascend or are no date of any calendar.
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
            raise ValueError(
                f"{path}: every one of the {len(rows)} rows has a missing value, dropping them"
                " leaves nothing"
            )
        values, times = values[keep], [t for t, kept in zip(times, keep) if kept]
        notes.append(
            f"{len(keep) - int(keep.sum())} of {len(keep)} rows were dropped for a missing value"
        )
    elif missing == "interpolate":
        for k, name in enumerate(asked):
            if gaps[:, k].any():
                filled = _interpolate(path, name, values[:, k], gaps[:, k])
                notes.append(
                    f"{filled} of {len(gaps)} values of {name} were missing, filled by linear"
                    " interpolation"
                )
    return Series(
        path.stem, np.array(times), values, asked, source=str(path), note="; ".join(notes)
    )


def _read_rows(path: Path, delimiter: str | None) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and each row with its line number: cells stripped, blank lines left out, all as
    long as the header."""
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
            raise ValueError(
                f"{path}: the header names {name!r} twice (columns {header.index(name) + 1} and"
                f" {j + 1})"
            )
    # In a file of one column a blank line is that column's cell, and it is empty.
    rows = [(line, fields or [""]) for line, fields in rows if fields or len(header) == 1]
    if not rows:
        raise ValueError(f"{path} has a header ({', '.join(header)}) but no rows")
    for line, fields in rows:
        if len(fields) != len(header):
            raise ValueError(
                f"{path}, line {line} has {len(fields)} fields but the header has {len(header)}"
            )
    return header, rows


def _find_delimiter(path: Path, header: str) -> str:
    """The one of comma, semicolon and tab that cuts the header line into most fields."""
    fields = {d: len(next(csv.reader([header], delimiter=d))) for d in ",;\t"}
    best = [d for d in fields if fields[d] == max(fields.values())]
    if len(best) > 1 and max(fields.values()) > 1:
        raise ValueError(
            f"{path}: the header {header!r} could be cut at {' or '.join(map(repr, best))}: give"
            " the delimiter"
        )
    return best[0]


def _time_column(
    path: Path, header: list[str], time: str | None, asked: tuple[str, ...] | None
) -> str:
    """The name of the time column, "" for none."""
    if time is None:
        likely = [
            name for name in header if name.lower() in TIME_NAMES and name not in (asked or ())
        ]
        return likely[0] if likely else ""
    if time and time not in header:
        raise ValueError(
            f"{path} has no column {time!r} for the time: its columns are {', '.join(header)}"
        )
    return time


def _numeric_columns(
    path: Path, header: list[str], rows: list[tuple[int, list[str]]], time: str
) -> tuple[tuple[str, ...], list[str]]:
    """The columns in which at least one cell is a number (or all are missing), and the others; the
    time column in neither.

    One number is enough, so that a stray word in a column of numbers is an error later and not a
    column that vanishes. Numbers with a decimal comma are numbers here, so that they, too, are an
    error.
    """
    if all(_is_value(name) for name in header):
        raise ValueError(
            f"{path}: the first line holds numbers ({', '.join(header)}), not names: add a header"
            " line"
        )
    numeric: list[str] = []
    text: list[str] = []
    for j, name in enumerate(header):
        if time and name == time:
            continue
        if not name:
            raise ValueError(
                f"{path}: column {j + 1} of the header has no name: name it, or say which columns"
                " to read"
            )
        cells = [row[j] for _, row in rows]
        words = [cell for cell in cells if _number(cell) is None]
        is_text = (
            bool(words)
            and not any(map(_is_value, cells))
            and not all(map(DECIMAL_COMMA.fullmatch, words))
        )
        (text if is_text else numeric).append(name)
    if not numeric:
        first = (
            f"; {text[0]!r} begins with {rows[0][1][header.index(text[0])]!r}"
            if text
            else f"; {time!r} is the time"
        )
        raise ValueError(
            f"{path} has no column of numbers: its columns are {', '.join(header)}{first}"
        )
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
        hint = " (decimals are written with a point)" if DECIMAL_COMMA.fullmatch(text) else ""
        raise ValueError(f"{where}: {text!r} is not a number{hint}")
    if isinf(number):
        raise ValueError(f"{where}: {text!r} is infinite")
    if isnan(number) and missing == "error":
        what = f"says {text!r}" if text else "is empty"
        raise ValueError(
            f"{where} {what}: missing='interpolate' fills it from its neighbours, missing='drop'"
            " drops the row"
        )
    return number


def _check_times(path: Path, column: str, times: list[str], lines: list[int]) -> str:
    """No time may be empty; numbers, and ISO dates, which sort as text, must ascend.

    Other ways to write a time cannot be put in order without guessing: the note returned says so,
    "" where there is none.
    """
    if "" in times:
        raise ValueError(
            f"{path}, line {lines[times.index('')]}: the time column {column!r} is empty"
        )
    order: list[Any] = times
    if all(map(_is_value, times)):
        order = [_number(t) for t in times]
    elif len(set(map(len, times))) > 1 or not all(ISO_TIME.fullmatch(t) for t in times):
        return (
            f"order not checked: the times of {column}, such as {times[0]}, are neither ISO dates"
            " of one length nor numbers"
        )
    else:
        for t, line in zip(times, lines):
            _require_date(path, line, t)
    for (before, after), (old, new), line in zip(pairwise(times), pairwise(order), lines[1:]):
        if not old < new:
            raise ValueError(
                f"{path}, line {line}: {after} comes after {before}, but rows must run from old to"
                " new, each time once (time='' takes no column as the time)"
            )
    return ""


def _require_date(path: Path, line: int, text: str) -> None:
    """ValueError unless year, month and day, as far as they are given, are in the calendar."""
    try:
        date.fromisoformat((text + "-01-01")[:10])  # a year or a month begins with its first day
    except ValueError as error:
        raise ValueError(f"{path}, line {line}: {text!r} is no date: {error}") from None


def _interpolate(path: Path, column: str, values: Array, gaps: Array) -> int:
    """Fill values (T,) in place where gaps (T,) is True, the ends with the nearest value; returns
    how many those are."""
    if gaps.all():
        raise ValueError(
            f"{path}: column {column!r} has no value in any of its {len(gaps)} rows, nothing to"
            " interpolate from"
        )
    rows = np.arange(len(values))
    values[gaps] = np.interp(rows[gaps], rows[~gaps], values[~gaps])
    return int(gaps.sum())
