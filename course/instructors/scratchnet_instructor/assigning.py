"""Who works on what: of each pool of exercises, hunts, tests and worksheets everybody gets one.

Which one follows from the student's id alone, so that who comes later changes nothing for others.
"""

import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from scratchnet_course.exercises import EXERCISES

from scratchnet.errors import InvalidValueError, MissingFileError
from scratchnet_instructor.handins import HANDINS

Assigned = Mapping[str, tuple[str, ...]]  # student's id -> exercises


def assign(who: Sequence[str], pools: Sequence[Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return what each student works on.

    Raises
    ------
    ValueError
        If there is no exercise of that name.
    """
    for name in (one for pool in pools for one in pool):
        _known(name)

    def drawn(student: str, pool: Sequence[str]) -> str:
        number = hashlib.sha256("|".join([*pool, student]).encode()).digest()[:8]
        return pool[int.from_bytes(number, "big") % len(pool)]

    return {student: tuple(drawn(student, pool) for pool in pools) for student in who}


def _known(name: str) -> None:
    if name not in EXERCISES and name not in HANDINS:
        raise InvalidValueError(
            f"there is no exercise {name!r}: expected 06/ex1, worksheet/bptt, hunt/lstm, test/gru"
            " or another of these"
        )


def table(assigned: Assigned) -> str:
    """A row for each student, to be given out and to be graded by."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    most = max(map(len, assigned.values()), default=0)
    writer.writerow(["student", *(f"work {k + 1}" for k in range(most))])
    writer.writerows([student, *names] for student, names in assigned.items())
    return text.getvalue()


def read(path: Path) -> dict[str, tuple[str, ...]]:
    """Return a table that `table` has made, or a teacher has changed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no table, or names what does not exist.
    """
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines()))[1:]
    except FileNotFoundError:
        raise MissingFileError(f"{path} does not exist: course class --pool writes it") from None
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise InvalidValueError(f"{path} is no table of text: {error}") from None
    found = {row[0]: tuple(name for name in row[1:] if name) for row in rows if row and row[0]}
    for name in (one for names in found.values() for one in names):
        _known(name)
    return found


def of(student: str, assigned: Assigned) -> tuple[str, ...] | None:
    """What a student works on, who is called as in the table, or as a platform calls it:
    "adalovelace_4711", "Ada Lovelace_4711_assignsubmission_file". None for who is not in it."""
    if student in assigned:
        return assigned[student]
    parts = {student.partition("_")[0], *re.split(r"[_\s]+", student)}
    found = [names for one, names in assigned.items() if one in parts]
    return found[0] if len(found) == 1 else None
