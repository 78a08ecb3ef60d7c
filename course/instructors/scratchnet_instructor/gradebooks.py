"""A platform's own table, with the points filled in, ready to be imported.

Canvas    Grades, Export: the column of the assignment, by the students' ID
Moodle    the grading worksheet: Grade and Feedback comments, by "Participant 123"
others    any table with a column that has the students' ids
"""

import csv
import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from scratchnet.errors import InvalidValueError, MissingFileError
from scratchnet_instructor.grading import Grade

CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
POSSIBLE = "Points Possible"
MOST_COMMENT = 20_000


class Filled(NamedTuple):
    """A table that has been filled in."""

    text: str
    students: int  # how many got their points
    missing: tuple[str, ...]  # who was graded, but is not in the table


def fill(
    book: Path, grades: Sequence[Grade], feedback: Mapping[str, str], column: str = ""
) -> Filled:
    """Return the table with each student's points; every other row stays as it is.

    Parameters
    ----------
    book
        The table as the platform exports it.
    grades
        Of all students.
    feedback
        Student -> what is put into Moodle's "Feedback comments".
    column
        Where points go; the assignment's column of Canvas, if there is one only, Moodle's "Grade",
        and "points" in other tables, if empty.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If it is none, has no such column, or none of the students.
    """
    header, rows = _read(book)
    points = {g.student: 0.0 for g in grades}
    for g in grades:
        points[g.student] += g.points
    total = sum(g.result.most for g in grades if g.student == grades[0].student)
    kind = "canvas" if {*CANVAS[:2], "Section"} <= {*header} else ""
    kind = "moodle" if {"Identifier", "Grade"} <= {*header} else kind
    target = column or _column(book, header, kind)
    if target not in header:
        if kind or column:
            raise InvalidValueError(f"{book} has no column {target!r}: it has {', '.join(header)}")
        header.append(target)
    where, by_key = _matching(book, header, rows, kind, points)
    done = set()
    possible = [row for row in rows if row.get("Student", "").strip() == POSSIBLE]
    most = _number(possible[0].get(target, "")) if possible else None
    for row in rows:
        student = by_key.get(row.get(where, "").strip())
        if student is None:
            continue
        done.add(student)
        top = (_number(row.get("Maximum Grade", "")) or most) or total
        row[target] = f"{points[student] * top / total:.2f}".rstrip("0").rstrip(".")
        if kind == "moodle" and "Feedback comments" in header:
            said = html.escape(feedback.get(student, ""))[:MOST_COMMENT]
            row["Feedback comments"] = said.strip().replace("\n", "<br>")
    kept = [*(name for name in CANVAS if name in header), target] if kind == "canvas" else header
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, kept, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return Filled(text.getvalue(), len(done), tuple(s for s in points if s not in done))


def _read(book: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        reader = csv.DictReader(io.StringIO(book.read_text(encoding="utf-8-sig"), newline=""))
        rows = [{k: v or "" for k, v in row.items() if k is not None} for row in reader]
    except FileNotFoundError:
        raise MissingFileError(f"{book} does not exist: expected a gradebook (CSV)") from None
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise InvalidValueError(f"{book} is no gradebook (CSV): {error}") from None
    if not reader.fieldnames or not rows:
        raise InvalidValueError(f"{book} is no gradebook (CSV): it has no rows")
    return list(reader.fieldnames), rows


def _column(book: Path, header: Sequence[str], kind: str) -> str:
    """Where the points go."""
    if kind == "moodle":
        return "Grade"
    if kind != "canvas":
        return "points"
    found = [name for name in header if re.search(r" \(\d+\)$", name)]
    if len(found) != 1:
        raise InvalidValueError(
            f"{book} has {len(found)} assignments: name one of them with --column:"
            f" {', '.join(found)}"
        )
    return found[0]


def _matching(
    book: Path,
    header: Sequence[str],
    rows: Sequence[Mapping[str, str]],
    kind: str,
    students: Mapping[str, float],
) -> tuple[str, dict[str, str]]:
    """The column that names students, and its entry of each: the one that knows most of them."""
    ways = {student: {student, *_ids(student, kind)} for student in students}
    by_key = {key: student for student, keys in ways.items() for key in keys}
    known = {name: sum(row.get(name, "").strip() in by_key for row in rows) for name in header}
    best = max(known, key=lambda name: known[name])
    if not known[best]:
        raise InvalidValueError(
            f"{book} has none of the students in any column: expected ids like"
            f" {next(iter(students))!r}"
        )
    return best, by_key


def _ids(student: str, kind: str) -> list[str]:
    """What a platform calls a student in its table: the number at the end, on Canvas and Moodle."""
    found = re.fullmatch(r".*_(\d+)", student, re.DOTALL)
    if not found:
        return []
    return [f"Participant {found[1]}"] if kind == "moodle" else [found[1]]


def _number(text: str) -> float | None:
    try:
        return float(text.strip()) or None
    except ValueError:
        return None
