"""Bug hunts: a cell's file with one realistic bug, another for each student, and the check of an
answer.

The bug is a row of ``mistakes.toml``, chosen by the student's id. Comments are taken out, since
they say what each line should do; line numbers stay, so that a line can be named.
"""

import hashlib
import io
import tokenize
from typing import NamedTuple

from scratchnet.cells import CELLS
from scratchnet.errors import InvalidValueError
from scratchnet_course import mistakes

CHOICES = 6


class Hunt(NamedTuple):
    """One student's hunt."""

    cell: str
    student: str
    code: str  # the file to search
    reasons: tuple[str, ...]  # what it may be, A, B, C, ...
    lines: tuple[int, ...]  # the answer: the lines that were changed, counted from 1
    reason: int  # the answer: an index into reasons


def hunt(cell: str, student: str) -> Hunt:
    """Return the hunt of a student in a cell, the same every time.

    Raises
    ------
    ValueError
        If the cell has too few catalogued mistakes; the message lists those that have enough.
    """
    known = mistakes.of_cell(cell)
    if cell not in CELLS or len({row.name for row in known}) < CHOICES:
        able = [c for c in CELLS if len({row.name for row in mistakes.of_cell(c)}) >= CHOICES]
        raise InvalidValueError(f"there is no hunt in {cell!r}: expected one of {', '.join(able)}")
    order = sorted(known, key=lambda row: _number(cell, student, row.id))
    chosen = order[0]
    others = {row.name: row for row in order[1:] if row.name != chosen.name}
    reasons = sorted(
        [chosen.name, *list(others)[: CHOICES - 1]], key=lambda name: _number(student, name)
    )
    right = mistakes.source(chosen._replace(edits=()))
    wrong = mistakes.source(chosen)
    # Lines may be more or fewer than before; where the texts first and last differ is where to
    # look.
    before, after = right.splitlines(), wrong.splitlines()
    first = next(k for k, (a, b) in enumerate(zip(before, after)) if a != b)
    tail = next(k for k, (a, b) in enumerate(zip(reversed(before), reversed(after))) if a != b)
    lines = tuple(range(first + 1, max(len(after) - tail, first + 1) + 1))
    return Hunt(
        cell, student, without_comments(wrong), tuple(reasons), lines, reasons.index(chosen.name)
    )


def letter(number: int) -> str:
    """A, B, C, ..."""
    return "ABCDEFGHIJ"[number]


def judge(found: Hunt, line: int, reason: str) -> tuple[bool, str]:
    """Return whether the line and the reason (A, B, ...) are right, and what to say.

    The text says which of the two is right, never the answer.
    """
    given = reason.strip().upper()
    letters = [letter(k) for k in range(len(found.reasons))]
    if given not in letters:
        raise InvalidValueError(f"the reason is {reason!r}: expected one of {', '.join(letters)}")
    # a statement may go over several lines
    near = min(abs(line - right) for right in found.lines) <= 1
    why = given == letter(found.reason)
    said = {
        (True, True): f"right: line {line}, {found.reasons[found.reason]}",
        (
            True,
            False,
        ): "the line is right, the reason is not: what does this line do to the numbers?",
        (
            False,
            True,
        ): "the reason is right, the line is not: which line undoes the forward line in question?",
        (False, False): (
            "neither the line nor the reason: run check_cell and look at which gradient is wrong"
            " first"
        ),
    }
    return near and why, said[near, why]


def without_comments(code: str) -> str:
    """The code without its comments; lines keep their numbers."""
    lines = code.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() + "\n"
    return "".join(lines)


def _number(*words: str) -> int:
    return int.from_bytes(hashlib.sha256("|".join(words).encode()).digest()[:8], "big")
