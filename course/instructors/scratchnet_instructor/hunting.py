"""Make the bug hunts: for each catalogued mistake of a cell its file with the mistake in it, and
the answer as a salted hash, which says whether an answer is right and not what it is.
"""

import hashlib
from typing import Any

from scratchnet_course.hunt import CHOICES, hashed, letter, without_comments

from scratchnet.cells import CELLS
from scratchnet_instructor import mistakes


def hunts() -> dict[str, list[dict[str, Any]]]:
    """Every hunt that there is: cell -> what `hunt` reads."""
    found = {}
    for cell in CELLS:
        rows = mistakes.of_cell(cell)
        if len({row.name for row in rows}) >= CHOICES:
            found[cell] = sorted((_hunt(row, rows) for row in rows), key=lambda one: one["salt"])
    return found


def lines_of(row: mistakes.Mistake) -> tuple[int, ...]:
    """The lines of the planted file that differ from the right one, counted from 1."""
    before = mistakes.source(row._replace(edits=())).splitlines()
    after = mistakes.source(row).splitlines()
    # Lines may be more or fewer than before; where the texts first and last differ is where to
    # look.
    first = next(k for k, (a, b) in enumerate(zip(before, after)) if a != b)
    tail = next(k for k, (a, b) in enumerate(zip(reversed(before), reversed(after))) if a != b)
    return tuple(range(first + 1, max(len(after) - tail, first + 1) + 1))


def reasons_of(row: mistakes.Mistake, rows: list[mistakes.Mistake]) -> list[str]:
    """The names to choose from, with the right one among them; the same every time."""

    def number(name: str) -> str:
        return hashlib.sha256(f"{row.id}|{name}".encode()).hexdigest()

    others = sorted({one.name for one in rows} - {row.name}, key=number)[: CHOICES - 1]
    return sorted([row.name, *others], key=lambda name: number(f"place|{name}"))


def answer(cell: str, number: int) -> tuple[tuple[int, ...], str, str]:
    """Return the answer of a cell's hunt: the lines, the letter of the reason, and the reason."""
    rows = mistakes.of_cell(cell)
    row = sorted(rows, key=_salt)[number - 1]
    return lines_of(row), letter(reasons_of(row, rows).index(row.name)), row.name


def _salt(row: mistakes.Mistake) -> str:
    """What keeps a hunt's answer from being looked up, and decides its number."""
    return hashlib.sha256(f"hunt|{row.id}".encode()).hexdigest()[:16]


def _hunt(row: mistakes.Mistake, rows: list[mistakes.Mistake]) -> dict[str, Any]:
    salt = _salt(row)
    reasons, lines = reasons_of(row, rows), lines_of(row)
    # a statement may go over several lines
    near = range(max(1, lines[0] - 1), lines[-1] + 2)
    return {
        "salt": salt,
        "code": without_comments(mistakes.source(row)),
        "reasons": reasons,
        "lines": sorted(hashed(salt, f"line {line}") for line in near),
        "reason": hashed(salt, f"reason {letter(reasons.index(row.name))}"),
    }
