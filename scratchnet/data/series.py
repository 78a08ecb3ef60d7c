"""Reading a series from a CSV file: every doubtful cell is an error with line, column and text."""

import csv
import io
import os
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import isnan, nan
from pathlib import Path

import numpy as np

from scratchnet.arguments import checked
from scratchnet.arrays import Array, require_one_of
from scratchnet.data.missing import fill_from_past, first_measured
from scratchnet.data.times import Step, read_times, require_even, with_absent_rows
from scratchnet.errors import FileError, InvalidValueError, MissingFileError
from scratchnet.files import require_path

MISSING = ("error", "fill", "drop")
MISSING_MARKS = ("", "nan", "na", "n/a", "null")
# numbers that are often written where nothing was measured
SENTINELS = (-99.0, -999.0, -9999.0, -99999.0, -99.9, -999.9, 999.0, 9999.0, 99999.0)
TIME_NAMES = ("date", "datetime", "time", "timestamp", "year")
DECIMAL_COMMA = re.compile(r"[-+]?\d+,\d+")
THOUSANDS = re.compile(r"[-+]?[1-9]\d{0,2}\.\d{3}")
LONGEST_LINE = 1 << 20  # characters; a longer one is no line of a table


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
    # (T, K) True where nothing was measured and ``values`` has the last value before; None: nowhere
    filled: Array | None = None

    @property
    def measured(self) -> Array:
        """``values`` with NaN where nothing was measured, as forecasters and backtests take them:
        what is filled is neither learned nor scored."""
        return self.values if self.filled is None else np.where(self.filled, nan, self.values)


@checked
def load_csv(
    path: str | os.PathLike[str],
    columns: str | Sequence[str] | None = None,
    time: str | None = None,
    missing: str = "error",
    delimiter: str | None = None,
) -> Series:
    """Read a CSV file with a header line into a Series with values (T, K) float64.

    Where times are numbers or ISO dates they must run from old to new at even distances, or a
    window of rows would span another time than the others; for other formats ``note`` says that
    this was not checked.

    Parameters
    ----------
    path : UTF-8, with or without a byte order mark
    columns : names of the value columns, in the order of ``values``. None takes every column that
        holds a number; columns of text are left out, and ``note`` names them
    time : the column whose text becomes ``times``. None takes the first column called date,
        datetime, time, timestamp or year (in any case) that is not in ``columns``; "" takes none.
        Without one, rows are numbered "0", "1", ...
    missing : what happens at an empty cell, or one that says NaN, NA, N/A or null, and at a row
        whose time is absent from the file. "error" stops; "fill" puts absent rows in, and takes the
        last value before a gap, never one after it (rows before a column's first value are left
        out); ``Series.filled`` says where. "drop" leaves the row out and takes the times as they
        are, which leaves jumps in time. ``note`` counts what was filled or dropped
    delimiter : one character; None detects a comma, a semicolon or a tab in the header

    Raises
    ------
    FileNotFoundError
        Where there is no such file.
    ValueError
        With the file, the line, the column and the text: an empty file, a header that is missing or
        names a column twice, an unknown or repeated column, a row of another length, a cell that is
        not a number or is infinite, a missing cell, a column without numbers, times that do not
        ascend, are not in the calendar or jump.
    """
    path = require_path(path)
    require_one_of("missing", missing, MISSING)
    asked = (columns,) if isinstance(columns, str) else None if columns is None else tuple(columns)
    table = _read(path, delimiter, asked, time)
    notes = []
    if asked is None:
        asked, text = _numeric_columns(path, table)
        notes += [f"left out, not a number: {', '.join(text)}"] if text else []
    chosen = [table.columns[name] for name in asked]
    _check_cells(path, chosen, missing)
    values = np.stack([np.frombuffer(column.numbers) for column in chosen], axis=1)
    notes += [said for column in chosen for said in _doubts(column, table.delimiter)]
    if table.time is None:
        times = [str(t) for t in range(len(values))]
    else:
        times, where = table.time.texts, _Lines(path, table.lines)
        if "" in times:
            at = where[times.index("")]
            raise InvalidValueError(f"{at}: the time column {table.time.name!r} is empty")
        step = read_times(times, where)
        if isinstance(step, str):
            notes.append(step)
        elif missing == "fill":
            times, values = _with_absent(step, times, where, values, notes)
        elif missing == "error":
            require_even(step, times, where)
        elif len(step.jumps):
            t = int(step.jumps[0])
            notes.append(
                f"the times jump {len(step.jumps)} times, first from {times[t]} to {times[t + 1]}"
            )
    filled = None
    gaps = np.isnan(values)
    if missing == "drop" and gaps.any():
        keep: Array = np.asarray(~gaps.any(axis=1))
        if not keep.any():
            raise InvalidValueError(
                f"{path}: every one of the {len(gaps)} rows has a missing value, dropping them"
                " leaves nothing"
            )
        values, times = values[keep], [t for t, kept in zip(times, keep) if kept]
        dropped = len(keep) - int(keep.sum())
        notes.append(f"{dropped} of {len(keep)} rows were dropped for a missing value")
    elif missing == "fill" and gaps.any():
        times, values, filled = _filled(path, asked, times, values, notes)
    return Series(
        path.stem,
        np.array(times),
        values,
        asked,
        source=str(path),
        note="; ".join(notes),
        filled=filled,
    )


def _with_absent(
    step: Step, times: list[str], where: Sequence[str], values: Array, notes: list[str]
) -> tuple[list[str], Array]:
    """The rows with those that are absent from the file, NaN."""
    made, rows = with_absent_rows(step, times, where)
    absent = rows < 0
    if absent.any():
        first = made[int(np.argmax(absent))]
        notes.append(f"{int(absent.sum())} rows were absent from the file, the first at {first}")
    return made, np.where(absent[:, None], nan, values[rows])


def _filled(
    path: Path, columns: tuple[str, ...], times: list[str], values: Array, notes: list[str]
) -> tuple[list[str], Array, Array]:
    """Times, values and where these were filled, from the first row on that can be filled."""
    gaps = np.isnan(values)
    for k, name in enumerate(columns):
        if gaps[:, k].all():
            raise InvalidValueError(
                f"{path}: column {name!r} has no value in any of its {len(gaps)} rows, nothing to"
                " fill from"
            )
        if gaps[:, k].any():
            missed = f"{int(gaps[:, k].sum())} of {len(gaps)} values of {name} were missing"
            notes.append(f"{missed}, filled with the last value before")
    first = first_measured(values)
    if first:
        notes.append(f"the first {first} rows were left out: nothing before them fills their gaps")
    return times[first:], fill_from_past(values[first:]), gaps[first:]


@dataclass(eq=False)
class _Column:
    """One column while it is read: its numbers, and what was seen that is none."""

    name: str
    numbers: "array[float]" = field(default_factory=lambda: array("d"))
    # (line, text) of the first cell of each kind
    word: tuple[int, str] | None = None
    empty: tuple[int, str] | None = None
    infinite: tuple[int, str] | None = None
    only_commas: bool = True  # every word is a number with a decimal comma
    any_value: bool = False
    points: int = 0  # cells with a decimal point, and those that could be thousands
    thousands: int = 0

    def add(self, text: str, line: int) -> None:
        """One more cell."""
        number = _number(text)
        if number is None:
            self.only_commas = self.only_commas and bool(DECIMAL_COMMA.fullmatch(text))
            self.word = self.word or (line, text)
            number = nan
        elif number - number != 0:  # NaN or infinite
            if isnan(number):
                self.empty = self.empty or (line, text)
            else:
                self.any_value, self.infinite = True, self.infinite or (line, text)
        else:
            self.any_value = True
            if "." in text:
                self.points += 1
                self.thousands += THOUSANDS.fullmatch(text) is not None
        self.numbers.append(number)


@dataclass(eq=False)
class _Time:
    """The time column while it is read."""

    name: str
    texts: list[str] = field(default_factory=list)

    def add(self, text: str, line: int) -> None:
        """One more cell."""
        self.texts.append(text)


@dataclass(eq=False)
class _Table:
    """What was read."""

    header: list[str]
    delimiter: str
    columns: dict[str, _Column]
    time: _Time | None
    lines: "array[int]"  # of each row
    first: list[str]  # the first row


class _Lines(Sequence[str]):
    """Where each row is from, in words, made when it is looked up."""

    def __init__(self, path: Path, lines: "array[int]") -> None:
        self.path, self.lines = path, lines

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, row: int) -> str:  # type: ignore[override]
        return f"{self.path}, line {self.lines[row]}"


def _read(
    path: Path, delimiter: str | None, asked: tuple[str, ...] | None, time: str | None
) -> _Table:
    """Read the file once, line by line, and keep numbers, not cells.

    Cells are stripped, blank lines left out, and all rows are as long as the header.
    """
    if os.path.isdir(path):
        raise InvalidValueError(f"{path} is a folder: expected a CSV file")
    if not os.path.exists(path):
        raise MissingFileError(f"there is no file {path}")
    if not os.path.isfile(path):
        raise InvalidValueError(f"{path} is a pipe or a device: expected a CSV file")
    if delimiter is not None and len(delimiter) != 1:
        raise InvalidValueError(f"delimiter is {delimiter!r}: expected one character")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _parsed(path, _lines_of(path, file), delimiter, asked, time)
    except UnicodeDecodeError:
        start = 0
        try:
            path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            start = error.start
        raise InvalidValueError(f"{path} is not UTF-8 (byte {start}): save it as UTF-8") from None
    except OSError as error:
        raise FileError(f"{path} cannot be read: {error.strerror}") from error


def _lines_of(path: Path, file: io.TextIOWrapper) -> Iterator[str]:
    """The lines; ValueError where one is too long to be one, or is not text."""
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        if len(line) == LONGEST_LINE:
            raise InvalidValueError(
                f"{path}, line {number} is longer than {LONGEST_LINE} characters: is it a table?"
            )
        if "\0" in line:
            raise InvalidValueError(f"{path}, line {number} holds a NUL byte: it is not text")
        yield line


def _parsed(
    path: Path,
    lines: Iterator[str],
    delimiter: str | None,
    asked: tuple[str, ...] | None,
    time: str | None,
) -> _Table:
    blank = 0
    for first in lines:
        if first.strip():
            break
        blank += 1
    else:
        raise InvalidValueError(f"{path} is empty: expected a header line and rows")
    line = blank + 1
    try:
        if delimiter is None:
            delimiter = _find_delimiter(path, first.rstrip("\r\n"))
        reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
        header = [cell.strip() for cell in next(reader)]
        table = _columns_of(path, header, delimiter, asked, time)
        wanted = [(header.index(name), column) for name, column in table.columns.items()]
        if table.time is not None:
            wanted.append((header.index(table.time.name), table.time))  # type: ignore[arg-type]
        line, width, waiting = blank + reader.line_num + 1, len(header), list[int]()
        for row in reader:
            if row:
                if len(row) != width:
                    raise InvalidValueError(
                        f"{path}, line {line} has {len(row)} fields but the header has {width}"
                    )
                # In a file of one column a blank line is that column's cell, and it is empty,
                # unless nothing follows it.
                for empty in waiting:
                    table.lines.append(empty)
                    for _, column in wanted:
                        column.add("", empty)
                waiting.clear()
                table.first = table.first or [cell.strip() for cell in row]
                table.lines.append(line)
                for j, column in wanted:
                    column.add(row[j].strip(), line)
            elif width == 1:
                waiting.append(line)
            line = blank + reader.line_num + 1
    except csv.Error as error:
        raise InvalidValueError(f"{path}, line {line}: {error}") from None
    if not table.lines:
        raise InvalidValueError(f"{path} has a header ({', '.join(header)}) but no rows")
    return table


def _columns_of(
    path: Path, header: list[str], delimiter: str, asked: tuple[str, ...] | None, time: str | None
) -> _Table:
    """An empty table with the columns to be read: those that were named, or all."""
    for j, name in enumerate(header):
        if name and name in header[:j]:
            raise InvalidValueError(
                f"{path}: the header names {name!r} twice (columns {header.index(name) + 1} and"
                f" {j + 1})"
            )
    time = _time_column(path, header, time, asked)
    if asked is None and all(_is_value(name) for name in header):
        raise InvalidValueError(
            f"{path}: the first line holds numbers ({', '.join(header)}), not names: add a header"
            " line"
        )
    if asked is not None:
        _check_asked(path, header, asked, time)
    elif "" in header:
        raise InvalidValueError(
            f"{path}: column {header.index('') + 1} of the header has no name: name it, or say"
            " which columns to read"
        )
    names = [name for name in header if name != time] if asked is None else asked
    columns = {name: _Column(name) for name in names}
    return _Table(header, delimiter, columns, _Time(time) if time else None, array("q"), [])


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


def _numeric_columns(path: Path, table: _Table) -> tuple[tuple[str, ...], list[str]]:
    """The columns with at least one number (or only missing cells), and the columns of text.

    One number is enough, so that a stray word among numbers becomes an error, not a column that is
    silently left out. Numbers with a decimal comma count too, so that they become an error.
    """
    numeric: list[str] = []
    text: list[str] = []
    for name, column in table.columns.items():
        is_text = not column.only_commas and not column.any_value
        (text if is_text else numeric).append(name)
    if not numeric:
        first = "" if table.time is None else f"; {table.time.name!r} is the time"
        if text:
            first = f"; {text[0]!r} begins with {table.first[table.header.index(text[0])]!r}"
        raise InvalidValueError(
            f"{path} has no column of numbers: its columns are {', '.join(table.header)}{first}"
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
    try:
        number = float(text)
    except ValueError:
        return nan if text.lower() in MISSING_MARKS else None
    # Python would read 1_0 as ten, and the digits of every alphabet
    return number if "_" not in text and text.isascii() else None


def _is_value(text: str) -> bool:
    number = _number(text)
    return number is not None and not isnan(number)


def _check_cells(path: Path, columns: Sequence[_Column], missing: str) -> None:
    """ValueError for the first cell that is not a finite number, or is missing and may not be."""
    found = []
    for j, column in enumerate(columns):
        kinds = [column.word, column.infinite, column.empty if missing == "error" else None]
        found += [(*cell, j, kind) for kind, cell in enumerate(kinds) if cell is not None]
    if not found:
        return
    line, text, j, kind = min(found, key=lambda cell: (cell[0], cell[2]))
    where = f"{path}, line {line}, column {columns[j].name!r}"
    if kind == 0:
        hint = " (decimals are written with a point)" if DECIMAL_COMMA.fullmatch(text) else ""
        raise InvalidValueError(f"{where}: {text!r} is not a number{hint}")
    if kind == 1:
        raise InvalidValueError(f"{where}: {text!r} is infinite")
    what = f"says {text!r}" if text else "is empty"
    raise InvalidValueError(
        f"{where} {what}: missing='fill' takes the last value before it, missing='drop' drops the"
        " row"
    )


def _doubts(column: _Column, delimiter: str) -> Iterator[str]:
    """What may mean something else: marks of missing values, points between thousands."""
    values = np.frombuffer(column.numbers)
    values = values[~np.isnan(values)]
    for mark in SENTINELS:
        rest = values[values != mark]
        if 0 < len(rest) < len(values):
            low, high = float(rest.min()), float(rest.max())
            if mark < low - (high - low) or mark > high + (high - low):
                times = len(values) - len(rest)
                yield (
                    f"{column.name} is {mark:g} {times} times, far from all other values: if it"
                    " marks a missing value, leave the cell empty"
                )
    if delimiter == ";" and column.thousands and column.thousands == column.points:
        yield (
            f"every point in {column.name} has three digits after it and was read as a decimal"
            " point: if it separates thousands, leave it out"
        )
