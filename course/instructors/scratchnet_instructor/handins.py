"""Points for worksheets, bug hunts and gradient tests that students hand in:

    worksheet/bptt   bptt_ada.csv, the form that comes with a worksheet
    hunt/lstm        lstm_bug_ada.txt, what `course bug` writes when an answer is given
    test/lstm        a Python file that defines gradient_test, test_gru.py of another cell

A worksheet's number is right also where it follows from the student's own numbers before it.
"""

import csv
import re
from typing import NamedTuple

import numpy as np
from scratchnet_course import hunt, testing, worksheet
from scratchnet_course.exercise import Exercise
from scratchnet_course.plain import plain
from scratchnet_course.wall import Wall

from scratchnet.arrays import Array
from scratchnet.cells import CELLS
from scratchnet.errors import InvalidValueError
from scratchnet_instructor import hunting
from scratchnet_instructor.following import followed
from scratchnet_instructor.worked import worked

POINTS = 10
# Four decimals: the right number is off by half of the last one; one that follows from rounded
# numbers by more, since no equation of a sheet makes the sum of their errors more than fivefold.
ROUNDED = 6e-4
MADE_FOR = "made for "  # the id that a sheet or a hunt was made for
MOST_LINES = 30
KINDS = {"worksheet": worksheet.KINDS, "hunt": tuple(hunt.cells()), "test": tuple(hunt.cells())}
HANDINS = {
    f"{kind}/{one}": Exercise(f"{kind}/{one}", "", (), points=POINTS)
    for kind, several in KINDS.items()
    for one in several
}


class Judged(NamedTuple):
    """The share of the points for a hand-in, and the reasons."""

    share: float  # of the points
    lines: tuple[str, ...]


def which(name: str, text: str) -> list[str]:
    """Return which hand-in a file is, "worksheet/bptt", by what is in it; none if it is another."""
    suffix = name.rpartition(".")[2].lower()
    found = ""
    if suffix == "csv" and (head := re.match(r"\ufeff?\s*\"?worksheet\"?[,;\t]\"?(\w+)", text)):
        found = f"worksheet/{head[1]}"
    elif suffix == "txt" and (head := re.match(r"bug hunt in (\w+)\s", text)):
        found = f"hunt/{head[1]}"
    elif suffix == "py" and re.search(rf"^(?:async )?def {testing.FUNCTION}\(", text, re.M):
        cells = [cell for cell in CELLS if re.search(rf"(?:^|[\W_]){cell}(?:[\W_]|$)", name)]
        found = f"test/{max(cells, key=len, default='lstm')}"
    return [found] if found in HANDINS else []


def instead(name: str) -> str:
    """Why a file is not graded that is neither a program nor a hand-in."""
    kind, _, ending = name.lower().rpartition(".")
    if ending == "html" and kind.startswith(worksheet.KINDS):
        return "it is the worksheet's page: its numbers are handed in with the form beside it, .csv"
    programs = "a Python file (.py) nor a notebook (.ipynb)"
    return f"it is neither {programs} nor a worksheet nor a hunt's answer"


def judge(name: str, text: str, behind: Wall | None = None) -> Judged:
    """Return the share of the points for a hand-in.

    Raises
    ------
    ValueError
        If the file is not what it was when it was given out.
    """
    kind, _, one = name.partition("/")
    if kind == "test":
        caught = testing.grade_test(text, one, behind=behind)
        return Judged(caught.share, tuple(str(caught).splitlines()))
    return {"worksheet": _worksheet, "hunt": _hunt}[kind](one, text)


def _hunt(cell: str, text: str) -> Judged:
    """Half of the points for the line, half for the reason."""
    said = dict(re.findall(r"^(student|line|reason):[ \t]*(.*?)\s*$", text, re.M))
    if not (said.get("student") and re.fullmatch(r"\d{1,6}", said.get("line", ""))):
        raise InvalidValueError("expected the lines 'student:', 'line:' with a number, 'reason:'")
    found = hunt.hunt(cell, said["student"])
    lines, reason, what = hunting.answer(cell, found.number)
    line, given = int(said["line"]), said.get("reason", "").upper()
    near, same = lines[0] - 1 <= line <= lines[-1] + 1, given == reason
    where = f"line {line}: {'right' if near else f'it is line {lines[0]}'}"
    why = f"reason {given}: {'right' if same else f'it is {reason}'}, {what}"
    return Judged((near + same) / 2, (MADE_FOR + said["student"], where, why))


def _worksheet(kind: str, text: str) -> Judged:
    """A point for every number, also for one that follows from the student's own."""
    student, given = filled_in(text)
    made = worked(worksheet.sheet(kind, student))
    right = {
        row.name: np.array(row.values, dtype=float)
        for part in (made.forward, made.backward, made.gradients)
        for row in part
    }
    blank = {name: np.full(len(values), np.nan) for name, values in right.items()}
    numbers = {name: _as_long(given.get(name, ()), blank[name]) for name in right}
    # what is not filled in is as if it were right
    own = {k: np.where(np.isnan(v), right[k], v) for k, v in numbers.items()}
    follows = followed(made, own)
    count, points, lines = 0, 0.0, []
    for name, values in right.items():
        for t, (wanted, its) in enumerate(zip(values, numbers[name])):
            count += 1
            place = f"{name} at t={t}" if len(values) > 1 else name
            if np.isnan(its):
                lines.append(f"{place} is not filled in: {wanted:.4f}")
            elif abs(its - wanted) <= ROUNDED:
                points += 1
            elif abs(its - follows[name][t]) <= ROUNDED:
                points += 1
                lines.append(f"{place} is {its:g}, which follows from what is before it")
            else:
                lines.append(f"{place} is {its:g}, right is {wanted:.4f}")
    more = [f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    head = f"{points:g} of {count} numbers"
    return Judged(points / count, (MADE_FOR + student, head, *lines[:MOST_LINES], *more))


def _as_long(values: tuple[float, ...], blank: Array) -> Array:
    made = blank.copy()
    made[: len(values)] = values[: len(made)]
    return made


def filled_in(text: str) -> tuple[str, dict[str, tuple[float, ...]]]:
    """Return the student's id and the numbers of a form, by rows; NaN where there is none.

    Commas, semicolons or tabs separate the cells; with the other two, 0,5 is read as 0.5.

    Raises
    ------
    ValueError
        If a cell is no number, or the id is missing.
    """
    head = re.match(r"\ufeff?\s*\"?worksheet\"?([,;\t])", text)
    rows = list(csv.reader(text.splitlines(), delimiter=head[1] if head else ","))
    student, found = "", {}
    for row in rows[1:]:
        name, cells = row[0].strip() if row else "", [cell.strip() for cell in row[1:]]
        if name == "student":
            student = cells[0] if cells else ""
        elif name:
            found[name] = tuple(_number(name, cell) for cell in cells)
    if not student:
        raise InvalidValueError("the row 'student' is missing: expected the id of the worksheet")
    return student, found


def _number(name: str, cell: str) -> float:
    if not cell:
        return float("nan")
    try:
        return float(cell.replace(",", ".").replace("\u2212", "-"))
    except ValueError:
        raise InvalidValueError(f"{name} has {plain(cell, 40)!r}: expected a number") from None
