"""Write the test: a student's gradient test is worth as many points as it catches planted bugs.

The file defines ``gradient_test(forward, backward)``: it returns quietly where the backward pass is
right and raises AssertionError where it is not. It is run on the right cell and on one with each
catalogued bug, each in a separate process, as `sandbox` runs an answer. A test that also fails the
right cell catches nothing; the right cell comes twice, the second time among the others, so that a
test cannot pass it by counting.
"""

import secrets
from concurrent.futures import ThreadPoolExecutor
from inspect import getsource
from typing import NamedTuple

from scratchnet.cells import CELLS
from scratchnet_course import hunt, sandbox
from scratchnet_course.plain import plain
from scratchnet_course.wall import Wall

SECONDS = 30.0
FUNCTION = "gradient_test"


class Caught(NamedTuple):
    """What a student's test did."""

    accepts_right: bool
    caught: tuple[int, ...]  # numbers of the cell's bugs
    missed: tuple[int, ...]
    problem: str  # what is wrong with the test itself, "" if nothing
    cell: str = "lstm"

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
        look = f"  to look at one: scratchnet course bug {self.cell} --number"
        missed = [f"  missed: number {', '.join(map(str, self.missed))}"] if self.missed else []
        return "\n".join([*lines, *missed, *(f"{look} {number}" for number in self.missed[:1])])


def grade_test(
    code: str,
    cell: str = "lstm",
    seconds: float = SECONDS,
    workers: int = 2,
    behind: Wall | None = None,
) -> Caught:
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
    behind
        The wall; the one that there is on this machine if None.

    Raises
    ------
    ValueError
        If the cell has no planted bugs.
    """
    bugs = hunt.of_cell(cell)
    source = getsource(CELLS[cell])  # type: ignore[arg-type]

    def run(one: str) -> sandbox.Ran:
        return sandbox.run(code, FUNCTION, [], seconds, cell=one, behind=behind)

    right = run(source)
    if right.status != "passed":  # nothing that follows would count
        missed = tuple(bug.number for bug in bugs)
        return Caught(False, (), missed, "" if right.status == "caught" else _problem(right), cell)
    sources = [bug.code for bug in bugs]
    again = secrets.randbelow(len(bugs) + 1)
    sources.insert(again, source)
    with ThreadPoolExecutor(workers) as pool:
        ran = pool.map(run, sources)
        words = [one.status for one in ran]
    accepted = words.pop(again) != "caught"
    caught = tuple(bug.number for bug, word in zip(bugs, words) if word == "caught")
    missed = tuple(bug.number for bug, word in zip(bugs, words) if word != "caught")
    return Caught(accepted, caught, missed, "", cell)


def _problem(ran: sandbox.Ran) -> str:
    """What is wrong with a test that neither passes nor catches."""
    if ran.status == "missing":
        return f"the file defines no function {FUNCTION}(forward, backward)"
    last = ran.text.strip().splitlines()[-1:] or [""]
    return plain(f"{ran.status}: {last[0]}", 1000)
