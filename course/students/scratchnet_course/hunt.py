"""Bug hunts: a cell's file with one realistic bug, another for each student, and the check of an
answer. The answers are salted hashes; what they are hashes of is with the instructor.

Comments are taken out, since they say what each line should do; line numbers stay, so that a line
can be named.
"""

import hashlib
import io
import json
import tokenize
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from scratchnet.elementwise import ELEMENTWISE
from scratchnet.errors import InvalidValueError
from scratchnet_course.compiled import answers

CHOICES = 6
HASHES = 100_000  # rounds: a single answer is checked at once, all of them take a while


class Hunt(NamedTuple):
    """One bug."""

    cell: str
    number: int  # of the cell's bugs, from 1
    code: str  # the file to search
    reasons: tuple[str, ...]  # what it may be, A, B, C, ...
    salt: str
    lines: tuple[str, ...]  # hashes of the lines that are right, or next to it
    reason: str  # the hash of the right letter


@cache
def _all() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = json.loads(
        answers().joinpath("hunts.json").read_text(encoding="utf-8")
    )
    return found


def cells() -> list[str]:
    """The cells that have hunts."""
    return sorted(_all())


def of_cell(cell: str) -> list[Hunt]:
    """Every bug of a cell.

    Raises
    ------
    ValueError
        If the cell has none; the message lists those that have.
    """
    if cell not in _all():
        raise InvalidValueError(
            f"there is no hunt in {cell!r}: expected one of {', '.join(_all())}"
        )
    return [
        Hunt(
            *(cell, number, row["code"], tuple(row["reasons"]), row["salt"]),
            *(tuple(row["lines"]), row["reason"]),
        )
        for number, row in enumerate(_all()[cell], start=1)
    ]


def hunt(cell: str, student: str) -> Hunt:
    """Return the hunt of a student in a cell, the same every time.

    Raises
    ------
    ValueError
        If the cell has none; the message lists those that have.
    """
    known = of_cell(cell)
    number = hashlib.sha256(f"{cell}|{student}".encode()).digest()[:8]
    return known[int.from_bytes(number, "big") % len(known)]


def letter(number: int) -> str:
    """A, B, C, ..."""
    return "ABCDEFGHIJ"[number]


def hashed(salt: str, answer: str) -> str:
    """The hash of an answer, "line 12" or "reason B"."""
    return hashlib.pbkdf2_hmac("sha256", answer.encode(), salt.encode(), HASHES).hex()


def judge(found: Hunt, line: int, reason: str) -> tuple[bool, str]:
    """Return whether the line and the reason (A, B, ...) are right, and what to say.

    The text says which of the two is right, never the answer.
    """
    given = reason.strip().upper()
    letters = [letter(k) for k in range(len(found.reasons))]
    if given not in letters:
        raise InvalidValueError(f"the reason is {reason!r}: expected one of {', '.join(letters)}")
    near = hashed(found.salt, f"line {line}") in found.lines
    why = hashed(found.salt, f"reason {given}") == found.reason
    said = {
        (True, True): f"right: line {line}, {found.reasons[letters.index(given)]}",
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


def handed_in(found: Hunt, student: str, line: int, reason: str) -> str:
    """An answer as it is handed in."""
    return (
        f"bug hunt in {found.cell}\nstudent: {student}\nline: {line}\n"
        f"reason: {reason.strip().upper()}\n"
    )


def planted(cell: str) -> list[ModuleType]:
    """The cell's modules, each with one bug: what a gradient check should catch."""
    found = []
    for one in of_cell(cell):
        module, marked = ModuleType(f"{cell}_bug_{one.number}"), len(ELEMENTWISE)
        exec(compile(one.code, f"<{module.__name__}>", "exec"), module.__dict__)
        del ELEMENTWISE[marked:]  # kernels are never made of a wrong cell
        found.append(module)
    return found


def without_comments(code: str) -> str:
    """The code without its comments; lines keep their numbers."""
    lines = code.splitlines(keepends=True)
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip() + "\n"
    return "".join(lines)
