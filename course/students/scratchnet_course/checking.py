"""Check one answer: run it in a separate process on new arguments, compare, say what is wrong."""

import hashlib
import inspect
import secrets
import tokenize
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scratchnet.errors import InvalidTypeError, InvalidValueError
from scratchnet_course import sandbox
from scratchnet_course.diagnose import Diagnosis, diagnose
from scratchnet_course.exercise import Exercise
from scratchnet_course.exercises import find


class Verdict(NamedTuple):
    """What came of a check.  ``print(result)`` is what the student reads."""

    exercise: str
    status: str  # right, wrong, empty, missing, raised, timeout, memory, type, changed, died
    points: float
    most: int
    seed: int
    lines: tuple[str, ...]
    names: tuple[str, ...] = ()  # the mistakes, recognised with certainty
    file: str = ""
    sha256: str = ""  # of the file that was checked

    @property
    def right(self) -> bool:
        """True if nothing is wrong."""
        return self.status == "right"

    def __str__(self) -> str:
        mark = "RIGHT" if self.right else "NOT YET"
        which = f"{self.file} " if self.file else ""
        head = (
            f"{self.exercise}  {mark}  {self.points:g} of {self.most} points  ({which}seed"
            f" {self.seed})"
        )
        return "\n".join([head, *self.lines])


def check(
    name: str, answer: str | Path | Callable[..., Any] | None = None, seed: int | None = None
) -> Verdict:
    """Check an answer to an exercise.

    Parameters
    ----------
    name
        The exercise's id, "06/ex2".
    answer
        A file, or in a notebook the function itself; the file "06/ex2.py" if None.
    seed
        Of the arguments; a new one each time if None.

    Raises
    ------
    ValueError
        If there is no such exercise, or the file is not text that Python can read.
    OSError
        If there is no such file.
    TypeError
        If the source of a function cannot be found.
    """
    exercise = find(name)
    if callable(answer):
        try:
            code = _with_names(answer)
        except (OSError, TypeError):
            raise InvalidTypeError(
                f"the source of {answer!r} cannot be found: save it in a file and check that"
            ) from None
        return check_code(exercise, code, seed)
    path = Path(answer) if answer is not None else Path(f"{exercise.id}.py")
    return check_code(exercise, source_of(path), seed, str(path))


def source_of(path: Path) -> str:
    """Return a file's text as Python reads it: by its coding line, with or without a byte order
    mark.

    Raises
    ------
    ValueError
        If it is not such text; the message names the file.
    """
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError) as error:
        raise InvalidValueError(
            f"{path} cannot be read as Python, which is UTF-8 unless it says otherwise: {error}"
        ) from None


def _with_names(function: Callable[..., Any]) -> str:
    """A notebook's function as a file: before it, what it uses of the other cells, imports and
    functions."""
    lines, todo, seen = [], [function], set()
    while todo:
        one = todo.pop()
        seen.add(one)
        lines.append(inspect.cleandoc("\n" + inspect.getsource(one)))
        for name, value in inspect.getclosurevars(one).globals.items():
            own = getattr(value, "__module__", None) in ("__main__", one.__module__)
            if inspect.ismodule(value):
                lines.append(f"import {value.__name__} as {name}")
            elif inspect.isfunction(value) and own:
                todo += [] if value in seen else [value]
            elif callable(value) and getattr(value, "__name__", "") == name:
                lines.append(f"from {value.__module__} import {name}")
    return "\n\n".join(["import numpy as np", *reversed(lines)]) + "\n"


def check_code(exercise: Exercise, code: str, seed: int | None = None, file: str = "") -> Verdict:
    """Check the text of a file; see `check`."""
    seed = secrets.randbelow(10**6) if seed is None else seed
    cases = list(exercise.cases(np.random.default_rng(seed)))
    ran = sandbox.run(code, exercise.function, cases, exercise.seconds)
    status, lines, names = _judged(exercise, cases, ran)
    if ran.printed:
        lines += [
            "",
            "your code printed:",
            *(f"  {line}" for line in ran.printed.rstrip().splitlines()),
        ]
    points = float(exercise.points) if status == "right" else 0.0
    digest = hashlib.sha256(code.encode()).hexdigest()
    return Verdict(
        exercise.id, status, points, exercise.points, seed, tuple(lines), names, file, digest
    )


def _judged(
    exercise: Exercise, cases: list[dict[str, Any]], ran: sandbox.Ran
) -> tuple[str, list[str], tuple[str, ...]]:
    """The status, what to read, and the names of the mistakes."""
    if ran.status != "ran":
        return ran.status, _excuse(exercise, ran), ()
    found: Diagnosis = diagnose(exercise, cases, ran.answers)
    lines = list(found.lines)
    if ran.changed:
        note = (
            f"{', '.join(ran.changed)} was changed in place, but it belongs to the caller: work on"
            " a copy"
        )
        if found.right:
            return (
                "changed",
                [note, "  the numbers are right"],
                ("an argument is changed in place",),
            )
        lines.append(note)
    return "right" if found.right else "wrong", lines, found.names


def _excuse(exercise: Exercise, ran: sandbox.Ran) -> list[str]:
    """Why there is nothing to compare."""
    name = exercise.function
    if ran.status == "empty":
        return [f"{name} is not written yet: it raises NotImplementedError"]
    if ran.status == "missing":
        return [f"the file defines no function {name}: it has {ran.text or 'no functions at all'}"]
    if ran.status == "timeout":
        return [
            f"{name} was stopped after {ran.text}: a loop that never ends, or work that grows too"
            " fast"
        ]
    if ran.status == "memory":
        return [f"{name} took more memory than {ran.text}"]
    if ran.status == "type":
        number, _, kind = ran.text.partition("|")
        if int(number) < 0:
            missing = ": is the return missing?" if kind == "NoneType" else ""
            return [
                f"{name} returned a {kind}, not numbers{missing}",
                f"  expected {', '.join(exercise.outputs)}",
            ]
        output = exercise.outputs[min(int(number), len(exercise.outputs) - 1)]
        return [f"{output} is a {kind}, not numbers: expected an array or a number"]
    if ran.status == "died":
        return [
            f"the process that ran {name} terminated without output: did it exit, or write without"
            " end?"
        ]
    return ["your code raised:", *(f"  {line}" for line in ran.text.rstrip().splitlines())]
