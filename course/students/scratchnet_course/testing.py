"""Write the test: a student's gradient test is worth as many points as it catches planted bugs.

The file defines ``gradient_test(forward, backward)``: it returns quietly where the backward pass is
right and raises AssertionError where it is not. It is run on the right cell and on one with each
catalogued bug, each in a separate process. A test that also fails the right cell catches nothing.
"""

import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from scratchnet.errors import InvalidValueError
from scratchnet_course import mistakes
from scratchnet_course.sandbox import LIBRARY

SECONDS = 30.0
FUNCTION = "gradient_test"

# What runs in the other process: the cell as text, the student's file, and one word as the answer.
PROGRAM = """
import json, sys, types
from pathlib import Path
folder = Path(sys.argv[1])
task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
sys.path[:0] = [path for path in task["paths"] if path not in sys.path]
cell = types.ModuleType("cell")
exec(compile((folder / "cell.py").read_text(encoding="utf-8"), "cell.py", "exec"), cell.__dict__)
space = {"__name__": "student"}
word = "passed"
try:
    exec(compile((folder / "test.py").read_text(encoding="utf-8"), "test.py", "exec"), space)
    if not callable(space.get(task["function"])):
        word = "missing"
    else:
        space[task["function"]](cell.forward, cell.backward)
except AssertionError as error:
    word = "caught"
except BaseException as error:
    word = f"raised {type(error).__name__}: {error}"
(folder / "word.txt").write_text(word, encoding="utf-8")
"""


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
    right = _run(code, mistakes.source(rows[0]._replace(edits=())), seconds)
    others = ["" for _ in rows]
    if right == "passed":  # else nothing that follows would count
        with ThreadPoolExecutor(workers) as pool:
            others = list(pool.map(lambda row: _run(code, mistakes.source(row), seconds), rows))
    problem = "" if right in ("passed", "caught") else _problem(right)
    caught = tuple(row.name for row, word in zip(rows, others) if word == "caught")
    missed = tuple(row.name for row, word in zip(rows, others) if word != "caught")
    return Caught(right == "passed", caught, missed, problem)


def _problem(word: str) -> str:
    if word == "missing":
        return f"the file defines no function {FUNCTION}(forward, backward)"
    return word


def _run(code: str, source: str, seconds: float) -> str:
    """One word: passed, caught, missing, timeout, raised ..."""
    with tempfile.TemporaryDirectory(prefix="course-") as name:
        folder = Path(name)
        (folder / "test.py").write_text(code, encoding="utf-8")
        (folder / "cell.py").write_text(source, encoding="utf-8")
        task = json.dumps({"function": FUNCTION, "paths": LIBRARY})
        (folder / "task.json").write_text(task, encoding="utf-8")
        command = [sys.executable, "-I", "-c", PROGRAM, str(folder)]
        quiet = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.DEVNULL,
            "stderr": subprocess.DEVNULL,
        }
        try:
            subprocess.run(command, cwd=folder, timeout=seconds, check=False, **quiet)  # type: ignore[call-overload]
        except subprocess.TimeoutExpired:
            return "timeout"
        word = folder / "word.txt"
        return word.read_text(encoding="utf-8") if word.exists() else "died"
