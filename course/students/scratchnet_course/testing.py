"""Write the test: a student's gradient test is worth as many points as it catches planted bugs.

The file defines ``gradient_test(forward, backward)``: it returns quietly where the backward pass is
right and raises AssertionError where it is not. It is run on the right cell and on one with each
catalogued bug, each in a separate process, as `sandbox` runs an answer. A test that also fails the
right cell catches nothing; the right cell comes twice, the second time among the others, so that a
test cannot pass it by counting.
"""

import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from scratchnet.errors import InvalidValueError
from scratchnet_course import mistakes, sandbox
from scratchnet_course.plain import plain

SECONDS = 30.0
FUNCTION = "gradient_test"


class Caught(NamedTuple):
    """What a student's test did."""

    accepts_right: bool
    caught: tuple[str, ...]  # names of the mistakes
    missed: tuple[str, ...]
    problem: str  # what is wrong with the test itself, "" if nothing

    @property
    def share(self) -> float:
        """Of the planted bugs; 0 where the right cell fails as well."""
        total = len(self.caught) + len(self.missed)
        return (
            len(self.caught) / total if total and self.accepts_right and not self.problem else 0.0
        )

    def __str__(self) -> str:
        if self.problem:
            return f"the test cannot be run: {self.problem}"
        if not self.accepts_right:
            return (
                "the test fails the right backward pass too: a test that always fails catches"
                " nothing"
            )
        lines = [
            f"caught {len(self.caught)} of {len(self.caught) + len(self.missed)} planted bugs, and"
            " passes the right one"
        ]
        return "\n".join([*lines, *(f"  missed: {name}" for name in self.missed)])


def grade_test(code: str, cell: str = "lstm", seconds: float = SECONDS, workers: int = 2) -> Caught:
    """Run a student's gradient test on the right cell, and on the cell with each mistake.

    Parameters
    ----------
    code
        The text of the student's file.
    cell
        A name of ``CELLS``.
    seconds
        The time limit of one run.
    workers
        How many runs at a time.

    Raises
    ------
    ValueError
        If no mistakes are catalogued for the cell.
    """
    rows = mistakes.of_cell(cell)
    if not rows:
        raise InvalidValueError(f"no mistakes are catalogued for the cell {cell!r}")
    source = mistakes.source(rows[0]._replace(edits=()))
    right = sandbox.run(code, FUNCTION, [], seconds, cell=source)
    if right.status != "passed":  # nothing that follows would count
        missed = tuple(row.name for row in rows)
        return Caught(False, (), missed, "" if right.status == "caught" else _problem(right))
    sources = [mistakes.source(row) for row in rows]
    again = secrets.randbelow(len(rows) + 1)
    sources.insert(again, source)
    with ThreadPoolExecutor(workers) as pool:
        ran = pool.map(lambda one: sandbox.run(code, FUNCTION, [], seconds, cell=one), sources)
        words = [one.status for one in ran]
    accepted = words.pop(again) != "caught"
    caught = tuple(row.name for row, word in zip(rows, words) if word == "caught")
    missed = tuple(row.name for row, word in zip(rows, words) if word != "caught")
    return Caught(accepted, caught, missed, "")


def _problem(ran: sandbox.Ran) -> str:
    """What is wrong with a test that neither passes nor catches."""
    if ran.status == "missing":
        return f"the file defines no function {FUNCTION}(forward, backward)"
    last = ran.text.strip().splitlines()[-1:] or [""]
    return plain(f"{ran.status}: {last[0]}", 1000)
